"""Overlays: classes in colours over pixels, and panels of image, truth and prediction."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from tessera.common.constants import IGNORE

# After Okabe and Ito; a class takes the colour at its place, round and round.
COLORS = ["#ffd400", "#00b7ff", "#ff6db6", "#00c08b", "#ff7a1a", "#a78bfa"]
PANEL_PX = (256, 512)  # smaller patches are magnify, larger ones reduced
FILL = 0.4
TEXT_PX = 14
GAP_PX = 6


def class_color(class_):
    """Colour of a class, from 1 on, as #rrggbb."""
    return COLORS[(class_ - 1) % len(COLORS)]


def display_rgb(pixels):
    """RGB (y, x, 3) float32 of 0 to 1 of normalized pixels (y, x, c): three channels as colours, else the brightest."""
    shown = pixels if pixels.shape[-1] == 3 else np.repeat(pixels.max(-1, keepdims=True), 3, axis=-1)
    return np.clip(shown, 0, 1).astype(np.float32)


def hatch_unknown(shown, unknown):
    """Darken and hatch_unknown the pixels (y, x, 3) that are `unknown` (y, x), in place."""
    y, x = np.indices(unknown.shape)
    shown[unknown] *= 0.5
    shown[unknown & ((y + x) % 16 < 2)] = 0.35


def magnify(plane, times):
    """(y, x, ...) with each pixel as a square of `times` x `times`."""
    return plane.repeat(times, axis=0).repeat(times, axis=1)


def overlay_classes(shown, classes):
    """Fill the classes, background aside, with their colours, and outline them.

    Args:
        shown: (y, x, 3) of 0 to 1.
        classes: (y, x) uint8; IGNORE is hatched.

    Returns:
        (y, x, 3) float32 of 0 to 1.
    """
    shown, unknown = shown.copy(), classes == IGNORE
    edges = find_boundaries(classes, mode="inner")
    for class_ in np.unique(classes[(classes > 0) & ~unknown]):
        colour, own = np.array(to_rgb(class_color(int(class_)))), classes == class_
        shown[own] = (1 - FILL) * shown[own] + FILL * colour
        shown[own & edges] = colour
    hatch_unknown(shown, unknown)
    return shown


def draw_comparison(pixels, truth, prediction, names):
    """A patch as it is, with its truth, and with its prediction, side by side above a legend.

    Args:
        pixels: (y, x, c), normalized.
        truth, prediction: (y, x) uint8, classes; IGNORE is unknown.
        names: of the classes, background first.

    Returns:
        A PIL image, RGB.
    """
    times = -(-PANEL_PX[0] // max(truth.shape))
    shown, truth, prediction = (magnify(plane, times) for plane in (display_rgb(pixels), truth, prediction))
    title = "truth, hatched where unknown" if (truth == IGNORE).any() else "truth"
    panels = {"image": shown, title: overlay_classes(shown, truth), "prediction": overlay_classes(shown, prediction)}
    panels = {title: _picture(panel) for title, panel in panels.items()}
    width, height = panels["image"].size
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), TEXT_PX)
    line_px = TEXT_PX + GAP_PX
    whole_px = 3 * width + 2 * GAP_PX
    legend = _laid_out(names[1:], font, whole_px)
    picture = Image.new("RGB", (whole_px, height + line_px * (2 + legend[-1][1])), "white")
    draw = ImageDraw.Draw(picture)
    for number, (title, panel) in enumerate(panels.items()):
        left = number * (width + GAP_PX)
        draw.text((left + width // 2, line_px // 2), title, fill="black", font=font, anchor="mm")
        picture.paste(panel, (left, line_px))
    for class_, (left, line, name) in enumerate(legend, start=1):
        top = line_px + height + line * line_px + GAP_PX // 2
        draw.rectangle((left, top, left + TEXT_PX, top + TEXT_PX), fill=class_color(class_))
        draw.text((left + line_px, top + TEXT_PX // 2), name, fill="black", font=font, anchor="lm")
    return picture


def _picture(shown):
    picture = Image.fromarray(np.rint(255 * shown).astype(np.uint8))
    picture.thumbnail((PANEL_PX[1], PANEL_PX[1]), Image.Resampling.LANCZOS)
    return picture


def _laid_out(names, font, width):
    """(left, line, name) of each entry of a legend; a name that is longer than a line is cut."""
    entries, left, line = [], 0, 0
    for name in names:
        room = width - TEXT_PX - 3 * GAP_PX
        shown = name
        while font.getlength(shown) > room:
            shown = shown.removesuffix("…")[:-1] + "…"
        needed = TEXT_PX + 3 * GAP_PX + int(font.getlength(shown))
        if left and left + needed > width:
            left, line = 0, line + 1
        entries.append((left, line, shown))
        left += needed
    return entries
