"""Patches for training are aligned with their ground truth and do not depend on the number of workers."""

import json
import warnings

import numpy as np
import pytest
import zarr
from PIL import Image

from augment import augment
from helpers.annotated_batch import GEOMETRIC, OPTICAL, SETTINGS, Batch, cells, split_settings
from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.data.annotated_images import PatchSampler, grid_positions
from tessera.data.augmentation import check_transforms, transform_patch, window_px
from tessera.data.dataset_fingerprint import compute_fingerprint
from tessera.data.patch_reader import read_window
from tessera.data.patch_renderer import PatchRenderer


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    batch = Batch(tmp_path_factory.mktemp("stores"))
    for number, side in enumerate(["train", "train", "val"]):
        ids, pixels = cells(number)
        batch.add(f"image{number}", side, pixels, ids, pixel_size_um=(None, 0.5, 0.5), channels=["phase"])
    return batch


@pytest.fixture(scope="module")
def patches(batch, tmp_path_factory):
    return batch.augment(tmp_path_factory.mktemp("patches") / "fold1")


def read(folder, side, name):
    return zarr.open_group(folder / f"{side}.zarr", mode="r")[name]


def test_patches_have_the_layout_that_training_reads(patches):
    image, target = read(patches, "train", "image"), read(patches, "train", "target")
    assert (image.shape, image.dtype, image.chunks) == ((40, 64, 64, 1), np.float16, (1, 64, 64, 1))
    assert (target.shape, target.dtype, target.chunks) == ((40, 64, 64), np.uint8, (1, 64, 64))
    assert image.shards[0] > 1
    assert set(np.unique(target[:])) <= {0, 1, 2, IGNORE}
    assert np.isfinite(image[:]).all()
    assert min(len(np.unique(one)) for one in image[:]) > 100
    assert not (patches.parent / ".fold1.part").exists()


def test_patches_json_describes_the_patches(patches):
    described = json.loads((patches / "patches.json").read_text())
    target = read(patches, "train", "target")[:]
    shares = described.pop("class_share")
    assert shares == pytest.approx([(target == class_).sum() / (target != IGNORE).sum() for class_ in range(3)])
    assert 10 < described.pop("diameter_px") < 22
    assert set(described.pop("signal")) == {"snr", "contrast"}
    assert described.pop("fingerprint") == compute_fingerprint(read(patches, "train", "image")[:])
    assert described.pop("label_check")["objects"] > 10
    speed = described.pop("speed")
    assert speed["patches_per_s"] / 2 == pytest.approx(speed["per_core"], abs=0.1)
    reasons = described.pop("plan")
    assert [one["setting"] for one in reasons] == [
        "augment.patch_size_px",
        "augment.normalization",
        "augment.rescale_by",
        "augment.signal_variation",
    ]
    assert reasons[0] == {"setting": "augment.patch_size_px", "value": 64, "reason": "as set."}
    assert described == {
        **{"task": "instances", "classes": ["background", "cell"], "outputs": ["background", "interior", "boundary"]},
        **{
            "channels": ["phase"],
            "pixel_size_um": 0.5,
            "pixel_size_um_range": [0.5, 0.5],
            "patch_size_px": 64,
            "provenance": "digest",
        },
        "sources": {"train": ["image0", "image1"], "val": ["image2"]},
        "normalization": {"method": "percentile", "low": 1, "high": 99.8},
        "signal_variation": 0.0,
        "scale": {"method": "none", "typical": 1.0, "range": [1.0, 1.0]},
        "transforms": GEOMETRIC + OPTICAL,
    }


def test_number_of_workers_does_not_change_patches(batch, patches, tmp_path):
    again = batch.augment(tmp_path / "fold1", workers=1)
    for side in ("train", "val"):
        for name in ("image", "target"):
            assert np.array_equal(read(again, side, name)[:], read(patches, side, name)[:])


def test_seed_changes_patches_and_fewer_patches_are_a_prefix(batch, patches, tmp_path):
    other = batch.augment(tmp_path / "other", seed=1, n_patches=3)
    fewer = batch.augment(tmp_path / "fewer", n_patches=3)
    assert np.array_equal(read(fewer, "train", "image")[:], read(patches, "train", "image")[:3])
    assert not np.array_equal(read(other, "train", "image")[:], read(fewer, "train", "image")[:])


def test_contact_sheet_is_an_image_with_outlines(patches):
    sheet = np.asarray(Image.open(patches.with_suffix(".png")).convert("RGB")).astype(int)
    assert min(sheet.shape[:2]) > 1000
    yellow = (sheet[..., 0] > 230) & (sheet[..., 1] > 180) & (sheet[..., 2] < 60)
    assert yellow.sum() > 1000


@pytest.mark.parametrize("number", range(6))
def test_image_and_mask_get_the_same_transforms(number):
    ids = cells(number, (128, 128), 9)[0]
    pixels = np.stack([ids, 9.0 - ids], -1).astype(np.float32) / 9
    moved, moved_ids, inside, names = transform_patch(pixels, ids, np.ones_like(ids, bool), GEOMETRIC, 64, number)
    assert names == ["D4", "Affine", "ElasticTransform"]
    assert moved.shape == (64, 64, 2)
    assert inside.all()
    assert (moved_ids > 0).any()
    # Interpolation mixes ids where they meet, so pixels are compared where all around are of one id.
    around = np.stack([np.roll(moved_ids, (dy, dx), (0, 1)) for dy in (-2, -1, 0, 1, 2) for dx in (-2, -1, 0, 1, 2)])
    flat = (around == moved_ids).all(0)[2:-2, 2:-2]
    assert flat.mean() > 0.4
    expected = np.stack([moved_ids, 9 - moved_ids], -1)[2:-2, 2:-2]
    assert moved[2:-2, 2:-2][flat] * 9 == pytest.approx(expected[flat], abs=1e-3)


def test_right_angles_alone_move_every_pixel_exactly():
    ids = np.arange(64 * 64, dtype=np.int32).reshape(64, 64) + 2**30
    pixels = ((ids - 2**30) / 4096).astype(np.float32)[..., None]
    for seed in range(8):
        moved, moved_ids, _, _ = transform_patch(pixels, ids, ids > 0, GEOMETRIC[:1], 64, seed)
        assert moved[..., 0] * 4096 == pytest.approx(moved_ids - 2**30, abs=1e-2)
        assert sorted(moved_ids.ravel()) == ids.ravel().tolist()


def test_transforms_are_applied_independently_of_each_other():
    pixels, ids = np.zeros((64, 64, 1), np.float32), np.zeros((64, 64), np.int32)
    chances = [{"name": "RandomGamma", "p": 0.5}, {"name": "GaussNoise", "p": 0.5}]
    both = [len(transform_patch(pixels, ids, ids == 0, chances, 64, seed)[3]) for seed in range(200)]
    assert both.count(1) == pytest.approx(100, abs=25)
    assert both.count(2) == pytest.approx(50, abs=22)


def test_intensities_beyond_the_contrast_limits_survive_gamma_and_brightness():
    pixels = np.linspace(-0.6, 2.5, 64 * 64, dtype=np.float32).reshape(64, 64, 1)
    ids = np.zeros((64, 64), np.int32)
    for transform in OPTICAL[:2]:
        changed = transform_patch(pixels, ids, ids == 0, [transform | {"p": 1.0}], 64, 0)[0]
        assert np.isfinite(changed).all()
        assert (np.diff(changed.ravel()) >= 0).all()
        assert np.ptp(changed) > 2


def test_pixels_beyond_the_image_are_mirrored_with_unknown_target(tmp_path):
    ids = np.full((40, 48), 3, np.int32)
    pixels = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48)
    source = Batch(tmp_path).add("small", "val", pixels, ids).source("small")
    window, _, inside = read_window(source, (0, 0), 5, 5, 64, 64)
    assert inside.sum() == 40 * 48
    assert np.array_equal(window[12 - 1 :: -1][:5], window[12:17])
    renderer = PatchRenderer("instances", 64, 2, [], 0.5, 0)
    target = renderer.cut((source, (0, 0), 5, 5)).target
    assert (target[inside] == 1).all()
    assert (target[~inside] == IGNORE).all()


