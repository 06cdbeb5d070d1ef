"""The formats of image files: how to recognize them, and which optional package reads them.

Planning imports this module, so it needs only the standard library.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import PurePath

from tessera.common.types import StrPath

INSTALL_READERS = "make setup READERS=1"
HEAD_BYTES = 16  # of a file, enough for all signatures


@dataclass(frozen=True)
class ImageFormat:
    """A format of image files.

    Attributes:
        name: its name, as users know it.
        suffixes: endings of file names, in lower case.
        signatures: what files begin with; empty if only the suffix tells.
        package: name of the optional package that reads it, as it is imported; "" if nothing further is needed.
    """

    name: str
    suffixes: tuple[str, ...]
    signatures: tuple[bytes, ...] = ()
    package: str = ""


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_2000 = b"\0\0\0\x0cjP  "
_HDF5 = (b"\x89HDF\r\n\x1a\n",)

# The order matters: a format with a suffix of its own comes before those that share its signature.
FORMATS = {
    "nd2": ImageFormat("ND2", (".nd2",), (b"\xda\xce\xbe\x0a", _JPEG_2000), "nd2"),
    "czi": ImageFormat("CZI", (".czi",), (b"ZISRAWFILE",)),
    "lif": ImageFormat("LIF", (".lif",), (b"\x70\0\0\0",), "liffile"),
    "hdf5": ImageFormat("HDF5", (".h5", ".hdf5", ".ims", ".ilp"), _HDF5),
    "nrrd": ImageFormat("NRRD", (".nrrd",), (b"NRRD000",), "nrrd"),
    "npy": ImageFormat("NumPy", (".npy",), (b"\x93NUMPY",)),
    "nifti": ImageFormat("NIfTI", (".nii", ".nii.gz"), package="nibabel"),
    "mrc": ImageFormat("MRC", (".mrc", ".mrcs", ".rec", ".ali"), package="mrcfile"),
    "zarr zip": ImageFormat("zipped OME-Zarr", (".zarr.zip", ".ozx")),
    "gif": ImageFormat("GIF", (".gif",), (b"GIF8",)),
    "movie": ImageFormat("MP4, MOV, AVI", (".mp4", ".m4v", ".mov", ".avi")),
    "dicom": ImageFormat("DICOM", (".dcm", ".dicom"), package="pydicom"),
    "tiff": ImageFormat("TIFF", (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs"), _TIFF),
    "flat": ImageFormat(
        "PNG, JPEG, JPEG 2000",
        (".png", ".jpg", ".jpeg", ".jp2", ".j2k"),
        (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", _JPEG_2000, b"\xff\x4f\xff\x51"),
    ),
}
ROI = ImageFormat("ImageJ ROI", (".roi", ".zip"), (b"Iout",), "roifile")
SUFFIXES = tuple(suffix for each in FORMATS.values() for suffix in each.suffixes)


def detect_format(path: StrPath, head: bytes) -> str | None:
    """Return the key in FORMATS of a file, None if it is of another format.

    A file whose beginning and suffix both fit a format has it. Otherwise the beginning decides.

    Args:
        path: the file.
        head: its first HEAD_BYTES bytes.
    """
    name = str(path).lower()
    fitting = [key for key, each in FORMATS.items() if each.signatures and head.startswith(each.signatures)]
    fitting += [key for key, each in FORMATS.items() if not each.signatures and name.endswith(each.suffixes)]
    own = [key for key in fitting if name.endswith(FORMATS[key].suffixes)]
    shared = [key for key in fitting if key != "nd2" or head.startswith(FORMATS["nd2"].signatures[0])]
    return next(iter(own or shared), None)


def describe_missing_reader(path: StrPath, *, annotation: bool = False) -> str | None:
    """Return what to install to read a file, None if its reader is installed. Only the suffix is looked at.

    Args:
        path: the file.
        annotation: whether it is an annotation, which has further formats.
    """
    name = PurePath(path).name.lower()
    for each in (*FORMATS.values(), *([ROI] if annotation else [])):
        if each.package and name.endswith(each.suffixes):
            return describe_missing_package(each)
    return None


def describe_missing_package(format_: ImageFormat) -> str | None:
    """Return what to install to read a format, None if its reader is installed."""
    if not format_.package or importlib.util.find_spec(format_.package) is not None:
        return None
    return f"is a {format_.name} file, whose reader {format_.package} is not installed; run {INSTALL_READERS}"
