"""Near-duplicate images in different subsets of the split, found by the places of detail in them."""

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby, product
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tessera.common.even_sampling import evenly_spaced_indices
from tessera.common.types import StrPath
from tessera.data.normalization import normalize
from tessera.data.split import LEAKS_KEPT, SUBSETS
from tessera.io.ome_zarr_store import open_array, read_metadata

FRAMES = 8  # compared frames of a movie, including the first and the last
PLANE_PX = 256  # side to which planes are resized
CELLS = 32  # side of a signature
SHIFT = 1  # cells by which two images may be displaced: 1/32 of their size
COLUMNS = ("image_a", "t_a", "image_b", "t_b", "split_a", "split_b", "similarity")
BLOCK = 512  # signatures compared at once

Frame: TypeAlias = tuple[str, int, str]
"""(image, t, subset or fold)."""


def read_planes(path: StrPath) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (t, plane (y, x)) of evenly spaced frames: the middle plane, mean of channels, at the coarsest level."""
    metadata = read_metadata(path)
    array = open_array(path, level=max(int(folder.name) for folder in Path(path).iterdir() if folder.name.isdigit()))
    count, _, depth, _, _ = array.shape
    for t in evenly_spaced_indices(count, FRAMES):
        planes: NDArray[Any] = np.asarray(array[t, :, depth // 2])
        yield t, normalize(np.moveaxis(planes, 0, -1), metadata.contrast_limits).mean(-1)


def signature(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Return the amount of detail in each cell of a grid over a plane: (CELLS, CELLS), equal for light and dark detail.

    The same field at another focus or time has its cells in the same places although their contrast may be inverted,
    so correlation of the pixels would miss it. Broad trends are removed, since uneven light is common to all fields.
    """
    plane = cv2.resize(plane.astype(np.float32), (PLANE_PX, PLANE_PX), interpolation=cv2.INTER_AREA)
    detail = np.abs(plane - cv2.GaussianBlur(plane, (0, 0), 3))
    cells = cv2.GaussianBlur(cv2.resize(detail, (CELLS, CELLS), interpolation=cv2.INTER_AREA), (0, 0), 0.7)
    return cells - cv2.GaussianBlur(cells, (0, 0), 5)


def compare(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the similarity of each of `some` signatures (n, y, x) to each of `others` (m, y, x): (n, m), at most 1.

    It is the largest Pearson correlation over displacements by up to SHIFT cells; 0 for planes without detail.
    """
    steps = [(dy, dx) for dy in range(2 * SHIFT + 1) for dx in range(2 * SHIFT + 1)]
    size = CELLS - 2 * SHIFT
    center = _unit(some[:, SHIFT:-SHIFT, SHIFT:-SHIFT])
    similarity: NDArray[np.float32] = np.max(
        [center @ _unit(others[:, dy : dy + size, dx : dx + size]).T for dy, dx in steps], axis=0
    )
    return similarity


def _unit(signatures: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = signatures.reshape(len(signatures), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 1e-6, length, np.inf)


def find_leaks(
    frames: Sequence[Frame], signatures: NDArray[np.float32], threshold: float
) -> tuple[int, list[dict[str, Any]]]:
    """Find pairs of images in different subsets with a similarity above `threshold`, and their most similar frames.

    Args:
        frames: (image, t, subset or fold) of each signature; the frames of an image are consecutive.
        signatures: (n, y, x).
        threshold: similarity above which a pair counts.

    Returns:
        The number of pairs, and dicts with the columns of `leakage.tsv` of the LEAKS_KEPT most similar, in order.
    """
    total = 0
    kept: list[tuple[float, tuple[Frame, Frame]]] = []
    folds = sorted({subset for _, _, subset in frames} - set(SUBSETS))
    for subset_a, subset_b in combinations([*folds, *SUBSETS], 2):
        for some, others in product(_blocks(frames, subset_a), _blocks(frames, subset_b)):
            similarity = compare(signatures[np.concatenate(some)], signatures[np.concatenate(others)])
            starts_a, starts_b = (np.cumsum([0, *map(len, images)]) for images in (some, others))
            best = np.maximum.reduceat(np.maximum.reduceat(similarity, starts_a[:-1], axis=0), starts_b[:-1], axis=1)
            pairs = np.argwhere(best > threshold)
            total += len(pairs)
            for a, b in pairs[np.argsort(-best[tuple(pairs.T)], kind="stable")][:LEAKS_KEPT]:
                part = similarity[starts_a[a] : starts_a[a + 1], starts_b[b] : starts_b[b + 1]]
                at_a, at_b = np.unravel_index(part.argmax(), part.shape)
                kept.append((float(best[a, b]), (frames[some[a][at_a]], frames[others[b][at_b]])))
            kept = sorted(kept, key=lambda pair: (-pair[0], pair[1]))[:LEAKS_KEPT]
    rows = ((*a[:2], *b[:2], a[2], b[2], f"{most:.3f}") for most, (a, b) in kept)
    return total, [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _blocks(frames: Sequence[Frame], subset: str) -> list[list[list[int]]]:
    """Return the indices of the frames of a subset, image by image, in blocks of about BLOCK frames or fewer."""
    numbers = (number for number, frame in enumerate(frames) if frame[2] == subset)
    images = (list(group) for _, group in groupby(numbers, key=lambda number: frames[number][0]))
    return [list(block) for _, block in groupby(images, key=lambda image: image[0] // BLOCK)]
