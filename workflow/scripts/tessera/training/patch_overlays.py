"""Overlays on patches: classes in color over pixels, and comparisons of image, ground truth and prediction.

The loggers of a training, the contact sheet of patches and the figures of rule explain draw with these functions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from tessera.common.constants import IGNORE

# Colors after Okabe and Ito; with more classes than colors they repeat.
COLORS = ["#ffd400", "#00b7ff", "#ff6db6", "#00c08b", "#ff7a1a", "#a78bfa"]
PANEL_PX = (256, 512)  # smaller patches are magnified, larger ones reduced
FILL_OPACITY = 0.4
FONT_SIZE_PX = 14
GAP_PX = 6


def class_color(class_id: int) -> str:
    """Return the color of a class, from 1 on, as #rrggbb."""
    return COLORS[(class_id - 1) % len(COLORS)]


def display_rgb(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return normalized pixels (y, x, c) as RGB (y, x, 3) from 0 to 1: three channels as colors, else their maximum."""
    rgb = pixels if pixels.shape[-1] == 3 else np.repeat(pixels.max(-1, keepdims=True), 3, axis=-1)
    return np.clip(rgb, 0, 1).astype(np.float32)


def hatch_unknown(rgb: NDArray[np.float32], unknown: NDArray[np.bool_]) -> None:
    """Darken and hatch the pixels of `rgb` (y, x, 3) where `unknown` (y, x), in place."""
    y, x = np.indices(unknown.shape)
    rgb[unknown] *= 0.5
    rgb[unknown & ((y + x) % 16 < 2)] = 0.35


def magnify(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return `plane` (y, x, ...) with each pixel as a square of `factor` x `factor` pixels."""
    return plane.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay_classes(rgb: NDArray[np.float32], classes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Fill all classes except the background with their colors, and outline them.

    Args:
        rgb: (y, x, 3), from 0 to 1.
        classes: (y, x) uint8; IGNORE is hatched.

    Returns:
        (y, x, 3) float32, from 0 to 1.
    """
    rgb, unknown = rgb.copy(), classes == IGNORE
    edges = find_boundaries(classes, mode="inner")
    for class_id in np.unique(classes[(classes > 0) & ~unknown]):
        color, inside = np.array(to_rgb(class_color(int(class_id)))), classes == class_id
        rgb[inside] = (1 - FILL_OPACITY) * rgb[inside] + FILL_OPACITY * color
        rgb[inside & edges] = color
    hatch_unknown(rgb, unknown)
    return rgb


def draw_comparison(
    pixels: NDArray[Any], truth: NDArray[np.uint8], prediction: NDArray[np.uint8], names: Sequence[str]
) -> Image.Image:
    """Draw a patch, its ground truth and its prediction side by side, above a legend.

    Args:
        pixels: (y, x, c), normalized.
        truth: (y, x) uint8, true classes; IGNORE is unknown.
        prediction: (y, x) uint8, predicted classes.
        names: names of the classes, background first.

    Returns:
        A PIL image in RGB.
    """
    factor = -(-PANEL_PX[0] // max(truth.shape))
    rgb, truth, prediction = (magnify(plane, factor) for plane in (display_rgb(pixels), truth, prediction))
    truth_title = "truth, hatched where unknown" if (truth == IGNORE).any() else "truth"
    overlays = {"image": rgb, truth_title: overlay_classes(rgb, truth), "prediction": overlay_classes(rgb, prediction)}
    panels = {title: _make_panel(overlay) for title, overlay in overlays.items()}
    width, height = panels["image"].size
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), FONT_SIZE_PX)
    line_px = FONT_SIZE_PX + GAP_PX
    total_width = 3 * width + 2 * GAP_PX
    legend = _lay_out_legend(names[1:], font, total_width)
    picture = Image.new("RGB", (total_width, height + line_px * (2 + legend[-1][1])), "white")
    draw = ImageDraw.Draw(picture)
    for number, (title, panel) in enumerate(panels.items()):
        left = number * (width + GAP_PX)
        draw.text((left + width // 2, line_px // 2), title, fill="black", font=font, anchor="mm")
        picture.paste(panel, (left, line_px))
    for class_id, (left, line, name) in enumerate(legend, start=1):
        top = line_px + height + line * line_px + GAP_PX // 2
        draw.rectangle((left, top, left + FONT_SIZE_PX, top + FONT_SIZE_PX), fill=class_color(class_id))
        draw.text((left + line_px, top + FONT_SIZE_PX // 2), name, fill="black", font=font, anchor="lm")
    return picture


def _make_panel(rgb: NDArray[np.float32]) -> Image.Image:
    panel = Image.fromarray(np.rint(255 * rgb).astype(np.uint8))
    panel.thumbnail((PANEL_PX[1], PANEL_PX[1]), Image.Resampling.LANCZOS)
    return panel


def _lay_out_legend(names: Sequence[str], font: ImageFont.FreeTypeFont, width: int) -> list[tuple[int, int, str]]:
    """Return (left, line, name) of each entry of a legend; names that are longer than a line are shortened."""
    entries, left, line = [], 0, 0
    for name in names:
        max_text_px = width - FONT_SIZE_PX - 3 * GAP_PX
        text = name
        while font.getlength(text) > max_text_px:
            text = text.removesuffix("…")[:-1] + "…"
        entry_px = FONT_SIZE_PX + 3 * GAP_PX + int(font.getlength(text))
        if left and left + entry_px > width:
            left, line = 0, line + 1
        entries.append((left, line, text))
        left += entry_px
    return entries
