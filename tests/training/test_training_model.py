"""Trainees: what a network has while it learns, and that nothing of it stays."""

import numpy as np
import pytest

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.networks.architectures import decoder_levels, encoder_layers
from tessera.networks.build import build_network
from tessera.networks.devices import mixed_precision_policy
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.losses import cross_entropy, weighted_sum
from tessera.training.training_model import (
    DeepSupervisionModel,
    _shrink,
    activation_bytes,
    choose_batch_size,
    make_optimizer,
    reseed,
)

EVEN = np.ones(3, "float32")
OUTPUTS = ["background", "interior", "boundary"]
OBJECTIVE = weighted_sum({"cross_entropy": 1.0}, EVEN)
ADAM = {"optimizer": "adam", "weight_decay": None, "clip_norm": None}


def small_network(**settings):
    return build_network("PlainUnet", None, channels=1, outputs=3, **{"width": 4, "depth": 3} | settings)


def small_batch(seed=0):
    random = np.random.default_rng(seed)
    images = random.normal(size=(4, 32, 32, 1)).astype("float32")
    return images, (images[..., 0] > 0).astype("uint8")


def test_losses_of_lower_levels_are_added_with_their_weights_and_the_history_tells_the_full_size_alone():
    network = small_network()
    trainee = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0.5, 0.25], OBJECTIVE, OUTPUTS)
    images, targets = small_batch()
    full, half, quarter = trainee(images, training=False)
    assert (half.shape[1], quarter.shape[1]) == (16, 8)
    trainee.compile(make_optimizer(ADAM, "float32"))
    total = float(trainee.compute_loss(images, tf.constant(targets), [full, half, quarter]))
    losses = [
        float(cross_entropy(target, probabilities, EVEN))
        for target, probabilities in (
            (targets, full),
            (targets[:, 1::2, 1::2], half),
            (targets[:, 2::4, 2::4], quarter),
        )
    ]
    assert total == pytest.approx(losses[0] + 0.5 * losses[1] + 0.25 * losses[2], rel=1e-5)
    assert float(trainee.metrics[0].result()) == pytest.approx(losses[0], rel=1e-5)


def test_heads_of_lower_levels_learn_and_are_in_the_trainee_alone():
    network = small_network()
    before = [weight.copy() for weight in network.get_weights()]
    trainee = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0.5], OBJECTIVE, OUTPUTS)
    heads = [layer for layer in trainee.layers if layer.name.startswith("level")]
    first = heads[0].get_weights()[0].copy()
    trainee.compile(make_optimizer(ADAM, "float32"))
    trainee.fit(*small_batch(), batch_size=4, verbose=0)
    assert not np.array_equal(heads[0].get_weights()[0], first)
    assert len(network.outputs) == 1
    assert network.count_params() == small_network().count_params()
    assert any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_more_weights_than_levels_are_refused():
    network = small_network()
    with pytest.raises(InputError, match=r"deep_supervision: has 3 weights, and the decoder has 2"):
        DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [1, 1, 1], OBJECTIVE, OUTPUTS)


def test_a_level_of_weight_zero_has_no_head():
    network = small_network()
    trainee = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0, 0.5], OBJECTIVE, OUTPUTS)
    assert [output.shape[-1] for output in trainee.outputs] == [3, 3]
    assert len([layer for layer in trainee.layers if layer.name.startswith("level")]) == 2


def test_targets_of_lower_levels_are_pixels_in_the_middle_of_what_they_stand_for():
    target = tf.constant(np.arange(64, dtype="uint8").reshape(1, 8, 8))
    assert _shrink(target, tf.zeros((1, 4, 4, 3)))[0, 0].numpy().tolist() == [9, 11, 13, 15]
    assert _shrink(target, tf.zeros((1, 2, 2, 3)))[0].numpy().tolist() == [[18, 22], [50, 54]]
    unknown = tf.fill((1, 8, 8), tf.constant(IGNORE, tf.uint8))
    assert (_shrink(unknown, tf.zeros((1, 4, 4, 3))).numpy() == IGNORE).all()


