"""OME-Zarr 0.5 stores: five axes, sharded, with a pyramid, checked when they are opened."""

import itertools
import json
import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from .errors import InputError

AXES = ("t", "c", "z", "y", "x")
SMALLEST_PX = 512  # the longer side of a pyramid's last level is below this
WINDOW_PERCENTILES = (1, 99.8)
_SAMPLED_CHUNKS = 256
_SAMPLED_PX = 2**22
_LABEL_COLOURS = 255
_UNKNOWN_COLOUR = [128, 128, 128, 128]
_CHANNEL_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
_NAMED_COLOURS = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}


@dataclass(frozen=True)
class Metadata:
    """What a store says about its pixels.

    Attributes:
        pixel_um: size of a pixel in z, y and x in micrometres, None where unknown.
        frame_s: seconds between frames, None where unknown.
        channels: names of the channels; empty for labels.
        windows: 1st and 99.8th percentile of each channel, least and greatest pixel where those are the same; empty for
            labels.
        extra: what OME-Zarr has no place for (`attributes.tessera`).
    """

    pixel_um: tuple[float | None, float | None, float | None] = (None, None, None)
    frame_s: float | None = None
    channels: list[str] = field(default_factory=list)
    windows: list[tuple[float, float]] = field(default_factory=list)
    extra: dict = field(default_factory=dict)


def create_store(path, shape, dtype, *, chunk_px=512, shard_px=2048):
    """Make an empty store at `path`, in place of any that is there, and return its full-size level, to be written.

    Concurrent writers, and whoever cares for speed, write whole shards (`array.shards`). The store counts as unfinished
    until `finish_image` or `finish_labels` was called.

    Args:
        path: folder of the store.
        shape: (t, c, z, y, x).
        dtype: type of the pixels.
        chunk_px: side of a chunk in y and x, less where the image is smaller.
        shard_px: side of a shard in y and x, a multiple of `chunk_px`, less where the image is smaller.

    Returns:
        zarr.Array (t, c, z, y, x).
    """
    zarr.create_group(path, zarr_format=3, overwrite=True)
    chunks = [min(chunk_px, size) for size in shape[-2:]]
    shards = [chunk * math.ceil(min(shard_px, size) / chunk) for chunk, size in zip(chunks, shape[-2:], strict=True)]
    return _create_level(path, 0, shape, dtype, (1, 1, 1, *chunks), (1, 1, 1, *shards))


def finish_image(
    path, *, name, pixel_um=(None, None, None), frame_s=None, channels=None, extra=None, levels=None, windows=None
):
    """Give the image store at `path` its pyramid (means of 2 x 2 in y and x), windows and metadata.

    Args:
        path: a store made by `create_store`, its full-size level written.
        name: name of the image.
        pixel_um: size of a pixel in z, y, x in micrometres, None where unknown.
        frame_s: seconds between frames, None where unknown.
        channels: a name for each channel; numbers when None.
        extra: what to keep as `attributes.tessera`.
        levels: levels of the pyramid, the full size included; None: until the longer side is below 512.
        windows: (low, high) of each channel; None: as found in the pixels.
    """
    full = zarr.open_array(Path(path) / "0", mode="r")
    channels = [str(number) for number in range(full.shape[1])] if channels is None else list(channels)
    if len(channels) != full.shape[1]:
        raise ValueError(f"{path}: {len(channels)} names for {full.shape[1]} channels")
    count = _build_pyramid(path, _mean_2x2, levels)
    if windows is None:
        windows = [_window(full, number) for number in range(len(channels))]
    else:
        windows = [{"min": low, "max": high, "start": low, "end": high} for low, high in windows]
    described = [
        {"label": label, "color": _channel_colour(channels, number), "active": True, "window": window}
        for number, (label, window) in enumerate(zip(channels, windows, strict=True))
    ]
    omero = {"channels": described, "rdefs": {"model": "color" if len(channels) > 1 else "greyscale"}}
    _write_metadata(path, {"omero": omero}, name, pixel_um, frame_s, count, "mean", extra)


def finish_labels(path, *, name, pixel_um=(None, None, None), frame_s=None, classes=None, unknown=None, extra=None):
    """Give the label store at `path` its pyramid (nearest neighbour, so that ids stay ids), colours and metadata.

    Args:
        path: a store made by `create_store`, its full-size level written, with one channel.
        name: name of the image.
        pixel_um: size of a pixel in z, y, x in micrometres, None where unknown.
        frame_s: seconds between frames, None where unknown.
        classes: names of the classes, by id, background first; None for instances, whose first 255 ids get colours.
        unknown: the id of pixels that nobody annotated, shown grey; None: there are none.
        extra: what to keep as `attributes.tessera`.
    """
    count = _build_pyramid(path, _nearest_2x2, None)
    ids = range(1, len(classes) if classes else _LABEL_COLOURS + 1)
    label = {
        "version": "0.5",
        "colors": [
            {"label-value": 0, "rgba": [0, 0, 0, 0]},
            *({"label-value": id_, "rgba": [*label_colour(id_), 255]} for id_ in ids),
        ],
    }
    names = dict(enumerate(classes or ()))
    if unknown is not None:
        label["colors"].append({"label-value": unknown, "rgba": _UNKNOWN_COLOUR})
        names |= {unknown: "unknown"} if classes else {}
    if names:
        label["properties"] = [{"label-value": id_, "class": class_} for id_, class_ in names.items()]
    _write_metadata(path, {"image-label": label}, name, pixel_um, frame_s, count, "nearest", extra)


