"""Convert raw files to OME-Zarr images.

Reads files of the formats in `tessera.common.image_formats`, one per image, or a folder or glob of frames. Writes one
store per image, (t, c, z, y, x), in the pixel type of the file (64-bit floats become 32-bit, bits become bytes), with a
mean pyramid, physical sizes and contrast limits.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tessera.common.batch_outputs import make_stores
from tessera.common.job import running
from tessera.common.progress import Progress
from tessera.common.types import StrPath
from tessera.common.user_warnings import warn_user
from tessera.io.image_reader import open_image
from tessera.io.lazy_image import LazyImage
from tessera.io.ome_zarr_store import create_store, finish_image, read_metadata
from tessera.io.shards import ShardWriter, ZarrArray, iterate_parts
from tessera.settings.sections import IngestSettings

logger = logging.getLogger(__name__)


def ingest(
    rows: Sequence[Mapping[str, Any]], provenance: Mapping[str, str], output: StrPath, *, settings: IngestSettings
) -> None:
    """Write the image stores of a batch.

    Args:
        rows: dicts with `image` (name), `files` (paths; several are the frames of a movie) and `scene` (of each file,
            "" if it has one), and with `axes` (of each file's array, such as "TZYX"), `pixel_size_um` (y and x) and
            `frame_interval_s`, which override the metadata of the files unless they are empty.
        provenance: {image: provenance hash}.
        output: folder for `{image}.ome.zarr`, `skipped.json` and `warnings.json`.
        settings: section `ingest`.

    Raises:
        InputError: a line for every unreadable image, unless such images are skipped.
    """
    by_image = {row["image"]: row for row in rows}

    def make(image: str, path: Path) -> None:
        ingest_image(by_image[image], path, settings)

    make_stores(provenance, make, output=output, skip_bad_images=settings.on_bad_image == "skip")


def ingest_image(row: Mapping[str, Any], path: Path, settings: IngestSettings) -> None:
    """Write the store of one row of the table to `path`."""
    name = row["image"]
    with open_image(row["files"], row["axes"], scene=row["scene"]) as image:
        layout = {"chunk_px": settings.chunk_px, "shard_px": settings.shard_px}
        store = create_store(path, image.shape, image.dtype, **layout, by_rows=not image.tiled)
        logger.info("%s: %s", name, _describe(image))
        not_finite = copy_pixels(image, store, name)
        size = row["pixel_size_um"]
        finish_image(
            path,
            name=name,
            pixel_size_um=(image.pixel_size_um[0], size, size) if size else image.pixel_size_um,
            frame_interval_s=row["frame_interval_s"] or image.frame_interval_s,
            channels=image.channels,
        )
    warnings = list(image.warnings)
    if not_finite:
        warnings.append(f"{not_finite} pixels are not finite numbers")
    limits = read_metadata(path).contrast_limits
    if constant := [number for number, (low, high) in enumerate(limits) if low == high]:
        warnings.append(f"channel {', '.join(map(str, constant))} is (nearly) constant")
    for text in warnings:
        warn_user(name, text)


def _describe(image: LazyImage) -> str:
    """Return the size of an image in words, so that users notice wrong axes."""
    frames, channels, depth, height, width = image.shape
    counts = ((frames, "frame"), (channels, "channel"), (depth, "plane"))
    parts = [f"{count} {unit}{'s' if count != 1 else ''}" for count, unit in counts]
    return f"{', '.join(parts)} of {height} x {width} pixels (y, x), {image.dtype}"


def copy_pixels(image: LazyImage, store: ZarrArray, name: str) -> int:
    """Copy all pixels of an image into the full-size level of a store, with one shard in memory at a time.

    Args:
        image: the image.
        store: array (t, c, z, y, x) of the same shape; its layout is by rows unless the image is tiled.
        name: name of the image, for progress.

    Returns:
        The number of pixels that are not finite.
    """
    parts = list(iterate_parts(store, by_rows=not image.tiled))
    progress = Progress(len(parts), "blocks", name)
    not_finite = 0
    with ShardWriter(store) as writer:
        for part in parts:
            t, _, z, rows, columns = part
            pixels = image.read(t.start, z.start, rows, columns)
            writer.write(part, pixels[None, :, None])
            if image.dtype.kind == "f":
                not_finite += pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
            progress.advance()
    return not_finite


if __name__ == "__main__":
    with running(snakemake):
        ingest(
            rows=snakemake.params.rows,
            provenance=snakemake.params.provenance,
            output=snakemake.output.images,
            # on_bad_image does not change the images, so it is not a parameter.
            settings=IngestSettings.model_validate(snakemake.config["ingest"] | snakemake.params.settings),
        )
