"""Masks in files with several channels: gray colors, transparency, and channels that differ."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.io.lazy_image import COLORS, LazyImage, ReadFunction

_TRANSPARENCY = {1, 2}  # values of the TIFF tag ExtraSamples


def read_one_channel(source: LazyImage, file: Path, name: StrPath) -> ReadFunction:
    """Return a function that reads ids saved as gray colors, with or without transparency.

    Args:
        source: ids (t, c, z, y, x) with several channels, which must be equal, except transparency.
        file: the file, or the first of the frames.
        name: file or folder, for messages.

    Raises:
        InputError: while reading, if the channels differ.
    """
    count = source.shape[1]
    transparent = _marks_transparency(file)
    colors = transparent or _has_colors(source)

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        pixels = source.read(t, z, rows, columns)
        grays = pixels[:-1] if transparent and _is_transparency(pixels[-1]) else pixels
        if (grays != grays[0]).any():
            if colors and count > 2:
                raise InputError(
                    f"{name}: has colors, not ids; export the annotation as an image of ids with one channel"
                )
            raise InputError(
                f"{name}: has {count} channels that differ, so it is unclear which of them holds the ids; save that "
                "channel as a file of its own"
            )
        return pixels[:1]

    return read


def _has_colors(source: LazyImage) -> bool:
    return source.channels is not None and source.channels[:1] == list(COLORS[:1])


def _is_transparency(pixels: NDArray[Any]) -> bool:
    """Return whether some pixels are opaque or all are equal. Ids that are marked by mistake are neither."""
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    return bool(pixels.max() == opaque or pixels.min() == pixels.max())


def _marks_transparency(file: Path) -> bool:
    """Return whether a file says that its last channel is transparency."""
    if not file.is_file():
        return False
    try:
        with tifffile.TiffFile(file, is_mmstack=False) as tiff:
            page: Any = tiff.pages[0]
            contiguous = page.planarconfig == tifffile.PLANARCONFIG.CONTIG
            return contiguous and bool(set(page.extrasamples) & _TRANSPARENCY)
    except tifffile.TiffFileError:
        with Image.open(file) as image:
            return image.mode in ("LA", "RGBA", "La", "RGBa")