def test_a_step_is_as_large_as_is_usual_or_as_patches_and_memory_allow():
    network = small_network()
    assert choose_batch_size(5, network, (512, 64, 64, 1), "cpu") == (5, "as set")
    assert choose_batch_size("auto", network, (512, 64, 64, 1), "cpu")[0] == 8
    assert choose_batch_size("auto", network, (512, 64, 64, 1), "gpu")[0] == 16
    few, reason = choose_batch_size("auto", network, (40, 64, 64, 1), "cpu")
    assert (few, reason) == (4, "so that an epoch of 40 patches has 8 steps")
    tight, reason = choose_batch_size("auto", network, (512, 512, 512, 1), "cpu", memory_mb=1)
    assert tight == 1
    assert "MiB" in reason


def test_what_layers_put_out_is_counted_in_bytes():
    pixels = keras.Input((None, None, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(3, 3, padding="same", use_bias=False)(pixels))
    # The pixels themselves, and three values a pixel.
    assert activation_bytes(network, 16) == 16 * 16 * (1 + 3) * 4


def test_what_is_drawn_at_random_depends_on_seed_and_epoch_alone():
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
def test_a_step_in_fewer_bits_changes_float32_weights_by_finite_steps(precision):
    with mixed_precision_policy(precision):
        network = small_network()
        trainee = DeepSupervisionModel(network, decoder_levels(network, "PlainUnet"), [0.5], OBJECTIVE, OUTPUTS)
        trainee.compile(make_optimizer(ADAM, precision))
    before = network.get_weights()
    rows = trainee.fit(*small_batch(), batch_size=4, verbose=0, epochs=3).history
    assert np.isfinite(rows["loss"]).all()
    assert {str(weight.dtype) for weight in network.get_weights()} == {"float32"}
    assert np.isfinite(np.concatenate([weight.ravel() for weight in network.get_weights()])).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    assert trainee(small_batch()[0])[0].dtype == tf.float32
    scaled = isinstance(trainee.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scaled == (precision == "float16")


def test_adamw_takes_nothing_off_biases_and_scales():
    pixels = keras.Input((2,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(2)(pixels))
    model = keras.Model(pixels, hidden)
    optimizer = make_optimizer({"optimizer": "adamw", "weight_decay": 0.5, "clip_norm": None}, "float32")
    optimizer.build(model.trainable_variables)
    optimizer.learning_rate.assign(0.1)
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
    optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in model.trainable_variables])
    # Without gradients only the decay is left: 1 - 0.1 · 0.5.
    left = {variable.name.split("/")[-1]: float(tf.reduce_mean(variable)) for variable in model.trainable_variables}
    assert left == pytest.approx({"kernel:0": 0.95, "bias:0": 1.0, "gamma:0": 1.0, "beta:0": 1.0})


def test_longer_gradients_are_cut_to_a_length():
    optimizer = make_optimizer(ADAM | {"clip_norm": 1.0}, "float32")
    assert optimizer.global_clipnorm == 1.0
    cut = optimizer._clip_gradients([tf.constant([3.0, 4.0])])
    assert cut[0].numpy() == pytest.approx([0.6, 0.8])


@pytest.mark.slow
def test_a_frozen_encoder_stays_as_it_is_averages_included_while_the_decoder_learns():
    network = build_network("Linknet", "resnet18", channels=1, outputs=3)
    encoder = encoder_layers(network, "Linknet", "resnet18")
    trainee = DeepSupervisionModel(network, [], [], OBJECTIVE, OUTPUTS)

    def weights():
        return [weight.copy() for layer in encoder for weight in layer.get_weights()]

    for frozen in (True, False):
        for layer in encoder:
            layer.trainable = not frozen
        trainee.compile(make_optimizer(ADAM, "float32"))
        before, all_before = weights(), network.get_weights()
        trainee.fit(*small_batch(), batch_size=4, verbose=0)
        same = [np.array_equal(a, b) for a, b in zip(before, weights(), strict=True)]
        assert all(same) == frozen
        assert any(not np.array_equal(a, b) for a, b in zip(all_before, network.get_weights(), strict=True))