def test_patches_of_a_large_image_are_inside_it(batch):
    pool = PatchSampler([batch.source("image0")])
    renderer = PatchRenderer("instances", 64, 2, GEOMETRIC[:1], 0.5, 0)
    assert not any((renderer.transform(pool, number).target == IGNORE).any() for number in range(20))


def test_frames_without_annotation_give_no_patches(tmp_path):
    ids, pixels = cells(0)
    movie = np.stack([pixels] * 5)[:, None, None]
    truth = np.stack([ids] * 5)[:, None, None]
    source = Batch(tmp_path).add("movie", "train", movie, truth, extra={"annotated_t": [1, 3]}).source("movie")
    assert source.planes == [(1, 0), (3, 0)]
    rng = np.random.default_rng(0)
    assert {PatchSampler([source]).draw(rng, 0.5)[1] for _ in range(40)} == {(1, 0), (3, 0)}
    assert {place[1] for place in grid_positions([source], 64, 1000)} == {(1, 0), (3, 0)}


def test_rare_class_is_sampled_as_often_as_others(tmp_path):
    names = ["background", "mother", "daughter"]
    common, rare = np.zeros((2, 700, 600), np.uint8)
    common[100:300] = 1
    rare[50:60, 550:560] = 2
    batch = Batch(tmp_path)
    for image, ids in (("common", common), ("rare", rare)):
        batch.add(image, "train", ids.astype(np.uint16), ids, classes=names)
    pool = PatchSampler([batch.source(image, "semantic", names) for image in ("common", "rare")])
    rng = np.random.default_rng(0)
    centers = [pool.draw(rng, 1.0) for _ in range(300)]
    labels = [int(source.truth[0, 0, 0, row, column]) for source, _, row, column in centers]
    assert [labels.count(class_) for class_ in range(3)] == pytest.approx([100, 100, 100], abs=25)
    anywhere = [pool.draw(rng, 0.0) for _ in range(300)]
    assert sum(source.truth[0, 0, 0, row, column] == 2 for source, _, row, column in anywhere) < 5


def test_unannotated_classes_stay_unknown_and_unnamed_ones_are_refused(tmp_path):
    names = ["background", "cell"]
    ids = np.zeros((64, 64), np.uint8)
    ids[:32], ids[:, :5] = 1, IGNORE
    batch = Batch(tmp_path).add("partly", "train", ids.astype(np.uint16), ids, classes=names)
    source = batch.source("partly", "semantic", names)
    target = PatchRenderer("semantic", 64, 2, [], 0.5, 0).cut((source, (0, 0), 32, 32)).target
    assert np.array_equal(target, ids)
    assert source.class_counts.sum() == 64 * 59
    batch.add("strange", "train", ids.astype(np.uint16), ids + np.uint8(3) * (ids == 1), classes=names)
    with pytest.raises(InputError, match="strange: its ground truth has class 4, but the setting classes names only 2"):
        batch.source("strange", "semantic", names)


def test_validation_patches_cover_their_image_once(batch):
    covered = np.zeros((150, 170), int)
    places = grid_positions([batch.source("image2")], 64, 100)
    for _, _, row, column in places:
        covered[row - 32 : row + 32, column - 32 : column + 32] += 1
    assert len(places) == 9
    assert covered.min() == 1


def test_validation_patches_are_shared_equally_if_there_are_too_many(tmp_path):
    batch = Batch(tmp_path)
    for image, side in (("large", 640), ("middle", 256), ("small", 64)):
        ids, pixels = cells(0, (side, side))
        batch.add(image, "val", pixels, ids)
    places = grid_positions([batch.source(image) for image in batch.sides], 64, 21)
    names = [place[0].image for place in places]
    assert {image: names.count(image) for image in batch.sides} == {"large": 10, "middle": 10, "small": 1}


