"""The size of the objects in an image is found from the image itself, at whatever magnification it was taken."""

import json
import math

import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.data.dataset_fingerprint import compute_fingerprint
from tessera.data.normalization import IntensityRanges, normalize
from tessera.inference.diameter_estimation import (
    DiameterEstimate,
    SampledImage,
    contradicts,
    estimate_diameter,
    round_diameter,
)
from tessera.inference.ensemble import Ensemble
from tessera.inference.network_view import NetworkView
from tessera.inference.predict_image import ImagePredictor
from tessera.inference.prediction_plan import PredictionPlan
from tessera.inference.tiling import TilePlan
from tessera.io.ome_zarr_store import create_store, finish_image, read_metadata
from tessera.settings.sections import PredictSettings

PATCH_PX, DIAMETER_PX = 128, 20.0


def discs(seed, zoom=1.0, size_px=512, count=100):
    """Bright discs that do not touch, DIAMETER_PX * zoom wide, on dark ground with fine noise: uint16 (y, x)."""
    rng = np.random.default_rng(seed)
    plane = np.zeros((size_px, size_px), np.float32)
    placed = []
    while len(placed) < count:
        place = rng.uniform(15, size_px - 15, 2)
        if all(np.hypot(*(place - other)) > 24 for other in placed):
            placed.append(place)
            cv2.circle(plane, np.rint(place).astype(int).tolist(), rng.integers(9, 12), rng.uniform(0.6, 1), -1)
    plane = cv2.GaussianBlur(plane, (0, 0), 1.5)
    side = round(size_px * zoom)
    plane = cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    return (1000 + 8000 * np.clip(plane + 0.02 * rng.normal(size=plane.shape), 0, None)).astype(np.uint16)


class Sees:
    """Not a network, but what one does: what is bright is cell, and `blind` sees none."""

    name, device, precision = "sees", "cpu", "float32"

    def __init__(self, blind=False, method="object_diameter", **settings):
        patches = [
            normalize(discs(seed)[y : y + PATCH_PX, x : x + PATCH_PX, None], [(1000, 9000)])
            for seed in range(3)
            for y in range(0, 512, PATCH_PX)
            for x in range(0, 512, PATCH_PX)
        ]
        mark = json.loads(json.dumps(compute_fingerprint(np.array(patches, np.float32))))
        self.settings = {"channels": ["0"], "outputs": list(INSTANCE_OUTPUTS), "diameter_px": DIAMETER_PX}
        self.settings |= {
            "fingerprint": mark,
            "scale": {"method": method, "typical": 1.0, "range": [1.0, 1.0]},
        } | settings
        self._blind = blind

    def predict(self, tiles):
        cells = (tiles[..., 0] > 0.3) & (not self._blind)
        inside = np.stack([binary_erosion(plane, iterations=2) for plane in cells])
        return 255 * np.stack([~cells, inside, cells & ~inside], axis=1).astype(np.uint8)


VIEW = NetworkView([0], IntensityRanges([[(1000, 9000)]]))


def write_plane(path, plane):
    store = create_store(path, (1, 1, 1, *plane.shape), plane.dtype)
    store[0, 0, 0] = plane
    finish_image(path, name="a")
    return SampledImage(path, VIEW)


def found(tmp_path, zoom, engine):
    image = write_plane(tmp_path / f"{zoom}.ome.zarr", discs(7, zoom))
    return estimate_diameter([image], Ensemble([engine])).diameter_px


@pytest.mark.parametrize("zoom", [0.4, 0.7, 1.0, 1.7, 3.5])
def test_the_diameter_is_found_at_any_magnification(tmp_path, zoom):
    assert found(tmp_path, zoom, Sees()) == pytest.approx(DIAMETER_PX * zoom, rel=0.12)


@pytest.mark.parametrize("zoom", [0.5, 1.0, 3.0])
def test_texture_alone_gives_a_rough_diameter(tmp_path, zoom):
    assert abs(np.log2(found(tmp_path, zoom, Sees(blind=True)) / (DIAMETER_PX * zoom))) <= 0.5


