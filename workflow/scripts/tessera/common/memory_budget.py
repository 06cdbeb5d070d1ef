"""Memory budget: bytes per pixel that a network needs, and MiB available to a job."""

from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

MIB = 2**20
SHARE = 0.6  # of the free memory that tiles may take; the rest is for reading, writing and surprises
_SMALL_PX, _LARGE_PX = 256, 1024


def resident_mb() -> float:
    """Return the resident memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss / MIB)


def memory_limit_mb(requested: float | None) -> float:
    """Return the memory that this job may use, in MiB.

    Args:
        requested: MiB requested from the scheduler; None: all memory that the machine has available.
    """
    memory = psutil.virtual_memory()
    # Pages of files that this process maps count as resident and as available.
    available = min(resident_mb() + memory.available / MIB, memory.total / MIB)
    return float(min(requested, available) if requested else available)


def measure_bytes_per_px(
    predict: Callable[[NDArray[np.float32]], Any], channels: int, resident: Callable[[], float] = resident_mb
) -> float:
    """Measure the bytes per input pixel that a network needs on a CPU, from a small and a larger tile.

    Back ends keep their working memory, so the resident memory after a call shows what it needed.

    Args:
        predict: `predict` of a back end of `tessera.inference.backends`; its argument is (n, y, x, c).
        channels: number of input channels of the network.
        resident: returns the memory of this process in MiB.
    """
    levels = []
    for side in (_SMALL_PX, _LARGE_PX):
        predict(np.zeros((1, side, side, channels), np.float32))
        levels.append(resident())
    return max(levels[1] - levels[0], 0) * MIB / (_LARGE_PX**2 - _SMALL_PX**2)
