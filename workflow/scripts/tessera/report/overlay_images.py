"""Overlay images: images with outlines of labels and ground truth on separate layers."""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata

LONGER_SIDE_PX = 768
CROP_SIDE_PX = 384
TRUTH_WIDTH_PX = 5
LABEL_WIDTH_PX = 3
# Cool colors for ground truth, warm ones for labels, after Okabe and Ito. Classes take them in turn.
TRUTH_COLORS = ["#56b4e9", "#00c08b", "#4f7dff", "#8be0d4"]
LABEL_COLORS = ["#ff9f1a", "#ff6db6", "#e8402a", "#f0e442"]
UNKNOWN_COLOR = "#9a9a9a"
_HATCH = 255  # value of hatched pixels among outlines
_HATCH_PX = (2, 12)  # width of a line, and distance from one line to the next


def draw_overlays(
    folder: Path,
    *,
    image: Path,
    labels: Path,
    truth: Path | None = None,
    t: int = 0,
    score: float | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Write one plane of an image as base.jpg, outlines as labels.png and truth.png, and picture.json.

    All have the same size, with a longer side of LONGER_SIDE_PX, and come from the pyramid level of that size. Of a
    z-stack the middle plane is drawn. Pixels that nobody annotated are hatched in truth.png.

    Args:
        folder: folder to create.
        image: store (t, c, z, y, x) of the image.
        labels: store of its labels.
        truth: store of its ground truth, or None.
        t: the frame to draw.
        score: score of that frame, or None; kept in picture.json.
        classes: for the semantic task the names of the classes, background first; empty for instances.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    pixels, z, _ = read_plane(image, t)
    size = _save_base(folder, image, pixels, LONGER_SIDE_PX)
    hatched = False
    for layer, path, width, colors in (
        ("labels", labels, LABEL_WIDTH_PX, LABEL_COLORS),
        ("truth", truth, TRUTH_WIDTH_PX, TRUTH_COLORS),
    ):
        if path is not None:
            plane, _, step = read_plane(path, t)
            ids = resize_nearest(plane[0], size, step)
            outlines, unknown = outline_objects(ids, width, classes), ids == (IGNORE if classes else UNKNOWN)
            hatched |= bool(unknown.any())
            save_outlines(folder / f"{layer}.png", hatch(outlines, unknown), colors)
    picture = {"t": t, "z": z, "score": score, "hatched": hatched, "width": size[0], "height": size[1]}
    (folder / "picture.json").write_text(json.dumps(picture))


def draw_crop(
    folder: Path,
    image: Path,
    plane: tuple[int, int],
    corner: tuple[int, int],
    layers: Mapping[str, NDArray[Any]],
    *,
    classes: Sequence[str] = (),
) -> None:
    """Write a part of one plane of an image as base.jpg, outlines of labels as {layer}.png, and picture.json.

    Args:
        folder: folder to create.
        image: store (t, c, z, y, x) of the image.
        plane: (t, z) of the plane.
        corner: (y, x) of the first pixel.
        layers: labels (y, x) of the part, "labels" and "reference"; the reference is drawn as ground truth is.
        classes: see `draw_overlays`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    t, z = plane
    spans = [slice(first, first + length) for first, length in zip(corner, layers["labels"].shape, strict=True)]
    pixels = read_block(open_array(image), (t, slice(None), z, *spans))
    size = _save_base(folder, image, pixels, CROP_SIDE_PX)
    for layer, width, colors in (
        ("labels", LABEL_WIDTH_PX, LABEL_COLORS),
        ("reference", TRUTH_WIDTH_PX, TRUTH_COLORS),
    ):
        outlines = outline_objects(resize_nearest(layers[layer], size), width, classes)
        save_outlines(folder / f"{layer}.png", outlines, colors)
    (folder / "picture.json").write_text(json.dumps({"t": t, "z": z, "width": size[0], "height": size[1]}))


def _save_base(folder: Path, image: Path, pixels: NDArray[Any], longest_px: int) -> tuple[int, int]:
    """Write pixels (c, y, x) of an image as base.jpg; its (width, height)."""
    metadata = read_metadata(image)
    base = Image.fromarray(apply_contrast_limits(pixels, metadata.contrast_limits, rgb=is_rgb(metadata.channels)))
    size = fit_size(base.size, longest_px)
    base.resize(size, Image.Resampling.LANCZOS).save(folder / "base.jpg", quality=88)
    return size


def read_plane(path: Path, t: int) -> tuple[NDArray[Any], int, int]:
    """One plane, at the coarsest level that is not smaller than LONGER_SIDE_PX.

    Returns:
        Pixels (c, y, x) of frame t at the middle z; that z; and the width of one of these pixels in full-size pixels.
    """
    array, step = _open_small_level(path)
    z = array.shape[2] // 2
    return read_block(array, (t, slice(None), z)), z, step


def read_projection(path: Path, t: int) -> tuple[NDArray[Any], int]:
    """The maximum projection along z, at the level of `read_plane`.

    Returns:
        Pixels (c, y, x) of frame t, and the width of one of these pixels in full-size pixels.
    """
    array, step = _open_small_level(path)
    planes = (read_block(array, (t, slice(None), z)) for z in range(array.shape[2]))
    return reduce(np.maximum, planes), step


def _open_small_level(path: Path) -> tuple[Any, int]:
    array = open_array(path)
    level = 0
    while (Path(path) / str(level + 1)).is_dir():
        coarser = open_array(path, level + 1)
        if max(coarser.shape[-2:]) < LONGER_SIDE_PX:
            break
        array, level = coarser, level + 1
    return array, 2**level


def is_rgb(channels: Sequence[str]) -> bool:
    """Whether channels with these names are those of an RGB image; RFP, GFP and BFP are not."""
    return [name.lower() for name in channels] in (["red", "green", "blue"], ["r", "g", "b"])


def apply_contrast_limits(
    pixels: NDArray[Any], limits: Sequence[tuple[float, float]], *, rgb: bool = False
) -> NDArray[np.uint8]:
    """Pixels (c, y, x) as uint8, black at the lower and white at the upper contrast limit of their channel.

    Returns:
        (y, x, 3) for RGB, whose channels share their contrast limits so that hues stay; else (y, x), the brightest
        channel of each pixel.
    """
    low, high = np.array(limits, dtype=np.float64).T[:, :, None, None]
    if rgb:
        low, high = low.min(), high.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        fractions = (pixels.astype(np.float64) - low) / (high - low)
    shades = np.rint(255 * np.clip(np.nan_to_num(fractions, nan=0, posinf=1, neginf=0), 0, 1)).astype(np.uint8)
    return np.moveaxis(shades, 0, -1).copy() if rgb else shades.max(axis=0)


def fit_size(size: tuple[int, int], longest_px: int = LONGER_SIDE_PX) -> tuple[int, int]:
    """(width, height) scaled so that the longer one is `longest_px`."""
    width, height = (max(1, round(length * longest_px / max(size))) for length in size)
    return width, height


def resize_nearest(labels: NDArray[Any], size: tuple[int, int], step: int = 1) -> NDArray[Any]:
    """Labels (y, x) at the size (width, height), without interpolation, so that no new ids appear.

    Args:
        labels: labels (y, x) of a pyramid level.
        size: the new (width, height).
        step: full-size pixels per pixel of that level. A pixel of a level is the first of `step` x `step` pixels.
    """
    shift = 0.5 - 0.5 / step
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new + shift).astype(int).clip(0, old - 1)
        for new, old in zip(size[::-1], labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def outline_objects(labels: NDArray[Any], width: int, classes: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Outlines of objects, `width` pixels wide, inside the objects.

    Returns:
        uint8 (y, x): 0 off the outlines; on them the class, or 1 without classes.
    """
    reach = 2 * width + 1
    outlines = (maximum_filter(labels, reach) != minimum_filter(labels, reach)) & (labels > 0)
    if len(classes):
        outlines &= labels < len(classes)
        return np.where(outlines, labels, 0).astype(np.uint8)
    return outlines.astype(np.uint8)


def hatch(outlines: NDArray[np.uint8], unknown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Outlines (y, x) with oblique lines over the pixels of the mask `unknown` (y, x), for `save_outlines`."""
    y, x = np.indices(outlines.shape, dtype=np.uint16)
    return np.where(unknown & ((y + x) % _HATCH_PX[1] < _HATCH_PX[0]), np.uint8(_HATCH), outlines)


def save_outlines(path: Path, outlines: NDArray[np.uint8], colors: Sequence[str]) -> None:
    """Write outlines (y, x) as a PNG with a palette, transparent where they are 0."""
    picture = Image.fromarray(outlines).convert("P")
    palette = [0, 0, 0]
    for number in range(1, int(outlines.max(initial=0)) + 1):
        color = UNKNOWN_COLOR if number == _HATCH else colors[(number - 1) % len(colors)]
        palette += bytes.fromhex(color[1:])
    picture.putpalette(palette)
    picture.save(path, transparency=0, optimize=True)
