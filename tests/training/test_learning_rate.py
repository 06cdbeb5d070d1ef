"""Learning rates: the schedules, and the range test that finds a peak."""

import numpy as np
import pytest
from PIL import Image

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.learning_rate import (
    RANGE_TEST_LIMITS,
    LearningRateSchedule,
    find_learning_rate,
    fraction_of_peak,
    plateau_factor,
    plot_range_test,
)
from tessera.training.losses import weighted_sum
from tessera.training.training_model import DeepSupervisionModel


def test_one_cycle_rises_for_three_tenths_and_falls_to_a_hundredth():
    fractions = [fraction_of_peak("one_cycle", progress) for progress in np.linspace(0, 1, 201)]
    assert np.argmax(fractions) == 60
    assert max(fractions) == pytest.approx(1)
    assert (fractions[0], fractions[-1]) == (pytest.approx(0.01), pytest.approx(0.01))
    # Half of the way up and down, half a cosine is half way between its ends.
    assert fractions[30] == pytest.approx(0.505)
    assert fractions[130] == pytest.approx(0.505)


def test_constant_schedule_stays_at_the_peak():
    assert {fraction_of_peak("constant", progress) for progress in (0, 0.01, 0.5, 1)} == {1.0}


def test_plateau_lowers_the_rate_after_each_patience_without_improvement():
    assert plateau_factor([], 2) == 1
    assert plateau_factor([3, 2, 1], 2) == 1
    assert plateau_factor([1, 2], 2) == 1
    assert plateau_factor([1, 2, 2], 2) == pytest.approx(0.3)
    # The count starts again after each reduction, and after each better value.
    assert plateau_factor([1, 2, 2, 2, 2], 2) == pytest.approx(0.09)
    assert plateau_factor([1, 2, 2, 0.5, 1], 2) == pytest.approx(0.3)


def test_cosine_rises_for_a_twentieth_and_falls_to_a_hundredth():
    fractions = [fraction_of_peak("cosine", progress) for progress in np.linspace(0, 1, 201)]
    assert max(fractions) == pytest.approx(1)
    assert np.argmax(fractions) == 10
    assert (fractions[0], fractions[-1]) == (pytest.approx(0.01), pytest.approx(0.01))
    assert all(np.diff(fractions[10:]) < 0)


def test_schedule_follows_the_clock_if_the_time_limit_comes_first():
    now = [100.0]
    schedule = LearningRateSchedule(
        "cosine", 1.0, 1000, steps_done=100, time_limit_s=60, seconds_done=30, clock=lambda: now[0]
    )
    schedule.set_model(keras.Sequential([keras.layers.Dense(1)]))
    schedule.model.compile(keras.optimizers.Adam())
    schedule.on_epoch_begin(0)
    # 30 of 60 s are done, but only 100 of 1000 steps; 15 s later, three quarters.
    for seconds, progress in ((0, 0.5), (15, 0.75), (100, 1.0)):
        now[0] = 100.0 + seconds
        schedule.on_train_batch_begin(0)
        assert float(schedule.model.optimizer.learning_rate) == pytest.approx(fraction_of_peak("cosine", progress))


def test_only_the_plateau_schedule_uses_the_plateau_factor():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam())
    for kind, expected in (("plateau", 0.3), ("constant", 1.0)):
        schedule = LearningRateSchedule(kind, 1.0, 10, plateau=lambda: 0.3)
        schedule.set_model(model)
        schedule.on_epoch_begin(0)
        schedule.on_train_batch_begin(0)
        assert float(model.optimizer.learning_rate) == pytest.approx(expected)


def model_and_minibatches(bad=False):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images = random.normal(size=(64, 8, 8, 1)).astype("float32")
    targets = (images[..., 0] > 0).astype("uint8")
    if bad:
        images[:] = np.nan
    pixels = keras.Input((None, None, 1))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 1, activation="softmax")(pixels))
    model = DeepSupervisionModel(
        network, [], [], weighted_sum({"cross_entropy": 1.0}, np.ones(2, "float32")), ["no", "yes"]
    )
    model.compile(keras.optimizers.SGD())
    return model, tf.data.Dataset.from_tensor_slices((images, targets)).batch(8).repeat()


def test_range_test_finds_a_rate_that_learns_and_restores_the_weights(tmp_path):
    model, minibatches = model_and_minibatches()
    before = [weight.copy() for weight in model.get_weights()]
    rate, curve = find_learning_rate(model, minibatches)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    rates, losses = zip(*curve, strict=True)
    assert rates[0] == pytest.approx(RANGE_TEST_LIMITS[0])
    assert list(rates) == sorted(rates)
    # For a problem this easy, the largest rate has the lowest loss.
    assert rate == pytest.approx(rates[int(np.argmin(losses))] / 10)
    assert rate > 0.01
    plot_range_test(curve, rate, tmp_path / "rates.png")
    assert Image.open(tmp_path / "rates.png").size == (720, 480)


def test_range_test_whose_loss_is_not_finite_is_an_error():
    model, minibatches = model_and_minibatches(bad=True)
    with pytest.raises(InputError, match=r"train\.learning_rate: auto found no learning rate"):
        find_learning_rate(model, minibatches)
