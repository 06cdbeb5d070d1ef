"""Opens MP4, MOV, AVI and GIF files as LazyImages with a frame for each picture."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import COLORS, LazyImage
from tessera.io.plane_array import MAX_PLANE_BYTES, PlaneArray, make_image

SPARE_FRAMES = 2  # that the header may state beyond those that are there
# What players of movies would take for lists of other files is not opened.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_LOSSLESS = {"", "DIB ", "RGBA", "RAW ", "FFV1", "HFYU", "FFVH", "PNG ", "MPNG"}
# Formats of pixels with 8 bits, as libavcodec names them in raw files
_EIGHT_BITS = {"I420", "Y42B", "444P", "NV12", "YUY2", "UYVY", "Y800", "Y8  ", "BGR\x18", "RGB\x18", "PAL\x08"}
_EIGHT_BITS |= {"BGRA", "RGBA", "ARGB", "ABGR", "422P", "GBRP", "G3\0\x08", "YV12", "411P", "PAL8", "BGR\0", "RGB\0"}


class _Pictures(Protocol):
    """The pictures of a file, which are decoded in their order."""

    def next(self) -> NDArray[np.uint8] | None:
        """Return the next picture (y, x, colors), None after the last one."""


class _Video:
    """The pictures of an MP4, MOV or AVI file."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            head = file.read(12)
        if head[4:8] not in _BOXES and not (head.startswith(b"RIFF") and head[8:] == b"AVI "):
            raise InputError(f"{path}: does not begin like an MP4, MOV or AVI file; replace or remove it")
        self.capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self.capture.isOpened():
            raise InputError(f"{path}: is truncated, damaged or of an unknown codec; convert it to TIFF (Fiji, FFmpeg)")
        sides = [self.capture.get(name) for name in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        if not 0 < sides[0] * sides[1] * 3 <= MAX_PLANE_BYTES:
            raise InputError(f"{path}: states frames of {sides[0]:g} x {sides[1]:g} pixels; replace or remove it")

    def next(self) -> NDArray[np.uint8] | None:
        """Return the next picture (y, x, colors), None after the last one."""
        there, picture = self.capture.read()
        if not there:
            self.capture.release()
            return None
        colors: NDArray[np.uint8] = np.atleast_3d(np.asarray(picture, np.uint8))[..., :3][..., ::-1]
        return colors

    def describe(self) -> list[str]:
        """Return notes about what the compression changed."""
        notes = []
        name = _four_letters(self.capture.get(cv2.CAP_PROP_FOURCC))
        if name.upper() not in _LOSSLESS:
            notes.append(f"is compressed by {name}, which may change intensities; use the original images if you can")
        pixels = _four_letters(self.capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
        if pixels not in _EIGHT_BITS:
            notes.append(f"has pixels of the format {pixels!r}, which are read with 8 bits")
        return notes


class _Gif:
    """The pictures of a GIF file."""

    def __init__(self, path: Path) -> None:
        self._image = Image.open(path, formats=("GIF",))
        self._number = 0

    def next(self) -> NDArray[np.uint8] | None:
        """Return the next picture (y, x, colors), None after the last one."""
        try:
            self._image.seek(self._number)
        except EOFError:
            self._image.close()
            return None
        self._number += 1
        return np.asarray(self._image.convert("RGB"))


@contextlib.contextmanager
def open_movie(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the movie at `path` for the block that follows. All its frames are decoded once, to count them.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage, with one channel if no frame has colors. Its frame interval is unknown, since the rate of a movie
        is that of its display.

    Raises:
        InputError: the file is damaged or of an unknown codec.
    """
    choose_scene(path, [""], request.scene)
    with open(path, "rb") as file:
        source: type[_Video | _Gif] = _Gif if file.read(4) == b"GIF8" else _Video
    notes, stated = [], 0.0
    counted = source(path)
    if isinstance(counted, _Video):
        stated = counted.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        notes = counted.describe()
    count, gray, shape = 0, True, (0, 0, 0)
    while (picture := counted.next()) is not None:
        if count and picture.shape != shape:
            raise InputError(f"{path}: its frames differ in size; save them as separate files")
        count, shape = count + 1, picture.shape
        gray = gray and bool((picture == picture[..., :1]).all())
    if not count or count + SPARE_FRAMES < stated:
        raise InputError(f"{path}: has {count} of the {stated:g} frames that it states; replace or remove it")
    notes.append("does not state the time between frames, only a rate for display; give it in frame_interval_s")
    if gray:
        notes.append("has no colors; it is read as one channel")
    frames = _InOrder(path, source)

    def read(place: tuple[int, ...]) -> NDArray[Any]:
        picture = frames.read(place[0])
        return picture[..., 0] if gray else picture

    pixels = PlaneArray(path, [count], shape[:2] if gray else shape, np.uint8, read)
    calibration = Calibration(warnings=tuple(notes if count > 1 else notes[:-2]))
    if not gray:
        calibration = replace(calibration, channels=list(COLORS[:3]))
    yield make_image(path, "TYX" if gray else "TYXS", pixels, pixels.shape, request, calibration)


class _InOrder:
    """Reads frames by decoding those before them; it starts again to go back."""

    def __init__(self, path: Path, source: type[_Video | _Gif]) -> None:
        self._path = path
        self._source = source
        self._pictures: _Pictures = source(path)
        self._next = 0

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return a frame (y, x, colors)."""
        if number < self._next:
            self._pictures, self._next = self._source(self._path), 0
        while True:
            picture = self._pictures.next()
            if picture is None:
                raise InputError(f"{self._path}: frame {number} cannot be decoded; replace or remove it")
            self._next += 1
            if self._next > number:
                return picture


def _four_letters(code: float) -> str:
    """Return the name of a codec or of a format of pixels."""
    return int(code).to_bytes(4, "little", signed=False).decode("latin-1") if code > 0 else ""
