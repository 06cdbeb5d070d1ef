"""HTML of the report, rendered from the Jinja templates beside this module."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.ticker import MaxNLocator

from tessera.report.wording import format_duration, format_integer, format_number, format_score

TEMPLATES = Path(__file__).resolve().parent / "templates"


def axis_ticks(low: float, high: float, integer: bool = False) -> list[float]:
    """A few round numbers from `low` to `high`; whole numbers if `integer`."""
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=integer).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def render_html(template: str, **content: Any) -> str:
    """A rendered template; the names of images and all other content are escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": format_score,
        "number": format_number,
        "grouped": format_integer,
        "duration": format_duration,
    }
    environment.globals["ticks"] = axis_ticks
    return environment.get_template(template).render(**content)