def open_array(path, level=0):
    """Open one level of the store at `path` for reading.

    Returns:
        zarr.Array (t, c, z, y, x).

    Raises:
        InputError: there is no such store, or a part of it is missing or cut off.
    """
    path = Path(path)
    attributes = _read_attributes(path)
    stored = attributes.get("tessera", {}).get("stored", [])
    try:
        array = zarr.open_array(path / str(level), mode="r", zarr_format=3)
    except Exception as error:  # zarr raises many kinds for what is missing or malformed
        raise _damaged(path, f"level {level} cannot be read ({error})") from error
    if level < len(stored):
        found = _stored_once(path / str(level), (path / "zarr.json").stat().st_mtime_ns)
        if found != tuple(stored[level]):
            raise _damaged(
                path,
                f"level {level} has {found[0]} files of {found[1]} bytes, {stored[level][0]} files of "
                f"{stored[level][1]} bytes were written",
            )
    return array


def read_block(array, selection):
    """Pixels of an array of `open_array`.

    Args:
        array: zarr.Array (t, c, z, y, x).
        selection: what to read, as an index of the array.

    Raises:
        InputError: a shard is damaged.
    """
    try:
        return array[selection]
    except Exception as error:  # zarr and its codecs raise many kinds for what is damaged
        path = Path(str(array.store_path).removeprefix("file://")).parent
        raise _damaged(path, f"pixels at {selection} cannot be read ({error})") from error


def read_metadata(path):
    """What the store at `path` says about its pixels.

    Returns:
        Metadata.

    Raises:
        InputError: there is no finished store at `path`.
    """
    attributes = _read_attributes(path)
    try:
        ome = attributes["ome"]
        multiscale = ome["multiscales"][0]
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        known = [size if "unit" in axis else None for size, axis in zip(scale, multiscale["axes"], strict=True)]
        described = ome.get("omero", {}).get("channels", [])
        return Metadata(
            pixel_um=tuple(known[2:]),
            frame_s=known[0],
            channels=[channel["label"] for channel in described],
            windows=[(channel["window"]["start"], channel["window"]["end"]) for channel in described],
            extra={key: value for key, value in attributes.get("tessera", {}).items() if key != "stored"},
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged(path, f"its metadata lack {error}") from error


def label_colour(label):
    """The colour of label id `label` (> 0), as (red, green, blue) of 0 to 255: neighbouring ids differ.

    Hues go round by the golden ratio, so that any number of consecutive ids is spread evenly.
    """
    hue = (label * 0.618033988749895) % 1
    value = (1.0, 0.8, 0.6)[label % 3]
    wheel = np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return tuple(round(255 * value * (0.25 + 0.75 * part)) for part in np.clip(wheel, 0, 1))


def iterate_shards(array):
    """Regions of `array` (t, c, z, y, x), as tuples of slices: one per shard, the last ones cut at the border."""
    steps = array.shards or array.chunks
    starts = (range(0, size, step) for size, step in zip(array.shape, steps, strict=True))
    for start in itertools.product(*starts):
        yield tuple(
            slice(first, min(first + step, size)) for first, step, size in zip(start, steps, array.shape, strict=True)
        )


def _create_level(path, level, shape, dtype, chunks, shards):
    return zarr.create_array(
        Path(path) / str(level),
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        chunks=chunks,
        shards=shards,
        compressors=ZstdCodec(level=3, checksum=True),
        dimension_names=AXES,
        zarr_format=3,
        overwrite=True,
    )


def _build_pyramid(path, reduce, levels):
    count = 1
    array = zarr.open_array(Path(path) / "0", mode="r")
    while (max(array.shape[-2:]) >= SMALLEST_PX) if levels is None else (count < levels):
        *outer, height, width = array.shape
        shape = (*outer, math.ceil(height / 2), math.ceil(width / 2))
        coarse = _create_level(path, count, shape, array.dtype, array.chunks, array.shards)
        for region in iterate_shards(coarse):
            *planes, rows, columns = region
            reduced = np.empty([part.stop - part.start for part in region], coarse.dtype)
            # A chunk's height of the coarse shard at a time, since what it is made of is four times as large.
            for top in range(rows.start, rows.stop, coarse.chunks[-2]):
                part = slice(top, min(top + coarse.chunks[-2], rows.stop))
                fine = (*planes, slice(2 * part.start, 2 * part.stop), slice(2 * columns.start, 2 * columns.stop))
                reduced[..., part.start - rows.start : part.stop - rows.start, :] = reduce(array[fine])
            coarse[region] = reduced
        array = coarse
        count += 1
    return count


def _mean_2x2(pixels):
    padded = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(0, size % 2) for size in pixels.shape[-2:]], mode="edge")
    exact = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    rows = padded[..., ::2, :].astype(exact) + padded[..., 1::2, :]
    mean = (rows[..., ::2] + rows[..., 1::2]) / 4
    return np.rint(mean).astype(pixels.dtype) if pixels.dtype.kind in "iu" else mean.astype(pixels.dtype)


