"""Drift correction: the displacement of a whole frame since the previous frame.

`estimate_drift` lets objects vote for a common displacement. `align_foreground` refines it for frames with few objects
by aligning their foreground masks.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.spatial import cKDTree

from tessera.tracking.array_types import Floats, Indices, Labels

MAX_VOTERS = 1500  # objects whose neighbors vote
NEIGHBORS_PER_VOTER = 24
MIN_OBJECTS = 8  # with fewer objects, drift cannot be told from the objects' own motion
MAX_JUMP = 6.0  # largest drift, as a multiple of the nearest-neighbor distance or the radius
MAX_LOG_SIZE_RATIO = 0.4  # between an object and the object that it votes for
MIN_AGREEMENT = 0.4  # share of the voters that must agree on a drift
MIN_CLEAR_AGREEMENT = 0.2  # the same if hardly any voter agrees on another drift
CLEAR_FACTOR = 3.0  # times as many votes as any other drift: it is clear
MIN_GAIN_OVER_NO_DRIFT = 1.4  # times as many votes as no drift
EQUAL_SHARE = 0.8  # a drift with this share of the votes of the best one explains the frame about as well
N_SHORT_CELLS = 6  # shortest clusters of votes that may explain the frame as well
MAX_ALIGNED_OBJECTS = 100  # frames with fewer objects are also aligned by their foreground
MAX_ALIGNED_PX = 256  # side of the masks that are aligned; larger masks are downsampled
MIN_OVERLAP_GAIN = 1.2  # times as much overlap that an alignment must reach
MIN_OVERLAPPING_SHARE = 0.7  # of the objects must overlap others by at least half after an alignment

_Region = tuple[slice, ...]


def estimate_drift(
    before: Floats, after: Floats, sizes_before: Floats, sizes_after: Floats, voxel_size: Floats
) -> Floats:
    """Estimate the displacement that most objects have in common; zeros if no common displacement stands out.

    Each object votes for the displacements to all objects of similar size around its position in the next frame. The
    densest cell of a grid of displacements gives the drift, which is then refined to the median of the votes around it.
    If a shorter drift has almost as many votes, as in a regular array of objects, the shortest one is taken.

    Args:
        before, after: centers (objects, 3), z, y, x in pixels of x.
        sizes_before, sizes_after: float64 (objects,), pixels.
        voxel_size: size of a voxel along z, y, x.

    Returns:
        float64 (3,), z, y, x in pixels of x.
    """
    if min(len(before), len(after)) < MIN_OBJECTS:
        return np.zeros(3)
    voters = np.linspace(0, len(before) - 1, min(len(before), MAX_VOTERS)).astype(int)
    tree: Any = cKDTree(after)
    radius = np.sqrt(np.median(sizes_after) * voxel_size[1] / np.pi)
    neighbor_distance = np.median(tree.query(after[:: max(len(after) // MAX_VOTERS, 1)], k=2)[0][:, 1])
    max_distance = MAX_JUMP * max(neighbor_distance, radius)
    distances, places = tree.query(
        before[voters], k=min(NEIGHBORS_PER_VOTER, len(after)), distance_upper_bound=max_distance
    )
    voter, rank = np.nonzero(np.isfinite(distances))
    target = places[voter, rank]
    ratio = np.log(sizes_after[target] / sizes_before[voters][voter])
    similar = np.abs(ratio) < MAX_LOG_SIZE_RATIO
    votes = (after[target] - before[voters[voter]])[similar]
    voter = voter[similar]
    if not len(votes):
        return np.zeros(3)
    width = max(0.5 * radius, 1.0)
    candidates, shorter = [], []
    n_still = _count_voters(votes, voter, np.zeros(3), width)
    # Two grids, shifted by half a cell, so that no cluster of votes is divided in both.
    for shift in (0.0, 0.5):
        cells, counts = np.unique(np.floor(votes / width + shift).astype(int), axis=0, return_counts=True)
        for cell in cells[np.argsort(-counts)[:3]]:
            middle = (cell + 0.5 - shift) * width
            candidates.append((_count_voters(votes, voter, middle, width), middle))
        large = (cells[counts >= 0.5 * counts.max()] + 0.5 - shift) * width
        shorter += list(large[np.argsort(np.linalg.norm(large, axis=1), kind="stable")[:N_SHORT_CELLS]])
    n_best, best = max(candidates, key=lambda candidate: candidate[0])
    n_other = max((n for n, middle in candidates if np.linalg.norm(middle - best) > 3 * width), default=0)
    min_share = MIN_CLEAR_AGREEMENT if n_best >= CLEAR_FACTOR * n_other else MIN_AGREEMENT
    if n_best < max(min_share * len(voters), MIN_GAIN_OVER_NO_DRIFT * n_still, MIN_OBJECTS / 2):
        best = np.zeros(3)
        if n_still < MIN_AGREEMENT * len(voters):
            return best
        return _refine(votes, best, width)
    # In a regular array, drifts that differ by its spacing explain the frame equally well; the shortest is taken.
    best = _refine(votes, best, width)
    n_best = _count_voters(votes, voter, best, width)
    for middle in sorted(shorter, key=lambda vector: float(np.linalg.norm(vector))):
        other = _refine(votes, middle, width)
        is_other = np.linalg.norm(best) - np.linalg.norm(other) > width and np.linalg.norm(best - other) > 3 * width
        if is_other and _count_voters(votes, voter, other, width) >= EQUAL_SHARE * n_best:
            return other
    return best


def _refine(votes: Floats, middle: Floats, width: float) -> Floats:
    """Median of the votes (votes, 3) closer than `width` to `middle`, three times."""
    for _ in range(3):
        close = np.linalg.norm(votes - middle, axis=1) < width
        if not close.any():
            break
        middle = np.median(votes[close], axis=0)
    result: Floats = middle
    return result


def _count_voters(votes: Floats, voter: Indices, middle: Floats, width: float) -> int:
    """Number of voters with a vote closer than `width` to `middle`."""
    return len(np.unique(voter[np.linalg.norm(votes - middle, axis=1) < width]))


def align_foreground(before: Labels, after: Labels, drift: Floats) -> Floats:
    """Refine a drift by aligning the foreground of two frames.

    If a few cells all move or divide at once, their votes give no drift, but their common outline hardly changes. The
    alignment is used only if it increases the overlap clearly and most objects then overlap objects of the other frame.

    Args:
        before, after: labels, integers (z, y, x).
        drift: float64 (3,), z, y, x in pixels.

    Returns:
        float64 (3,), the refined drift in pixels, or `drift` if no alignment is clearly better.
    """
    factor = -(-max(before.shape[1:]) // MAX_ALIGNED_PX)
    mask_before, mask_after = (_downsample(np.any(frame > 0, axis=0), factor) for frame in (before, after))
    region_before, region_after = _common_regions(mask_before.shape, np.rint(drift[1:] / factor).astype(int))
    overlap = (mask_before[region_before] * mask_after[region_after]).sum()
    if MIN_OVERLAP_GAIN * overlap >= min(mask_before.sum(), mask_after.sum()):
        return drift
    # At [i, j]: the overlap when `mask_before` is moved by (i, j) minus its own last index.
    overlaps = _correlate(mask_after, mask_before)
    best = np.array(np.unravel_index(overlaps.argmax(), overlaps.shape)) - mask_before.shape + 1
    if overlaps.max() < MIN_OVERLAP_GAIN * overlap or not _most_objects_overlap(before, after, factor * best):
        return drift
    return np.append(drift[0], factor * best)


def _correlate(first: Floats, second: Floats) -> Floats:
    """Full cross-correlation of two planes by Fourier transforms.

    This is `scipy.signal.correlate(first, second, method="fft")`. Importing scipy.signal takes longer than tracking a
    short movie.
    """
    shape = [a + b - 1 for a, b in zip(first.shape, second.shape, strict=True)]
    padded = [next_fast_len(side, real=True) for side in shape]
    spectrum = rfftn(first, padded) * rfftn(second[::-1, ::-1], padded)
    result: Floats = irfftn(spectrum, padded)[: shape[0], : shape[1]]
    return result


def _downsample(mask: NDArray[Any], factor: int) -> Floats:
    """Share of foreground in each block of factor x factor pixels."""
    sides = [(0, -side % factor) for side in mask.shape]
    blocks = np.pad(mask, sides).reshape(-(-mask.shape[0] // factor), factor, -1, factor)
    result: Floats = blocks.mean(axis=(1, 3))
    return result


def _common_regions(shape: tuple[int, ...], shift: NDArray[Any]) -> tuple[_Region, _Region]:
    """Regions (y, x) of two frames that coincide when the first frame is moved by `shift` (y, x) pixels."""
    first, second = (
        tuple(slice(max(sign * by, 0), max(side + min(sign * by, 0), 0)) for by, side in zip(shift, shape, strict=True))
        for sign in (-1, 1)
    )
    return first, second


def _most_objects_overlap(before: Labels, after: Labels, shift: NDArray[Any]) -> bool:
    """Whether most objects, and more than one, overlap others by half when the frame is moved by (y, x) pixels."""
    region_before, region_after = _common_regions(before.shape[1:], shift)
    moved, target = before[:, *region_before], after[:, *region_after]
    labels, sizes = np.unique(before[before > 0], return_counts=True)
    covered, pixels = np.unique(moved[(moved > 0) & (target > 0)], return_counts=True)
    shares = pixels / sizes[np.searchsorted(labels, covered)]
    return bool(len(labels) > 1 and (shares >= 0.5).sum() >= MIN_OVERLAPPING_SHARE * len(labels))
