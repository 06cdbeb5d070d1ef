"""Annotations in the forms that people keep them, opened as a LazyImage of ids (t, 1, z, y, x) that fits the image."""

import contextlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tessera.common.errors import InputError
from tessera.io.frame_numbers import check_frame_pairs, first_shifted_frame
from tessera.io.image_reader import list_files, open_image
from tessera.io.lazy_image import LazyImage

# Cell Tracking Challenge: masks of a tracker's truth, of the segmentation truth, and of a tracker's result
_CHALLENGE = re.compile(r"(man_track|man_seg|mask)_?(\d+)\.tiff?", re.IGNORECASE)
_TRACKS = ("man_track.txt", "res_track.txt")


@dataclass(frozen=True)
class Annotation:
    """An annotation opened for reading.

    Attributes:
        source: LazyImage of ids, (t, 1, z, y, x) as the image.
        objects: whether each id is an object for certain (one file per object).
        annotated_t: frames that are annotated; None: all.
        lineage: [label, begin, end, parent] of each track; None: not known.
    """

    source: LazyImage
    objects: bool = False
    annotated_t: list[int] | None = None
    lineage: list[list[int]] | None = field(default=None)


@contextlib.contextmanager
def open_annotation(paths, shape, axes=None, ignore_label=None, *, frames=None, image=()):
    """Open an annotation for the block that follows: its kind is recognised by what is there.

    An image or stack of ids, a folder or glob of such frames, a folder with one mask per object, or a Cell Tracking
    Challenge folder (man_track*.tif and man_track.txt, man_seg*.tif, mask*.tif and res_track.txt, or SEG or TRA in it).

    Args:
        paths: files or folders.
        shape: (t, c, z, y, x) of the image that is annotated.
        axes: axes of the image's file as the table names them; the annotation may lack the channels.
        ignore_label: the value of pixels that nobody annotated, which tracks need not list; None: there are none.
        frames: the frames that are looked at, which all need a mask where it comes with tracks; None: all.
        image: files or folders of the image; where it and the annotation have one file per frame, their numbers are
            compared.

    Yields:
        Annotation.

    Raises:
        InputError: a file cannot be read, or does not fit the image.
    """
    paths = _challenge_folder([Path(path) for path in paths])
    files = list_files(paths)
    _refuse_jpeg(files)
    count, _, depth, _, _ = shape
    tracks = _tracks(paths)
    images = list_files(image) if image else []
    numbered = _numbered(files, count, tracks)
    if numbered:
        annotation = _open_challenge(numbered, tracks, shape, ignore_label, range(count) if frames is None else frames)
        if annotation.annotated_t:
            _refuse_moved(numbered, images)
        yield annotation
    elif len(files) > 1 and count == 1 and len(files) != depth:
        yield Annotation(_merge_objects(files, shape), objects=True)
    else:
        if len(files) == len(images) > 1:
            check_frame_pairs(files, images)
        with _open_ids(files, axes, shape) as source:
            yield Annotation(_fit(source, shape, files[0] if len(files) == 1 else files[0].parent))


def _refuse_jpeg(files):
    for file in files:
        if file.suffix.lower() in (".jpg", ".jpeg"):
            raise InputError(f"{file}: JPEG changes ids at the edges of objects; export the annotation as PNG or TIFF")


@contextlib.contextmanager
def _open_ids(files, axes, shape):
    """Open ids whose axes are those of the image, of `shape`, its channels left out or not."""
    fewer = re.sub("[CS]", "", (axes or "").upper())
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(open_image(files, fewer, labels=True, like=shape))
        except InputError:
            if fewer == (axes or "").upper():
                raise
            source = stack.enter_context(open_image(files, axes, labels=True, like=shape))
        yield source


def _fit(source, shape, name):
    """`source` with one channel and the shape of the image; frames may be taken for depths, and depths for frames."""
    frames, channels, depth, height, width = source.shape
    expected = {"t": shape[0], "z": shape[2], "y": shape[3], "x": shape[4]}
    found = {"t": frames, "z": depth, "y": height, "x": width}
    read = _one_channel(source, name) if channels > 1 else source.read
    if (frames, depth) == (shape[2], shape[0]) and frames != depth and 1 in (frames, depth):
        found |= {"t": depth, "z": frames}
        inner = read
        read = lambda t, z, rows, columns: inner(z, t, rows, columns)  # noqa: E731
    if found != expected:
        raise InputError(f"{name}: is {_sizes(found)}, but its image is {_sizes(expected)}; {_advise(found, expected)}")
    return replace(source, shape=(shape[0], 1, *shape[2:]), read=read)


