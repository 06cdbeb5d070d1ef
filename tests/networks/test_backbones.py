"""Backbones: each works with each architecture; docs/backbones.md has their sizes.

One cheap backbone per family is tested, with one architecture. TESSERA_BACKBONES=all, or names separated by commas,
tests these with every architecture, which takes long, and writes their sizes into docs/backbones.md.
"""

import os
import re

import numpy as np
import pytest

from helpers.repository import REPOSITORY
from tessera.networks.architectures import ARCHITECTURES, create_backbone, decoder_levels, encoder_layers
from tessera.networks.build import build_network
from tessera.networks.tensorflow_setup import keras, sm, tf

TABLE = REPOSITORY / "docs" / "backbones.md"
BACKBONES = sm.get_available_backbone_names()
WITH_BACKBONE = [architecture for architecture in ARCHITECTURES if architecture != "PlainUnet"]
STRIDES = {"Unet": [2, 4, 8, 16], "FPN": [2, 4, 8, 16], "Linknet": [2, 4, 8, 16], "PSPNet": [8]}
CHOSEN = os.environ.get("TESSERA_BACKBONES", "")
if CHOSEN:
    TRIED = [(name, WITH_BACKBONE) for name in (BACKBONES if CHOSEN == "all" else CHOSEN.split(","))]
else:
    TRIED = [
        ("vgg16", ["FPN"]),
        ("seresnet18", ["Unet"]),
        ("seresnet50", ["PSPNet"]),
        ("densenet121", ["Linknet"]),
        ("inceptionv3", ["Unet"]),
        ("mobilenet", ["PSPNet"]),
        ("mobilenetv2", ["Linknet"]),
        ("efficientnetb0", ["FPN"]),
    ]
SIDE_PX = 64


def read_table():
    """{backbone: {architecture: cell}}"""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.read_text().splitlines() if "|" in line
    ]
    return {name.strip("`"): dict(zip(WITH_BACKBONE, cells, strict=True)) for name, *cells in rows[2:]}


def write_cell(backbone, architecture, cell):
    text, rows = TABLE.read_text(), read_table()
    rows.setdefault(backbone, dict.fromkeys(WITH_BACKBONE, "not tried"))[architecture] = cell
    lines = [["backbone", *WITH_BACKBONE], ["---"] + ["--:"] * len(WITH_BACKBONE)]
    lines += [[f"`{name}`", *rows[name].values()] for name in BACKBONES if name in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    TABLE.write_text(re.sub(r"^\|.*\|$", lambda _: table, text, count=1, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(autouse=True)
def _forget_networks():
    yield
    keras.backend.clear_session()


def learn(network, architecture):
    """Train one step on one image; return the probabilities and decoder levels before it."""
    pixels = np.random.default_rng(0).random((1, SIDE_PX, SIDE_PX, 1), "float32")
    model = keras.Model(network.inputs, [network.output, *decoder_levels(network, architecture)])
    with tf.GradientTape() as tape:
        probabilities, *levels = model(pixels, training=True)
        loss = -tf.reduce_mean(tf.math.log(probabilities[..., 0]))
    for weight, gradient in zip(network.trainable_weights, tape.gradient(loss, network.trainable_weights), strict=True):
        assert np.isfinite(gradient).all(), weight.name
        weight.assign_sub(0.01 * gradient)
    return probabilities, levels


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "architectures"), TRIED, ids=[name for name, _ in TRIED])
def test_backbone_predicts_learns_and_can_be_frozen_and_supervised(backbone, architectures, monkeypatch):
    keras.utils.set_random_seed(0)
    # Creating it takes longest by far, so all architectures get the same one.
    own = create_backbone(backbone, 1)
    monkeypatch.setattr(sm.Backbones, "get_backbone", lambda *_, **__: own)
    for architecture in architectures:
        network = build_network(architecture, backbone, channels=1, outputs=3)
        first = network.trainable_weights[0].numpy()
        probabilities, levels = learn(network, architecture)
        assert probabilities.shape == (1, SIDE_PX, SIDE_PX, 3)
        assert probabilities.dtype == tf.float32
        assert probabilities.numpy().sum(-1) == pytest.approx(1, abs=1e-5)
        assert [level.shape[1:3] for level in levels] == [[SIDE_PX // stride] * 2 for stride in STRIDES[architecture]]
        assert not np.array_equal(network.trainable_weights[0].numpy(), first)
        encoder = encoder_layers(network, architecture, backbone)
        if architecture == "PSPNet":  # uses it up to an eighth of the image size
            assert set(encoder) < set(own.layers)
        else:
            assert encoder == own.layers
        if CHOSEN:
            write_cell(backbone, architecture, f"{network.count_params() / 1e6:.1f}")


def test_docs_table_lists_each_backbone_with_each_architecture():
    table = read_table()
    assert list(table) == BACKBONES
    assert all(re.fullmatch(r"\d+\.\d", cell) for row in table.values() for cell in row.values())
