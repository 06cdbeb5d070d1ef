"""`make check-gpu`: whether TensorFlow sees the GPUs, and how fast each device trains and predicts.

Each device is measured in a process of its own, because TensorFlow keeps the devices and the memory that it has once
taken. The network and its settings are the defaults of the section `train`.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tessera.settings.sections import TrainSettings

PATCH_SIZE_PX = 256
BATCH_SIZES = {"cpu": 8, "gpu": 16}
MEASURED_S = 5.0
OUTPUTS = ["background", "interior", "boundary"]


def measure_device(device: str, patch_size_px: int = PATCH_SIZE_PX, measured_s: float = MEASURED_S) -> dict[str, Any]:
    """Measure training and prediction of the default network with TensorFlow in this process.

    Args:
        device: "cpu" or "gpu".
        patch_size_px: side of the square patches.
        measured_s: seconds of each of the two measurements, after a first step that builds the graph.

    Returns:
        `name` and `precision` of the device; `training` in patches per second; `prediction` in megapixels per second;
        `memory_mb`, the highest use of the GPU's memory, on a CPU that of the process, in MiB.

    Raises:
        InputError: "gpu" is requested and TensorFlow finds none.
    """
    from tessera.networks.devices import choose_device, choose_precision, mixed_precision_policy
    from tessera.networks.tensorflow_setup import tf
    from tessera.training.optimizer import make_optimizer
    from tessera.training.training_model import build_training_model, set_seed

    choose_device(device)
    precision, _ = choose_precision("auto", device)
    batch_size = BATCH_SIZES[device]
    settings = TrainSettings(batch_size=batch_size).model_copy(update={"precision": precision})
    set_seed(settings)
    shape = (batch_size, patch_size_px, patch_size_px)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((*shape, 1), np.float32))
    targets = tf.constant(rng.integers(len(OUTPUTS), size=shape, dtype=np.uint8))
    with mixed_precision_policy(precision):
        patch_info = {"channels": ["channel"], "outputs": OUTPUTS, "class_share": [1 / len(OUTPUTS)] * len(OUTPUTS)}
        network, model = build_training_model(settings, patch_info)
        model.compile(make_optimizer(settings, precision), jit_compile=settings.xla)
    minibatches = tf.data.Dataset.from_tensors((images, targets)).repeat()
    forward = tf.function(lambda pixels: network(pixels, training=False))
    steps_s = _rate(lambda steps: model.fit(minibatches, steps_per_epoch=steps, verbose=0), measured_s)
    calls_s = _rate(lambda calls: [forward(images).numpy() for _ in range(calls)], measured_s)
    return {
        "name": _device_name(tf, device),
        "precision": precision,
        "training": steps_s * batch_size,
        "prediction": calls_s * batch_size * patch_size_px**2 / 1e6,
        "memory_mb": _peak_memory_mb(tf, device),
    }


def _rate(run: Callable[[int], object], measured_s: float) -> float:
    """Return how often per second `run(number)` does its work, after a first time that does not count."""
    run(1)
    started = time.perf_counter()
    run(1)
    number = max(3, round(measured_s / max(time.perf_counter() - started, 1e-3)))
    started = time.perf_counter()
    run(number)
    return number / (time.perf_counter() - started)


def _device_name(tf: Any, device: str) -> str:
    if device == "cpu":
        return f"CPU ({len(os.sched_getaffinity(0))} cores)"
    gpu = tf.config.list_physical_devices("GPU")[0]
    return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))


def _peak_memory_mb(tf: Any, device: str) -> float:
    if device == "gpu":
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def list_gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow sees."""
    from tessera.networks.tensorflow_setup import tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [str(detail.get("device_name", "GPU")) for detail in details]


def explain_missing_gpu(driver: str | None, built_with_cuda: bool) -> str:
    """Return why TensorFlow sees no GPU, and what to do.

    Args:
        driver: the GPUs that the driver lists, one a line; None if there is no driver.
        built_with_cuda: whether this TensorFlow was built for GPUs.
    """
    if driver is None:
        return "TensorFlow sees no GPU, and there is no NVIDIA driver: nvidia-smi is missing or finds no GPU."
    action = (
        "the driver may be too old for this TensorFlow: update it, or look at TensorFlow's messages above"
        if built_with_cuda
        else "TensorFlow was installed without CUDA: run `make setup GPU=1`, then `make check-gpu GPU=1`"
    )
    return f"TensorFlow sees no GPU, but the driver does:\n{driver}\nSo {action}."


def _list_driver_gpus() -> str | None:
    """Return the GPUs that NVIDIA's driver lists; None if there is no driver, or none that works."""
    if not shutil.which("nvidia-smi"):
        return None
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def format_table(measured: list[dict[str, Any]]) -> str:
    """Return a text table with a column for each device."""
    rows = [
        ("", [str(device["name"]) for device in measured]),
        ("precision of training and prediction", [str(device["precision"]) for device in measured]),
        (f"training, patches of {PATCH_SIZE_PX}² per second", [f"{device['training']:.1f}" for device in measured]),
        ("prediction with TensorFlow, Mpx per second", [f"{device['prediction']:.2f}" for device in measured]),
        ("memory, MiB", [f"{device['memory_mb']:,.0f}" for device in measured]),
    ]
    widths = [max(len(cells[column]) for _, cells in rows) for column in range(len(measured))]
    label_width = max(len(label) for label, _ in rows)
    return "\n".join(
        "  ".join([label.ljust(label_width), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))])
        for label, cells in rows
    )


def main() -> int:
    """Print what TensorFlow sees, and the speed of each device; return 1 if it sees no GPU."""
    from tessera.networks.tensorflow_setup import tf

    gpus = list_gpus()
    if gpus:
        print(f"TensorFlow {tf.__version__} sees {len(gpus)} GPU(s): {', '.join(gpus)}", flush=True)
    else:
        print(explain_missing_gpu(_list_driver_gpus(), tf.test.is_built_with_cuda()), flush=True)
    print("Measuring takes about a minute ...", flush=True)
    measured = []
    for device in ["cpu", "gpu"] if gpus else ["cpu"]:
        command = [sys.executable, "-m", "tessera.training.device_check", device]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured.append(json.loads(done.stdout.splitlines()[-1]))
    print(format_table(measured))
    return 0 if gpus else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure_device(sys.argv[1])))
    else:
        sys.exit(main())
