"""Ids of objects and classes: checking them, copying them into a store, and splitting disconnected labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from tessera.common.constants import UNKNOWN
from tessera.common.errors import InputError
from tessera.io.lazy_image import LazyImage
from tessera.io.lossy_masks import RingCheck
from tessera.io.shards import ShardWriter, ZarrArray, iterate_parts

LARGEST_ID = np.iinfo(np.int32).max
LEAST_ALIKE = 0.7  # share of neighboring pixels with the same id: below 0.5 in photographs, above 0.95 in masks


def as_whole_numbers(pixels: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return `pixels` as int64 if all are whole numbers from 0 to LARGEST_ID.

    Raises:
        InputError: a pixel is no valid id. `name` is the name of the annotation in the message.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        what = "NaN (not a number)" if np.isnan(pixels).any() else "infinite values"
        raise InputError(f"{name}: has {what} in its pixels; write 0 for background and export the ids again")
    if pixels.dtype.kind == "f" and (pixels != np.rint(pixels)).any():
        raise InputError(f"{name}: has fractional values, so it is not an image of ids; export ids as whole numbers")
    low, high = pixels.min(), pixels.max()
    if low < 0:
        raise InputError(f"{name}: has the id {low:g}, but ids are 0 (background) or larger; export it again")
    if high > LARGEST_ID:
        raise InputError(
            f"{name}: has the id {int(high)}, but the largest supported id is {LARGEST_ID}; renumber its objects"
        )
    return pixels.astype(np.int64)


def as_instances(pixels: NDArray[Any], name: str) -> NDArray[np.int32]:
    """Return `pixels` as ids of instances. It takes `name` so that it can replace a `class_converter`."""
    return pixels.astype(np.int32)


def class_converter(
    classes: Sequence[str], one_object_per_mask: bool
) -> Callable[[NDArray[Any], str], NDArray[np.uint8]]:
    """Return a function that converts the pixels of one image, block by block, to classes.

    The second of two classes may be stored as 255. The pixels of masks of one object each may have any value.

    Args:
        classes: names of the classes, background first.
        one_object_per_mask: whether the annotation has a mask for each object.
    """
    seen: set[int] = set()  # in all blocks so far: the whole image decides whether 255 is the second class

    def to_classes(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
        if one_object_per_mask and len(classes) != 2:
            raise InputError(f"{name}: masks of single objects do not name classes; give an image of classes")
        seen.update(np.unique(pixels).tolist())
        if one_object_per_mask or (len(classes) == 2 and seen <= {0, 255}):
            return (pixels > 0).astype(np.uint8)
        if max(seen) >= len(classes):
            raise InputError(
                f"{name}: has the ids {_some(seen)}, but there are {len(classes)} classes, 0 to "
                f"{len(classes) - 1} ({', '.join(classes)}); correct the annotation or the setting classes"
            )
        return pixels.astype(np.uint8)

    return to_classes


def _some(ids: Iterable[int]) -> str:
    ids = sorted(ids)
    return ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")


def copy_labels(
    source: LazyImage,
    store: ZarrArray,
    name: str,
    *,
    to_ids: Callable[[NDArray[Any], str], NDArray[Any]],
    marks: Mapping[int, int],
    instances: bool = True,
) -> set[int]:
    """Check ids and copy them into a store, a part of a shard at a time.

    Args:
        source: ids (t, 1, z, y, x).
        store: the array to fill; its layout is by rows unless the source is tiled.
        name: name of the annotation, for messages.
        to_ids: to_ids(pixels, name) checks pixels and converts them to ids.
        marks: {value of pixels: value to store instead} of pixels that are not ids.
        instances: whether the ids are instances from one file, so that rings around them are signs of interpolation.

    Returns:
        The set of all stored values.

    Raises:
        InputError: the pixels are not ids.
    """
    ids: set[int] = set()
    alike = pairs = 0
    rings: dict[tuple[int, int], RingCheck] = {}
    with ShardWriter(store) as writer:
        for part in iterate_parts(store, by_rows=not source.tiled):
            t, _, z, rows, columns = part
            where = f"{name}: frame {t.start}" if store.shape[0] > 1 else name
            values = source.read(t.start, z.start, rows, columns)[0]
            marked = [(mark, values == value) for value, mark in marks.items()]
            values = np.where(np.any([pixels for _, pixels in marked], axis=0), 0, values) if marked else values
            pixels = to_ids(as_whole_numbers(values, where), where)
            both = (pixels[:, 1:] > 0) & (pixels[:, :-1] > 0)
            alike += int(np.count_nonzero(both & (pixels[:, 1:] == pixels[:, :-1])))
            pairs += int(np.count_nonzero(both))
            if instances:
                rings.setdefault((t.start, z.start), RingCheck()).add(pixels)
            for mark, selected in marked:
                pixels[selected] = mark
            writer.write(part, pixels[None, None, None])
            ids.update(np.unique(pixels).tolist())
    if alike < LEAST_ALIKE * pairs:
        share = f"only {100 * alike // pairs} % of neighboring pixels are alike"
        raise InputError(f"{name}: looks like a photograph, not like ids: {share}; correct its path in the table")
    for (frame, _), check in sorted(rings.items()):
        if share_ringed := check.ringed_share():
            where = f"{name}: frame {frame}" if store.shape[0] > 1 else name
            raise InputError(
                f"{where}: its ids were interpolated or compressed with loss: rings of other ids touch "
                f"{share_ringed:.0%} of the outlines of its objects; export the ids again without JPEG, and resize or "
                "rotate them with nearest-neighbor interpolation only"
            )
    return ids


def split_disconnected_labels(store: ZarrArray, largest: int, name: str) -> int:
    """Give new ids to the connected components of each id except the largest one, frame by frame.

    Args:
        store: ids (t, 1, z, y, x), changed in place; UNKNOWN pixels stay unchanged.
        largest: the largest id in the store.
        name: name of the annotation, for messages.

    Returns:
        The number of components with a new id.

    Raises:
        InputError: there are more components than ids.
    """
    first = largest
    with ShardWriter(store) as writer:
        for t in range(store.shape[0]):
            ids = np.asarray(store[t, 0])
            unknown = ids == UNKNOWN
            ids[unknown] = 0
            components = label(ids, background=0)
            areas = np.bincount(components.ravel())
            _, where = np.unique(components, return_index=True)
            owners = ids.ravel()[where]
            renamed = owners.copy()
            kept = set()
            for number in sorted(range(1, len(areas)), key=lambda number: (-areas[number], number)):
                if owners[number] in kept:
                    if largest >= LARGEST_ID:
                        raise InputError(
                            f"{name}: splitting disconnected labels needs ids above {LARGEST_ID}; renumber its objects"
                        )
                    largest += 1
                    renamed[number] = largest
                kept.add(owners[number])
            frame = (slice(t, t + 1), *(slice(0, size) for size in store.shape[1:]))
            writer.write(frame, np.where(unknown, UNKNOWN, renamed[components])[None, None])
    return largest - first