def test_object_size_is_the_median_diameter(tmp_path):
    ids = np.zeros((700, 600), np.int32)
    for id_, side in enumerate((10, 20, 40), start=1):
        ids[505 : 505 + side, 200 * id_ - 100 : 200 * id_ - 100 + side] = id_
    ids[:60, 30:35], ids[650:, 570:] = 4, 5  # what the border cuts is larger than it seems
    source = Batch(tmp_path).add("one", "train", ids.astype(np.uint16), ids).source("one")
    assert sorted(source.areas) == [100, 400, 1600]
    source = Batch(tmp_path / "cut").add("one", "train", ids[:60].astype(np.uint16), ids[:60]).source("one")
    assert sorted(source.areas) == [300]


def test_images_of_different_channels_are_refused_by_name(batch, tmp_path):
    mixed = Batch(tmp_path)
    ids, pixels = cells(0)
    mixed.add("gray", "train", pixels, ids).add("color", "val", np.stack([pixels] * 3)[None, :, None], ids)
    with pytest.raises(InputError, match=r"\(1: gray; 3: color\)"):
        mixed.augment(tmp_path / "fold1")
    assert not (tmp_path / "fold1").exists()


@pytest.mark.parametrize(("lacking", "name"), [("train", "training"), ("val", "validation")])
def test_empty_subset_is_refused_with_advice(batch, tmp_path, lacking, name):
    sides = {image: side for image, side in batch.sides.items() if side != lacking}
    with pytest.raises(InputError, match=f"The {name} set is empty.*set split to {lacking} for some in"):
        augment(
            [batch.images],
            [batch.truth],
            sides,
            "digest",
            tmp_path / "fold1",
            tmp_path / "fold1.png",
            **split_settings(SETTINGS),
        )


@pytest.mark.parametrize(("filled", "described"), [(0, "background.*objects too"), (1, "objects.*background too")])
def test_truth_of_a_single_class_is_refused(tmp_path, filled, described):
    one = Batch(tmp_path)
    ids, pixels = cells(0)
    one.add("single", "train", pixels, np.full_like(ids, filled)).add("full", "val", pixels, ids)
    with pytest.raises(InputError, match=f"The ground truth of the training set is all {described}"):
        one.augment(tmp_path / "fold1")


def test_class_without_training_pixels_causes_a_warning(tmp_path, caplog):
    ids, pixels = cells(0)
    names = ["background", "mother", "daughter"]
    batch = Batch(tmp_path)
    for side in ("train", "val"):
        batch.add(side, side, pixels, (ids > 0).astype(np.uint8), classes=names)
    batch.augment(tmp_path / "fold1", task="semantic", classes=names, n_patches=2)
    assert "No image of the training set shows daughter, so the network cannot find them" in caplog.text


def test_nan_pixels_and_constant_channels_become_0(tmp_path):
    ids, pixels = cells(0)
    bad = np.stack([pixels.astype(np.float32), np.full(ids.shape, np.nan), np.full(ids.shape, 7)]).astype(np.float32)
    bad[0, :40, :40] = np.nan
    batch = Batch(tmp_path)
    for side in ("train", "val"):
        batch.add(side, side, bad[None, :, None], ids)
    folder = batch.augment(tmp_path / "fold1", n_patches=4, transforms=None)
    image = read(folder, "val", "image")[:]
    assert np.isfinite(read(folder, "train", "image")[:]).all()
    assert np.ptp(image[..., 0]) > 0.5
    assert not image[..., 1:].any()


def test_images_of_different_pixel_sizes_are_rendered_at_one(tmp_path, caplog):
    caplog.set_level("INFO")
    batch = Batch(tmp_path)
    for number, (side, size) in enumerate([("train", 0.5), ("train", 1.0), ("val", 0.5)]):
        ids, pixels = cells(number)
        batch.add(f"image{number}", side, pixels, ids, pixel_size_um=(None, size, size))
    folder = batch.augment(tmp_path / "fold1", n_patches=2, patch_size_px="auto", transforms=[])
    described = json.loads((folder / "patches.json").read_text())
    assert described["scale"] == {"method": "pixel_size", "typical": 1.0, "range": [1.0, 2.0]}
    assert (described["pixel_size_um"], described["pixel_size_um_range"]) == (0.5, [0.5, 0.5])
    assert read(folder, "train", "image").shape == (2, 160, 160, 1)
    assert "augment.rescale_by: pixel_size (pixels are 0.5 to 1 µm wide; images are magnified 1 to 2 times)" in (
        caplog.text
    )


