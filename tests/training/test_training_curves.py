"""Training curves: the figure of a history."""

import math

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tessera.training.training_curves import plot_training_curves


def test_curves_show_losses_ious_and_the_best_epoch(tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    rows = [
        {
            "epoch": n,
            "loss": 1 / n,
            "val_loss": 2 / n,
            "val_iou": 0.1 * n,
            "val_iou_cell": 0.1 * n,
            "val_iou_rim": math.nan,
        }
        for n in (1, 2, 3)
    ]
    plot_training_curves(rows, 2, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1200, 480)
    losses, ious = figures[0].axes
    lines = {line.get_label(): line.get_xydata() for line in losses.lines}
    assert np.allclose(lines["training"], [[1, 1], [2, 1 / 2], [3, 1 / 3]])
    assert np.allclose(lines["validation"], [[1, 2], [2, 1], [3, 2 / 3]])
    assert [line.get_label() for line in ious.lines] == ["cell", "rim", "kept: epoch 2"]
    assert ious.lines[-1].get_xdata()[0] == 2
