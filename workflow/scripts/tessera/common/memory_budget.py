"""Memories: what a network needs of it for a pixel, and what a job has."""

import numpy as np
import psutil

from tessera.common.constants import DIVISOR

MIB = 2**20
SHARE = 0.6  # of the memory that is left; the rest is for reading, writing and what was not foreseen
_SMALL_PX, _LARGE_PX = 256, 1024


def resident_mb():
    """Memory of this process now, in MiB."""
    return psutil.Process().memory_info().rss / MIB


def memory_limit_mb(asked):
    """Memory that this job may use, in MiB: what the scheduler was asked for, or what the machine has left."""
    memory = psutil.virtual_memory()
    # What this process maps of files is resident and available at once.
    left = min(resident_mb() + memory.available / MIB, memory.total / MIB)
    return min(asked, left) if asked else left


def measure_bytes_per_px(predict, channels):
    """What a network on a CPU needs for each pixel that it sees at once, as measured with a small and a larger tile.

    Args:
        predict: of an engine of `tessera.inference.backends`.
        channels: of the network.

    Returns:
        Bytes; engines keep what they needed once, so that what is resident afterwards tells.
    """
    levels = []
    for side in (_SMALL_PX, _LARGE_PX):
        predict(np.zeros((1, side, side, channels), np.float32))
        levels.append(resident_mb())
    return max(levels[1] - levels[0], 0) * MIB / (_LARGE_PX**2 - _SMALL_PX**2)


def largest_core_px(core_px, halo_px, need, limit):
    """The side of cores whose tiles fit into memory: `core_px`, or a half, a quarter, ... of it.

    Args:
        core_px, halo_px: see `tessera.inference.tiling.cut`.
        need: bytes per pixel of a tile.
        limit: MiB that the job may use.
    """
    left = SHARE * max(limit - resident_mb(), 0) * MIB
    while core_px > 4 * DIVISOR and need * (core_px + 2 * halo_px) ** 2 > left:
        core_px = core_px // 2 // DIVISOR * DIVISOR
    return core_px
