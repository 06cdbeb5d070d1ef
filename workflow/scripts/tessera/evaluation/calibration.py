"""Calibrations: whether probabilities are what they say, so that of the pixels with 0.8 four in five are right."""

import numpy as np

BINS = 10
LEAST_PIXELS = 100  # of a bin that is spoken about
FAIR = 0.05  # what is said and what is right may differ by so much
_EXEMPLARY = (8, 7, 6, 5, 9)  # bins to speak about, the first that has pixels enough


class Calibration:
    """Counts of pixels by what a network said of them and whether that was right; they take no memory of the pixels.

    Args:
        outputs: names of the network's outputs.
    """

    def __init__(self, outputs):
        self._outputs = list(outputs)
        shape = len(self._outputs) + 1, BINS  # the last row is of the most probable output
        self._pixels, self._right, self._said = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape)

    def add(self, probabilities, targets):
        """Count some pixels.

        Args:
            probabilities: float (n, y, x, outputs), of 0 to 1.
            targets: uint8 (n, y, x), the true outputs; what is no output, such as IGNORE, is unknown and not counted.
        """
        known = targets < len(self._outputs)
        said, true = probabilities[known], targets[known]
        for output in range(len(self._outputs)):
            self._count(output, said[:, output], true == output)
        self._count(-1, said.max(-1), said.argmax(-1) == true)

    def _count(self, row, said, right):
        bins = np.minimum((said * BINS).astype(np.intp), BINS - 1)
        self._pixels[row] += np.bincount(bins, minlength=BINS)
        self._right[row] += np.bincount(bins[right], minlength=BINS)
        self._said[row] += np.bincount(bins, said, minlength=BINS)

    def summarise(self):
        """How what was said and what was right agree.

        The expected calibration error is the mean over all pixels of the distance between the two means of their bin:
        Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602; of the most probable output, as in Guo et al. 2017,
        https://arxiv.org/abs/1706.04599; of one output, as in Kull et al. 2019, https://arxiv.org/abs/1910.12656.

        Returns:
            {"top", "outputs": {output}}, each a dict of `pixels` in each bin, `said` and `right`, means of the bin or
            None where it is empty, `ece`, None where no pixel is known, and `excess`, by how much more is said than is
            right on the whole.
        """
        rows = [self._summarise(row) for row in range(len(self._pixels))]
        return {"top": rows[-1], "outputs": dict(zip(self._outputs, rows[:-1], strict=True))}

    def _summarise(self, row):
        pixels, right, said = self._pixels[row], self._right[row], self._said[row]
        total, full = int(pixels.sum()), pixels > 0
        means = {
            name: [float(value / count) if count else None for value, count in zip(sums, pixels, strict=True)]
            for name, sums in (("said", said), ("right", right))
        }
        ece = float(np.abs(said - right)[full].sum() / total) if total else None
        excess = float((said.sum() - right.sum()) / total) if total else None
        return {"pixels": pixels.tolist()} | means | {"ece": ece, "excess": excess}


def say(curve):
    """A sentence on a curve of `Calibration.summarise`, by one bin of it."""
    bin_ = next((bin_ for bin_ in _EXEMPLARY if curve["pixels"][bin_] >= LEAST_PIXELS), None)
    if bin_ is None:
        return "Too few pixels are known to say whether the network's probabilities are right."
    said, right = curve["said"][bin_], curve["right"][bin_]
    verdict = "which is fair"
    if abs(said - right) > FAIR:
        verdict = "so it is overconfident" if said > right else "so it is more cautious than it need be"
    span = f"from {bin_ / BINS:.1f} to {(bin_ + 1) / BINS:.1f}"
    return f"Where the network says {said:.2f} ({span}), it is right {100 * right:.0f} % of the time, {verdict}."
