"""The curves of tuned thresholds are drawn."""

import base64
import io

from PIL import Image

from tessera.report.threshold_curves import TITLES, draw_threshold_curves


def test_figure_has_a_chart_for_each_threshold():
    curve = [(0.4, 0.5), (0.5, 0.7), (0.6, 0.6)]
    tuned = dict.fromkeys(TITLES, 0.5) | {"curves": dict.fromkeys(TITLES, curve)}
    uri = draw_threshold_curves(tuned)
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert image.size == (1440, 360)
