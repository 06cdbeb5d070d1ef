"""Raw files that tests write and ingest."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from ingest import copy_pixels, ingest
from tessera.io.image_reader import open_image
from tessera.io.lazy_image import LazyImage
from tessera.io.ome_zarr_store import Metadata, create_store, open_array, read_metadata
from tessera.settings.sections import IngestSettings


def row(
    image: str,
    *files: Path,
    axes: str = "",
    pixel_size_um: float | None = None,
    frame_interval_s: float | None = None,
    scene: str = "",
) -> dict[str, Any]:
    """A row of the table as rule ingest gets it."""
    return {
        "image": image,
        "files": [str(file) for file in files],
        "scene": scene,
        "axes": axes,
        "pixel_size_um": pixel_size_um,
        "frame_interval_s": frame_interval_s,
    }


def ingest_rows(
    folder: Path, *rows: dict[str, Any], on_bad_image: str = "fail", chunk_px: int = 64, shard_px: int = 128
) -> Path:
    """Ingest `rows`, and return the folder of stores, which is below `folder`."""
    provenance = {each["image"]: "provenance" for each in rows}
    settings = IngestSettings(on_bad_image=on_bad_image, chunk_px=chunk_px, shard_px=shard_px)
    ingest(rows, provenance, folder / "images", settings=settings)
    return folder / "images"


def ingest_one(folder: Path, *files: Path, **columns: Any) -> tuple[zarr.Array, Metadata]:
    """Ingest one image of these files. `columns` are further columns of its row."""
    path = ingest_rows(folder, row("a", *files, **columns)) / "a.ome.zarr"
    return open_array(path), read_metadata(path)


def read_all(image: LazyImage) -> NDArray[Any]:
    """All pixels (t, c, z, y, x) of an image."""
    frames, _, depth, _, _ = image.shape
    whole = slice(None)
    return np.stack([np.stack([image.read(t, z, whole, whole) for z in range(depth)], 1) for t in range(frames)])


def noise(*shape: int, dtype: DTypeLike = np.uint16) -> NDArray[Any]:
    """Random values from 0 to 119, the same in each call."""
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def peak_of_copying(path: Path, output: Path) -> int:
    """Largest number of bytes in use while the pixels of the raw file `path` are copied into a new store `output`."""
    with open_image([path]) as source:
        store = create_store(output, source.shape, source.dtype, shard_px=512, by_rows=not source.tiled)
        tracemalloc.start()
        copy_pixels(source, store, "a")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak
