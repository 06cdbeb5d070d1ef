"""Annotated training images: their class statistics, and the positions of patches in them."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.common.batch_outputs import find_stores
from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.data.normalization import PERCENTILE, IntensityRanges, choose_intensity_ranges
from tessera.data.patch_reader import has_annotation
from tessera.io.chunk_cache import CachedArray, ChunkCache
from tessera.io.ome_zarr_store import Metadata, open_array, read_metadata
from tessera.io.shards import CHUNK_PX

CACHE_BYTES = 2**28  # recently read chunks of images and ground truth
logger = logging.getLogger(__name__)


@dataclass
class AnnotatedImage:
    """An image with ground truth, from which patches are cut.

    Attributes:
        image: name of the image.
        pixels: array (t, c, z, y, x).
        truth: ids (t, 1, z, y, x); t, z, y and x are those of `pixels`.
        metadata: metadata of the image.
        planes: the annotated planes (t, z).
        order: index of the image's channel for each channel of the patches; None keeps all channels in their order.
        holds_instances: True if the ids are those of objects, which count as two classes, background and object.
        class_counts: annotated pixels of each class in each block of each plane (planes, rows, columns, classes), see
            `measure_class_statistics`.
        areas: area in pixels of each object in each plane that shows it. Objects that touch the border of the image
            count only in planes where all objects do.
        ranges: intensities of each channel of the patches that become 0 and 1; None: the image's own contrast limits.
        scale: pixels of patches per pixel of the image, along y and x.
    """

    image: str
    pixels: CachedArray
    truth: CachedArray
    metadata: Metadata
    planes: list[tuple[int, int]]
    order: list[int] | None = None
    holds_instances: bool = False
    class_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int64))
    areas: list[int] = field(default_factory=list)
    ranges: IntensityRanges | None = None
    scale: float = 1.0

    @property
    def channel_indices(self) -> list[int]:
        """Index of the image's channel for each channel of the patches."""
        return list(range(self.pixels.shape[1])) if self.order is None else self.order

    @property
    def intensity_ranges(self) -> IntensityRanges:
        """The `ranges`, or the image's own contrast limits."""
        return self.ranges or choose_intensity_ranges(
            self.metadata, self.channel_indices, {"normalization": PERCENTILE}
        )

    @property
    def diameters_px(self) -> NDArray[np.float64]:
        """Diameters of circles with the `areas`, in pixels of the image: (objects,)."""
        return np.sqrt(4 / math.pi * np.array(self.areas, np.float64))

    @property
    def block_px(self) -> tuple[int, int]:
        """Height and width of the blocks of `class_counts`."""
        height, width = self.truth.shape[-2:]
        return min(CHUNK_PX, height), min(CHUNK_PX, width)


PatchPosition: TypeAlias = tuple[AnnotatedImage, tuple[int, int], int, int]
"""(image, plane (t, z), row, column) of the center of a patch, in pixels of the image."""


def open_annotated_images(
    images: Sequence[StrPath], truth: Sequence[StrPath], names: Iterable[str]
) -> list[AnnotatedImage]:
    """Open image and ground truth of each of `names`, except skipped images and images without an annotated plane.

    Args:
        images: folders of batches of images.
        truth: folders of batches of ground truth.
        names: names of annotated images.

    Returns:
        The images, in the order of `names`.

    Raises:
        InputError: an image and its ground truth differ in shape.
    """
    names = list(names)
    image_paths, truth_paths = find_stores(images, names), find_stores(truth, names)
    sources: list[AnnotatedImage] = []
    cache = ChunkCache(CACHE_BYTES)
    for image in names:
        if image not in image_paths or image not in truth_paths:
            logger.info("%s: was skipped, so it gives no patches", image)
            continue
        pixels, ids = (CachedArray(open_array(paths[image]), cache) for paths in (image_paths, truth_paths))
        if (pixels.shape[0], *pixels.shape[2:]) != (ids.shape[0], *ids.shape[2:]):
            raise InputError(
                f"{truth_paths[image]}: its shape tczyx {ids.shape} does not fit the shape {pixels.shape} of the "
                "image; give the ground truth of this image"
            )
        frames = read_metadata(truth_paths[image]).extra.get("annotated_t", range(ids.shape[0]))
        planes = [(t, z) for t in frames if 0 <= t < ids.shape[0] for z in range(ids.shape[2])]
        if planes:
            sources.append(AnnotatedImage(image, pixels, ids, read_metadata(image_paths[image]), planes))
        else:
            logger.info("%s: has no annotated frame, so it gives no patches", image)
    return sources


