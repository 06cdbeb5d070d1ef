"""Batches: stores are made one by one, kept through interruptions, and never lost."""

import errno
import json
import os
import shutil

import pytest

from tessera.common.batch_outputs import find_stores, keep_stores, make_stores, read_skipped
from tessera.common.errors import InputError, SystemInputError
from tessera.common.user_warnings import group_warnings, read_warnings, warn_user


class Maker:
    """Makes a folder with one file per image; images in `bad` are refused, at `killed_at` the job dies."""

    def __init__(self, bad=(), killed_at=None):
        self.bad, self.killed_at, self.made = bad, killed_at, []

    def __call__(self, image, path):
        assert not path.exists()
        path.mkdir()
        (path / "pixels").write_text(image)
        if image == self.killed_at:
            raise KeyboardInterrupt
        if image in self.bad:
            raise InputError(f"{image}.tif: is empty; replace it")
        self.made.append(image)


def provenance(*images, provenance="1"):
    return dict.fromkeys(images, provenance)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_finished_batch_has_only_its_stores(tmp_path):
    make_stores(provenance("a", "b"), Maker(), output=tmp_path / "images" / "batch")
    assert names(tmp_path / "images" / "batch") == ["a.ome.zarr", "b.ome.zarr", "skipped.json"]
    assert names(tmp_path / "images") == ["batch"]


def test_killed_job_resumes_where_it_stopped(tmp_path):
    output = tmp_path / "batch"
    first = Maker(killed_at="c")
    with pytest.raises(KeyboardInterrupt):
        make_stores(provenance("a", "b", "c"), first, output=output)
    assert not output.exists()
    second = Maker()
    make_stores(provenance("a", "b", "c"), second, output=output)
    assert (first.made, second.made) == (["a", "b"], ["c"])


def test_only_images_with_changed_provenance_are_remade_after_a_failure(tmp_path):
    output = tmp_path / "batch"
    with pytest.raises(InputError):
        make_stores(provenance("a", "b", "c"), Maker(bad=["c"]), output=output)
    again = Maker()
    make_stores(provenance("a") | provenance("b", "c", provenance="2"), again, output=output)
    assert again.made == ["b", "c"]


def test_images_that_left_the_batch_leave_no_store(tmp_path):
    output = tmp_path / "batch"
    with pytest.raises(InputError):
        make_stores(provenance("a", "b", "c"), Maker(bad=["c"]), output=output)
    make_stores(provenance("a"), Maker(), output=output)
    assert names(output) == ["a.ome.zarr", "skipped.json"]


def test_all_bad_images_are_named_and_the_previous_output_is_kept(tmp_path):
    output = tmp_path / "batch"
    make_stores(provenance("a"), Maker(), output=output)
    with pytest.raises(InputError) as refused:
        make_stores(provenance("a", "b", "c", provenance="2"), Maker(bad=["b", "c"]), output=output)
    assert str(refused.value).splitlines() == ["b.tif: is empty; replace it", "c.tif: is empty; replace it"]
    assert names(output) == ["a.ome.zarr", "skipped.json"]


def test_warnings_of_images_are_kept_after_a_killed_job(tmp_path):
    output = tmp_path / "batch"

    def make(image, path, killed_at="c"):
        warn_user(image, f"{image} is odd")
        Maker(killed_at=killed_at)(image, path)

    warn_user("a", "is told to nobody")
    with pytest.raises(KeyboardInterrupt):
        make_stores(provenance("a", "b", "c", "d"), make, output=output)
    again = Maker(bad=["d"])
    make_stores(provenance("a", "c", "d") | provenance("b", provenance="2"), again, output=output, skip_bad_images=True)
    assert again.made == ["c", "b"]
    assert read_warnings([output, tmp_path / "none"]) == {"a": ["a is odd"]}
    make_stores(provenance("a", provenance="2"), Maker(), output=output)
    assert names(output) == ["a.ome.zarr", "skipped.json"]


def test_equal_warnings_of_many_images_are_merged():
    warnings = {f"b{number}": ["is odd", f"holds {number} of 12 images, not #1"] for number in range(9, 12)}
    warnings |= {"a": ["is odd", "is odd"], "c": ["holds \u0663 images"]}
    assert group_warnings(warnings) == [
        ("is odd", ["a", "b10", "b11", "b9"]),
        ("holds 9–11 of 12 images, not #1", ["b10", "b11", "b9"]),
        ("holds \u0663 images", ["c"]),
    ]


def test_skipped_images_have_a_reason_and_no_partial_store(tmp_path):
    output = tmp_path / "batch"
    make_stores(provenance("a", "b"), Maker(bad=["b"]), output=output, skip_bad_images=True)
    assert names(output) == ["a.ome.zarr", "skipped.json"]
    assert json.loads((output / "skipped.json").read_text()) == {"b": "b.tif: is empty; replace it"}
    assert read_skipped([output]) == {"b": "b.tif: is empty; replace it"}


