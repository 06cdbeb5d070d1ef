"""Learning rates: how they go on, and the trial that finds one."""

import numpy as np
import pytest
from PIL import Image

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.learning_rate import (
    TRIED,
    Schedule,
    find_learning_rate,
    plateau_factor,
    plot_learning_rate_trial,
    share_of_peak,
)
from tessera.training.losses import weighted_sum
from tessera.training.training_model import DeepSupervisionModel


def test_one_cycle_rises_for_three_tenths_and_falls_to_nearly_nothing():
    shares = [share_of_peak("one_cycle", share) for share in np.linspace(0, 1, 201)]
    assert np.argmax(shares) == 60
    assert max(shares) == pytest.approx(1)
    assert (shares[0], shares[-1]) == (pytest.approx(0.01), pytest.approx(0.01))
    # Half of the way up and down, half a cosine is half way between its ends.
    assert shares[30] == pytest.approx(0.505)
    assert shares[130] == pytest.approx(0.505)


def test_a_constant_rate_stays():
    assert {share_of_peak("constant", share) for share in (0, 0.01, 0.5, 1)} == {1.0}


def test_a_plateau_lowers_the_rate_whenever_patience_ran_out():
    assert plateau_factor([], 2) == 1
    assert plateau_factor([3, 2, 1], 2) == 1
    assert plateau_factor([1, 2], 2) == 1
    assert plateau_factor([1, 2, 2], 2) == pytest.approx(0.3)
    # Each further wait counts anew, and a better value ends it.
    assert plateau_factor([1, 2, 2, 2, 2], 2) == pytest.approx(0.09)
    assert plateau_factor([1, 2, 2, 0.5, 1], 2) == pytest.approx(0.3)


def test_a_schedule_asks_for_its_factor_each_epoch_where_it_is_a_plateau():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam())
    for kind, expected in (("plateau", 0.3), ("constant", 1.0)):
        schedule = Schedule(kind, 1.0, 10, factor=lambda: 0.3)
        schedule.set_model(model)
        schedule.on_epoch_begin(0)
        schedule.on_train_batch_begin(0)
        assert float(model.optimizer.learning_rate) == pytest.approx(expected)


def trainee_and_batches(bad=False):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images = random.normal(size=(64, 8, 8, 1)).astype("float32")
    targets = (images[..., 0] > 0).astype("uint8")
    if bad:
        images[:] = np.nan
    pixels = keras.Input((None, None, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 1, activation="softmax")(pixels))
    trainee = DeepSupervisionModel(
        network, [], [], weighted_sum({"cross_entropy": 1.0}, np.ones(2, "float32")), ["no", "yes"]
    )
    trainee.compile(keras.optimizers.SGD())
    return trainee, tf.data.Dataset.from_tensor_slices((images, targets)).batch(8).repeat()


def test_a_trial_finds_a_rate_that_learns_and_leaves_the_weights_as_they_were(tmp_path):
    trainee, batches = trainee_and_batches()
    before = [weight.copy() for weight in trainee.get_weights()]
    rate, trial = find_learning_rate(trainee, batches)
    assert all(np.array_equal(a, b) for a, b in zip(before, trainee.get_weights(), strict=True))
    rates, losses = zip(*trial, strict=True)
    assert rates[0] == pytest.approx(TRIED[0])
    assert list(rates) == sorted(rates)
    # A problem this easy is learnt quicker the larger the steps: the least loss is at the end.
    assert rate == pytest.approx(rates[int(np.argmin(losses))] / 10)
    assert rate > 0.01
    plot_learning_rate_trial(trial, rate, tmp_path / "rates.png")
    assert Image.open(tmp_path / "rates.png").size == (720, 480)


def test_a_trial_whose_loss_is_no_number_is_an_error():
    trainee, batches = trainee_and_batches(bad=True)
    with pytest.raises(InputError, match=r"train\.learning_rate: auto finds none"):
        find_learning_rate(trainee, batches)
