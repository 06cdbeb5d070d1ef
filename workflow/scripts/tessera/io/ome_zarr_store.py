"""OME-Zarr 0.5 stores: five axes, sharded, with a pyramid, checked when they are opened."""

import colorsys
import json
import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import zarr

from tessera.common.errors import SystemInputError
from tessera.io.contrast_limits import estimate_contrast_limits
from tessera.io.pyramid import AXES, build_pyramid, create_level, level_transformations, mean_2x2, nearest_2x2

_LABEL_COLOURS = 255
_UNKNOWN_COLOUR = [128, 128, 128, 128]
_CHANNEL_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
_NAMED_COLOURS = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}


@dataclass(frozen=True)
class Metadata:
    """What a store says about its pixels.

    Attributes:
        pixel_size_um: size of a pixel in z, y and x in micrometres, None where unknown.
        frame_interval_s: seconds between frames, None where unknown.
        channels: names of the channels; empty for labels.
        contrast_limits: 1st and 99.8th percentile of each channel, least and greatest pixel where those are the same; empty for
            labels.
        extra: what OME-Zarr has no place for (`attributes.tessera`).
    """

    pixel_size_um: tuple[float | None, float | None, float | None] = (None, None, None)
    frame_interval_s: float | None = None
    channels: list[str] = field(default_factory=list)
    contrast_limits: list[tuple[float, float]] = field(default_factory=list)
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
    return create_level(path, 0, shape, dtype, (1, 1, 1, *chunks), (1, 1, 1, *shards))


def chunk_layout(array):
    """The `chunk_px` and `shard_px` of `create_store` that an array was made with, less where it is smaller."""
    return {"chunk_px": max(array.chunks[-2:]), "shard_px": max(array.shards[-2:])}


def finish_image(
    path,
    *,
    name,
    pixel_size_um=(None, None, None),
    frame_interval_s=None,
    channels=None,
    extra=None,
    levels=None,
    contrast_limits=None,
):
    """Give the image store at `path` its pyramid (means of 2 x 2 in y and x), windows and metadata.

    Args:
        path: a store made by `create_store`, its full-size level written.
        name: name of the image.
        pixel_size_um: size of a pixel in z, y, x in micrometres, None where unknown.
        frame_interval_s: seconds between frames, None where unknown.
        channels: a name for each channel; numbers when None.
        extra: what to keep as `attributes.tessera`.
        levels: levels of the pyramid, the full size included; None: until the longer side is below 512.
        contrast_limits: (low, high) of each channel; None: as found in the pixels.
    """
    full = zarr.open_array(Path(path) / "0", mode="r")
    channels = [str(number) for number in range(full.shape[1])] if channels is None else list(channels)
    if len(channels) != full.shape[1]:
        raise ValueError(f"{path}: {len(channels)} names for {full.shape[1]} channels")
    count = build_pyramid(path, mean_2x2, levels)
    if contrast_limits is None:
        windows = [estimate_contrast_limits(full, number) for number in range(len(channels))]
    else:
        windows = [{"min": low, "max": high, "start": low, "end": high} for low, high in contrast_limits]
    described = [
        {"label": label, "color": _channel_colour(channels, number), "active": True, "window": window}
        for number, (label, window) in enumerate(zip(channels, windows, strict=True))
    ]
    omero = {"channels": described, "rdefs": {"model": "color" if len(channels) > 1 else "greyscale"}}
    _write_metadata(path, {"omero": omero}, name, pixel_size_um, frame_interval_s, count, "mean", extra)


def finish_labels(
    path, *, name, pixel_size_um=(None, None, None), frame_interval_s=None, classes=None, unknown=None, extra=None
):
    """Give the label store at `path` its pyramid (nearest neighbour, so that ids stay ids), colours and metadata.

    Args:
        path: a store made by `create_store`, its full-size level written, with one channel.
        name: name of the image.
        pixel_size_um: size of a pixel in z, y, x in micrometres, None where unknown.
        frame_interval_s: seconds between frames, None where unknown.
        classes: names of the classes, by id, background first; None for instances, whose first 255 ids get colours.
        unknown: the id of pixels that nobody annotated, shown grey; None: there are none.
        extra: what to keep as `attributes.tessera`.
    """
    count = build_pyramid(path, nearest_2x2)
    ids = range(1, len(classes) if classes else _LABEL_COLOURS + 1)
    label = {
        "version": "0.5",
        "colors": [
            {"label-value": 0, "rgba": [0, 0, 0, 0]},
            *({"label-value": id_, "rgba": [*label_color(id_), 255]} for id_ in ids),
        ],
    }
    names = dict(enumerate(classes or ()))
    if unknown is not None:
        label["colors"].append({"label-value": unknown, "rgba": _UNKNOWN_COLOUR})
        names |= {unknown: "unknown"} if classes else {}
    if names:
        label["properties"] = [{"label-value": id_, "class": class_} for id_, class_ in names.items()]
    _write_metadata(path, {"image-label": label}, name, pixel_size_um, frame_interval_s, count, "nearest", extra)


def open_array(path, level=0):
    """Open one level of the store at `path` for reading.

    Returns:
        zarr.Array (t, c, z, y, x).

    Raises:
        SystemInputError: there is no such store, or a part of it is missing or cut off.
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
        SystemInputError: a shard is damaged.
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
        SystemInputError: there is no finished store at `path`.
    """
    attributes = _read_attributes(path)
    try:
        ome = attributes["ome"]
        multiscale = ome["multiscales"][0]
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        known = [size if "unit" in axis else None for size, axis in zip(scale, multiscale["axes"], strict=True)]
        described = ome.get("omero", {}).get("channels", [])
        return Metadata(
            pixel_size_um=tuple(known[2:]),
            frame_interval_s=known[0],
            channels=[channel["label"] for channel in described],
            contrast_limits=[(channel["window"]["start"], channel["window"]["end"]) for channel in described],
            extra={key: value for key, value in attributes.get("tessera", {}).items() if key != "stored"},
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged(path, f"its metadata lack {error}") from error


def label_color(label):
    """The colour of label id `label` (> 0), as (red, green, blue) of 0 to 255: neighbouring ids differ.

    Hues go round by the golden ratio, so that any number of consecutive ids is spread evenly.
    """
    hue = (label * 0.618033988749895) % 1
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, (1.0, 0.8, 0.6)[label % 3]))


def _channel_colour(channels, number):
    if len(channels) == 1:
        return "FFFFFF"
    return _NAMED_COLOURS.get(channels[number].lower(), _CHANNEL_COLOURS[number % len(_CHANNEL_COLOURS)])


def _write_metadata(path, specific, name, pixel_size_um, frame_interval_s, levels, method, extra):
    sizes = (frame_interval_s, None, *pixel_size_um)
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
            {"path": str(level), "coordinateTransformations": level_transformations(scale, level, method)}
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
        raise SystemInputError(
            f"{path}: there is no store here; remove its batch's folder to have it made again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"zarr.json cannot be read ({error})") from error
    return attributes if isinstance(attributes, dict) else {}


def _damaged(path, what):
    return SystemInputError(f"{path}: the store is damaged, {what}; remove its batch's folder to have it made again")
