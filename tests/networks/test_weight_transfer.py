"""Weight transfer between small networks; tests/networks/test_pretrained_weights.py has the architectures."""

import numpy as np
import pytest

from tessera.networks.tensorflow_setup import keras
from tessera.networks.weight_transfer import _copy_weights, _fit_channels


def test_kernel_for_more_channels_keeps_its_sum_over_channels():
    kernel = np.arange(12, dtype="float32").reshape(1, 1, 3, 4)
    fitted = _fit_channels(kernel, (1, 1, 2, 4))
    # Channels 0 to 2 of filter 0 are 0, 4 and 8, 12 in all.
    assert fitted.shape == (1, 1, 2, 4)
    assert fitted[0, 0, :, 0].tolist() == [6, 6]
    assert fitted.sum(2) == pytest.approx(kernel.sum(2))


def test_vector_for_more_channels_keeps_its_mean():
    assert _fit_channels(np.array([1.0, 3.0], "float32"), (3,)).tolist() == [2, 2, 2]
    assert _fit_channels(np.array([1.0, 3.0], "float32"), (2,)).tolist() == [1, 3]


def make_network(channels, outputs):
    pixels = keras.Input((8, 8, channels))
    x = keras.layers.BatchNormalization()(pixels)
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.layers.Activation("relu")(x)
    return keras.Model(pixels, keras.layers.Conv2D(outputs, 1)(x))


def test_layers_after_the_first_convolution_are_copied_only_if_their_shapes_agree():
    source, target = make_network(2, 3), make_network(5, 4)
    last_before = target.layers[-1].get_weights()
    # Batch normalization and the first convolution; the last convolution has another number of outputs.
    assert _copy_weights(source.layers, target.layers) == 2
    sums = [layer.get_weights()[0].sum(2) for layer in (source.layers[2], target.layers[2])]
    assert sums[1] == pytest.approx(sums[0], abs=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(target.layers[-1].get_weights(), last_before, strict=True))
    same = make_network(2, 3)
    assert _copy_weights(source.layers, same.layers) == 3
    assert all(np.array_equal(a, b) for a, b in zip(same.get_weights(), source.get_weights(), strict=True))
