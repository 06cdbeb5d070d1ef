"""Pages: HTML from the templates of workflow/report, which are given numbers and say how they look."""

import base64
import io
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.ticker import MaxNLocator
from PIL import Image

TEMPLATES = Path(__file__).resolve().parents[3] / "report"


def score(value):
    """Three decimals."""
    return "–" if pd.isna(value) else f"{value:.3f}"


def number(value):
    """An integer."""
    return "–" if pd.isna(value) else f"{value:.0f}"


def grouped(value):
    """An integer with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u2009")


def duration(seconds):
    """Seconds as a person says them."""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{seconds:.1f} s"
    return f"{minutes:.1f} min" if hours < 1 else f"{hours:.1f} h"


def ticks(low, high, integer=False):
    """A few round numbers from `low` to `high`."""
    found = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=integer).tick_values(low, high)
    return [tick for tick in found.tolist() if low <= tick <= high]


def embed(path, longest_px=None):
    """A picture file as a data URI; with `longest_px`, a JPEG of at most that size."""
    content, kind = path.read_bytes(), {".jpg": "jpeg", ".png": "png"}[path.suffix]
    if longest_px:
        sheet = Image.open(path).convert("RGB")
        sheet.thumbnail((longest_px, longest_px))
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=85)
        content, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def render(template, content):
    """The page as text; names of images and all other content are escaped."""
    page = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"score": score, "number": number, "grouped": grouped, "duration": duration}
    page.globals["ticks"] = ticks
    return page.get_template(template).render(content)
