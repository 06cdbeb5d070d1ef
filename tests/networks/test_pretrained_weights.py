"""Initial weights: pretrained encoders, earlier models, and files that cannot be used."""

import json
import logging
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tessera.common.constants import MODEL_FORMAT, MODEL_JSON, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.networks.architectures import create_backbone, encoder_layers
from tessera.networks.build import build_network
from tessera.networks.pretrained_weights import _fold_preprocessing, check_weights_file, load_pretrained_encoder
from tessera.networks.tensorflow_setup import keras, sm

CARD = {
    "format": MODEL_FORMAT,
    "task": "semantic",
    "architecture": "Unet",
    "backbone": "resnet18",
    "channels": ["grey"],
    "outputs": ["background", "mother", "daughter"],
    "normalization": {"method": "percentile", "low": 1, "high": 99.8},
}
CHANNELS = {count: [f"channel{number}" for number in range(count)] for count in (1, 2, 3)}


def build(architecture="Unet", backbone="resnet18", channels=1, outputs=3, **settings):
    return build_network(architecture, backbone, channels=channels, outputs=outputs, **settings)


def save_model(folder, network, **entries):
    folder.mkdir()
    (folder / MODEL_JSON).write_text(json.dumps(CARD | entries))
    network.save_weights(folder / WEIGHTS_H5)
    return str(folder)


def weights_of(network, layer):
    return network.get_layer(layer).get_weights()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def earlier():
    keras.utils.set_random_seed(1)
    return build()


@pytest.fixture(scope="module")
def model(tmp_path_factory, earlier):
    return save_model(tmp_path_factory.mktemp("models") / "earlier", earlier)


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(2)
    return create_backbone("resnet18", 3)


@pytest.fixture(scope="module", params=["encoder.h5", "encoder.weights.h5"])
def file(request, tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("weights") / request.param
    encoder.save_weights(path)
    return str(path)


def test_earlier_model_is_copied_completely(model, earlier, caplog):
    caplog.set_level(logging.INFO)
    network = build(encoder_weights=model)
    assert same(network.get_weights(), earlier.get_weights())
    number = sum(bool(layer.weights) for layer in network.layers)
    assert f"copied to {number} of {number} layers" in caplog.text


def test_model_for_other_classes_copies_all_but_the_last_layer(model, earlier, caplog):
    caplog.set_level(logging.INFO)
    network = build(outputs=2, encoder_weights=model)
    for layer, before in zip(network.layers, earlier.layers, strict=True):
        assert same(layer.get_weights(), before.get_weights()) == (layer.name != "final_conv")
    number = sum(bool(layer.weights) for layer in network.layers)
    assert f"copied to {number - 1} of {number} layers, the other layers start with random weights" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("before", "now"), [(1, 3), (3, 1), (2, 3)])
def test_model_for_other_channels_divides_the_weights_of_its_first_layer(tmp_path, before, now):
    earlier = build(channels=before)
    first = weights_of(earlier, "bn_data")
    drawn = np.random.default_rng(0).random((len(first), before), "float32")
    earlier.get_layer("bn_data").set_weights(list(drawn))
    network = build(channels=now, encoder_weights=save_model(tmp_path / "m", earlier, channels=CHANNELS[before]))
    kernel, shared = weights_of(earlier, "conv0")[0], weights_of(network, "conv0")[0]
    assert shared.shape[2] == now
    for channel in range(now):
        assert now * shared[:, :, channel] == pytest.approx(kernel.sum(2), abs=1e-5)
        assert [weight[channel] for weight in weights_of(network, "bn_data")] == pytest.approx(drawn.mean(1))
    assert same(network.get_layer("final_conv").get_weights(), weights_of(earlier, "final_conv"))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["FPN", "PSPNet"])
def test_model_of_another_architecture_gives_only_its_encoder(model, earlier, architecture, caplog):
    caplog.set_level(logging.INFO)
    network = build(architecture, encoder_weights=model)
    layers = encoder_layers(network, architecture, "resnet18")
    before = {layer.name: layer for layer in earlier.layers}
    weighted = [layer for layer in layers if layer.weights]
    assert all(same(layer.get_weights(), before[layer.name].get_weights()) for layer in weighted)
    number = sum(bool(layer.weights) for layer in network.layers)
    assert f"copied to {len(weighted)} of {number} layers" in caplog.text


