"""Raw files that tests make and ingest."""

import tracemalloc

import numpy as np

from ingest import copy_pixels, ingest
from tessera.io.image_reader import open_source
from tessera.io.ome_zarr_store import create_store, open_array, read_metadata


def row(image, *files, axes="", pixel_um=None, frame_s=None):
    return {
        "image": image,
        "files": [str(file) for file in files],
        "axes": axes,
        "pixel_um": pixel_um,
        "frame_s": frame_s,
    }


def ingest_rows(folder, *rows, bad_images="refuse", chunk_px=64, shard_px=128):
    recipes = {each["image"]: "recipe" for each in rows}
    ingest(rows, recipes, folder / "images", bad_images=bad_images, chunk_px=chunk_px, shard_px=shard_px)
    return folder / "images"


def ingest_one(folder, *files, **settings):
    path = ingest_rows(folder, row("a", *files, **settings)) / "a.ome.zarr"
    return open_array(path), read_metadata(path)


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(1).integers(0, 120, shape).astype(dtype)


def peak_of_copying(path, output):
    """Bytes that are in use at most while the pixels of a raw file are copied into a new store at `output`."""
    with open_source([path]) as source:
        store = create_store(output, source.shape, source.dtype)
        tracemalloc.start()
        copy_pixels(source, store)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak
