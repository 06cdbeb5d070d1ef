"""Class activation maps and feature maps are those computed by hand."""

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.evaluation.class_activation_maps import (
    Probe,
    choose_layers,
    last_level,
    list_layers,
    most_variable_channels,
)
from tessera.networks.architectures import bottleneck
from tessera.networks.build import build_network
from tessera.networks.tensorflow_setup import keras

BRIGHT_IS_CELL = [[[[0.0, 2.0], [3.0, -1.0]]]]  # (1, 1, channels, outputs)


@pytest.fixture(scope="module")
def plain():
    """A network whose maps can be worked out: features of half the size are means of pixels, and what lacks to 1."""
    layers, pixels = keras.layers, keras.Input((None, None, 1))
    halved = layers.AveragePooling2D(name="halved")(pixels)
    features = layers.Conv2D(2, 1, activation="relu", name="features")(halved)
    whole = layers.UpSampling2D(name="whole")(features)
    scores = layers.Conv2D(2, 1, use_bias=False, name="scores")(whole)
    network = keras.Model(pixels, layers.Activation("softmax")(scores))
    network.get_layer("features").set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 1.0])])
    network.get_layer("scores").set_weights([np.array(BRIGHT_IS_CELL)])
    return network


def test_class_activation_maps_are_those_computed_by_hand(plain):
    image = np.zeros((4, 4, 1), np.float32)
    image[:2, :2], image[2:, 2:] = 1, 0.5
    region = np.zeros((4, 4), bool)
    region[:2, :3] = True
    levels = [plain.get_layer("features").output, last_level(plain)]
    _, maps = Probe(plain, levels).inspect(image, {0: region, 1: region})
    # Features (2, 2): the means of the pixels, and what lacks to 1.
    mean, lack = np.array([[1, 0], [0, 0.5]]), np.array([[0, 1], [1, 0.5]])
    # Each of the 6 pixels of the region adds a class's weight to its gradient, the mean of which over 4 pixels counts.
    weight = 6 / 4
    np.testing.assert_allclose(maps[0][0], weight * 3 * lack)
    np.testing.assert_allclose(maps[1][0], weight * np.maximum(2 * mean - lack, 0))
    # At the full size it is the mean over 16, and features are magnified.
    weight = 6 / 16
    np.testing.assert_allclose(maps[1][1], weight * np.maximum(2 * mean - lack, 0).repeat(2, 0).repeat(2, 1))


def test_class_activation_maps_do_not_fade_where_the_network_is_certain(plain):
    image = np.full((4, 4, 1), 1000, np.float32)
    assert plain.predict(image[None], verbose=0)[0, 0, 0, 1] > 1 - 1e-6
    _, maps = Probe(plain, [last_level(plain)]).inspect(image, {1: np.ones((4, 4), bool)})
    np.testing.assert_allclose(maps[1][0], 2 * 1000)


def test_an_empty_region_has_an_empty_map(plain):
    image = np.ones((4, 4, 1), np.float32)
    _, maps = Probe(plain, [last_level(plain)]).inspect(image, {1: np.zeros((4, 4), bool)})
    assert (maps[1][0] == 0).all()


@pytest.mark.parametrize(
    ("architecture", "backbone", "encoder", "decoder"),
    [
        ("PlainUnet", None, [1, 2, 4], [2, 1]),
        ("Unet", "resnet18", [2, 4, 8, 16, 32], [16, 8, 4, 2, 1]),
        ("PSPNet", "resnet18", [2, 4, 8], [8]),
    ],
)
def test_auto_chooses_every_level_once(architecture, backbone, encoder, decoder):
    sizes = {"width": 4, "depth": 2} if backbone is None else {}
    network = build_network(architecture, backbone, channels=1, outputs=2, **sizes)
    layers = choose_layers(network, architecture)
    assert [layer.stride for layer in layers if layer.part == "encoder"] == encoder
    assert [layer.stride for layer in layers if layer.part == "decoder"] == decoder
    deepest = [layer for layer in layers if layer.part == "encoder"][-1]
    assert deepest.output is bottleneck(network, architecture)
    assert layers[-1].output is last_level(network)


@pytest.fixture(scope="module")
def small():
    return build_network("PlainUnet", None, channels=2, outputs=3, width=4, depth=1)


def test_feature_maps_are_those_of_the_network_cut_off_at_the_layer(small):
    layers = choose_layers(small, "PlainUnet", ["encoder_stage1a_relu", "encoder_stage0a_relu"])
    assert [(layer.name, layer.part, layer.stride) for layer in layers] == [
        ("encoder_stage0a_relu", "encoder", 1),
        ("encoder_stage1a_relu", "encoder", 2),
    ]
    pixels = np.random.default_rng(0).random((32, 32, 2), dtype=np.float32)
    answers, _ = Probe(small, [last_level(small)], layers).inspect(pixels, {})
    cut = keras.Model(small.inputs, small.get_layer("encoder_stage1a_relu").output)
    np.testing.assert_allclose(answers[1], cut.predict(pixels[None], verbose=0)[0], rtol=1e-5, atol=1e-6)
    assert answers[0].shape == (32, 32, 4)


def test_an_unknown_layer_is_refused_with_the_available_ones(small):
    with pytest.raises(InputError) as refused:
        choose_layers(small, "PlainUnet", ["encoder_stage0a_rleu"])
    assert "no layer encoder_stage0a_rleu with feature maps. Did you mean encoder_stage0a_relu" in str(refused.value)
    assert "decoder_stage0b_relu" in str(refused.value)


def test_layers_are_listed_from_the_first_convolution_on(small):
    assert list_layers(small, "PlainUnet")[0].name == "encoder_stage0a_conv"


def test_most_variable_channels_vary_most_over_the_patch():
    maps = np.zeros((4, 4, 3), np.float32)
    maps[0, 0] = [1, 5, 3]
    maps[..., 0] += 100  # bright, and nearly the same everywhere
    assert most_variable_channels(maps, 2) == [1, 2]
