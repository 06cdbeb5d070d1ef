"""Shards: which pixels of an array (t, c, z, y, x) are in one file, and how to write whole ones.

A chunk is a part of one plane, so a viewer reads no more than it shows. A shard holds many chunks in one file:

- all channels;
- a square of `shard_px` pixels, or a longer rectangle where the image is lower or narrower than that;
- where that covers the plane, as many planes as have `shard_px` x `shard_px` pixels, and where these are whole stacks,
  as many frames.

So a small movie is one file, and an image of 16384 x 16384 pixels has 16. A shard also has at most BYTES_PER_PX bytes
for each of these pixels, 128 MiB at the default size, and at most MAX_CHUNKS chunks, because every access to a shard
reads the table of its chunks. A writer needs a whole shard in memory, which does not grow with the image.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

ZarrArray: TypeAlias = "zarr.Array[Any]"
Span: TypeAlias = tuple[slice, ...]
"""Slices (t, c, z, y, x) of an array."""

AXES = ("t", "c", "z", "y", "x")
CHUNK_PX, SHARD_PX = 512, 4096
BYTES_PER_PX = 8  # four channels of 16 bits, or ids of 64 bits
MAX_CHUNKS = 4096  # whose table has 64 KiB
BLOCK_PX = 2048


@dataclass(frozen=True)
class Layout:
    """Sizes of the chunks and shards of an image, its labels and everything else that belongs to it.

    Attributes:
        chunk_px: side of a chunk in y and x, smaller where the image is smaller.
        shard_px: the square root of the largest number of pixels of a channel in a shard; a multiple of `chunk_px`.
        by_rows: whether a shard consists of as few rows of chunks as possible, for images that are read row by row.
    """

    chunk_px: int = CHUNK_PX
    shard_px: int = SHARD_PX
    by_rows: bool = False

    def chunks(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the sides (t, c, z, y, x) of a chunk of an array of this shape."""
        return (1, 1, 1, *(min(self.chunk_px, size) for size in shape[-2:]))

    def shards(self, shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
        """Return the sides (t, c, z, y, x) of a shard; they are multiples of those of a chunk.

        Args:
            shape: (t, c, z, y, x) of the array.
            itemsize: bytes of a pixel.
        """
        frames, channels, depth, height, width = shape
        *_, rows, columns = self.chunks(shape)
        side, most_px = self.shard_px, self.shard_px**2
        most_px = min(most_px, most_px * BYTES_PER_PX // (channels * itemsize))
        while side > self.chunk_px and side**2 > most_px:
            side = max(side // 2 // self.chunk_px, 1) * self.chunk_px
        step = rows if self.by_rows else side
        high = _cover(height, rows, step)
        wide = _cover(width, columns, max(1, most_px // (high * side)) * side)
        high = _cover(height, rows, max(1, most_px // (wide * step)) * step)
        planes = times = 1
        if high >= height and wide >= width:
            chunks = channels * (high // rows) * (wide // columns)
            planes = _split_evenly(depth, min(most_px // (height * width), MAX_CHUNKS // chunks))
            if planes == depth:
                most = min(most_px // (depth * height * width), MAX_CHUNKS // (depth * chunks))
                times = _split_evenly(frames, most)
        return (times, channels, planes, high, wide)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of an array that tell the layout of the image, which shards of small ones do not."""
        return {"tessera": {"chunk_px": self.chunk_px, "shard_px": self.shard_px}}


def layout_of(array: ZarrArray) -> Layout:
    """Return the layout of an array, for another one that belongs to the same image."""
    stated: Any = array.attrs.get("tessera", {})
    return Layout(stated.get("chunk_px", max(array.chunks[-2:])), stated.get("shard_px", SHARD_PX))


def _cover(size: int, chunk: int, most: int) -> int:
    """Return the smallest multiple of `chunk` that covers `size`, or the largest one up to `most`, but at least one."""
    return chunk * min(math.ceil(size / chunk), max(1, most // chunk))


def _split_evenly(size: int, most: int) -> int:
    """Return the length of the fewest parts of `size` that have at most `most`, but at least 1, each."""
    return math.ceil(size / math.ceil(size / max(1, most)))


def iterate_shards(array: ZarrArray) -> Iterator[Span]:
    """Yield the region of each shard of `array` (t, c, z, y, x), as slices that end at the border of the array."""
    steps = array.shards or array.chunks
    starts = (range(0, size, step) for size, step in zip(array.shape, steps, strict=True))
    for start in itertools.product(*starts):
        yield tuple(
            slice(first, min(first + step, size)) for first, step, size in zip(start, steps, array.shape, strict=True)
        )


def largest_block_px(array: ZarrArray, most_px: int) -> int:
    """Return the largest side of blocks, at most `most_px`, of which each is in one shard.

    Blocks start at multiples of their side in y and x. The side is a multiple of that of a chunk, unless a chunk is
    larger than `most_px`; then it is the side of a chunk.
    """
    chunk = layout_of(array).chunk_px
    spans = zip(array.shards or array.chunks, array.shape, strict=True)
    divided = [shard for shard, size in list(spans)[-2:] if shard < size]
    sides = range(chunk, max(most_px, chunk) + 1, chunk)
    return max(side for side in sides if all(shard % side == 0 for shard in divided))


def iterate_blocks(array: ZarrArray, region: Span | None = None, most_px: int = BLOCK_PX) -> Iterator[Span]:
    """Yield regions of one plane and all channels each, at most `most_px` high and wide, in the order t, z, y, x.

    Args:
        array: array (t, c, z, y, x).
        region: slices of a shard, or of whole frames; None: all frames.
        most_px: see `largest_block_px`.
    """
    side = largest_block_px(array, most_px)
    t, c, z, y, x = region or tuple(slice(0, size) for size in array.shape)
    starts = (
        range(t.start, t.stop),
        range(z.start, z.stop),
        range(y.start, y.stop, side),
        range(x.start, x.stop, side),
    )
    for frame, plane, top, left in itertools.product(*starts):
        rows, columns = slice(top, min(top + side, y.stop)), slice(left, min(left + side, x.stop))
        yield (slice(frame, frame + 1), c, slice(plane, plane + 1), rows, columns)


def iterate_parts(array: ZarrArray, by_rows: bool = False) -> Iterator[Span]:
    """Yield the regions that a writer of a whole array computes one after the other, in the order of its shards.

    Args:
        array: array (t, c, z, y, x).
        by_rows: whether each region is as wide as the plane; then the layout of the array is by rows.
    """
    if by_rows:
        frames, channels, depth, height, width = array.shape
        rows = (array.shards or array.chunks)[-2]
        for t, z, top in itertools.product(range(frames), range(depth), range(0, height, rows)):
            yield (
                slice(t, t + 1),
                slice(0, channels),
                slice(z, z + 1),
                slice(top, min(top + rows, height)),
                slice(0, width),
            )
    else:
        for shard in iterate_shards(array):
            yield from iterate_blocks(array, shard)


class ShardWriter:
    """Writes parts of an array that arrive in the order of its shards; a shard is written when the next one begins.

    Pixels that no part covers become 0. Use it in a `with` statement, which writes the last shard.

    Args:
        array: array (t, c, z, y, x).
    """

    def __init__(self, array: ZarrArray) -> None:
        self._array = array
        self._steps = array.shards or array.chunks
        self._place: tuple[int, ...] | None = None
        self._pixels: NDArray[Any] = np.empty(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()

    def write(self, region: Span, pixels: NDArray[Any]) -> None:
        """Add pixels.

        Args:
            region: slices (t, c, z, y, x). It may extend over several shards if it covers each of them.
            pixels: (t, c, z, y, x).

        Raises:
            ValueError: the part belongs to a shard that is already written.
        """
        spans = list(zip(region, self._steps, strict=True))
        places = itertools.product(*(range(part.start // step, -(-part.stop // step)) for part, step in spans))
        for place in places:
            shard = self._shard(place)
            common = [
                slice(max(part.start, whole.start), min(part.stop, whole.stop))
                for part, whole in zip(region, shard, strict=True)
            ]
            own = pixels[slices_within(common, region)]
            if place != self._place:
                self._flush()
                if self._place is not None and place < self._place:
                    raise ValueError(f"shard {place} is already written, before {self._place}")
                self._place = place
                if tuple(common) == shard:
                    self._array[shard] = own
                    self._pixels = np.empty(0)
                    continue
                self._pixels = np.zeros([span.stop - span.start for span in shard], self._array.dtype)
            self._pixels[slices_within(common, shard)] = own

    def _flush(self) -> None:
        if self._place is not None and self._pixels.size:
            self._array[self._shard(self._place)] = self._pixels
        self._pixels = np.empty(0)

    def _shard(self, place: Sequence[int]) -> Span:
        return tuple(
            slice(number * step, min((number + 1) * step, size))
            for number, step, size in zip(place, self._steps, self._array.shape, strict=True)
        )


def slices_within(inner: Sequence[slice], outer: Sequence[slice]) -> Span:
    """Return the index of a region in an array of the pixels of another one that contains it."""
    return tuple(
        slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(inner, outer, strict=True)
    )