def test_a_network_of_several_sizes_only_rescales_images_that_do_not_fit(tmp_path):
    engine = Sees(method="none")
    assert found(tmp_path, 1.0, engine) is None
    assert found(tmp_path, 3.5, engine) == pytest.approx(DIAMETER_PX * 3.5, rel=0.12)


@pytest.mark.parametrize(
    "settings", [{"fingerprint": None}, {"diameter_px": None}, {"outputs": ["background", "cell"]}], ids=str
)
def test_a_model_without_fingerprint_or_diameter_leaves_images_as_they_are(tmp_path, settings):
    assert found(tmp_path, 3.5, Sees(**settings)) is None


def test_an_image_is_predicted_at_the_estimated_scale_which_the_store_keeps(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "a.ome.zarr"
    plane = discs(7, 2.0)
    create_store(path, (1, 1, 1, *plane.shape), plane.dtype)[0, 0, 0] = plane
    finish_image(path, name="a")
    for object_diameter_px, scale in (("auto", 0.5), (20, 1.0), (None, 1.0)):
        made = tmp_path / f"{object_diameter_px}.ome.zarr"
        settings = PredictSettings(object_diameter_px=object_diameter_px, seam_check_windows=0)
        plan = PredictionPlan(Ensemble([Sees()]), TilePlan(256, 32), settings, "model", workers=1)
        ImagePredictor(path, "a", plan).write(made, tmp_path / f"{object_diameter_px}")
        described = read_metadata(made).extra["prediction"]
        assert described["scale"] == pytest.approx(scale, rel=0.12)
        assert described["object_diameter_px"] == (
            object_diameter_px if object_diameter_px != "auto" else pytest.approx(40, rel=0.12)
        )
    assert "a: objects are about " in caplog.text


def test_an_empty_image_has_no_diameter(tmp_path):
    path = tmp_path / "empty.ome.zarr"
    create_store(path, (1, 1, 1, 200, 200), np.uint16)
    finish_image(path, name="empty")
    image = SampledImage(path, NetworkView([0], IntensityRanges([[(0, 1)]])))
    assert estimate_diameter([image], Ensemble([Sees()])) == DiameterEstimate()


def test_a_diameter_is_rounded_to_steps_of_ten_percent():
    assert round_diameter(1.1) == 1.1
    assert round_diameter(20) == round_diameter(19) == 19.19  # 1.1**31 = 19.19, 1.1**32 = 21.11
    assert round_diameter(100) / round_diameter(90) == pytest.approx(1.1, rel=1e-3)


def test_images_of_one_microscope_have_one_diameter_though_one_of_them_misleads(tmp_path):
    """In one of three images, blurred discs of twice the diameter hide the others."""
    images = [write_plane(tmp_path / f"{seed}.ome.zarr", discs(seed, 2.0)) for seed in (7, 8)]
    images.append(write_plane(tmp_path / "blurred.ome.zarr", discs(9, 4.0)[:1024, :1024]))
    together = estimate_diameter(images, Ensemble([Sees()]))
    assert together.diameter_px == pytest.approx(2 * DIAMETER_PX, rel=0.15)
    assert estimate_diameter(images[::-1], Ensemble([Sees()])) == together


def probabilities_of(diameter_px, count=16):
    """Return the probabilities (outputs, y, x) of a network for discs in a square grid."""
    side = math.isqrt(count)
    plane = np.zeros((side * 2 * diameter_px,) * 2, np.uint8)
    for y, x in np.ndindex(side, side):
        cv2.circle(plane, (diameter_px * (2 * x + 1), diameter_px * (2 * y + 1)), diameter_px // 2, 1, -1)
    inside = binary_erosion(plane, iterations=2)
    return 255 * np.stack([plane == 0, inside, (plane > 0) & ~inside]).astype(np.uint8)


@pytest.mark.parametrize(("expected_px", "count", "is_evidence"), [(20, 16, False), (32, 16, False), (45, 16, True),
                                                                   (8, 16, True), (45, 4, False)])  # fmt: skip
def test_objects_of_another_size_are_evidence_if_they_are_many(expected_px, count, is_evidence):
    assert contradicts(probabilities_of(20, count), expected_px) == is_evidence
