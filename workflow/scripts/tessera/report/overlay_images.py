"""Pictures of images, with outlines of truth and labels on layers of their own."""

import json
from functools import reduce
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata

LONGER_SIDE_PX = 768
CROP_SIDE_PX = 384
TRUTH_WIDTH_PX = 5
FOUND_WIDTH_PX = 3
# Cool for truth, warm for what was found, after Okabe and Ito; a class takes the colours at its place, round and round.
TRUTH_COLOURS = ["#56b4e9", "#00c08b", "#4f7dff", "#8be0d4"]
FOUND_COLOURS = ["#ff9f1a", "#ff6db6", "#e8402a", "#f0e442"]
UNKNOWN_COLOUR = "#9a9a9a"
_HATCH = 255  # in the palette of outlines
_HATCH_PX = (2, 12)  # width of a line, and from one to the next


def draw_pictures(folder, *, image, labels, truth=None, t=0, score=None, classes=()):
    """Write one plane of an image as base.jpg, outlines as labels.png and truth.png, and picture.json.

    All have the same size, the longer side LONGER_SIDE_PX, and are drawn from the level of the pyramid that suffices.
    A volume shows its middle plane. Where nobody annotated, truth.png is hatched.

    Args:
        folder: where to write; it is made.
        image, labels, truth: paths of stores (t, c, z, y, x) of the same t, z, y and x.
        t, score: the frame and its score, kept in picture.json.
        classes: names of classes when the labels are classes, background first; instances when empty.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    metadata = read_metadata(image)
    pixels, z, _ = read_plane(image, t)
    base = Image.fromarray(stretch(pixels, metadata.contrast_limits, colour=is_colour(metadata.channels)))
    size = fit(base.size)
    base.resize(size, Image.Resampling.LANCZOS).save(folder / "base.jpg", quality=88)
    hatched = False
    for layer, path, width, colours in (
        ("labels", labels, FOUND_WIDTH_PX, FOUND_COLOURS),
        ("truth", truth, TRUTH_WIDTH_PX, TRUTH_COLOURS),
    ):
        if path is not None:
            plane, _, step = read_plane(path, t)
            plane = resize_nearest(plane[0], size, step)
            rims, unknown = outlines(plane, width, classes), plane == (IGNORE if classes else UNKNOWN)
            hatched |= bool(unknown.any())
            save_outlines(folder / f"{layer}.png", hatch_rims(rims, unknown), colours)
    described = {"t": t, "z": z, "score": score, "hatched": hatched, "width": size[0], "height": size[1]}
    (folder / "picture.json").write_text(json.dumps(described))


def draw_crop(folder, image, t, z, corner, layers, *, classes=()):
    """Write a part of one plane of an image as base.jpg, outlines of labels of it as {layer}.png, and picture.json.

    Args:
        folder: where to write; it is made.
        image: path of a store (t, c, z, y, x).
        t, z: the plane.
        corner: (y, x) of the first pixel.
        layers: {"labels", "reference": labels (y, x) of the part}, drawn as `labels` and `truth` are.
        classes: as in `draw_pictures`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    metadata = read_metadata(image)
    spans = [slice(first, first + side) for first, side in zip(corner, layers["labels"].shape, strict=True)]
    pixels = read_block(open_array(image), (t, slice(None), z, *spans))
    base = Image.fromarray(stretch(pixels, metadata.contrast_limits, colour=is_colour(metadata.channels)))
    size = fit(base.size, CROP_SIDE_PX)
    base.resize(size, Image.Resampling.LANCZOS).save(folder / "base.jpg", quality=88)
    for layer, width, colours in (
        ("labels", FOUND_WIDTH_PX, FOUND_COLOURS),
        ("reference", TRUTH_WIDTH_PX, TRUTH_COLOURS),
    ):
        rims = outlines(resize_nearest(layers[layer], size), width, classes)
        save_outlines(folder / f"{layer}.png", rims, colours)
    (folder / "picture.json").write_text(json.dumps({"t": t, "z": z, "width": size[0], "height": size[1]}))


