"""Opens annotations in the common formats as LazyImages of ids (t, 1, z, y, x) that fit their image."""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Shape5D, StrPath
from tessera.io.annotation import Annotation, LabelKind
from tessera.io.cellpose_masks import is_cellpose, open_cellpose
from tessera.io.color_masks import read_colors, read_outlines
from tessera.io.drawing_reader import open_drawings
from tessera.io.frame_numbers import check_frame_pairs, first_shifted_frame
from tessera.io.ilastik_labels import is_ilastik_project, open_ilastik_labels
from tessera.io.image_reader import list_files, open_image
from tessera.io.lazy_image import LazyImage, ReadFunction
from tessera.io.lossy_masks import refuse_jpeg
from tessera.io.mask_channels import read_one_channel

# Names of masks in the Cell Tracking Challenge: tracking truth, segmentation truth, and results of a tracker
_CHALLENGE = re.compile(r"(man_track|man_seg|mask)_?(\d+)\.tiff?", re.IGNORECASE)
_TRACKS = ("man_track.txt", "res_track.txt")
INSTANCES = LabelKind("instances", ("background", "cell"))


@contextlib.contextmanager
def open_annotation(
    paths: Sequence[StrPath],
    shape: Shape5D,
    axes: str | None = None,
    ignore_label: int | None = None,
    *,
    frames: Collection[int] | None = None,
    image_files: Sequence[StrPath] = (),
    kind: LabelKind = INSTANCES,
) -> Iterator[Annotation]:
    """Open an annotation for the block that follows, and detect its format.

    Supported formats: an image or stack of ids; a folder or glob of such frames; a folder with one mask per object; a
    Cell Tracking Challenge folder (man_track*.tif and man_track.txt, man_seg*.tif, mask*.tif and res_track.txt, or a
    folder with SEG or TRA in it); `_seg.npy` of Cellpose; and drawings (`tessera.io.drawing_reader`).

    Args:
        paths: files or folders.
        shape: (t, c, z, y, x) of the annotated image.
        axes: axes of the image's file as stated in the table; the annotation may lack the channels.
        ignore_label: value of pixels that nobody annotated, which the table of tracks need not list; None: no value.
        frames: frames to analyze, each of which needs a mask if the annotation has tracks; None: all.
        image_files: files or folders of the image. If the image and the annotation have a file for each frame, the
            numbers in their names are compared.
        kind: what the labels mean, which decides how the classes of drawings are read.

    Yields:
        The Annotation.

    Raises:
        InputError: a file is unreadable, or does not fit the image.
    """
    folders = _challenge_folder([Path(path) for path in paths])
    files = list_files(folders)
    refuse_jpeg(files)
    count, _, depth, _, _ = shape
    tracks = _find_tracks(folders)
    images = list_files(image_files) if image_files else []
    drawn = open_drawings(files, shape, kind, images)
    if drawn:
        yield drawn
        return
    if is_cellpose(files[0]):
        if len(files) == len(images) > 1:
            check_frame_pairs(files, images)
        yield open_cellpose(files, shape)
        return
    if is_ilastik_project(files[0]):
        yield open_ilastik_labels(files[0], shape, kind, images)
        return
    if kind.colors or kind.outlines:
        if len(files) == len(images) > 1:
            check_frame_pairs(files, images)
        with _open_painted(files, axes, shape, kind) as annotation:
            yield annotation
        return
    numbered = _numbered(files, count, tracks)
    if numbered:
        annotation = _open_challenge(numbered, tracks, shape, ignore_label, range(count) if frames is None else frames)
        if annotation.annotated_t:
            _refuse_shifted(numbered, images)
        yield annotation
    elif len(files) > 1 and count == 1 and len(files) != depth:
        yield Annotation(_merge_objects(files, shape), one_object_per_mask=True)
    else:
        if len(files) == len(images) > 1:
            check_frame_pairs(files, images)
        with _open_ids(files, axes, shape) as source:
            yield Annotation(_fit(source, shape, files[0], files[0] if len(files) == 1 else files[0].parent))