@pytest.mark.slow
def test_pspnet_gives_unet_the_encoder_up_to_stride_8(tmp_path):
    earlier = build("PSPNet")
    network = build(encoder_weights=save_model(tmp_path / "m", earlier, architecture="PSPNet"))
    assert same(weights_of(network, "stage2_unit1_conv1"), weights_of(earlier, "stage2_unit1_conv1"))
    assert same(weights_of(network, "stage3_unit1_bn1"), weights_of(earlier, "stage3_unit1_bn1"))


@pytest.mark.slow
def test_plain_unet_starts_only_from_one_of_the_same_width_and_depth(tmp_path):
    earlier = build("PlainUnet", None, channels=1, outputs=3, width=4, depth=2)
    entries = {"architecture": "PlainUnet", "backbone": None, "width": 4, "depth": 2}
    folder = save_model(tmp_path / "m", earlier, **entries)
    network = build("PlainUnet", None, channels=2, outputs=2, width=4, depth=2, encoder_weights=folder)
    first = weights_of(network, "encoder_stage0a_conv")[0]
    assert first.sum(2) == pytest.approx(weights_of(earlier, "encoder_stage0a_conv")[0][:, :, 0], abs=1e-6)
    assert same(weights_of(network, "decoder_stage1b_bn"), weights_of(earlier, "decoder_stage1b_bn"))
    for sizes in ({"width": 8, "depth": 2}, {"width": 4, "depth": 1}):
        with pytest.raises(InputError, match="is a PlainUnet of another width or depth"):
            build("PlainUnet", None, **sizes, encoder_weights=folder)
    with pytest.raises(InputError, match="imagenet cannot be used, because PlainUnet has no backbone"):
        build("PlainUnet", None, encoder_weights="imagenet")


@pytest.mark.parametrize(("architecture", "backbone"), [("Unet", "resnet34"), ("PlainUnet", None)])
def test_model_with_another_backbone_is_refused(model, architecture, backbone):
    with pytest.raises(InputError, match=f"with architecture Unet and backbone resnet18, .* start {architecture}"):
        build(architecture, backbone, encoder_weights=model)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_encoder_weights_file_fits_any_number_of_channels(file, encoder, channels, caplog):
    caplog.set_level(logging.INFO)
    network = build(channels=channels, encoder_weights=file)
    assert weights_of(network, "conv0")[0].sum(2) == pytest.approx(weights_of(encoder, "conv0")[0].sum(2), abs=1e-4)
    assert same(weights_of(network, "stage3_unit1_conv1"), weights_of(encoder, "stage3_unit1_conv1"))
    weighted = sum(bool(layer.weights) for layer in encoder.layers)
    assert f"Weights of {file}: copied to {weighted} of " in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grey.h5", "grey.weights.h5"])
def test_encoder_weights_file_for_one_channel_is_copied_unchanged(tmp_path, name):
    encoder = create_backbone("resnet18", 1)
    encoder.save_weights(tmp_path / name)
    network = build(encoder_weights=str(tmp_path / name))
    for layer, own in zip(encoder_layers(network, "Unet", "resnet18"), encoder.layers, strict=True):
        assert same(layer.get_weights(), own.get_weights())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "behind"),
    [
        ("resnet18", "bn0"),  # normalizes before it convolves, and expects 0 to 255
        ("vgg16", "block1_conv1"),  # expects blue first, and has a bias
        ("densenet121", "conv1/bn"),  # expects ImageNet's means and deviations
        ("mobilenet", "conv1_bn"),  # expects -1 to 1
    ],
)
def test_pretrained_encoder_gives_the_same_result_for_pixels_from_0_to_1(backbone, behind):
    keras.utils.set_random_seed(3)
    encoder = create_backbone(backbone, 3)
    first = next(layer for layer in encoder.layers if layer.weights)
    if backbone == "resnet18":
        first.set_weights(list(np.array([[0.1, 0.2, 0.3], [104, 117, 124], [3000, 3500, 4000]])))
    elif backbone == "vgg16":
        first.set_weights([first.get_weights()[0], np.linspace(-1, 1, 64)])
    below = keras.Model(encoder.input, encoder.get_layer(behind).output)
    pixels = np.random.default_rng(0).random((1, 32, 32, 3), "float32")
    expected = below(sm.get_preprocessing(backbone)(255 * pixels), training=False).numpy()
    _fold_preprocessing(encoder, backbone)
    answer = below(pixels, training=False).numpy()
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert expected.std() > 0.1
    assert answer[inner] == pytest.approx(expected[inner], abs=1e-4 * float(np.abs(expected).max()))


