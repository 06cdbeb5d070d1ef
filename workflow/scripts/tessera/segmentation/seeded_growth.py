"""Cells of one block, from the probabilities of background, interior and boundary (`task: instances`).

A connected component of interior is a seed. With `CellRules.seed_depth_px`, only interior counts that is farther than
this from its end, so a neck between two cells does not join their seeds. A cell is a seed and the foreground that is
nearer to it than to any other seed, counted in steps from pixel to pixel within the foreground. A seed grows by at most
REACH_PX steps. So a block with a margin of `CellRules.halo_px` gives the same cells as the whole plane; a watershed has
no such bound. All other decisions depend on whole components and their contacts: see
`tessera.segmentation.fragment_merging`.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.run_length import count_pixels
from tessera.segmentation.blocks import BlockInPlane, split_planes
from tessera.segmentation.connected_components import (
    BlockComponents,
    describe_components,
    drop_components,
    join_blocks,
    label_mask,
)
from tessera.segmentation.fragment_merging import BACKGROUND_REGION, CELL, UNSEEDED, assign_fragments
from tessera.segmentation.thresholds import Thresholds, resolve_thresholds
from tessera.settings.sections import SegmentSettings

BACKGROUND, INTERIOR, BOUNDARY = range(3)  # the order of `tessera.common.constants.INSTANCE_OUTPUTS`
REACH_PX = 64  # largest number of steps that a seed grows
MAX_SPECK_PX = 64
DEFAULTS = Thresholds()
_UP_LEFT_RIGHT_DOWN = ((-1, 0), (0, -1), (0, 1), (1, 0))


@dataclass(frozen=True)
class CellRules:
    """Thresholds that decide what a cell is.

    Attributes:
        foreground_threshold: probability above which a pixel belongs to a cell.
        seed_threshold: probability of interior above which a pixel belongs to a seed.
        min_area_px: a smaller cell goes to the neighbor with which it shares the longest border, or is removed.
        max_hole_px: larger holes in a cell stay; 0: all holes stay.
        seed_depth_px: distance to the nearest pixel that is not interior, above which a pixel belongs to a seed.
    """

    foreground_threshold: float
    seed_threshold: float
    min_area_px: int
    max_hole_px: float
    seed_depth_px: float = 0.0

    @property
    def min_seed_px(self) -> int:
        """Smallest area of a seed in pixels; a smaller one is a speck of interior in a boundary."""
        return min(max(self.min_area_px // 4, 1), MAX_SPECK_PX)

    @property
    def halo_px(self) -> int:
        """Margin that a block needs, in pixels.

        A seed that the margin cuts is then either large enough to be seen as one, or out of reach of the block.
        """
        return REACH_PX + self.min_seed_px + 1 + math.ceil(self.seed_depth_px)


def make_rules(
    name: str, pixel_size_um: tuple[float | None, ...], settings: SegmentSettings, tuned: Thresholds = DEFAULTS
) -> CellRules:
    """Convert the section `segment` of the settings for one image.

    Args:
        name: of the image.
        pixel_size_um: (z, y, x) in micrometers, None where unknown.
        settings: `min_area_um2` replaces `min_area_px` where it is set; `max_hole_um2` limits `fill_holes`.
        tuned: thresholds for settings that are `auto`.

    Raises:
        InputError: an area is set in square micrometers, and the pixel size is unknown.
    """
    height_um, width_um = pixel_size_um[1:]
    pixel_um2 = height_um * width_um if height_um and width_um else None

    def to_pixels(setting: str, area_um2: float) -> float:
        if pixel_um2 is None:
            raise InputError(
                f"{name}: segment.{setting} is in µm², but the pixel size of the image is unknown; give pixel_size_um "
                "in the table"
            )
        return round(area_um2 / pixel_um2, 6)

    thresholds = resolve_thresholds(settings, tuned)
    min_area_px, max_hole_px = thresholds.min_area_px, math.inf
    if settings.min_area_um2 is not None:
        min_area_px = math.ceil(to_pixels("min_area_um2", settings.min_area_um2))
    if settings.max_hole_um2 is not None:
        max_hole_px = to_pixels("max_hole_um2", settings.max_hole_um2)
    if not settings.fill_holes:
        max_hole_px = 0
    return CellRules(thresholds.foreground, thresholds.seed, min_area_px, max_hole_px, thresholds.seed_depth_px)


def segment_plane(
    probabilities: NDArray[np.uint8],
    settings: SegmentSettings,
    *,
    tuned: Thresholds = DEFAULTS,
    pixel_size_um: tuple[float | None, ...] = (None, None, None),
    name: str = "the image",
) -> NDArray[np.int32]:
    """Find the cells of one plane in memory.

    Args:
        probabilities: (3, y, x), 255 = 1: background, interior, boundary.
        settings: section `segment`.
        tuned: thresholds for settings that are `auto`.
        pixel_size_um: (z, y, x) in micrometers, None where unknown.
        name: of the image, for messages.

    Returns:
        Ids (y, x), 1 .. number of cells in the order of their first pixels, 0 for background. The pixels of a cell are
        connected along their sides.

    Raises:
        InputError: see `make_rules`.
    """
    rules = make_rules(name, pixel_size_um, settings, tuned)
    height, width = probabilities.shape[1:]
    block = split_planes([0], 1, (height, width), max(height, width))[0]
    ids, components = find_cell_components(probabilities, BlockInPlane(block, (height, width)), rules)
    objects = assign_fragments(join_blocks([block], [components]), rules)
    cells: NDArray[np.int32] = objects.ids[block.position][ids]
    return cells


def find_cell_components(
    probabilities: NDArray[np.uint8], place: BlockInPlane, rules: CellRules
) -> tuple[NDArray[np.int32], BlockComponents]:
    """Find the components of one block: cells, foreground that no seed reaches, and background.

    Args:
        probabilities: (3, y, x) of the block and a margin of `rules.halo_px` inside the plane, 255 = 1.
        place: the block.
        rules: thresholds.

    Returns:
        Ids (y, x) of the components in the block; the components.
    """
    _, inner = place.with_margin(rules.halo_px)
    # Pixels whose probabilities are all 0 were not predicted.
    foreground = 255 - probabilities[BACKGROUND] > math.floor(255 * rules.foreground_threshold)
    foreground &= probabilities.any(0)
    is_interior = probabilities[INTERIOR] > math.floor(255 * rules.seed_threshold)
    seeds, count = label_mask(_deeper_than(rules.seed_depth_px, foreground & is_interior))
    specks = count_pixels(seeds, count) < rules.min_seed_px
    seeds[specks[seeds]] = 0
    window = expand_seeds(seeds, foreground)
    del seeds
    window[(window == 0) & foreground] = count + 1
    window[~foreground] = count + 2
    ids = window[inner]
    present = count_pixels(ids, count + 2)[: count + 1] > 0
    present[0] = False
    numbers = np.concatenate([np.cumsum(present, dtype=np.int32) * present, np.zeros(2, np.int32)])
    masks = [(UNSEEDED, ids == count + 1)]
    if rules.max_hole_px:
        masks.append((BACKGROUND_REGION, ids == count + 2))
    ids = numbers[ids]
    kinds = [np.full(int(present.sum()), CELL, np.uint8)]
    for kind, mask in masks:
        of_kind, count_of_kind = label_mask(mask)
        np.add(of_kind, sum(map(len, kinds)), out=ids, where=mask)
        kinds.append(np.full(count_of_kind, kind, np.uint8))
    # Contacts matter for background that may be a hole, cells that may be too small, and all foreground without a seed.
    max_contact_area = np.zeros(3)
    max_contact_area[[BACKGROUND_REGION, CELL, UNSEEDED]] = rules.max_hole_px, rules.min_area_px - 1, math.inf
    components = describe_components(ids, np.concatenate(kinds), window, inner, place, max_contact_area)
    return ids, _drop_settled_background(ids, components, rules)


def _deeper_than(depth_px: float, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the pixels (y, x) that are farther than `depth_px` from all pixels outside the mask.

    What is beyond the array is not outside the mask: cells that the edge of an image cuts keep their seeds.
    """
    if depth_px < 1 or mask.all():  # the nearest pixel outside is one pixel away
        return mask
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance > depth_px)


