"""Networks: the environment they need, their shapes and weights, and folders that cannot be used."""

import json
import subprocess
import sys

import numpy as np
import pytest

from helpers.repository import REPOSITORY
from tessera.common.constants import MODEL_FORMAT
from tessera.common.errors import InputError
from tessera.networks.architectures import (
    ARCHITECTURES,
    _pool,
    bottleneck,
    create_backbone,
    decoder_levels,
    encoder_layers,
)
from tessera.networks.build import build_network, load_network
from tessera.networks.tensorflow_setup import keras, tf

SETTINGS = {
    "format": MODEL_FORMAT,
    "task": "instances",
    "architecture": "Linknet",
    "backbone": "resnet18",
    "channels": ["grey"],
    "outputs": ["background", "interior", "boundary"],
    "normalization": {"method": "percentile", "low": 1, "high": 99.8},
}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return build_network("Linknet", "resnet18", channels=1, outputs=3)


@pytest.fixture
def folder(tmp_path, network):
    (tmp_path / "model.json").write_text(json.dumps(SETTINGS))
    network.save_weights(tmp_path / "model.weights.h5")
    return tmp_path


def run_bare(code, **variables):
    path = str(REPOSITORY / "workflow" / "scripts")
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{code}"],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_networks_are_built_with_keras_2_whatever_the_environment_says():
    code = (
        "from tessera.networks.devices import choose_device\n"
        "from tessera.networks.build import build_network\n"
        "choose_device('cpu')\n"
        "print(type(build_network('Linknet', 'resnet18', channels=1, outputs=2)).__module__)"
    )
    run = run_bare(code, TF_USE_LEGACY_KERAS="0", SM_FRAMEWORK="keras")
    assert run.stdout.startswith("tf_keras."), run.stderr
    assert run.stderr == ""


@pytest.mark.slow
def test_tensorflow_with_keras_3_is_refused():
    run = run_bare("import tensorflow\ntensorflow.keras.layers\nimport tessera.networks.tensorflow_setup")
    assert run.returncode == 1
    assert "import tessera.networks.tensorflow_setup first" in run.stderr


def backbone_of(architecture):
    return None if architecture == "PlainUnet" else "resnet18"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 5])
def test_architecture_accepts_any_channels_and_any_multiple_of_32(architecture, channels):
    model = build_network(architecture, backbone_of(architecture), channels=channels, outputs=4)
    for shape in ((1, 32, 32), (2, 64, 96)):
        probabilities = model(np.zeros((*shape, channels), "float32"), training=False).numpy()
        assert probabilities.shape == (*shape, 4)
        assert probabilities.sum(-1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("architecture", ["Linknet", "PlainUnet"])
def test_batch_normalization_follows_short_trainings(architecture):
    network = build_network(architecture, backbone_of(architecture), channels=1, outputs=2)
    momenta = {layer.momentum for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.9}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_probabilities_are_float32_in_any_precision(architecture):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = build_network(architecture, backbone_of(architecture), channels=1, outputs=3)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    probabilities = network(np.random.default_rng(0).random((1, 64, 64, 1), "float32"), training=False)
    assert probabilities.dtype == tf.float32
    assert probabilities.numpy().sum(-1) == pytest.approx(1, abs=1e-5)  # in bfloat16 sums miss 1 by up to 1e-2
    assert network.layers[1].compute_dtype == "bfloat16"


def test_plain_unet_has_the_layers_and_parameters_of_the_paper():
    # By hand, width 64 and depth 4, of one channel to two classes. Convolutions of 3 x 3 without bias, the two of each
    # level down (64, 128, 256, 512, 1024) and up, whose first takes twice as much:
    down = 9 * (1 * 64 + 64 * 64 + 64 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2 + 512 * 1024 + 1024**2)
    up = 9 * sum(2 * filters * filters + filters**2 for filters in (512, 256, 128, 64))
    enlarge = sum(4 * 2 * filters * filters + filters for filters in (512, 256, 128, 64))
    normalize = 4 * 2 * (64 + 128 + 256 + 512 + 1024 + 512 + 256 + 128 + 64)
    network = build_network("PlainUnet", None, channels=1, outputs=2, width=64)
    assert network.count_params() == down + up + enlarge + normalize + 64 * 2 + 2
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.count("Conv2D") + kinds.count("Conv2DTranspose") == 23  # as the paper counts


def test_plain_unet_has_the_given_width_and_depth():
    network = build_network("PlainUnet", None, channels=2, outputs=3, width=6, depth=2)
    assert bottleneck(network, "PlainUnet").shape[-1] == 24
    assert network.get_layer("encoder_stage0a_conv").filters == 6
    usual = build_network("PlainUnet", None, channels=2, outputs=3)
    assert bottleneck(usual, "PlainUnet").shape[-1] == 32 * 2**4
    deepest = build_network("PlainUnet", None, channels=1, outputs=2, width=1, depth=5)
    assert deepest(np.zeros((1, 32, 32, 1), "float32")).shape == (1, 32, 32, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "PlainUnet", "backbone": "resnet18"}, "backbone: PlainUnet has none, but it is resnet18"),
        (
            {"architecture": "PlainUnet", "backbone": None, "depth": 6},
            "depth: 6 downsamplings are not possible; set 1 to 5",
        ),
        ({"architecture": "PlainUnet", "backbone": None, "depth": 0}, "depth: 0 downsamplings"),
        ({"architecture": "PlainUnet", "backbone": None, "width": 0}, "width: 0 filters"),
        ({"architecture": "Unet", "backbone": "resnet18", "width": 32}, "are only for PlainUnet, .* is Unet"),
        ({"architecture": "PSPNet", "backbone": "resnet18", "depth": 4}, "are only for PlainUnet, .* is PSPNet"),
        ({"architecture": "Unet", "backbone": None}, "backbone: None is unknown"),
    ],
)
def test_settings_of_another_architecture_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        build_network(**settings, channels=1, outputs=2)


