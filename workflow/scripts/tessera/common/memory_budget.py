"""Memory budget: bytes per pixel that a network needs, and MiB available to a job."""

from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from tessera.common.constants import DIVISOR

MIB = 2**20
SHARE = 0.6  # of the free memory that tiles may take; the rest is for reading, writing and surprises
_SMALL_PX, _LARGE_PX = 256, 1024


def resident_mb() -> float:
    """Return the resident memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss / MIB)


def memory_limit_mb(requested: float | None) -> float:
    """Return the memory that this job may use, in MiB.

    Args:
        requested: MiB that the scheduler was asked for; None: as much as the machine has available.
    """
    memory = psutil.virtual_memory()
    # Pages of files that this process maps count as resident and as available.
    available = min(resident_mb() + memory.available / MIB, memory.total / MIB)
    return float(min(requested, available) if requested else available)


def measure_bytes_per_px(predict: Callable[[NDArray[np.float32]], Any], channels: int) -> float:
    """Measure the bytes per input pixel that a network needs on a CPU, from a small and a larger tile.

    Back ends keep their working memory, so the resident memory after a call shows what it needed.

    Args:
        predict: `predict` of a back end of `tessera.inference.backends`; its argument is (n, y, x, c).
        channels: number of input channels of the network.
    """
    resident = []
    for side in (_SMALL_PX, _LARGE_PX):
        predict(np.zeros((1, side, side, channels), np.float32))
        resident.append(resident_mb())
    return max(resident[1] - resident[0], 0) * MIB / (_LARGE_PX**2 - _SMALL_PX**2)


def largest_core_px(core_px: int, halo_px: int, bytes_per_px: float, limit_mb: float) -> int:
    """Return the largest side of tile cores that fits into memory: `core_px`, or a half, a quarter, ... of it.

    Args:
        core_px, halo_px: in pixels, see `tessera.inference.tiling`.
        bytes_per_px: memory per pixel of a tile.
        limit_mb: MiB that the job may use.
    """
    budget = SHARE * max(limit_mb - resident_mb(), 0) * MIB
    while core_px > 4 * DIVISOR and bytes_per_px * (core_px + 2 * halo_px) ** 2 > budget:
        core_px = core_px // 2 // DIVISOR * DIVISOR
    return core_px
