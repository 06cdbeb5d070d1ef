"""Opens raw image files of any supported format as LazyImages, and several files as the frames of a movie."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.image_formats import (
    FORMATS,
    HEAD_BYTES,
    SUFFIXES,
    describe_missing_package,
    detect_format,
)
from tessera.common.natural_order import natural_sort_key
from tessera.common.types import Shape5D, StrPath
from tessera.io.channel_files import refuse_channel_files
from tessera.io.czi_reader import open_czi
from tessera.io.dicom_reader import open_dicom
from tessera.io.file_request import FileRequest
from tessera.io.flat_reader import open_flat
from tessera.io.frame_numbers import describe_missing_numbers
from tessera.io.hdf5_reader import open_hdf5
from tessera.io.lazy_image import LazyImage, as_input_error
from tessera.io.lif_reader import open_lif
from tessera.io.movie_reader import open_movie
from tessera.io.mrc_reader import open_mrc
from tessera.io.nd2_reader import open_nd2
from tessera.io.nifti_reader import open_nifti
from tessera.io.npy_reader import open_npy
from tessera.io.nrrd_reader import open_nrrd
from tessera.io.ome_zarr_reader import is_zarr, open_ome_zarr
from tessera.io.shards import AXES
from tessera.io.tiff_reader import open_tiff

# {key in FORMATS: the function that opens such a file}
READERS: dict[str, Callable[[Path, FileRequest], AbstractContextManager[LazyImage]]] = {
    "czi": open_czi,
    "dicom": open_dicom,
    "flat": open_flat,
    "gif": open_movie,
    "hdf5": open_hdf5,
    "lif": open_lif,
    "movie": open_movie,
    "mrc": open_mrc,
    "nd2": open_nd2,
    "nifti": open_nifti,
    "npy": open_npy,
    "nrrd": open_nrrd,
    "tiff": open_tiff,
    "zarr": open_ome_zarr,
    "zarr zip": open_ome_zarr,
}
_NO_READER = (".oib", ".oif", ".oir", ".vsi", ".dv", ".zarr", ".sld")
_SUFFIXES = (*SUFFIXES, *_NO_READER)
# Files beside the frames of a movie that are rarely frames: results of Cellpose (.npy), previews
_BESIDE = tuple(suffix for key in ("npy", "gif", "movie") for suffix in FORMATS[key].suffixes)
_OTHER_FORMATS = {
    "BMP": (b"BM",),
    "WebP or AVI": (b"RIFF",),
    "HEIF or MP4": tuple(bytes((0, 0, 0, size)) + b"ftyp" for size in range(8, 64)),
    "Photoshop": (b"8BPS",),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG XR": (b"II\xbc",),
    "FITS": (b"SIMPLE",),
    "ZIP": (b"PK\x03\x04",),
    "gzip": (b"\x1f\x8b",),
    "PDF": (b"%PDF",),
    "OIB": (b"\xd0\xcf\x11\xe0",),
    "netPBM": (b"P2\n", b"P3\n", b"P5\n", b"P6\n"),
}
_ADVICE = {
    "ZIP": "unpack it, and name the images in it",
    "gzip": "unpack it, and name the images in it",
    "PDF": "ask for the original image",
}


@contextlib.contextmanager
def open_image(
    paths: Sequence[StrPath],
    axes: str | None = None,
    *,
    labels: bool = False,
    like: Shape5D | None = None,
    scene: str = "",
) -> Iterator[LazyImage]:
    """Open one file, or several as the frames of a movie, for the block that follows.

    Args:
        paths: files or folders; an OME-Zarr folder counts as a file.
        axes: axes of the (squeezed) array in each file, such as "tzyx", to override the file's metadata. For several
            files, a leading t is optional.
        labels: the pixels are ids: palette indices stay as they are, and integers may have 64 bits.
        like: shape (t, c, z, y, x) of the annotated image, to resolve ambiguous axes.
        scene: name or number of the scene to read, "" if each file has only one.

    Yields:
        The LazyImage.

    Raises:
        InputError: a file is unreadable, of an unknown format, corrupt, or differs from the other frames.
    """
    files = list_files(paths)
    request = FileRequest(axes, labels, like, scene)
    with contextlib.ExitStack() as stack:
        if len(files) == 1:
            yield stack.enter_context(_open_file(files[0], request))
        else:
            yield stack.enter_context(_open_frames(files, request))


def list_files(paths: Sequence[StrPath]) -> list[Path]:
    """Return the files in `paths`, and the images in the folders in `paths`, in natural order (2 before 10).

    Raises:
        InputError: a path does not exist, or there are no files.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir() and not is_zarr(path):
            if path.suffix == ".zarr":
                raise InputError(f"{path}: lacks zarr.json or .zattrs; copy the whole folder, including hidden files")
            files += _list_folder(path)
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: there is no such file; correct the table of images")
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: contains no files; correct the table of images")
    return sorted(files, key=natural_sort_key)


