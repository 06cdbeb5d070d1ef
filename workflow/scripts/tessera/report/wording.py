"""Small phrases and numbers in the words of the report."""

import math


def count_nouns(number: int, noun: str) -> str:
    """A number and its noun: 1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 12.0 s, 1.5 min, 3.2 h."""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{seconds:.1f} s"
    return f"{minutes:.1f} min" if hours < 1 else f"{hours:.1f} h"


def format_integer(value: int) -> str:
    """An integer with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u2009")


def format_score(value: float | None) -> str:
    """Three decimals, or a dash if there is no value."""
    return "–" if _is_missing(value) else f"{value:.3f}"


def format_number(value: float | None) -> str:
    """A number without decimals, or a dash if there is no value."""
    return "–" if _is_missing(value) else f"{value:.0f}"


def _is_missing(value: float | None) -> bool:
    try:
        return value is None or math.isnan(value)
    except TypeError:  # pandas.NA
        return True
