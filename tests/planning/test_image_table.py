"""The images table: what it accepts, the messages of what it refuses, and batches that stay the same."""

import os
import random
import time
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from helpers.repository import REPOSITORY
from tessera.common import image_formats
from tessera.common.errors import InputError
from tessera.planning.image_table import assign_batches, load_table
from tessera.planning.schema_validation import read_schema

COLUMNS = [
    "image",
    "path",
    "truth",
    "masks",
    "group",
    "split",
    "batch",
    "scene",
    "axes",
    "pixel_size_um",
    "frame_interval_s",
    "roi",
    "frames",
]


@pytest.fixture
def folder(tmp_path):
    """A folder with raw/a.tif, raw/b.tif, raw/a_truth.tif, raw/masks/1.png and the frames raw/movie/f_1.tif to 12."""
    raw = tmp_path / "raw"
    (raw / "masks").mkdir(parents=True)
    (raw / "movie").mkdir()
    for name in ("a.tif", "b.tif", "a_truth.tif", "masks/1.png", *(f"movie/f_{t}.tif" for t in range(1, 13))):
        (raw / name).touch()
    return tmp_path


def write(folder, *rows, header="image\tpath"):
    path = folder / "images.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def load(folder, *rows, header="image\tpath", **settings):
    return load_table(write(folder, *rows, header=header), **{"batch_size": 64} | settings)


def refusal(path, **settings):
    """The lines of the refusal, without the name of the table."""
    with pytest.raises(InputError) as refused:
        load_table(path, **{"batch_size": 64} | settings)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def refused_cell(folder, column, text, **others):
    """The refusal of a table whose only row is right, but for one cell."""
    cells = {"image": "a", "path": "raw/a.tif"} | others | {column: text}
    path = write(folder, "\t".join(cells.values()), header="\t".join(cells))
    (line,) = refusal(path)
    assert line.startswith(f"line 2: {column}: ")
    return line.removeprefix(f"line 2: {column}: ")


def test_row_has_every_column_its_files_and_its_line(folder):
    (row,) = load(
        folder,
        "a\traw/a.tif\traw/a_truth.tif\t\tdish1\ttrain\tplate1\twell 3\tczyx\t0.65\t300\t0:64, 32:96\t0, 5, 9",
        header="\t".join(COLUMNS),
    )
    assert row == {
        "image": "a",
        "path": "raw/a.tif",
        "truth": "raw/a_truth.tif",
        "masks": "",
        "group": "dish1",
        "split": "train",
        "batch": "plate1",
        "scene": "well 3",
        "axes": "CZYX",
        "pixel_size_um": 0.65,
        "frame_interval_s": 300.0,
        "roi": [0, 64, 32, 96],
        "frames": "0,5,9",
        "files": [f"{folder}/raw/a.tif"],
        "truth_files": [f"{folder}/raw/a_truth.tif"],
        "masks_files": [],
        "line": 2,
    }


def test_missing_columns_are_empty(folder):
    (row,) = load(folder, "a\traw/a.tif")
    assert [row[column] for column in COLUMNS[2:]] == ["", "", "", "", "auto", "", "", None, None, None, None]
    assert row["truth_files"] == []


def test_schema_has_the_expected_columns():
    schema = read_schema("images")
    assert list(schema["properties"]) == COLUMNS
    assert schema["required"] == ["image", "path"]


def test_comments_empty_lines_and_spreadsheet_artifacts_are_skipped(folder):
    content = '﻿# mine\r\n\r\nimage\tpath\ttruth\t\t\r\n# old\traw/b.tif\r\n\t\t\r\n a \t"raw/a.tif"\t\t\t\r\n'
    (folder / "images.tsv").write_bytes(content.encode())
    (row,) = load_table(folder / "images.tsv", batch_size=64)
    assert (row["image"], row["path"], row["line"]) == ("a", "raw/a.tif", 6)