def test_8_bit_images_with_similar_contrast_limits_share_them(tmp_path):
    batch = Batch(tmp_path)
    for number in range(5):
        ids, pixels = cells(number)
        pixels = (pixels // 8 + (number == 4) * 5).astype(np.uint8)
        batch.add(f"image{number}", "val" if number == 4 else "train", pixels, ids)
    folder = batch.augment(tmp_path / "fold1", n_patches=18, transforms=[])
    described = json.loads((folder / "patches.json").read_text())
    assert described["normalization"]["method"] == "fixed"
    ((low, high),) = described["normalization"]["contrast_limits"]
    expected = ((pixels.astype(float) - low) / (high - low)).clip(-1, 3)
    assert read(folder, "val", "image")[0, ..., 0] == pytest.approx(expected[:64, :64], abs=2e-3)


def test_fluorescence_patches_vary_in_signal_and_do_not_depend_on_workers(batch, tmp_path):
    folders = [
        batch.augment(tmp_path / str(workers), n_patches=4, transforms=None, preset="fluorescence", workers=workers)
        for workers in (1, 3)
    ]
    first, second = (read(folder, "train", "image")[:] for folder in folders)
    assert np.array_equal(first, second)
    described = json.loads((folders[0] / "patches.json").read_text())
    assert (described["normalization"]["method"], described["signal_variation"]) == ("asinh", 0.5)
    assert described["fingerprint"] != compute_fingerprint(first)  # it describes the images without noise


def test_transform_that_tears_objects_causes_a_warning(batch, tmp_path, caplog):
    caplog.set_level("INFO")
    tears = [{"name": "ElasticTransform", "p": 1.0, "alpha": 400, "sigma": 2}]
    folder = batch.augment(tmp_path / "fold1", n_patches=2, transforms=tears)
    (warning,) = json.loads((folder / "patches.json").read_text())["label_check"]["warnings"]
    assert warning.endswith("lower alpha, or raise sigma")
    assert f"Warning: {warning}" in caplog.text


def test_skipped_images_give_no_patches(batch, tmp_path, caplog):
    caplog.set_level("INFO")
    (batch.images / "skipped.json").write_text(json.dumps({"broken": "it is cut off"}))
    (batch.truth / "skipped.json").write_text(json.dumps({"broken": "its image was skipped"}))
    sides = batch.sides | {"broken": "train"}
    augment(
        [batch.images],
        [batch.truth],
        sides,
        "digest",
        tmp_path / "fold1",
        tmp_path / "fold1.png",
        **split_settings(SETTINGS | {"n_patches": 2}),
    )
    assert "broken: was skipped" in caplog.text
    assert json.loads((tmp_path / "fold1/patches.json").read_text())["sources"]["train"] == ["image0", "image1"]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            {"name": "GausNoise"},
            r"entry 2 \(GausNoise\): albumentations has no such transform; did you mean GaussNoise",
        ),
        ({"name": "GaussNoise", "std": 3}, "entry 2 .*'std' are not valid"),
        ({"name": "GaussNoise", "std_range": [3, 4]}, "entry 2 .*must be >= 0"),
        ({"name": "RandomScale"}, "entry 2 .*changes the size"),
        ({"name": "ToGray"}, "entry 2 "),
        ({"name": "Compose"}, "entry 2 .*no such transform"),
    ],
)
def test_invalid_transforms_are_refused_before_any_work(transform, message):
    with pytest.raises(InputError, match=message):
        check_transforms([GEOMETRIC[0], transform], 2)