def _advise(found, expected):
    """What to do about an annotation whose sizes {axis: size} are not those of its image."""
    planes = [(sizes["y"], sizes["x"]) for sizes in (found, expected)]
    if planes[0] == planes[1] and found["t"] * found["z"] == expected["t"] * expected["z"]:
        return "state its axes in the table, such as TZYX for frames of planes"
    if planes[0] == planes[1]:
        axis, what = ("t", "frame") if found["t"] != expected["t"] else ("z", "plane")
        return f"give an annotation of each {what}, {expected[axis]} of them, where nothing is seen an empty one"
    if planes[0] == planes[1][::-1]:
        return "it is transposed, turn it"
    return "annotate the image itself, at its full size"


def _sizes(sizes):
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items() if size > 1 or axis in "yx")


def _one_channel(source, name):
    """Read ids that were saved as colours: all channels must be alike, but for transparency."""

    def read(t, z, rows, columns):
        pixels = source.read(t, z, rows, columns)
        colours = pixels[:3] if len(pixels) == 4 else pixels[: len(pixels) - (len(pixels) == 2)]
        if (colours != colours[0]).any():
            raise InputError(
                f"{name}: holds colours, not ids; export the annotation as an image of one channel that holds ids"
            )
        return pixels[:1]

    return read


def _merge_objects(files, shape):
    """One mask per object, as in the 2018 Data Science Bowl: ids in order of names; the smaller covers the larger."""
    objects = []
    for number, file in enumerate(files, start=1):
        with _open_ids([file], None, shape) as source:
            source = _fit(source, shape, file)
            pixels = np.stack([source.read(0, z, slice(None), slice(None))[0] for z in range(shape[2])])
        inside = pixels != 0
        if (pixels[inside] != pixels.max()).any():
            raise InputError(
                f"{file}: holds several ids; for an image of one frame, several files must be masks of one object "
                "each, with one value inside and 0 outside"
            )
        objects.append((np.flatnonzero(inside), number))
    ids = np.zeros(shape[2:], np.int32)
    overlaps = empty = 0
    for where, number in sorted(objects, key=lambda entry: -len(entry[0])):
        overlaps += np.count_nonzero(ids.flat[where])
        empty += len(where) == 0
        ids.flat[where] = number
    warnings = [f"{overlaps} pixels belong to two objects; the smaller one has them"] if overlaps else []
    warnings += [f"{empty} of {len(files)} masks are empty"] if empty else []
    return LazyImage(
        (1, 1, *shape[2:]),
        ids.dtype,
        lambda t, z, rows, columns: ids[None, z, rows, columns],
        tiled=True,
        warnings=warnings,
    )


def _challenge_folder(paths):
    """Of a Cell Tracking Challenge folder that holds SEG or TRA, the one to read: TRA may hold mere markers."""
    if len(paths) == 1 and paths[0].is_dir():
        for name in ("SEG", "TRA"):
            if (paths[0] / name).is_dir():
                return [paths[0] / name]
    return paths


def _numbered(files, frames, tracks):
    """{frame: file} where all TIFF files are named as the Cell Tracking Challenge names masks; None otherwise.

    A tracker's results (mask000.tif) are told from masks of one object each by the image's `frames`, and from masks
    that somebody counted from 1 by `tracks`, or the first frame, 0.
    """
    images = [file for file in files if file.suffix.lower() in (".tif", ".tiff")]
    matches = [_CHALLENGE.fullmatch(file.name) for file in images]
    if not images or not all(matches):
        slices = [file for file in images if file.name.lower().startswith("man_seg_")]
        if slices:
            raise InputError(
                f"{slices[0]}: annotates a single depth of a volume, which cannot be used; give whole volumes"
            )
        return None
    masks = any(match[1].lower() == "mask" for match in matches)
    if masks and tracks is None and frames == 1:
        return None
    numbered = {}
    for match, file in zip(matches, images, strict=True):
        other = numbered.setdefault(int(match[2]), file)
        if other != file:
            raise InputError(f"{file}: is frame {int(match[2])}, as {other} is; keep the masks of one kind")
    if masks and tracks is None and 0 not in numbered:
        if len(numbered) == frames:
            return None
        raise InputError(
            f"{numbered[min(numbered)]}: which frame it is of is not clear, since none is mask000; give a mask for "
            f"each of the {frames} frames, or name them man_seg000.tif and so on, where 000 is the first frame"
        )
    return numbered


