"""Domain shift: images that differ from the training images cause warnings."""

import json
import os

import cv2
import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.data.dataset_fingerprint import MAX_TEXTURES, compute_fingerprint
from tessera.data.domain_shift import check_object_diameter, find_domain_shift
from tessera.data.normalization import normalize
from tessera.io.ome_zarr_store import create_store, finish_image

PATCH_PX = 64


def discs(seed, size_px=256, noise=0.05, count=60):
    """Bright discs on dark ground, uint16 (y, x)."""
    rng = np.random.default_rng(seed)
    plane = np.zeros((size_px, size_px), np.float32)
    for y, x, radius in zip(*rng.integers(0, size_px, (2, count)), rng.integers(4, 8, count), strict=True):
        cv2.circle(plane, (int(x), int(y)), int(radius), float(rng.uniform(0.6, 1)), -1)
    return (1000 + 8000 * np.clip(plane + noise * rng.normal(size=plane.shape), 0, None)).astype(np.uint16)


def write(path, plane, **described):
    """A store of one plane (y, x) or (c, y, x)."""
    pixels = np.atleast_3d(plane.T).T[None, :, None]
    create_store(path, pixels.shape, pixels.dtype)[...] = pixels
    finish_image(path, name=path.name, **described)
    return path


def patches_of(planes):
    """Normalized patches (n, y, x, 1) of planes."""
    cut = []
    for plane in planes:
        pixels = normalize(plane[..., None], [np.percentile(plane, (1, 99.8))])
        cut += [pixels[y : y + PATCH_PX, x : x + PATCH_PX] for y in range(0, 256, 64) for x in range(0, 256, 64)]
    return np.array(cut, np.float16)


@pytest.fixture(scope="module")
def model():
    """The entries of a model.json about the training images."""
    fingerprint = compute_fingerprint(patches_of([discs(seed) for seed in range(4)]))
    return {
        "channels": ["DAPI"],
        "pixel_size_um": 0.5,
        "diameter_px": 12.0,
        "fingerprint": json.loads(json.dumps(fingerprint)),
    }


def test_similar_image_causes_no_warning(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", discs(9), channels=["DAPI"], pixel_size_um=(None, 0.5, 0.5))
    assert find_domain_shift(store, model) == []


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda plane: plane.max() - plane, id="dark objects on bright ground"),
        pytest.param(lambda plane: cv2.GaussianBlur(plane, (0, 0), 5), id="out of focus"),
        pytest.param(lambda plane: discs(9, noise=0.6), id="noise"),
    ],
)
def test_different_image_causes_warnings(tmp_path, model, alter):
    store = write(tmp_path / "a.ome.zarr", alter(discs(9)), channels=["DAPI"])
    sentences = find_domain_shift(store, model)
    assert sentences
    assert all(sentence.startswith("a: ") for sentence in sentences)


def test_only_the_analyzed_region_and_frames_are_compared(tmp_path, model):
    frames = np.stack([np.hstack([discs(9), discs(8, noise=0.6)]), np.hstack([discs(8, noise=0.6)] * 2)])
    path = tmp_path / "a.ome.zarr"
    create_store(path, (2, 1, 1, 256, 512), np.uint16)[...] = frames[:, None, None]
    finish_image(path, name="a", channels=["DAPI"], contrast_limits=[np.percentile(discs(9), (1, 99.8))])
    assert find_domain_shift(path, model, roi=(0, 256, 0, 256), frames="0") == []
    for seen in ({}, {"roi": (0, 256, 256, 512), "frames": "0"}, {"roi": (0, 256, 0, 256), "frames": "1"}):
        assert find_domain_shift(path, model, **seen)


