"""Parts of the messages about settings and tables."""

import difflib
from collections.abc import Iterable
from typing import Any


def format_value(value: Any) -> str:
    """A value as the user wrote it, shortened."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"


def suggestion(value: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean ...?` with the known name that is most similar, regardless of case; "" if none is similar."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(value).casefold(), folded, n=1, cutoff=cutoff)
    return f"; did you mean {folded[close[0]]}?" if close else ""
