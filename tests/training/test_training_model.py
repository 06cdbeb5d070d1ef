"""The training model: auxiliary heads, random layers, precision and frozen encoders; the optimizer and batch size."""

import numpy as np
import pytest

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.networks.architectures import decoder_levels, encoder_layers
from tessera.networks.build import build_network
from tessera.networks.devices import mixed_precision_policy
from tessera.networks.tensorflow_setup import keras, tf
from tessera.settings.sections import TrainSettings
from tessera.training.batch_size import activation_bytes, choose_batch_size, resolve_batch_size
from tessera.training.losses import cross_entropy, weighted_sum
from tessera.training.optimizer import make_optimizer
from tessera.training.training_model import DeepSupervisionModel, _subsample, reseed

EVEN = np.ones(3, "float32")
OUTPUTS = ["background", "interior", "boundary"]
OBJECTIVE = weighted_sum({"cross_entropy": 1.0}, EVEN)
ADAM = TrainSettings(optimizer="adam")


def small_network(**settings):
    return build_network("PlainUnet", None, channels=1, outputs=3, **{"width": 4, "depth": 3} | settings)


def small_minibatch(seed=0):
    random = np.random.default_rng(seed)
    images = random.normal(size=(4, 32, 32, 1)).astype("float32")
    return images, (images[..., 0] > 0).astype("uint8")


def test_losses_of_lower_levels_are_added_but_the_history_has_the_full_size_only():
    network = small_network()
    model = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0.5, 0.25], OBJECTIVE, OUTPUTS)
    images, targets = small_minibatch()
    full, half, quarter = model(images, training=False)
    assert (half.shape[1], quarter.shape[1]) == (16, 8)
    model.compile(make_optimizer(ADAM, "float32"))
    total = float(model.compute_loss(images, tf.constant(targets), [full, half, quarter]))
    losses = [
        float(cross_entropy(target, probabilities, EVEN))
        for target, probabilities in (
            (targets, full),
            (targets[:, 1::2, 1::2], half),
            (targets[:, 2::4, 2::4], quarter),
        )
    ]
    assert total == pytest.approx(losses[0] + 0.5 * losses[1] + 0.25 * losses[2], rel=1e-5)
    assert float(model.metrics[0].result()) == pytest.approx(losses[0], rel=1e-5)


def test_heads_of_lower_levels_learn_and_are_not_in_the_network():
    network = small_network()
    before = [weight.copy() for weight in network.get_weights()]
    model = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0.5], OBJECTIVE, OUTPUTS)
    heads = [layer for layer in model.layers if layer.name.startswith("level")]
    first = heads[0].get_weights()[0].copy()
    model.compile(make_optimizer(ADAM, "float32"))
    model.fit(*small_minibatch(), batch_size=4, verbose=0)
    assert not np.array_equal(heads[0].get_weights()[0], first)
    assert len(network.outputs) == 1
    assert network.count_params() == small_network().count_params()
    assert any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_more_weights_than_decoder_levels_are_refused():
    network = small_network()
    with pytest.raises(InputError, match=r"deep_supervision: has 3 weights, but the decoder has 2"):
        DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [1, 1, 1], OBJECTIVE, OUTPUTS)


def test_level_with_weight_zero_has_no_head():
    network = small_network()
    model = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0, 0.5], OBJECTIVE, OUTPUTS)
    assert [output.shape[-1] for output in model.outputs] == [3, 3]
    assert len([layer for layer in model.layers if layer.name.startswith("level")]) == 2


def test_targets_of_lower_levels_are_the_central_pixels():
    target = tf.constant(np.arange(64, dtype="uint8").reshape(1, 8, 8))
    assert _subsample(target, tf.zeros((1, 4, 4, 3)))[0, 0].numpy().tolist() == [9, 11, 13, 15]
    assert _subsample(target, tf.zeros((1, 2, 2, 3)))[0].numpy().tolist() == [[18, 22], [50, 54]]
    unknown = tf.fill((1, 8, 8), tf.constant(IGNORE, tf.uint8))
    assert (_subsample(unknown, tf.zeros((1, 4, 4, 3))).numpy() == IGNORE).all()


def test_batch_size_is_limited_by_device_patches_and_memory():
    network = small_network()
    assert choose_batch_size(5, network, (512, 64, 64, 1), "cpu") == (5, "as set")
    assert choose_batch_size("auto", network, (512, 64, 64, 1), "gpu")[0] == 16
    few, reason = choose_batch_size("auto", network, (40, 64, 64, 1), "gpu")
    assert (few, reason) == (4, "so that an epoch of 40 patches has 8 steps")
    tight, reason = choose_batch_size("auto", network, (512, 512, 512, 1), "cpu", memory_mb=1)
    assert tight == 1
    assert "MiB" in reason


