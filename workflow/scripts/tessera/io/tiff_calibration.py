"""The voxel size, the frame interval and the channel names that the metadata of a TIFF file state."""

from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from tessera.common.types import VoxelSize
from tessera.io.calibration import (
    Calibration,
    average_interval,
    convert_interval,
    convert_sizes,
    has_unit_of_printing,
    positive,
)
from tessera.io.file_axes import Layout

COARSEST_UM = 20  # resolution tags with larger pixels are meant for printers
PRINTING_DPI: tuple[int, ...] = (
    72,
    75,
    90,
    96,
    100,
    120,
    144,
    150,
    180,
    200,
    240,
    250,
    254,
    300,
    350,
    360,
    400,
    500,
    600,
    720,
    800,
)
PRINTING_DPI += (900, 1000, 1200, 1440, 2400)
INCH_UM = 25400


def read_tiff_calibration(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Return what a TIFF file states about the pixels of a series.

    Args:
        tiff: the opened file.
        series: the series that is read.
        layout: its axes.
    """
    if tiff.is_ome:
        return _read_ome(tiff, series, layout)
    readers: dict[str, Callable[[Any, Any, Layout], Calibration]] = {
        "imagej": _read_imagej,
        "lsm": _read_lsm,
        "fei": _read_fei,
        "sem": _read_sem,
        "svs": _read_svs,
        "stk": _read_stk,
        "metaseries": _read_metaseries,
        "sis": _read_sis,
        "fluoview": _read_fluoview,
        "micromanager": _read_micromanager,
    }
    calibration = Calibration()
    for kind, read in readers.items():
        if getattr(tiff, f"is_{kind}") and not any(calibration.pixel_size_um[1:]):
            try:
                calibration = calibration.complete_with(read(tiff, series, layout))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                warning = f"has {kind} metadata that cannot be read ({type(error).__name__}); its sizes may be missing"
                calibration = calibration.complete_with(Calibration(warnings=(warning,)))
    if tiff.is_imagej or any(calibration.pixel_size_um[1:]):
        return calibration
    return calibration.complete_with(_read_resolution(series))


def _read_imagej(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the header of ImageJ, whose keys are those of ij.io.FileSaver.getDescriptionString of its source."""
    described = tiff.imagej_metadata
    unit = described.get("unit") or _resolution_unit(series)
    sizes = [described.get("spacing") if layout.size("z") > 1 else None, *_resolution(series)]
    units = [described.get("zunit") or unit, described.get("yunit") or unit, unit]
    # ImageJ takes the unit inch or cm from resolution tags that are meant for printing, and keeps it.
    if has_unit_of_printing(unit) and _is_for_printing(convert_sizes(sizes, units).pixel_size_um):
        sizes[1:] = [None, None]
    calibration = convert_sizes(sizes, units)
    if layout.size("t") < 2:
        return calibration
    interval = convert_interval(described.get("finterval"), described.get("tunit") or "s")
    fps = positive(described.get("fps"))
    if fps and not (interval.frame_interval_s or interval.warnings):
        guess = (
            f"states no frame interval but {fps:g} frames per second, from which it is taken; this may be the speed "
        )
        guess += "at which ImageJ plays it (set the column frame_interval_s if it is)"
        interval = Calibration(frame_interval_s=1 / fps, warnings=(guess,))
    return calibration.complete_with(interval)


def _read_ome(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the OME-XML of a series (https://docs.openmicroscopy.org/ome-model/)."""
    pixels = _find_pixels(tiff, series)
    if pixels is None:
        return Calibration()
    names = [channel.get("Name") for channel in pixels.iterfind("{*}Channel")]
    complete = [name for name in names if name]
    calibration = Calibration(channels=complete if len(complete) == len(names) == layout.size("c") else None)
    keys = [f"PhysicalSize{axis}" for axis in "ZYX"]
    sizes = convert_sizes([pixels.get(key) for key in keys], [pixels.get(f"{key}Unit", "um") for key in keys])
    interval = convert_interval(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    if layout.size("t") > 1 and not (interval.frame_interval_s or interval.warnings):
        interval = _read_plane_times(pixels)
    return calibration.complete_with(sizes).complete_with(interval)


def _read_plane_times(pixels: ElementTree.Element) -> Calibration:
    """Return the frame interval from the times of the first plane of each frame."""
    first: dict[int, tuple[tuple[int, int], float]] = {}
    for plane in pixels.iterfind("{*}Plane"):
        try:
            t, z, c = (int(plane.get(key, 0)) for key in ("TheT", "TheZ", "TheC"))
            delta = float(plane.get("DeltaT", ""))
        except ValueError:
            continue
        if t not in first or (z, c) < first[t][0]:
            unit = convert_interval(1, plane.get("DeltaTUnit", "s"))
            if unit.frame_interval_s is None:
                return unit
            first[t] = (z, c), delta * unit.frame_interval_s
    places = {place for place, _ in first.values()}
    # Planes of a frame follow one another, so only equal planes of different frames may be compared.
    return average_interval({t: time for t, (_, time) in first.items()}) if len(places) == 1 else Calibration()


def _find_pixels(tiff: Any, series: Any) -> ElementTree.Element | None:
    """Return the element `Pixels` of a series; None if the metadata does not identify it."""
    images = ElementTree.fromstring(tiff.ome_metadata).findall("{*}Image")
    if len(images) == len(tiff.series):
        images = [images[tiff.series.index(series)]]
    elif len(images) > 1:  # tifffile omits images whose files are missing
        images = [image for image in images if image.get("Name") == series.name]
    return images[0].find("{*}Pixels") if len(images) == 1 else None


def _read_lsm(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the header of Zeiss LSM files, in meters and seconds."""
    described = tiff.lsm_metadata
    names = (described.get("ChannelColors") or {}).get("ColorNames") or []
    complete = [str(name) for name in names if name]
    channels = complete if len(complete) == len(names) == layout.size("c") else None
    calibration = Calibration(channels=channels).complete_with(
        convert_sizes([described.get(f"VoxelSize{axis}") for axis in "ZYX"], "mmm")
    )
    if layout.size("t") < 2:
        return calibration
    interval = convert_interval(described.get("TimeIntervall"), "s")
    stamps = described.get("TimeStamps")
    if interval.frame_interval_s is None and stamps is not None and len(stamps) == layout.size("t"):
        interval = average_interval(dict(enumerate(map(float, stamps))))
    return calibration.complete_with(interval)


def _read_fei(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the header of FEI (Thermo Fisher) electron microscopes, in meters."""
    described = tiff.fei_metadata
    for section in ("Scan", "EScan", "IScan"):
        width, height = (described.get(section, {}).get(f"Pixel{side}") for side in ("Width", "Height"))
        if positive(width):
            return convert_sizes([None, height if positive(height) else width, width], "mmm")
    return Calibration()


def _read_sem(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the header of Zeiss electron microscopes: (name, value, unit)."""
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        value = tiff.sem_metadata.get(key, ())
        if len(value) == 3:
            return convert_sizes([None, value[1], value[1]], [None, value[2], value[2]])
    return Calibration()


def _read_svs(tiff: Any, series: Any, layout: Layout) -> Calibration:
    size = tifffile.tifffile.svs_description_metadata(series.keyframe.description).get("MPP")
    return convert_sizes([None, size, size], [None, "um", "um"])


def _read_stk(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the tags of MetaMorph stacks. Times of planes are in milliseconds since midnight."""
    described = tiff.stk_metadata
    unit = described.get("CalibrationUnits")
    distances = np.unique(np.abs(np.asarray(described.get("ZDistance", []), float)))
    depth = distances[-1] if layout.size("z") > 1 and len(distances) else None
    calibrated = described.get("SpatialCalibration", True)
    sizes = [described.get(f"{axis}Calibration") if calibrated else None for axis in "YX"]
    calibration = convert_sizes([depth, *sizes], [unit, unit, unit])
    times = described.get("TimeCreated")
    if layout.size("t") > 1 and times is not None and len(times) == layout.size("t"):
        return calibration.complete_with(average_interval({t: float(ms) / 1000 for t, ms in enumerate(times)}))
    return calibration


def _read_metaseries(tiff: Any, series: Any, layout: Layout) -> Calibration:
    described = tiff.metaseries_metadata.get("PlaneInfo", {})
    if described.get("spatial-calibration-state") is False:
        return Calibration()
    unit = described.get("spatial-calibration-units")
    sizes = [described.get(f"spatial-calibration-{axis}") for axis in "yx"]
    return convert_sizes([None, *sizes], [None, unit, unit])


def _read_sis(tiff: Any, series: Any, layout: Layout) -> Calibration:
    described = tiff.sis_metadata or {}
    return convert_sizes([None, described.get("pixelsizey"), described.get("pixelsizex")], "mmm")


def _read_fluoview(tiff: Any, series: Any, layout: Layout) -> Calibration:
    """Read the dimensions of Olympus FluoView files: (name, size, origin, step, unit)."""
    steps = {name.upper(): (step, unit) for name, size, _, step, unit in tiff.fluoview_metadata["Dimensions"] if size}
    spatial = [steps.get(axis, (None, None)) for axis in "ZYX"]
    sizes = convert_sizes([step for step, _ in spatial], [unit for _, unit in spatial])
    step, unit = steps.get("T", steps.get("TIME", (None, None)))
    return sizes.complete_with(convert_interval(step, unit) if layout.size("t") > 1 else Calibration())


def _read_micromanager(tiff: Any, series: Any, layout: Layout) -> Calibration:
    described: Mapping[str, Any] = (tiff.micromanager_metadata or {}).get("Summary", {})
    size = described.get("PixelSize_um")
    depth = described.get("z-step_um") if layout.size("z") > 1 else None
    interval = described.get("Interval_ms") if layout.size("t") > 1 else None
    return convert_sizes([depth, size, size], ["um"] * 3).complete_with(convert_interval(interval, "ms"))


def _read_resolution(series: Any) -> Calibration:
    """Read the resolution tags, which many programs fill with a resolution for printing."""
    unit = _resolution_unit(series)
    calibration = convert_sizes([None, *_resolution(series)], [unit] * 3)
    sizes: VoxelSize = calibration.pixel_size_um
    coarsest = max((size for size in sizes if size), default=0)
    if coarsest < COARSEST_UM:
        return calibration
    if _is_for_printing(sizes) or coarsest > INCH_UM / min(PRINTING_DPI):
        return Calibration()
    return Calibration(
        warnings=(
            f"has resolution tags with pixels of {coarsest:.4g} µm, which are ignored, since such large pixels are "
            "often meant for printing; give the column pixel_size_um if they are true",
        )
    )


def _resolution_unit(series: Any) -> str | None:
    return {2: "inch", 3: "cm"}.get(int(series.keyframe.tags.valueof("ResolutionUnit", 1)))


def _resolution(series: Any) -> list[float | None]:
    """Return the size of a pixel in y and x by the resolution tags, in their unit."""
    values = [series.keyframe.tags.valueof(tag) for tag in ("YResolution", "XResolution")]
    return [value[1] / value[0] if value and all(value) else None for value in values]


def _is_for_printing(sizes: VoxelSize) -> bool:
    """Return whether pixels are as large as those of common printers, scanners and screens."""
    dpi = [INCH_UM / size for size in sizes[1:] if size]
    return all(any(abs(each - common) < 0.005 * common for common in PRINTING_DPI) for each in dpi)
