"""Figures of rule explain: the prediction of a patch, its class activation maps, and feature maps of layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from tessera.common.constants import IGNORE
from tessera.evaluation.class_activation_maps import LEVELS, PARTS, Layer, Probe, most_variable_channels
from tessera.training.patch_overlays import class_color, display_rgb, magnify, overlay_classes

N_CHANNELS = 4  # of a layer, in addition to the mean of all
MAX_OUTPUTS = 6  # of a figure, those with the largest areas
PANEL_PX = 256  # longer side of a patch
MAP_PX = 112  # longer side of a feature map
GAP_PX = 8
TEXT_PX = 13
LINE_PX = 20
_HEAT, _MAP = colormaps["inferno"], colormaps["viridis"]
_HEAT_OPACITY = 0.75  # where a class activation map is the highest
_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")

RgbImage: TypeAlias = NDArray[np.floating[Any]]  # (y, x, 3), from 0 to 1
Size: TypeAlias = tuple[int, int]  # width, height


class _Panel(NamedTuple):
    """A panel of `draw_class_maps`: its title, its pixels, and a color to mark it with, or None."""

    title: str
    pixels: RgbImage
    color: str | None


class _MapPanel(NamedTuple):
    """A panel of `draw_feature_maps`: the heading of its row or "", its title, and the feature map (y, x)."""

    heading: str
    title: str
    plane: NDArray[np.float32]


def draw_patch(
    folder: Path,
    name: str,
    network: Any,
    probe: Probe,
    pixels: NDArray[np.float32],
    truth: NDArray[np.uint8],
    *,
    outputs: Sequence[str],
    layers: Sequence[Layer],
) -> dict[str, Any]:
    """Draw the class activation maps of a patch, and the feature maps of layers.

    Args:
        folder: folder to write to.
        name: name of the figures.
        network: the Keras model.
        probe: probe of the network at LEVELS and at `layers`.
        pixels: patch (y, x, c), normalized.
        truth: true outputs (y, x); IGNORE is unknown.
        outputs: names of the outputs.
        layers: layers to show, from `tessera.evaluation.class_activation_maps.choose_layers`.

    Returns:
        `figure` and `layers`, the names of the files; and `missed`, the classes that the patch shows and that were
        predicted nowhere.
    """
    prediction = network(pixels[None], training=False).numpy()[0].argmax(-1).astype(np.uint8)
    areas = np.bincount(np.concatenate([truth[truth < len(outputs)], prediction.ravel()]), minlength=len(outputs))
    largest = np.argsort(-areas, kind="stable")[:MAX_OUTPUTS]
    regions = {output: prediction == output for output in sorted(largest[areas[largest] > 0].tolist())}
    missed = [output for output, region in regions.items() if not region.any()]
    # A class that is predicted nowhere is explained by its true pixels.
    regions |= {output: truth == output for output in missed}
    feature_maps, class_maps = probe.inspect(pixels, regions)
    files = {"figure": f"{name}.png", "layers": f"{name}_layers.png"}
    draw_class_maps(pixels, truth, prediction, class_maps, regions, outputs).save(folder / files["figure"])
    draw_feature_maps(layers, feature_maps).save(folder / files["layers"])
    return files | {"missed": [outputs[output] for output in missed]}


def draw_class_maps(
    pixels: NDArray[np.float32],
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    maps: Mapping[int, Sequence[NDArray[np.float32]]],
    regions: Mapping[int, NDArray[np.bool_]],
    names: Sequence[str],
) -> Image.Image:
    """A patch, its ground truth and prediction, and below them the class activation maps, a row for each of LEVELS.

    Args:
        pixels: patch (y, x, c), normalized.
        truth: true outputs (y, x).
        prediction: predicted outputs (y, x).
        maps: {output: a map (y, x) for each level}, at least 0; each is scaled to its own maximum.
        regions: {output: mask (y, x)} of the pixels that the maps explain; they are outlined.
        names: names of the outputs.

    Returns:
        An RGB image.
    """
    times = -(-PANEL_PX // max(truth.shape))
    shown, truth, prediction = (magnify(plane, times) for plane in (display_rgb(pixels), truth, prediction))
    title = "ground truth, hatched where unknown" if (truth == IGNORE).any() else "ground truth"
    panels = [_Panel("image", shown, None), _Panel(title, overlay_classes(shown, truth), None)]
    rows = [[*panels, _Panel("prediction", overlay_classes(shown, prediction), None)]]
    grey = np.repeat(shown.mean(-1, keepdims=True), 3, axis=-1)
    for level, level_name in enumerate(LEVELS):
        rows.append([])
        for output, heats in maps.items():
            panel, region = overlay_heat(grey, heats[level]), magnify(regions[output], times)
            panel[find_boundaries(region, mode="inner")] = 1
            empty = "" if heats[level].max() > 0 else ": empty"
            color = class_color(output) if output else "#808080"
            rows[-1].append(_Panel(f"{names[output]}, {level_name}{empty}", panel, color))
    size = _fit(shown.shape, PANEL_PX)
    figure, draw, places = _arrange(rows, size, LINE_PX)
    for (left, top), panel in places:
        indent = 0
        if panel.color:
            box = (left, top - LINE_PX + 4, left + TEXT_PX - 2, top - LINE_PX + 2 + TEXT_PX)
            draw.rectangle(box, fill=panel.color)
            indent = TEXT_PX + 4
        _write(draw, (left + indent, top - LINE_PX // 2), panel.title, size[0] - indent)
        figure.paste(_to_image(panel.pixels, size, Image.Resampling.LANCZOS), (left, top))
    return figure


def overlay_heat(shown: RgbImage, heat: NDArray[np.floating[Any]]) -> RgbImage:
    """A picture (y, x, 3) under a map (y, x) of any size, scaled to its maximum; high values are more opaque."""
    heat = resize(heat / (heat.max() or 1), shown.shape[:2], order=1, mode="edge")
    opacity = _HEAT_OPACITY * np.sqrt(heat)[..., None]
    return (1 - opacity) * shown + opacity * _HEAT(heat)[..., :3]


def draw_feature_maps(layers: Sequence[Layer], feature_maps: Sequence[NDArray[np.float32]]) -> Image.Image:
    """Feature maps of layers: the encoder's on the left and the decoder's on the right, a row for each stride.

    Each layer shows the mean of all channels, and the channels that vary most, each from its 1st to its 99th
    percentile.

    Args:
        layers: the layers.
        feature_maps: their feature maps (y, x, c).

    Returns:
        An RGB image.
    """
    pairs = list(zip(layers, feature_maps, strict=True))
    parts = [[pair for pair in pairs if pair[0].part == part] for part in PARTS]
    rows = [
        [panel for pair in row for panel in (_list_panels(*pair) if pair else [None] * (N_CHANNELS + 1))]
        for row in _align([part for part in parts if part])
    ]
    size = _fit(feature_maps[0].shape, MAP_PX)
    figure, draw, places = _arrange(rows, size, 2 * LINE_PX)
    for (left, top), panel in places:
        _write(draw, (left, top - 3 * LINE_PX // 2), panel.heading, N_CHANNELS * size[0], bold=True)
        _write(draw, (left, top - LINE_PX // 2), panel.title, size[0])
        figure.paste(_to_image(_color_map(panel.plane), size, Image.Resampling.NEAREST), (left, top))
    return figure


def _list_panels(layer: Layer, maps: NDArray[np.float32]) -> list[_MapPanel | None]:
    """The panels of a layer; None where it has fewer channels than panels."""
    heading = f"{layer.name}: {layer.part}, stride {layer.stride}, {maps.shape[-1]} channels"
    channels = most_variable_channels(maps, N_CHANNELS)
    panels = [_MapPanel("", f"channel {channel}", maps[..., channel]) for channel in channels]
    return [_MapPanel(heading, "mean", maps.mean(-1)), *panels, *[None] * (N_CHANNELS - len(panels))]


def _color_map(plane: NDArray[np.float32]) -> RgbImage:
    low, high = np.percentile(plane, (1, 99))
    return _MAP(np.clip((plane - low) / ((high - low) or 1), 0, 1))[..., :3]


def _align(parts: Sequence[Sequence[tuple[Layer, Any]]]) -> list[list[tuple[Layer, Any] | None]]:
    """Rows with one pair (layer, maps), or None, of each part; equal strides share rows, the smallest stride first."""
    rows = []
    for stride in sorted({layer.stride for part in parts for layer, _ in part}):
        columns = [[pair for pair in part if pair[0].stride == stride] for part in parts]
        for number in range(max(map(len, columns))):
            rows.append([column[number] if number < len(column) else None for column in columns])
    return rows


def _arrange(
    rows: Sequence[Sequence[Any]], size: Size, above_px: int
) -> tuple[Image.Image, ImageDraw.ImageDraw, list[tuple[tuple[int, int], Any]]]:
    """A white figure with room for rows of panels of `size` and for text above each panel.

    Returns:
        The figure, an object that draws on it, and [((left, top), panel)] of the panels that are not None.
    """
    width, height = size[0] + GAP_PX, size[1] + GAP_PX + above_px
    figure = Image.new("RGB", (max(map(len, rows)) * width + GAP_PX, len(rows) * height + GAP_PX), "white")
    places = [
        ((GAP_PX + column * width, row * height + above_px), panel)
        for row, panels in enumerate(rows)
        for column, panel in enumerate(panels)
        if panel is not None
    ]
    return figure, ImageDraw.Draw(figure), places


def _fit(shape: Sequence[int], longest_px: int) -> Size:
    """(width, height) of a plane (y, x, ...) whose longer side becomes `longest_px`."""
    width, height = (max(1, round(length * longest_px / max(shape[:2]))) for length in shape[1::-1])
    return width, height


def _to_image(shown: RgbImage, size: Size, resampling: Image.Resampling) -> Image.Image:
    return Image.fromarray(np.rint(255 * shown).astype(np.uint8)).resize(size, resampling)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, *, bold: bool = False) -> None:
    """Write `text` to the right of `place` (left, middle); text wider than `width` is cut."""
    font = ImageFont.truetype(str(_FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), TEXT_PX - 2 * bold)
    while text and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…" if len(text) > 2 else ""
    draw.text(place, text, fill="black", font=font, anchor="lm")