def test_folder_is_one_path_and_glob_gives_frames_in_natural_order(folder):
    rows = load(folder, "a\traw/movie", "b\traw/movie/f_*.tif", "c\traw/mov*/f_?.tif", "d\traw/**/f_1.tif")
    assert rows[0]["files"] == [f"{folder}/raw/movie"]
    assert [Path(path).name for path in rows[1]["files"]] == [f"f_{t}.tif" for t in range(1, 13)]
    assert [Path(path).name for path in rows[2]["files"]] == [f"f_{t}.tif" for t in range(1, 10)]
    assert rows[3]["files"] == [f"{folder}/raw/movie/f_1.tif"]


def test_glob_skips_folders_and_hidden_files(folder):
    (folder / "raw" / "movie" / "f_x.tif").mkdir()
    (folder / "raw" / "movie" / "._f_1.tif").touch()
    (row,) = load(folder, "a\traw/movie/*.tif")
    assert len(row["files"]) == 12


@pytest.mark.parametrize(("first", "others"), [("f.tif", "f{}.tif"), ("f.tif", "f ({}).tif")])
def test_glob_gives_the_frame_without_a_number_first(tmp_path, first, others):
    names = [first, *(others.format(number) for number in range(1, 12))]
    for name in names:
        (tmp_path / name).touch()
    (row,) = load(tmp_path, "a\tf*.tif")
    assert [Path(path).name for path in row["files"]] == names


@pytest.mark.parametrize("pattern", ["raw/movie/*.tif", "raw/mov*/f_*.tif"])
def test_glob_with_a_link_to_a_missing_file_is_refused(folder, pattern):
    (folder / "raw" / "movie" / "f_5.tif").unlink()
    (folder / "raw" / "movie" / "f_5.tif").symlink_to("/nowhere/f_5.tif")
    assert refusal(write(folder, f"a\t{pattern}")) == [
        f"line 2: path: {folder}/raw/movie/f_5.tif is a link to /nowhere/f_5.tif, which does not exist; restore that "
        "file, or remove the link"
    ]


def test_file_whose_name_looks_like_a_glob_is_found(folder):
    (folder / "raw" / "a[1].tif").touch()
    (folder / "raw" / "a1.tif").touch()
    (row,) = load(folder, "a\traw/a[1].tif")
    assert row["files"] == [f"{folder}/raw/a[1].tif"]


def test_glob_works_in_a_folder_whose_name_looks_like_a_glob(tmp_path):
    odd = tmp_path / "lab [1]"
    odd.mkdir()
    (odd / "f_1.tif").touch()
    (row,) = load(odd, "a\tf_*.tif")
    assert row["files"] == [f"{odd}/f_1.tif"]


@pytest.mark.parametrize("pattern", ["{}/t*.tif", "{}/*.tif"])
@pytest.mark.parametrize("name", ["pos [1]", "a[12]", "[x]/[y]"])
def test_folder_in_a_pattern_is_taken_by_its_name(tmp_path, name, pattern):
    (tmp_path / name).mkdir(parents=True)
    for t in (1, 2):
        (tmp_path / name / f"t{t}.tif").touch()
    (row,) = load(tmp_path, f"a\t{pattern.format(name)}")
    assert row["files"] == [f"{tmp_path}/{name}/t{t}.tif" for t in (1, 2)]


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("name", ["Zürich.tif", "Zürich/a.tif", "Zürich/é.tif"])
def test_accents_may_be_composed_in_another_way(tmp_path, name, written, stored):
    path = tmp_path / unicodedata.normalize(stored, name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (row,) = load(tmp_path, f"a\t{unicodedata.normalize(written, name)}")
    assert row["files"] == [str(path)]


def test_spaces_that_do_not_break_are_spaces(tmp_path):
    (tmp_path / "a\u00a0b.tif").touch()
    (row,) = load(tmp_path, "a\ta b.tif")
    assert row["files"] == [f"{tmp_path}/a\u00a0b.tif"]


def test_link_to_a_missing_file_is_named(tmp_path):
    (tmp_path / "broken.tif").symlink_to("/nowhere/x.tif")
    assert refusal(write(tmp_path, "a\tbroken.tif")) == [
        "line 2: path: broken.tif is a link to /nowhere/x.tif, which does not exist; restore that file or folder, or "
        "correct the path"
    ]


def test_paths_are_relative_to_the_table_or_absolute(folder, monkeypatch):
    monkeypatch.chdir("/")
    (folder / "config").mkdir()
    rows = load(folder / "config", "a\t../raw/a.tif", f"b\t{folder}/raw/b.tif", "c\t./../raw/movie/")
    assert [row["files"] for row in rows] == [[f"{folder}/raw/{name}"] for name in ("a.tif", "b.tif", "movie")]


def test_link_keeps_its_own_name(folder):
    (folder / "raw" / "blob").touch()
    (folder / "raw" / "link.tif").symlink_to(folder / "raw" / "blob")
    (row,) = load(folder, "a\traw/link.tif")
    assert row["files"] == [f"{folder}/raw/link.tif"]


def test_simulated_files_need_not_exist(folder):
    made = [os.path.realpath(f"{folder}/made/{name}") for name in ("a.ome.tif", "a_truth")]
    header = "image\tpath\ttruth"
    (row,) = load(folder, "a\tmade/a.ome.tif\tmade/a_truth", header=header, simulated=dict.fromkeys(made, "a"))
    assert row["files"] + row["truth_files"] == made
    assert "nor its folder" in refusal(folder / "images.tsv")[0]


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("a/b", "a_b"),
        ("../a", "_a"),
        (".hidden", "hidden"),
        ("-dash", "dash"),
        ("two words", "two_words"),
        ("Zellkörper µ1", "Zellkorper_1"),
        ("a..b", "a.b"),
        ("a\x07b", "a_b"),
        ("a*", "a_"),
        ("x" * 101, "x" * 100),
    ],
)
@pytest.mark.parametrize("column", ["image", "group", "batch"])
def test_unsafe_name_is_refused_and_a_safe_one_proposed(folder, column, name, better):
    text = refused_cell(folder, column, name)
    assert "is not a safe name" in text
    assert text.endswith(f": {better}") or better == "_a"
    assert load(folder, f"{better}\traw/a.tif")


