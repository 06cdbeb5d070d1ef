"""Cells are separated, specks and holes vanish, faint cells stay, for any size of blocks."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.measure import label

from tessera.common.errors import InputError
from tessera.data.training_targets import instance_targets
from tessera.segmentation import blockwise_segmentation
from tessera.segmentation.blocks import BlockInPlane, split_planes
from tessera.segmentation.blockwise_segmentation import Method, find_objects, read_object_ids
from tessera.segmentation.connected_components import join_blocks
from tessera.segmentation.seeded_growth import REACH_PX, make_rules, segment_plane
from tessera.segmentation.semantic_components import find_class_components, relabel_classes
from tessera.settings.sections import SegmentSettings

SETTINGS = SegmentSettings(seed_threshold=0.5, stitch_threshold=None)


def changed(**settings):
    """SETTINGS with other values."""
    return SETTINGS.model_copy(update=settings)


def draw_discs(shape, *discs):
    """int ids (y, x) of discs (y, x, radius), later ones over earlier ones."""
    ids = np.zeros(shape, int)
    y, x = np.indices(shape)
    for number, (centre_y, centre_x, radius) in enumerate(discs, start=1):
        ids[(y - centre_y) ** 2 + (x - centre_x) ** 2 <= radius**2] = number
    return ids


def paint(ids, certainty=255, blur=0.0):
    """uint8 probabilities (3, y, x) that a network sure by `certainty` would give for `ids`."""
    targets = instance_targets(ids, 2)
    exact = np.stack([targets == output for output in range(3)]).astype(float) * certainty
    exact += (255 - certainty) / 2 * (exact == 0)
    if blur:
        exact = ndimage.gaussian_filter(exact, (0, blur, blur))
    return np.rint(exact * 255 / exact.sum(0)).astype(np.uint8)


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_touching_discs_are_separated():
    ids = draw_discs((60, 90), (30, 30, 16), (30, 60, 15))
    assert label(ids > 0).max() == 1
    assert same_partition(segment_plane(paint(ids), SETTINGS), ids)


def test_neck_of_interior_joins_two_cells_unless_seeds_are_deeper_than_half_its_width():
    ids = draw_discs((60, 90), (30, 30, 14), (30, 60, 14))
    probabilities = paint(ids)
    probabilities[:, 27:34, 35:56] = np.reshape([0, 255, 0], (3, 1, 1))  # 7 px wide: its middle is 4 px deep
    assert segment_plane(probabilities, changed(seed_depth_px=3.9)).max() == 1
    cells = segment_plane(probabilities, changed(seed_depth_px=4))
    assert cells.max() == 2
    assert cells[30, 30] == 1
    assert cells[30, 60] == 2
    np.testing.assert_array_equal(cells > 0, probabilities[0] == 0)


def test_cell_at_the_edge_of_the_image_is_as_deep_as_if_it_went_on():
    ids = draw_discs((60, 40), (0, 20, 6), (35, 20, 6))
    cells = segment_plane(paint(ids), changed(seed_depth_px=3, min_area_px=4))
    assert same_partition(cells, ids)


def test_cell_that_is_not_deep_stays_if_it_is_alone():
    ids = draw_discs((60, 60), (20, 20, 12), (48, 48, 4))
    assert same_partition(segment_plane(paint(ids), changed(seed_depth_px=5)), ids)


def test_touching_discs_are_separated_if_probabilities_are_blurred_and_uncertain():
    ids = draw_discs((60, 90), (30, 30, 16), (30, 60, 15))
    labels = segment_plane(paint(ids, certainty=200, blur=1), SETTINGS)
    assert labels.max() == 2
    overlap = [(labels[ids == number] == labels[30, x]).mean() for number, x in ((1, 30), (2, 60))]
    assert min(overlap) > 0.9


def test_specks_are_removed_and_ids_stay_dense():
    ids = draw_discs((60, 90), (4, 4, 1.5), (30, 30, 12), (8, 80, 1), (30, 60, 12))
    labels = segment_plane(paint(ids), SETTINGS)
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert labels[4, 4] == labels[8, 80] == 0


def test_a_speck_of_interior_in_the_boundary_takes_nothing_from_its_cell():
    ids = draw_discs((60, 60), (30, 30, 20))
    probabilities = paint(ids)
    assert probabilities[2, 30, 10] == 255
    probabilities[:, 30, 10] = (0, 255, 0)
    np.testing.assert_array_equal(segment_plane(probabilities, SETTINGS), ids)


def test_holes_in_cells_are_only_filled_with_fill_holes():
    ids = draw_discs((60, 60), (30, 30, 20))
    holed = paint(ids)
    holed[:, 28:32, 28:32] = np.array([255, 0, 0])[:, None, None]
    np.testing.assert_array_equal(segment_plane(holed, SETTINGS), ids)
    assert segment_plane(holed, changed(fill_holes=False))[30, 30] == 0


def test_a_cell_too_faint_to_be_seeded_is_kept_beside_one_that_is_not():
    ids = draw_discs((60, 90), (30, 20, 14), (30, 70, 14))
    probabilities = paint(ids)
    faint = ids == 2
    probabilities[:, faint] = np.array([90, 100, 65])[:, None]
    assert same_partition(segment_plane(probabilities, SETTINGS), ids)


def test_background_alone_gives_no_cell():
    nothing = np.zeros((3, 40, 50), np.uint8)
    nothing[0] = 255
    labels = segment_plane(nothing, SETTINGS)
    assert (labels.dtype, labels.shape, labels.max()) == (np.int32, (40, 50), 0)


def test_a_plane_full_of_interior_is_one_cell():
    everything = np.zeros((3, 40, 50), np.uint8)
    everything[1] = 255
    assert np.all(segment_plane(everything, SETTINGS) == 1)


def test_noise_gives_the_same_cells_each_time_and_each_is_connected():
    noise = np.random.default_rng(0).dirichlet([1, 1, 1], (80, 80)).transpose(2, 0, 1)
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    probabilities = np.rint(255 * smooth / smooth.sum(0)).astype(np.uint8)
    settings = changed(seed_threshold=0.36, foreground_threshold=0.65)
    labels = segment_plane(probabilities, settings)
    np.testing.assert_array_equal(labels, segment_plane(probabilities.copy(), settings))
    assert labels.max() > 5
    assert all(ndimage.label(labels == number)[1] == 1 for number in range(1, labels.max() + 1))
    assert np.bincount(labels.ravel())[1:].min() >= 16


def test_background_between_cells_at_the_edge_or_around_a_cell_is_no_hole():
    ids = np.zeros((20, 40), int)
    ids[2:12, 2:10], ids[2:12, 10:18] = 1, 2
    ids[5:7, 9:11] = 0
    ids[14:20, 2:10] = 3
    ids[17:20, 5:7] = 0
    ids[2:18, 20:38] = 4
    ids[4:16, 22:36] = 0
    ids[8:11, 26:31] = 5
    labels = segment_plane(paint(ids), changed(min_area_px=8))
    np.testing.assert_array_equal(labels > 0, ids > 0)


def test_holes_are_filled_as_scipy_does_for_one_cell():
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).random((100, 100)), 2)
    largest = label(smooth > 0.49, connectivity=1)
    largest = largest == np.bincount(largest[largest > 0]).argmax()
    sure = np.where(largest, np.array([0, 255, 0])[:, None, None], np.array([255, 0, 0])[:, None, None])
    labels = segment_plane(sure.astype(np.uint8), SETTINGS)
    np.testing.assert_array_equal(labels > 0, ndimage.binary_fill_holes(largest))


def test_holes_are_filled_with_the_debris_in_them_as_scipy_does_without_it():
    smooth = ndimage.gaussian_filter(np.random.default_rng(3).random((150, 150)), 2)
    pieces = label(smooth > 0.49, connectivity=1)
    areas = np.bincount(pieces.ravel())
    largest = areas[1:].argmax() + 1
    mask = (pieces == largest) | (areas < 60)[pieces] & (pieces > 0)
    filled = ndimage.binary_fill_holes(pieces == largest)
    assert (filled & mask & (pieces != largest)).any()
    sure = np.where(mask, np.array([0, 255, 0])[:, None, None], np.array([255, 0, 0])[:, None, None]).astype(np.uint8)
    labels = segment_plane(sure, changed(min_area_px=60))
    np.testing.assert_array_equal(labels > 0, filled)
    for side in (16, 37):
        blocks = in_blocks(sure[None, :, None], side, min_area_px=60)[0, 0]
        np.testing.assert_array_equal(blocks, labels)


def test_background_closed_by_debris_alone_is_no_hole():
    mask, debris = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    mask[4:18, 4:26] = True
    mask[8:18, 12:16] = False
    debris[18:20, 12:16] = True  # it touches the cell's corners alone
    assert label(~mask & ~debris, connectivity=1).max() == 2
    sure = np.where(mask | debris, np.array([0, 255, 0])[:, None, None], np.array([255, 0, 0])[:, None, None])
    np.testing.assert_array_equal(segment_plane(sure.astype(np.uint8), SETTINGS) > 0, mask)


def test_holes_above_max_hole_um2_stay():
    ids = draw_discs((60, 60), (30, 30, 20))
    holed = paint(ids)
    holed[:, 28:32, 28:32] = np.array([255, 0, 0])[:, None, None]
    settings = changed(max_hole_um2=4.0)
    assert segment_plane(holed, settings, pixel_size_um=(None, 0.5, 0.5))[30, 30] == 1
    assert segment_plane(holed, settings, pixel_size_um=(None, 0.6, 0.5))[30, 30] == 0


def test_min_area_um2_replaces_min_area_px():
    settings = changed(min_area_um2=10.0)
    assert make_rules("a", (None, 0.5, 0.2), settings).min_area_px == 100
    assert make_rules("a", (None, 0.5, 0.19), settings).min_area_px == 106
    with pytest.raises(InputError, match=r"day1: segment.min_area_um2 is in µm².*pixel_size_um"):
        make_rules("day1", (None, None, None), settings)


def test_foreground_beyond_the_reach_of_seeds_goes_to_the_cell_of_the_longest_border():
    probabilities = np.zeros((3, 20, 400), np.uint8)
    probabilities[2] = 255
    probabilities[:, :, :10] = probabilities[:, :, 390:] = np.array([0, 255, 0])[:, None, None]
    probabilities[:, :10, 320:340] = np.array([255, 0, 0])[:, None, None]
    labels = segment_plane(probabilities, SETTINGS)
    # The seed on the right comes through a channel of half as many rows.
    assert (labels[10:, : 390 - REACH_PX] == 1).all()
    assert (labels[10:, 390 - REACH_PX :] == 2).all()
    assert (labels[:10, 320:340] == 0).all()


def test_a_small_cell_goes_to_its_neighbor():
    probabilities = np.zeros((3, 20, 60), np.uint8)
    probabilities[1] = 255
    probabilities[:, :, 20] = probabilities[:, :, 23] = np.array([0, 0, 255])[:, None]
    labels = segment_plane(probabilities, changed(min_area_px=90))
    # Three columns between two neighbours that touch it alike: the first of these gets it.
    assert (labels[:, :24] == 1).all()
    assert (labels[:, 24:] == 2).all()


def test_pixels_without_prediction_are_no_cell():
    assert segment_plane(np.zeros((3, 40, 50), np.uint8), SETTINGS).max() == 0


def test_classes_are_split_into_connected_components():
    classes = np.array([[1, 1, 0, 2], [0, 1, 2, 2], [1, 0, 0, 0], [1, 0, 2, 0]])
    probabilities = np.stack([classes == number for number in range(3)]).astype(np.uint8) * 255
    block = split_planes([0], 1, classes.shape, 4)[0]
    ids, part = find_class_components(probabilities, BlockInPlane(block, classes.shape))
    objects = relabel_classes(join_blocks([block], [part]), 0)
    assert objects.ids[block.position][ids].tolist() == [[1, 1, 0, 2], [0, 1, 2, 2], [3, 0, 0, 0], [3, 0, 4, 0]]
    assert objects.kinds[1:].tolist() == [1, 2, 1, 2]
    objects = relabel_classes(join_blocks([block], [part]), 3)
    assert objects.ids[block.position][ids].tolist() == [[1, 1, 0, 2], [0, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert objects.areas[1:].tolist() == [3, 3]


def in_blocks(probabilities, side, workers=1, task="instances", margin=0, **settings):
    """Ids (t, z, y, x) of probabilities (t, c, z, y, x) by blocks, put together of what each sees with its margin."""
    frames, _, depth, *plane = probabilities.shape
    blocks = split_planes(range(frames), depth, plane, side)
    scratch = np.zeros((frames, 1, depth, *plane), np.int32)
    settings = changed(**settings)
    method = Method(task, make_rules("a", (None, None, None), settings), settings.stitch_threshold, workers)
    objects = find_objects(probabilities, scratch, blocks, method)
    ids = np.zeros((frames, depth, *(size + 2 * margin for size in plane)), np.int32)
    for block in blocks:
        rows, columns = (slice(span.start, span.stop + 2 * margin) for span in (block.rows, block.columns))
        window = read_object_ids(scratch, objects, block, margin)
        known = ids[block.t, block.z, rows, columns]
        assert ((known == window) | (known == 0)).all()
        ids[block.t, block.z, rows, columns] = window
    assert sorted(np.unique(ids)) == list(range(len(objects.areas)))
    return ids[:, :, margin : margin + plane[0], margin : margin + plane[1]]


def smooth_noise(seed, shape=(1, 1, 330, 290), sigma=3.0, offsets=(0.0, 0.0, 0.0)):
    noise = np.random.default_rng(seed).random((3, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 0.7, sigma, sigma))
    spread = np.exp((smooth - smooth.mean()) / smooth.std() * 1.5 + np.reshape(offsets, (3, 1, 1, 1, 1)))
    return np.rint(255 * spread / spread.sum(0)).astype(np.uint8).transpose(1, 0, 2, 3, 4)


def packed_discs(seed, shape=(300, 310), spacing=13, radius=7):
    """Cells that nearly all touch, with gaps between them, small ones, and debris: (1, 3, 1, y, x)."""
    rng = np.random.default_rng(seed)
    centres = [(y, x) for y in range(6, shape[0], spacing) for x in range(6, shape[1], spacing)]
    discs = [(y + rng.integers(-2, 3), x + rng.integers(-2, 3), rng.integers(2, radius + 2)) for y, x in centres]
    return paint(draw_discs(shape, *discs), blur=0.7)[None, :, None]


FIELDS = {
    "packed discs": packed_discs(0),
    "smooth noise": smooth_noise(0),
    "rough noise": smooth_noise(1, sigma=1.0),
    "few seeds, one foreground": smooth_noise(2, sigma=5.0, offsets=(-6.0, -3.0, 0.0)),
    "confluent": smooth_noise(3, sigma=4.0, offsets=(-3.0, 2.0, 0.0)),
    "several planes": smooth_noise(4, shape=(2, 3, 150, 140)),
    "no seed at all": smooth_noise(5, offsets=(-2.0, -9.0, 0.0)),
    "with holes": smooth_noise(6, sigma=2.0, offsets=(-1.0, 3.0, -9.0)),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_area_px": 150, "stitch_threshold": 0.5},
        {"min_area_px": 0, "fill_holes": False},
        {"min_area_px": 8, "seed_depth_px": 2.3},
    ],
)
def test_ids_do_not_depend_on_the_size_of_blocks_or_the_number_of_workers(field, settings):
    probabilities = FIELDS[field]
    whole = in_blocks(probabilities, 1000, **settings)
    assert whole.any()
    for side, workers in ((64, 2), (96, 1), (127, 2)):
        np.testing.assert_array_equal(in_blocks(probabilities, side, workers, margin=2, **settings), whole)
    if not settings.get("stitch_threshold"):
        first = segment_plane(probabilities[0, :, 0], changed(**settings))
        np.testing.assert_array_equal(first, whole[0, 0])


@pytest.mark.parametrize("task", ["instances", "semantic"])
def test_ids_do_not_depend_on_how_many_planes_are_numbered_together(monkeypatch, task):
    for stitch_threshold in (None, 0.5):
        at_once = in_blocks(FIELDS["several planes"], 64, task=task, stitch_threshold=stitch_threshold)
        with monkeypatch.context() as patch:
            patch.setattr(blockwise_segmentation, "BLOCKS_PER_RELABELING", 1)
            np.testing.assert_array_equal(
                in_blocks(FIELDS["several planes"], 64, task=task, stitch_threshold=stitch_threshold), at_once
            )


def test_memory_for_each_plane_of_a_stack_is_small():
    def peak_bytes(planes):
        probabilities = np.repeat(smooth_noise(4, shape=(1, 1, 128, 128), sigma=1.5), planes, axis=2)
        blocks, scratch = split_planes([0], planes, (128, 128), 128), np.zeros((1, 1, planes, 128, 128), np.int32)
        method = Method("instances", make_rules("a", (None, None, None), changed(min_area_px=4)))
        tracemalloc.start()
        objects = find_objects(probabilities, scratch, blocks, method)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, len(objects.areas)

    (few, objects), (many, more_objects) = peak_bytes(64), peak_bytes(256)
    assert (many - few) / (more_objects - objects) < 40


@pytest.mark.parametrize("field", ["smooth noise", "several planes"])
def test_components_of_classes_do_not_depend_on_the_size_of_blocks(field):
    whole = in_blocks(FIELDS[field], 1000, task="semantic", stitch_threshold=0.5)
    for side, workers in ((64, 1), (100, 2)):
        labels = in_blocks(FIELDS[field], side, workers, task="semantic", stitch_threshold=0.5)
        np.testing.assert_array_equal(labels, whole)


def test_one_snake_through_all_blocks_is_one_cell():
    snake = np.zeros((200, 200), int)
    for number, row in enumerate(range(4, 180, 16)):
        snake[row : row + 2, 3:197] = 1
        turn = slice(3, 5) if number % 2 else slice(195, 197)
        snake[row : row + 18, turn] = 1
    sure = np.zeros((1, 3, 1, 200, 200), np.uint8)
    sure[0, 1, 0], sure[0, 0, 0] = 255 * snake, 255 - 255 * snake
    for side in (32, 50, 200):
        np.testing.assert_array_equal(in_blocks(sure, side, fill_holes=False)[0, 0], snake)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1)])
def test_planes_of_one_row_or_column_are_segmented(shape):
    probabilities = np.zeros((3, *shape), np.uint8)
    probabilities[1] = 255
    assert segment_plane(probabilities, changed(min_area_px=1)).max() == 1


def test_perfect_probabilities_give_back_nearly_all_real_nuclei(real_data):
    folders = sorted((real_data / "nuclei-dsb2018" / "stage1_train").iterdir())[::8]
    hits = misses = extras = 0
    for folder in folders:
        masks = np.stack([np.asarray(Image.open(file).convert("L")) > 0 for file in sorted(folder.glob("masks/*.png"))])
        ids = np.unique((masks * np.arange(1, len(masks) + 1)[:, None, None]).max(0), return_inverse=True)[1]
        labels = segment_plane(paint(ids), SETTINGS)
        shared = np.histogram2d(
            ids.ravel(), labels.ravel(), bins=(np.arange(ids.max() + 2), np.arange(labels.max() + 2))
        )[0]
        unions = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
        matched = int((shared[1:, 1:] > 0.75 * unions[1:, 1:]).sum())
        hits, misses, extras = hits + matched, misses + ids.max() - matched, extras + labels.max() - matched
    assert hits > 300
    assert hits / (hits + misses + extras) > 0.97
