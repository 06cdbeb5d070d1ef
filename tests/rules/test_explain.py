"""The selected model is explained with its validation patches, or skipped with a reason."""

import json

import numpy as np
import pytest
import zarr
from PIL import Image
from sklearn.calibration import calibration_curve

from explain import explain
from tessera.common.constants import IGNORE, MODEL_FORMAT, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.evaluation.validation_patches import rank_patches
from tessera.networks.build import build_network
from tessera.networks.model_folder import write_validation_patches
from tessera.networks.tensorflow_setup import keras

OUTPUTS = ["background", "mother", "daughter"]
ABOUT = {
    "format": MODEL_FORMAT,
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
    # The outputs of random weights hardly vary; larger ones make probabilities vary.
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
    network.save_weights(model / WEIGHTS_H5)
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


def test_best_and_worst_patches_are_drawn_without_those_that_lack_objects(project):
    (project / ".explanation.part").mkdir()
    (project / ".explanation.part" / "left.png").write_text("of a job that was killed")
    explanation = explained(project)
    assert explanation["reason_skipped"] is None
    assert [(image["kind"], image["rank"]) for image in explanation["images"]] == [
        ("best", 1), ("best", 2), ("worst", 1), ("worst", 2),
    ]  # fmt: skip
    best, second, worst, last = (image["iou"] for image in explanation["images"])
    assert best >= second >= last >= worst
    assert 0 not in [image["patch"] for image in explanation["images"]]
    folder = project / "explanation"
    names = {name for image in explanation["images"] for name in (image["figure"], image["layers"])}
    assert {path.name for path in folder.iterdir()} == names | {"explanation.json"}
    for name in names:
        with Image.open(folder / name) as picture:
            assert np.ptp(np.asarray(picture)) > 200
    assert {layer["stride"] for layer in explanation["layers"]} == {1, 2, 4}


def test_calibration_covers_all_annotated_pixels_of_all_patches(project, network):
    explanation = explained(project, n_examples=1)
    pixels, targets = draw_patches()
    probabilities, known = network.predict(pixels, verbose=0), targets != IGNORE
    curves = explanation["calibration"]["outputs"]
    for number, name in enumerate(OUTPUTS):
        said, right = probabilities[known][:, number], targets[known] == number
        shares, means = calibration_curve(right, said, n_bins=10)
        assert [share for share in curves[name]["accuracy"] if share is not None] == pytest.approx(shares.tolist())
        assert [mean for mean in curves[name]["probability"] if mean is not None] == pytest.approx(
            means.tolist(), abs=1e-5
        )
    assert sum(explanation["calibration"]["top"]["pixels"]) == known.sum()
    assert explanation["n_patches"] == explanation["n_available"] == 6


def test_layers_are_chosen_by_name_and_unknown_layers_refused(project):
    explanation = explained(project, n_examples=1, layers=["encoder_stage1a_relu"])
    assert [(layer["name"], layer["stride"]) for layer in explanation["layers"]] == [("encoder_stage1a_relu", 2)]
    with pytest.raises(InputError, match=r"explain\.layers: the network has no layer relu_9 with feature maps"):
        explained(project, layers=["relu_9"])


def test_an_existing_model_is_explained_with_the_patches_in_its_folder(project):
    write_validation_patches(project / "models" / "fold1", *draw_patches(3))
    explanation = explained(project, existing=True, n_examples=1)
    assert explanation["n_available"] == 3
    assert [image["kind"] for image in explanation["images"]] == ["best", "worst"]


def test_an_existing_model_without_patches_or_weights_is_skipped_with_a_reason(project):
    assert explained(project, existing=True) == {
        "model": "fold1",
        "reason_skipped": "the model's folder has no validation patches",
    }
    (project / "models" / "fold1" / WEIGHTS_H5).unlink()
    assert f"lacks {WEIGHTS_H5}" in explained(project, existing=True)["reason_skipped"]
    assert [path.name for path in (project / "explanation").iterdir()] == ["explanation.json"]


def test_zero_examples_skip_the_explanation(project):
    assert explained(project, n_examples=0)["reason_skipped"] == "explain.n_examples is 0"


def test_no_patch_is_both_among_the_best_and_the_worst():
    kinds = {"best": [], "worst": []}
    for image in rank_patches({4: 0.2, 5: 0.9, 6: 0.5}, 2):
        kinds[image["kind"]].append(image["patch"])
    assert kinds == {"best": [5, 6], "worst": [4]}
    assert rank_patches({}, 2) == []
