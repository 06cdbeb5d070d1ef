"""Engines: that they answer alike, and refuse what they cannot run."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers.repository import REPOSITORY
from tessera.common.constants import MODEL_FORMAT, MODEL_JSON, SAVED_MODEL_FOLDER, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.inference import backends as engines
from tessera.inference.backends import (
    OpenVINOEngine,
    TensorFlowEngine,
    choose_engine,
    convert,
    is_installed,
    load_engine,
    reduced_precision,
)
from tessera.networks.architectures import ARCHITECTURES
from tessera.networks.build import build_network
from tessera.networks.model_folder import read_model_card
from tessera.networks.tensorflow_setup import keras, tf

ABOUT = {
    "format": MODEL_FORMAT,
    "task": "instances",
    "architecture": "Unet",
    "backbone": "resnet18",
    "channels": ["red", "green"],
    "outputs": ["background", "interior", "boundary"],
    "normalization": {"method": "percentile"},
}
NO_GPU = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    network = build_network("Unet", "resnet18", channels=2, outputs=3)
    # Random weights answer nearly the same everywhere; these make what the network is sure of vary.
    last = network.layers[-2]
    last.set_weights([20 * weight for weight in last.get_weights()])
    return network


@pytest.fixture(scope="module")
def model(tmp_path_factory, network):
    folder = tmp_path_factory.mktemp("models") / "wide"
    folder.mkdir()
    (folder / MODEL_JSON).write_text(json.dumps(ABOUT))
    network.save_weights(folder / WEIGHTS_H5)
    network.export(folder / SAVED_MODEL_FOLDER)
    return folder


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).random((2, 64, 96, 2), dtype=np.float32)


@pytest.fixture(scope="module")
def expected(network, pixels):
    """What engines are to answer, by Keras alone."""
    answer = np.rint(255 * network(pixels, training=False).numpy()).transpose(0, 3, 1, 2)
    assert answer.std() > 10
    return answer.astype(int)


@pytest.fixture
def foreign(model, tmp_path):
    """A model of others: a SavedModel and a model.json that does not say how the network was built."""
    shutil.copytree(model / SAVED_MODEL_FOLDER, tmp_path / "foreign" / SAVED_MODEL_FOLDER)
    description = {key: value for key, value in ABOUT.items() if key not in ("architecture", "backbone")}
    (tmp_path / "foreign" / MODEL_JSON).write_text(json.dumps(description))
    return tmp_path / "foreign"


def load(engine, folder, **options):
    return load_engine(engine, "cpu", read_model_card(folder), folder, threads=2, **options)


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_engine_gives_the_rounded_probabilities_of_keras_for_any_number_and_size_of_tiles(
    engine, model, pixels, expected
):
    loaded = load(engine, model)
    assert (loaded.name, loaded.device, loaded.precision) == (engine, "cpu", "float32")
    answer = loaded.predict(pixels)
    assert answer.dtype == np.uint8
    assert answer.shape == (2, 3, 64, 96)
    assert np.abs(answer - expected).max() <= 1
    assert loaded.predict(pixels[:1, :32, :64]).shape == (1, 3, 32, 64)
    assert np.abs(loaded.predict(pixels[1:]) - expected[1:]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_openvino_gives_the_probabilities_of_keras_for_every_architecture(architecture, tmp_path):
    keras.utils.set_random_seed(0)
    backbone = None if architecture == "PlainUnet" else "resnet18"
    network = build_network(architecture, backbone, channels=2, outputs=3)
    network.export(tmp_path / SAVED_MODEL_FOLDER)
    engine = OpenVINOEngine(ABOUT, tmp_path / SAVED_MODEL_FOLDER, threads=2)
    for shape in ((1, 64, 64, 2), (2, 96, 160, 2)):
        pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
        expected = np.rint(255 * network(pixels, training=False).numpy()).transpose(0, 3, 1, 2)
        assert np.abs(engine.predict(pixels) - expected).max() <= 1


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_bfloat16_is_near_float32(engine, model, pixels, expected):
    quick = load(engine, model, precision="bfloat16")
    assert quick.precision == "bfloat16"
    difference = np.abs(quick.predict(pixels) - expected)
    assert difference.mean() < 8
    # How single pixels are rounded depends on the processor; the weights were made twenty times as steep.
    assert np.quantile(difference, 0.999) < 64


def test_converted_model_needs_no_saved_model(model, pixels, expected, tmp_path):
    convert(model, tmp_path / "wide.xml")
    bare = tmp_path / "wide"
    bare.mkdir()
    shutil.copy(model / MODEL_JSON, bare)
    answer = load("openvino", bare, converted=tmp_path).predict(pixels)
    assert np.abs(answer - expected).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ["grey"]}, "model.json has 1 channels and 3 outputs"),
        ({"outputs": ["background", "cell"]}, "model.json has 2 channels and 2 outputs"),
    ],
)
def test_saved_model_with_other_channels_or_outputs_than_its_model_json_is_refused(foreign, change, message):
    (foreign / MODEL_JSON).write_text(json.dumps(ABOUT | change))
    with pytest.raises(InputError, match=rf"{SAVED_MODEL_FOLDER}: has input and output .* {message}"):
        load("openvino", foreign)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (keras.layers.Conv2D(3, 1, name="last"), "its outputs sum to"),
        (
            keras.layers.Conv2D(3, 1, strides=2, activation="softmax", name="last"),
            r"64 x 64 pixels give 32 x 32 outputs",
        ),
    ],
)
def test_model_without_a_probability_for_each_pixel_is_refused(tmp_path, last, message):
    keras.utils.set_random_seed(0)  # weights drawn otherwise may happen to give probabilities
    image = keras.Input((None, None, 2))
    keras.Model(image, last(keras.layers.Conv2D(4, 3, padding="same", bias_initializer="ones")(image))).export(tmp_path)
    with pytest.raises(InputError, match=message):
        OpenVINOEngine(ABOUT, tmp_path)


def test_foreign_saved_model_runs_in_openvino_and_is_refused_by_tensorflow(foreign, pixels, expected):
    answer = load("openvino", foreign).predict(pixels)
    assert np.abs(answer - expected).max() <= 1
    with pytest.raises(InputError, match=r"foreign: has no model\.weights\.h5"):
        load("tensorflow", foreign)


def test_weights_without_the_name_of_their_architecture_are_refused(foreign, model):
    shutil.copy(model / WEIGHTS_H5, foreign)
    with pytest.raises(InputError, match=r"model\.json: does not say its architecture and backbone"):
        load("tensorflow", foreign)


def test_damaged_model_is_refused_by_name(foreign, tmp_path):
    (foreign / SAVED_MODEL_FOLDER / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"saved_model: OpenVINO cannot read this model"):
        load("openvino", foreign)
    with pytest.raises(InputError, match="OpenVINO cannot read this model"):
        convert(tmp_path / "nowhere", tmp_path / "nowhere.xml")


LITTLE_MEMORY = """
import resource
import sys
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, sys.argv[1])
from tessera.inference.backends import OpenVINOEngine
from tessera.networks.model_folder import read_model_card

