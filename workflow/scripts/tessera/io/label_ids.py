"""Ids of objects and classes: checked, and separated where one id is in several pieces."""

import itertools

import numpy as np
from skimage.measure import label

from tessera.common.constants import UNKNOWN
from tessera.common.errors import InputError

LARGEST_ID = np.iinfo(np.int32).max
LEAST_ALIKE = 0.7  # share of neighbouring pixels with the same id: below 0.5 in photographs, above 0.95 in masks


def as_whole_numbers(pixels, truth):
    """`pixels` as int64, if they are whole numbers from 0 to the largest id that can be kept."""
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels) & (pixels == np.rint(pixels))).all():
        raise InputError(f"{truth}: holds fractions, so it is no image of ids; export ids as whole numbers")
    low, high = pixels.min(), pixels.max()
    if low < 0:
        raise InputError(f"{truth}: holds the id {low:g}, ids are 0 (background) and above; export it again")
    if high > LARGEST_ID:
        raise InputError(
            f"{truth}: holds the id {int(high)}, the largest that can be kept is {LARGEST_ID}; renumber it"
        )
    return pixels.astype(np.int64)


def as_instances(pixels, truth):
    """`pixels` as the ids of instances, int32."""
    return pixels.astype(np.int32)


def class_converter(classes, objects):
    """A function that turns the pixels of one image, piece by piece, into classes.

    Masks of two classes may have 255 for the second, and masks of one object each (`objects`) any one value.
    """
    seen = set()  # in all pieces so far: whether 255 is the second class is a question to the whole image

    def to_classes(pixels, truth):
        if objects and len(classes) != 2:
            raise InputError(f"{truth}: one mask per object says no class; give an image of classes")
        seen.update(np.unique(pixels).tolist())
        if objects or (len(classes) == 2 and seen <= {0, 255}):
            return (pixels > 0).astype(np.uint8)
        if max(seen) >= len(classes):
            raise InputError(
                f"{truth}: holds the ids {_some(seen)}, but there are {len(classes)} classes, 0 to "
                f"{len(classes) - 1} ({', '.join(classes)}); correct it, or the setting classes"
            )
        return pixels.astype(np.uint8)

    return to_classes


def _some(ids):
    ids = sorted(ids)
    return ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")


def copy_labels(source, store, truth, *, to_ids, marks):
    """Copy ids from a Source into a store, whole shards at a time, and check them.

    Args:
        source: `tessera.io.lazy_image.LazyImage` (t, 1, z, y, x).
        store: the array to fill.
        truth: what to call the annotation in messages.
        to_ids: to_ids(pixels, truth) checks and turns pixels into ids.
        marks: {value of pixels: what to keep for it} of pixels that are no ids.

    Returns:
        The set of what is in the store.

    Raises:
        InputError: the pixels are no ids.
    """
    frames, _, depth, height, width = source.shape
    high, wide = store.shards[-2:]
    wide = wide if source.tiled else width
    ids, alike, pairs = set(), 0, 0
    for t, z, top, left in itertools.product(
        range(frames), range(depth), range(0, height, high), range(0, width, wide)
    ):
        rows, columns = slice(top, min(top + high, height)), slice(left, min(left + wide, width))
        where = f"{truth}: frame {t}" if frames > 1 else truth
        values = source.read(t, z, rows, columns)[0]
        others = [(mark, values == value) for value, mark in marks.items()]
        values = np.where(np.any([marked for _, marked in others], axis=0), 0, values) if others else values
        pixels = to_ids(as_whole_numbers(values, where), where)
        both = (pixels[:, 1:] > 0) & (pixels[:, :-1] > 0)
        alike += np.count_nonzero(both & (pixels[:, 1:] == pixels[:, :-1]))
        pairs += np.count_nonzero(both)
        for mark, marked in others:
            pixels[marked] = mark
        store[t, 0, z, rows, columns] = pixels
        ids.update(np.unique(pixels).tolist())
    if alike < LEAST_ALIKE * pairs:
        share = f"only {100 * alike // pairs} % of neighbouring pixels are alike"
        raise InputError(f"{truth}: looks like a photograph, not like ids: {share}; correct its path in the table")
    return ids


def split_disconnected_labels(store, largest, truth):
    """Give every piece of an id that is in several, but its largest one, an id of its own, frame by frame.

    Args:
        store: array (t, 1, z, y, x) of ids, changed in place; UNKNOWN stays as it is.
        largest: the largest id so far.
        truth: what to call the annotation in messages.

    Returns:
        How many pieces got a new id.

    Raises:
        InputError: no ids are left for the pieces.
    """
    first = largest
    for t in range(store.shape[0]):
        ids = store[t, 0]
        unknown = ids == UNKNOWN
        ids[unknown] = 0
        parts = label(ids, background=0)
        areas = np.bincount(parts.ravel())
        _, where = np.unique(parts, return_index=True)
        owners = ids.ravel()[where]
        renamed = owners.copy()
        kept = set()
        for part in sorted(range(1, len(areas)), key=lambda part: (-areas[part], part)):
            if owners[part] in kept:
                if largest >= LARGEST_ID:
                    raise InputError(f"{truth}: has no ids left for its pieces, {LARGEST_ID} is the last; renumber it")
                largest += 1
                renamed[part] = largest
            kept.add(owners[part])
        store[t, 0] = np.where(unknown, UNKNOWN, renamed[parts])
    return largest - first