@contextlib.contextmanager
def _open_painted(files: Sequence[Path], axes: str | None, shape: Shape5D, kind: LabelKind) -> Iterator[Annotation]:
    """Open images whose colors are classes, or that show outlines."""
    name = files[0] if len(files) == 1 else files[0].parent
    if kind.colors:
        with open_image(files, axes, like=shape) as source:
            classes = read_colors(source, kind.colors, kind.classes, str(name))
            yield Annotation(_fit(classes, shape, files[0], name), drawn=kind.semantic)
    else:
        with _open_ids(files, axes, shape) as source:
            ids = read_outlines(_fit(source, shape, files[0], name), str(name))
            yield Annotation(ids, one_object_per_mask=True)


@contextlib.contextmanager
def _open_ids(files: Sequence[Path], axes: str | None, shape: Shape5D) -> Iterator[LazyImage]:
    """Open ids that have the axes of their image, with or without its channels."""
    without_channels = re.sub("[CS]", "", (axes or "").upper())
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(open_image(files, without_channels, labels=True, like=shape))
        except InputError:
            if without_channels == (axes or "").upper():
                raise
            source = stack.enter_context(open_image(files, axes, labels=True, like=shape))
        yield source


def _fit(source: LazyImage, shape: Shape5D, file: Path, name: StrPath | None = None) -> LazyImage:
    """Return `source` with one channel and the shape of its image. Frames and planes may be interchanged.

    Args:
        source: ids in one `file`, or in several of which it is the first.
        shape: (t, c, z, y, x) of the image.
        file: the file.
        name: file or folder, for messages; None: the file.
    """
    name = name or file
    frames, channels, depth, height, width = source.shape
    expected = {"t": shape[0], "z": shape[2], "y": shape[3], "x": shape[4]}
    sizes = {"t": frames, "z": depth, "y": height, "x": width}
    read = read_one_channel(source, file, name) if channels > 1 else source.read
    if (frames, depth) == (shape[2], shape[0]) and frames != depth and 1 in (frames, depth):
        sizes |= {"t": depth, "z": frames}
        read = _swap_t_and_z(read)
    if sizes != expected:
        raise InputError(
            f"{name}: is {_describe(sizes | {'c': channels})}, but its image is {_describe(expected)}; "
            f"{_advise(sizes, expected, channels)}"
        )
    return replace(source, shape=(shape[0], 1, *shape[2:]), read=read)


def _swap_t_and_z(read: ReadFunction) -> ReadFunction:
    return lambda t, z, rows, columns: read(z, t, rows, columns)


