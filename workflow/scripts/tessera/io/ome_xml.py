"""The description of OME-TIFF files, checked before a reader trusts it (https://docs.openmicroscopy.org/ome-model/)."""

from pathlib import Path
from xml.etree import ElementTree

from tessera.common.errors import InputError
from tessera.io.tiff_structure import check_tiff_structure, is_tiff

MAX_MISSING_PLANES = 1_000_000  # a description may claim so many planes more than there are, such as of missing files


def looks_like_ome(description: str) -> bool:
    """Return whether the description of a TIFF file is OME-XML, well-formed or not."""
    return "<OME" in description[:2000] or description[-10:].strip().endswith("OME>")


def parse_ome(description: str) -> ElementTree.Element | str:
    """Return the root of OME-XML, or what is wrong if it is not well-formed."""
    try:
        return ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError) as error:
        return str(error)


def check_ome_set(path: Path, root: ElementTree.Element, page_count: int) -> None:
    """Check the files and the number of planes that an OME-TIFF names, since tifffile opens and lists all of them.

    Missing files are allowed: a renamed file still contains its old name, and missing planes are detected later.

    Args:
        path: the file.
        root: its OME-XML.
        page_count: number of its pages.

    Raises:
        InputError: the file names a path, a link, a folder or a damaged file, or claims an absurd number of planes.
    """
    for file in _list_files(path, root):
        page_count += len(check_tiff_structure(file))
    claimed = 0
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        sizes = {axis: _number(pixels, f"Size{axis}") for axis in "TZC"}
        planes = max(0, sizes["T"] * sizes["Z"] * sizes["C"])
        claimed += planes
        if planes > page_count + MAX_MISSING_PLANES:
            text = " x ".join(f"{size:,} {axis}" for axis, size in sizes.items())
            raise InputError(
                f"{path}: its OME-XML claims {text} planes, but it has {page_count} pages; replace or remove it"
            )
        for data in pixels.iterfind("{*}TiffData"):
            planes = max(_number(data, key) for key in ("PlaneCount", "NumPlanes", "IFD"))
            if planes > page_count + MAX_MISSING_PLANES:
                raise InputError(
                    f"{path}: its OME-XML names page {planes:,}, but it has {page_count} pages; replace or remove it"
                )
    if claimed > page_count + MAX_MISSING_PLANES:
        raise InputError(
            f"{path}: its OME-XML claims {claimed:,} planes, but it has {page_count} pages; replace or remove it"
        )


def _list_files(path: Path, root: ElementTree.Element) -> list[Path]:
    """Return the other files of the set that exist, all of them in the folder of the file."""
    own = root.get("UUID")
    folder = path.resolve().parent
    files: dict[Path, None] = {}
    for element in root.iterfind(".//{*}UUID"):
        if own is not None and element.text == own:
            continue
        name = element.get("FileName", "")
        if not name or name == ".." or set(name) & set("/\\"):
            raise InputError(f"{path}: refers to {name!r}, which is not a file in its folder; save it as one file")
        file = folder / name
        if (file.exists() and not file.is_file()) or file.resolve().parent != folder:
            raise InputError(f"{path}: refers to {name}, which is not a file in its folder; save it as one file")
        if file.exists() and file != path.resolve() and is_tiff(file):
            files[file] = None
    return list(files)


def _number(element: ElementTree.Element, key: str) -> int:
    """Return an attribute as a number; 0 if it is missing or no number, which tifffile refuses."""
    try:
        return int(element.get(key, 0))
    except ValueError:
        return 0