def test_damaged_image_is_named(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", discs(9), channels=["DAPI"])
    shard = next(path for path in (store / "0" / "c").rglob("*") if path.is_file())
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with pytest.raises(InputError, match=r"a\.ome\.zarr: the store is damaged, pixels at .* cannot be read"):
        find_domain_shift(store, model)


def test_blank_image_causes_a_warning(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", np.full((64, 64), 7, np.uint16), channels=["DAPI"])
    assert find_domain_shift(store, model) == [
        "a: is blank, all of its pixels are equal; remove it from the table, or replace the file"
    ]


def test_other_pixel_size_causes_a_warning_only_without_rescaling(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", discs(9), channels=["DAPI"], pixel_size_um=(None, 1.0, 1.0))
    warning = "a: its pixels are 1 µm wide, but those of the training 0.5 µm"
    assert any(sentence.startswith(warning) for sentence in find_domain_shift(store, model, rescale=False))
    assert not any(sentence.startswith(warning) for sentence in find_domain_shift(store, model))


def test_unknown_pixel_size_causes_a_warning_only_if_training_scales_differ(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", discs(9), channels=["DAPI"])
    alike, apart = (
        {"scale": {"method": "pixel_size", "typical": 1.0, "range": ends}} for ends in ([1.0, 1.0], [0.5, 2.0])
    )
    assert find_domain_shift(store, model | alike) == []
    (sentence,) = find_domain_shift(store, model | apart)
    assert sentence.startswith("a: its pixel size is unknown, and the training images were magnified 0.5 to 2")
    assert find_domain_shift(store, model | apart, object_diameter_px=12.0) == []


def test_intensities_are_compared_in_the_contrast_limits_of_the_model(tmp_path, model):
    plane = discs(9)
    low, high = np.percentile(plane, (1, 99.8))
    dim = (plane - low) * 0.3 + low
    store = write(tmp_path / "a.ome.zarr", dim.astype(np.float32), channels=["DAPI"])
    fixed = {"normalization": {"method": "fixed", "contrast_limits": [[float(low), float(high)]]}}
    assert not any("percentile" in sentence for sentence in find_domain_shift(store, model))
    least, greatest = ([[0.3]] * 3, [[0.9]] * 3)
    mark = model["fingerprint"] | {"least": least, "greatest": greatest}
    assert any("percentile" in sentence for sentence in find_domain_shift(store, model | fixed | {"fingerprint": mark}))


def test_image_is_compared_at_the_scale_of_the_network(tmp_path, model):
    plane = cv2.resize(discs(9).astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA)
    store = write(tmp_path / "a.ome.zarr", plane, channels=["DAPI"], pixel_size_um=(None, 1.0, 1.0))
    at_its_own_size = write(tmp_path / "b.ome.zarr", plane, channels=["DAPI"])
    assert any("texture" in sentence for sentence in find_domain_shift(at_its_own_size, model))
    assert not any("percentile" in sentence for sentence in find_domain_shift(store, model))


def test_channels_matched_by_order_cause_a_warning(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", discs(9), channels=["GFP"])
    (sentence,) = find_domain_shift(store, model)
    assert sentence.startswith("a: its channels (GFP) are matched by order to the model's channels (DAPI)")


def test_another_number_of_channels_is_refused(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", np.stack([discs(9)] * 2), channels=["DAPI", "GFP"])
    with pytest.raises(InputError, match="has 2 channels"):
        find_domain_shift(store, model)


def test_content_is_not_compared_without_a_fingerprint(tmp_path, model):
    store = write(tmp_path / "a.ome.zarr", np.full((64, 64), 7, np.uint16), channels=["DAPI"])
    assert find_domain_shift(store, model | {"fingerprint": None}) == []


@pytest.mark.parametrize(
    "damage",
    [{"textures": []}, {"textures": [[0.0] * 12]}, {"spread": [0.0] * 13}, {"patch_size_px": 10**9}, {"least": "x"}],
)
def test_a_damaged_fingerprint_is_refused(tmp_path, model, damage):
    store = write(tmp_path / "a.ome.zarr", discs(9), channels=["DAPI"])
    with pytest.raises(InputError, match="fingerprint is damaged"):
        find_domain_shift(store, model | {"fingerprint": model["fingerprint"] | damage})


def test_objects_beyond_half_or_twice_the_diameter_cause_a_warning(model):
    area = np.pi / 4 * 12.0**2
    assert check_object_diameter("a", area, model) == []
    assert check_object_diameter("a", 3.9 * area, model) == []
    (sentence,) = check_object_diameter("a", 9 * area, model)
    assert sentence.startswith(
        "a: the objects found are 36 px wide, but objects of the training would be 12 px wide here (3 times)"
    )
    assert check_object_diameter("a", 9 * area, model, scale=1 / 3) == []
    assert check_object_diameter("a", None, model) == []


def test_fingerprint_size_is_limited_for_many_patches():
    fingerprint = compute_fingerprint(np.random.default_rng(0).random((200, 32, 32, 1), np.float32))
    assert len(fingerprint["textures"]) == MAX_TEXTURES


@pytest.mark.slow
def test_phase_contrast_differs_from_nuclei_and_other_nuclei_do_not(real_data, tmp_path):
    """Fluorescent nuclei of many microscopes train; others of them fit but for a few, phase contrast never does."""
    files = sorted((real_data / "nuclei-dsb2018" / "stage1_train").glob("*/images/*.png"))
    planes = [plane for plane in map(read_gray, files) if min(plane.shape) >= 256 and np.median(plane) < 100]
    fingerprint = compute_fingerprint(patches_of([plane[:256, :256] for plane in planes[::2]]))
    settings = {"channels": ["gray"], "fingerprint": fingerprint}
    others = [write(tmp_path / f"{n}.ome.zarr", plane, channels=["gray"]) for n, plane in enumerate(planes[1::2])]
    assert np.mean([bool(find_domain_shift(store, settings)) for store in others]) <= 0.2
    phase = sorted((real_data / "phase-usiigaci").glob("set*/raw.tif"))
    stores = [write(tmp_path / f"{path.parent.name}.ome.zarr", read_gray(path), channels=["gray"]) for path in phase]
    assert stores
    assert all(find_domain_shift(store, settings) for store in stores)


def read_gray(path):
    """The picture at `path` as gray values (y, x)."""
    return cv2.imread(os.fspath(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
