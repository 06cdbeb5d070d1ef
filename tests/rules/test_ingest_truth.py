"""Ground truth: the supported formats of annotations, and annotations that are refused."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr.writer import write_image, write_labels
from ome_zarr_models.v05.image_label import ImageLabel
from PIL import Image
from scipy.ndimage import gaussian_filter

from ingest import ingest
from ingest_truth import ingest_truth
from simulate import simulate
from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.common.user_warnings import read_warnings
from tessera.io.label_ids import split_disconnected_labels
from tessera.io.ome_zarr_store import create_store, finish_image, open_array, read_metadata
from tessera.settings.sections import IngestSettings, IngestTruthSettings, MovieSettings

CLASSES = ("background", "mother", "daughter")


def cells(height=60, width=80):
    """Ids 1, 2 and 7 as squares, 1 and 2 touching."""
    ids = np.zeros((height, width), np.uint8)
    ids[5:15, 5:15] = 1
    ids[5:15, 15:25] = 2
    ids[30:50, 30:50] = 7
    return ids


def make_images(folder, **shapes):
    for image, shape in shapes.items():
        path = folder / "images" / f"{image}.ome.zarr"
        create_store(path, shape, np.uint8)[:] = 1
        finish_image(path, name=image, pixel_size_um=(None, 0.5, 0.5), frame_interval_s=60)


def annotate_rows(
    folder,
    truths,
    *,
    axes="",
    task="instances",
    classes=CLASSES,
    on_bad_image="fail",
    image=(),
    regions=None,
    **settings,
):
    rows = [
        {"image": name, "truth_files": [str(file) for file in files], "files": image, "axes": axes}
        for name, files in truths.items()
    ]
    ingest_truth(
        rows,
        dict.fromkeys(truths, "provenance"),
        folder / "images",
        folder / "truth",
        task=task,
        classes=list(classes),
        on_bad_image=on_bad_image,
        settings=IngestTruthSettings(**settings),
        regions=regions,
    )
    return folder / "truth"


def annotate_one(folder, *files, shape=(1, 1, 1, 60, 80), **settings):
    make_images(folder, a=shape)
    path = annotate_rows(folder, {"a": files}, **settings) / "a.ome.zarr"
    return open_array(path), read_metadata(path)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_image_of_ids_keeps_its_ids(tmp_path, name, dtype):
    array, metadata = annotate_one(tmp_path, save(tmp_path / name, cells().astype(dtype)))
    assert array.dtype == np.int32
    assert np.array_equal(array[0, 0, 0], cells())
    assert metadata.pixel_size_um == (None, 0.5, 0.5)
    assert metadata.frame_interval_s == 60
    assert metadata.extra == {}


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float32, np.float64, bool])
def test_ids_of_any_type_with_whole_numbers_are_read(tmp_path, dtype):
    pixels = cells().astype(dtype)
    array, _ = annotate_one(tmp_path, save(tmp_path / "a.tif", pixels))
    assert np.array_equal(array[0, 0, 0], pixels.astype(int))


def test_ids_saved_as_gray_colors_are_read(tmp_path):
    for number, channels in enumerate((3, 4)):
        pixels = np.repeat(cells()[..., None], channels, axis=-1)
        if channels == 4:
            pixels[..., 3] = np.where(cells() > 0, 255, 100)
        (tmp_path / str(number)).mkdir()
        array, _ = annotate_one(tmp_path / str(number), save(tmp_path / f"{number}.png", pixels))
        assert np.array_equal(array[0, 0, 0], cells())


def test_class_image_becomes_uint8_with_class_names(tmp_path):
    pixels = cells() % 3
    array, _ = annotate_one(tmp_path, save(tmp_path / "a.png", pixels), task="semantic")
    assert array.dtype == np.uint8
    assert np.array_equal(array[0, 0, 0], pixels)
    label = json.loads((tmp_path / "truth/a.ome.zarr/zarr.json").read_text())["attributes"]["ome"]["image-label"]
    assert [entry["class"] for entry in label["properties"]] == list(CLASSES)


def test_white_of_a_bilevel_mask_is_the_second_class(tmp_path):
    mask = (cells() > 0) * np.uint8(255)
    array, _ = annotate_one(tmp_path, save(tmp_path / "a.png", mask), task="semantic", classes=CLASSES[:2])
    assert np.array_equal(array[0, 0, 0], cells() > 0)


def save_objects(folder, names=("a.png", "b.png")):
    for number, name in enumerate(names):
        save(folder / name, (cells() == number + 1) * np.uint8(255))
    return folder


def test_masks_of_objects_are_foreground_of_two_classes_and_refused_for_more(tmp_path):
    masks = save_objects(tmp_path / "masks")
    with pytest.raises(
        InputError, match=r"masks: masks of single objects do not name classes; give an image of classes"
    ):
        annotate_one(tmp_path, masks, task="semantic")
    array, _ = annotate_one(tmp_path / "two", masks, task="semantic", classes=CLASSES[:2])
    assert np.array_equal(array[0, 0, 0], (cells() == 1) | (cells() == 2))


@pytest.mark.parametrize("turned", [False, True])
def test_meaning_of_white_is_decided_for_the_whole_image(tmp_path, turned):
    pixels = np.zeros((2100, 64), np.uint8)
    pixels[:40, :40] = 255
    pixels[2060:, :40] = 1
    mask = save(tmp_path / "a.png", pixels[::-1].copy() if turned else pixels)
    with pytest.raises(InputError, match=r"a\.png: has the ids 0, 1, 255, but there are 2 classes"):
        annotate_one(tmp_path, mask, shape=(1, 1, 1, 2100, 64), task="semantic", classes=CLASSES[:2])


def test_masks_of_objects_become_ids_and_smaller_objects_cover_larger_ones(tmp_path, caplog):
    large, small = np.zeros((2, 60, 80), np.uint8)
    large[10:40, 10:40] = 255
    small[30:45, 30:45] = 255
    save(tmp_path / "masks/b_small.png", small)
    save(tmp_path / "masks/c_large.png", large)
    array, _ = annotate_one(tmp_path, tmp_path / "masks")
    expected = np.zeros((60, 80), int)
    expected[10:40, 10:40] = 2
    expected[30:45, 30:45] = 1
    assert np.array_equal(array[0, 0, 0], expected)
    assert "truth 100 pixels belong to two objects" in caplog.text


def test_frames_keep_ids_over_time_and_may_be_empty(tmp_path):
    frames = [cells() * (t != 1) for t in range(3)]
    files = [save(tmp_path / f"mask{t}_of_movie.tif", frame) for t, frame in enumerate(frames)]
    array, _ = annotate_one(tmp_path, *files, shape=(3, 1, 1, 60, 80))
    assert np.array_equal(array[:, 0, 0], frames)


@pytest.mark.parametrize("dtypes", ["uint8 uint16 uint8", "uint16 int32 uint32", "uint8 float32 int16"])
def test_masks_of_frames_may_differ_in_bit_depth(tmp_path, dtypes):
    dtypes = dtypes.split()
    movie = np.stack([(cells() > 2) * (200 + 90 * t if dtype != "uint8" else 7) for t, dtype in enumerate(dtypes)])
    files = [save(tmp_path / f"{t}.tif", movie[t].astype(dtype)) for t, dtype in enumerate(dtypes)]
    array, _ = annotate_one(tmp_path, *files, shape=(3, 1, 1, 60, 80))
    assert np.array_equal(array[:, 0, 0], movie)


def test_stack_of_unnamed_pages_gets_the_axes_of_its_image(tmp_path):
    stack = np.stack([cells(), cells()[::-1]])
    save(tmp_path / "a.tif", stack)
    for number, shape in enumerate([(2, 1, 1, 60, 80), (1, 3, 2, 60, 80)]):
        (tmp_path / str(number)).mkdir()
        array, _ = annotate_one(tmp_path / str(number), tmp_path / "a.tif", shape=shape)
        assert np.array_equal(array[:].squeeze(), stack)


@pytest.mark.parametrize("axes", ["CYX", "YXS", "YX"])
def test_ids_may_lack_the_channels_of_the_axes_of_their_image(tmp_path, axes):
    array, _ = annotate_one(tmp_path, save(tmp_path / "a.tif", cells()), shape=(1, 3, 1, 60, 80), axes=axes)
    assert np.array_equal(array[0, 0, 0], cells())


@pytest.mark.parametrize(
    ("sizes", "shape", "axes"),
    [
        ((4, 1), (4, 2, 1), ""),
        ((4, 1), (4, 2, 1), "TCYX"),
        ((4, 1), (4, 1, 1), "TZYX"),
        ((1, 4), (4, 1, 1), "TZYX"),
        ((4,), (4, 1, 1), "TCZYX"),
        ((4,), (1, 2, 4), "TCZYX"),
        ((4, 1, 3), (4, 1, 3), ""),
        ((4, 3), (4, 1, 3), ""),
        ((3, 4), (4, 1, 3), ""),
        ((4, 3), (4, 2, 3), "TCZYX"),
    ],
)
def test_ambiguous_axes_of_ids_follow_the_shape_of_the_image(tmp_path, sizes, shape, axes):
    count = sizes[0] * (sizes[1] if len(sizes) > 1 else 1) * (sizes[2] if len(sizes) > 2 else 1)
    planes = cells() // 7 * np.arange(1, count + 1, dtype=np.uint8)[:, None, None]
    file = save(tmp_path / "a.tif", planes.reshape(*sizes, 60, 80), photometric="minisblack")
    array, _ = annotate_one(tmp_path, file, shape=(*shape, 60, 80), axes=axes)
    expected = planes.reshape(*sizes, 60, 80)
    if sizes == (3, 4):
        expected = expected.swapaxes(0, 1)
    assert np.array_equal(array[:], expected.reshape(shape[0], 1, shape[2], 60, 80))


def test_axes_of_ids_that_fit_in_two_ways_or_none_are_refused(tmp_path):
    file = save(tmp_path / "a.tif", np.stack([np.stack([cells()] * 3)] * 3), photometric="minisblack")
    for shape in ((3, 1, 3, 60, 80), (3, 1, 2, 60, 80)):
        with pytest.raises(InputError, match=r"a\.tif: its axes QQYX of sizes \(3, 3, 60, 80\) are ambiguous; name"):
            annotate_one(tmp_path, file, shape=shape)


def make_challenge(folder, frames, name="man_track{:03d}.tif", tracks="1 0 2 0\n2 0 0 0\n7 1 2 2\n"):
    for t, ids in frames.items():
        save(folder / name.format(t), ids.astype(np.uint16))
    if tracks:
        table = "res_track.txt" if name.startswith("mask") else "man_track.txt"
        (folder / table).write_text(tracks)
    return folder


def tracked():
    first, later = cells(), cells()
    first[first == 7] = 0
    later[later == 2] = 0
    return {0: first, 1: later, 2: later}


@pytest.mark.parametrize(
    ("name", "inside"), [("man_track{:03d}.tif", ""), ("mask{:04d}.tif", ""), ("man_track{:03d}.tif", "TRA")]
)
def test_cell_tracking_challenge_folder_gives_its_lineage(tmp_path, name, inside):
    make_challenge(tmp_path / "gt" / inside, tracked(), name)
    array, metadata = annotate_one(tmp_path, tmp_path / "gt", shape=(3, 1, 1, 60, 80))
    assert np.array_equal(array[:, 0, 0], list(tracked().values()))
    assert metadata.extra == {"lineage": [[1, 0, 2, 0], [2, 0, 0, 0], [7, 1, 2, 2]]}


@pytest.mark.parametrize("axes", ["", "TCZYX"])
def test_label_store_of_tessera_is_read_as_annotation(tmp_path, axes):
    movie = np.stack([cells() * (t != 1) for t in range(3)])
    file = save(tmp_path / "a.tif", movie, photometric="minisblack")
    first, _ = annotate_one(tmp_path / "first", file, shape=(3, 2, 1, 60, 80))
    store = tmp_path / "first" / "truth" / "a.ome.zarr"
    again, _ = annotate_one(tmp_path / "again", store, shape=(3, 2, 1, 60, 80), axes=axes)
    assert np.array_equal(first[:], again[:])
    with pytest.raises(InputError, match=r"a\.ome\.zarr: is t 3, .*, but its image is t 4"):
        annotate_one(tmp_path / "other", store, shape=(4, 2, 1, 60, 80))


def test_labels_of_an_ome_zarr_image_are_read_as_annotation(tmp_path):
    ids = np.stack([cells(), 0 * cells()]).astype(np.uint64)
    for version, fmt in (("0.4", FormatV04()), ("0.5", FormatV05())):
        path = tmp_path / version / "a.zarr"
        write_image(photograph()[None], str(path), axes="zyx", fmt=fmt)
        write_labels(ids, str(path), name="cells", axes="tyx", fmt=fmt)
        array, _ = annotate_one(tmp_path / version, path / "labels" / "cells", shape=(2, 1, 1, 60, 80))
        assert np.array_equal(array[:, 0, 0], ids)
        with pytest.raises(InputError, match=r"labels: is a folder of images; name one .* such as labels/cells"):
            annotate_one(tmp_path / "b" / version, path / "labels", shape=(2, 1, 1, 60, 80))
    write_labels(0 * ids, str(path), name="none", axes="tyx", fmt=fmt)
    array, _ = annotate_one(tmp_path / "c", path / "labels" / "none", shape=(2, 1, 1, 60, 80))
    assert not array[:].any()


@pytest.mark.parametrize("names", [("mask_000.tif", "mask_001.tif"), ("mask_001.tif", "mask_002.tif")])
def test_numbered_masks_of_a_single_frame_are_objects(tmp_path, names):
    array, metadata = annotate_one(tmp_path, save_objects(tmp_path / "masks", names))
    assert np.array_equal(array[0, 0, 0], cells() * (cells() < 7))
    assert metadata.extra == {}


def test_numbered_masks_of_a_movie_are_frames(tmp_path):
    masks = make_challenge(tmp_path / "masks", {0: cells(), 2: cells()}, "mask{:03d}.tif", tracks=None)
    array, metadata = annotate_one(tmp_path, masks, shape=(3, 1, 1, 60, 80))
    assert np.array_equal(array[2, 0, 0], cells())
    assert metadata.extra == {"annotated_t": [0, 2]}


def test_two_masks_of_one_frame_are_both_named(tmp_path):
    for name in ("man_seg001.tif", "man_track001.tif", "man_track000.tif"):
        save(tmp_path / "gt" / name, cells().astype(np.uint16))
    with pytest.raises(InputError, match=r"man_track001\.tif: is frame 1, and so is .*man_seg001\.tif; remove one"):
        annotate_one(tmp_path, tmp_path / "gt", shape=(2, 1, 1, 60, 80))


def test_unannotated_frames_are_recorded_in_the_store(tmp_path):
    frames = {1: cells(), 3: cells()}
    make_challenge(tmp_path / "gt" / "SEG", frames, "man_seg{:03d}.tif", tracks=None)
    array, metadata = annotate_one(tmp_path, tmp_path / "gt", shape=(4, 1, 1, 60, 80))
    assert metadata.extra == {"annotated_t": [1, 3]}
    assert np.array_equal(array[1, 0, 0], cells())
    assert not array[2].any()


@pytest.mark.parametrize(
    ("tracks", "what"),
    [
        ("1 0 2\n", r"man_track\.txt: line 1: is not four whole numbers"),
        ("1 0 2 0\n1 0 2 0\n", "line 2: '1 0 2 0' is invalid"),
        ("1 0 3 0\n", "line 1: '1 0 3 0' is invalid"),
        ("1 0 2 0\n2 0 0 0\n", r"man_track001\.tif: has the ids 7, which man_track\.txt does not list"),
        ("1 0 2 0\n2 0 0 0\n7 1 2 1\n", "track 7: its parent 1 is not a track that ended before frame 1"),
    ],
)
def test_impossible_tracks_are_refused(tmp_path, tracks, what):
    make_challenge(tmp_path / "gt", tracked(), tracks=tracks)
    with pytest.raises(InputError, match=what):
        annotate_one(tmp_path, tmp_path / "gt", shape=(3, 1, 1, 60, 80))


def test_tracks_need_masks_of_analyzed_frames_only(tmp_path):
    some = {t + 1: frame for t, frame in tracked().items()}
    folder = make_challenge(tmp_path / "gt", some, tracks="1 1 3 0\n2 1 1 0\n7 2 3 2\n")
    regions = {"a": {"roi": None, "frames": "1:4"}}
    array, metadata = annotate_one(tmp_path / "a", folder, shape=(6, 1, 1, 60, 80), regions=regions)
    assert np.array_equal(array[1:4, 0, 0], list(some.values()))
    assert (np.asarray(array)[[0, 4, 5]] == UNKNOWN).all()
    assert metadata.extra == {"annotated_t": [1, 2, 3], "lineage": [[1, 1, 3, 0], [2, 1, 1, 0], [7, 2, 3, 2]]}
    for frames, missing in ((None, 0), ("1:5", 4)):
        regions = {"a": {"roi": None, "frames": frames}}
        with pytest.raises(InputError, match=rf"gt: frame {missing} of 6 has no mask, .* from the column frames"):
            annotate_one(tmp_path / "b", folder, shape=(6, 1, 1, 60, 80), regions=regions)


def photograph():
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(60, 80)), 3)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 250 + 1).astype(np.uint8)


@pytest.mark.parametrize(("task", "mark"), [("instances", UNKNOWN), ("semantic", IGNORE)])
def test_pixels_outside_the_analyzed_region_are_unannotated(tmp_path, task, mark):
    movie = np.stack([cells() > 0] * 3).astype(np.uint8)
    regions = {"a": {"roi": (10, 40, 0, 50), "frames": "0,2"}}
    file = save(tmp_path / "a.tif", movie, photometric="minisblack")
    settings = {"task": task, "classes": ["background", "cell"], "regions": regions}
    array, metadata = annotate_one(tmp_path, file, shape=(3, 1, 1, 60, 80), **settings)
    expected = np.full(movie.shape, mark, int)
    expected[::2, 10:40, :50] = movie[::2, 10:40, :50]
    assert (array[:, 0, 0] == expected).all()
    assert metadata.extra["annotated_t"] == [0, 2]


@pytest.mark.parametrize(
    ("pixels", "what"),
    [
        (cells() * np.float32(0.5), "has fractional values"),
        (
            np.where(cells(), cells(), np.float32(np.nan)),
            r"has NaN \(not a number\) in its pixels; write 0 for background and export the ids again",
        ),
        (np.where(cells(), np.float32(np.inf), 0), "has infinite values in its pixels"),
        (cells().astype(np.int16) - 1, "has the id -1"),
        (cells().astype(np.uint32) * 2**29, "has the id 3758096384, but the largest supported id is 2147483647"),
        (cells().T.copy(), "is y 80, x 60, but its image is y 60, x 80; it is transposed"),
        (cells()[::2, ::2].copy(), "is y 30, x 40, but its image is y 60, x 80; annotate the image at its full size"),
        (
            np.stack([cells()] * 5),
            "is t 5, y 60, x 80, but its image is y 60, x 80; the image has 1 frame, the annotation 5; remove what "
            "belongs to no frame of the image, or correct the path of the image",
        ),
        (photograph(), "looks like a photograph, not like ids"),
        (np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8), "has colors, not ids"),
    ],
    ids=[
        "fraction",
        "nan",
        "infinite",
        "negative",
        "large",
        "turned",
        "small",
        "stack",
        "photograph",
        "colours",
    ],
)
def test_images_without_ids_are_refused_with_the_reason(tmp_path, pixels, what):
    with pytest.raises(InputError, match=rf"a\.tif: {what}"):
        annotate_one(tmp_path, save(tmp_path / "a.tif", pixels))


@pytest.mark.parametrize("name", ["a.tif", "a.png", "frames", "objects", "challenge"])
@pytest.mark.parametrize("task", ["instances", "semantic"])
def test_annotation_without_objects_is_accepted_with_a_warning(tmp_path, name, task, caplog):
    nothing = np.zeros((60, 80), np.uint8)
    frames = 3 if name in ("frames", "challenge") else 1
    shape, files = (frames, 1, 1, 60, 80), [tmp_path / "raw" / name]
    if name in ("frames", "objects"):
        files = [save(tmp_path / "raw" / f"{number}.png", nothing) for number in range(3)]
    elif name == "challenge":
        for t in range(3):
            save(files[0] / f"man_track{t:03}.tif", nothing)
        (files[0] / "man_track.txt").write_text("")
    else:
        save(files[0], nothing)
    array, metadata = annotate_one(tmp_path, *files, shape=shape, task=task, classes=["background", "cell"])
    assert array.shape == shape
    assert not np.asarray(array).any()
    assert metadata.extra.get("lineage") == ([] if name == "challenge" else None)
    what = "background and no object" if task == "instances" else "background"
    expected = f"truth has only {what}, so the image counts as empty; if it shows cells, annotate them"
    assert expected in read_warnings([tmp_path / "truth"])["a"]


def test_components_of_an_annotation_without_objects_are_not_split(tmp_path):
    nothing = save(tmp_path / "a.tif", np.zeros((60, 80), np.uint8))
    array, _ = annotate_one(tmp_path, nothing, disconnected_labels="split")
    assert not np.asarray(array).any()


def test_classes_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has the ids 0, 1, 2, 7, but there are 3 classes, 0 to 2 \(background, mo"):
        annotate_one(tmp_path, save(tmp_path / "a.png", cells()), task="semantic")


def test_several_ids_in_a_mask_of_one_object_are_refused(tmp_path):
    files = [save(tmp_path / f"{number}.png", cells()) for number in range(2)]
    with pytest.raises(InputError, match=r"0\.png: has several ids, .* must be masks of one object"):
        annotate_one(tmp_path, *files)


def test_jpeg_is_refused_as_an_annotation(tmp_path):
    Image.fromarray(cells()).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: JPEG changes ids"):
        annotate_one(tmp_path, tmp_path / "a.jpg")


def test_missing_frame_is_refused(tmp_path):
    files = [save(tmp_path / f"{t}.png", cells()) for t in range(2)]
    with pytest.raises(InputError, match="is t 2, y 60, x 80, but its image is t 3, y 60, x 80"):
        annotate_one(tmp_path, *files, shape=(3, 1, 1, 60, 80))


def test_disconnected_components_of_an_id_can_be_split(tmp_path, caplog):
    ids = cells()
    ids[50:56, 60:66] = 7
    ids[20:24, 60:66] = 1
    array, _ = annotate_one(tmp_path, save(tmp_path / "a.png", ids), disconnected_labels="split")
    expected = cells().astype(int)
    expected[50:56, 60:66] = 8
    expected[20:24, 60:66] = 9
    assert np.array_equal(array[0, 0, 0], expected)
    assert "truth has disconnected labels; 2 of their components got new ids" in caplog.text


def test_new_ids_of_split_components_are_unique_over_all_frames(tmp_path):
    store = create_store(tmp_path / "a", (2, 1, 1, 9, 9), np.int32)
    frame = np.zeros((9, 9), np.int32)
    frame[0, :4] = frame[5, :2] = 3
    store[:, 0, 0] = np.stack([frame, frame])
    assert split_disconnected_labels(store, 3, "a.png") == 2
    assert store[0, 0, 0][5, 0] == 4
    assert store[1, 0, 0][5, 0] == 5
    assert (store[:, 0, 0, 0, 0] == 3).all()


@pytest.mark.parametrize(("largest", "fits"), [(2**31 - 2, True), (2**31 - 1, False)])
def test_components_without_a_free_id_are_refused(tmp_path, largest, fits):
    ids = np.zeros((60, 80), np.uint32)
    ids[:10, :10] = ids[20:25, :10] = largest
    mask = save(tmp_path / "a.tif", ids)
    if fits:
        array, _ = annotate_one(tmp_path, mask, disconnected_labels="split")
        assert array[0, 0, 0][20, 0] == largest + 1
    else:
        with pytest.raises(InputError, match=r"a\.tif: splitting disconnected labels needs ids above 2147483647"):
            annotate_one(tmp_path, mask, disconnected_labels="split")


def test_components_of_tracks_are_not_split(tmp_path):
    folder = make_challenge(tmp_path / "gt", tracked())
    with pytest.raises(
        InputError,
        match=r"gt: has tracks, so its disconnected labels cannot be split; set ingest_truth.disconnected_labels to",
    ):
        annotate_one(tmp_path, folder, shape=(3, 1, 1, 60, 80), disconnected_labels="split")


def test_mask_with_one_id_gets_a_hint_to_split_it(tmp_path, caplog):
    annotate_one(tmp_path, save(tmp_path / "a.png", (cells() > 0) * np.uint8(255)))
    assert "set ingest_truth.disconnected_labels to split" in caplog.text
    ((_, (warning,)),) = read_warnings([tmp_path / "truth"]).items()
    assert warning.startswith("truth has a single id; ")


def test_skipped_images_are_skipped_in_the_ground_truth_too(tmp_path):
    make_images(tmp_path, good=(1, 1, 1, 60, 80))
    (tmp_path / "images/skipped.json").write_text('{"bad": "bad.tif: is empty"}')
    mask = save(tmp_path / "a.png", cells())
    truth = annotate_rows(tmp_path, {"good": [mask], "bad": [mask]}, on_bad_image="skip")
    assert [path.name for path in truth.glob("*.zarr")] == ["good.ome.zarr"]
    assert "bad.tif: is empty" in json.loads((truth / "skipped.json").read_text())["bad"]


def ingest_and_annotate(folder, files, truths, **settings):
    provenance = dict.fromkeys(files, "provenance")
    rows = [
        {
            "image": image,
            "files": files[image],
            "scene": "",
            "axes": "",
            "pixel_size_um": None,
            "frame_interval_s": None,
        }
        for image in files
    ]
    ingest(rows, provenance, folder / "images", settings=IngestSettings())
    truth = annotate_rows(folder, truths, **settings)
    return {image: open_array(truth / f"{image}.ome.zarr")[:] for image in files}


def test_nuclei_of_the_data_science_bowl_are_complete(tmp_path, real_data):
    folders = sorted((real_data / "nuclei-dsb2018/stage1_train").iterdir())[:12]
    files = {folder.name: list((folder / "images").iterdir()) for folder in folders}
    masks = {folder.name: [folder / "masks"] for folder in folders}
    for image, ids in ingest_and_annotate(tmp_path, files, masks).items():
        assert len(np.unique(ids)) - 1 == len(list(masks[image][0].iterdir()))


def test_ids_of_real_cells_are_kept_and_their_components_split(tmp_path, real_data):
    folder = real_data / "phase-usiigaci/set1"
    before = np.asarray(Image.open(folder / "instances_ids.png"))
    kept = ingest_and_annotate(tmp_path, {"a": [folder / "raw.tif"]}, {"a": [folder / "instances_ids.png"]})["a"]
    assert np.array_equal(kept[0, 0, 0], before)


def test_a_real_movie_of_single_frames_keeps_the_ids_of_its_cells(tmp_path, real_data):
    folder = real_data / "yeast-yeastvision-movie/sample_movie_1"
    masks = sorted(folder.glob("*mask1.tif"))
    ids = ingest_and_annotate(tmp_path, {"a": sorted(folder.glob("*phase.tif"))}, {"a": masks})["a"]
    assert np.array_equal(ids[:, 0, 0], [tifffile.imread(mask) for mask in masks])


def test_real_photographs_are_refused_as_annotations(tmp_path, real_data):
    nuclei = sorted((real_data / "nuclei-dsb2018/stage1_train").glob("*/images/*.png"))[:6]
    phase = sorted((real_data / "phase-usiigaci").glob("*/raw.tif"))[:2]
    files = {f"image{number}": [file] for number, file in enumerate([*nuclei, *phase])}
    with pytest.raises(InputError) as refused:
        ingest_and_annotate(tmp_path, files, files)
    assert len(str(refused.value).splitlines()) == len(files)


def test_real_class_masks_become_classes(tmp_path, real_data):
    folder = real_data / "yeast-ac295/data/image_and_masks"
    images = sorted((folder / "train_imgs/train").glob("*.png"))[:3]
    files = {image.stem: [image] for image in images}
    masks = {image.stem: [folder / "train_masks/train" / image.name] for image in images}
    for image, ids in ingest_and_annotate(tmp_path, files, masks, task="semantic").items():
        assert np.array_equal(ids[0, 0, 0], np.asarray(Image.open(masks[image][0])))


def test_simulated_movie_gives_its_lineage_and_sizes(tmp_path):
    simulate(tmp_path / "m.ome.tif", tmp_path / "m_truth", MovieSettings(frames=4, size_px=96, cells=6, cycle_frames=3))
    ids = ingest_and_annotate(tmp_path, {"m": [tmp_path / "m.ome.tif"]}, {"m": [tmp_path / "m_truth"]})["m"]
    assert np.array_equal(ids[:, 0, 0], [tifffile.imread(tmp_path / f"m_truth/man_track{t:03d}.tif") for t in range(4)])
    image, truth = (read_metadata(tmp_path / folder / "m.ome.zarr") for folder in ("images", "truth"))
    assert (image.pixel_size_um, image.frame_interval_s) == ((None, 0.5, 0.5), 600)
    assert (truth.pixel_size_um, truth.frame_interval_s) == ((None, 0.5, 0.5), 600)
    assert {track[0] for track in truth.extra["lineage"]} == set(np.unique(ids)) - {0}


@pytest.mark.parametrize(
    ("value", "dtype"), [(255, np.uint8), (65535, np.uint16), (-1, np.int16), (2**32 - 1, np.uint32)]
)
def test_unannotated_pixels_are_marked(tmp_path, value, dtype):
    pixels = cells().astype(dtype)
    pixels[40:] = value
    array, _ = annotate_one(tmp_path, save(tmp_path / "a.tif", pixels), ignore_label=value)
    assert (array[0, 0, 0, 40:] == UNKNOWN).all()
    assert np.array_equal(array[0, 0, 0, :40], cells()[:40])
    (layer,) = list(Reader(parse_url(tmp_path / "truth/a.ome.zarr"))())
    assert int(layer.data[0][0, 0, 0, 40:].max().compute()) == UNKNOWN
    label = ImageLabel.from_zarr(zarr.open_group(tmp_path / "truth/a.ome.zarr", mode="r")).ome_attributes.image_label
    assert [color.rgba for color in label.colors if color.label_value == UNKNOWN] == [(128, 128, 128, 128)]


def test_unannotated_class_pixels_are_marked_even_if_white_could_be_a_class(tmp_path):
    pixels = (cells() > 0).astype(np.uint8)
    pixels[:, 60:] = 255
    mask = save(tmp_path / "a.png", pixels)
    array, _ = annotate_one(tmp_path, mask, task="semantic", classes=CLASSES[:2], ignore_label=255)
    assert np.array_equal(array[0, 0, 0], np.where(pixels == 255, IGNORE, pixels))
    label = ImageLabel.from_zarr(zarr.open_group(tmp_path / "truth/a.ome.zarr", mode="r")).ome_attributes.image_label
    assert {entry.label_value for entry in label.properties} == {0, 1, IGNORE}


def test_ground_truth_without_annotated_pixels_is_refused(tmp_path):
    mask = save(tmp_path / "a.png", np.full((60, 80), 255, np.uint8))
    with pytest.raises(InputError, match=r"a\.png: has only 255, which is ingest_truth\.ignore_label; an"):
        annotate_one(tmp_path, mask, ignore_label=255)


def test_unannotated_mark_is_kept_for_split_components_and_tracks(tmp_path):
    ids = cells()
    ids[:3], ids[20:24, 60:66], ids[55:] = 255, 1, 255
    array, _ = annotate_one(
        tmp_path / "a", save(tmp_path / "a.png", ids), disconnected_labels="split", ignore_label=255
    )
    expected = np.where(ids == 255, UNKNOWN, ids.astype(int))
    expected[20:24, 60:66] = 8
    assert np.array_equal(array[0, 0, 0], expected)
    frames = {t: np.where(ids == 255, 255, frame) for t, frame in tracked().items()}
    make_challenge(tmp_path / "gt", frames)
    array, _ = annotate_one(tmp_path / "b", tmp_path / "gt", shape=(3, 1, 1, 60, 80), ignore_label=255)
    assert (array[:, 0, 0, :3] == UNKNOWN).all()


def test_object_whose_number_equals_the_ignore_label_is_kept(tmp_path):
    array, _ = annotate_one(tmp_path, save_objects(tmp_path / "masks"), ignore_label=2)
    assert np.array_equal(array[0, 0, 0], cells() * (cells() < 7))


def test_masks_numbered_from_one_are_frames_in_order_or_refused(tmp_path):
    movie = np.stack([np.roll(cells(), 3 * t, axis=1) for t in range(3)])
    files = [save(tmp_path / "all" / f"mask{t + 1}.tif", frame) for t, frame in enumerate(movie)]
    array, metadata = annotate_one(tmp_path, *files, shape=(3, 1, 1, 60, 80))
    assert (array[:, 0, 0] == movie).all()
    assert "annotated_t" not in metadata.extra
    with pytest.raises(InputError, match=r"mask1\.tif: its frame is ambiguous, since there is no mask000; give"):
        annotate_one(tmp_path, *files[:2], shape=(3, 1, 1, 60, 80))
    named = [save(tmp_path / "some" / f"mask{t:03}.tif", movie[t]) for t in (0, 2)]
    assert annotate_one(tmp_path, *named, shape=(3, 1, 1, 60, 80))[1].extra["annotated_t"] == [0, 2]


def touch(folder, template, numbers):
    """Files of an image that nobody reads here, named with running numbers."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / template.format(number)).touch()
    return [folder]


