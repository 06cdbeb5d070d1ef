"""The size of voxels and the time between frames that a file states, in micrometers and seconds."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tessera.common.types import VoxelSize

# The SI (https://www.bipm.org/en/measurement-units/si-prefixes), without prefixes above the size of any microscope
_PREFIXES = {"k": 1e3, "h": 1e2, "da": 10, "": 1, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12}
_PREFIXES |= {"f": 1e-15, "a": 1e-18}
_WORDS = {"kilo": 1e3, "hecto": 1e2, "deca": 10, "deka": 10, "": 1, "deci": 1e-1, "centi": 1e-2, "milli": 1e-3}
_WORDS |= {"micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "atto": 1e-18}
_UM = {f"{prefix}m": 1e6 * factor for prefix, factor in _PREFIXES.items()}
_UM |= {f"{prefix}{meter}": 1e6 * factor for prefix, factor in _WORDS.items() for meter in ("meter", "metre")}
_UM |= {"micron": 1, "angstrom": 1e-4, "ångström": 1e-4, "ångstrom": 1e-4, "å": 1e-4, "a": 1e-4}
_UM |= {"thou": 25.4, "mil": 25.4}
_UM |= {"in": 25400, "inch": 25400, "inche": 25400, '"': 25400, "ft": 304800, "foot": 304800, "feet": 304800}
_UM |= {"pt": 25400 / 72, "point": 25400 / 72, "li": 25400 / 12, "line": 25400 / 12, "yd": 914400, "yard": 914400}
_SECONDS = {f"{prefix}{second}": factor for prefix, factor in _PREFIXES.items() for second in ("s", "sec")}
_SECONDS |= {f"{prefix}second": factor for prefix, factor in _WORDS.items()}
_SECONDS |= dict.fromkeys(("min", "minute"), 60) | dict.fromkeys(("h", "hr", "hour"), 3600)
_SECONDS |= dict.fromkeys(("d", "day"), 86400)
# What programs write if there is no unit
_NO_UNIT = {"", "pixel", "px", "pix", "voxel", "none", "null", "nan", "unknown", "uncalibrated", "reference frame"}
_NO_UNIT |= {"frame"}
# The prefix micro: escaped, read in the wrong encoding, or as it should be
_MICRO = ("\\u00b5", "\\u00B5", "\\u03bc", "\\u03BC", "Âµ", "Î¼", "&#181;", "&micro;", "µ", "μ")
_LARGE = re.compile("[MGTPEZY][ms]")  # Mm would be megameters, though MM is millimeters
UNEVEN = 0.1  # share by which intervals between frames may differ from their mean without a note


@dataclass(frozen=True)
class Calibration:
    """Size of voxels, frame interval and channel names that a file states.

    Attributes:
        pixel_size_um: size of a voxel along z, y and x in micrometers, None where unknown.
        frame_interval_s: seconds between frames, None if unknown.
        channels: names of the channels, None if unknown.
        warnings: what is stated but not understood, as sentences for the user.
    """

    pixel_size_um: VoxelSize = (None, None, None)
    frame_interval_s: float | None = None
    channels: list[str] | None = None
    warnings: tuple[str, ...] = ()

    def complete_with(self, other: "Calibration") -> "Calibration":
        """Return this calibration with the values of another one where it lacks them."""
        z, y, x = (own or others for own, others in zip(self.pixel_size_um, other.pixel_size_um, strict=True))
        return Calibration(
            (z, y, x),
            self.frame_interval_s or other.frame_interval_s,
            self.channels or other.channels,
            (*self.warnings, *other.warnings),
        )


def convert_sizes(sizes: Sequence[Any], units: Sequence[Any]) -> Calibration:
    """Return voxel sizes (z, y, x) in micrometers, with a warning for each unit that is not understood.

    A negative size means an axis in the opposite direction.

    Args:
        sizes: along z, y and x, as numbers or text; anything else is unknown.
        units: their units.
    """
    pairs = [_convert(size, unit, _UM) for size, unit in zip(sizes, units, strict=True)]
    unknown = dict.fromkeys(str(unit) for (_, clear), unit in zip(pairs, units, strict=True) if not clear)
    z, y, x = (value for value, _ in pairs)
    return Calibration(
        (z, y, x), warnings=tuple(_describe_unknown(unit, "pixel size", "pixel_size_um") for unit in unknown)
    )


def convert_interval(interval: Any, unit: Any) -> Calibration:
    """Return the time between frames in seconds, with a warning if its unit is not understood."""
    value, clear = _convert(interval, unit, _SECONDS)
    if clear:
        return Calibration(frame_interval_s=value)
    return Calibration(warnings=(_describe_unknown(str(unit), "frame interval", "frame_interval_s"),))


def average_interval(times_s: Mapping[int, float]) -> Calibration:
    """Return the mean time between frames, with a warning if the times are uneven.

    Args:
        times_s: {frame: time in seconds} of at least some frames.
    """
    frames = sorted(times_s)
    if len(frames) < 2:
        return Calibration()
    mean = (times_s[frames[-1]] - times_s[frames[0]]) / (frames[-1] - frames[0])
    steps = [(times_s[b] - times_s[a]) / (b - a) for a, b in itertools.pairwise(frames)]
    if mean <= 0 or not math.isfinite(mean) or min(steps) < 0:
        return (
            Calibration()
            if not any(steps)
            else Calibration(warnings=("states times of its frames that do not increase; they are ignored",))
        )
    calibration = Calibration(frame_interval_s=mean)
    if max(abs(step - mean) for step in steps) > UNEVEN * mean:
        uneven = (
            f"has frames {min(steps):.4g} to {max(steps):.4g} s apart; their mean, {mean:.4g} s, is the frame interval"
        )
        return replace(calibration, warnings=(uneven,))
    return calibration


def has_unit_of_printing(unit: Any) -> bool:
    """Return whether a unit is one of those in which the resolution of printed pages is stated."""
    return _normalize(unit) in ("in", "inch", "inche", '"', "cm", "centimeter", "centimetre")


def positive(value: Any) -> float | None:
    """Return the size of `value` as a number if it is finite and not 0, else None."""
    try:
        number = abs(float(value))
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None


def _convert(value: Any, unit: Any, factors: Mapping[str, float]) -> tuple[float | None, bool]:
    """Return a value in micrometers or seconds, and whether its unit is understood."""
    number, name = positive(value), _normalize(unit)
    if number is None or not name:
        return None, True
    factor = factors.get(name) or factors.get(name.removesuffix("s"))
    return (number * factor, True) if factor else (None, False)


def _normalize(unit: Any) -> str:
    """Return a unit without what makes no difference. Only the case of symbols such as Mm matters."""
    text = "" if unit is None else str(unit)
    for letter in _MICRO:
        text = text.replace(letter, "u")
    text = text.strip().strip("\0.").replace("Å", "å").replace("\u212b", "å")
    joined = text.replace(" ", "").replace("-", "")
    if text.lower() in _NO_UNIT or (len(text) > 1 and text.lower().removesuffix("s") in _NO_UNIT):
        return ""
    return joined if _LARGE.fullmatch(joined) else joined.lower()


def _describe_unknown(unit: str, what: str, column: str) -> str:
    return f"states its {what} in {unit!r}, a unit that is not understood; give it in the column {column}"
