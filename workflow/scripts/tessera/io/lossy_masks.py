"""Signs that the ids in masks were changed: lossy compression, and interpolation at the edges of objects.

Interpolation of ids makes new ids between those of an object and of its neighborhood, in thin rings around the object.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.measure import label

from tessera.common.errors import InputError

_ADVICE = "export the masks as PNG or TIFF without JPEG"
# JPEG_LOSSY and JPEG_2000_LOSSY are named by DNG and Leica.
_LOSSY = {tifffile.COMPRESSION[name] for name in ("OJPEG", "JPEG_LOSSY", "JPEG_2000_LOSSY", "JPEG_99", "ALT_JPEG")}
_LOSSLESS_FRAME = 0xC3  # marker of lossless JPEG
_JPEG_FRAME = re.compile(rb"\xff([\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf])")

STRIP = 512  # rows that are examined at once, which limits the memory
LEAST_OUTLINE_PX = 60  # shorter outlines say too little
# Share of the outline that touches rings. It is above 0.3 after interpolation (most often above 0.9) and below 0.03 in
# masks of cells, even of crowded ones.
MOST_RINGED = 0.25
# Pieces of rings per id. Rings of one value are broken into pieces, and lie around all objects; small cells are whole.
LEAST_PIECES = 3
SPECKLE_PX = 2.5  # with thousands of possible ids, each pixel of a ring has its own


def refuse_jpeg(files: Sequence[Path]) -> None:
    """Refuse masks in JPEG files, whatever their suffix.

    Raises:
        InputError: names the first such file.
    """
    for file in files:
        if file.suffix.lower() in (".jpg", ".jpeg") or _begins_as_jpeg(file):
            raise InputError(f"{file}: JPEG changes ids at the edges of objects; {_ADVICE}")


def refuse_lossy_page(path: Path, tiff: Any, page: Any) -> None:
    """Refuse a page of masks in a TIFF file that was compressed with loss.

    Args:
        path: the file.
        tiff: the opened file.
        page: one of its pages.

    Raises:
        InputError: the page was compressed with loss.
    """
    lossy = page.compression in _LOSSY
    if page.compression == tifffile.COMPRESSION.JPEG and page.dataoffsets:
        tiff.filehandle.seek(page.dataoffsets[0])
        frame = _JPEG_FRAME.search(tiff.filehandle.read(min(page.databytecounts[0], 4096)))
        lossy = frame is None or frame[1][0] != _LOSSLESS_FRAME
    if lossy:
        raise InputError(f"{path}: is compressed as JPEG, which changes ids at the edges of objects; {_ADVICE}")


def _begins_as_jpeg(file: Path) -> bool:
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        return stream.read(3) == b"\xff\xd8\xff"


class RingCheck:
    """Finds rings of interpolated ids around the objects of one plane, block by block.

    A pixel is solid if it lies in a square of 3 x 3 pixels of one id. The outline is made of the solid pixels that are
    no centers of such squares. A pixel belongs to a ring if it has an id and no solid pixel of this id is near.
    """

    def __init__(self) -> None:
        self._outline = self._ringed = self._pieces = self._ring_pixels = 0
        self._ring_ids: set[int] = set()

    def add(self, ids: NDArray[Any]) -> None:
        """Examine a block of ids (y, x), 0 for background."""
        for top in range(0, len(ids), STRIP):
            self._add_strip(ids[top : top + STRIP])

    def _add_strip(self, ids: NDArray[Any]) -> None:
        if min(ids.shape) < 3 or not ids.any():
            return
        centers = _squares(ids)
        solid = _grow(centers)
        thin = np.nonzero((ids > 0) & ~solid)
        outline = solid & ~centers
        outline[[0, -1]] = outline[:, [0, -1]] = False  # the border of a block is not the outline of an object
        self._outline += int(np.count_nonzero(outline))
        ring = np.zeros(ids.shape, bool)
        ring[thin] = _without_solid_pixel(ids, solid, thin)
        if not ring.any():
            return
        ringed = int(np.count_nonzero(outline & _grow(ring)))
        self._ringed += ringed
        pieces, count = label(np.where(ring, ids, 0), background=0, connectivity=2, return_num=True)
        self._pieces += count
        self._ring_pixels += int(np.count_nonzero(pieces))
        self._ring_ids.update(np.unique(ids[ring]).tolist())

    def ringed_share(self) -> float | None:
        """Return the share of the outlines that touches rings if the ids look interpolated, else None."""
        if self._outline < LEAST_OUTLINE_PX or self._ringed < MOST_RINGED * self._outline:
            return None
        repeated = self._pieces >= LEAST_PIECES * len(self._ring_ids)
        if not repeated and self._ring_pixels > SPECKLE_PX * self._pieces:
            return None
        return self._ringed / self._outline


def _squares(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels are the centers of squares of 3 x 3 pixels of one id above 0."""
    alike = ids[:, 1:] == ids[:, :-1]
    rows = alike[:, 1:] & alike[:, :-1]
    center = ids[:, 1:-1]
    columns = center[1:] == center[:-1]
    found = np.zeros(ids.shape, bool)
    found[1:-1, 1:-1] = rows[:-2] & rows[1:-1] & rows[2:] & columns[:-1] & columns[1:] & (center[1:-1] > 0)
    return found


def _grow(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `pixels` and their eight neighbors."""
    wide = pixels.copy()
    wide[:, 1:] |= pixels[:, :-1]
    wide[:, :-1] |= pixels[:, 1:]
    grown = wide.copy()
    grown[1:] |= wide[:-1]
    grown[:-1] |= wide[1:]
    return grown


def _without_solid_pixel(
    ids: NDArray[Any], solid: NDArray[np.bool_], where: tuple[NDArray[np.intp], ...]
) -> NDArray[np.bool_]:
    """Return which of the pixels `where` have no solid pixel of their id within two pixels."""
    y, x = where
    solid_ids = np.pad(np.where(solid, ids, 0), 2)
    alone = np.ones(len(y), bool)
    for down in range(5):
        for right in range(5):
            alone &= solid_ids[y + down, x + right] != ids[y, x]
    return alone
