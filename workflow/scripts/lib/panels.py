"""Panels: pictures of what a network answers to a patch, and why."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from skimage.transform import resize

from .overlays import class_colour, displayed, overlay
from .targets import IGNORE

CHANNELS = 4  # of a layer, beside the mean of all
PANEL_INCHES = 2.3
MAP_INCHES = 0.95
DPI = 110
_HEAT = colormaps["inferno"]
_HEAT_SHARE = 0.75  # of the picture, where a class activation map is the greatest
_TITLES = {"fontsize": 8, "pad": 3}


def draw_reasons(path, pixels, truth, prediction, maps, regions, names, levels):
    """Draw a patch, its truth and prediction, and below them the class activation maps, a row for each level.

    Args:
        path: PNG to write.
        pixels: (y, x, c), normalised.
        truth, prediction: uint8 (y, x).
        maps: {output: a map (y, x) for each level}, from 0 on; each is shown up to its own maximum.
        regions: {output: bool (y, x)} whose scores the maps explain; they are outlined.
        names: of the outputs.
        levels: names of the rows.
    """
    shown, columns = displayed(pixels), max(3, len(maps))
    figure, grid = _grid(len(levels) + 1, columns, PANEL_INCHES)
    title = "truth, hatched where unknown" if (truth == IGNORE).any() else "truth"
    for axes, (panel, label) in zip(
        grid[0],
        ((shown, "image"), (overlay(shown, truth), title), (overlay(shown, prediction), "prediction")),
        strict=False,
    ):
        _show(axes, panel, label)
    grey = np.repeat(shown.mean(-1, keepdims=True), 3, axis=-1)
    for row, level in enumerate(levels):
        for axes, (output, heats) in zip(grid[row + 1], maps.items(), strict=False):
            heat, region = heats[row], regions[output]
            label = f"{names[output]}, {level}" + ("" if heat.max() > 0 else ": nothing speaks for it")
            _show(axes, heated(grey, heat), label)
            if region.any() and not region.all():
                axes.contour(region, levels=[0.5], colors="white", linewidths=0.6)
    marks = [Patch(color=class_colour(output), label=name) for output, name in enumerate(names) if output]
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 6), frameon=False, fontsize=8)
    figure.savefig(path, dpi=DPI)


def heated(shown, heat):
    """A picture (y, x, 3) of 0 to 1 under a map of any size, from 0 to its maximum: the hotter, the more it covers."""
    heat = resize(heat / (heat.max() or 1), shown.shape[:2], order=1, mode="edge")
    share = _HEAT_SHARE * np.sqrt(heat)[..., None]
    return (1 - share) * shown + share * _HEAT(heat)[..., :3]


def draw_layers(path, layers, answers, chosen):
    """Draw the maps of layers: the encoder's to the left and the decoder's to the right, a row for each stride.

    Args:
        path: PNG to write.
        layers: of `lib.explanations.choose_layers`.
        answers: their maps (y, x, c).
        chosen: the channels of each to show, after the mean of all.
    """
    sides = {
        part: [place for place, layer in enumerate(layers) if layer.part == part] for part in ("encoder", "decoder")
    }
    sides = {part: places for part, places in sides.items() if places}
    rows = _align([[(layers[place].stride, place) for place in places] for places in sides.values()])
    figure, grid = _grid(len(rows), (CHANNELS + 1) * len(sides), MAP_INCHES)
    for line, row in zip(grid, rows, strict=True):
        for side, place in enumerate(row):
            if place is None:
                continue
            maps, channels = answers[place], chosen[place]
            first = side * (CHANNELS + 1)
            panels = [("mean", maps.mean(-1)), *((f"no. {channel}", maps[..., channel]) for channel in channels)]
            for axes, (label, plane) in zip(line[first:], panels, strict=False):
                low, high = np.percentile(plane, (1, 99))
                _show(axes, plane, label, cmap="viridis", vmin=low, vmax=max(high, math.nextafter(low, math.inf)))
            layer = layers[place]
            text = f"{layer.name}: {layer.part}, stride {layer.stride}, {maps.shape[-1]} channels"
            line[first].annotate(
                text, (0, 1), (0, 16), xycoords="axes fraction", textcoords="offset points", fontsize=8, weight="bold"
            )
    figure.savefig(path, dpi=DPI)


def _align(sides):
    """Rows of places, one or None of each side's [(stride, place)], those of a stride in one row, the finest first."""
    rows = []
    for stride in sorted({stride for side in sides for stride, _ in side}):
        columns = [[place for own, place in side if own == stride] for side in sides]
        for number in range(max(map(len, columns))):
            rows.append([column[number] if number < len(column) else None for column in columns])
    return rows


def _grid(rows, columns, inches):
    # The room above each panel is for its title, that above a row of maps for the layer's name.
    figure = Figure(figsize=(columns * inches, rows * (inches + 0.32)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    return figure, grid


def _show(axes, plane, label, **options):
    axes.imshow(plane, interpolation="nearest", **options)
    axes.set_title(label, **_TITLES)
