"""Reads the pixels and ground truth around a position in an image, at the scale of the network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.data.resampling import resample

if TYPE_CHECKING:
    from tessera.data.annotated_images import AnnotatedImage


def read_window(
    source: AnnotatedImage, plane: tuple[int, int], row: int, column: int, window_px: int, patch_size_px: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    """Read a square window around a position, at the scale of the image for the network.

    The center is moved so that the patch, the middle of the window, is in the image. An image smaller than the patch is
    centered. Pixels outside the image are mirrored.

    Args:
        source: the annotated image.
        plane: (t, z).
        row: center along y, in pixels of the image.
        column: center along x, in pixels of the image.
        window_px: side of the window at the image's `scale`.
        patch_size_px: side of the patch at the image's `scale`.

    Returns:
        Normalized pixels (y, x, c); ids (y, x), 0 for pixels of instance labels that nobody annotated; and `inside`
        (y, x), True for pixels in the image, except these unannotated ones.
    """
    t, z = plane
    spans = [
        _span(center, window_px, patch_size_px, size, source.scale)
        for center, size in zip((row, column), source.pixels.shape[-2:], strict=True)
    ]
    lows = [span.read.min() for span in spans]
    box = [slice(low, span.read.max() + 1) for low, span in zip(lows, spans, strict=True)]
    order = source.channel_indices
    block = source.pixels[(t, slice(None), z, *box)]
    if order != list(range(len(block))):
        block = block[order]
    for axis, (low, span) in enumerate(zip(lows, spans, strict=True)):
        block = _take(block, span.read - low, axis + 1)
    pixels = source.intensity_ranges.normalize(np.ascontiguousarray(np.moveaxis(block, 0, -1)), t)
    if source.scale != 1:
        for axis, span in enumerate(spans):
            pixels = resample(pixels, span.positions, axis, reach=max(1, 1 / source.scale))
    return pixels, *_read_ids(source, plane, spans)


def has_annotation(source: AnnotatedImage, plane: tuple[int, int], row: int, column: int, patch_size_px: int) -> bool:
    """Return whether any pixel of the patch at a position (see `read_window`) is annotated."""
    spans = [
        _span(center, patch_size_px, patch_size_px, size, source.scale)
        for center, size in zip((row, column), source.pixels.shape[-2:], strict=True)
    ]
    ids, inside = _read_ids(source, plane, spans)
    return bool((inside if source.holds_instances else inside & (ids != IGNORE)).any())


def _read_ids(
    source: AnnotatedImage, plane: tuple[int, int], spans: Sequence[_Span]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    lows = [span.nearest.min() for span in spans]
    box = [slice(low, span.nearest.max() + 1) for low, span in zip(lows, spans, strict=True)]
    ids = source.truth[(plane[0], 0, plane[1], *box)]
    for axis, (low, span) in enumerate(zip(lows, spans, strict=True)):
        ids = _take(ids, span.nearest - low, axis)
    ids = ids.astype(np.int32)
    unknown = ids == UNKNOWN
    ids[unknown] = 0
    return ids, np.logical_and.outer(*(span.inside for span in spans)) & ~unknown


class _Span(NamedTuple):
    """The pixels of a window along one axis.

    Attributes:
        read: indices of the image's pixels to read, mirrored at its ends.
        positions: positions of the window's pixels among those that are read.
        nearest: index of the image's pixel nearest to each pixel of the window.
        inside: True for the window's pixels in the image.
    """

    read: NDArray[np.int64]
    positions: NDArray[np.float64]
    nearest: NDArray[np.int64]
    inside: NDArray[np.bool_]


def _span(center: int, window_px: int, patch_size_px: int, size: int, scale: float) -> _Span:
    scaled_size = size if scale == 1 else max(1, round(size * scale))
    start = _move_inside(math.floor((center + 0.5) * scale), patch_size_px, scaled_size) - window_px // 2
    positions = (start + np.arange(window_px) + 0.5) / scale - 0.5
    reach = 0 if scale == 1 else max(1, 1 / scale)
    first, last = math.floor(positions[0] - reach), math.ceil(positions[-1] + reach)
    return _Span(
        read=_mirror(np.arange(first, last + 1), size),
        positions=positions - first,
        nearest=_mirror(np.floor(positions + 0.5).astype(int), size),
        inside=(positions >= -0.5) & (positions < size - 0.5),
    )


def _take(values: NDArray[Any], indices: NDArray[np.int64], axis: int) -> NDArray[Any]:
    """Return `values` at indices along an axis, without a copy if these are all indices in order."""
    return values if np.array_equal(indices, np.arange(values.shape[axis])) else values.take(indices, axis)


def _move_inside(center: int, patch_size_px: int, size: int) -> int:
    """Return the center nearest to `center` at which the patch is inside an axis of `size`."""
    half = patch_size_px // 2
    return size // 2 if size <= patch_size_px else min(max(center, half), size - patch_size_px + half)


def _mirror(indices: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return indices into an axis of `size`, with those beyond its ends mirrored."""
    folded = indices % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)
