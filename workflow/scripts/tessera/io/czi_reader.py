"""Opens Zeiss CZI files as LazyImages. A scene of the acquisition is a scene; tiles of a mosaic are joined."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_interval, convert_sizes
from tessera.io.czi_structure import Tile, pixel_type, read_structure, read_tile
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import COLORS, LazyImage, check_claimed_size
from tessera.io.plane_array import make_image

KEPT_TILES = 16  # decoded tiles that the next block may need, fewer if they have more than KEPT_BYTES
KEPT_BYTES = 2**27
MAX_EXPANSION = 100_000  # a scene may be sparse
_AXES = "TCZ"
_OTHERS = {"R": "rotations", "I": "illuminations", "H": "phases", "V": "views", "B": "blocks"}


@contextlib.contextmanager
def open_czi(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the full size of one scene of the CZI file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage. The tile with the larger number in the mosaic covers tiles that it overlaps.

    Raises:
        InputError: the file is damaged, or has several scenes and none is chosen.
    """
    with open(path, "rb") as file:
        structure = read_structure(path, file)
        tiles = [tile for tile in structure.tiles if tile.is_full_size]
        scenes = sorted({tile.start.get("S", 0) for tile in tiles})
        names = [_name_scene(structure.metadata, scene) for scene in scenes]
        scene = scenes[choose_scene(path, names, request.scene)]
        tiles = [tile for tile in tiles if tile.start.get("S", 0) == scene]
        for axis, what in _OTHERS.items():
            count = len({tile.start.get(axis, 0) for tile in tiles})
            if count > 1 or any(tile.size.get(axis, 1) > 1 for tile in tiles):
                raise InputError(f"{path}: has several {what}, which are not supported; save one as OME-TIFF")
        pixels = _Mosaic(path, file, tiles)
        check_claimed_size(path, math.prod(pixels.shape) * pixels.dtype.itemsize, path.stat().st_size, MAX_EXPANSION)
        shape = pixels.shape
        calibration = _read_calibration(structure.metadata)
        if shape[-1] > 1 and pixels.shape[1] > 1:
            raise InputError(f"{path}: has {shape[1]} channels of colors, which is not supported; save one as OME-TIFF")
        if shape[-1] > 1:
            axes, calibration = "TPZYXS", replace(calibration, channels=list(COLORS[: shape[-1]]))
        else:
            axes = "TCZYXP"  # P is an axis of size 1
        calibration = replace(calibration, warnings=(*calibration.warnings, *pixels.describe()))
        yield make_image(path, axes, pixels, shape, request, calibration, tiled=True)


class _Mosaic:
    """The pixels (t, c, z, y, x, samples) of the tiles of a scene, joined at their places."""

    def __init__(self, path: Path, file: BinaryIO, tiles: Sequence[Tile]) -> None:
        types = {pixel_type(path, tile.pixel_type) for tile in tiles}
        if len(types) > 1:
            raise InputError(f"{path}: its channels differ in the type of their pixels; save them with one type")
        self.dtype, samples = types.pop()
        low = {axis: min(tile.start[axis] for tile in tiles) for axis in "YX"}
        sides = tuple(max(tile.start[axis] + tile.size[axis] for tile in tiles) - low[axis] for axis in "YX")
        numbers = {axis: sorted({tile.start.get(axis, 0) for tile in tiles}) for axis in _AXES}
        if any(tile.size.get(axis, 1) != 1 for tile in tiles for axis in _AXES):
            raise InputError(f"{path}: has tiles of several planes, which is not supported; export it as OME-TIFF")
        counts = tuple(len(numbers[axis]) for axis in _AXES)
        self.shape = (*counts, *sides, samples)
        self._low = low
        places = {axis: {number: place for place, number in enumerate(numbers[axis])} for axis in _AXES}
        planes: dict[tuple[int, ...], list[Tile]] = defaultdict(list)
        for tile in sorted(tiles, key=lambda tile: (tile.start.get("M", 0), tile.offset)):
            planes[tuple(places[axis][tile.start.get(axis, 0)] for axis in _AXES)].append(tile)
        if missing := math.prod(counts) - len(planes):
            raise InputError(
                f"{path}: lacks {missing} of its {math.prod(counts)} planes; save the existing planes as OME-TIFF"
            )
        self._planes = planes
        by_offset = {tile.offset: tile for tile in tiles}
        largest = max(tile.size["Y"] * tile.size["X"] for tile in tiles) * samples * self.dtype.itemsize
        kept = max(1, min(KEPT_TILES, KEPT_BYTES // largest))
        self._read_tile = lru_cache(maxsize=kept)(lambda offset: read_tile(path, file, by_offset[offset]))

    def describe(self) -> list[str]:
        """Return notes about a mosaic."""
        most = max(len(tiles) for tiles in self._planes.values())
        if most == 1:
            return []
        covered = min(sum(tile.size["Y"] * tile.size["X"] for tile in tiles) for tiles in self._planes.values())
        area = self.shape[3] * self.shape[4]
        gaps = "; pixels between them are 0" if covered < area else ""
        return [f"is a mosaic of {most} tiles, which are joined without blending where the microscope put them{gaps}"]

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return pixels; the index has a whole number or a slice for each dimension."""
        whole = [
            range(at, at + 1) if isinstance(at, int) else range(*at.indices(size))
            for at, size in zip(index, self.shape, strict=True)
        ]
        block = np.zeros([len(span) for span in whole], self.dtype)
        for t, c, z in np.ndindex(*block.shape[:3]):
            place = (whole[0][t], whole[1][c], whole[2][z])
            for tile in self._planes[place]:
                self._paint(block[t, c, z], tile, whole[3], whole[4])
        # Samples are never selected.
        return block[tuple(0 if isinstance(at, int) else slice(None) for at in index)]

    def _paint(self, plane: NDArray[Any], tile: Tile, rows: range, columns: range) -> None:
        target, source = [], []
        for axis, asked in (("Y", rows), ("X", columns)):
            first = tile.start[axis] - self._low[axis]
            begin, end = max(first, asked.start), min(first + tile.size[axis], asked.stop)
            if begin >= end:
                return
            target.append(slice(begin - asked.start, end - asked.start))
            source.append(slice(begin - first, end - first))
        plane[tuple(target)] = self._read_tile(tile.offset)[tuple(source)]


def _name_scene(metadata: ElementTree.Element | None, number: int) -> str:
    if metadata is None:
        return ""
    for scene in metadata.iterfind(".//Information/Image/Dimensions/S/Scenes/Scene"):
        if scene.get("Index") == str(number):
            return scene.get("Name", "")
    return ""


def _read_calibration(metadata: ElementTree.Element | None) -> Calibration:
    """Return what the metadata state, in meters and seconds."""
    if metadata is None:
        return Calibration()
    meters = {each.get("Id"): each.findtext("Value") for each in metadata.iterfind(".//Scaling/Items/Distance")}
    calibration = convert_sizes([meters.get(axis) for axis in "ZYX"], ["m", "m", "m"])
    interval = metadata.findtext(".//Information/Image/Dimensions/T/Positions/Interval/Increment")
    calibration = calibration.complete_with(convert_interval(interval, "s"))
    found = metadata.iterfind(".//Information/Image/Dimensions/Channels/Channel")
    names = [channel.get("Name") or "" for channel in found]
    return replace(calibration, channels=names or None)
