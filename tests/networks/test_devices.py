"""Devices: which one is chosen, its precision, and several that share a minibatch."""

import json
import logging
import subprocess
import sys

import pytest

from helpers.repository import REPOSITORY
from tessera.common.errors import InputError
from tessera.networks.devices import (
    choose_device,
    choose_precision,
    distribution_strategy,
    gpu_precision,
    mixed_precision_policy,
    translate_device_errors,
)
from tessera.networks.tensorflow_setup import keras, tf


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_requested_gpu_that_does_not_exist_is_an_error(caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(InputError, match="device: is gpu, but TensorFlow finds no GPU"):
        choose_device("gpu")
    assert choose_device("auto") == "cpu"
    assert "Device: CPU" in caplog.text


def test_lower_precision_is_chosen_only_for_gpus_with_units_for_it():
    assert choose_precision("bfloat16", "cpu") == ("bfloat16", "as set")
    assert choose_precision("auto", "cpu")[0] == "float32"
    assert [gpu_precision(capability)[0] for capability in [(6, 1), (7, 0), (7, 5), (8, 0), (9, 0)]] == [
        "float32",
        "float16",
        "float16",
        "bfloat16",
        "bfloat16",
    ]


def test_error_about_device_memory_names_the_settings_that_help():
    with (
        pytest.raises(InputError, match=r"lower train\.batch_size or augment\.patch_size_px"),
        translate_device_errors(),
    ):
        tf.zeros([2**22, 2**22])


def test_error_about_determinism_names_the_setting_and_other_errors_stay():
    refusal = tf.errors.UnimplementedError(None, None, "A deterministic GPU implementation is not available")
    with pytest.raises(InputError, match=r"set train\.deterministic to false"), translate_device_errors():
        raise refusal
    with pytest.raises(tf.errors.UnimplementedError), translate_device_errors():
        raise tf.errors.UnimplementedError(None, None, "no such kernel")


def test_layers_use_the_precision_policy_and_keep_float32_weights():
    with mixed_precision_policy("bfloat16"):
        layer = keras.layers.Dense(1)
        layer.build((None, 2))
    assert (layer.compute_dtype, layer.dtype) == ("bfloat16", "float32")
    assert keras.layers.Dense(1).compute_dtype == "float32"


def test_too_few_gpus_are_an_error_only_if_gpus_are_requested(caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(InputError, match=r"train\.gpus: is 2, but TensorFlow finds 0 GPUs"):
        distribution_strategy("gpu", 2, requested="gpu")
    assert distribution_strategy("cpu", 2).num_replicas_in_sync == 1
    assert "2 devices were requested, but there is only 1" in caplog.text


SHARED = """
import json, logging, sys
import numpy as np
from tessera.networks.devices import distribution_strategy
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.losses import weighted_sum
from tessera.training.data_loader import training_minibatches
from tessera.training.training_model import DeepSupervisionModel

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
number = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
images = random.normal(size=(8, 32, 32, 1)).astype("float32")
targets = (images[..., 0] > 0).astype("uint8")
with distribution_strategy("cpu", number).scope():
    pixels = keras.Input((None, None, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(pixels))
    loss = weighted_sum({"cross_entropy": 1.0}, np.ones(2, "float32"))
    model = DeepSupervisionModel(network, [], [], loss, ["no", "yes"])
    model.compile(keras.optimizers.SGD(0.5))
minibatches, steps = training_minibatches(images, targets, batch_size=4, seed=0, first_epoch=0, epochs=3)
rows = model.fit(minibatches, steps_per_epoch=steps, epochs=3, verbose=0).history
print(json.dumps({"weights": [w.tolist() for w in network.get_weights()], "loss": rows["loss"], "iou": rows["iou"]}))
"""


@pytest.mark.slow
def test_two_devices_train_the_same_weights_as_one():
    def run(number):
        done = subprocess.run(
            [sys.executable, "-c", SHARED, str(number)],
            cwd=REPOSITORY / "workflow" / "scripts",
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("distributed over 2 devices" in done.stdout) == (number == 2)
        return json.loads(done.stdout.splitlines()[-1])

    one, two = run(1), run(2)
    assert _flat(one["weights"]) == pytest.approx(_flat(two["weights"]), abs=1e-5)
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["iou"] == pytest.approx(two["iou"], abs=1e-5)


def _flat(values):
    return [x for value in values for x in _flat(value)] if isinstance(values, list) else [values]
