"""The figure of the thresholds that were tuned for a model."""

import base64
import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

TITLES = {
    "seed": "Seed threshold",
    "seed_depth_px": "Depth of seeds (px)",
    "foreground": "Foreground threshold",
    "min_area_px": "Smallest area (px)",
}


def draw_threshold_curves(tuned: Mapping[str, Any]) -> str:
    """Plot the curves of `tessera.evaluation.threshold_tuning`, with lines at the values that were taken.

    Returns:
        The figure as a data URI.
    """
    figure = Figure(figsize=(12, 3), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 4, sharey=True), TITLES.items(), strict=True):
        axes.plot(*zip(*tuned["curves"][name], strict=True), marker=".")
        axes.axvline(tuned[name], color="0.6", linestyle="--", linewidth=1, label=f"taken: {tuned[name]:g}")
        axes.set(xlabel=title, title=title)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("mean AP of the validation patches")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