def test_file_of_another_encoder_is_refused_with_the_layer_that_does_not_fit(file):
    for backbone, theirs, ours in (("mobilenet", "bn_data", "conv1"), ("vgg16", "bn_data", "block1_conv1")):
        if file.endswith(".weights.h5"):  # which has numbers instead of names
            message = rf"does not fit the encoder {backbone}: (it has \d+ layers|.*{ours})"
        else:
            message = rf"does not fit the encoder {backbone}: its layer {theirs} .* but {ours} has"
        with pytest.raises(InputError, match=message):
            load_pretrained_encoder(file, backbone)


def test_weights_file_of_a_whole_model_is_refused_with_a_hint_to_its_folder(model):
    message = r"does not fit the encoder resnet18: it has \d+ layers .* or the folder of a Tessera model"
    with pytest.raises(InputError, match=message):
        load_pretrained_encoder(f"{model}/{WEIGHTS_H5}", "resnet18")


def test_unreadable_weights_file_is_refused(tmp_path, file):
    path = tmp_path / Path(file).name
    with pytest.raises(InputError, match=r"is neither a file nor the folder of a model"):
        load_pretrained_encoder(path, "resnet18")
    whole = Path(file).read_bytes()
    for content in (b"", b"no weights", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{re.escape(str(path))}: cannot be read as a file of weights"):
            load_pretrained_encoder(path, "resnet18")
    with h5py.File(path, "w") as other:
        other["spectra"] = np.zeros(3)
    with pytest.raises(InputError, match=f"{re.escape(str(path))} does not fit the encoder resnet18"):
        load_pretrained_encoder(path, "resnet18")


def test_weights_file_that_claims_more_bytes_than_it_has_is_refused(tmp_path, file, model, earlier):
    path = tmp_path / Path(file).name
    shutil.copy(file, path)
    with h5py.File(path, "a") as bomb:
        bomb.create_dataset("bomb", (1 << 40,), "f4", chunks=(1024,), compression="gzip")
    with pytest.raises(InputError, match=r"fewer than the [0-9,]{17,} bytes that its arrays need"):
        load_pretrained_encoder(path, "resnet18")
    shutil.copy(file, path)
    with h5py.File(path, "a") as linked:
        linked["away"] = h5py.ExternalLink("/etc/other.h5", "/")
    with pytest.raises(InputError, match="away is a link"):
        load_pretrained_encoder(path, "resnet18")
    folder = save_model(tmp_path / "m", earlier)
    with h5py.File(tmp_path / "m" / WEIGHTS_H5, "a") as bomb:
        bomb.create_dataset("bomb", (1 << 40,), "f4", chunks=(1024,), compression="gzip")
    with pytest.raises(InputError, match=rf"{WEIGHTS_H5}: it has fewer than"):
        check_weights_file(Path(folder) / WEIGHTS_H5)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The folder for ImageNet weights, where nothing can be downloaded."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("resnet18", "resnet18_imagenet_1000_no_top.h5"),
        ("vgg16", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("efficientnetb0", "efficientnet-b0_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"),
    ],
)
def test_message_without_internet_says_which_file_to_save_where(offline, backbone, name):
    download = rf"download https://\S+/{name} and save it there as {name}"
    with pytest.raises(InputError, match=rf"not in {offline}: it could not be downloaded .*; {download}"):
        load_pretrained_encoder("imagenet", backbone)


def test_message_about_damaged_imagenet_weights_names_the_folder(offline, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".keras" / "models"
    folder.mkdir(parents=True)
    (folder / "resnet18_imagenet_1000_no_top.h5").write_bytes(b"cut short")
    with pytest.raises(InputError, match=rf"not in {folder}: the file there is another one, and it could not be"):
        load_pretrained_encoder("imagenet", "resnet18")


@pytest.mark.slow
def test_imagenet_weights_saved_by_hand_are_used(offline):
    keras.utils.set_random_seed(4)
    theirs = create_backbone("mobilenet", 3)
    offline.mkdir(parents=True)
    theirs.save_weights(offline / "mobilenet_1_0_224_tf_no_top.h5")
    network = build("Linknet", "mobilenet", channels=2, encoder_weights="imagenet")
    # -1 to 1 is twice 0 to 1, and the weights of three colors are divided among two channels.
    kernel, folded = weights_of(theirs, "conv1")[0], weights_of(network, "conv1")[0]
    assert folded == pytest.approx(np.repeat(2 * kernel.mean(2, keepdims=True) * 3 / 2, 2, 2), abs=1e-5)
    assert same(weights_of(network, "conv_pw_11"), weights_of(theirs, "conv_pw_11"))