def test_damaged_ledger_causes_all_stores_to_be_remade(tmp_path):
    output = tmp_path / "batch"
    with pytest.raises(InputError):
        make_stores(provenance("a", "b"), Maker(bad=["b"]), output=output)
    (tmp_path / ".batch.part" / "finished.json").write_text('{"a": ')
    again = Maker()
    make_stores(provenance("a", "b"), again, output=output)
    assert again.made == ["a", "b"]


def test_store_missing_in_the_hidden_folder_is_remade(tmp_path):
    output = tmp_path / "batch"
    with pytest.raises(InputError):
        make_stores(provenance("a", "b"), Maker(bad=["b"]), output=output)
    store = tmp_path / ".batch.part" / "a.ome.zarr"
    (store / "pixels").unlink()
    store.rmdir()
    again = Maker()
    make_stores(provenance("a", "b"), again, output=output)
    assert again.made == ["a", "b"]


def test_find_stores_omits_skipped_images(tmp_path):
    for batch, images in {"one": ["a", "b"], "two": ["c"]}.items():
        make_stores(provenance(*images), Maker(bad=["b"]), output=tmp_path / batch, skip_bad_images=True)
    folders = [tmp_path / "one", tmp_path / "two"]
    assert find_stores(folders, ["c", "b", "a"]) == {
        "c": tmp_path / "two" / "c.ome.zarr",
        "a": tmp_path / "one" / "a.ome.zarr",
    }
    with pytest.raises(InputError, match="d: no store in"):
        find_stores(folders, ["a", "d"])


def test_system_errors_fail_the_job_instead_of_skipping_images(tmp_path):
    def make(image, path):
        raise SystemInputError("b: the store is damaged") if image == "b" else InputError("a.tif: is empty")

    with pytest.raises(InputError, match=r"^b: the store is damaged$"):
        make_stores(provenance("a", "b"), make, output=tmp_path / "batch", skip_bad_images=True)
    assert not (tmp_path / "batch").exists()


def test_image_names_may_look_like_partial_stores(tmp_path):
    make_stores(provenance("a", "a.part"), Maker(), output=tmp_path / "batch", suffix="")
    make_stores(provenance("a.part", "a"), Maker(), output=tmp_path / "again", suffix="")
    assert names(tmp_path / "batch") == names(tmp_path / "again") == ["a", "a.part", "skipped.json"]


def test_images_skipped_earlier_are_listed_too(tmp_path):
    make_stores(provenance("a"), Maker(), output=tmp_path / "batch", skipped_before={"z": "z.tif: is empty"})
    assert read_skipped([tmp_path / "batch"]) == {"z": "z.tif: is empty"}


def make_and_change(output, made, wanted, bad=()):
    """Return the images that are made again after Snakemake removed a batch with the provenance `made`."""
    make_stores(made, Maker(bad), output=output, skip_bad_images=True)
    keep_stores(output, made, wanted)
    shutil.rmtree(output)
    maker = Maker(bad)
    make_stores(wanted, maker, output=output, skip_bad_images=True)
    assert names(output.parent) == [output.name]
    return maker.made


def test_stores_to_keep_are_not_remade(tmp_path):
    wanted = provenance("a", "new") | provenance("b", provenance="2")
    assert make_and_change(tmp_path / "batch", provenance("a", "b", "gone"), wanted) == ["new", "b"]
    assert names(tmp_path / "batch") == ["a.ome.zarr", "b.ome.zarr", "new.ome.zarr", "skipped.json"]
    assert (tmp_path / "batch" / "a.ome.zarr" / "pixels").read_text() == "a"


def test_skipped_images_are_tried_again(tmp_path):
    assert make_and_change(tmp_path / "batch", provenance("a", "b"), provenance("a", "b", "c"), bad=["b"]) == ["c"]
    assert read_skipped([tmp_path / "batch"]).keys() == {"b"}


def test_stores_that_cannot_be_linked_are_remade(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)  # as on file systems without links
    assert make_and_change(tmp_path / "batch", provenance("a"), provenance("a", "b")) == ["a", "b"]


def test_no_store_is_kept_of_a_missing_or_wholly_changed_batch(tmp_path):
    keep_stores(tmp_path / "batch", provenance("a"), provenance("a"))
    make_stores(provenance("a"), Maker(), output=tmp_path / "batch")
    keep_stores(tmp_path / "batch", provenance("a"), provenance("a", provenance="2"))
    assert names(tmp_path) == ["batch"]