@pytest.mark.parametrize(
    ("architecture", "strides"),
    [
        ("Unet", [2, 4, 8, 16]),
        ("FPN", [2, 4, 8, 16]),
        ("Linknet", [2, 4, 8, 16]),
        ("PSPNet", [8]),
        ("PlainUnet", [2, 4, 8]),
    ],
)
def test_decoder_levels_are_finest_first_without_the_level_of_the_head(architecture, strides):
    backbone = backbone_of(architecture)
    network = build_network(architecture, backbone, channels=1, outputs=2)
    levels = decoder_levels(network, architecture)
    answers = keras.Model(network.inputs, [*levels, network.output])(np.zeros((1, 96, 96, 1), "float32"))
    assert [answer.shape[1] for answer in answers] == [*(96 // stride for stride in strides), 96]
    if architecture != "PSPNet":
        encoder = {layer.name for layer in encoder_layers(network, architecture, backbone)}
        assert not {level.node.layer.name for level in levels} & encoder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encoder_layers_are_those_of_the_backbone(architecture):
    backbone = backbone_of(architecture)
    network = build_network(architecture, backbone, channels=2, outputs=3)
    layers = encoder_layers(network, architecture, backbone)
    if architecture == "PlainUnet":
        assert layers == []
        return
    own = list(create_backbone(backbone, 2).layers)
    if architecture == "PSPNet":  # uses it up to stride 8
        own = own[: [layer.name for layer in own].index("stage3_unit1_relu1") + 1]
    assert [type(layer) for layer in layers] == [type(layer) for layer in own]
    assert [w.shape for layer in layers for w in layer.weights] == [w.shape for layer in own for w in layer.weights]


def test_pyramid_pooling_averages_equal_parts_of_any_size():
    pixels = np.random.default_rng(0).random((2, 12, 6, 3)).astype("float32")
    assert _pool(pixels, 3).numpy() == pytest.approx(pixels.reshape(2, 3, 4, 3, 2, 3).mean((2, 4)), abs=1e-6)
    line = np.array([1.0, 2.0, 3.0, 4.0], "float32").reshape(1, 4, 1, 1)
    # Thirds of four pixels: 1 and a third of 2, two thirds of 2 and of 3, ...
    assert _pool(line, 3).numpy()[0, :, 0, 0] == pytest.approx([(1 + 2 / 3) * 3 / 4, 2.5, (4 + 3 / 3) * 3 / 4])


@pytest.mark.parametrize(("architecture", "backbone"), [("Vnet", "resnet18"), ("Unet", "resnet19")])
def test_unknown_name_is_refused_with_the_known_names(architecture, backbone):
    with pytest.raises(InputError, match=r"is unknown; choose from .*(FPN|resnet34)"):
        build_network(architecture, backbone, channels=1, outputs=2)


def test_loaded_network_predicts_like_the_saved_one(folder, network):
    tiles = np.random.default_rng(0).random((3, 64, 32, 1)).astype("float32")
    probabilities = load_network(folder)(tiles, training=False).numpy()
    assert probabilities.dtype == np.float32
    assert probabilities == pytest.approx(network(tiles, training=False).numpy(), abs=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_network_loaded_in_lower_precision_keeps_its_float32_weights(folder, network, precision):
    loaded = load_network(folder, precision)
    assert loaded.get_layer("conv0").compute_dtype == precision
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), network.get_weights(), strict=True))
    assert keras.mixed_precision.global_policy().name == "float32"
    assert load_network(folder).get_layer("conv0").compute_dtype == "float32"


def test_invalid_model_folder_is_refused_with_the_faulty_file(folder):
    def refusal(**changes):
        (folder / "model.json").write_text(json.dumps(SETTINGS | changes))
        with pytest.raises(InputError) as caught:
            load_network(folder)
        return str(caught.value)

    assert "tessera-model/1" in refusal(format="other")
    assert "channels" in refusal(channels=[])
    assert "outputs" in refusal(outputs="cell")
    assert "Vnet is unknown" in refusal(architecture="Vnet")
    assert keras.mixed_precision.global_policy().name == "float32"
    assert "model.weights.h5" in refusal(backbone="resnet34")
    assert "model.weights.h5" in refusal(channels=["red", "green"])
    (folder / "model.weights.h5").write_bytes(b"no weights")
    assert "model.weights.h5" in refusal()
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json: is not JSON"):
        load_network(folder)
    with pytest.raises(InputError, match=r"model\.json: cannot be read"):
        load_network(folder / "nowhere")
