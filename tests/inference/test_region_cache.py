"""Finished regions become whole shards, and come back from the cache by what they depend on, or not at all."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers.store_batches import damage
from tessera.inference.region_cache import RegionCache, remove_orphans
from tessera.io.ome_zarr_store import create_store
from tessera.io.shards import iterate_blocks, iterate_shards

SHAPE = (6, 2, 1, 40, 30)  # a shard has 3 frames
PIXELS = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
ANSWERS = np.random.default_rng(0).integers(1, 255, SHAPE).astype(np.uint8)
REGIONS = [(slice(t, t + 1), slice(0, 2), slice(0, 1), slice(0, 40), slice(0, 30)) for t in range(6)]


@pytest.fixture
def make(tmp_path):
    """Makes the store anew and its cache, as each run does: (array, cache)."""

    def make(provenance="provenance", chunk_px=32, shape=SHAPE):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        array = create_store(tmp_path / "store", shape, np.uint8, chunk_px=chunk_px, shard_px=64)
        return array, RegionCache(tmp_path / "kept", array, provenance, [255, 0])

    return make


def run(array, cache, regions=REGIONS, answers=ANSWERS, stop_after=None):
    """Write regions, each of which depends on its frame; return the frames that were not in the cache."""
    cache.plan(regions)
    predicted = []
    for region in regions:
        pixels = answers[region]
        key = cache.key([pixels], "place")
        if not cache.get(key, region):
            if len(predicted) == stop_after:
                return predicted
            predicted.append(region[0].start)
            cache.put(key, region, pixels)
    cache.prune()
    return predicted


def shards_of(folder):
    return sorted(path for path in folder.rglob("*") if path.name.startswith(("0.", "1.")))


@pytest.fixture
def kept(make, tmp_path):
    """Folder of a cache that a run has left."""
    array, cache = make()
    assert array.shards[0] == 3
    assert run(array, cache) == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(array[:], ANSWERS)
    return tmp_path / "kept"


def test_cached_regions_come_back_after_their_store_was_written_again(make, kept):
    for _ in range(2):
        array, cache = make()
        assert run(array, cache) == []
        assert np.array_equal(array[:], ANSWERS)
    assert sum(path.is_file() for path in kept.rglob("*")) == 4


def test_one_changed_region_of_a_shard_is_predicted_alone(make, kept):
    answers = ANSWERS.copy()
    answers[4, 1, 0, 3, 5] ^= 1
    for expected in ([4], []):
        array, cache = make()
        assert run(array, cache, answers=answers) == expected
        assert np.array_equal(array[:], answers)


def test_regions_come_back_in_other_shards(make, kept):
    array, cache = make(shape=(7, *SHAPE[1:]))
    regions = [*REGIONS, (slice(6, 7), *REGIONS[0][1:])]
    longer = np.concatenate([ANSWERS[:1] ^ 7, ANSWERS])
    assert array.shards[0] != 6
    assert run(array, cache, regions, longer) == [0]
    assert np.array_equal(array[:], longer)
    assert len(list(kept.iterdir())) == 1


def test_regions_come_back_from_another_layout_of_the_store(make, kept):
    array, cache = make(chunk_px=16)
    assert run(array, cache) == []
    assert np.array_equal(array[:], ANSWERS)


def test_frames_of_the_same_pixels_come_back(make):
    still = np.repeat(ANSWERS[:1], 6, axis=0)
    array, cache = make()
    run(array, cache, answers=still)
    assert np.array_equal(array[:], still)
    array, cache = make()
    assert run(array, cache, answers=still) == []
    assert np.array_equal(array[:], still)


def test_pixels_without_a_region_are_background(make, kept):
    array, cache = make()
    assert run(array, cache, REGIONS[1:2]) == []
    expected = np.zeros(SHAPE, np.uint8)
    expected[:, 0] = 255
    expected[1] = ANSWERS[1]
    assert np.array_equal(array[:], expected)
    array, cache = make()
    assert run(array, cache) == [0, 2, 3, 4, 5]


def test_keys_depend_on_pixels_place_and_provenance(make):
    _, cache = make()
    key = cache.key([PIXELS], "here")
    changed = PIXELS.copy()
    changed[3, 4] += 1
    for other in (changed, PIXELS.reshape(16, 64), PIXELS.view(np.int16)):
        assert cache.key([other], "here") != key
    assert cache.key([PIXELS], "there") != key
    assert make("another")[1].key([PIXELS], "here") != key
    assert cache.key([np.asfortranarray(PIXELS)], "here") == key


def test_regions_of_zeros_come_back(make):
    answers = ANSWERS.copy()
    answers[:3] = 0
    array, cache = make()
    assert run(array, cache, answers=answers)
    array, cache = make()
    assert run(array, cache, answers=answers) == []
    assert np.array_equal(array[:], answers)


def test_overwriting_a_store_does_not_change_the_cache(make, kept):
    array, cache = make()
    run(array, cache)
    array[:] = 9
    array, cache = make()
    assert run(array, cache) == []
    assert np.array_equal(array[:], ANSWERS)


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_regions_of_an_unfinished_shard_come_back(make, tmp_path, stop_after):
    array, cache = make()
    first = run(array, cache, stop_after=stop_after)
    parts = list((tmp_path / "kept").rglob("*.part"))
    assert len(parts) == (stop_after % 3 > 0)
    array, cache = make()
    assert first + run(array, cache) == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(array[:], ANSWERS)
    assert not list((tmp_path / "kept").rglob("*.part"))


def test_parts_after_one_that_was_cut_off_come_back(make, tmp_path):
    array, cache = make()
    run(array, cache, stop_after=2)
    (part,) = (tmp_path / "kept").rglob("*.part")
    os.truncate(part, part.stat().st_size - 1)
    array, cache = make()
    assert run(array, cache, stop_after=1) == [1]
    array, cache = make()
    assert run(array, cache) == [2, 3, 4, 5]
    assert np.array_equal(array[:], ANSWERS)


@pytest.mark.parametrize("kind", ["truncated", "missing", "line cut", "lines garbled", "bytes garbled"])
def test_damaged_shard_is_not_restored(make, kept, kind):
    shard, _ = shards_of(kept)
    (lines,) = kept.rglob("regions")
    if kind == "truncated":
        os.truncate(shard, shard.stat().st_size - 1)
    elif kind == "missing":
        shard.unlink()
    elif kind == "line cut":
        lines.write_text(lines.read_text().splitlines()[1] + '\n{"shard": "0.0')
    elif kind == "lines garbled":
        lines.write_bytes(b"\xff\xfe 12")
    else:
        damage(shard)
    array, cache = make()
    assert run(array, cache) == ([0, 1, 2] if kind != "lines garbled" else [0, 1, 2, 3, 4, 5])
    assert np.array_equal(array[:], ANSWERS)


def test_shard_that_was_replaced_by_a_job_that_was_killed_is_not_trusted(make, kept):
    shard, other = shards_of(kept)
    shard.unlink()
    os.link(other, shard)  # the link is new, its line is not
    array, cache = make()
    assert run(array, cache) == [0, 1, 2]
    assert np.array_equal(array[:], ANSWERS)


def test_prune_removes_what_was_not_used(make, kept):
    (kept / ("0" * 32)).write_text("a file of an older version")
    array, cache = make()
    run(array, cache, REGIONS[3:])
    assert [path.name[0] for path in shards_of(kept)] == ["1"]
    array, cache = make()
    assert run(array, cache) == [0, 1, 2]


def test_caches_of_images_that_left_the_batch_are_removed(tmp_path):
    for image in ("a", "a.b", "gone"):
        (tmp_path / image).mkdir()
        (tmp_path / image / "file").touch()
    remove_orphans(tmp_path, {"a", "a.b", "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.b"]
    remove_orphans(tmp_path / "missing", {"a"})


def test_file_systems_without_hard_links_only_forget_finished_shards(make, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")

    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    array, cache = make()
    assert run(array, cache) == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(array[:], ANSWERS)
    assert len([text for text in caplog.messages if "cannot be kept for another run" in text]) == 1
    array, cache = make()
    assert run(array, cache) == [0, 1, 2, 3, 4, 5]


def test_cache_on_a_file_system_without_hard_links_is_read(make, kept, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    array, cache = make()
    assert run(array, cache) == []
    assert np.array_equal(array[:], ANSWERS)


def test_several_threads_write_regions_of_the_same_shards(make):
    array, cache = make()
    cache.plan(REGIONS)

    def write(region):
        key = cache.key([ANSWERS[region]], "place")
        if not cache.get(key, region):
            cache.put(key, region, ANSWERS[region])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, REGIONS))
    assert np.array_equal(array[:], ANSWERS)


def test_blocks_of_planes_larger_than_a_shard_become_shards(tmp_path):
    array = create_store(tmp_path / "store", (1, 2, 1, 150, 70), np.uint8, chunk_px=16, shard_px=64)
    answers = np.random.default_rng(0).integers(1, 255, array.shape).astype(np.uint8)
    regions = [block for shard in iterate_shards(array) for block in iterate_blocks(array, shard, 32)]
    assert run(array, RegionCache(tmp_path / "kept", array, "", [255, 0]), regions, answers)
    assert np.array_equal(array[:], answers)
