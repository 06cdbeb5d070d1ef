"""Pieces of the messages in which a plan refuses settings and tables."""

import difflib


def shown(value):
    """A value as a user wrote it, short."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"


def suggestion(value, known, cutoff=0.6):
    """`; did you mean ...?` with the one of `known` that `value` is most like, whatever its case; else nothing."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(value).casefold(), folded, n=1, cutoff=cutoff)
    return f"; did you mean {folded[close[0]]}?" if close else ""
