"""Opens PNG, JPEG and JPEG 2000 files as LazyImages."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tessera.common.errors import InputError
from tessera.io.file_axes import name_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import COLORS, LazyImage, check_claimed_size, drop_transparency, make_lazy_image

# The frame header of a JPEG file: marker, length, bits
_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..(.)", re.DOTALL)


@contextlib.contextmanager
def open_flat(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open a PNG, JPEG or JPEG 2000 file, which is decoded at once; Pillow refuses to decode very large ones."""
    choose_scene(path, [""], request.scene)
    axes, labels = request.axes, request.labels
    _refuse_deep_jpeg(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG", "JPEG2000")) as image:
            check_claimed_size(path, image.width * image.height * len(image.getbands()), path.stat().st_size)
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path}: is an animation; save its frames as one TIFF or as separate files")
            pixels = _decode_flat(path, image, labels)
    layout = name_axes(path, "YXS"[: pixels.ndim], pixels.shape, axes, request.like)
    has_colors = pixels.ndim == 3 and not axes
    channels = list(COLORS[: layout.size("c")]) if has_colors and layout.size("c") >= 3 else None
    lazy = replace(make_lazy_image(path, layout, pixels, labels=labels), channels=channels)
    opaque = image.format == "JPEG2000"  # whose fourth component may be any channel
    yield drop_transparency(lazy, opaque=opaque) if has_colors and layout.size("c") in (2, 4) else lazy


def _refuse_deep_jpeg(path: Path) -> None:
    """Refuse JPEG files with more than 8 bits per channel, which Pillow takes for damaged ones."""
    with open(path, "rb") as file:
        head = file.read(65536)
    frame = _JPEG_FRAME.search(head) if head.startswith(b"\xff\xd8\xff") else None
    if frame and frame[1][0] > 8:
        raise InputError(
            f"{path}: is a JPEG file of {frame[1][0]} bits, which is not supported; convert it to a TIFF of 16 bits"
        )


def _decode_flat(path: Path, image: Image.Image, labels: bool) -> NDArray[Any]:
    """Return pixels (y, x) or (y, x, c)."""
    pixels: NDArray[Any]
    if image.format == "JPEG2000":
        pixels = imagecodecs.jpeg2k_decode(path.read_bytes())
    elif image.mode == "P" and not labels:
        pixels = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    elif image.mode in ("CMYK", "YCbCr"):
        pixels = np.asarray(image.convert("RGB"))
    elif any("16" in str(tile.args) for tile in cast(Any, image).tile) and len(image.getbands()) > 1:
        pixels = imagecodecs.png_decode(path.read_bytes())  # Pillow would reduce colors of 16 bits to 8
    else:
        pixels = np.asarray(image)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