def test_blank_border_of_a_transform_is_unknown():
    turn = [{"name": "Affine", "p": 1.0, "rotate": [45, 45], "border_mode": 0}]
    pixels, ids, inside = np.ones((64, 64, 1), np.float32), np.full((64, 64), 3, np.int32), np.ones((64, 64), bool)
    turned, ids, inside, _ = transform_patch(pixels, ids, inside, turn, 64, seed=0)
    assert not inside[0, 0]
    assert inside[32, 32]
    assert (ids[inside] == 3).all()
    assert (np.abs(turned[..., 0] - 1) < 0.01)[inside].mean() > 0.95
    stated = [{"name": "Affine", "p": 1.0, "rotate": [45, 45], "border_mode": 0, "fill_mask": 0}]
    assert transform_patch(pixels, np.full((64, 64), 3), np.ones((64, 64), bool), stated, 64, seed=0)[2].all()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_transforms_of_the_tests_work_for_any_number_of_channels(channels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_transforms(GEOMETRIC + OPTICAL, channels) is None


def test_larger_window_is_read_only_for_transforms_beyond_the_patch():
    assert window_px([GEOMETRIC[0], *OPTICAL], 64) == 64
    assert window_px(GEOMETRIC, 64) == 128


def partly(ids, columns):
    """A copy of ids in which nobody annotated the columns from this one on."""
    ids = ids.copy()
    ids[:, columns:] = UNKNOWN
    return ids


def test_unannotated_pixels_are_not_drawn_measured_or_learned(tmp_path):
    ids, pixels = cells(0, (150, 340), 24)
    batch = Batch(tmp_path).add("partly", "train", pixels, partly(ids, 100))
    source = batch.source("partly")
    assert source.class_counts.sum() == 150 * 100
    seen = ids[:, :100]
    labels, areas = np.unique(seen[seen > 0], return_counts=True)
    assert sorted(source.areas) == sorted(areas[~np.isin(labels, [seen[0], seen[-1]]) & ~np.isin(labels, seen[:, 0])])
    rng = np.random.default_rng(0)
    for balance in (0.0, 1.0):
        assert max(PatchSampler([source]).draw(rng, balance)[3] for _ in range(60)) < 100
    # of 3 x 6 patches, 56 px from one to the next in x, those that begin before column 100
    assert {place[3] - 32 for place in grid_positions([source], 64, 100)} == {0, 55}
    renderer = PatchRenderer("instances", 64, 2, GEOMETRIC, 0.5, 0)
    target = renderer.cut((source, (0, 0), 75, 100)).target
    assert (target[:, 32:] == IGNORE).all()
    assert (target[:, :28] != IGNORE).all()
    drawn = [renderer.transform(PatchSampler([source]), number) for number in range(6)]
    assert all((one.target != IGNORE).any() for one in drawn)
    assert any((one.target == IGNORE).any() for one in drawn)
    for one in drawn:
        assert np.isin(one.target[one.ids > 0], (1, 2, IGNORE)).all()


def test_targets_do_not_depend_on_objects_in_unannotated_regions(tmp_path):
    (one, pixels), (other, _) = cells(0), cells(1)
    other[:, :80] = one[:, :80]
    batch = Batch(tmp_path)
    targets = []
    for name, ids in (("one", one), ("other", other)):
        source = batch.add(name, "train", pixels, partly(ids, 80)).source(name)
        renderer = PatchRenderer("instances", 64, 2, GEOMETRIC, 0.5, 0)
        targets.append([renderer.transform(PatchSampler([source]), number).target for number in range(3)])
    assert np.array_equal(*targets)


def test_subset_without_annotated_pixels_is_refused_by_name(tmp_path):
    ids, pixels = cells(0)
    batch = Batch(tmp_path).add("full", "train", pixels, ids).add("blank", "val", pixels, partly(ids, 0))
    with pytest.raises(InputError, match="blank: no pixel is annotated; correct the column truth"):
        batch.augment(tmp_path / "fold1", n_patches=2)


def test_images_without_objects_give_patches_of_background(tmp_path, caplog):
    batch = Batch(tmp_path / "stores")
    for number, side in enumerate(["train", "train", "val"]):
        ids, pixels = cells(number)
        batch.add(f"image{number}", side, pixels, 0 * ids if number else ids, channels=["phase"])
    folder = batch.augment(tmp_path / "patches" / "fold1")
    target = read(folder, "train", "target")[:]
    empty = [not np.isin(patch, (1, 2)).any() for patch in target]
    assert 0 < sum(empty) < len(empty)
    assert "No image of the validation set shows an object" in caplog.text
