"""The number of patches in a minibatch: what `train.batch_size: auto` chooses."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tessera.common.atomic_write import write_json
from tessera.common.memory_budget import MIB, SHARE, memory_limit_mb, resident_mb
from tessera.networks.tensorflow_setup import tf
from tessera.training.history import open_or_reset_run_folder

MAX_ON_CPU, MAX_ON_GPU = 8, 16
MIN_STEPS_PER_EPOCH = 8


def activation_bytes(network: Any, patch_size_px: int) -> int:
    """Return the bytes of all layer outputs of `network` for one patch, which a training step keeps for the gradients.

    Args:
        network: Keras model.
        patch_size_px: side of the square patch.
    """
    patch = tf.TensorSpec((1, patch_size_px, patch_size_px, network.input_shape[-1]))

    def step(pixels: Any) -> None:
        network(pixels, training=True)

    graph = tf.function(step).get_concrete_function(patch).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    maps = [tensor for tensor in tensors if tensor.shape.rank == 4 and tensor.shape[0] == 1]
    return sum(math.prod(tensor.shape) * tensor.dtype.size for tensor in maps if tensor.shape.is_fully_defined())


def choose_batch_size(
    batch_size: int | Literal["auto"],
    network: Any,
    shape: Sequence[int],
    device: str,
    memory_mb: float | None = None,
) -> tuple[int, str]:
    """Return the number of patches per minibatch, and the reason for the choice.

    "auto" gives a power of two. On a CPU it is limited by the free memory; the memory of a GPU is not known in advance.

    Args:
        batch_size: the setting.
        network: Keras model.
        shape: shape of the training patches, (n, y, x, c).
        device: "cpu" or "gpu".
        memory_mb: MiB that the job may use; None: free memory of the machine.
    """
    if batch_size != "auto":
        return batch_size, "as set"
    device_limit = MAX_ON_GPU if device == "gpu" else MAX_ON_CPU
    needed_mb = activation_bytes(network, shape[1]) / MIB
    free_mb = max(memory_limit_mb(memory_mb) - resident_mb(), 0) * SHARE if device == "cpu" else math.inf
    limits = {
        f"the usual number on a {device.upper()}": device_limit,
        f"so that an epoch of {shape[0]} patches has {MIN_STEPS_PER_EPOCH} steps": max(
            shape[0] // MIN_STEPS_PER_EPOCH, 1
        ),
        f"each patch needs {needed_mb:.0f} MiB, and {free_mb:.0f} MiB are free": max(free_mb / needed_mb, 1),
    }
    reason, limit = min(limits.items(), key=lambda item: item[1])
    return 2 ** int(math.log2(limit)), reason


def resolve_batch_size(
    run_folder: Path,
    provenance: Any,
    batch_size: int | Literal["auto"],
    network: Any,
    shape: Sequence[int],
    device: str,
    memory_mb: float | None = None,
) -> tuple[int, str]:
    """Return the result of `choose_batch_size`, stored in the folder of the training.

    A training that continues uses the stored value: with more memory another value might be chosen, and the weights
    would differ.

    Args:
        run_folder: folder of the training; emptied if it belongs to another provenance.
        provenance: identifies the training.
        batch_size, network, shape, device, memory_mb: see `choose_batch_size`.
    """
    open_or_reset_run_folder(run_folder, provenance)
    path = run_folder / "batch.json"
    if not path.is_file():
        write_json(path, choose_batch_size(batch_size, network, shape, device, memory_mb))
    number, reason = json.loads(path.read_text())
    return number, reason