def test_name_of_dots_is_refused(folder):
    assert "is not a safe name" in refused_cell(folder, "image", "..")
    assert "is not a safe name" in refused_cell(folder, "image", ".")


def test_empty_name_or_path_is_refused(folder):
    assert refusal(write(folder, "\traw/a.tif", "b\t")) == [
        "line 2: image: is empty; every row needs it",
        "line 3: path: is empty; every row needs it",
    ]


@pytest.mark.parametrize(
    ("column", "text", "answer"),
    [
        ("split", "Train", "did you mean train?"),
        ("split", "validation", "did you mean val?"),
        ("split", "9", "'9' is not one of train, val, test, predict"),
        ("batch", "auto", "'auto' begins with auto, like the batches of rows without one; give another name"),
        ("batch", "Auto-01", "begins with auto"),
        ("axes", "TCY", "'TCY' are not axes"),
        ("axes", "YXY", "'YXY' are not axes"),
        ("axes", "YXQ", "'YXQ' are not axes"),
        ("pixel_size_um", "0,65", "'0,65' is not a number; write 0.65"),
        ("pixel_size_um", "0.65 um", "'0.65 um' is not a number; give more than 0 and at most 1000, or nothing"),
        ("pixel_size_um", "-1", "'-1' is out of range"),
        ("pixel_size_um", "0", "'0' is out of range"),
        ("pixel_size_um", "nan", "'nan' is not a number"),
        ("pixel_size_um", "inf", "'inf' is not a number"),
        ("frame_interval_s", "1e99", "'1e99' is out of range"),
        ("path", "raw/c.tif", "there is no raw/c.tif; correct the path (it is relative to "),
        ("path", "raw/A.tiff", "there is no raw/A.tiff; did you mean raw/a.tif?"),
        ("truth", "raw/a_trutth.tif", "there is no raw/a_trutth.tif; did you mean raw/a_truth.tif?"),
        ("path", "raw/movie/f_21.tif", "there is no raw/movie/f_21.tif; correct the path (it is relative to "),
        (
            "path",
            "/nowhere/at/all.tif",
            "there is no /nowhere/at/all.tif, nor its folder /nowhere/at; correct the path",
        ),
        ("path", "row/a.tif", "there is no row/a.tif, nor its folder "),
        ("path", "raw\\a.tif", "write / where the path has \\"),
        ("path", "raw/c*.tif", "no file matches raw/c*.tif; correct the pattern"),
        ("path", "nowhere/*.tif", "no file matches nowhere/*.tif"),
        ("path", "raw/a.tif/x.tif", "nor its folder"),
        ("truth", "raw/a_mask.tif", "there is no raw/a_mask.tif"),
        ("truth", "raw/a.tif", "raw/a.tif is the image itself"),
    ],
)
def test_wrong_cell_is_refused_with_what_would_be_right(folder, column, text, answer):
    truth = {} if column == "truth" else {"truth": "raw/a_truth.tif"}
    assert answer in refused_cell(folder, column, text, **truth)


