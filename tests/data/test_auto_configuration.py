"""Settings that are left to the images are the same whichever of them validate, and suit what the images show."""

import numpy as np
import pytest

from helpers.annotated_batch import Batch, cells
from tessera.data.augmentation_presets import PRESETS
from tessera.data.auto_configuration import measure_background_and_color, resolve_auto_settings
from tessera.data.channels import align_channels
from tessera.data.normalization import ASINH, PERCENTILE
from tessera.settings.sections import AugmentSettings

AUTO = {"patch_size_px": "auto", "normalization": "auto", "rescale_by": "auto", "preset": "auto"}
AUTO |= {"target_pixel_size_um": None, "target_diameter_px": None, "transforms": None}


def paint(ids, kind):
    """Colors uint8 (t, c, z, y, x) of cells: bright on dark, or violet on white."""
    rng = np.random.default_rng(0)
    cell, ground = {"fluorescence": ([200] * 3, [12] * 3), "histology": ([120, 60, 150], [235, 225, 235])}[kind]
    pixels = np.where((ids > 0)[None], np.reshape(cell, (3, 1, 1)), np.reshape(ground, (3, 1, 1)))
    return (pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)[None, :, None]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    batch = Batch(tmp_path_factory.mktemp("kinds"))
    for number, kind in enumerate(["fluorescence"] * 3 + ["histology"]):
        ids, _ = cells(number)
        batch.add(f"image{number}", "train", paint(ids, kind), ids, channels=["red", "green", "blue"])
    opened = [batch.source(image) for image in batch.sides]
    align_channels(opened)
    return opened


def test_background_is_measured_outside_objects_and_color_inside(sources):
    background, spread = measure_background_and_color(sources[0])
    assert background < 0.1
    assert spread < 0.08
    background, spread = measure_background_and_color(sources[3])
    assert background > 0.8
    assert spread > 0.08


def test_images_of_several_kinds_get_the_mixed_preset(sources):
    _, transforms, report = resolve_auto_settings(sources, AugmentSettings(**AUTO))
    assert transforms == PRESETS["mixed"]
    assert [one["setting"] for one in report["plan"]] == [
        f"augment.{name}" for name in ("patch_size_px", "normalization", "rescale_by", "preset", "signal_variation")
    ]
    assert report["plan"][-2]["reason"] == "images are of several kinds: 3 like fluorescence, 1 like histology."
    assert report["normalization"] == PERCENTILE


def test_fluorescence_is_normalized_by_frame(sources):
    _, transforms, report = resolve_auto_settings(sources[:3], AugmentSettings(**AUTO))
    assert transforms == PRESETS["fluorescence"]
    assert (report["normalization"], report["signal_variation"]) == (ASINH, 0.5)
    assert all(source.ranges.is_compressed for source in sources[:3])


def test_auto_settings_do_not_depend_on_the_order_of_images(sources):
    fixed = AUTO | {"normalization": "fixed", "rescale_by": "object_diameter"}
    plans = [resolve_auto_settings(some, AugmentSettings(**fixed)) for some in (sources, sources[2:] + sources[:2])]
    assert plans[0] == plans[1]
    assert plans[0][2]["normalization"]["method"] == "fixed"


def test_explicit_settings_are_not_changed(sources):
    own = [{"name": "D4", "p": 1.0}]
    fixed = AUTO | {"patch_size_px": 128, "rescale_by": "none", "normalization": "percentile", "transforms": own}
    patch_size_px, transforms, report = resolve_auto_settings(sources, AugmentSettings(**fixed))
    assert (patch_size_px, transforms, report["scale"]["method"]) == (128, own, "none")
    assert {one["reason"] for one in report["plan"]} == {"as set.", "the preset of transforms is not fluorescence."}
    assert report["signal_variation"] == 0
