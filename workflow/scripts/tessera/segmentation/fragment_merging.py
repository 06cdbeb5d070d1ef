"""From components to objects: which components are cells, and which cell each other component belongs to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tessera.segmentation.connected_components import Components, lowest_connected

if TYPE_CHECKING:
    from tessera.segmentation.seeded_growth import CellRules

BACKGROUND_REGION, CELL, UNSEEDED = range(3)
"""Kinds of components: background, a cell that grew from a seed, foreground that no seed reaches."""


class ObjectMap(NamedTuple):
    """The object that each component belongs to; objects are numbered by their first pixels from 1.

    Attributes:
        ids: {`tessera.segmentation.blocks.Block.position`: the object of each component of the block, 0 for none}.
        areas: (objects + 1,), number of pixels; entry 0 is the background.
        kinds: (objects + 1,), the kind of the first component.
    """

    ids: dict[tuple[int, int, int, int], NDArray[np.int32]]
    areas: NDArray[np.int64]
    kinds: NDArray[np.uint8]

    @property
    def n_objects(self) -> int:
        """Number of objects."""
        return len(self.areas) - 1


def relabel_components(components: Components, owners: NDArray[np.integer]) -> ObjectMap:
    """Number the objects that components make up.

    Args:
        components: of whole planes, in the order of their first pixels.
        owners: (components + 1,), the component whose object each one belongs to, 0 for none.
    """
    count = len(owners)
    first = np.full(count, count, np.int32)
    np.minimum.at(first, owners, np.arange(count, dtype=np.int32))
    first[0] = 0
    first = first[owners]
    is_first = np.zeros(count, bool)
    is_first[0] = is_first[first] = True
    objects = (np.cumsum(is_first, dtype=np.int32) - np.int32(1))[first]
    areas = np.zeros(int(objects.max()) + 1, np.int64)
    np.add.at(areas, objects, components.areas)
    ids = {position: objects[of_block] for position, of_block in components.ids.items()}
    return ObjectMap(ids, areas, components.kinds[is_first])


def concatenate(maps: Sequence[ObjectMap]) -> ObjectMap:
    """Combine object maps of different planes; the numbers of each map continue those of the one before."""
    if len(maps) == 1:
        return maps[0]
    ids, offset = {}, 0
    for objects in maps:
        for position, of_block in objects.ids.items():
            ids[position] = np.where(of_block > 0, of_block + np.int32(offset), np.int32(0))
        offset += objects.n_objects
    areas = np.concatenate([[sum(objects.areas[0] for objects in maps)], *(objects.areas[1:] for objects in maps)])
    kinds = np.concatenate([maps[0].kinds, *(objects.kinds[1:] for objects in maps[1:])])
    return ObjectMap(ids, areas, kinds)


def assign_fragments(components: Components, rules: "CellRules") -> ObjectMap:
    """Decide which components are cells, and assign the others to cells.

    - Foreground without a seed goes to the cell with which it shares the longest border. Without such a cell it
      becomes a cell itself, one that is too faint for a seed.
    - A cell that is too small then goes to the larger cell with which it shares the longest border, or is removed.
    - A hole is background, with all cells that were removed in it, that touches only one cell and no edge of the
      plane. It goes to that cell.

    Args:
        components: of whole planes, with the kinds of this module.
        rules: areas of cells and holes.

    Returns:
        Cells, numbered by their first pixels; all have the kind CELL.
    """
    count = len(components.kinds)
    undecided = (components.kinds != CELL) | (components.areas < rules.min_area_px)
    undecided[components.contacts[:2]] = undecided[0] = True
    chosen = np.flatnonzero(undecided)
    numbers = np.cumsum(undecided, dtype=np.int32) - np.int32(1)
    subset = Components(
        ids={},
        kinds=components.kinds[chosen],
        areas=components.areas[chosen],
        at_plane_edge=components.at_plane_edge[chosen],
        contacts=np.vstack([numbers[components.contacts[:2]], components.contacts[2]]),
    )
    owners = np.arange(count, dtype=np.int32)
    owners[chosen] = chosen[_find_owners(subset, rules)]
    return relabel_components(components._replace(kinds=np.full(count, CELL, np.uint8)), owners)


def _find_owners(components: Components, rules: "CellRules") -> NDArray[np.integer]:
    """Return the owner of each component, as `relabel_components` takes it."""
    count = len(components.kinds)
    every = np.arange(count)
    owners = every.copy()
    kinds = components.kinds.copy()
    kinds[0] = BACKGROUND_REGION
    component, other, sides = components.contacts
    _give_to_longest_contact(owners, (kinds[component] == UNSEEDED) & (kinds[other] == CELL), component, other, sides)
    areas = np.bincount(owners, components.areas, minlength=count)
    is_cell = (kinds != BACKGROUND_REGION) & (owners == every)
    small = is_cell & (areas < rules.min_area_px)
    component, other = owners[component], owners[other]
    cell_of = every.copy()
    _give_to_longest_contact(cell_of, small[component] & is_cell[other] & ~small[other], component, other, sides)
    cell_of[small & (cell_of == every)] = 0
    # Background and removed cells that touch are one candidate for a hole.
    empty = (kinds == BACKGROUND_REGION) | (cell_of == 0)
    both_empty = empty[component] & empty[other]
    hollow = lowest_connected(count, component[both_empty], other[both_empty])
    is_rim = empty[component] & ~empty[other]
    lowest, highest = np.full(count, count), np.zeros(count, np.int64)
    np.minimum.at(lowest, hollow[component[is_rim]], cell_of[other[is_rim]])
    np.maximum.at(highest, hollow[component[is_rim]], cell_of[other[is_rim]])
    hollow = hollow[owners]
    hollow_areas = np.bincount(hollow, components.areas, minlength=count)
    edges = np.bincount(hollow, components.at_plane_edge, minlength=count)
    is_hole = (lowest == highest) & (edges == 0) & (hollow_areas <= rules.max_hole_px)
    assigned: NDArray[np.integer] = np.where(empty[owners], np.where(is_hole, highest, 0)[hollow], cell_of[owners])
    return assigned


def _give_to_longest_contact(
    owners: NDArray[np.integer],
    chosen: NDArray[np.bool_],
    component: NDArray[np.integer],
    other: NDArray[np.integer],
    sides: NDArray[np.integer],
) -> None:
    """Set the owner of each component in the chosen pairs to the other one that it shares most pixel sides with.

    Ties go to the component with the lowest number. `owners` is changed in place.
    """
    if not chosen.any():
        return
    pair_keys = component[chosen].astype(np.int64) * len(owners) + other[chosen]
    keys, places = np.unique(pair_keys, return_inverse=True)
    lengths = np.bincount(places, sides[chosen])
    giver, taker = np.divmod(keys, len(owners))
    order = np.lexsort((taker, -lengths, giver))
    givers, best = np.unique(giver[order], return_index=True)
    owners[givers] = taker[order][best]
