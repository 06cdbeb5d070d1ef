"""Images that belong together by the table get one diameter, whatever their batches."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tessera.inference.common_diameters import (
    EstimateMemory,
    GroupedImage,
    estimate_sets,
    find_sets,
    read_common_diameters,
    write_common_diameters,
)
from tessera.inference.diameter_estimation import DiameterEstimate
from tessera.inference.ensemble import Ensemble
from tessera.io.ome_zarr_store import create_store, finish_image
from tessera.settings.sections import PredictSettings


class Blind:
    """Not a network, but what one does: it sees no objects, and its model knows no diameter."""

    name, device, precision = "blind", "cpu", "float32"
    settings = {"channels": ["0"], "outputs": ["background", "interior", "boundary"]}  # noqa: RUF012


def write_image(folder, name, shape=(40, 40), dtype=np.uint8, group="g", **metadata):
    path = folder / f"{name}.ome.zarr"
    create_store(path, (1, 1, 1, *shape), dtype)
    finish_image(path, name=name, **metadata)
    return GroupedImage(name, path, group)


def test_images_belong_together_by_group_size_type_and_pixel_size(tmp_path):
    size = {"pixel_size_um": (None, 0.5, 0.5)}
    images = [
        write_image(tmp_path, "a"),
        write_image(tmp_path, "b"),
        write_image(tmp_path, "larger", (40, 50)),
        write_image(tmp_path, "deeper", dtype=np.uint16),
        write_image(tmp_path, "elsewhere", group="h"),
        write_image(tmp_path, "finer1", **size),
        write_image(tmp_path, "finer2", **size),
    ]
    names = [[image.name for image in members] for members in find_sets(images)]
    assert names == [["a", "b"], ["finer1", "finer2"]]
    assert [[image.name for image in members] for members in find_sets(images[::-1])] == names


def test_an_estimate_of_the_same_images_is_not_made_again(tmp_path):
    images = [write_image(tmp_path, name) for name in "ab"]
    loaded = []

    def load():
        loaded.append(1)
        return Ensemble([Blind()])

    def estimate(**pixels):
        memory = EstimateMemory(tmp_path / "memory.json", "model", {"a": "1", "b": "1"} | pixels)
        sets = estimate_sets(images, load, PredictSettings(), memory)
        memory.save()
        return sets

    first = estimate()
    assert (first[0].images, sorted(first[0].sampled), first[0].diameter_px) == (["a", "b"], ["a", "b"], None)
    assert estimate() == first
    assert len(loaded) == 1
    estimate(b="2")
    assert len(loaded) == 2


def test_the_file_of_diameters_is_read_as_it_was_written(tmp_path):
    images = [write_image(tmp_path, name) for name in "ab"]
    memory = EstimateMemory(tmp_path / "memory.json", "model", {"a": "1", "b": "1"})
    (found,) = estimate_sets(images, lambda: Ensemble([Blind()]), PredictSettings(), memory)
    write_common_diameters(tmp_path / "scales.json", [replace(found, diameter_px=19.19, other_px=40.0)])
    assert read_common_diameters(tmp_path / "scales.json") == dict.fromkeys("ab", DiameterEstimate(19.19, 40.0))
    assert json.loads((tmp_path / "scales.json").read_text())["sets"][0]["diameter_px"] == pytest.approx(19.19)
