"""Labels made from drawn regions: which pixels belong to which object or class, block by block."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Shape5D
from tessera.io.annotation import NOT_ANNOTATED, Annotation, LabelKind
from tessera.io.drawn_shapes import Shape, Window, intersect
from tessera.io.lazy_image import LazyImage

_IGNORED = ("ignore*", "ignore", "__ignore__")
_AREAS = ("region*",)
_BACKGROUND = ("background", "_background_")
SHOWN = 5


@dataclass(frozen=True)
class DrawnRegion:
    """A region that somebody drew.

    Attributes:
        shape: its pixels.
        number: number of its object; regions of one object have the same number.
        class_name: name of its class; None: it has none.
        t, z: its frame and plane, from 0; None: all of them.
        ignored: whether nobody annotated its pixels.
    """

    shape: Shape
    number: int
    class_name: str | None = None
    t: int | None = 0
    z: int | None = 0
    ignored: bool = False


@dataclass(frozen=True)
class Drawing:
    """The regions of one file.

    Attributes:
        regions: the regions.
        size: height and width of the image as the file states it; None: it does not.
        notes: sentences without a subject about what was left out.
        annotated_t: frames that the file lists, with or without regions; None: unknown.
    """

    regions: list[DrawnRegion]
    size: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)
    annotated_t: list[int] | None = None


def draw_labels(drawing: Drawing, shape: Shape5D, kind: LabelKind, name: str) -> Annotation:
    """Return the labels of regions as an annotation.

    A smaller region covers a larger one. A later region covers an earlier one of the same area.
    Regions to be ignored cover all others.

    Args:
        drawing: the regions.
        shape: (t, c, z, y, x) of the image.
        kind: what the labels mean.
        name: name of the annotation, for messages.

    Raises:
        InputError: the regions do not fit the image, or the classes are unknown.
    """
    frames, _, depth, height, width = shape
    if drawing.size and drawing.size != (height, width):
        raise InputError(
            f"{name}: belongs to an image of y {drawing.size[0]}, x {drawing.size[1]}, but its image is y {height}, "
            f"x {width}; annotate the image at its full size"
        )
    notes = list(drawing.notes)
    regions = _fit_regions(drawing.regions, shape, notes, name)
    values, notes_of_classes = _values(regions, kind, name)
    notes += notes_of_classes
    annotated = drawing.annotated_t
    if annotated is None and frames > 1 and regions and all(region.t is not None for region in regions):
        annotated = sorted({region.t for region in regions if region.t is not None})
        if len(annotated) < frames:
            notes.append(f"regions in {len(annotated)} of {frames} frames; the other frames count as not annotated")
    if annotated is not None and len(annotated) == frames:
        annotated = None
    canvas = _Canvas([(region, value) for region, value in zip(regions, values, strict=True) if value is not None])
    source = LazyImage(
        (frames, 1, depth, height, width), np.dtype(np.int64), canvas.reader(notes), tiled=True, warnings=notes
    )
    return Annotation(source, drawn=True, annotated_t=annotated)


def _fit_regions(regions: Sequence[DrawnRegion], shape: Shape5D, notes: list[str], name: str) -> list[DrawnRegion]:
    """Return the regions that have pixels in the image."""
    frames, _, depth, height, width = shape
    plane = Window(0, 0, height, width)
    kept, partly, tiny, everywhere = [], 0, 0, 0
    outside = None
    for region in regions:
        if (region.t or 0) >= frames or (region.z or 0) >= depth or min(region.t or 0, region.z or 0) < 0:
            raise InputError(
                f"{name}: has a region in frame {region.t or 0}, plane {region.z or 0} (the first is 0), but its image "
                f"has {frames} frames and {depth} planes; correct the annotation, or the path of the image"
            )
        box, shared = region.shape.box, intersect(region.shape.box, plane)
        if box.height <= 0 or box.width <= 0:
            tiny += 1
            continue
        if shared.height <= 0 or shared.width <= 0:
            outside = outside or box
            continue
        partly += shared != box
        everywhere += (region.t is None and frames > 1) or (region.z is None and depth > 1)
        kept.append(region)
    if outside:
        raise InputError(
            f"{name}: has a region at y {outside.top} to {outside.top + outside.height}, x {outside.left} to "
            f"{outside.left + outside.width}, but its image is y {height}, x {width}; annotate the image at its full "
            "size, or remove the region"
        )
    if partly:
        notes.append(f"{partly} regions extend beyond the image; the parts outside are cut off")
    if tiny:
        notes.append(f"{tiny} regions contain the center of no pixel; they are left out")
    if everywhere:
        notes.append(f"{everywhere} regions without a frame or plane; they are drawn on all frames or planes")
    return kept


def _values(regions: Sequence[DrawnRegion], kind: LabelKind, name: str) -> tuple[list[int | None], list[str]]:
    """Return the label of each region, None for those left out, and notes."""
    names = [(region.class_name or "").strip() for region in regions]
    ignored = [region.ignored or is_ignored(text) for region, text in zip(regions, names, strict=True)]
    areas = [_plain(text) in _AREAS for text in names]
    labels, notes = (_classes if kind.semantic else _objects)(
        regions, names, [a or b for a, b in zip(ignored, areas, strict=True)], kind, name
    )
    values: list[int | None] = []
    for label, ignore, area in zip(labels, ignored, areas, strict=True):
        values.append(NOT_ANNOTATED if ignore else _AREA if area else label)
    if any(areas):
        notes.append("only the pixels in regions of the class Region* count as annotated")
    return values, notes


_AREA = NOT_ANNOTATED - 1  # value of regions that limit the annotated area


def _plain(name: str) -> str:
    """The name of a class without the names of the classes derived from it, as in QuPath."""
    return name.partition(":")[0].strip().casefold()


def is_ignored(name: str) -> bool:
    """Return whether a class marks pixels that nobody annotated, such as QuPath's Ignore*."""
    return _plain(name) in _IGNORED