def numbered_masks(folder, template, numbers):
    """A mask for each of `numbers`, whose least id is the number."""
    for number in numbers:
        save(folder / template.format(number), cells() // 7 * np.uint8(number + 1))
    return folder


WITHOUT_3 = [0, 1, 2, 4, 5]
WITHOUT_4 = [0, 1, 2, 3, 5]


@pytest.mark.parametrize(
    ("image", "masks", "first"),
    [
        (("im_{:03}.tif", WITHOUT_3), ("m_{:03}.png", WITHOUT_4), 3),
        (("im_{:03}.tif", WITHOUT_3), ("m_{:03}.png", range(5)), 3),
        (("im_{:03}.tif", range(5)), ("exp7_{}_of_9.png", WITHOUT_3), 4),
        (("im_{:03}.tif", range(0, 50, 10)), ("m_{}.png", WITHOUT_3), 1),
        (("im_{}.tif", [0, 7, 19, 24, 25]), ("m_{}.png", [0, 7, 12, 24, 25]), 12),
        (("im_{}.tif", [0, 2]), ("m_{}.png", [0, 1]), 1),
    ],
)
def test_masks_with_numbers_of_other_frames_are_refused(tmp_path, image, masks, first):
    image = touch(tmp_path / "raw", *image)
    folder = numbered_masks(tmp_path / "masks", *masks)
    odd = masks[0].format(first).replace(".", r"\.")
    with pytest.raises(
        InputError,
        match=rf"{odd}: would be paired with image im_.* A frame is missing from the images or the masks: add",
    ):
        annotate_one(tmp_path, folder, shape=(len(masks[1]), 1, 1, 60, 80), image=image)


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        (("im_{:03}.tif", WITHOUT_3), ("m_{:03}_cp_masks.png", WITHOUT_3)),
        (("im_{}.tif", range(5)), ("2024_m{}_of_7.png", range(1, 6))),
        (("im_{}.tif", range(0, 50, 10)), ("m_{}.png", range(5))),
        (("im_{}.tif", [3, 77, 78, 312, 4000]), ("m_{}.png", range(5))),
        (("im_{0}_at_{0:b}.tif", WITHOUT_3), ("m_{}.png", WITHOUT_3)),
        (("im_{}.tif", WITHOUT_3), ("m_{}.png", "abcde")),
    ],
    ids=["same", "from one", "every tenth", "times", "two numbers", "no numbers"],
)
def test_masks_with_matching_or_missing_numbers_are_paired_in_order(tmp_path, image, masks):
    image = touch(tmp_path / "raw", *image)
    folder = tmp_path / "masks"
    for t, number in enumerate(masks[1]):
        save(folder / masks[0].format(number), cells() // 7 * np.uint8(t + 1))
    array, _ = annotate_one(tmp_path, folder, shape=(5, 1, 1, 60, 80), image=image)
    assert array[:, 0, 0].max((1, 2)).tolist() == [1, 2, 3, 4, 5]


def test_partial_challenge_masks_are_refused_if_image_numbers_have_a_gap(tmp_path):
    image = touch(tmp_path / "raw", "t{:03}.tif", WITHOUT_3)
    before = make_challenge(tmp_path / "a" / "SEG", {0: cells(), 2: cells()}, "man_seg{:03}.tif", tracks=None)
    _, metadata = annotate_one(tmp_path / "a", before, shape=(5, 1, 1, 60, 80), image=image)
    assert metadata.extra == {"annotated_t": [0, 2]}
    after = make_challenge(tmp_path / "b" / "SEG", {0: cells(), 4: cells()}, "man_seg{:03}.tif", tracks=None)
    with pytest.raises(
        InputError, match=r"man_seg004\.tif: its frame is ambiguous.* \(t004\.tif is frame 3, the first is 0\)"
    ):
        annotate_one(tmp_path / "b", after, shape=(5, 1, 1, 60, 80), image=image)
    every = make_challenge(
        tmp_path / "c" / "TRA", dict.fromkeys(range(5), cells()), tracks="1 0 4 0\n2 0 4 0\n7 0 4 0\n"
    )
    annotate_one(tmp_path / "c", every, shape=(5, 1, 1, 60, 80), image=image)


def test_drawn_regions_become_classes_with_pixels_that_are_not_annotated(tmp_path):
    def box(name, left, top, right, bottom):
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        properties = {"objectType": "annotation", "classification": {"name": name}}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "geometry": geometry, "properties": properties}

    features = [box("mother", 0, 0, 40, 60), box("daughter", 10, 10, 20, 20), box("Ignore*", 70, 0, 80, 60)]
    (tmp_path / "a.geojson").write_text(json.dumps(features))
    array, _ = annotate_one(tmp_path, tmp_path / "a.geojson", task="semantic")
    expected = np.zeros((60, 80), int)
    expected[:, :40] = 1
    expected[10:20, 10:20] = 2
    expected[:, 70:] = IGNORE
    assert np.array_equal(array[0, 0, 0], expected)
    (text,) = read_warnings([tmp_path / "truth"])["a"]
    assert text == "truth 100 pixels in which regions overlap; the smaller region covers the larger one"
