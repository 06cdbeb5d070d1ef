"""COCO annotations: polygons and run lengths (https://cocodataset.org/#format-data)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Shape5D
from tessera.io.drawn_labels import Drawing, DrawnRegion
from tessera.io.drawn_shapes import Polygons, RunLengths, Shape, as_ring
from tessera.io.json_drawing import entries, load_json
from tessera.io.lazy_image import as_input_error

SHOWN = 5


def read_coco(path: Path, shape: Shape5D, image_files: Sequence[Path]) -> Drawing:
    """Read the regions of one image, or of the files of a movie, from a COCO file that may list many images.

    An annotation with `iscrowd` or `ignore` marks pixels that nobody annotated.

    Args:
        path: the COCO file.
        shape: (t, c, z, y, x) of the image.
        image_files: files of the image: one, or one for each frame. Their names tell which images of COCO they are.

    Raises:
        InputError: the file is damaged, or lists no image of this name, or one of another size.
    """
    content = load_json(path)
    _check_ids(path, content)
    frames = _find_images(path, entries(path, content, "images"), image_files, shape)
    categories = {entry.get("id"): str(entry.get("name")) for entry in entries(path, content, "categories")}
    by_image: dict[Any, list[int]] = {image.get("id"): [] for image in frames.values()}
    if len(by_image) < len(frames):
        raise InputError(f"{path}: several images have the same id; give each its own")
    annotations = entries(path, content, "annotations")
    for number, annotation in enumerate(annotations):
        if (image_id := annotation.get("image_id")) in by_image:
            by_image[image_id].append(number)
    regions: list[DrawnRegion] = []
    empty = 0
    for t, image in sorted(frames.items()):
        for number in by_image[image.get("id")]:
            annotation = annotations[number]
            name = f"{path}: annotation {annotation.get('id', number)}"
            drawn = _shape(name, annotation.get("segmentation"), shape[3:])
            if drawn is None:
                empty += 1
                continue
            category = annotation.get("category_id")
            if category not in categories:
                raise InputError(f"{name}: its category {category} is not in categories; export the file again")
            ignored = bool(annotation.get("iscrowd") or annotation.get("ignore"))
            regions.append(DrawnRegion(drawn, len(regions), categories[category], t, 0, ignored))
    notes = [f"{empty} annotations without a segmentation (only boxes); they are left out"] if empty else []
    missing = [image_files[t].name for t in range(shape[0]) if t not in frames] if shape[0] > 1 else []
    if missing:
        names = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        notes.append(f"no entry for {len(missing)} of {shape[0]} frames ({names}); they count as not annotated")
    return Drawing(regions, notes=notes, annotated_t=sorted(frames) if shape[0] > 1 else None)


def _check_ids(path: Path, content: dict[str, Any]) -> None:
    for key, names in {"images": ("id",), "categories": ("id",), "annotations": ("image_id", "category_id")}.items():
        for number, entry in enumerate(entries(path, content, key)):
            for name in names:
                if not isinstance(entry.get(name), int | str | None):
                    raise InputError(f"{path}: {key} {number}: its {name} is no number; export the file again")


def _find_images(
    path: Path, images: Sequence[dict[str, Any]], files: Sequence[Path], shape: Shape5D
) -> dict[int, dict[str, Any]]:
    """Return {frame: entry of `images`} of those that the file lists."""
    if not files:
        raise InputError(f"{path}: a COCO file needs the names of the image's files, which are unknown here")
    if shape[2] > 1 or len(files) != shape[0]:
        raise InputError(
            f"{path}: COCO annotates single planes, but its image has {shape[0]} frames and {shape[2]} planes in "
            f"{len(files)} files; save each frame as a file of its own"
        )
    by_name: dict[str, list[dict[str, Any]]] = {}
    for image in images:
        by_name.setdefault(_last(str(image.get("file_name"))), []).append(image)
    by_stem: dict[str, list[dict[str, Any]]] = {}
    for name, named in by_name.items():
        by_stem.setdefault(_stem(name), []).extend(named)
    found = {}
    for t, file in enumerate(files):
        candidates = by_name.get(file.name) or by_stem.get(_stem(file.name), [])
        if len(candidates) > 1:
            candidates = _closest(file, candidates)
        if len(candidates) > 1:
            names = ", ".join(str(image.get("file_name")) for image in candidates[:SHOWN])
            raise InputError(f"{path}: lists {names}, so it is unclear which of them is {file}; rename one of them")
        if candidates:
            found[t] = candidates[0]
    if not found:
        names = ", ".join(sorted(by_name)[:SHOWN]) + (", ..." if len(by_name) > SHOWN else "")
        raise InputError(
            f"{path}: lists no image named {files[0].name}; its {len(images)} images are {names or 'none'}; correct "
            "file_name there, or the path of the image"
        )
    for t, image in found.items():
        size = image.get("height"), image.get("width")
        if size != (None, None) and size != shape[3:]:
            raise InputError(
                f"{path}: says that {files[t].name} is y {size[0]}, x {size[1]}, but it is y {shape[3]}, x {shape[4]}; "
                "annotate the image at its full size"
            )
    return found


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _stem(name: str) -> str:
    for suffix in (".ome.tiff", ".ome.tif", ".ome.zarr"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name.rpartition(".")[0] or name


def _closest(file: Path, candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the candidates that share most folders with a file."""

    def shared(image: dict[str, Any]) -> int:
        folders = str(image.get("file_name")).replace("\\", "/").split("/")[-2::-1]
        pairs = zip(folders, file.parts[-2::-1], strict=False)
        return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(file.parts)))

    most = max(map(shared, candidates))
    return [image for image in candidates if shared(image) == most]


def _shape(name: str, segmentation: Any, size: tuple[int, int]) -> Shape | None:
    """Return the pixels of an annotation, None if it has no outline."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        try:
            return Polygons([[as_ring(points)] for points in segmentation])
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: its polygon is damaged ({error}); export it again") from None
    with as_input_error(Path(name)):
        stated = segmentation["size"]
        counts = segmentation["counts"]
        runs = decode_counts(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if list(stated) != list(size):
        raise InputError(
            f"{name}: its run lengths are of an image of y, x {stated}, but its image is y {size[0]}, x {size[1]}; "
            "annotate the image at its full size"
        )
    if runs.ndim != 1 or (runs < 0).any() or (runs > size[0] * size[1]).any() or runs.sum() != size[0] * size[1]:
        raise InputError(f"{name}: its run lengths do not fill {size[0]} x {size[1]} pixels; export it again")
    ends = np.cumsum(runs)
    return RunLengths(ends[:-1:2], ends[1::2], size[0])


def decode_counts(text: str) -> NDArray[np.int64]:
    """Return the run lengths of compressed COCO masks.

    Each character holds five bits, lowest first; the sixth bit says whether more follow. From the fourth run on, the
    difference to the run before the last one is stored (`rleFrString` in https://github.com/cocodataset/cocoapi).

    Raises:
        ValueError: the text is no list of run lengths.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError("its compressed run lengths are damaged")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths end early")
    return np.array(runs, np.int64)
