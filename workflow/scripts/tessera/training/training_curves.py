"""Curves of trainings."""

from matplotlib.figure import Figure


def plot_training_curves(rows, best, path):
    """Draw loss and IoU over the epochs of a history; a line marks the epoch `best`, whose weights were kept."""
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, ious = figure.subplots(1, 2)
    for column, label in (("loss", "training"), ("val_loss", "validation")):
        losses.plot(epochs, [row[column] for row in rows], label=label, marker="." if len(rows) < 20 else None)
    for column in rows[0]:
        if column.startswith("val_iou_"):
            label = column.removeprefix("val_iou_")
            ious.plot(epochs, [row[column] for row in rows], label=label, marker="." if len(rows) < 20 else None)
    losses.set(xlabel="epoch", ylabel="loss", title="Loss")
    ious.set(xlabel="epoch", ylabel="intersection over union", ylim=(0, 1), title="IoU on the validation patches")
    for axes in (losses, ious):
        axes.axvline(best, color="0.6", linestyle="--", linewidth=1, label=f"kept: epoch {best}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
