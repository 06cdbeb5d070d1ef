"""Finished regions come back from the cache by what they depend on, complete or not at all."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers.store_batches import damage
from tessera.inference.region_cache import RegionCache, remove_orphans
from tessera.io.ome_zarr_store import create_store

REGION = (slice(1, 2), slice(0, 2), slice(0, 1), slice(32, 64), slice(0, 32))
PIXELS = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
ANSWER = np.random.default_rng(0).integers(1, 255, (1, 2, 1, 32, 32), np.uint8)


@pytest.fixture
def make(tmp_path):
    """Makes the store anew and its cache, as each run does: (array, cache)."""

    def make(provenance="provenance", chunk_px=16):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        array = create_store(tmp_path / "store", (2, 2, 1, 80, 64), np.uint8, chunk_px=chunk_px, shard_px=32)
        return array, RegionCache(tmp_path / "kept", array, provenance)

    return make


def key_of(cache, pixels=PIXELS, place="here"):
    return cache.key([pixels], place)


@pytest.fixture
def kept(make):
    """Folder of a cache that a run has left with one region."""
    array, cache = make()
    array[REGION] = ANSWER
    cache.put(key_of(cache), REGION)
    return cache._folder


def restored(make, **changes):
    provenance = changes.pop("provenance", "provenance")
    array, cache = make(provenance)
    cached = cache.get(key_of(cache, **changes), REGION)
    assert np.array_equal(array[REGION], ANSWER if cached else 0 * ANSWER)
    return cached


def test_a_cached_region_comes_back_after_its_store_was_written_again(make, kept):
    assert restored(make)
    assert restored(make)


def test_keys_depend_on_pixels_place_and_provenance(make, kept):
    changed = PIXELS.copy()
    changed[3, 4] += 1
    assert not restored(make, pixels=changed)
    assert not restored(make, pixels=PIXELS.reshape(16, 64))
    assert not restored(make, pixels=PIXELS.view(np.int16))
    assert not restored(make, place="there")
    assert not restored(make, provenance="another")
    assert restored(make, pixels=np.asfortranarray(PIXELS))


def test_keys_depend_on_the_layout_of_chunks(make, kept):
    array, cache = make(chunk_px=32)
    assert not cache.get(key_of(cache), REGION)
    assert not array[REGION].any()


def test_a_region_at_the_border_and_one_whose_shards_are_partly_zeros_come_back(make):
    border = (slice(0, 1), slice(0, 2), slice(0, 1), slice(64, 80), slice(32, 64))
    answer = np.zeros((1, 2, 1, 16, 32), np.uint8)
    answer[:, 1] = 7
    array, cache = make()
    array[border] = answer
    cache.put("a" * 32, border)
    array, cache = make()
    array[border] = 255
    assert cache.get("a" * 32, border)
    assert np.array_equal(array[border], answer)


def test_overwriting_a_store_does_not_change_the_cache(make, kept):
    array, cache = make()
    assert cache.get(key_of(cache), REGION)
    array[REGION] = 9
    assert restored(make)


@pytest.mark.parametrize("damage", ["truncated", "missing", "manifest truncated", "manifest garbled", "unfinished"])
def test_an_incomplete_region_is_not_restored(make, kept, damage):
    manifest = next(path for path in kept.iterdir() if "." not in path.name)
    shard = manifest.with_suffix(".1")
    if damage == "truncated":
        os.truncate(shard, shard.stat().st_size - 1)
    elif damage == "missing":
        shard.unlink()
    elif damage == "manifest truncated":
        manifest.write_text(manifest.read_text().split()[0])
    elif damage == "manifest garbled":
        manifest.write_bytes(b"\xff\xfe 12")
    else:
        manifest.rename(manifest.with_suffix(".part"))
    assert not restored(make)


def test_prune_removes_regions_that_were_not_used(make, kept):
    array, cache = make()
    array[REGION] = ANSWER
    other = key_of(cache, place="there")
    assert not cache.get(other, REGION)
    cache.put(other, REGION)
    cache.prune()
    assert {path.name.partition(".")[0] for path in kept.iterdir()} == {other}
    assert not restored(make)
    assert restored(make, place="there")


def test_caches_of_images_that_left_the_batch_are_removed(tmp_path):
    for image in ("a", "a.b", "gone"):
        (tmp_path / image).mkdir()
        (tmp_path / image / "key").write_text("1")
    remove_orphans(tmp_path, {"a": "", "a.b": ""})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.b"]
    remove_orphans(tmp_path / "none", {})


def test_a_file_system_without_hard_links_only_disables_the_cache(make, kept, monkeypatch, caplog):
    caplog.set_level("INFO")

    def refuse(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), source)

    monkeypatch.setattr(os, "link", refuse)
    assert not restored(make)
    array, cache = make()
    array[REGION] = ANSWER
    for place in ("one", "two"):
        cache.put(key_of(cache, place=place), REGION)
    assert caplog.text.count("cannot be kept for another run (Operation not permitted)") == 1
    assert np.array_equal(array[REGION], ANSWER)


def test_regions_of_the_same_pixels_may_be_kept_and_restored_at_the_same_time(make, caplog):
    caplog.set_level("INFO")
    array, cache = make()
    places = [(slice(t, t + 1), *REGION[1:3], slice(y, y + 32), REGION[4]) for t in (0, 1) for y in (0, 32)]

    def work(place):  # a region has one writer
        for _ in range(50):
            if not cache.get("b" * 32, place):
                array[place] = ANSWER
            cache.put("b" * 32, place)

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(work, places))
    assert not caplog.messages
    for place in places:
        assert np.array_equal(array[place], ANSWER)


def test_a_shard_that_is_damaged_under_both_names_is_not_restored(make):
    array, cache = make()
    array[REGION] = ANSWER
    cache.put(key_of(cache), REGION)
    for file in cache._files(REGION):
        damage(file)
    assert not restored(make)
