"""Drifts: how far a whole frame moved since the one before."""

import numpy as np
from scipy.signal import correlate
from scipy.spatial import cKDTree

ANCHORS = 1500  # objects whose neighbours vote
NEIGHBOURS = 24
FEWEST = 8  # objects below which a drift cannot be told from their own motion
REACH = 6.0  # typical distances between neighbours, or radii, that a frame may jump
SHARE = 0.4  # of the anchors that suffice to agree on a jump
LEAST_SHARE = 0.2  # of the anchors that suffice where hardly any agree on another
STAND_OUT = 3.0  # times as many as agree on any other
FEW = 100  # objects whose masks are aligned as well
FINEST_PX = 256  # side of the masks that are aligned; larger ones are made smaller
BETTER = 1.2  # times as much that has to lie over each other when it is aligned
MOST_OBJECTS = 0.7  # have to lie, by half or more, over others when they are aligned


def estimate_drift(before, after, sizes_before, sizes_after, steps):
    """How far most objects moved together, in pixels of x; zeros where no common motion stands out.

    Each object votes for the ways to all objects around its place in the frame after that are about as large. Where
    many agree, the frame has moved. The votes' densest place is found on a grid, then it is the median of those around.

    Args:
        before, after: centres (objects, 3) z, y, x in pixels of x.
        sizes_before, sizes_after: pixels (objects,).
        steps: size of a pixel in z, y, x.

    Returns:
        float64 (3,).
    """
    if min(len(before), len(after)) < FEWEST:
        return np.zeros(3)
    chosen = np.linspace(0, len(before) - 1, min(len(before), ANCHORS)).astype(int)
    tree = cKDTree(after)
    radius = np.sqrt(np.median(sizes_after) * steps[1] / np.pi)
    spacing = np.median(tree.query(after[:: max(len(after) // ANCHORS, 1)], k=2)[0][:, 1])
    reach = REACH * max(spacing, radius)
    near, at = tree.query(before[chosen], k=min(NEIGHBOURS, len(after)), distance_upper_bound=reach)
    one, rank = np.nonzero(np.isfinite(near))
    two = at[one, rank]
    ratio = np.log(sizes_after[two] / sizes_before[chosen][one])
    alike = np.abs(ratio) < 0.4
    ways = (after[two] - before[chosen[one]])[alike]
    who = one[alike]
    if not len(ways):
        return np.zeros(3)
    width = max(0.5 * radius, 1.0)
    found = []
    still = _agreeing(ways, who, np.zeros(3), width)
    # Two grids, so that no cluster of votes is cut in each of them.
    for shift in (0.0, 0.5):
        cells = np.floor(ways / width + shift).astype(int)
        places, counts = np.unique(cells, axis=0, return_counts=True)
        for place in places[np.argsort(-counts)[:3]]:
            middle = (place + 0.5 - shift) * width
            found.append((_agreeing(ways, who, middle, width), middle))
    most, best = max(found, key=lambda pair: pair[0])
    other = max((votes for votes, middle in found if np.linalg.norm(middle - best) > 3 * width), default=0)
    enough = LEAST_SHARE if most >= STAND_OUT * other else SHARE
    if most < max(enough * len(chosen), 1.4 * still, FEWEST / 2):
        best = np.zeros(3)
        if still < SHARE * len(chosen):
            return best
    for _ in range(3):
        close = np.linalg.norm(ways - best, axis=1) < width
        if not close.any():
            break
        best = np.median(ways[close], axis=0)
    return best


def _agreeing(ways, who, middle, width):
    return len(np.unique(who[np.linalg.norm(ways - middle, axis=1) < width]))


def align_foreground(before, after, drift):
    """How far the foreground moved as a whole, by where it covers most of what it was.

    A few cells that all moved or all divided at once tell no drift by themselves, but what they make up together is
    much as it was. Cells that go their own ways are nowhere what they were.

    Args:
        before, after: labels, integers (z, y, x).
        drift: pixels in z, y and x, float64 (3,): what there is to better.

    Returns:
        As `drift`; the same where no other place is clearly better.
    """
    masks = [(frame > 0).any(axis=0) for frame in (before, after)]
    factor = -(-max(masks[0].shape) // FINEST_PX)
    once, now = (_shrunk(mask, factor) for mask in masks)
    ours, theirs = _common(once.shape, np.rint(drift[1:] / factor).astype(int))
    known = (once[ours] * now[theirs]).sum()
    if BETTER * known >= min(once.sum(), now.sum()):
        return drift
    shared = correlate(now, once, method="fft")  # at [i, j]: with `once` moved by i, j less its own sides
    best = np.array(np.unravel_index(shared.argmax(), shared.shape)) - once.shape + 1
    if shared.max() < BETTER * known or not _is_common(before, after, factor * best):
        return drift
    return np.append(drift[0], factor * best)


def _shrunk(mask, factor):
    """Share of each block of factor² pixels that is in the mask."""
    sides = [(0, -side % factor) for side in mask.shape]
    blocks = np.pad(mask, sides).reshape(-(-mask.shape[0] // factor), factor, -1, factor)
    return blocks.mean(axis=(1, 3))


def _common(shape, shift):
    """Indices of what two frames (y, x) share when the first is moved by (y, x) pixels: of it, and of the other."""
    return tuple(
        tuple(slice(max(sign * by, 0), max(side + min(sign * by, 0), 0)) for by, side in zip(shift, shape, strict=True))
        for sign in (-1, 1)
    )


def _is_common(before, after, shift):
    """Whether most objects, and more than one, lie over others when all are moved by (y, x) pixels."""
    ours, theirs = _common(before.shape[1:], shift)
    once, now = before[:, *ours], after[:, *theirs]
    labels, sizes = np.unique(before[before > 0], return_counts=True)
    covered, pixels = np.unique(once[(once > 0) & (now > 0)], return_counts=True)
    shares = pixels / sizes[np.searchsorted(labels, covered)]
    return len(labels) > 1 and (shares >= 0.5).sum() >= MOST_OBJECTS * len(labels)
