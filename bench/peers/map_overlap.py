"""`dask.map_overlap` with `model.predict`, as it is usually written."""

import time

import dask.array
import numpy as np
import zarr
from tasks import CORES, answer

from tessera.networks.build import load_network
from tessera.networks.devices import choose_device


def run(image, output, model, window, chunk, scheduler, depth=64):
    """Predict level 0 of `image` in chunks of `chunk` pixels, after a warm-up: {"seconds"} from store to store.

    Args:
        window: contrast limits (low, high), which become 0 and 1.
        scheduler: scheduler of dask.
    """
    choose_device("cpu", CORES)
    network = load_network(model)

    def predict(block):
        pixels = np.clip((block[0].astype(np.float32) - window[0]) / (window[1] - window[0]), -1, 3)
        found = network.predict(pixels[None, ..., None], verbose=0)[0]
        return np.rint(255 * found[depth:-depth, depth:-depth]).astype(np.uint8).transpose(2, 0, 1)

    predict(np.zeros((1, chunk + 2 * depth, chunk + 2 * depth), np.uint16))
    started = time.monotonic()
    pixels = dask.array.from_zarr(zarr.open_array(f"{image}/0", mode="r"))[0, 0].rechunk((1, chunk, chunk))
    made_of = {"chunks": ((3,), *pixels.chunks[1:]), "dtype": np.uint8, "meta": np.empty((0, 0, 0), np.uint8)}
    sides = (0, depth, depth)
    found = dask.array.map_overlap(predict, pixels, depth=sides, boundary="reflect", trim=False, **made_of)
    made = zarr.create_array(output, shape=found.shape, chunks=(3, chunk, chunk), dtype="u1", overwrite=True)
    dask.array.store(found, made, lock=False, scheduler=scheduler, num_workers=CORES)
    return {"seconds": time.monotonic() - started}


if __name__ == "__main__":
    answer(run)
