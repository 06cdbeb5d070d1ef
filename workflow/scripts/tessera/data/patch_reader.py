"""Reads the pixels and ground truth around a position in an image, at the scale of the network's input."""

import math
from typing import NamedTuple

import numpy as np

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.data.normalization import normalize
from tessera.data.resampling import resample


def read_window(source, plane, row, column, window_px, patch_size_px):
    """Read the square around a centre that is `window_px` wide at the source's `scale`.

    The centre is moved so that the patch, the middle of the window, lies in the image; a smaller image is centred. What
    is outside of the image is its mirror image.

    Args:
        source: of `tessera.data.annotated_images`.
        plane: (t, z).
        row, column: the centre, in pixels of the image.
        window_px, patch_size_px: sides at the source's scale.

    Returns:
        Pixels, normalized, (y, x, c) float32; ids (y, x) int32, 0 where nobody annotated instances; and whether a pixel
        is in the image, and not one of those, (y, x).
    """
    t, z = plane
    spans = [
        _span(centre, window_px, patch_size_px, size, source.scale)
        for centre, size in zip((row, column), source.pixels.shape[-2:], strict=True)
    ]
    lows = [span.read.min() for span in spans]
    box = [slice(low, span.read.max() + 1) for low, span in zip(lows, spans, strict=True)]
    order = list(range(source.pixels.shape[1])) if source.order is None else source.order
    found = source.pixels[(t, slice(None), z, *box)]
    if order != list(range(len(found))):
        found = found[order]
    for axis, (low, span) in enumerate(zip(lows, spans, strict=True)):
        found = _taken(found, span.read - low, axis + 1)
    ranges = source.ranges or [source.metadata.contrast_limits[channel] for channel in order]
    pixels = normalize(np.ascontiguousarray(np.moveaxis(found, 0, -1)), ranges)
    if source.scale != 1:
        for axis, span in enumerate(spans):
            pixels = resample(pixels, span.at, axis, reach=max(1, 1 / source.scale))
    return pixels, *_read_ids(source, plane, spans)


def has_annotation(source, plane, row, column, patch_size_px):
    """Whether any pixel of the patch at a place (see `read_window`) is annotated."""
    centre = zip((row, column), source.pixels.shape[-2:], strict=True)
    ids, inside = _read_ids(
        source, plane, [_span(at, patch_size_px, patch_size_px, size, source.scale) for at, size in centre]
    )
    return bool((inside if source.holds_instances else inside & (ids != IGNORE)).any())


def _read_ids(source, plane, spans):
    lows = [span.nearest.min() for span in spans]
    box = [slice(low, span.nearest.max() + 1) for low, span in zip(lows, spans, strict=True)]
    ids = source.truth[(plane[0], 0, plane[1], *box)]
    for axis, (low, span) in enumerate(zip(lows, spans, strict=True)):
        ids = _taken(ids, span.nearest - low, axis)
    ids = ids.astype(np.int32)
    unknown = ids == UNKNOWN
    ids[unknown] = 0
    return ids, np.logical_and.outer(*(span.inside for span in spans)) & ~unknown


class _Span(NamedTuple):
    """Pixels of a window along one axis: those of the image to `read`, mirrored beyond its ends; the places `at` which
    the window has its own among these; the ones `nearest` to them in the image; and which are `inside` of it."""

    read: np.ndarray
    at: np.ndarray
    nearest: np.ndarray
    inside: np.ndarray


def _span(centre, window_px, patch_size_px, size, scale):
    seen = size if scale == 1 else max(1, round(size * scale))
    start = _move_in(math.floor((centre + 0.5) * scale), patch_size_px, seen) - window_px // 2
    places = (start + np.arange(window_px) + 0.5) / scale - 0.5
    reach = 0 if scale == 1 else max(1, 1 / scale)
    first, last = math.floor(places[0] - reach), math.ceil(places[-1] + reach)
    inside = (places >= -0.5) & (places < size - 0.5)
    return _Span(
        _fold(np.arange(first, last + 1), size), places - first, _fold(np.floor(places + 0.5).astype(int), size), inside
    )


def _taken(values, places, axis):
    """`values` at places along an axis; most are all of them, and nothing is to be done."""
    return values if np.array_equal(places, np.arange(values.shape[axis])) else values.take(places, axis)


def _move_in(centre, patch_size_px, size):
    half = patch_size_px // 2
    return size // 2 if size <= patch_size_px else min(max(centre, half), size - patch_size_px + half)


def _fold(wanted, size):
    """Indices into an axis of `size` that mirror what is beyond its ends."""
    folded = wanted % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)
