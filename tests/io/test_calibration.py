"""Units of lengths and times, and times of frames."""

import pytest

from tessera.io.calibration import Calibration, average_interval, convert_interval, convert_sizes


def each(**names):
    """(name, number) of all names, which are separated by commas, of all numbers."""
    return [(name, float(number)) for number, texts in names.items() for name in texts.split(",")]


MICROMETERS = {
    "1": "um,µm,μm,\\u00B5m,\\u00b5m,Âµm,UM, um ,micron,Microns,micrometer,micrometers,micrometre,micrometres",
    "1000": "mm,MM,millimeter,millimetres",
    "0.001": "nm,nanometer,Nanometers,nanometre",
    "1e-4": "Å,\u212b,A,angstrom,Angstroms,ångström",
    "25400": 'inch,inches,in,"',
    "1e6": "m,meter,metres",
    "1e5": "dm,decimeter",
    "1e4": "cm,centimeters",
    "1e-6": "pm",
    "304800": "ft,feet",
}
SECONDS = {
    "1": "s,S,sec,secs,second,seconds",
    "0.001": "ms,msec,milliseconds",
    "1e-6": "us,µs,microsecond",
    "60": "min,mins,minute,minutes,Minutes",
    "3600": "h,hr,hrs,Hr,hour,hours",
    "86400": "d,day,days",
}


@pytest.mark.parametrize(("unit", "um"), each(**MICROMETERS))
def test_lengths_are_converted_to_micrometers(unit, um):
    assert convert_sizes([1.5, 2, "4"], [unit] * 3).pixel_size_um == pytest.approx((1.5 * um, 2 * um, 4 * um))
    assert convert_sizes([1.5, 2, 4], [unit] * 3).warnings == ()


@pytest.mark.parametrize(("unit", "seconds"), each(**SECONDS))
def test_times_are_converted_to_seconds(unit, seconds):
    assert convert_interval(2.5, unit) == Calibration(frame_interval_s=pytest.approx(2.5 * seconds))


@pytest.mark.parametrize("unit", ["", None, "pixel", "pixels", "Pixels", "px", "none"])
def test_sizes_without_a_unit_are_unknown(unit):
    assert convert_sizes([1, 2, 3], [unit] * 3) == Calibration()


def test_each_unit_that_is_not_understood_is_named_once():
    calibration = convert_sizes([1, 2, 2], ["um", "furlong", "furlong"])
    assert calibration.pixel_size_um == (1, None, None)
    assert calibration.warnings == (
        "states its pixel size in 'furlong', a unit that is not understood; give it in the column pixel_size_um",
    )
    assert convert_interval(1, "fortnight").warnings == (
        "states its frame interval in 'fortnight', a unit that is not understood; give it in the column "
        "frame_interval_s",
    )
    assert convert_sizes([1, 1, 1], ["Mm"] * 3).pixel_size_um == (None, None, None)  # megameters


@pytest.mark.parametrize("size", [None, 0, "", "wide", float("nan"), float("inf"), (1, 2)])
def test_values_that_are_no_sizes_are_unknown(size):
    assert convert_sizes([size] * 3, ["um"] * 3) == Calibration()


def test_negative_distance_is_one_in_the_other_direction():
    assert convert_sizes([-1.5, 1, 1], ["um"] * 3).pixel_size_um == (1.5, 1, 1)


def test_frame_interval_is_the_mean_distance_of_frames():
    assert average_interval({0: 0.0, 1: 300.0}) == Calibration(frame_interval_s=300)
    assert average_interval({0: 5.0, 2: 25.0, 4: 45.0}) == Calibration(frame_interval_s=10)
    uneven = average_interval({0: 0.0, 1: 10.0, 2: 40.0})
    assert uneven.frame_interval_s == 20
    assert uneven.warnings == ("has frames 10 to 30 s apart; their mean, 20 s, is the frame interval",)
    assert average_interval({}) == average_interval({0: 4.0}) == average_interval({0: 0.0, 1: 0.0}) == Calibration()
    assert average_interval({0: 9.0, 1: 3.0}).warnings == (
        "states times of its frames that do not increase; they are ignored",
    )
