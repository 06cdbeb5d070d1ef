"""Instances: from the probabilities of background, interior and boundary to one id per cell, block by block.

A cell is a connected piece of interior, its seed, and the pixels of foreground that are nearer to it than to any other
seed, by steps from pixel to pixel within the foreground. What a pixel belongs to depends on no more than REACH_PX
around it, so that blocks with so much around them give the same cells as the whole plane. All else is a matter of whole
pieces, and of which of them touch: see `tessera.segmentation.fragment_merging`.
"""

import math
from dataclasses import dataclass

import numpy as np

from tessera.common.errors import InputError
from tessera.common.run_length import count_pixels
from tessera.segmentation.blocks import cut_planes, widen
from tessera.segmentation.connected_components import describe, forget, join, label_pieces
from tessera.segmentation.fragment_merging import CELL, GAP, REMNANT, name_cells

BACKGROUND, INTERIOR, BOUNDARY = range(3)  # the order of `tessera.common.constants.INSTANCE_OUTPUTS`
REACH_PX = 64  # steps that a seed grows at most
LARGEST_SPECK_PX = 64
_UP_LEFT_RIGHT_DOWN = ((-1, 0), (0, -1), (0, 1), (1, 0))


@dataclass(frozen=True)
class Rules:
    """What makes a cell.

    Attributes:
        foreground_threshold: probability above which a pixel belongs to a cell.
        seed_threshold: probability of interior above which a pixel seeds one.
        min_area_px: smaller cells go to the neighbour with which they share the longest border, or are removed.
        max_hole_px: larger holes within a cell stay; 0: all do.
    """

    foreground_threshold: float
    seed_threshold: float
    min_area_px: int
    max_hole_px: float

    @property
    def min_seed_px(self):
        """Pixels of a seed; what is smaller is a speck of interior in a boundary."""
        return min(max(self.min_area_px // 4, 1), LARGEST_SPECK_PX)

    @property
    def halo_px(self):
        """What has to be known around a block: a speck that the window cuts is seen to be one, or is out of reach."""
        return REACH_PX + self.min_seed_px + 1


def make_rules(
    name, pixel_size_um, *, foreground_threshold, seed_threshold, min_area_px, fill_holes,
    min_area_um2=None, max_hole_um2=None, stitch_threshold=None,
):  # fmt: skip
    """Rules for an image from the section `segment` of the settings.

    Args:
        name: of the image.
        pixel_size_um: size of a pixel in z, y, x in micrometres, None where unknown.
        min_area_um2: in place of `min_area_px` where it is given.
        fill_holes: give holes within a cell to that cell,
        max_hole_um2: and those alone that are no larger, where it is given.
        stitch_threshold: of no matter here.
        foreground_threshold, seed_threshold, min_area_px: see `Rules`.

    Raises:
        InputError: an area is given in square micrometres, and the size of the pixels is not known.
    """
    areas = {"min_area_um2": min_area_um2, "max_hole_um2": max_hole_um2}
    pixel_um2 = math.prod(pixel_size_um[1:]) if all(pixel_size_um[1:]) else None
    for setting, area in areas.items():
        if area is not None and pixel_um2 is None:
            raise InputError(
                f"{name}: its pixel size is unknown, and segment.{setting} is in µm²; give pixel_size_um in the table"
            )
    if min_area_um2 is not None:
        min_area_px = math.ceil(round(min_area_um2 / pixel_um2, 6))
    most = math.inf if max_hole_um2 is None else round(max_hole_um2 / pixel_um2, 6)
    return Rules(foreground_threshold, seed_threshold, min_area_px, most if fill_holes else 0)


def separate(probabilities, *, pixel_size_um=(None, None, None), name="the image", **settings):
    """The cells of one plane in memory.

    Args:
        probabilities: uint8 (3, y, x), 255 = 1: background, interior, boundary.
        pixel_size_um, name, settings: as of `make_rules`.

    Returns:
        int32 (y, x), ids 1 .. number of cells in the order of their first pixels, 0 is background. A cell is connected
        along its pixels' sides.
    """
    rules = make_rules(name, pixel_size_um, **settings)
    plane = probabilities.shape[1:]
    block = cut_planes([0], 1, plane, max(plane))[0]
    ids, part = find_cells(probabilities, block, plane, 0, rules)
    return name_cells(join([block], [part]), rules).ids[block[:4]][ids]


def find_cells(probabilities, block, plane, number, rules):
    """The pieces of one block: cells, remnants and gaps.

    Args:
        probabilities: uint8 (3, y, x) of the block and `rules.halo_px` around it, as far as the plane goes.
        block: the Block.
        plane: (y, x) pixels of the plane.
        number: of the plane among all.
        rules: Rules.

    Returns:
        int32 (y, x), the number in the block of each pixel's piece; its `tessera.segmentation.connected_components.Part`.
    """
    _, inner = widen(block, rules.halo_px, plane)
    # Where nothing was predicted, not even background is.
    cells = (255 - probabilities[BACKGROUND] > math.floor(255 * rules.foreground_threshold)) & probabilities.any(0)
    seeds, count = label_pieces(cells & (probabilities[INTERIOR] > math.floor(255 * rules.seed_threshold)))
    specks = count_pixels(seeds, count) < rules.min_seed_px
    seeds[specks[seeds]] = 0
    window = grow(seeds, cells)
    del seeds
    window[(window == 0) & cells] = count + 1
    window[~cells] = count + 2
    ids = window[inner]
    present = count_pixels(ids, count + 2)[: count + 1] > 0
    present[0] = False
    numbers = np.concatenate([np.cumsum(present, dtype=np.int32) * present, np.zeros(2, np.int32)])
    remnants, gaps = ids == count + 1, ids == count + 2
    ids = numbers[ids]
    kinds = [np.full(int(present.sum()), CELL, np.uint8)]
    for kind, mask in ((REMNANT, remnants), (GAP, gaps)) if rules.max_hole_px else ((REMNANT, remnants),):
        pieces, more = label_pieces(mask)
        np.add(pieces, sum(map(len, kinds)), out=ids, where=mask)
        kinds.append(np.full(more, kind, np.uint8))
    kinds = np.concatenate(kinds)

    def is_named(areas):
        """Cells that may be small, remnants, and gaps that may be holes."""
        most = np.array([rules.max_hole_px, rules.min_area_px - 1, math.inf])
        return np.concatenate([[False], areas[1:] <= most[kinds]])

    return ids, _settle(ids, describe(ids, kinds, window, inner, block, plane, number, is_named), rules)


def _settle(ids, part, rules):
    """The Part without what is settled in the block: a gap between two cells that stay what they are is no hole."""
    kinds, areas = (np.concatenate([[0], each]) for each in (part.kinds, part.areas))
    at_side = np.zeros(len(kinds), bool)
    at_side[np.concatenate(part.sides)] = True
    stays = (kinds == CELL) & (areas >= rules.min_area_px) & ~at_side
    one, other, _ = part.touches
    of_gap = kinds[one] == GAP
    neighbours, staying = (np.bincount(one[each], minlength=len(kinds)) for each in (of_gap, of_gap & stays[other]))
    no_hole = staying >= 2
    part.edges[no_hole[1:]] = True  # as good as at the edge
    part = part._replace(touches=part.touches[:, ~no_hole[one]])
    return forget(ids, part, no_hole & ~at_side & (neighbours == staying))


def grow(seeds, cells):
    """Let seeds grow over the foreground by REACH_PX steps along pixels' sides, all at once.

    A pixel that seeds reach in the same step goes to the one that comes from above, else left, right, below.

    Args:
        seeds: int32 (y, x), ids, 0 elsewhere.
        cells: bool (y, x), the foreground.

    Returns:
        int32 (y, x).
    """
    grown = np.pad(seeds, 1)
    vacant = np.pad(cells & (seeds == 0), 1)
    width = grown.shape[1]
    steps = [-(row * width + column) for row, column in _UP_LEFT_RIGHT_DOWN]
    beside = np.zeros_like(vacant)
    occupied = grown > 0
    beside[1:-1] = occupied[:-2] | occupied[2:]
    beside[:, 1:-1] |= occupied[:, :-2] | occupied[:, 2:]
    grown, vacant = grown.ravel(), vacant.ravel()
    reached = np.flatnonzero(beside.ravel() & vacant)
    owners = np.zeros(len(reached), np.int32)
    for step in steps[::-1]:
        near = grown[reached - step]
        owners = np.where(near > 0, near, owners)
    grown[reached], vacant[reached] = owners, False
    for _ in range(REACH_PX - 1):
        frontier, found = reached, []
        for step in steps:
            ahead = frontier + step
            free = vacant[ahead]
            ahead = ahead[free]
            grown[ahead], vacant[ahead] = grown[frontier[free]], False
            found.append(ahead)
        reached = np.concatenate(found)
        if not len(reached):
            break
    return grown.reshape(-1, width)[1:-1, 1:-1]
