"""The subsets of the split, and near-duplicates across them."""

import csv
import itertools
import random
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from split import split
from tessera.common.errors import InputError
from tessera.data.leakage import compare, find_leaks, signature
from tessera.data.split import SUBSETS, assign_split, check_subsets, group_of
from tessera.io.ome_zarr_store import create_store, finish_image
from tessera.settings.sections import SplitSettings

SHARES = {"seed": 0, "train": 0.7, "val": 0.2, "test": 0.1}
SETTINGS = SHARES | {"group_pattern": None, "folds": 1, "leakage_similarity": 0.8}
YEAST_POSITION = r"^(\d+_\d+)_z"


def rows_of(*images, **columns):
    return [{"image": image, "truth": "mask.tif", "group": None, "split": None} | columns for image in images]


def numbered(count):
    return rows_of(*(f"image{number}" for number in range(count)))


def assign_sides(rows, **settings):
    """{image: side} of every row."""
    return {line["image"]: line["split"] for line in assign_split(rows, **settings)[0]}


def write_image(path, pixels):
    """Write `pixels` (t, c, z, y, x) as a store."""
    array = create_store(path, pixels.shape, pixels.dtype)
    array[:] = pixels
    finish_image(path, name=path.name)


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def field_of_cells(seed, shape=(300, 320)):
    """A plane with some bright rings on uneven light, as float64."""
    rng = np.random.default_rng(seed)
    plane = np.zeros(shape)
    for _ in range(12):
        center = int(rng.integers(30, shape[1] - 30)), int(rng.integers(30, shape[0] - 30))
        cv2.circle(plane, center, int(rng.integers(8, 25)), 1.0, 3)
    light = 1 + 0.5 * np.cos(np.linspace(-1.5, 1.5, shape[1]))
    return light * (5 + cv2.GaussianBlur(plane, (0, 0), 1.5)) + rng.normal(0, 0.05, shape)


def test_subset_shares_follow_the_settings_for_many_groups():
    sides = list(assign_sides(numbered(1000), **SHARES).values())
    assert [sides.count(side) for side in SUBSETS] == pytest.approx([700, 200, 100], abs=45)


def test_added_images_move_no_other_image():
    rows = numbered(400)
    before = assign_split(rows[:30], **SHARES)[0]
    assert {line["split"] for line in before if line["why"] == "hash"} == set(SUBSETS)
    after = assign_sides(rows, **SHARES)
    assert all(after[line["image"]] == line["split"] for line in before)


def test_split_does_not_depend_on_the_order_of_rows():
    for count in (1, 2, 3, 5, 40):
        rows = numbered(count)
        shuffled = random.Random(1).sample(rows, count)
        assert assign_sides(rows, **SHARES) == assign_sides(shuffled, **SHARES)


def test_another_seed_gives_another_split():
    rows = numbered(50)
    assert assign_sides(rows, **SHARES) != assign_sides(rows, **SHARES | {"seed": 1})


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [3, 4, 7])
def test_small_datasets_have_a_group_in_each_subset(count, seed):
    lines, remarks = assign_split(numbered(count), **SHARES | {"seed": seed})
    assert {line["split"] for line in lines} == set(SUBSETS)
    assert remarks == []


@pytest.mark.parametrize("seed", range(20))
def test_two_groups_train_and_validate_with_a_warning(seed):
    lines, remarks = assign_split(numbered(2), **SHARES | {"seed": seed})
    assert {line["split"] for line in lines} == {"train", "val"}
    assert len(remarks) == 1
    assert "No image is left for the test set" in remarks[0]
    assert "2 groups" in remarks[0]


def test_single_group_trains_with_warnings_about_the_other_subsets():
    lines, remarks = assign_split(rows_of("a", "b", group="well1"), **SHARES | {"seed": 3})
    assert [line["split"] for line in lines] == ["train", "train"]
    assert [remark.split(":")[0] for remark in remarks] == [
        "No image is left for the validation set",
        "No image is left for the test set",
    ]


def test_single_image_is_refused_with_advice():
    lines, _ = assign_split(rows_of("a"), **SHARES)
    with pytest.raises(InputError, match=r"The validation set is empty.*one image can be cut in two"):
        check_subsets([line["split"] for line in lines])


def test_subset_without_a_share_stays_empty():
    sides = assign_sides(numbered(5), **SHARES | {"test": 0})
    assert set(sides.values()) == {"train", "val"}


def test_images_of_a_group_are_in_one_subset():
    rows = [row | {"group": f"well{number % 5}"} for number, row in enumerate(numbered(100))]
    lines, _ = assign_split(rows, **SHARES)
    assert len({(line["group"], line["split"]) for line in lines}) == 5


