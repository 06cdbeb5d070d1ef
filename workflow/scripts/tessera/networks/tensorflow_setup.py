"""Imports TensorFlow, Keras 2 and segmentation-models; no other module imports them directly.

segmentation-models needs Keras 2, which TensorFlow chooses by environment variables at its first import. This module
sets them before, whatever the shell says: `from tessera.networks.tensorflow_setup import keras, sm, tf`.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator

VARIABLES = {"TF_USE_LEGACY_KERAS": "1", "SM_FRAMEWORK": "tf.keras", "TF_CPP_MIN_LOG_LEVEL": "2"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what TensorFlow's libraries print while they load; show it if they fail."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except BaseException:
            noise.seek(0)
            os.write(stderr, noise.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


os.environ.update(VARIABLES)
with quiet():
    import tensorflow as tf

    if not tf.keras.__name__.startswith("tf_keras"):
        raise ImportError(
            "TensorFlow was imported before tessera.networks.tensorflow_setup and uses Keras 3, which does not work "
            "with segmentation-models; import tessera.networks.tensorflow_setup first"
        )
    import segmentation_models as sm

    if sm.framework() != "tf.keras":
        raise ImportError(
            "segmentation-models was imported before tessera.networks.tensorflow_setup and uses "
            f"{sm.framework()}; import tessera.networks.tensorflow_setup first"
        )
    import tf_keras as keras

__all__ = ["keras", "quiet", "sm", "tf"]
