"""Panels: pictures of what a network answers to a patch, and why."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from skimage.transform import resize

from .explanations import LEVELS, PARTS, strongest
from .overlays import class_colour, displayed, overlay
from .targets import IGNORE

CHANNELS = 4  # of a layer, beside the mean of all
MOST_OUTPUTS = 6  # of a picture, those of the largest areas
PANEL_INCHES = 2.3
MAP_INCHES = 0.95
DPI = 110
_HEAT = colormaps["inferno"]
_HEAT_SHARE = 0.75  # of the picture, where a class activation map is the greatest
_TITLES = {"fontsize": 8, "pad": 3}


def draw_patch(folder, name, network, probe, pixels, truth, outputs, layers):
    """Draw what speaks for each class of a patch, and what layers answer to it.

    Args:
        folder: where to write.
        name: of the pictures.
        network: a Keras model.
        probe: a `lib.explanations.Probe` into it, at LEVELS and at `layers`.
        pixels: float32 (y, x, c), normalised.
        truth: uint8 (y, x), outputs; IGNORE is unknown.
        outputs: their names.
        layers: of `lib.explanations.choose_layers`.

    Returns:
        `picture` and `layers`, the names of the files, and `missed`, the outputs that are true here and found nowhere.
    """
    prediction = network.predict_on_batch(pixels[None])[0].argmax(-1).astype(np.uint8)
    areas = np.bincount(np.concatenate([truth[truth < len(outputs)], prediction.ravel()]), minlength=len(outputs))
    largest = np.argsort(-areas, kind="stable")[:MOST_OUTPUTS]
    regions = {output: prediction == output for output in sorted(largest[areas[largest] > 0].tolist())}
    missed = [output for output, region in regions.items() if not region.any()]
    # What would speak for a class that the network finds nowhere is told by the pixels that have it.
    regions |= {output: truth == output for output in missed}
    answers, maps = probe.look(pixels, regions)
    draw_reasons(folder / f"{name}.png", pixels, truth, prediction, maps, regions, outputs)
    draw_layers(folder / f"{name}_layers.png", layers, answers)
    return {
        "picture": f"{name}.png",
        "layers": f"{name}_layers.png",
        "missed": [outputs[output] for output in missed],
    }


def draw_reasons(path, pixels, truth, prediction, maps, regions, names):
    """Draw a patch, its truth and prediction, and below them the class activation maps, a row for each of LEVELS.

    Args:
        path: PNG to write.
        pixels: (y, x, c), normalised.
        truth, prediction: uint8 (y, x).
        maps: {output: a map (y, x) for each level}, from 0 on; each is shown up to its own maximum.
        regions: {output: bool (y, x)} whose scores the maps explain; they are outlined.
        names: of the outputs.
    """
    shown = displayed(pixels)
    figure, grid = _grid(len(LEVELS) + 1, max(3, len(maps)), PANEL_INCHES, 0.3)
    title = "truth, hatched where unknown" if (truth == IGNORE).any() else "truth"
    tops = {"image": shown, title: overlay(shown, truth), "prediction": overlay(shown, prediction)}
    for axes, (label, panel) in zip(grid[0], tops.items(), strict=False):
        _show(axes, panel, label)
    grey = np.repeat(shown.mean(-1, keepdims=True), 3, axis=-1)
    for row, level in enumerate(LEVELS):
        for axes, (output, heats) in zip(grid[row + 1], maps.items(), strict=False):
            nothing = "" if heats[row].max() > 0 else ": nothing"
            _show(axes, heated(grey, heats[row]), f"{names[output]}, {level}{nothing}")
            if regions[output].any() and not regions[output].all():
                axes.contour(regions[output], levels=[0.5], colors="white", linewidths=0.7)
    marks = [Patch(color=class_colour(output), label=names[output]) for output in maps if output]
    figure.legend(handles=marks, loc="outside lower center", ncols=max(len(marks), 1), frameon=False, fontsize=8)
    figure.savefig(path, dpi=DPI)


def heated(shown, heat):
    """A picture (y, x, 3) of 0 to 1 under a map of any size, from 0 to its maximum: the hotter, the more it covers."""
    heat = resize(heat / (heat.max() or 1), shown.shape[:2], order=1, mode="edge")
    share = _HEAT_SHARE * np.sqrt(heat)[..., None]
    return (1 - share) * shown + share * _HEAT(heat)[..., :3]


def draw_layers(path, layers, answers):
    """Draw the maps of layers: the encoder's to the left and the decoder's to the right, a row for each stride.

    Of each layer the mean of all channels, and those that vary the most, each from its 1st to its 99th percentile.

    Args:
        path: PNG to write.
        layers: of `lib.explanations.choose_layers`.
        answers: their maps (y, x, c).
    """
    pairs = list(zip(layers, answers, strict=True))
    sides = [[pair for pair in pairs if pair[0].part == part] for part in PARTS]
    sides = [side for side in sides if side]
    rows = _align(sides)
    figure, grid = _grid(len(rows), (CHANNELS + 1) * len(sides), MAP_INCHES, 0.45)
    for line, row in zip(grid, rows, strict=True):
        for side, pair in enumerate(row):
            if pair:
                _draw_layer(line[side * (CHANNELS + 1) :], *pair)
    figure.savefig(path, dpi=DPI)


def _draw_layer(line, layer, maps):
    panels = [("mean", maps.mean(-1))]
    panels += [(f"channel {channel}", maps[..., channel]) for channel in strongest(maps, CHANNELS)]
    for axes, (label, plane) in zip(line, panels, strict=False):
        low, high = np.percentile(plane, (1, 99))
        _show(axes, plane, label, cmap="viridis", vmin=low, vmax=high if high > low else low + 1)
    text = f"{layer.name}: {layer.part}, stride {layer.stride}, {maps.shape[-1]} channels"
    options = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 8, "weight": "bold"}
    line[0].annotate(text, (0, 1), (0, 15), **options)


def _align(sides):
    """Rows of one pair, or None, of each side's (layer, maps), those of a stride in one row, the finest first."""
    rows = []
    for stride in sorted({layer.stride for side in sides for layer, _ in side}):
        columns = [[pair for pair in side if pair[0].stride == stride] for side in sides]
        for number in range(max(map(len, columns))):
            rows.append([column[number] if number < len(column) else None for column in columns])
    return rows


def _grid(rows, columns, inches, above):
    """A figure of square panels with room `above` each for its titles, in inches."""
    figure = Figure(figsize=(columns * inches, rows * (inches + above)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    return figure, grid


def _show(axes, plane, label, **options):
    axes.imshow(plane, interpolation="nearest", **options)
    axes.set_title(label, **_TITLES)
