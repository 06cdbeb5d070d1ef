"""Training curves: the figure curves.png of a model's folder."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tessera.common.types import StrPath
from tessera.training.early_stopping import HistoryRow


def plot_training_curves(rows: Sequence[HistoryRow], best_epoch: int, path: StrPath) -> None:
    """Plot loss and IoU against the epoch.

    Args:
        rows: history of the training.
        best_epoch: epoch whose weights were kept; a dashed line marks it.
        path: file to write; its suffix gives the format.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, iou_axes = figure.subplots(1, 2)
    for column, label in (("loss", "training"), ("val_loss", "validation")):
        marker = "." if len(rows) < 20 else None
        loss_axes.plot(epochs, [row[column] for row in rows], label=label, marker=marker)
    for column in rows[0]:
        if column.startswith("val_iou_"):
            label = column.removeprefix("val_iou_")
            iou_axes.plot(epochs, [row[column] for row in rows], label=label, marker="." if len(rows) < 20 else None)
    loss_axes.set(xlabel="epoch", ylabel="loss", title="Loss")
    iou_axes.set(xlabel="epoch", ylabel="intersection over union", ylim=(0, 1), title="IoU on the validation patches")
    for axes in (loss_axes, iou_axes):
        axes.axvline(best_epoch, color="0.6", linestyle="--", linewidth=1, label=f"kept: epoch {best_epoch}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
