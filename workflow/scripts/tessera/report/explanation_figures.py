"""Panels: pictures of what a network answers to a patch, and why."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from tessera.common.constants import IGNORE
from tessera.evaluation.class_activation_maps import LEVELS, PARTS, strongest
from tessera.training.patch_overlays import class_color, display_rgb, magnify, overlay_classes

CHANNELS = 4  # of a layer, beside the mean of all
MOST_OUTPUTS = 6  # of a picture, those of the largest areas
PANEL_PX = 256  # longer side
MAP_PX = 112
GAP_PX = 8
TEXT_PX = 13
LINE_PX = 20
_HEAT, _MAP = colormaps["inferno"], colormaps["viridis"]
_HEAT_SHARE = 0.75  # of the picture, where a class activation map is the greatest
_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


def draw_patch(folder, name, network, probe, pixels, truth, outputs, layers):
    """Draw what speaks for each class of a patch, and what layers answer to it.

    Args:
        folder: where to write.
        name: of the pictures.
        network: a Keras model.
        probe: a `tessera.evaluation.class_activation_maps.Probe` into it, at LEVELS and at `layers`.
        pixels: float32 (y, x, c), normalized.
        truth: uint8 (y, x), outputs; IGNORE is unknown.
        outputs: their names.
        layers: of `tessera.evaluation.class_activation_maps.choose_layers`.

    Returns:
        `picture` and `layers`, the names of the files, and `missed`, the outputs that are true here and found nowhere.
    """
    prediction = network(pixels[None], training=False).numpy()[0].argmax(-1).astype(np.uint8)
    areas = np.bincount(np.concatenate([truth[truth < len(outputs)], prediction.ravel()]), minlength=len(outputs))
    largest = np.argsort(-areas, kind="stable")[:MOST_OUTPUTS]
    regions = {output: prediction == output for output in sorted(largest[areas[largest] > 0].tolist())}
    missed = [output for output, region in regions.items() if not region.any()]
    # What would speak for a class that the network finds nowhere is told by the pixels that have it.
    regions |= {output: truth == output for output in missed}
    answers, maps = probe.look(pixels, regions)
    files = {"picture": f"{name}.png", "layers": f"{name}_layers.png"}
    draw_reasons(pixels, truth, prediction, maps, regions, outputs).save(folder / files["picture"])
    draw_layers(layers, answers).save(folder / files["layers"])
    return files | {"missed": [outputs[output] for output in missed]}


def draw_reasons(pixels, truth, prediction, maps, regions, names):
    """A patch, its truth and prediction, and below them the class activation maps, a row for each of LEVELS.

    Args:
        pixels: (y, x, c), normalized.
        truth, prediction: uint8 (y, x).
        maps: {output: a map (y, x) for each level}, from 0 on; each is shown up to its own maximum.
        regions: {output: bool (y, x)} whose scores the maps explain; they are outlined.
        names: of the outputs.

    Returns:
        A PIL image, RGB.
    """
    times = -(-PANEL_PX // max(truth.shape))
    shown, truth, prediction = (magnify(plane, times) for plane in (display_rgb(pixels), truth, prediction))
    title = "truth, hatched where unknown" if (truth == IGNORE).any() else "truth"
    panels = [("image", shown, None), (title, overlay_classes(shown, truth), None)]
    rows = [[*panels, ("prediction", overlay_classes(shown, prediction), None)]]
    grey = np.repeat(shown.mean(-1, keepdims=True), 3, axis=-1)
    for level, title in enumerate(LEVELS):
        rows.append([])
        for output, heats in maps.items():
            panel, region = heated(grey, heats[level]), magnify(regions[output], times)
            panel[find_boundaries(region, mode="inner")] = 1
            nothing = "" if heats[level].max() > 0 else ": nothing"
            colour = class_color(output) if output else "#808080"
            rows[-1].append((f"{names[output]}, {title}{nothing}", panel, colour))
    size = _fitted(shown.shape, PANEL_PX)
    picture, draw, places = _sheet(rows, size, LINE_PX)
    for (left, top), (title, panel, colour) in places:
        indent = 0
        if colour:
            draw.rectangle((left, top - LINE_PX + 4, left + TEXT_PX - 2, top - LINE_PX + 2 + TEXT_PX), fill=colour)
            indent = TEXT_PX + 4
        _write(draw, (left + indent, top - LINE_PX // 2), title, size[0] - indent)
        picture.paste(_picture(panel, size, Image.Resampling.LANCZOS), (left, top))
    return picture


def heated(shown, heat):
    """A picture (y, x, 3) of 0 to 1 under a map of any size, from 0 to its maximum: the hotter, the more it covers."""
    heat = resize(heat / (heat.max() or 1), shown.shape[:2], order=1, mode="edge")
    share = _HEAT_SHARE * np.sqrt(heat)[..., None]
    return (1 - share) * shown + share * _HEAT(heat)[..., :3]


def draw_layers(layers, answers):
    """The maps of layers: the encoder's to the left and the decoder's to the right, a row for each stride.

    Of each layer the mean of all channels, and those that vary the most, each from its 1st to its 99th percentile.

    Args:
        layers: of `tessera.evaluation.class_activation_maps.choose_layers`.
        answers: their maps (y, x, c).

    Returns:
        A PIL image, RGB.
    """
    pairs = list(zip(layers, answers, strict=True))
    sides = [[pair for pair in pairs if pair[0].part == part] for part in PARTS]
    rows = [
        [panel for pair in row for panel in (_list_maps(*pair) if pair else [None] * (CHANNELS + 1))]
        for row in _align([side for side in sides if side])
    ]
    size = _fitted(answers[0].shape, MAP_PX)
    picture, draw, places = _sheet(rows, size, 2 * LINE_PX)
    for (left, top), (heading, title, plane) in places:
        _write(draw, (left, top - 3 * LINE_PX // 2), heading, CHANNELS * size[0], bold=True)
        _write(draw, (left, top - LINE_PX // 2), title, size[0])
        picture.paste(_picture(_coloured(plane), size, Image.Resampling.NEAREST), (left, top))
    return picture


def _list_maps(layer, maps):
    """(heading or "", title, map (y, x)) of the panels of a layer, None where it has fewer channels than panels."""
    heading = f"{layer.name}: {layer.part}, stride {layer.stride}, {maps.shape[-1]} channels"
    panels = [("", f"channel {channel}", maps[..., channel]) for channel in strongest(maps, CHANNELS)]
    return [(heading, "mean", maps.mean(-1)), *panels, *[None] * (CHANNELS - len(panels))]


def _coloured(plane):
    low, high = np.percentile(plane, (1, 99))
    return _MAP(np.clip((plane - low) / ((high - low) or 1), 0, 1))[..., :3]


def _align(sides):
    """Rows of one pair, or None, of each side's (layer, maps), those of a stride in one row, the finest first."""
    rows = []
    for stride in sorted({layer.stride for side in sides for layer, _ in side}):
        columns = [[pair for pair in side if pair[0].stride == stride] for side in sides]
        for number in range(max(map(len, columns))):
            rows.append([column[number] if number < len(column) else None for column in columns])
    return rows


