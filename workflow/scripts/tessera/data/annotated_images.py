"""Annotated training images: their class statistics, and the positions of patches in them."""

import math
from dataclasses import dataclass, field

import numpy as np

from tessera.common.batch_outputs import find_stores
from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.data.patch_reader import has_annotation
from tessera.io.chunk_cache import CachedArray, ChunkCache
from tessera.io.ome_zarr_store import Metadata, open_array, read_metadata

CACHED_BYTES = 2**28  # of the chunks of images and truth that were read last


@dataclass
class AnnotatedImage:
    """An annotated image that gives patches.

    Attributes:
        image: its name.
        pixels, truth: arrays (t, c, z, y, x) of the same t, z, y and x; one channel of ids.
        metadata: of the image.
        planes: its annotated (t, z).
        order: which of its channels is each of those that patches have; None: all as they are.
        holds_instances: the truth is ids of objects, which count as two classes, background and object.
        contents: pixels of each class in each block of each plane, (planes, rows, columns, classes), those that nobody
            annotated left out; see `measure_class_statistics`.
        areas: pixels of each object in each plane that it is in; of those that the border of the image does not cut,
            where there are some.
        ranges: what is 0 and 1 in each channel that patches have, (low, high); None: the image's own windows.
        scale: pixels of patches per pixel of the image, along y and x.
    """

    image: str
    pixels: CachedArray
    truth: CachedArray
    metadata: Metadata
    planes: list[tuple[int, int]]
    order: list[int] | None = None
    holds_instances: bool = False
    contents: np.ndarray | None = None
    areas: list[int] = field(default_factory=list)
    ranges: list[tuple[float, float]] | None = None
    scale: float = 1.0

    @property
    def diameters_px(self):
        """Of circles with the `areas`, in pixels of the image: (objects,)."""
        return np.sqrt(4 / math.pi * np.array(self.areas, np.float64))

    @property
    def block_px(self):
        """Height and width of the blocks that `contents` counts: the chunks of the truth."""
        return self.truth.chunks[-2:]


def open_annotated_images(images, truth, names):
    """Open image and truth of each of `names`; those that were set aside, or have no annotated plane, are left out.

    Args:
        images, truth: folders of batches.
        names: names of annotated images.

    Returns:
        Sources, in the order of `names`.

    Raises:
        InputError: the truth has another shape than its image.
    """
    image_paths, truth_paths = find_stores(images, names), find_stores(truth, names)
    sources, cache = [], ChunkCache(CACHED_BYTES)
    for image in names:
        if image not in image_paths or image not in truth_paths:
            print(f"{image}: was set aside, gives no patches", flush=True)
            continue
        pixels, ids = (CachedArray(open_array(paths[image]), cache) for paths in (image_paths, truth_paths))
        if (pixels.shape[0], *pixels.shape[2:]) != (ids.shape[0], *ids.shape[2:]):
            raise InputError(
                f"{truth_paths[image]}: its shape tczyx {ids.shape} does not fit {pixels.shape} of the image; "
                "give the truth of this image"
            )
        frames = read_metadata(truth_paths[image]).extra.get("annotated_t", range(ids.shape[0]))
        planes = [(t, z) for t in frames if 0 <= t < ids.shape[0] for z in range(ids.shape[2])]
        if planes:
            sources.append(AnnotatedImage(image, pixels, ids, read_metadata(image_paths[image]), planes))
        else:
            print(f"{image}: no frame of it is annotated, gives no patches", flush=True)
    return sources