def test_empty_folder_is_refused(folder):
    (folder / "raw" / "empty").mkdir()
    assert refused_cell(folder, "path", "raw/empty").startswith("the folder raw/empty is empty")


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ("image", ["a", "A-1_b.c+d", "a b", "a..b", ".a", "", "x" * 100, "x" * 101, "é"]),
        ("batch", ["p1", "auto", "AUTO1", "p.1"]),
        ("split", ["train", "val", "test", "predict", "Test"]),
        ("axes", ["YX", "TCZYXS", "XY", "T", "YYX", "YXQ"]),
        ("pixel_size_um", ["0.1", "1000", "1001", "0", "-1"]),
    ],
)
def test_loading_and_schema_refuse_the_same_cells(folder, column, texts):
    for text in texts:
        row = {"image": "a", "path": "raw/a.tif", "truth": "raw/a_truth.tif", column: text}
        value = float(text) if column == "pixel_size_um" else text
        right = jsonschema.Draft202012Validator(read_schema("images")).is_valid(row | {column: value})
        path = write(folder, "\t".join(row.values()), header="\t".join(row))
        if right:
            assert load_table(path, batch_size=64)[0][column] == value
        else:
            assert refusal(path)


def test_repeated_image_name_is_refused_with_both_lines(folder):
    assert refusal(write(folder, "a\traw/a.tif", "b\traw/b.tif", "a\traw/b.tif", "B\traw/b.tif")) == [
        "line 4: image: a is already in line 2; give each image its own name",
        "line 5: image: B is already in line 3 as b, and case does not count; give each image its own name",
    ]


def test_batches_that_only_differ_in_case_are_refused(folder):
    rows = "a\traw/a.tif\tPlate1", "b\traw/b.tif\tplate1"
    (line,) = refusal(write(folder, *rows, header="image\tpath\tbatch"))
    assert line.startswith("line 3: batch: plate1 is Plate1 in line 2")


def test_group_in_two_sets_is_refused(folder):
    rows = [f"{name}\traw/{name}.tif\traw/masks\tdish1\t{side}" for name, side in (("a", "train"), ("b", "test"))]
    (line,) = refusal(write(folder, *rows, header="image\tpath\ttruth\tgroup\tsplit"))
    assert line == "line 3: split: test, but group dish1 is train in line 2; a group must be in one set"


def test_training_and_validation_images_need_annotations(folder):
    rows = [f"{side}\traw/a.tif\t{side}" for side in ("train", "val", "test", "predict")]
    lines = refusal(write(folder, *rows, header="image\tpath\tsplit"))
    assert [line.split(";")[0] for line in lines] == [
        "line 2: split: train needs an annotation in truth",
        "line 3: split: val needs an annotation in truth",
    ]


@pytest.mark.parametrize(
    ("header", "answers"),
    [
        ("image,path,truth", ["line 1: the columns are separated by commas; save the table as tab-separated text"]),
        ("image;path", ["line 1: the columns are separated by semicolons; save the table as tab-separated text"]),
        ("image   path", ["line 1: the columns are separated by spaces; save the table as tab-separated text"]),
        ("image\tpath\tTruht", ["line 1: Truht: unknown column; did you mean truth?"]),
        ("image\tpath\t", []),
        ("image\t\tpath", ["line 1: a column has no name; give it one, or remove it"]),
        ("image\tpath\tpath", ["line 1: path: is given 2 times; keep one"]),
        ("image", ["line 1: path: this column is missing; every row needs it"]),
        ("a\tb", None),
    ],
)
def test_wrong_header_is_refused_before_the_rows(folder, header, answers):
    path = write(folder, "a\traw/a.tif", header=header)
    if answers == []:
        assert load_table(path, batch_size=64)
    elif answers is None:
        assert len(refusal(path)) == 4
    else:
        assert refusal(path) == answers