def test_group_comes_from_the_column_then_the_pattern_then_the_image():
    row = rows_of("p3_t7")[0]
    assert group_of(row | {"group": "well"}, r"^p\d") == "well"
    assert group_of(row, r"^(p\d)_") == "p3"
    assert group_of(row, r"p\d_t\d") == "p3_t7"
    assert group_of(row, r"^x") == "p3_t7"
    assert group_of(row, None) == "p3_t7"


def test_names_that_do_not_match_the_pattern_cause_a_warning():
    _, remarks = assign_split(rows_of("p1_a", "p2_a", "p3_a", "odd"), **SHARES, group_pattern=r"^(p\d)_")
    assert len(remarks) == 1
    assert "1 images with ground truth (odd)" in remarks[0]


def test_split_of_the_table_applies_to_the_whole_group():
    rows = rows_of("a", "b", group="well1") + numbered(10)
    rows[1]["split"] = "test"
    lines = {line["image"]: line for line in assign_split(rows, **SHARES)[0]}
    assert (lines["a"]["split"], lines["a"]["why"]) == ("test", "table")
    assert lines["b"]["split"] == "test"


def test_two_splits_in_one_group_are_refused_by_name():
    rows = rows_of("a", group="well1", split="train") + rows_of("b", group="well1", split="val")
    with pytest.raises(InputError, match="group well1: split is train for a and val for b"):
        assign_sides(rows, **SHARES)


def test_images_without_truth_are_predicted_and_move_no_other_image():
    rows = numbered(20)
    sides = assign_sides([*rows, *rows_of("new", truth=None), *rows_of("image3", truth="")][:21], **SHARES)
    assert sides.pop("new") == "predict"
    assert sides == assign_sides(rows, **SHARES)


def test_image_with_split_predict_does_not_affect_its_group():
    rows = rows_of("a", "b", group="well1") + numbered(10)
    rows[0]["split"] = "predict"
    sides = assign_sides(rows, **SHARES)
    assert sides["a"] == "predict"
    assert sides["b"] in SUBSETS


def test_training_without_truth_is_refused():
    with pytest.raises(InputError, match="new: split is train, but truth is empty"):
        assign_sides(rows_of("new", truth=None, split="train"), **SHARES)


def test_invalid_group_pattern_is_refused():
    with pytest.raises(InputError, match=r"split\.group_pattern: '\('"):
        assign_sides(numbered(2), **SHARES, group_pattern="(")


def test_inverted_blurred_or_shifted_field_is_recognized():
    plane = field_of_cells(1)
    others = [
        1 - plane,
        cv2.GaussianBlur(plane, (0, 0), 2),
        np.roll(plane, (7, -6), (0, 1)),
        3 * plane + np.random.default_rng(0).normal(0, 0.1, plane.shape),
    ]
    similarity = compare(np.array([signature(plane)]), np.array([signature(other) for other in others]))
    assert similarity.min() > 0.8


def test_different_fields_under_the_same_uneven_light_are_dissimilar():
    signatures = np.array([signature(field_of_cells(seed)) for seed in range(12)])
    similarity = compare(signatures, signatures)
    assert np.diag(similarity) == pytest.approx(1, abs=1e-5)
    assert similarity[~np.eye(12, dtype=bool)].max() < 0.6


def test_blank_plane_is_similar_to_no_other():
    blank = signature(np.full((64, 64), 0.5))
    assert compare(np.array([blank]), np.array([blank, signature(field_of_cells(1))])).tolist() == [[0, 0]]


def test_duplicated_frame_of_a_movie_is_reported(tmp_path):
    folder = tmp_path / "batch"
    fields = [np.rint(1000 * field_of_cells(seed)).astype(np.uint16) for seed in range(8)]
    write_image(folder / "movie.ome.zarr", np.stack(fields[:5])[:, None, None])
    write_image(folder / "copy.ome.zarr", fields[3][None, None, None])
    write_image(folder / "other.ome.zarr", np.stack(fields[5:])[:, None, None])
    rows = rows_of("movie", split="train") + rows_of("copy", split="test") + rows_of("other", split="val")
    split(rows, [folder], tmp_path / "split.tsv", tmp_path / "leakage.tsv", settings=SplitSettings(**SETTINGS))
    copy = {"image": "copy", "group": "copy", "split": "test", "why": "table", "fold": ""}
    assert read_table(tmp_path / "split.tsv")[1] == copy
    assert read_table(tmp_path / "leakage.tsv") == [
        {
            **{"image_a": "movie", "t_a": "3", "image_b": "copy", "t_b": "0"},
            **{"split_a": "train", "split_b": "test", "similarity": "1.000"},
        }
    ]