def _nearest_2x2(pixels):
    return pixels[..., ::2, ::2]


def _window(array, channel):
    values = _sample(array, channel)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        finite = np.zeros(1, array.dtype)
    start, end = np.percentile(finite, WINDOW_PERCENTILES)
    if end <= start:
        # A few cells on a clean background are less than the percentiles leave out.
        start, end = _extremes(array, channel)
    if array.dtype.kind in "iu":
        least, most = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
    else:
        least, most = min(finite.min(), start), max(finite.max(), end)
    return {"min": float(least), "max": float(most), "start": float(start), "end": float(end)}


def _extremes(array, channel):
    """The least and the greatest finite pixel of one channel, read shard by shard; zeros where there is none."""
    least, most = [], []
    for region in iterate_shards(array):
        if region[1].start <= channel < region[1].stop:
            values = array[region[0], channel, *region[2:]]
            values = values[np.isfinite(values)]
            if values.size:
                least.append(values.min())
                most.append(values.max())
    return (min(least), max(most)) if least else (0, 0)


def _sample(array, channel):
    """Pixels of one channel: all of a small image, otherwise a grid out of chunks drawn with a fixed seed."""
    frames, _, depth, height, width = array.shape
    rows, columns = array.chunks[-2:]
    stride = 1
    corners = list(itertools.product(range(frames), range(depth), range(0, height, rows), range(0, width, columns)))
    if frames * depth * height * width > _SAMPLED_PX:
        stride = math.ceil(math.sqrt(rows * columns * _SAMPLED_CHUNKS / _SAMPLED_PX))
        drawn = np.random.default_rng(0).permutation(len(corners))[:_SAMPLED_CHUNKS]
        corners = [corners[number] for number in sorted(drawn)]
    return np.concatenate(
        [array[t, channel, z, y : y + rows, x : x + columns][::stride, ::stride].ravel() for t, z, y, x in corners]
    )


def _channel_colour(channels, number):
    if len(channels) == 1:
        return "FFFFFF"
    return _NAMED_COLOURS.get(channels[number].lower(), _CHANNEL_COLOURS[number % len(_CHANNEL_COLOURS)])


def _write_metadata(path, specific, name, pixel_um, frame_s, levels, method, extra):
    sizes = (frame_s, None, *pixel_um)
    units = ("second", None, "micrometer", "micrometer", "micrometer")
    kinds = ("time", "channel", "space", "space", "space")
    axes = []
    for axis, kind, unit, size in zip(AXES, kinds, units, sizes, strict=True):
        axes.append({"name": axis, "type": kind} | ({"unit": unit} if size else {}))
    scale = [float(size or 1) for size in sizes]
    multiscale = {
        "name": name,
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transformations(scale, level, method)}
            for level in range(levels)
        ],
        "type": method,
    }
    group = zarr.open_group(path, mode="r+")
    group.attrs.update(
        {
            "ome": {"version": "0.5", "multiscales": [multiscale], **specific},
            "tessera": {**(extra or {}), "stored": [_stored(Path(path) / str(level)) for level in range(levels)]},
        }
    )


def _transformations(scale, level, method):
    """Scale of a level, and the shift of its pixels' centres against those of the full size.

    The shift is (2^level - 1) / 2 for means of pixels, and none where the first of them was taken.
    """
    factor = 2**level
    transformations = [{"type": "scale", "scale": [*scale[:3], scale[3] * factor, scale[4] * factor]}]
    if level and method == "mean":
        shift = [0.0, 0.0, 0.0, scale[3] * (factor - 1) / 2, scale[4] * (factor - 1) / 2]
        transformations.append({"type": "translation", "translation": shift})
    return transformations


@lru_cache(maxsize=1024)
def _stored_once(folder, _version):
    return _stored(folder)


def _stored(folder):
    """(files, bytes) of the shards of the array at `folder`."""
    files = total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if name != "zarr.json":
                files += 1
                total += (Path(parent) / name).stat().st_size
    return files, total


def _read_attributes(path):
    path = Path(path)
    try:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no store here; remove its batch's folder to have it made again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"zarr.json cannot be read ({error})") from error
    return attributes if isinstance(attributes, dict) else {}


def _damaged(path, what):
    return InputError(f"{path}: the store is damaged, {what}; remove its batch's folder to have it made again")