def test_row_with_too_many_cells_is_refused(folder):
    assert refusal(write(folder, "a\traw/a.tif\tx")) == [
        "line 2: has 3 cells, but there are 2 columns; remove the extra cells"
    ]


def test_unclosed_quote_is_refused(folder):
    assert "quote" in refusal(write(folder, '"a\traw/a.tif', "b\traw/b.tif"))[0]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# only a comment\n"])
def test_table_without_header_is_refused(tmp_path, content):
    (tmp_path / "images.tsv").write_bytes(content)
    (line,) = refusal(tmp_path / "images.tsv")
    assert line.startswith("has no header; the first line must name the columns (image, path,")


@pytest.mark.parametrize(
    "content", ["image\tpath\nzellkörper\ta.tif".encode("latin-1"), "image\tpath\n".encode("utf-16"), b"\x00\x01"]
)
def test_text_in_another_encoding_is_refused(tmp_path, content):
    (tmp_path / "images.tsv").write_bytes(content)
    assert "tab-separated text in UTF-8" in refusal(tmp_path / "images.tsv")[0]


def test_missing_table_or_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = refusal(Path("images.tsv"))
    assert line.startswith(f"cannot be read in {tmp_path} (No such file or directory); set images")
    assert "Is a directory" in refusal(tmp_path)[0]


def test_shipped_table_asks_for_images():
    assert refusal(REPOSITORY / "config" / "images.tsv") == [
        "has no images yet; add a line for each, with at least its name and path"
    ]


def test_examples_in_the_shipped_table_have_its_columns():
    lines = (REPOSITORY / "config" / "images.tsv").read_text().splitlines()
    header, *examples = [line.split("\t") for line in lines if "\t" in line]
    assert header == COLUMNS
    assert examples
    assert all(len(example) == len(header) for example in examples)


def test_demo_table_is_accepted():
    demo = REPOSITORY / "resources" / "demo"
    movies = [f"colony-{letter}" for letter in "abcdef"]
    made = {f"{demo}/{movie}{end}" for movie in movies for end in (".ome.tif", "_truth")}
    rows = load_table(REPOSITORY / "config" / "demo" / "images.tsv", batch_size=64, simulated=made)
    assert [row["image"] for row in rows] == movies


def test_first_twenty_problems_are_shown_in_order_and_the_others_counted(folder):
    rows = [f"image {number}\traw/missing_{number}.tif" for number in range(1000)]
    lines = refusal(write(folder, *rows))
    assert len(lines) == 21
    assert [line.split(":")[0] for line in lines[:4]] == ["line 2", "line 2", "line 3", "line 3"]
    assert lines[-1] == "and 1,980 more problems"


def test_ten_thousand_rows_are_checked_in_seconds(folder):
    rows = []
    for number in range(10_000):
        (folder / "raw" / f"w{number}_1.tif").touch()
        truth = "raw/masks" if number != 77 else "raw/mask"
        rows.append(f"w{number}\traw/w{number}_*.tif\t{truth}\t0.65")
    path = write(folder, *rows, header="image\tpath\ttruth\tpixel_size_um")
    started = time.process_time()
    (line,) = refusal(path)
    assert line.startswith("line 79: truth: there is no raw/mask;")
    assert time.process_time() - started < 4


def test_few_images_form_one_batch():
    rows = [{"image": f"i{number}", "batch": ""} for number in range(64)]
    assert set(assign_batches(rows, 64).values()) == {"auto"}
    assert set(assign_batches([*rows, {"image": "one_more", "batch": None}], 64).values()) == {"auto-0", "auto-1"}


def test_given_batch_is_kept():
    rows = [{"image": "a", "batch": "plate1"}, {"image": "b", "batch": ""}]
    assert assign_batches(rows, 1) == {"a": "plate1", "b": "auto"}


