"""Apply the selected network to the images of a batch.

Reads `results/images/{batch}`, `results/selected.json` and the folder of the model that it names. Writes
`results/predictions/{batch}/{image}.ome.zarr`: uint8 probabilities (t, c, z, y, x), 255 = 1, c = the network's outputs.
"""

import json
import threading
from pathlib import Path

import dask
import numpy as np
from lib.batches import find_stores, make_stores
from lib.channels import match_channels
from lib.errors import InputError
from lib.intensities import normalise
from lib.jobs import running
from lib.models import DIVISOR
from lib.networks import choose_device, load_network
from lib.stores import create_store, finish_image, iterate_shards, open_array, read_metadata
from lib.tiles import Progress, count_tiles, make_lattice, predict_region

IN_FLIGHT = 3  # regions at once: one is read, one is in the network, one is written
WAVE = 1024  # regions that dask plans at once


def find_model(selected, models):
    """The folder among `models` of the model that the file `selected` names.

    Raises:
        InputError: there is none of that name.
    """
    name = json.loads(Path(selected).read_text())["model"]
    for folder in models:
        if Path(folder).name == name:
            return Path(folder)
    raise InputError(
        f"{selected}: names model {name}, which is not among {', '.join(map(str, models))}; remove the file"
    )


def predict_image(source, path, network, *, name, tile_px, overlap_px, batch_tiles, workers):
    """Write the probabilities of the image store `source` to a new store at `path`, in regions of one shard each.

    `network` is a `lib.networks.Network` or whatever has its `settings` and `predict`; the rest is as in `predict`.
    """
    pixels, metadata = open_array(source), read_metadata(source)
    order = match_channels(name, metadata.channels, network.settings["channels"])
    windows = [metadata.windows[channel] for channel in order]
    outputs = network.settings["outputs"]
    frames, _, depth, *plane = pixels.shape
    sides = {"chunk_px": max(pixels.chunks[-2:]), "shard_px": max(pixels.shards[-2:])}
    probabilities = create_store(path, (frames, len(outputs), depth, *plane), np.uint8, **sides)
    lattices = [make_lattice(size, tile_px=tile_px, overlap_px=overlap_px, divisor=DIVISOR) for size in plane]
    regions = [(t.start, z.start, *region) for t, c, z, *region in iterate_shards(probabilities) if c.start == 0]
    progress = Progress(name, sum(count_tiles(lattices, region[2:]) for region in regions))
    turn = threading.Lock()

    def answer(tiles):
        with turn:
            answers = network.predict(tiles)
            progress.add(tiles)
        return answers

    def write(t, z, *region):
        def read(rows, columns):
            return normalise(np.moveaxis(pixels[t, :, z, rows, columns], 0, -1)[..., order], windows)

        blended = predict_region(read, answer, lattices, region, batch_tiles=batch_tiles)
        probabilities[(t, slice(None), z, *region)] = np.moveaxis(np.rint(255 * blended).astype(np.uint8), -1, 0)

    for first in range(0, len(regions), WAVE):
        wave = [dask.delayed(write, pure=False)(*region) for region in regions[first : first + WAVE]]
        dask.compute(*wave, scheduler="threads", num_workers=max(1, min(workers, IN_FLIGHT)))
    sizes = {"pixel_um": metadata.pixel_um, "frame_s": metadata.frame_s}
    finish_image(path, name=name, channels=outputs, levels=1, **sizes)


def predict(images, selected, models, recipes, output, *, tile_px, overlap_px, batch_tiles, device, workers):
    """Write the probabilities of a batch of images to the folder `output`.

    Args:
        images: folder of the batch of images.
        selected: file that names the model.
        models: folders of models.
        recipes: {image: digest of what its probabilities are made from}.
        output: folder of the batch of probabilities.
        tile_px: largest side of a tile, a multiple of 32.
        overlap_px: overlap of neighbouring tiles, a multiple of 32 below `tile_px`.
        batch_tiles: tiles that the network sees at once.
        device: auto, cpu or gpu.
        workers: threads of this job.

    Raises:
        InputError: settings, a model or images that do not fit, all images in one message.
    """
    if tile_px % DIVISOR or overlap_px % DIVISOR or overlap_px >= tile_px:
        raise InputError(
            f"predict: tile_px ({tile_px}) and the smaller overlap_px ({overlap_px}) must be multiples of 32"
        )
    stores = find_stores([images], recipes)
    choose_device(device, workers)
    network = load_network(find_model(selected, models))
    tiling = {"tile_px": tile_px, "overlap_px": overlap_px, "batch_tiles": batch_tiles, "workers": workers}

    def make(image, path):
        predict_image(stores[image], path, network, name=image, **tiling)

    make_stores({image: recipes[image] for image in stores}, make, output=output)


if __name__ == "__main__":
    with running(snakemake):
        predict(
            images=snakemake.input.images,
            selected=snakemake.input.selected,
            models=snakemake.input.models,
            recipes=snakemake.params.recipes,
            output=snakemake.output.predictions,
            workers=snakemake.threads,
            device=snakemake.config["predict"]["device"],
            batch_tiles=snakemake.config["predict"]["batch_tiles"],
            **snakemake.params.settings,
        )