def _list_folder(folder: Path) -> list[Path]:
    """Return the images in a folder, or all its files if none has the suffix of an image.

    Raises:
        InputError: one of them is a link to a file that does not exist, so a frame would be missing.
    """
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    broken = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    files = [entry for entry in entries if entry.is_file() or entry in broken]
    images = [file for file in files if file.name.lower().endswith(_SUFFIXES)]
    files = [file for file in images if not file.name.lower().endswith(_BESIDE)] or images or files
    if lost := sorted(set(broken) & set(files)):
        raise InputError(
            f"{lost[0]}: is a link to {lost[0].readlink()}, which does not exist; restore that file, or remove the link"
        )
    return files


@contextlib.contextmanager
def _open_file(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    format_ = _detect_format(path)
    with contextlib.ExitStack() as stack:
        with as_input_error(path):
            image = stack.enter_context(READERS[format_](path, request))
        yield image


def _detect_format(path: Path) -> str:
    if path.is_dir():
        return "zarr"
    with as_input_error(path), open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(f"{path}: the file is empty; replace or remove it")
    if path.suffix.lower() == ".vsi":  # a TIFF file
        raise InputError(
            f"{path}: .vsi files hold only a preview, the image is in the folder _{path.stem}_ beside it; convert it "
            "to OME-TIFF (Bio-Formats, Fiji)"
        )
    if format_ := detect_format(path, head):
        if missing := describe_missing_package(FORMATS[format_]):
            raise InputError(f"{path}: {missing}")
        return format_
    if path.suffix.lower() in _NO_READER:
        raise InputError(f"{path}: {path.suffix} files are not supported; convert it to OME-TIFF (Bio-Formats, Fiji)")
    for name, heads in _OTHER_FORMATS.items():
        if head.startswith(heads):
            advice = _ADVICE.get(name, "convert it to OME-TIFF (Bio-Formats, Fiji)")
            raise InputError(f"{path}: is a file of the format {name}, which is not supported; {advice}")
    raise InputError(
        f"{path}: is not a TIFF, PNG, JPEG or JPEG 2000 file, it begins with {head[:4]!r}; if it is an image of "
        "another format, convert it to OME-TIFF (Bio-Formats, Fiji)"
    )


@contextlib.contextmanager
def _open_frames(files: Sequence[Path], request: FileRequest) -> Iterator[LazyImage]:
    """Open several files as the frames of one movie; only one file is open at a time."""
    # An annotation of a stack may have a file for each plane.
    axes, labels, like = request.axes, request.labels, request.like
    if not (labels and like and like[0] == 1 and like[2] == len(files)):
        refuse_channel_files(files)
    axes = axes[1:] if axes and axes[0].lower() == "t" else axes
    like = like and (1, *like[1:])
    request = replace(request, axes=axes, like=like)
    first: tuple[Path, LazyImage] | None = None
    types: set[np.dtype[Any]] = set()
    notes: dict[str, str] = {}
    for file in files:
        with _open_file(file, request) as frame:
            if frame.shape[0] > 1:
                raise InputError(
                    f"{file}: has {frame.shape[0]} frames, but is one of {len(files)} files of a movie; give each "
                    "file its own row, state its axes (column axes), or name only one file of an OME-TIFF set"
                )
            first = first or (file, frame)
            for text in frame.warnings:  # those that differ only in their numbers count as equal
                notes.setdefault(re.sub("[0-9.]+", "0", text), text)
            types.add(frame.dtype)
            # Programs choose the bit depth of ids by their number; of intensities it changes the meaning.
            if frame.shape != first[1].shape or (len(types) > 1 and not labels):
                what = (
                    "have the same size" if frame.shape != first[1].shape else "have the same bit depth; convert them"
                )
                raise InputError(
                    f"{file}: is {_describe(frame)}, but {first[0].name} is {_describe(first[1])}; all frames of a "
                    f"movie must {what}"
                )
    dtype = np.result_type(*types)
    if first is None:
        raise ValueError("no files")
    with contextlib.ExitStack() as stack:
        opened: dict[int, LazyImage] = {}

        def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
            if t not in opened:
                stack.close()
                opened.clear()
                opened[t] = stack.enter_context(_open_file(files[t], request))
            return opened[t].read(0, z, rows, columns).astype(dtype, copy=False)

        image = first[1]
        yield replace(
            image,
            shape=(len(files), *image.shape[1:]),
            dtype=dtype,
            read=read,
            warnings=[*notes.values(), *describe_missing_numbers(files)],
        )


def _describe(image: LazyImage) -> str:
    sizes = " x ".join(f"{size} {axis}" for axis, size in zip(AXES[1:], image.shape[1:], strict=True) if size > 1)
    return f"{sizes} {image.dtype}"
