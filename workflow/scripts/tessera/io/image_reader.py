"""Raw image files, of whatever kind, opened as sources; several files as the frames of a movie."""

import contextlib
import re
import warnings
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from tessera.common.errors import InputError
from tessera.io.frame_numbers import describe_missing_numbers
from tessera.io.lazy_image import (
    COLORS,
    as_input_error,
    check_claimed_size,
    drop_constant_alpha,
    make_lazy_image,
    name_axes,
)
from tessera.io.ome_zarr_reader import is_zarr, open_ome_zarr
from tessera.io.pyramid import AXES
from tessera.io.tiff_reader import open_tiff

_LATER = (
    ".czi",
    ".nd2",
    ".lif",
    ".oib",
    ".oif",
    ".oir",
    ".vsi",
    ".ims",
    ".dv",
    ".zarr",
    ".h5",
    ".hdf5",
    ".mrc",
    ".sld",
)
_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".png", ".jpg", ".jpeg", ".jp2", ".j2k", *_LATER)
_KINDS = {
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "flat": (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
}


@contextlib.contextmanager
def open_image(paths, axes=None, *, labels=False, like=None):
    """Open one file, or several as the frames of a movie, for the block that follows.

    Args:
        paths: files or folders; a folder that is OME-Zarr is a file.
        axes: the axes of the (squeezed) array in each file, such as "tzyx", where the file's own word is not to be
            taken; for several files, their leading t may be named or not.
        labels: the pixels are ids: indices of a palette stay what they are, and integers may be of 64 bits.
        like: shape (t, c, z, y, x) of the image that ids are of, by which axes that are not clear are told apart.

    Yields:
        Source.

    Raises:
        InputError: a file cannot be read, is of an unknown kind, claims what cannot be, or does not fit the others.
    """
    files = list_files(paths)
    with contextlib.ExitStack() as stack:
        if len(files) == 1:
            yield stack.enter_context(_open_file(files[0], axes, labels, like))
        else:
            yield stack.enter_context(_open_frames(files, axes, labels, like))


def list_files(paths):
    """The files among `paths` and the images right in the folders among them, in natural order (2 before 10).

    Raises:
        InputError: a path does not exist, or there is no file at all.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir() and not is_zarr(path):
            if path.suffix == ".zarr":
                raise InputError(f"{path}: lacks zarr.json or .zattrs at its top; copy all of it, hidden files too")
            files += _list_folder(path)
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: there is no such file; correct the table of images")
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: holds no files; correct the table of images")
    return sorted(files, key=natural_sort_key)


def _list_folder(folder):
    """The images in a folder, whatever lies beside them; all files where none has the name of an image."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    return [file for file in files if file.suffix.lower() in _SUFFIXES] or files


def natural_sort_key(path):
    """Key that sorts names with numbers in them as people do: frame 2 before frame 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


@contextlib.contextmanager
def _open_file(path, axes, labels, like):
    kind = _recognise(path)
    with contextlib.ExitStack() as stack:
        with as_input_error(path):
            opener = {"tiff": open_tiff, "zarr": open_ome_zarr, "flat": _open_flat}[kind]
            source = stack.enter_context(opener(path, axes, labels, like))
        yield source


def _recognise(path):
    if path.is_dir():
        return "zarr"
    with as_input_error(path), open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise InputError(f"{path}: the file is empty; replace or remove it")
    for kind, beginnings in _KINDS.items():
        if head.startswith(beginnings):
            return kind
    if path.suffix.lower() in _LATER:
        raise InputError(f"{path}: {path.suffix} files cannot be read yet; convert it to OME-TIFF (Bio-Formats, Fiji)")
    raise InputError(
        f"{path}: is not a TIFF, PNG, JPEG or JPEG 2000 file, it begins with {head[:4]!r}; replace or remove it"
    )


@contextlib.contextmanager
def _open_frames(files, axes, labels, like):
    """Several files as the frames of one movie; one file is open at a time."""
    axes = axes[1:] if axes and axes[0].lower() == "t" else axes
    like = like and (1, *like[1:])
    first, types = None, set()
    for file in files:
        with _open_file(file, axes, labels, like) as frame:
            if frame.shape[0] > 1:
                raise InputError(
                    f"{file}: holds {frame.shape[0]} frames itself, but is one of {len(files)} files of a movie; "
                    "give each file a row of its own, say what its axes are (column axes), or of an OME-TIFF set name "
                    "one file alone"
                )
            first = first or (file, frame)
            types.add(frame.dtype)
            # Programs choose the bits of ids by how many there are in a frame; of intensities they change the meaning.
            if frame.shape != first[1].shape or (len(types) > 1 and not labels):
                what = "have the same size" if frame.shape != first[1].shape else "be of one bit depth; save them alike"
                raise InputError(
                    f"{file}: is {_describe(frame)}, but {first[0].name} is {_describe(first[1])}; all frames of a "
                    f"movie must {what}"
                )
    dtype = np.result_type(*types)
    with contextlib.ExitStack() as stack:
        held = {}

        def read(t, z, rows, columns):
            if t not in held:
                stack.close()
                held.clear()
                held[t] = stack.enter_context(_open_file(files[t], axes, labels, like))
            return held[t].read(0, z, rows, columns).astype(dtype, copy=False)

        warnings = [*first[1].warnings, *describe_missing_numbers(files)]
        yield replace(first[1], shape=(len(files), *first[1].shape[1:]), dtype=dtype, read=read, warnings=warnings)


def _describe(source):
    sizes = " x ".join(f"{size} {axis}" for axis, size in zip(AXES[1:], source.shape[1:], strict=True) if size > 1)
    return f"{sizes} {source.dtype}"


@contextlib.contextmanager
def _open_flat(path, axes, labels, like):
    """PNG, JPEG or JPEG 2000, which must be decoded whole; Pillow refuses to decode very large ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG", "JPEG2000")) as image:
            check_claimed_size(path, image.width * image.height * len(image.getbands()), path.stat().st_size)
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path}: is an animation; save its frames as one TIFF or as files of their own")
            pixels = _decode_flat(path, image, labels)
    layout = name_axes(path, "YXS"[: pixels.ndim], pixels.shape, axes, like)
    colours = pixels.ndim == 3 and not axes
    channels = list(COLORS[: layout.size("c")]) if colours and layout.size("c") >= 3 else None
    source = replace(make_lazy_image(path, layout, pixels, labels=labels), channels=channels)
    yield drop_constant_alpha(source) if colours and layout.size("c") in (2, 4) else source


def _decode_flat(path, image, labels):
    """Pixels (y, x) or (y, x, c)."""
    if image.format == "JPEG2000":
        pixels = imagecodecs.jpeg2k_decode(path.read_bytes())
    elif image.mode == "P" and not labels:
        pixels = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    elif image.mode in ("CMYK", "YCbCr"):
        pixels = np.asarray(image.convert("RGB"))
    elif any("16" in str(tile.args) for tile in image.tile) and len(image.getbands()) > 1:
        pixels = imagecodecs.png_decode(path.read_bytes())  # Pillow would cut colours of 16 bits to 8
    else:
        pixels = np.asarray(image)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
