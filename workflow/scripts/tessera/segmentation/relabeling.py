"""Names: the ids of objects, made of pieces that `tessera.segmentation.connected_components` found."""

from typing import NamedTuple

import numpy as np


class Named(NamedTuple):
    """Objects, each of some pieces, numbered by their first pixels from 1 on; entry 0 is nobody's.

    Attributes:
        ids: {(t, z, row, column) of a block: int32, the object of each of its pieces, 0 for none}.
        areas: int64 (objects + 1,), pixels.
        kinds: uint8 (objects + 1,), that of the first piece.
    """

    ids: dict
    areas: np.ndarray
    kinds: np.ndarray


def name_pieces(pieces, owner):
    """The objects that pieces make up.

    Args:
        pieces: `tessera.segmentation.connected_components.Pieces`.
        owner: integers (pieces + 1,), the piece whose object each is part of, 0 for those that are part of none.

    Returns:
        Named.
    """
    count = len(owner)
    first = np.full(count, count, np.int32)
    np.minimum.at(first, owner, np.arange(count, dtype=np.int32))  # pieces are in the order of their first pixels
    first[0] = 0
    first = first[owner]
    rising = np.zeros(count, bool)
    rising[0] = rising[first] = True
    objects = (np.cumsum(rising, dtype=np.int32) - np.int32(1))[first]
    areas = np.zeros(int(objects.max()) + 1, np.int64)
    np.add.at(areas, objects, pieces.areas)
    return Named({at: objects[numbers] for at, numbers in pieces.numbers.items()}, areas, pieces.kinds[rising])


def chain(several):
    """One Named of `several`, of other planes each, numbered on in their order."""
    if len(several) == 1:
        return several[0]
    ids, before = {}, 0
    for named in several:
        for at, objects in named.ids.items():
            ids[at] = np.where(objects > 0, objects + np.int32(before), np.int32(0))
        before += len(named.areas) - 1
    areas = np.concatenate([[sum(named.areas[0] for named in several)], *(named.areas[1:] for named in several)])
    kinds = np.concatenate([several[0].kinds, *(named.kinds[1:] for named in several[1:])])
    return Named(ids, areas, kinds)
