"""Raw files that tests make and ingest."""

import tracemalloc

import numpy as np

from ingest import copy_pixels, ingest
from tessera.io.image_reader import open_image
from tessera.io.ome_zarr_store import create_store, open_array, read_metadata


def row(image, *files, axes="", pixel_size_um=None, frame_interval_s=None):
    return {
        "image": image,
        "files": [str(file) for file in files],
        "axes": axes,
        "pixel_size_um": pixel_size_um,
        "frame_interval_s": frame_interval_s,
    }


def ingest_rows(folder, *rows, on_bad_image="fail", chunk_px=64, shard_px=128):
    provenance = {each["image"]: "provenance" for each in rows}
    ingest(rows, provenance, folder / "images", on_bad_image=on_bad_image, chunk_px=chunk_px, shard_px=shard_px)
    return folder / "images"


def ingest_one(folder, *files, **settings):
    path = ingest_rows(folder, row("a", *files, **settings)) / "a.ome.zarr"
    return open_array(path), read_metadata(path)


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def peak_of_copying(path, output):
    """Bytes that are in use at most while the pixels of a raw file are copied into a new store at `output`."""
    with open_image([path]) as source:
        store = create_store(output, source.shape, source.dtype)
        tracemalloc.start()
        copy_pixels(source, store)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak
