"""Calibration compares probabilities with accuracies."""

import numpy as np
import pytest

from tessera.common.constants import IGNORE
from tessera.evaluation.calibration import MIN_PIXELS, Calibration, describe_curve

OUTPUTS = ["background", "mother", "daughter"]


def summary_of(probabilities, targets, outputs=OUTPUTS, batches=1):
    calibration = Calibration(outputs)
    for said, true in zip(np.array_split(probabilities, batches), np.array_split(targets, batches), strict=True):
        calibration.add(said, true)
    return calibration.summarize()


def draw(seed=0, shape=(4, 8, 8)):
    rng = np.random.default_rng(seed)
    targets = rng.choice([0, 1, 2, IGNORE], size=shape, p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
    return rng.dirichlet([0.7, 0.5, 0.3], size=shape).astype(np.float32), targets


def test_calibration_error_of_four_pixels_is_the_hand_computed_one():
    said = np.array([0.95, 0.85, 0.85, 0.65], np.float32)
    probabilities = np.stack([1 - said, said], axis=-1).reshape(1, 2, 2, 2)
    targets = np.array([[[1, 1], [0, 1]]], np.uint8)
    top = summary_of(probabilities, targets, ["background", "cell"])["top"]
    assert top["pixels"] == [0, 0, 0, 0, 0, 0, 1, 0, 2, 1]
    assert top["probability"][8] == pytest.approx(0.85)
    assert top["accuracy"] == [None] * 6 + [1, None, 0.5, 1]
    # (0.35 of one pixel, 0.35 of two, 0.05 of one) / 4
    assert top["ece"] == pytest.approx((0.35 + 2 * 0.35 + 0.05) / 4)
    assert top["overconfidence"] == pytest.approx(3.30 / 4 - 3 / 4)


def test_calibration_errors_equal_those_of_a_loop_over_annotated_pixels():
    probabilities, targets = draw()
    summary = summary_of(probabilities, targets)
    known = [(p, t) for p, t in zip(probabilities.reshape(-1, 3), targets.ravel(), strict=True) if t != IGNORE]

    def error(pairs):
        bins = {}
        for said, right in pairs:
            bins.setdefault(min(int(said * 10), 9), []).append((float(said), right))
        gaps = [len(b) * abs(np.mean([s for s, _ in b]) - np.mean([r for _, r in b])) for b in bins.values()]
        return sum(gaps) / len(pairs)

    assert summary["top"]["ece"] == pytest.approx(error([(p.max(), p.argmax() == t) for p, t in known]))
    for number, name in enumerate(OUTPUTS):
        assert summary["outputs"][name]["ece"] == pytest.approx(error([(p[number], t == number) for p, t in known]))
        assert sum(summary["outputs"][name]["pixels"]) == len(known)


def test_calibration_does_not_depend_on_minibatches():
    probabilities, targets = draw()
    whole, parts = (summary_of(probabilities, targets, batches=batches) for batches in (1, 3))
    assert parts["top"]["pixels"] == whole["top"]["pixels"]
    assert parts["top"]["ece"] == pytest.approx(whole["top"]["ece"])
    assert parts["outputs"]["daughter"]["accuracy"] == pytest.approx(whole["outputs"]["daughter"]["accuracy"])


def test_a_calibrated_network_has_almost_no_error():
    rng = np.random.default_rng(0)
    said = rng.uniform(size=(10, 100, 100)).astype(np.float32)
    targets = (rng.uniform(size=said.shape) < said).astype(np.uint8)
    summary = summary_of(np.stack([1 - said, said], axis=-1), targets, ["background", "cell"])
    assert summary["top"]["ece"] < 0.01
    assert "the network is well calibrated there" in describe_curve(summary["top"])


def test_pixels_without_annotation_do_not_count():
    probabilities, targets = draw()
    summary = summary_of(probabilities, np.full_like(targets, IGNORE))
    assert summary["top"]["ece"] is summary["top"]["overconfidence"] is None
    assert sum(summary["top"]["pixels"]) == 0
    assert "Too few pixels" in describe_curve(summary["top"])


@pytest.mark.parametrize(
    ("right", "words"), [(0.5, "overconfident"), (0.84, "well calibrated"), (1.0, "underconfident")]
)
def test_the_sentence_tells_overconfidence_from_underconfidence(right, words):
    said = np.full((1, 10, 20), 0.85, np.float32)
    targets = (np.arange(200) < 200 * right).astype(np.uint8).reshape(said.shape)
    top = summary_of(np.stack([1 - said, said], axis=-1), targets, ["background", "cell"])["top"]
    assert sum(top["pixels"]) > MIN_PIXELS
    assert f"are correct in {100 * right:.0f} % of cases" in describe_curve(top)
    assert words in describe_curve(top)