def measure_class_statistics(source, task, classes):
    """Read the truth of a source once, block by block, and fill in its `contents` and, for instances, `areas`.

    Raises:
        InputError: a class id beyond the `classes`, names of the classes.
    """
    rows, columns = source.block_px
    height, width = source.truth.shape[-2:]
    source.holds_instances = task == "instances"
    count = 2 if source.holds_instances else len(classes)
    source.contents = np.zeros((len(source.planes), -(-height // rows), -(-width // columns), count), np.int64)
    for number, (t, z) in enumerate(source.planes):
        objects, cut = {}, set()
        for row, column in np.ndindex(source.contents.shape[1:3]):
            y, x = row * rows, column * columns
            block = source.truth[t, 0, z, y : y + rows, x : x + columns]
            ids, pixels = np.unique(block, return_counts=True)
            if source.holds_instances:
                ids, pixels = ids[ids != UNKNOWN], pixels[ids != UNKNOWN]
                source.contents[number, row, column] = pixels[ids == 0].sum(), pixels[ids != 0].sum()
                for label, area in zip(ids[ids != 0].tolist(), pixels[ids != 0].tolist(), strict=True):
                    objects[label] = objects.get(label, 0) + area
                ends = (y == 0, block[0]), (y + rows >= height, block[-1])
                ends += (x == 0, block[:, 0]), (x + columns >= width, block[:, -1])
                cut.update(*(np.unique(line).tolist() for at_border, line in ends if at_border))
                continue
            known = ids < count
            if strange := sorted(set(ids[~known].tolist()) - {IGNORE}):
                raise InputError(
                    f"{source.image}: its truth has class {strange[0]}, and classes names {count} "
                    f"({', '.join(classes)}); name the others too or correct the truth"
                )
            source.contents[number, row, column, ids[known]] = pixels[known]
        whole = [area for label, area in objects.items() if label not in cut]
        source.areas += whole or objects.values()


def check_class_statistics(sources, classes):
    """Refuse sources after `measure_class_statistics` from which nothing can be learnt, and tell of classes that none shows.

    Raises:
        InputError: all truth is of one class, or there is none.
    """
    totals = sum(source.contents.sum((0, 1, 2)) for source in sources)
    names = ["background", "objects"] if sources[0].holds_instances else classes
    shown = [name for name, total in zip(names, totals, strict=True) if total]
    if len(shown) < 2:
        raise InputError(
            f"All truth of the training set is {shown[0] if shown else 'unknown'}, so nothing can be learnt; annotate "
            f"images that show {' and '.join(name for name in names if name not in shown)} too"
        )
    if missing := [name for name in names if name not in shown]:
        print(f"No image of the training set shows {', '.join(missing)}, so they will not be found", flush=True)


class PatchSampler:
    """Sources after `measure_class_statistics`, from which centres of patches are drawn.

    Args:
        sources: at least one.
    """

    def __init__(self, sources):
        self.sources = sources
        self._totals = np.array([source.contents.sum((0, 1, 2)) for source in sources])
        # By area, one large movie would push all others out; evenly, its many cells would count for nothing.
        areas = [known * one.scale**2 for known, one in zip(self._totals.sum(1), sources, strict=True)]
        self._weights = np.sqrt(areas)

    def draw(self, rng, class_balanced_fraction):
        """Draw the centre of a patch: with probability `class_balanced_fraction` on a pixel of a class, else on any that is annotated.

        The class is drawn evenly among those that the sources have, then an image that has it, by the root of its
        annotated area, then a pixel of the class in it. So a class that is rare, or is in one image alone, is met as
        often as any other.

        Args:
            rng: numpy Generator.
            class_balanced_fraction: from 0 to 1.

        Returns:
            AnnotatedImage, plane (t, z), row, column.
        """
        present = np.flatnonzero(self._totals.sum(0))
        if rng.random() < class_balanced_fraction and len(present):
            class_ = rng.choice(present)
            source = self._draw_source(rng, self._totals[:, class_] > 0)
            return source, *_draw_pixel(source, class_, rng)
        source = self._draw_source(rng, np.ones(len(self.sources)))
        return source, *_draw_pixel(source, slice(None), rng)

    def _draw_source(self, rng, among):
        weights = self._weights * among
        return self.sources[rng.choice(len(weights), p=weights / weights.sum())]


def _draw_pixel(source, classes, rng):
    """A pixel of one class or of a slice of them: (t, z), row, column."""
    among = np.arange(source.contents.shape[-1])[classes]
    counts = source.contents[..., np.atleast_1d(among)].sum(-1)
    chosen = np.searchsorted(np.cumsum(counts), rng.integers(counts.sum()), side="right")
    number, row, column = np.unravel_index(chosen, counts.shape)
    (t, z), (rows, columns) = source.planes[number], source.block_px
    y, x = row * rows, column * columns
    block = source.truth[t, 0, z, y : y + rows, x : x + columns]
    kinds = np.sign(block) if source.holds_instances else block
    own = np.flatnonzero(np.isin(kinds, among))
    dy, dx = np.unravel_index(own[rng.integers(len(own))], block.shape)
    return (t, z), int(y + dy), int(x + dx)


def grid_positions(sources, patch_size_px, most):
    """Centres of patches that cover the annotated planes of `sources`, the same ones each time.

    Where there are more than `most`, every image keeps as many as any other as far as it has them, evenly spread over
    its planes and its area. Those in which nothing is annotated are left out.

    Returns:
        (AnnotatedImage, plane (t, z), row, column) of each patch.

    Raises:
        InputError: nothing is annotated in any of the sources.
    """
    places = []
    centres = [
        [_centres(size, max(round(patch_size_px / source.scale), 1)) for size in source.pixels.shape[-2:]]
        for source in sources
    ]
    shapes = [(len(source.planes), *map(len, both)) for source, both in zip(sources, centres, strict=True)]
    spots = [_spots(*each, patch_size_px) for each in zip(sources, centres, shapes, strict=True)]
    kept = _share_out([len(some) for some in spots], most)
    for source, (rows, columns), shape, some, count in zip(sources, centres, shapes, spots, kept, strict=True):
        for number in ((np.arange(count) + 0.5) * len(some) / max(count, 1)).astype(int):
            plane, row, column = np.unravel_index(some[number], shape)
            places.append((source, source.planes[plane], int(rows[row]), int(columns[column])))
    if sources and not places:
        raise InputError(f"{', '.join(one.image for one in sources)}: nothing is annotated; correct the column truth")
    return places


def _spots(source, centres, shape, patch_size_px):
    """Numbers of the patches of a grid of this shape (planes, rows, columns) that show what is annotated."""
    spots = range(math.prod(shape))
    if source.contents.sum() == len(source.planes) * math.prod(source.truth.shape[-2:]):
        return spots
    return [
        spot
        for spot, (plane, row, column) in enumerate(np.ndindex(*shape))
        if has_annotation(source, source.planes[plane], int(centres[0][row]), int(centres[1][column]), patch_size_px)
    ]


def _centres(size, patch_size_px):
    count = -(-size // patch_size_px)
    return np.linspace(0, max(size - patch_size_px, 0), count).round().astype(int) + patch_size_px // 2


def _share_out(counts, most):
    """How many each keeps when all have together at most `most`: an equal part, or all where it has fewer."""
    left, level = most, 0.0
    for done, count in enumerate(sorted(counts)):
        level = left / (len(counts) - done)
        if count > level:
            break
        left -= count
    else:
        return counts
    # Rounding the running sum spreads what does not divide evenly over all.
    ends = np.floor(np.cumsum(np.minimum(counts, level)) + 1e-6)
    return np.diff(ends, prepend=0).astype(int).tolist()
