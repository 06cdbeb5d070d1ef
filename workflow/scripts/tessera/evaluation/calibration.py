"""Calibration: among pixels predicted with a probability of 0.8, are 80 % correct?

`Calibration` keeps counts in ten bins of probability, for each output and for the most probable output, and no pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BINS = 10
MIN_PIXELS = 100  # in a bin that `describe_curve` quotes
MAX_FAIR_GAP = 0.05  # between probability and accuracy of a network that is called well calibrated
_QUOTED_BINS = (8, 7, 6, 5, 9)  # `describe_curve` quotes the first of these with enough pixels


class Calibration:
    """Numbers of pixels by predicted probability and by whether the prediction is correct.

    Args:
        outputs: names of the network's outputs.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = list(outputs)
        shape = len(self._outputs) + 1, N_BINS  # the last row is for the most probable output
        self._pixels, self._correct = np.zeros(shape, int), np.zeros(shape, int)
        self._probability_sums = np.zeros(shape)

    def add(self, probabilities: NDArray[np.floating[Any]], targets: NDArray[np.uint8]) -> None:
        """Count the pixels of some patches.

        Args:
            probabilities: (n, y, x, outputs), from 0 to 1.
            targets: (n, y, x), the true outputs; other values, such as IGNORE, do not count.
        """
        known = targets < len(self._outputs)
        predicted, true = probabilities[known], targets[known]
        for output in range(len(self._outputs)):
            self._count(output, predicted[:, output], true == output)
        self._count(-1, predicted.max(-1), predicted.argmax(-1) == true)

    def _count(self, row: int, predicted: NDArray[Any], correct: NDArray[np.bool_]) -> None:
        bins = np.minimum((predicted * N_BINS).astype(np.intp), N_BINS - 1)
        self._pixels[row] += np.bincount(bins, minlength=N_BINS)
        self._correct[row] += np.bincount(bins[correct], minlength=N_BINS)
        self._probability_sums[row] += np.bincount(bins, predicted, minlength=N_BINS)

    def summarize(self) -> dict[str, Any]:
        """How well probabilities and accuracies agree.

        The expected calibration error (ECE) is the mean over all pixels of the distance between the mean probability
        and the accuracy of their bin (Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602); for the most
        probable output as in Guo et al. 2017 (https://arxiv.org/abs/1706.04599), for a single output as in Kull et al.
        2019 (https://arxiv.org/abs/1910.12656).

        Returns:
            {"top": curve of the most probable output, "outputs": {name: curve}}. A curve has `pixels` in each bin;
            `probability` (mean) and `accuracy` of each bin, None for an empty bin; `ece`, None if no pixel is known;
            and `overconfidence`, the mean probability of all pixels minus their accuracy.
        """
        curves = [self._summarize(row) for row in range(len(self._pixels))]
        return {"top": curves[-1], "outputs": dict(zip(self._outputs, curves[:-1], strict=True))}

    def _summarize(self, row: int) -> dict[str, Any]:
        pixels, correct, predicted = self._pixels[row], self._correct[row], self._probability_sums[row]
        total, occupied = int(pixels.sum()), pixels > 0
        means = {
            name: [float(value / count) if count else None for value, count in zip(sums, pixels, strict=True)]
            for name, sums in (("probability", predicted), ("accuracy", correct))
        }
        ece = float(np.abs(predicted - correct)[occupied].sum() / total) if total else None
        overconfidence = float((predicted.sum() - correct.sum()) / total) if total else None
        return {"pixels": pixels.tolist()} | means | {"ece": ece, "overconfidence": overconfidence}


def describe_curve(curve: dict[str, Any]) -> str:
    """A sentence on a curve of `Calibration.summarize`, which quotes one of its bins."""
    quoted = next((number for number in _QUOTED_BINS if curve["pixels"][number] >= MIN_PIXELS), None)
    if quoted is None:
        return "Too few pixels are annotated to tell whether the network is well calibrated."
    probability, accuracy = curve["probability"][quoted], curve["accuracy"][quoted]
    verdict = "well calibrated"
    if abs(probability - accuracy) > MAX_FAIR_GAP:
        verdict = "overconfident" if probability > accuracy else "underconfident"
    span = f"{quoted / N_BINS:.1f} to {(quoted + 1) / N_BINS:.1f}"
    return (
        f"Pixels predicted with a probability of {span} (mean {probability:.2f}) are correct in "
        f"{100 * accuracy:.0f} % of cases: the network is {verdict} there."
    )