def class_in_name(name: str, classes: Sequence[str]) -> str | None:
    """Return the class that the name of a region says, with or without a number at its end; None if it says none."""
    known = {text.casefold(): text for text in (*classes, *_IGNORED)}
    for text in (name, re.sub(r"[-_ ]*\d+$", "", name)):
        if text.casefold() in known:
            return known[text.casefold()]
    return None


def _classes(
    regions: Sequence[DrawnRegion], names: Sequence[str], special: Sequence[bool], kind: LabelKind, name: str
) -> tuple[list[int | None], list[str]]:
    """Return the index of the class of each region."""
    known = {_plain(text): number for number, text in reversed(list(enumerate(kind.classes)))}
    known |= {text.casefold(): number for number, text in enumerate(kind.classes)}
    known |= dict.fromkeys(_BACKGROUND, 0)
    only = 1 if len(kind.classes) == 2 else None
    values: list[int | None] = []
    wrong: dict[str, int] = {}
    for text, skip in zip(names, special, strict=True):
        value = known.get(text.casefold(), known.get(_plain(text))) if text else only
        values.append(value)
        if value is None and not skip:
            wrong[text] = wrong.get(text, 0) + 1
    if "" in wrong:
        raise InputError(
            f"{name}: has {wrong['']} regions without a class; give them one of the classes {', '.join(kind.classes)}"
        )
    if wrong:
        raise InputError(
            f"{name}: has the classes {_some(wrong)}, but the setting classes has {', '.join(kind.classes)}; rename "
            "them, or add them to classes"
        )
    return values, []


def _objects(
    regions: Sequence[DrawnRegion], names: Sequence[str], special: Sequence[bool], kind: LabelKind, name: str
) -> tuple[list[int | None], list[str]]:
    """Return the id of each region: 1 for the first object, and so on."""
    wanted = kind.classes[1].casefold() if len(kind.classes) > 1 else ""
    counts: dict[str, int] = {}
    for text, skip in zip(names, special, strict=True):
        if not skip and text.casefold() not in _BACKGROUND:
            counts[text] = counts.get(text, 0) + 1
    chosen = {text for text in counts if wanted in (text.casefold(), _plain(text))}
    others = {text: count for text, count in counts.items() if text and text not in chosen}
    notes = []
    if chosen and others:
        notes.append(
            f"{sum(others.values())} regions of the classes {_some(others)}; they are left out, since the objects "
            f"are {kind.classes[1]} (setting classes)"
        )
    elif len(others) > 1:
        notes.append(f"regions of the classes {_some(others)} all count as {kind.classes[1]}")
    dropped = set(others) if chosen else set()
    ids: dict[int, int] = {}
    values: list[int | None] = []
    for region, text, skip in zip(regions, names, special, strict=True):
        if skip or text in dropped:
            values.append(None)
        elif text.casefold() in _BACKGROUND:
            values.append(0)
        else:
            values.append(ids.setdefault(region.number, len(ids) + 1))
    return values, notes