def _drop_settled_background(ids: NDArray[np.int32], components: BlockComponents, rules: CellRules) -> BlockComponents:
    """Drop background that this block alone shows to be no hole, since it touches two cells that stay as they are."""
    kinds, areas = (np.concatenate([[0], each]) for each in (components.kinds, components.areas))
    at_border = np.zeros(len(kinds), bool)
    at_border[np.concatenate(components.border_ids)] = True
    stays = (kinds == CELL) & (areas >= rules.min_area_px) & ~at_border
    component, other, _ = components.contacts
    is_background = kinds[component] == BACKGROUND_REGION
    neighbors, staying = (
        np.bincount(component[each], minlength=len(kinds)) for each in (is_background, is_background & stays[other])
    )
    is_no_hole = staying >= 2
    components.at_plane_edge[is_no_hole[1:]] = True  # background at an edge is never filled
    components = components._replace(contacts=components.contacts[:, ~is_no_hole[component]])
    return drop_components(ids, components, is_no_hole & ~at_border & (neighbors == staying))


def expand_seeds(seeds: NDArray[np.int32], foreground: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Grow all seeds at once over the foreground, by REACH_PX steps along the sides of pixels.

    This is a geodesic dilation of bounded length. A pixel that several seeds reach in the same step goes to the one
    that comes from above, else from the left, the right, below.

    Args:
        seeds: ids (y, x), 0 elsewhere.
        foreground: (y, x).

    Returns:
        Ids (y, x), 0 where no seed arrives.
    """
    padded = np.pad(seeds, 1)
    padded_vacant = np.pad(foreground & (seeds == 0), 1)
    width = padded.shape[1]
    steps = [-(row * width + column) for row, column in _UP_LEFT_RIGHT_DOWN]
    beside = np.zeros_like(padded_vacant)
    occupied = padded > 0
    beside[1:-1] = occupied[:-2] | occupied[2:]
    beside[:, 1:-1] |= occupied[:, :-2] | occupied[:, 2:]
    grown, vacant = padded.ravel(), padded_vacant.ravel()
    reached = np.flatnonzero(beside.ravel() & vacant)
    owners = np.zeros(len(reached), np.int32)
    for step in steps[::-1]:
        near = grown[reached - step]
        owners = np.where(near > 0, near, owners)
    grown[reached], vacant[reached] = owners, False
    for _ in range(REACH_PX - 1):
        frontier, arrivals = reached, []
        for step in steps:
            ahead = frontier + step
            free = vacant[ahead]
            ahead = ahead[free]
            grown[ahead], vacant[ahead] = grown[frontier[free]], False
            arrivals.append(ahead)
        reached = np.concatenate(arrivals)
        if not len(reached):
            break
    return grown.reshape(-1, width)[1:-1, 1:-1]
