"""Components become cells: fragments go to neighbors, small cells are merged or removed, holes are filled."""

import numpy as np
import pytest

from tessera.segmentation.connected_components import Components
from tessera.segmentation.fragment_merging import (
    BACKGROUND_REGION,
    CELL,
    UNSEEDED,
    ObjectMap,
    assign_fragments,
    concatenate,
    relabel_components,
)
from tessera.segmentation.seeded_growth import CellRules

RULES = CellRules(foreground_threshold=0.5, seed_threshold=0.5, min_area_px=10, max_hole_px=50)
POSITION = (0, 0, 0, 0)


def components(kinds_and_areas, contacts=(), at_edge=()):
    """Components 1, 2, ... of one block, with contacts {(component, other): sides} in both directions."""
    count = len(kinds_and_areas) + 1
    pairs = [(*pair, sides) for (a, b), sides in dict(contacts).items() for pair in ((a, b), (b, a))]
    edges = np.zeros(count, bool)
    edges[list(at_edge)] = True
    return Components(
        ids={POSITION: np.arange(count, dtype=np.int32)},
        kinds=np.array([0, *(kind for kind, _ in kinds_and_areas)], np.uint8),
        areas=np.array([0, *(area for _, area in kinds_and_areas)], np.int64),
        at_plane_edge=edges,
        contacts=np.array(pairs, np.int32).reshape(-1, 3).T,
    )


def objects_of(*arguments, **keywords):
    """The object of each component."""
    return assign_fragments(components(*arguments, **keywords), RULES).ids[POSITION][1:].tolist()


def test_foreground_without_a_seed_goes_to_the_cell_of_the_longest_border():
    kinds = [(CELL, 100), (CELL, 100), (UNSEEDED, 30)]
    assert objects_of(kinds, {(1, 3): 4, (2, 3): 5}) == [1, 2, 2]
    assert objects_of(kinds, {(1, 3): 5, (2, 3): 5}) == [1, 2, 1]
    assert objects_of(kinds) == [1, 2, 3]


def test_a_small_cell_goes_to_a_large_neighbor_or_is_removed():
    assert objects_of([(CELL, 9), (CELL, 100), (CELL, 100)], {(1, 2): 2, (1, 3): 3}) == [1, 2, 1]
    assert objects_of([(CELL, 9), (CELL, 9)], {(1, 2): 3}) == [0, 0]
    assert objects_of([(CELL, 10), (CELL, 9)]) == [1, 0]


def test_a_fragment_can_make_a_small_cell_large_enough():
    assert objects_of([(CELL, 6), (UNSEEDED, 4)], {(1, 2): 3}) == [1, 1]
    assert objects_of([(CELL, 6), (UNSEEDED, 3)], {(1, 2): 3}) == [0, 0]


def test_background_is_a_hole_if_it_touches_one_cell_and_no_edge():
    kinds = [(CELL, 100), (CELL, 100), (BACKGROUND_REGION, 20)]
    assert objects_of(kinds, {(1, 3): 12}) == [1, 2, 1]
    assert objects_of(kinds, {(1, 3): 12, (2, 3): 1}) == [1, 2, 0]
    assert objects_of(kinds, {(1, 3): 12}, at_edge=[3]) == [1, 2, 0]
    assert objects_of([(CELL, 100), (BACKGROUND_REGION, 51)], {(1, 2): 30}) == [1, 0]


def test_a_removed_cell_in_a_hole_is_filled_with_it():
    kinds = [(CELL, 100), (BACKGROUND_REGION, 20), (CELL, 5)]
    assert objects_of(kinds, {(1, 2): 12, (2, 3): 8}) == [1, 1, 1]
    # Together they are larger than the largest hole.
    assert objects_of([(CELL, 100), (BACKGROUND_REGION, 46), (CELL, 5)], {(1, 2): 12, (2, 3): 8}) == [1, 0, 0]


def test_objects_are_numbered_by_their_first_components_and_their_areas_add_up():
    parts = components([(2, 5), (1, 7), (2, 11), (1, 13)])
    objects = relabel_components(parts, np.array([0, 3, 2, 3, 0]))
    assert objects.ids[POSITION].tolist() == [0, 1, 2, 1, 0]
    assert objects.areas[1:].tolist() == [16, 7]
    assert objects.kinds[1:].tolist() == [2, 1]
    assert objects.n_objects == 2


def test_concatenated_maps_continue_their_numbers():
    maps = [
        ObjectMap({(t, 0, 0, 0): np.array([0, 1, 0, 2], np.int32)}, np.array([3, 10 + t, 20 + t]), np.array([0, 1, 2]))
        for t in range(2)
    ]
    joined = concatenate(maps)
    assert joined.ids[0, 0, 0, 0].tolist() == [0, 1, 0, 2]
    assert joined.ids[1, 0, 0, 0].tolist() == [0, 3, 0, 4]
    assert joined.areas.tolist() == [6, 10, 20, 11, 21]
    assert joined.kinds.tolist() == [0, 1, 2, 1, 2]
    assert concatenate(maps[:1]) is maps[0]


@pytest.mark.parametrize("max_hole_px", [0, 19])
def test_a_hole_above_the_largest_area_stays(max_hole_px):
    rules = CellRules(0.5, 0.5, 10, max_hole_px)
    objects = assign_fragments(components([(CELL, 100), (BACKGROUND_REGION, 20)], {(1, 2): 12}), rules)
    assert objects.ids[POSITION].tolist() == [0, 1, 0]