def test_continued_training_keeps_its_batch_size_with_any_memory(tmp_path):
    pixels = keras.Input((None, None, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(8, 3)(pixels))
    shape = (4000, 512, 512, 1)
    first = resolve_batch_size(tmp_path / "run", "provenance", "auto", network, shape, "cpu", memory_mb=1)
    assert first[0] == 1
    assert resolve_batch_size(tmp_path / "run", "provenance", "auto", network, shape, "gpu") == first
    # A GPU's memory is not known in advance, so another provenance gets the usual 16.
    assert resolve_batch_size(tmp_path / "run", "another", "auto", network, shape, "gpu")[0] == 16


def test_activation_bytes_count_all_layer_outputs():
    pixels = keras.Input((None, None, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(3, 3, padding="same", use_bias=False)(pixels))
    # The pixels themselves, and three values per pixel.
    assert activation_bytes(network, 16) == 16 * 16 * (1 + 3) * 4


def test_dropout_depends_only_on_seed_and_epoch():
    keras.backend.experimental.enable_tf_random_generator()
    pixels = keras.Input((4,))
    model = keras.Model(pixels, keras.layers.Dropout(0.5)(pixels))
    ones = np.ones((64, 4), "float32")

    def drawn(seed, epoch, times=1):
        reseed(model, seed, epoch)
        return [model(ones, training=True).numpy() for _ in range(times)]

    first, second = drawn(0, 3, times=2)
    assert not np.array_equal(first, second)
    drawn(7, 1, times=5)
    assert np.array_equal(drawn(0, 3)[0], first)
    assert not np.array_equal(drawn(0, 4)[0], first)
    assert not np.array_equal(drawn(1, 3)[0], first)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_step_in_lower_precision_changes_float32_weights_by_finite_steps(precision):
    with mixed_precision_policy(precision):
        network = small_network()
        model = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0.5], OBJECTIVE, OUTPUTS)
        model.compile(make_optimizer(ADAM, precision))
    before = network.get_weights()
    rows = model.fit(*small_minibatch(), batch_size=4, verbose=0, epochs=3).history
    assert np.isfinite(rows["loss"]).all()
    assert {str(weight.dtype) for weight in network.get_weights()} == {"float32"}
    assert np.isfinite(np.concatenate([weight.ravel() for weight in network.get_weights()])).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    assert model(small_minibatch()[0])[0].dtype == tf.float32
    scaled = isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scaled == (precision == "float16")


def test_adamw_does_not_decay_biases_and_scales():
    pixels = keras.Input((2,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(2)(pixels))
    model = keras.Model(pixels, hidden)
    optimizer = make_optimizer(TrainSettings(optimizer="adamw", weight_decay=0.5), "float32")
    optimizer.build(model.trainable_variables)
    optimizer.learning_rate.assign(0.1)
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
    optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in model.trainable_variables])
    # Without gradients only the decay remains: 1 - 0.1 · 0.5.
    left = {variable.name.split("/")[-1]: float(tf.reduce_mean(variable)) for variable in model.trainable_variables}
    assert left == pytest.approx({"kernel:0": 0.95, "bias:0": 1.0, "gamma:0": 1.0, "beta:0": 1.0})


def test_long_gradients_are_clipped_to_the_norm():
    optimizer = make_optimizer(TrainSettings(clip_norm=1.0), "float32")
    assert optimizer.global_clipnorm == 1.0
    cut = optimizer._clip_gradients([tf.constant([3.0, 4.0])])
    assert cut[0].numpy() == pytest.approx([0.6, 0.8])


@pytest.mark.slow
def test_frozen_encoder_keeps_weights_and_averages_while_the_decoder_learns():
    network = build_network("Linknet", "resnet18", channels=1, outputs=3)
    encoder = encoder_layers(network, "Linknet", "resnet18")
    model = DeepSupervisionModel(network, [], [], OBJECTIVE, OUTPUTS)

    def weights():
        return [weight.copy() for layer in encoder for weight in layer.get_weights()]

    for frozen in (True, False):
        for layer in encoder:
            layer.trainable = not frozen
        model.compile(make_optimizer(ADAM, "float32"))
        before, all_before = weights(), network.get_weights()
        model.fit(*small_minibatch(), batch_size=4, verbose=0)
        same = [np.array_equal(a, b) for a, b in zip(before, weights(), strict=True)]
        assert all(same) == frozen
        assert any(not np.array_equal(a, b) for a, b in zip(all_before, network.get_weights(), strict=True))
