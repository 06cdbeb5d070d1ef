"""Numbers, ticks and embedded images of the page."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError
from PIL import Image

from tessera.report.html_report import axis_ticks, render_html
from tessera.report.image_files import embed_image
from tessera.report.wording import count_nouns, format_duration, format_integer, format_number, format_score


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_values_are_a_dash(missing):
    assert format_score(missing) == format_number(missing) == "–"


def test_numbers_are_formatted():
    assert (format_score(0.12345), format_number(3.0), format_integer(1234567)) == ("0.123", "3", "1\u2009234\u2009567")
    assert [format_duration(seconds) for seconds in (3.14, 90, 5400)] == ["3.1 s", "1.5 min", "1.5 h"]
    assert [count_nouns(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_ticks_are_round_numbers_inside_the_axis():
    assert axis_ticks(0, 1) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert axis_ticks(1, 3, integer=True) == [1, 2, 3]


def test_an_image_is_embedded_unchanged_or_reduced(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (200, 100), "teal").save(path)
    kind, _, content = embed_image(path).partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(content) == path.read_bytes()
    kind, _, content = embed_image(path, 50).partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (50, 25)


def test_a_template_with_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        render_html("sections/skipped.html.j2")
