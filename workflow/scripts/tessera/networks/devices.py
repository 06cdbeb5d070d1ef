"""Devices of TensorFlow: CPU or GPU, precision of the computation, and several GPUs that share each minibatch.

`distribution_strategy` serves training only. Prediction uses one device per job; see `tessera.inference`.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, quiet, tf

_MIN_CAPABILITY_BFLOAT16 = (8, 0)  # compute capability of GPUs with units for it
_MIN_CAPABILITY_FLOAT16 = (7, 0)
logger = logging.getLogger(__name__)


def choose_device(device: str, threads: int | None = None) -> str:
    """Choose the device of TensorFlow, configure it, and log the choice.

    Args:
        device: "auto" (a GPU if there is one), "cpu" or "gpu".
        threads: number of CPU cores to use; None: all.

    Returns:
        "cpu" or "gpu".

    Raises:
        InputError: "gpu" is requested and there is none.
    """
    with quiet():
        gpus = tf.config.list_physical_devices("GPU")
        if device == "gpu" and not gpus:
            raise InputError(
                "device: is gpu, but TensorFlow finds no GPU; set device to auto or cpu, or check the GPU's driver"
            )
    chosen = "gpu" if gpus and device != "cpu" else "cpu"
    try:
        if chosen == "cpu" and gpus:
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if chosen == "gpu" else []:
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        logger.info("TensorFlow is running already and keeps its devices and threads (%s)", error)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    description = f"GPU ({', '.join(names)})" if chosen == "gpu" else f"CPU ({threads or 'all'} threads)"
    logger.info("Device: %s%s", description, "" if device != "auto" or chosen == "gpu" else "; no GPU was found")
    return chosen


def distribution_strategy(kind: str, number: int, requested: str = "auto") -> Any:
    """Return the strategy that distributes a training over `number` devices, each with its part of every minibatch.

    Args:
        kind: "cpu" or "gpu", as `choose_device` returned.
        number: number of devices; TensorFlow has one CPU, unless it is configured to have several logical ones.
        requested: the setting train.device.

    Returns:
        A tf.distribute.Strategy, the default one for a single device.

    Raises:
        InputError: there are fewer GPUs than `number`, and `requested` is "gpu".
    """
    devices = [device.name.removeprefix("/physical_device:") for device in tf.config.list_logical_devices(kind.upper())]
    if len(devices) < number:
        if requested == "gpu":
            raise InputError(f"train.gpus: is {number}, but TensorFlow finds {len(devices)} GPUs; set {len(devices)}")
        logger.info("%d devices were requested, but there is only %d: the training uses that", number, len(devices))
    if min(number, len(devices)) < 2:
        return tf.distribute.get_strategy()
    # NCCL copies between GPUs only.
    cross_device_ops = None if kind == "gpu" else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(devices[:number], cross_device_ops=cross_device_ops)
    logger.info("Each minibatch is distributed over %d devices", strategy.num_replicas_in_sync)
    return strategy


def choose_precision(precision: str, kind: str) -> tuple[str, str]:
    """Return the precision of a training, "float32", "bfloat16" or "float16", and the reason for it.

    Args:
        precision: the setting train.precision.
        kind: "cpu" or "gpu".
    """
    if precision != "auto":
        return precision, "as set"
    if kind == "cpu":
        return "float32", "on a CPU, the fastest precision depends on its model; set bfloat16 to try it"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return gpu_precision(min(detail.get("compute_capability") or (0, 0) for detail in details))


def gpu_precision(capability: tuple[int, int]) -> tuple[str, str]:
    """Return the precision that suits a GPU of this compute capability (major, minor), and the reason for it."""
    text = ".".join(map(str, capability))
    if capability >= _MIN_CAPABILITY_BFLOAT16:
        return "bfloat16", f"the GPU has units for it (compute capability {text})"
    if capability >= _MIN_CAPABILITY_FLOAT16:
        return "float16", f"the GPU has units for it (compute capability {text}); the loss is scaled"
    return "float32", f"the GPU is not faster with lower precision (compute capability {text})"


@contextlib.contextmanager
def mixed_precision_policy(precision: str) -> Iterator[None]:
    """Make layers that are created in the block compute in `precision`; weights are always float32.

    Args:
        precision: float32, bfloat16 or float16.
    """
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


@contextlib.contextmanager
def translate_device_errors() -> Iterator[None]:
    """Turn errors of the device during training into errors that name the settings that help.

    Raises:
        InputError: the memory of the device is too small, or it has no deterministic version of an operation.
    """
    kept = "The state of the last saved epoch is kept beside the model's folder"
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            "train: the memory of the device is too small; lower train.batch_size or augment.patch_size_px, or choose "
            f"a smaller network (train.backbone). {kept}"
        ) from error
    except tf.errors.UnimplementedError as error:
        if "determinis" not in str(error).lower():
            raise
        raise InputError(
            "train: this device has no deterministic version of an operation of this network; set train.deterministic "
            f"to false. {kept}. TensorFlow says: {error.message.splitlines()[0]}"
        ) from error