@pytest.mark.parametrize("seed", range(20))
def test_adding_removing_and_reordering_rows_changes_only_their_batches(seed):
    random_numbers = random.Random(seed)
    names = [f"{random_numbers.getrandbits(40):x}_{number}" for number in range(random_numbers.randint(1, 400))]
    size = random_numbers.randint(1, 40)

    def batches(names):
        return assign_batches([{"image": name, "batch": ""} for name in names], size)

    before = batches(names)
    assert max(Counter(before.values()).values()) <= size
    assert batches(random_numbers.sample(names, len(names))) == before

    more = batches([*names, "new"])
    moved = {name for name in names if more[name] != before[name]}
    assert len({before[name] for name in moved}) <= 1
    assert all(more["new"].startswith(before[name]) for name in moved)

    gone = random_numbers.choice(names)
    fewer = batches([name for name in names if name != gone])
    moved = {name for name in fewer if fewer[name] != before[name]}
    assert len(moved) <= size
    assert all(before[gone].startswith(fewer[name]) for name in moved)


def test_batches_are_filled_well():
    rows = [{"image": f"plate_{number:05d}", "batch": ""} for number in range(10_000)]
    sizes = Counter(assign_batches(rows, 64).values())
    assert 10_000 / 64 <= len(sizes) <= 2.2 * 10_000 / 64


@pytest.mark.parametrize(
    ("text", "box"),
    [("", None), ("0:64,32:96", [0, 64, 32, 96]), (" 0 : 64 , 32 : 96 ", [0, 64, 32, 96])],
)
def test_region_of_interest_gives_first_and_last_row_and_column(folder, text, box):
    (row,) = load(folder, f"a\traw/a.tif\t{text}", header="image\tpath\troi")
    assert row["roi"] == box


@pytest.mark.parametrize("text", ["0:64", "0-64,32-96", "a:b,c:d", "-1:64,0:9", "0:64,32:96,1:2", "0:1.5,0:9"])
def test_wrong_region_is_refused_with_an_example(folder, text):
    assert "is not a region; give y0:y1,x0:x1 in pixels, such as" in refused_cell(folder, "roi", text)


@pytest.mark.parametrize("text", ["64:64,0:9", "0:9,9:3"])
def test_region_without_pixels_is_refused(folder, text):
    assert refused_cell(folder, "roi", text).startswith("contains no pixel")


@pytest.mark.parametrize("text", ["0", "0,5,9", "0, 5, 9", "0:100:10", ":", "::2", "-3:", ":-1", "-1"])
def test_frames_are_numbers_or_a_slice(folder, text):
    (row,) = load(folder, f"a\traw/a.tif\t{text}", header="image\tpath\tframes")
    assert row["frames"] == text.replace(" ", "")


@pytest.mark.parametrize("text", ["all", "0-5", "0:5:0", "0:5:-1", "1.5", "0,,2", "-:"])
def test_wrong_frames_are_refused_with_an_example(folder, text):
    assert "are not frames; give numbers from 0, such as 0,5,9" in refused_cell(folder, "frames", text)


def test_groups_that_only_differ_in_case_are_refused(folder):
    path = write(folder, "a\traw/a.tif\tDish", "b\traw/b.tif\tdish", header="image\tpath\tgroup")
    (line,) = refusal(path)
    assert line == "line 3: group: dish is Dish in line 2, and case does not count; write both alike"


def test_missing_reader_is_reported_with_the_command_that_installs_it(folder, monkeypatch):
    (folder / "raw/a.nd2").touch()
    load(folder, "a\traw/a.nd2")
    monkeypatch.setitem(image_formats.FORMATS, "nd2", replace(image_formats.FORMATS["nd2"], package="no_such_package"))
    assert refusal(write(folder, "a\traw/a.nd2")) == [
        "line 2: path: raw/a.nd2 is a ND2 file, whose reader no_such_package is not installed; run make setup READERS=1"
    ]


def test_dataset_after_the_path_is_the_scene(folder):
    (folder / "raw/a.h5").touch()
    (row,) = load(folder, "a\traw/a.h5::/exported_data")
    assert (row["path"], row["scene"], row["files"]) == ("raw/a.h5", "/exported_data", [f"{folder}/raw/a.h5"])
    assert refused_cell(folder, "path", "raw/a.h5::/x", scene="y") == (
        "names the dataset /x, and scene is y; give one of them"
    )
