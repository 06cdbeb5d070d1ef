"""Masks whose colors are classes, and masks that show the outlines of objects."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt
from skimage.measure import label

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED
from tessera.io.drawn_labels import is_ignored
from tessera.io.lazy_image import LazyImage

SHOWN = 5
MOST_OUTLINE = 0.5  # largest share of pixels that are outlines


def read_colors(source: LazyImage, colors: Mapping[str, str], classes: Sequence[str], name: str) -> LazyImage:
    """Return the classes (t, 1, z, y, x) that the colors of an image stand for.

    Args:
        source: red, green and blue (t, 3, z, y, x), or gray (t, 1, z, y, x), of 8 bits.
        colors: {color such as "#ff0000": name of a class, or ignore}.
        classes: names of the classes, background first.
        name: name of the annotation, for messages.

    Raises:
        InputError: the image has no colors of 8 bits; while reading: a color is not in `colors`.
    """
    channels = source.shape[1]
    if channels not in (1, 3) or source.dtype != np.uint8:
        raise InputError(
            f"{name}: has {channels} channels of the type {source.dtype}, but ingest_truth.colors needs red, green and "
            "blue of 8 bits, without transparency; save it so"
        )
    table = {int(color.removeprefix("#"), 16): _class_number(text, classes) for color, text in colors.items()}
    codes = np.array(sorted(table), np.int64)
    values = np.array([table[code] for code in codes.tolist()], np.int64)

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        pixels = source.read(t, z, rows, columns).astype(np.int64)
        red, green, blue = pixels if channels == 3 else (pixels[0], pixels[0], pixels[0])
        code = (red << 16) | (green << 8) | blue
        place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
        if (unlisted := codes[place] != code).any():
            found, counts = np.unique(code[unlisted], return_counts=True)
            order = np.argsort(-counts, kind="stable")[:SHOWN]
            shown = ", ".join(f"#{found[at]:06x} ({counts[at]} pixels)" for at in order)
            raise InputError(
                f"{name}: has colors that ingest_truth.colors does not list: {shown}; add them, or export the mask "
                "without smoothing and JPEG"
            )
        labels: NDArray[np.int64] = values[place][None]
        return labels

    frames, _, depth, height, width = source.shape
    return replace(source, shape=(frames, 1, depth, height, width), dtype=np.dtype(np.int64), read=read)


def _class_number(text: str, classes: Sequence[str]) -> int:
    return NOT_ANNOTATED if is_ignored(text) else classes.index(text)


def read_outlines(source: LazyImage, name: str) -> LazyImage:
    """Return ids (t, 1, z, y, x) of the areas that outlines enclose. Each plane is in memory as a whole.

    Areas that touch the border of the image are background. A pixel of an outline belongs to the object if that is at
    least as near as the background. Ids start at 1 in each frame.

    Args:
        source: images (t, 1, 1, y, x) whose outlines are not 0.
        name: name of the annotation, for messages.

    Raises:
        InputError: the image is a stack of planes; while reading: most pixels are not 0.
    """
    depth, height, width = source.shape[2:]
    if depth > 1:
        raise InputError(
            f"{name}: outlines on {depth} planes do not say which of them belong to one object; give an image of ids"
        )
    current: dict[tuple[int, int], NDArray[np.int64]] = {}

    def plane(t: int, z: int) -> NDArray[np.int64]:
        if (t, z) not in current:
            current.clear()
            outlines = source.read(t, z, slice(0, height), slice(0, width))[0] != 0
            if outlines.mean() > MOST_OUTLINE:
                raise InputError(
                    f"{name}: {outlines.mean():.0%} of its pixels are not 0, so they are no outlines "
                    "(ingest_truth.outlines); if the outlines are black, invert the image"
                )
            current[t, z] = fill_outlines(outlines)
        return current[t, z]

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        return plane(t, z)[None, rows, columns]

    return replace(source, dtype=np.dtype(np.int64), read=read, tiled=True)


def fill_outlines(outlines: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the ids (y, x) of the areas that `outlines` (y, x) enclose, in the order of their first pixels."""
    areas = label(~outlines, connectivity=1)
    border = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    kept = np.setdiff1d(np.arange(1, areas.max() + 1), border)
    numbers = np.zeros(areas.max() + 1, np.int64)
    numbers[kept] = np.arange(1, len(kept) + 1)
    ids: NDArray[np.int64] = numbers[areas]
    if not len(kept):
        return ids
    # Corners of outlines are as near to the object as other pixels if diagonal steps count as one.
    to_object, nearest = distance_transform_cdt(ids == 0, "chessboard", return_indices=True)
    background = (ids == 0) & ~outlines
    inside = outlines.copy()
    if background.any():
        inside &= to_object <= distance_transform_cdt(~background, "chessboard")
    ids[inside] = ids[nearest[0][inside], nearest[1][inside]]
    return ids
