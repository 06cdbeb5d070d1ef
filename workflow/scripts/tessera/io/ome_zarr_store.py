"""Tessera's own OME-Zarr 0.5 stores: five axes, sharded, with a pyramid, and checked when they are opened."""

import colorsys
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, cast

import zarr
from numpy.typing import DTypeLike, NDArray

from tessera.common.errors import SystemInputError
from tessera.common.types import StrPath, VoxelSize
from tessera.io.contrast_limits import estimate_contrast_limits
from tessera.io.intensity_statistics import measure_intensity_ranges
from tessera.io.pyramid import build_pyramid, create_level, level_transformations, mean_2x2, nearest_2x2
from tessera.io.shards import AXES, CHUNK_PX, SHARD_PX, Layout, ZarrArray, layout_of

FRAME_RANGES = "frame_ranges"  # key in `attributes.tessera`
_LABEL_COLORS = 255
_UNKNOWN_COLOR = [128, 128, 128, 128]
_CHANNEL_COLORS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
_NAMED_COLORS = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}


class ChunkLayout(TypedDict):
    """Sizes of chunks and shards of an image, as keyword arguments of `create_store`."""

    chunk_px: int
    shard_px: int


@dataclass(frozen=True)
class Metadata:
    """Metadata of a store.

    Attributes:
        pixel_size_um: size of a voxel along z, y and x in micrometers, None where unknown.
        frame_interval_s: seconds between frames, None if unknown.
        channels: names of the channels; empty for labels.
        contrast_limits: (low, high) of each channel: the 1st and 99.8th percentile, or the smallest and largest pixel
            where those are equal; empty for labels.
        frame_ranges: for each channel, (low, high) of each frame: its background, and its background plus the contrast
            of a typical object, see `tessera.io.intensity_statistics`; empty for labels and predictions.
        extra: content of `attributes.tessera`, for which OME-Zarr has no field.
    """

    pixel_size_um: VoxelSize = (None, None, None)
    frame_interval_s: float | None = None
    channels: list[str] = field(default_factory=list)
    contrast_limits: list[tuple[float, float]] = field(default_factory=list)
    frame_ranges: list[list[tuple[float, float]]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def create_store(
    path: StrPath,
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    chunk_px: int = CHUNK_PX,
    shard_px: int = SHARD_PX,
    by_rows: bool = False,
) -> ZarrArray:
    """Create an empty store at `path`, replace any previous one, and return its full-size level for writing.

    Write whole shards (`array.shards`, `tessera.io.shards.ShardWriter`): it is fast, and safe for concurrent writers.
    The store is incomplete until `finish_image` or `finish_labels` is called.

    Args:
        path: folder of the store.
        shape: (t, c, z, y, x).
        dtype: type of the pixels.
        chunk_px, shard_px, by_rows: see `tessera.io.shards.Layout`.

    Returns:
        Array (t, c, z, y, x).
    """
    zarr.create_group(path, zarr_format=3, overwrite=True)
    return create_level(path, 0, shape, dtype, Layout(chunk_px, shard_px, by_rows))


def chunk_layout(array: ZarrArray) -> ChunkLayout:
    """Return the layout of an array, for `create_store` of another array that belongs to the same image."""
    layout = layout_of(array)
    return {"chunk_px": layout.chunk_px, "shard_px": layout.shard_px}


def finish_image(
    path: StrPath,
    *,
    name: str,
    pixel_size_um: VoxelSize = (None, None, None),
    frame_interval_s: float | None = None,
    channels: Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    levels: int | None = None,
    contrast_limits: Sequence[tuple[float, float]] | None = None,
) -> None:
    """Write the pyramid (means of 2 x 2 pixels in y and x), contrast limits and metadata of the image store at `path`.

    Args:
        path: a store of `create_store` whose full-size level is complete.
        name: name of the image.
        pixel_size_um: size of a voxel along z, y and x in micrometers, None where unknown.
        frame_interval_s: seconds between frames, None if unknown.
        channels: a name for each channel; None: their numbers.
        extra: content of `attributes.tessera`.
        levels: number of levels of the pyramid, including the full size; None: until the longer side is below 512.
        contrast_limits: (low, high) of each channel; None: estimated from the pixels, as are the ranges of frames.
    """
    full = zarr.open_array(Path(path) / "0", mode="r")
    channels = [str(number) for number in range(full.shape[1])] if channels is None else list(channels)
    if len(channels) != full.shape[1]:
        raise ValueError(f"{path}: {len(channels)} names for {full.shape[1]} channels")
    count = build_pyramid(path, mean_2x2, levels)
    if contrast_limits is None:
        windows = [estimate_contrast_limits(full, number) for number in range(len(channels))]
        ranges = [measure_intensity_ranges(full, number) for number in range(len(channels))]
        extra = {**(extra or {}), FRAME_RANGES: [channel_ranges.tolist() for channel_ranges in ranges]}
    else:
        windows = [{"min": low, "max": high, "start": low, "end": high} for low, high in contrast_limits]
    described = [
        {"label": label, "color": _channel_color(channels, number), "active": True, "window": window}
        for number, (label, window) in enumerate(zip(channels, windows, strict=True))
    ]
    omero = {"channels": described, "rdefs": {"model": "color" if len(channels) > 1 else "greyscale"}}
    sizes = (frame_interval_s, None, *pixel_size_um)
    _write_metadata(path, {"omero": omero}, count, name=name, sizes=sizes, method="mean", extra=extra)


def finish_labels(
    path: StrPath,
    *,
    name: str,
    pixel_size_um: VoxelSize = (None, None, None),
    frame_interval_s: float | None = None,
    classes: Sequence[str] | None = None,
    unknown: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the pyramid (nearest neighbors, so that ids stay ids), colors and metadata of the label store at `path`.

    Args:
        path: a store of `create_store` with one channel whose full-size level is complete.
        name: name of the image.
        pixel_size_um: size of a voxel along z, y and x in micrometers, None where unknown.
        frame_interval_s: seconds between frames, None if unknown.
        classes: names of the classes, by id, background first; None for instances, whose first 255 ids get colors.
        unknown: id of pixels that nobody annotated, shown gray; None: there are none.
        extra: content of `attributes.tessera`.
    """
    count = build_pyramid(path, nearest_2x2)
    ids = range(1, len(classes) if classes else _LABEL_COLORS + 1)
    label: dict[str, Any] = {
        "version": "0.5",
        "colors": [
            {"label-value": 0, "rgba": [0, 0, 0, 0]},
            *({"label-value": id_, "rgba": [*label_color(id_), 255]} for id_ in ids),
        ],
    }
    names = dict(enumerate(classes or ()))
    if unknown is not None:
        label["colors"].append({"label-value": unknown, "rgba": _UNKNOWN_COLOR})
        names |= {unknown: "unknown"} if classes else {}
    if names:
        label["properties"] = [{"label-value": id_, "class": class_} for id_, class_ in names.items()]
    sizes = (frame_interval_s, None, *pixel_size_um)
    _write_metadata(path, {"image-label": label}, count, name=name, sizes=sizes, method="nearest", extra=extra)


def open_array(path: StrPath, level: int = 0) -> ZarrArray:
    """Open one level of the store at `path` for reading.

    Returns:
        Array (t, c, z, y, x).

    Raises:
        SystemInputError: the store does not exist, or files of it are missing or truncated.
    """
    path = Path(path)
    attributes = _read_attributes(path)
    stored = attributes.get("tessera", {}).get("stored", [])
    try:
        array = zarr.open_array(path / str(level), mode="r", zarr_format=3)
    except Exception as error:  # zarr raises many types of errors for missing or malformed files
        raise _damaged(path, f"level {level} cannot be read ({error})") from error
    if level < len(stored):
        sizes = _count_files_once(path / str(level), (path / "zarr.json").stat().st_mtime_ns)
        if sizes != tuple(stored[level]):
            raise _damaged(
                path,
                f"level {level} has {sizes[0]} files with {sizes[1]} bytes, but {stored[level][0]} files with "
                f"{stored[level][1]} bytes were written",
            )
    return array


def read_block(array: ZarrArray, selection: Any) -> NDArray[Any]:
    """Read pixels of an array of `open_array`.

    Args:
        array: array (t, c, z, y, x).
        selection: an index of the array.

    Raises:
        SystemInputError: a shard is damaged.
    """
    try:
        return cast(NDArray[Any], array[selection])
    except Exception as error:  # zarr and its codecs raise many types of errors for damaged files
        path = Path(str(array.store_path).removeprefix("file://")).parent
        raise _damaged(path, f"pixels at {selection} cannot be read ({error})") from error


def read_metadata(path: StrPath) -> Metadata:
    """Return the metadata of the store at `path`.

    Raises:
        SystemInputError: there is no finished store at `path`.
    """
    attributes = _read_attributes(path)
    try:
        ome = attributes["ome"]
        multiscale = ome["multiscales"][0]
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        extra = attributes.get("tessera", {})
        known = [size if "unit" in axis else None for size, axis in zip(scale, multiscale["axes"], strict=True)]
        described = ome.get("omero", {}).get("channels", [])
        return Metadata(
            pixel_size_um=cast(VoxelSize, tuple(known[2:])),
            frame_interval_s=known[0],
            channels=[channel["label"] for channel in described],
            contrast_limits=[(channel["window"]["start"], channel["window"]["end"]) for channel in described],
            frame_ranges=[[(low, high) for low, high in ranges] for ranges in extra.get(FRAME_RANGES, [])],
            extra={key: value for key, value in extra.items() if key not in ("stored", FRAME_RANGES)},
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged(path, f"its metadata lacks {error}") from error


def label_color(label: int) -> tuple[int, ...]:
    """Return the color (red, green, blue) of a label id, 0 to 255.

    Hues advance by the golden ratio, so that consecutive ids have distinct colors.

    Args:
        label: an id above 0.
    """
    hue = (label * 0.618033988749895) % 1
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, (1.0, 0.8, 0.6)[label % 3]))


def _channel_color(channels: Sequence[str], number: int) -> str:
    if len(channels) == 1:
        return "FFFFFF"
    return _NAMED_COLORS.get(channels[number].lower(), _CHANNEL_COLORS[number % len(_CHANNEL_COLORS)])


def _write_metadata(
    path: StrPath,
    specific: Mapping[str, Any],
    levels: int,
    *,
    name: str,
    sizes: tuple[float | None, ...],
    method: str,
    extra: Mapping[str, Any] | None,
) -> None:
    """Write the metadata of a store.

    Args:
        path: folder of the store.
        specific: fields of `attributes.ome` that only images or only labels have.
        levels: number of levels.
        name: name of the image.
        sizes: size of a pixel along (t, c, z, y, x) in seconds and micrometers, None where unknown.
        method: "mean" or "nearest", see `tessera.io.pyramid.level_transformations`.
        extra: content of `attributes.tessera`.
    """
    units = ("second", None, "micrometer", "micrometer", "micrometer")
    kinds = ("time", "channel", "space", "space", "space")
    axes: list[dict[str, str]] = []
    for axis, kind, unit, size in zip(AXES, kinds, units, sizes, strict=True):
        axes.append({"name": axis, "type": kind} | ({"unit": unit} if size and unit else {}))
    scale = [float(size or 1) for size in sizes]
    multiscale: dict[str, Any] = {
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
            "tessera": {**(extra or {}), "stored": [_count_files(Path(path) / str(level)) for level in range(levels)]},
        }
    )


@lru_cache(maxsize=1024)
def _count_files_once(folder: Path, _version: int) -> tuple[int, int]:
    return _count_files(folder)


def _count_files(folder: Path) -> tuple[int, int]:
    """Return the number of shard files of the array at `folder`, and their total size in bytes."""
    files = total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if name != "zarr.json":
                files += 1
                total += (Path(parent) / name).stat().st_size
    return files, total


def _read_attributes(path: StrPath) -> dict[str, Any]:
    path = Path(path)
    try:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    except FileNotFoundError as error:
        raise SystemInputError(
            f"{path}: there is no store here; delete the folder of its batch to recreate it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"zarr.json cannot be read ({error})") from error
    return attributes if isinstance(attributes, dict) else {}


def _damaged(path: StrPath, what: str) -> SystemInputError:
    return SystemInputError(f"{path}: the store is damaged, {what}; delete the folder of its batch to recreate it")
