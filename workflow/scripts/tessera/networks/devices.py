"""Devices: what TensorFlow computes with, in which numbers, and how many share the work."""

import contextlib

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, quiet, tf

_BFLOAT16_SINCE = (8, 0)  # compute capability of GPUs that have units for it
_FLOAT16_SINCE = (7, 0)


def choose_device(device, threads=None):
    """Settle on what TensorFlow computes with, and say so.

    Args:
        device: "auto" (a GPU if there is one), "cpu" or "gpu".
        threads: CPU cores to use; None for all.

    Returns:
        "cpu" or "gpu".

    Raises:
        InputError: a GPU is asked for and there is none.
    """
    with quiet():
        gpus = tf.config.list_physical_devices("GPU")
        if device == "gpu" and not gpus:
            raise InputError(
                "device: a GPU was asked for and TensorFlow finds none; set device to auto or cpu, or see to the GPU"
            )
    taken = "gpu" if gpus and device != "cpu" else "cpu"
    try:
        if taken == "cpu" and gpus:
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if taken == "gpu" else []:
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        print(f"TensorFlow runs already and keeps its devices and threads ({error})", flush=True)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    what = f"GPU ({', '.join(names)})" if taken == "gpu" else f"CPU ({threads or 'all'} threads)"
    print(f"Device: {what}" + ("" if device != "auto" or taken == "gpu" else "; no GPU was found"), flush=True)
    return taken


def distribution_strategy(kind, number, asked="auto"):
    """The strategy by which a network lies on `number` devices of a kind, each with its part of every batch.

    Args:
        kind: "cpu" or "gpu", as `choose_device` settled.
        number: of devices; on the CPU one, unless TensorFlow was told to take it for several.
        asked: the setting train.device.

    Returns:
        A tf.distribute.Strategy: the default one for a single device.

    Raises:
        InputError: fewer GPUs than `number`, and GPUs were asked for.
    """
    devices = [device.name.removeprefix("/physical_device:") for device in tf.config.list_logical_devices(kind.upper())]
    if len(devices) < number:
        if asked == "gpu":
            raise InputError(
                f"train.gpus: {number} GPUs were asked for and TensorFlow finds {len(devices)}; give {len(devices)}"
            )
        print(f"{number} devices were asked for and there is {len(devices)}: training on that", flush=True)
    if min(number, len(devices)) < 2:
        return tf.distribute.get_strategy()
    # Copies between devices by NCCL are for GPUs alone.
    across = None if kind == "gpu" else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(devices[:number], cross_device_ops=across)
    print(f"Each batch is shared out to {strategy.num_replicas_in_sync} devices", flush=True)
    return strategy


def choose_precision(precision, kind):
    """(numbers to compute with: "float32", "bfloat16" or "float16"; why) for the setting train.precision."""
    if precision != "auto":
        return precision, "as set"
    if kind == "cpu":
        return "float32", "on a CPU, what is quicker depends on its kind; set bfloat16 to try it"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return gpu_precision(min(detail.get("compute_capability") or (0, 0) for detail in details))


def gpu_precision(capability):
    """(numbers, why) that suit a GPU of this compute capability (major, minor)."""
    said = ".".join(map(str, capability))
    if capability >= _BFLOAT16_SINCE:
        return "bfloat16", f"the GPU has units for it (compute capability {said})"
    if capability >= _FLOAT16_SINCE:
        return "float16", f"the GPU has units for it (compute capability {said}); losses are scaled"
    return "float32", f"the GPU is not quicker with less (compute capability {said})"


@contextlib.contextmanager
def mixed_precision_policy(precision):
    """Layers made in the block compute in `precision` (float32, bfloat16 or float16); weights are always float32."""
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


@contextlib.contextmanager
def translate_device_errors():
    """What devices refuse while a network learns is told with the settings that help.

    Raises:
        InputError: the memory of the device does not suffice, or it cannot compute the same twice.
    """
    kept = "What was learnt up to the last saved epoch is kept beside the model's folder"
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            "train: the memory of the device does not suffice; lower train.batch_size or augment.patch_size_px, or take a "
            f"smaller network (train.backbone). {kept}"
        ) from error
    except tf.errors.UnimplementedError as error:
        if "determinis" not in str(error).lower():
            raise
        raise InputError(
            "train: this device has no way to compute a part of this network alike each time; set "
            f"train.deterministic to false. {kept}. TensorFlow says: {error.message.splitlines()[0]}"
        ) from error
