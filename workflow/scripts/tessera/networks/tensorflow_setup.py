"""TensorFlow, Keras 2 and segmentation-models, the only place that imports them.

segmentation-models works with Keras 2 alone, which TensorFlow chooses by environment variables at its first import.
They are set here, before it, whatever the shell says: `from tessera.networks.tensorflow_setup import keras, sm, tf`.
"""

import contextlib
import io
import os
import sys
import tempfile

VARIABLES = {"TF_USE_LEGACY_KERAS": "1", "SM_FRAMEWORK": "tf.keras", "TF_CPP_MIN_LOG_LEVEL": "2"}


@contextlib.contextmanager
def quiet():
    """Hold back what TensorFlow's libraries say about themselves while they load; show it if they fail."""
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
            "TensorFlow was imported before tessera.networks.tensorflow_setup and has taken Keras 3, "
            "which segmentation-models cannot use; import tessera.networks.tensorflow_setup first"
        )
    import segmentation_models as sm

    if sm.framework() != "tf.keras":
        raise ImportError(
            f"segmentation-models was imported before tessera.networks.tensorflow_setup and has taken {sm.framework()}; "
            "import tessera.networks.tensorflow_setup first"
        )
    import tf_keras as keras

__all__ = ["keras", "quiet", "sm", "tf"]