def _refuse_moved(numbered, images):
    """Refuse numbered masks of some frames where the image's own files leave numbers out: which number is meant?"""
    moved = first_shifted_frame(images) if len(images) > 1 else None
    file = moved and next((file for t, file in sorted(numbered.items()) if t >= moved), None)
    if file:
        raise InputError(
            f"{file}: which frame it is of is not clear, since the numbers of the image's files have a hole "
            f"({images[moved].name} is frame {moved}, the first is 0); number both without one"
        )


def _tracks(paths):
    inside = [path / name for path in paths if path.is_dir() for name in _TRACKS]
    named = [path for path in paths if path.name in _TRACKS]
    return next((path for path in inside + named if path.is_file()), None)


def _open_challenge(numbered, tracks, shape, ignore_label, frames):
    """Numbered frames, of which some may be missing; one file is open at a time."""
    beyond = [file for t, file in numbered.items() if t >= shape[0]]
    if beyond:
        raise InputError(
            f"{beyond[0]}: is a frame beyond the {shape[0]} of its image (the first is 0); remove or renumber it"
        )
    if tracks and (missing := set(frames) - set(numbered)):
        raise InputError(
            f"{tracks.parent}: frame {min(missing)} of {shape[0]} has no mask; tracks need one of each frame that is "
            "looked at: add it (empty where nothing is seen), or leave the frame out of the column frames"
        )
    frame_shape = (1, *shape[1:])
    lineage = _read_tracks(tracks, shape[0]) if tracks else None
    labels = {track[0] for track in lineage} | {ignore_label} if lineage else None
    held = {}

    def read(t, z, rows, columns):
        if t not in held:
            held.clear()
            held[t] = _read_frame(numbered[t], frame_shape, labels, tracks) if t in numbered else None
        if held[t] is None:
            return np.zeros((1, rows.stop - rows.start, columns.stop - columns.start), np.int64)
        return held[t][None, z, rows, columns]

    source = LazyImage((shape[0], 1, *shape[2:]), np.dtype(np.int64), read, tiled=True)
    annotated = sorted(numbered) if len(numbered) < shape[0] else None
    return Annotation(source, annotated_t=annotated, lineage=lineage)


def _read_frame(file, shape, labels, tracks):
    """Ids (z, y, x) of one frame."""
    with _open_ids([file], None, shape) as source:
        source = _fit(source, shape, file)
        ids = np.stack([source.read(0, z, slice(None), slice(None))[0] for z in range(shape[2])])
    unknown = set(np.unique(ids).tolist()) - labels - {0} if labels else ()
    if unknown:
        raise InputError(
            f"{file}: holds the ids {_some(unknown)}, which {tracks.name} does not list; correct one of them"
        )
    return ids


def _read_tracks(path, frames):
    """[label, begin, end, parent] of every line of a Cell Tracking Challenge table of tracks."""
    tracks = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, begin, end, parent = map(int, line.split())
        except ValueError:
            raise InputError(f"{path}: line {number}: is not four whole numbers (label, begin, end, parent)") from None
        if label < 1 or label in tracks or not 0 <= begin <= end < frames or parent < 0:
            raise InputError(
                f"{path}: line {number}: {line.strip()!r} cannot be; labels are unique and above 0, frames from 0 to "
                f"{frames - 1}, the parent a label or 0"
            )
        tracks[label] = [label, begin, end, parent]
    for label, begin, _, parent in tracks.values():
        if parent and (parent not in tracks or tracks[parent][2] >= begin):
            raise InputError(
                f"{path}: track {label}: its parent {parent} is not a track that ended before frame {begin}"
            )
    return list(tracks.values())


def _some(ids):
    ids = sorted(ids)
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
