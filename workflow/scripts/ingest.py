"""Turn raw files into OME-Zarr images.

Reads TIFF (plain, ImageJ, OME, BigTIFF, tiled, pyramidal: level 0), PNG, JPEG and JPEG 2000 files and OME-Zarr folders,
one per image, or a folder or glob of frames. Writes one store per image, (t, c, z, y, x), of the source's own type
(64-bit floats become 32-bit, bits become bytes), with a mean pyramid, physical sizes and channel windows.
"""

import itertools
import time

import numpy as np

from tessera.common.batch_outputs import make_stores
from tessera.common.job import running
from tessera.common.user_warnings import warn_user
from tessera.io.image_reader import open_image
from tessera.io.ome_zarr_store import create_store, finish_image, read_metadata


def ingest(rows, provenance, output, *, on_bad_image, chunk_px, shard_px):
    """Make the image stores of a batch.

    Args:
        rows: dicts with `image` (name), `files` (paths; several are the frames of a movie), and where the table knows
            better than the file `axes` (of each file's array, such as "TZYX"), `pixel_size_um` (y and x) and `frame_interval_s`.
        provenance: {image: provenance digest}.
        output: folder for `{image}.ome.zarr`, `skipped.json` and `warnings.json`.
        on_bad_image: "fail" or "skip" images that cannot be read.
        chunk_px: side of a chunk in y and x.
        shard_px: side of a shard in y and x, a multiple of `chunk_px`.

    Raises:
        InputError: a line for every image that cannot be read, unless they are set aside.
    """
    by_image = {row["image"]: row for row in rows}

    def make(image, path):
        ingest_image(by_image[image], path, chunk_px=chunk_px, shard_px=shard_px)

    make_stores(provenance, make, output=output, skipped=on_bad_image == "skip")


def ingest_image(row, path, *, chunk_px, shard_px):
    """Make the store of one row of the table at `path`."""
    with open_image(row["files"], row["axes"]) as source:
        store = create_store(path, source.shape, source.dtype, chunk_px=chunk_px, shard_px=shard_px)
        print(f"{row['image']}: {_describe(source)}", flush=True)
        odd = copy_pixels(source, store)
        size = row["pixel_size_um"]
        finish_image(
            path,
            name=row["image"],
            pixel_size_um=(source.pixel_size_um[0], size, size) if size else source.pixel_size_um,
            frame_interval_s=row["frame_interval_s"] or source.frame_interval_s,
            channels=source.channels,
        )
    warnings = [*source.warnings, f"{odd} pixels are not finite numbers"] if odd else source.warnings
    constant = [number for number, (low, high) in enumerate(read_metadata(path).contrast_limits) if low == high]
    if constant:
        warnings = [*warnings, f"channel {', '.join(map(str, constant))} is (nearly) constant"]
    for text in warnings:
        warn_user(row["image"], text)


def _describe(source):
    """What was found in a file, so that axes that were mistaken are seen."""
    frames, channels, depth, height, width = source.shape
    counts = ((frames, "frame"), (channels, "channel"), (depth, "plane"))
    told = [f"{count} {what}{'s' if count != 1 else ''}" for count, what in counts]
    return f"{', '.join(told)} of {height} x {width} pixels (y, x), {source.dtype}"


def copy_pixels(source, store):
    """Copy all pixels of a Source into a store's full-size level, whole shards at a time.

    Returns:
        How many pixels are not finite.
    """
    frames, channels, depth, height, width = source.shape
    high, wide = store.shards[-2:]
    wide = wide if source.tiled else width
    odd = 0
    reported = time.monotonic()
    for t, z, top, left in itertools.product(
        range(frames), range(depth), range(0, height, high), range(0, width, wide)
    ):
        rows, columns = slice(top, min(top + high, height)), slice(left, min(left + wide, width))
        pixels = source.read(t, z, rows, columns)
        for channel in range(channels):
            store[t, channel, z, rows, columns] = pixels[channel]
        if source.dtype.kind == "f":
            odd += pixels.size - np.count_nonzero(np.isfinite(pixels))
        if time.monotonic() - reported > 10:
            print(f"  frame {t + 1} of {frames}, depth {z + 1} of {depth}, row {rows.stop} of {height}", flush=True)
            reported = time.monotonic()
    return odd


if __name__ == "__main__":
    with running(snakemake):
        ingest(
            rows=snakemake.params.rows,
            provenance=snakemake.params.provenance,
            output=snakemake.output.images,
            on_bad_image=snakemake.config["ingest"][
                "on_bad_image"
            ],  # no parameter, since it changes nothing that is made
            **snakemake.params.settings,
        )
