"""Figures of explanations show what they are given, where it belongs."""

import numpy as np
import pytest

from tessera.common.constants import IGNORE
from tessera.evaluation.class_activation_maps import Layer
from tessera.report.explanation_figures import (
    GAP_PX,
    LINE_PX,
    MAP_PX,
    N_CHANNELS,
    PANEL_PX,
    draw_class_maps,
    draw_feature_maps,
    overlay_heat,
)


def test_heat_covers_the_picture_where_it_is_high():
    shown = np.full((8, 8, 3), 0.5)
    heat = np.zeros((8, 8))
    heat[:, 4:] = 2.0
    covered = overlay_heat(shown, heat)
    assert covered[:, 0] == pytest.approx(0.5)
    # The highest value of inferno, (0.988, 1.0, 0.645), at an opacity of 0.75.
    assert covered[4, 7] == pytest.approx([0.25 * 0.5 + 0.75 * part for part in (0.988362, 0.998364, 0.644924)])


def test_an_empty_map_leaves_the_picture_unchanged():
    assert overlay_heat(np.full((4, 4, 3), 0.3), np.zeros((2, 2))) == pytest.approx(0.3)


def test_class_maps_have_a_row_of_three_panels_and_a_row_for_each_level():
    pixels = np.zeros((64, 64, 1), np.float32)
    truth = np.zeros((64, 64), np.uint8)
    truth[:, :8] = IGNORE
    region = np.zeros((64, 64), bool)
    region[16:48, 16:48] = True
    maps = {1: [np.ones((8, 8), np.float32), np.ones((64, 64), np.float32)]}
    figure = draw_class_maps(pixels, truth, region.astype(np.uint8), maps, {1: region}, ["background", "cell"])
    height = PANEL_PX + GAP_PX + LINE_PX
    assert figure.size == (3 * (PANEL_PX + GAP_PX) + GAP_PX, 3 * height + GAP_PX)
    drawn = np.asarray(figure)
    image = drawn[LINE_PX : LINE_PX + PANEL_PX, GAP_PX : GAP_PX + PANEL_PX]
    assert (image == 0).all()
    bottleneck = drawn[height + LINE_PX : height + LINE_PX + PANEL_PX, GAP_PX : GAP_PX + PANEL_PX]
    assert bottleneck.mean() > 100
    # The outline of the region is white.
    assert (bottleneck[PANEL_PX // 4, PANEL_PX // 2] > 240).all()


def test_feature_maps_have_encoder_and_decoder_side_by_side():
    layers = [Layer("a", "encoder", 1, None), Layer("b", "encoder", 2, None), Layer("c", "decoder", 1, None)]
    maps = [np.random.default_rng(0).random((16, 16, 6)), np.zeros((8, 8, 2)), np.zeros((16, 16, 1))]
    figure = draw_feature_maps(layers, [each.astype(np.float32) for each in maps])
    height = MAP_PX + GAP_PX + 2 * LINE_PX
    assert figure.size == (2 * (N_CHANNELS + 1) * (MAP_PX + GAP_PX) + GAP_PX, 2 * height + GAP_PX)
    drawn = np.asarray(figure)
    below_decoder = drawn[height:, (N_CHANNELS + 1) * (MAP_PX + GAP_PX) + GAP_PX :]
    assert (below_decoder == 255).all()