def _some(names: dict[str, int]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:SHOWN]) + (f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else "")


class _Canvas:
    """Draws regions with their values, the largest first."""

    def __init__(self, drawn: Sequence[tuple[DrawnRegion, int]]) -> None:
        order = sorted(range(len(drawn)), key=lambda at: (drawn[at][1] == NOT_ANNOTATED, -drawn[at][0].shape.area, at))
        areas = [drawn[at][0] for at in order if drawn[at][1] == _AREA]
        self._areas = areas
        self._drawn = [drawn[at] for at in order if drawn[at][1] != _AREA]
        boxes = [region.shape.box for region, _ in self._drawn]
        self._boxes = np.array([(box.top, box.left, box.height, box.width) for box in boxes], np.int64).reshape(-1, 4)
        every = -1
        self._t = np.array([every if region.t is None else region.t for region, _ in self._drawn], np.int64)
        self._z = np.array([every if region.z is None else region.z for region, _ in self._drawn], np.int64)
        self._overlaps: dict[tuple[int, int, int, int], int] = {}

    def reader(self, notes: list[str]) -> Callable[[int, int, slice, slice], NDArray[Any]]:
        """Return a ReadFunction. It adds the number of pixels that two regions share so far to the end of `notes`."""
        stated = len(notes)

        def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
            window = Window(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
            values, overlaps = self._draw(t, z, window)
            self._overlaps[t, z, window.top, window.left] = overlaps
            total = sum(self._overlaps.values())
            notes[stated:] = (
                [f"{total} pixels in which regions overlap; the smaller region covers the larger one"] if total else []
            )
            return values[None]

        return read

    def _draw(self, t: int, z: int, window: Window) -> tuple[NDArray[np.int64], int]:
        values = np.zeros((window.height, window.width), np.int64)
        covered = np.zeros(values.shape, bool)
        if self._areas:
            values[:] = NOT_ANNOTATED
            for region in self._areas:
                if region.t in (None, t) and region.z in (None, z):
                    values[region.shape.fill(window)] = 0
        unannotated = values == NOT_ANNOTATED
        top, left, height, width = self._boxes.T
        near = (top < window.top + window.height) & (top + height > window.top)
        near &= (left < window.left + window.width) & (left + width > window.left)
        near &= ((self._t == t) | (self._t < 0)) & ((self._z == z) | (self._z < 0))
        overlaps = 0
        for at in np.flatnonzero(near):
            region, value = self._drawn[at]
            part = intersect(region.shape.box, window)
            rows = slice(part.top - window.top, part.top - window.top + part.height)
            columns = slice(part.left - window.left, part.left - window.left + part.width)
            inside = region.shape.fill(part)
            differ = inside & covered[rows, columns] & (values[rows, columns] != value)
            overlaps += int(np.count_nonzero(differ)) if value != NOT_ANNOTATED else 0
            values[rows, columns][inside] = value
            covered[rows, columns] |= inside
        values[unannotated] = NOT_ANNOTATED
        return values, overlaps


def join_drawings(drawings: Sequence[Drawing], files: Sequence[Path], shape: Shape5D) -> Drawing:
    """Return the regions of several files, one for each frame or, for a single stack, for each plane.

    Raises:
        InputError: the sizes that the files state differ.
    """
    if len(drawings) == 1:
        return drawings[0]
    sizes = {drawing.size: file for drawing, file in zip(drawings, files, strict=True)}
    if len(sizes) > 1:
        (first, file), (second, other) = list(sizes.items())[:2]
        raise InputError(f"{file}: belongs to an image of y, x {first}, but {other.name} to one of {second}")
    regions: list[DrawnRegion] = []
    notes: list[str] = []
    offset = 0
    for place, drawing in enumerate(drawings):
        t, z = (place, 0) if shape[0] > 1 else (0, place)
        for region in drawing.regions:
            at_z = region.z if shape[0] > 1 else z
            regions.append(
                DrawnRegion(region.shape, region.number + offset, region.class_name, t, at_z, region.ignored)
            )
        offset += max((region.number for region in drawing.regions), default=-1) + 1
        notes += drawing.notes
    return Drawing(regions, drawings[0].size, list(dict.fromkeys(notes)), list(range(shape[0])))
