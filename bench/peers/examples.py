"""Images and ground truth of this pipeline's stores as plain arrays for other libraries, by subset of the split."""

import csv
import shutil
from pathlib import Path

import numpy as np
from tasks import answer

from tessera.io.ome_zarr_store import open_array


def run(results, examples):
    """Write `examples`/{train, val, test}/{image}.npz of "image" (y, x, c), as read, and "labels" (y, x) int32.

    Returns:
        {subset: number of images}.
    """
    results, examples = Path(results), Path(examples)
    shutil.rmtree(examples, ignore_errors=True)
    images, truth = (
        {path.name.removesuffix(".ome.zarr"): path for path in results.glob(f"{kind}/*/*.ome.zarr")}
        for kind in ("images", "truth")
    )
    counts = dict.fromkeys(("train", "val", "test"), 0)
    with (results / "split.tsv").open() as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if (side := row["split"]) not in counts:
                continue
            (examples / side).mkdir(parents=True, exist_ok=True)
            pixels = np.moveaxis(open_array(images[row["image"]])[0, :, 0], 0, -1)
            labels = open_array(truth[row["image"]])[0, 0, 0].astype(np.int32)
            np.savez(examples / side / f"{row['image']}.npz", image=pixels, labels=labels)
            counts[side] += 1
    return counts


if __name__ == "__main__":
    answer(run)