def measure_class_statistics(source: AnnotatedImage, task: str, classes: Sequence[str]) -> None:
    """Read the ground truth of an image once, block by block, and set `class_counts` and, for instances, `areas`.

    Args:
        source: the image to update.
        task: "instances" | "semantic".
        classes: names of the classes, background first.

    Raises:
        InputError: the ground truth has a class id beyond the `classes`.
    """
    rows, columns = source.block_px
    height, width = source.truth.shape[-2:]
    source.holds_instances = task == "instances"
    n_classes = 2 if source.holds_instances else len(classes)
    grid = -(-height // rows), -(-width // columns)
    source.class_counts = np.zeros((len(source.planes), *grid, n_classes), np.int64)
    for number, (t, z) in enumerate(source.planes):
        areas: dict[int, int] = {}
        cut_by_border: set[int] = set()
        for row, column in np.ndindex(grid):
            y, x = row * rows, column * columns
            block = source.truth[t, 0, z, y : y + rows, x : x + columns]
            ids, pixels = np.unique(block, return_counts=True)
            if source.holds_instances:
                ids, pixels = ids[ids != UNKNOWN], pixels[ids != UNKNOWN]
                source.class_counts[number, row, column] = pixels[ids == 0].sum(), pixels[ids != 0].sum()
                for label, area in zip(ids[ids != 0].tolist(), pixels[ids != 0].tolist(), strict=True):
                    areas[label] = areas.get(label, 0) + area
                borders = [
                    *((y == 0, block[0]), (y + rows >= height, block[-1])),
                    *((x == 0, block[:, 0]), (x + columns >= width, block[:, -1])),
                ]
                cut_by_border.update(*(np.unique(line).tolist() for at_border, line in borders if at_border))
                continue
            is_class = ids < n_classes
            if unnamed := sorted(set(ids[~is_class].tolist()) - {IGNORE}):
                raise InputError(
                    f"{source.image}: its ground truth has class {unnamed[0]}, but the setting classes names only "
                    f"{n_classes} ({', '.join(classes)}); name the other classes too, or correct the ground truth"
                )
            source.class_counts[number, row, column, ids[is_class]] = pixels[is_class]
        uncut_areas = [area for label, area in areas.items() if label not in cut_by_border]
        source.areas += uncut_areas or areas.values()


def check_class_statistics(sources: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
    """Refuse images from which a network cannot learn, and log the classes that no image shows.

    Args:
        sources: images after `measure_class_statistics`.
        classes: names of the classes, background first.

    Raises:
        InputError: fewer than two classes are annotated.
    """
    totals = np.sum([source.class_counts.sum((0, 1, 2)) for source in sources], axis=0)
    names = ["background", "objects"] if sources[0].holds_instances else list(classes)
    shown = [name for name, total in zip(names, totals, strict=True) if total]
    missing = [name for name in names if name not in shown]
    if len(shown) < 2:
        raise InputError(
            f"The ground truth of the training set is all {shown[0] if shown else 'unknown'}, so a network cannot "
            f"learn from it; annotate images that show {' and '.join(missing)} too"
        )
    if missing:
        logger.warning("No image of the training set shows %s, so the network cannot find them", ", ".join(missing))


def warn_of_empty_validation(sources: Sequence[AnnotatedImage]) -> None:
    """Log a warning if no validation image shows an object or a class other than the background.

    Args:
        sources: validation images after `measure_class_statistics`.
    """
    if not any(source.class_counts[..., 1:].any() for source in sources):
        logger.warning(
            "No image of the validation set shows an object, so the best epoch is chosen by the background alone; put "
            "an image with objects into this set (column split)"
        )


class PatchSampler:
    """Draws the positions of patches in annotated images.

    Args:
        sources: at least one image after `measure_class_statistics`.
    """

    def __init__(self, sources: Sequence[AnnotatedImage]) -> None:
        self.sources = sources
        self._totals = np.array([source.class_counts.sum((0, 1, 2)) for source in sources])
        # Weights by area would let one large movie crowd out all other images; equal weights would ignore its many
        # cells. The square root is in between.
        areas = [total * source.scale**2 for total, source in zip(self._totals.sum(1), sources, strict=True)]
        self._weights = np.sqrt(areas)

    def draw(self, rng: np.random.Generator, class_balanced_fraction: float) -> PatchPosition:
        """Draw the center of a patch.

        With probability `class_balanced_fraction`, draw a class evenly among the annotated classes, then an image that
        shows the class, weighted by the square root of its annotated area, then a pixel of the class in this image. So
        a class that is rare, or that a single image shows, is drawn as often as any other. Otherwise draw an image in
        the same way, then any annotated pixel.

        Args:
            rng: source of randomness.
            class_balanced_fraction: from 0 to 1.
        """
        present = np.flatnonzero(self._totals.sum(0))
        if rng.random() < class_balanced_fraction and len(present):
            class_ = rng.choice(present)
            source = self._draw_source(rng, self._totals[:, class_] > 0)
            return source, *_draw_pixel(source, class_, rng)
        source = self._draw_source(rng, np.ones(len(self.sources)))
        return source, *_draw_pixel(source, slice(None), rng)

    def _draw_source(self, rng: np.random.Generator, candidates: NDArray) -> AnnotatedImage:
        weights = self._weights * candidates
        return self.sources[rng.choice(len(weights), p=weights / weights.sum())]


def _draw_pixel(
    source: AnnotatedImage, classes: int | slice, rng: np.random.Generator
) -> tuple[tuple[int, int], int, int]:
    """Draw a pixel of a class or of a slice of the classes: (t, z), row, column."""
    candidates = np.arange(source.class_counts.shape[-1])[classes]
    counts = source.class_counts[..., np.atleast_1d(candidates)].sum(-1)
    drawn = np.searchsorted(np.cumsum(counts), rng.integers(counts.sum()), side="right")
    number, row, column = np.unravel_index(drawn, counts.shape)
    (t, z), (rows, columns) = source.planes[number], source.block_px
    y, x = row * rows, column * columns
    block = source.truth[t, 0, z, y : y + rows, x : x + columns]
    block_classes = np.sign(block) if source.holds_instances else block
    pixels = np.flatnonzero(np.isin(block_classes, candidates))
    dy, dx = np.unravel_index(pixels[rng.integers(len(pixels))], block.shape)
    return (t, z), int(y + dy), int(x + dx)


def grid_positions(sources: Sequence[AnnotatedImage], patch_size_px: int, most: int) -> list[PatchPosition]:
    """Return positions of patches on a grid over the annotated planes of `sources`. The result is deterministic.

    If the grids have more than `most` patches, images share them equally, except that an image with fewer keeps all of
    its own. The kept patches are evenly spaced over the planes and the area of an image. Patches without an annotated
    pixel are left out.

    Args:
        sources: images after `measure_class_statistics`.
        patch_size_px: side of a patch, at the `scale` of the images.
        most: the largest number of patches.

    Raises:
        InputError: no pixel of any source is annotated.
    """
    positions: list[PatchPosition] = []
    centers = [
        [_grid_centers(size, max(round(patch_size_px / source.scale), 1)) for size in source.pixels.shape[-2:]]
        for source in sources
    ]
    shapes = [(len(source.planes), *map(len, axes)) for source, axes in zip(sources, centers, strict=True)]
    cells = [_annotated_cells(*grid, patch_size_px) for grid in zip(sources, centers, shapes, strict=True)]
    counts = _share_equally([len(source_cells) for source_cells in cells], most)
    grids = zip(sources, centers, shapes, cells, counts, strict=True)
    for source, (rows, columns), shape, source_cells, count in grids:
        for number in ((np.arange(count) + 0.5) * len(source_cells) / max(count, 1)).astype(int):
            plane, row, column = np.unravel_index(source_cells[number], shape)
            positions.append((source, source.planes[plane], int(rows[row]), int(columns[column])))
    if sources and not positions:
        raise InputError(
            f"{', '.join(source.image for source in sources)}: no pixel is annotated; correct the column truth"
        )
    return positions


def _annotated_cells(
    source: AnnotatedImage, centers: Sequence[NDArray[np.int64]], shape: tuple[int, ...], patch_size_px: int
) -> Sequence[int]:
    """Return the flat indices of the cells of a grid (planes, rows, columns) that have an annotated pixel."""
    cells = range(math.prod(shape))
    if source.class_counts.sum() == len(source.planes) * math.prod(source.truth.shape[-2:]):
        return cells
    rows, columns = centers
    return [
        cell
        for cell, (plane, row, column) in enumerate(np.ndindex(*shape))
        if has_annotation(source, source.planes[plane], int(rows[row]), int(columns[column]), patch_size_px)
    ]


def _grid_centers(size: int, patch_size_px: int) -> NDArray[np.int64]:
    """Return the centers of evenly spaced patches that cover an axis of `size` pixels."""
    count = -(-size // patch_size_px)
    return np.linspace(0, max(size - patch_size_px, 0), count).round().astype(int) + patch_size_px // 2


def _share_equally(counts: list[int], most: int) -> list[int]:
    """Reduce `counts` to a sum of at most `most`: each gets an equal share, or keeps its count if that is smaller."""
    remaining, level = most, 0.0
    for done, count in enumerate(sorted(counts)):
        level = remaining / (len(counts) - done)
        if count > level:
            break
        remaining -= count
    else:
        return counts
    # Rounding of the running sum spreads the remainder of the division over all.
    ends = np.floor(np.cumsum(np.minimum(counts, level)) + 1e-6)
    return np.diff(ends, prepend=0).astype(int).tolist()
