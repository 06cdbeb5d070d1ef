"""The selected model is explained by its validation patches, or the reason is told why not."""

import json

import numpy as np
import pytest
import zarr
from PIL import Image
from sklearn.calibration import calibration_curve

from explain import explain, rank
from tessera.common.constants import FORMAT, IGNORE, WEIGHTS
from tessera.common.errors import InputError
from tessera.networks.build import build_network
from tessera.networks.model_folder import write_validation_patches
from tessera.networks.tensorflow_setup import keras

OUTPUTS = ["background", "mother", "daughter"]
ABOUT = {
    "format": FORMAT,
    "task": "semantic",
    "architecture": "PlainUnet",
    "backbone": None,
    "width": 4,
    "depth": 2,
    "channels": ["grey"],
    "outputs": OUTPUTS,
    "normalization": {"method": "percentile"},
}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    network = build_network("PlainUnet", None, channels=1, outputs=3, width=4, depth=2)
    # Random weights answer nearly the same everywhere; these make what the network is sure of vary.
    last = network.layers[-2]
    last.set_weights([20 * weight for weight in last.get_weights()])
    return network


def draw_patches(number=6):
    """Normalised pixels (n, y, x, 1) and targets (n, y, x); the first shows no object, in none is all known."""
    rng = np.random.default_rng(0)
    pixels = rng.random((number, 32, 32, 1), dtype=np.float32)
    targets = rng.integers(0, 3, size=(number, 32, 32)).astype(np.uint8)
    targets[0] = 0
    targets[:, :4] = IGNORE
    return pixels, targets


@pytest.fixture
def project(tmp_path, network):
    """A selected model of fold1, and its patches."""
    model = tmp_path / "models" / "fold1"
    model.mkdir(parents=True)
    (model / "model.json").write_text(json.dumps(ABOUT))
    network.save_weights(model / WEIGHTS)
    group = zarr.create_group(tmp_path / "patches" / "fold1" / "val.zarr", zarr_format=3)
    for name, array in zip(("image", "target"), draw_patches(), strict=True):
        group.create_array(name, data=array, chunks=(1, *array.shape[1:]))
    (tmp_path / "selected.json").write_text(json.dumps({"model": "fold1", "members": ["fold1"]}))
    return tmp_path


def explained(project, *, existing=False, **settings):
    patches, folds = ([], {}) if existing else ([project / "patches" / "fold1"], {"fold1": "fold1"})
    settings = {"n_examples": 2, "layers": "auto", "device": "cpu"} | settings
    places = project / "selected.json", [project / "models" / "fold1"], patches, project / "explanation"
    explain(*places, folds=folds, **settings)
    return json.loads((project / "explanation" / "explanation.json").read_text())


def test_best_and_worst_patches_are_pictured_and_those_without_objects_passed_over(project):
    (project / ".explanation.part").mkdir()
    (project / ".explanation.part" / "left.png").write_text("of a job that was killed")
    found = explained(project)
    assert found["left_out"] is None
    assert [(image["kind"], image["rank"]) for image in found["images"]] == [
        ("best", 1), ("best", 2), ("worst", 1), ("worst", 2),
    ]  # fmt: skip
    best, second, worst, last = (image["iou"] for image in found["images"])
    assert best >= second >= last >= worst
    assert 0 not in [image["patch"] for image in found["images"]]
    folder = project / "explanation"
    names = {name for image in found["images"] for name in (image["picture"], image["layers"])}
    assert {path.name for path in folder.iterdir()} == names | {"explanation.json"}
    for name in names:
        with Image.open(folder / name) as picture:
            assert np.ptp(np.asarray(picture)) > 200
    assert {layer["stride"] for layer in found["layers"]} == {1, 2, 4}


def test_probabilities_are_checked_over_all_known_pixels_of_all_patches(project, network):
    found = explained(project, n_examples=1)
    pixels, targets = draw_patches()
    probabilities, known = network.predict(pixels, verbose=0), targets != IGNORE
    curves = found["calibration"]["outputs"]
    for number, name in enumerate(OUTPUTS):
        said, right = probabilities[known][:, number], targets[known] == number
        shares, means = calibration_curve(right, said, n_bins=10)
        assert [share for share in curves[name]["right"] if share is not None] == pytest.approx(shares.tolist())
        assert [mean for mean in curves[name]["said"] if mean is not None] == pytest.approx(means.tolist(), abs=1e-5)
    assert sum(found["calibration"]["top"]["pixels"]) == known.sum()
    assert found["patches"] == found["all_patches"] == 6


def test_a_layer_can_be_named_and_one_that_is_not_there_is_refused(project):
    found = explained(project, n_examples=1, layers=["encoder_stage1a_relu"])
    assert [(layer["name"], layer["stride"]) for layer in found["layers"]] == [("encoder_stage1a_relu", 2)]
    with pytest.raises(InputError, match=r"explain\.layers: the network has no layer relu_9 with maps"):
        explained(project, layers=["relu_9"])


def test_an_existing_model_is_explained_by_the_patches_that_it_keeps(project):
    write_validation_patches(project / "models" / "fold1", *draw_patches(3))
    found = explained(project, existing=True, n_examples=1)
    assert found["all_patches"] == 3
    assert [image["kind"] for image in found["images"]] == ["best", "worst"]


def test_an_existing_model_without_patches_or_weights_is_left_out_with_the_reason(project):
    assert explained(project, existing=True) == {
        "model": "fold1",
        "left_out": "the model's folder keeps no validation patches to explain",
    }
    (project / "models" / "fold1" / WEIGHTS).unlink()
    assert f"lacks {WEIGHTS}" in explained(project, existing=True)["left_out"]
    assert [path.name for path in (project / "explanation").iterdir()] == ["explanation.json"]


def test_no_images_no_explanation(project):
    assert explained(project, n_examples=0)["left_out"] == "explain.n_examples is 0"


def test_no_patch_is_among_the_best_and_the_worst():
    kinds = {"best": [], "worst": []}
    for image in rank({4: 0.2, 5: 0.9, 6: 0.5}, 2):
        kinds[image["kind"]].append(image["patch"])
    assert kinds == {"best": [5, 6], "worst": [4]}
    assert rank({}, 2) == []