def read_plane(path, t):
    """One plane, at the coarsest level that LONGER_SIDE_PX does not magnify.

    Returns:
        Pixels (c, y, x) of frame t and the middle z; that z; and the side of one in pixels of the full size.
    """
    array, step = _small_level(path)
    z = array.shape[2] // 2
    return read_block(array, (t, slice(None), z)), z, step


def read_projection(path, t):
    """The largest of all planes, of the level as of `read_plane`.

    Returns:
        Pixels (c, y, x) of frame t, and the side of one in pixels of the full size.
    """
    array, step = _small_level(path)
    planes = (read_block(array, (t, slice(None), z)) for z in range(array.shape[2]))
    return reduce(np.maximum, planes), step


def _small_level(path):
    array = open_array(path)
    level = 0
    while (Path(path) / str(level + 1)).is_dir():
        coarser = open_array(path, level + 1)
        if max(coarser.shape[-2:]) < LONGER_SIDE_PX:
            break
        array, level = coarser, level + 1
    return array, 2**level


def is_colour(channels):
    """Whether the names of the channels are those of a colour picture; RFP, GFP and BFP are not."""
    return [name.lower() for name in channels] in (["red", "green", "blue"], ["r", "g", "b"])


def stretch(pixels, windows, *, colour=False):
    """Pixels (c, y, x) as uint8, black and white at the ends of the windows.

    Returns:
        (y, x, 3) for colour, whose channels keep one window so that hues stay; else (y, x), the brightest channel.
    """
    low, high = np.array(windows, dtype=np.float64).T[:, :, None, None]
    if colour:
        low, high = low.min(), high.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (pixels.astype(np.float64) - low) / (high - low)
    shades = np.rint(255 * np.clip(np.nan_to_num(shares, nan=0, posinf=1, neginf=0), 0, 1)).astype(np.uint8)
    return np.moveaxis(shades, 0, -1).copy() if colour else shades.max(axis=0)


def fit(size, longest_px=LONGER_SIDE_PX):
    """(width, height) scaled so that the longer side is `longest_px`."""
    return tuple(max(1, round(side * longest_px / max(size))) for side in size)


def resize_nearest(labels, size, step=1):
    """Labels (y, x) at (width, height), each pixel that of its centre, so that no id is made up.

    Of a coarser level of a pyramid, whose pixels are the first of `step` x `step`, they are the nearest of those.
    """
    shift = 0.5 - 0.5 / step
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new + shift).astype(int).clip(0, old - 1)
        for new, old in zip(size[::-1], labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def outlines(labels, width, classes=()):
    """The rims of objects, `width` pixels inside them: uint8 (y, x), 0 off the rims, on them the class, or 1."""
    reach = 2 * width + 1
    rims = (maximum_filter(labels, reach) != minimum_filter(labels, reach)) & (labels > 0)
    if classes:
        rims &= labels < len(classes)
        return np.where(rims, labels, 0).astype(np.uint8)
    return rims.astype(np.uint8)


def hatch_rims(rims, unknown):
    """Rims (y, x) with oblique lines over the pixels that are `unknown` (y, x), for `save_outlines`."""
    y, x = np.indices(rims.shape, dtype=np.uint16)
    return np.where(unknown & ((y + x) % _HATCH_PX[1] < _HATCH_PX[0]), np.uint8(_HATCH), rims)


def save_outlines(path, rims, colours):
    """Write rims as a PNG with a palette, transparent where they are 0."""
    picture = Image.fromarray(rims).convert("P")
    palette = [0, 0, 0]
    for number in range(1, int(rims.max(initial=0)) + 1):
        colour = UNKNOWN_COLOUR if number == _HATCH else colours[(number - 1) % len(colours)]
        palette += bytes.fromhex(colour[1:])
    picture.putpalette(palette)
    picture.save(path, transparency=0, optimize=True)