folder = Path(sys.argv[2])
engine = OpenVINOEngine(read_model_card(folder), folder / "saved_model", threads=2)
tile = np.random.default_rng(0).random((1, 64, 64, 2), dtype=np.float32)
answer = engine.predict(tile).copy()
limit = psutil.Process().memory_info().vms + 2**29
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    engine.predict(np.zeros((1, 4096, 4096, 2), np.float32))
except MemoryError as error:
    print(error)
assert np.array_equal(engine.predict(tile), answer)
print("going on")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_openvino_continues_after_a_tile_that_needs_too_much_memory(model):
    scripts = REPOSITORY / "workflow" / "scripts"
    run = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, scripts, model], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    said, last = run.stdout.splitlines()
    assert "allocate" in said
    assert last == "going on"


def test_precision_that_openvino_does_not_have_is_refused(model):
    with pytest.raises(InputError, match="openvino has no float16"):
        load("openvino", model, precision="float16")


def test_auto_engine_on_a_cpu_is_openvino_if_it_is_installed(monkeypatch):
    assert is_installed("openvino")
    assert choose_engine("auto", "cpu") == ("openvino", "cpu")
    assert choose_engine("openvino", "auto") == ("openvino", "cpu")
    assert choose_engine("tensorflow", "cpu") == ("tensorflow", "cpu")
    monkeypatch.setattr(engines, "is_installed", {"openvino": False, "tensorflow": True}.get)
    assert choose_engine("auto", "cpu") == ("tensorflow", "cpu")
    with pytest.raises(InputError, match="openvino is not installed"):
        choose_engine("openvino", "cpu")


@NO_GPU
def test_auto_engine_uses_the_cpu_if_a_sign_of_a_gpu_is_wrong(monkeypatch):
    monkeypatch.setattr(engines, "_may_have_gpu", lambda: True)
    assert choose_engine("auto", "auto") == ("openvino", "cpu")
    assert choose_engine("tensorflow", "auto") == ("tensorflow", "cpu")


def test_openvino_is_refused_on_a_gpu():
    with pytest.raises(InputError, match="openvino runs on the CPU only"):
        choose_engine("openvino", "gpu")


@NO_GPU
@pytest.mark.parametrize("engine", ["auto", "tensorflow"])
def test_missing_gpu_is_an_error_with_every_engine(engine):
    with pytest.raises(InputError, match="device: is gpu, but TensorFlow finds no GPU"):
        choose_engine(engine, "gpu")


def test_tensorflow_has_float16_on_a_gpu_and_no_reduced_precision_on_a_cpu():
    assert reduced_precision("tensorflow", "gpu") == "float16"
    assert reduced_precision("tensorflow", "cpu") is None
    assert reduced_precision("openvino", "cpu") in ("bfloat16", None)


def test_engines_have_the_names_of_the_setting():
    assert (OpenVINOEngine.name, OpenVINOEngine.device, TensorFlowEngine.name) == ("openvino", "cpu", "tensorflow")