def _sheet(rows, size, above_px):
    """A white picture with room for rows of panels of `size` (width, height) and for text above each.

    Returns:
        The picture, what draws on it, and [((left, top), panel)] of the panels that are not None.
    """
    width, height = size[0] + GAP_PX, size[1] + GAP_PX + above_px
    whole = max(map(len, rows)) * width + GAP_PX, len(rows) * height + GAP_PX
    picture = Image.new("RGB", whole, "white")
    places = [
        ((GAP_PX + column * width, row * height + above_px), panel)
        for row, panels in enumerate(rows)
        for column, panel in enumerate(panels)
        if panel is not None
    ]
    return picture, ImageDraw.Draw(picture), places


def _fitted(shape, longest_px):
    """(width, height) of a plane (y, x, ...) whose longer side becomes `longest_px`."""
    return tuple(max(1, round(side * longest_px / max(shape[:2]))) for side in shape[1::-1])


def _picture(shown, size, resampling):
    return Image.fromarray(np.rint(255 * shown).astype(np.uint8)).resize(size, resampling)


def _write(draw, place, text, width, *, bold=False):
    """Write `text` from `place` (left, middle) on; what is wider than `width` is cut."""
    font = ImageFont.truetype(str(_FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), TEXT_PX - 2 * bold)
    while text and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…" if len(text) > 2 else ""
    draw.text(place, text, fill="black", font=font, anchor="lm")