def test_near_duplicates_are_reported_between_folds_only(tmp_path):
    plane = np.rint(1000 * field_of_cells(1)).astype(np.uint16)[None, None, None]
    rows = numbered(6)
    settings = SETTINGS | {"test": 0, "folds": 2}
    folds = {line["image"]: line["fold"] for line in assign_split(rows, **SHARES | {"test": 0, "folds": 2})[0]}
    for image in folds:
        write_image(tmp_path / "batch" / f"{image}.ome.zarr", plane)
    split(
        rows, [tmp_path / "batch"], tmp_path / "split.tsv", tmp_path / "leakage.tsv", settings=SplitSettings(**settings)
    )
    pairs = read_table(tmp_path / "leakage.tsv")
    assert {(pair["split_a"], pair["split_b"]) for pair in pairs} == {("fold1", "fold2")}
    assert len(pairs) == 3 * 3
    assert {line["image"]: int(line["fold"]) for line in read_table(tmp_path / "split.tsv")} == folds


def naive_leaks(frames, signatures, least):
    """{(image, image): similarity} of the pairs that `find_leaks` looks for, one by one."""
    best = {}
    for a, b in itertools.combinations(range(len(frames)), 2):
        a, b = sorted((a, b), key=lambda n: SUBSETS.index(frames[n][2]))
        similarity = compare(signatures[a][None], signatures[b][None]).item()
        if frames[a][2] != frames[b][2] and similarity > least:
            key = frames[a][0], frames[b][0]
            best[key] = max(best.get(key, -1), similarity)
    return best


def test_leaks_equal_those_of_pairwise_comparison(monkeypatch):
    monkeypatch.setattr("tessera.data.leakage.BLOCK", 7)
    frames = [(f"i{n // 3}" if n < 18 else f"i{n}", n, SUBSETS[(n // 3) % 3 if n < 18 else n % 3]) for n in range(30)]
    random = np.random.default_rng(0)
    signatures = random.normal(0, 1, (30, 32, 32)) + 2 * random.normal(0, 1, (5, 32, 32))[np.arange(30) % 5]
    expected = naive_leaks(frames, signatures, 0.5)
    count, pairs = find_leaks(frames, signatures, 0.5)
    assert count == len(expected) == len(pairs) > 20
    similarities = {(pair["image_a"], pair["image_b"]): float(pair["similarity"]) for pair in pairs}
    assert similarities == pytest.approx(expected, abs=6e-4)
    assert list(similarities.values()) == sorted(similarities.values(), reverse=True)
    monkeypatch.setattr("tessera.data.leakage.LEAKS_KEPT", 5)
    assert find_leaks(frames, signatures, 0.5) == (count, pairs[:5])


def test_list_of_leaks_has_a_limited_length(monkeypatch):
    monkeypatch.setattr("tessera.data.leakage.BLOCK", 64)
    field, peaks = signature(field_of_cells(1)), []
    for each in (128, 256):
        frames = [(f"{side}{n}", 0, side) for side in ("train", "test") for n in range(each)]
        signatures = np.stack([field] * len(frames))
        tracemalloc.start()
        count, pairs = find_leaks(frames, signatures, 0.8)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (count, len(pairs)) == (each**2, 1000)
    assert peaks[1] < 1.3 * peaks[0]


@pytest.fixture(scope="module")
def yeast(real_data, tmp_path_factory):
    """A batch with the annotated yeast images, and {image: side of their authors}."""
    folder, sides = tmp_path_factory.mktemp("images"), {}
    for side in ("train", "val"):
        for path in sorted((real_data / "yeast-ac295/data/image_and_masks" / f"{side}_imgs" / side).iterdir()):
            sides[path.stem] = side
            write_image(
                folder / f"{path.stem}.ome.zarr", np.moveaxis(np.asarray(Image.open(path)), -1, 0)[None, :, None]
            )
    return folder, sides


def test_leak_in_the_split_of_the_yeast_authors_is_reported(yeast, tmp_path):
    folder, sides = yeast
    rows = [row for image, side in sides.items() for row in rows_of(image, split=side)]
    split(rows, [folder], tmp_path / "split.tsv", tmp_path / "leakage.tsv", settings=SplitSettings(**SETTINGS))
    pairs = {(line["image_a"], line["image_b"]) for line in read_table(tmp_path / "leakage.tsv")}
    assert pairs == {(image, "test-image") for image in sides if image.startswith("0_159350906")}
    assert len(pairs) == 4


@pytest.mark.parametrize("seed", range(5))
def test_split_of_the_yeast_images_by_position_has_no_leaks(yeast, tmp_path, seed):
    folder, sides = yeast
    rows = rows_of(*sides)
    next(row for row in rows if row["image"] == "test-image")["group"] = "0_159350906"
    settings = SETTINGS | {"seed": seed, "group_pattern": YEAST_POSITION}
    split(rows, [folder], tmp_path / "split.tsv", tmp_path / "leakage.tsv", settings=SplitSettings(**settings))
    assert {line["split"] for line in read_table(tmp_path / "split.tsv")} == set(SUBSETS)
    assert read_table(tmp_path / "leakage.tsv") == []