def _advise(sizes: Mapping[str, int], expected: Mapping[str, int], channels: int) -> str:
    """Return what to do about an annotation whose sizes {axis: size} differ from those of its image.

    Args:
        sizes, expected: sizes of the annotation and of its image.
        channels: number of channels of the annotation.
    """
    planes = [(each["y"], each["x"]) for each in (sizes, expected)]
    counts = [each["t"] * each["z"] for each in (sizes, expected)]
    if planes[0] == planes[1][::-1] != planes[1]:
        return "it is transposed; rotate it"
    if planes[0] != planes[1]:
        return "annotate the image at its full size"
    if counts[0] == counts[1]:
        return "state its axes in the table, such as TZYX for frames of planes"
    if counts[0] * channels == counts[1]:
        names = "".join(axis.upper() for axis in "tz" if expected[axis] > 1)
        what = "frames" if expected["t"] > 1 else "planes"
        return f"its file calls its {channels} {what} channels; write {names}YX in the column axes"
    axis, what = ("t", "frame") if sizes["t"] != expected["t"] else ("z", "plane")
    if sizes[axis] > expected[axis]:
        return (
            f"the image has {_count(expected[axis], what)}, the annotation {sizes[axis]}; remove what belongs to no "
            f"{what} of the image, or correct the path of the image"
        )
    return f"give an annotation of each of the {_count(expected[axis], what)} (an empty one where there are no objects)"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _describe(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{axis} {sizes[axis]}" for axis in "tczyx" if sizes.get(axis, 1) > 1 or axis in "yx")


def _merge_objects(files: Sequence[Path], shape: Shape5D) -> LazyImage:
    """Merge masks of one object each, as in the 2018 Data Science Bowl.

    Ids follow the order of the names. Where objects overlap, the smaller one covers the larger one.
    """
    objects: list[tuple[NDArray[np.intp], int]] = []
    for number, file in enumerate(files, start=1):
        with _open_ids([file], None, shape) as source:
            source = _fit(source, shape, file)
            pixels = np.stack([source.read(0, z, slice(None), slice(None))[0] for z in range(shape[2])])
        inside = pixels != 0
        if (pixels[inside] != pixels.max()).any():
            raise InputError(
                f"{file}: has several ids, but several files for an image of one frame must be masks of one object "
                "each, with one value inside and 0 outside"
            )
        objects.append((np.flatnonzero(inside), number))
    ids = np.zeros(shape[2:], np.int32)
    overlaps = empty = 0
    for where, number in sorted(objects, key=lambda entry: -len(entry[0])):
        overlaps += int(np.count_nonzero(ids.flat[where]))
        empty += len(where) == 0
        ids.flat[where] = number
    warnings = [f"{overlaps} pixels belong to two objects and are assigned to the smaller one"] if overlaps else []
    warnings += [f"{empty} of {len(files)} masks are empty"] if empty else []
    return LazyImage(
        (1, 1, *shape[2:]),
        ids.dtype,
        lambda t, z, rows, columns: ids[None, z, rows, columns],
        tiled=True,
        warnings=warnings,
    )


def _challenge_folder(paths: list[Path]) -> list[Path]:
    """Return SEG or TRA of a Cell Tracking Challenge folder. SEG has priority, since masks in TRA may be markers."""
    if len(paths) == 1 and paths[0].is_dir():
        for name in ("SEG", "TRA"):
            if (paths[0] / name).is_dir():
                return [paths[0] / name]
    return paths


def _numbered(files: Sequence[Path], frames: int, tracks: Path | None) -> dict[int, Path] | None:
    """Return {frame: file} if all TIFF files have names of Cell Tracking Challenge masks, else None.

    A tracker's results (mask000.tif) differ from masks of single objects, which belong to images of one `frames`, and
    from masks numbered from 1, which have no table of `tracks` and no frame 0.
    """
    images = [file for file in files if file.suffix.lower() in (".tif", ".tiff")]
    matches = [_CHALLENGE.fullmatch(file.name) for file in images]
    if not images or not all(matches):
        slices = [file for file in images if file.name.lower().startswith("man_seg_")]
        if slices:
            raise InputError(
                f"{slices[0]}: annotates a single plane of a volume, which is not supported; give whole volumes"
            )
        return None
    complete = [match for match in matches if match]
    masks = any(match[1].lower() == "mask" for match in complete)
    if masks and tracks is None and frames == 1:
        return None
    numbered: dict[int, Path] = {}
    for match, file in zip(complete, images, strict=True):
        other = numbered.setdefault(int(match[2]), file)
        if other != file:
            raise InputError(f"{file}: is frame {int(match[2])}, and so is {other}; remove one of them")
    if masks and tracks is None and 0 not in numbered:
        if len(numbered) == frames:
            return None
        raise InputError(
            f"{numbered[min(numbered)]}: its frame is ambiguous, since there is no mask000; give a mask for each of "
            f"the {frames} frames, or name them man_seg000.tif and so on, where 000 is the first frame"
        )
    return numbered


def _refuse_shifted(numbered: Mapping[int, Path], images: Sequence[Path]) -> None:
    """Refuse numbered masks of some frames if the image's own file numbers have a gap, because they are ambiguous."""
    shifted = first_shifted_frame(images) if len(images) > 1 else None
    if shifted is None:
        return
    file = next((file for t, file in sorted(numbered.items()) if t >= shifted), None)
    if file:
        raise InputError(
            f"{file}: its frame is ambiguous, since the numbers of the image's files have a gap "
            f"({images[shifted].name} is frame {shifted}, the first is 0); number both without gaps"
        )


def _find_tracks(paths: Sequence[Path]) -> Path | None:
    inside = [path / name for path in paths if path.is_dir() for name in _TRACKS]
    named = [path for path in paths if path.name in _TRACKS]
    return next((path for path in inside + named if path.is_file()), None)


def _open_challenge(
    numbered: Mapping[int, Path], tracks: Path | None, shape: Shape5D, ignore_label: int | None, frames: Iterable[int]
) -> Annotation:
    """Open numbered frames, some of which may be missing. Only one file is in memory at a time."""
    beyond = [file for t, file in numbered.items() if t >= shape[0]]
    if beyond:
        raise InputError(
            f"{beyond[0]}: is beyond the {shape[0]} frames of its image (the first is 0); remove or renumber it"
        )
    if tracks and (missing := set(frames) - set(numbered)):
        raise InputError(
            f"{tracks.parent}: frame {min(missing)} of {shape[0]} has no mask, but tracks need one for each "
            "analyzed frame: add it (an empty mask if there are no objects), or omit the frame from the column frames"
        )
    frame_shape: Shape5D = (1, *shape[1:])
    lineage = _read_tracks(tracks, shape[0]) if tracks else None
    labels = {*(track[0] for track in lineage), ignore_label} if lineage else None
    current: dict[int, NDArray[Any] | None] = {}

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        if t not in current:
            current.clear()
            current[t] = _read_frame(numbered[t], frame_shape, labels, tracks) if t in numbered else None
        ids = current[t]
        if ids is None:
            return np.zeros((1, rows.stop - rows.start, columns.stop - columns.start), np.int64)
        return ids[None, z, rows, columns]

    source = LazyImage((shape[0], 1, *shape[2:]), np.dtype(np.int64), read, tiled=True)
    annotated = sorted(numbered) if len(numbered) < shape[0] else None
    return Annotation(source, annotated_t=annotated, lineage=lineage)


def _read_frame(file: Path, shape: Shape5D, labels: Collection[int | None] | None, tracks: Path | None) -> NDArray[Any]:
    """Return the ids (z, y, x) of one frame, and check that the table `tracks` lists them."""
    with _open_ids([file], None, shape) as source:
        source = _fit(source, shape, file)
        ids = np.stack([source.read(0, z, slice(None), slice(None))[0] for z in range(shape[2])])
    unlisted = set(np.unique(ids).tolist()) - set(labels) - {0} if labels else set()
    if unlisted and tracks:
        raise InputError(
            f"{file}: has the ids {_some(unlisted)}, which {tracks.name} does not list; correct one of them"
        )
    return ids


def _read_tracks(path: Path, frames: int) -> list[list[int]]:
    """Return [label, first frame, last frame, parent] of each line of a Cell Tracking Challenge table of tracks."""
    tracks: dict[int, list[int]] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, begin, end, parent = map(int, line.split())
        except ValueError:
            raise InputError(f"{path}: line {number}: is not four whole numbers (label, begin, end, parent)") from None
        if label < 1 or label in tracks or not 0 <= begin <= end < frames or parent < 0:
            raise InputError(
                f"{path}: line {number}: {line.strip()!r} is invalid; labels must be unique and above 0, frames from 0 "
                f"to {frames - 1}, and the parent a label or 0"
            )
        tracks[label] = [label, begin, end, parent]
    for label, begin, _, parent in tracks.values():
        if parent and (parent not in tracks or tracks[parent][2] >= begin):
            raise InputError(
                f"{path}: track {label}: its parent {parent} is not a track that ended before frame {begin}"
            )
    return list(tracks.values())


def _some(ids: Iterable[int]) -> str:
    ids = sorted(ids)
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
