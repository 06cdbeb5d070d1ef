"""Render training patches by random transforms, and validation patches as they are.

Reads image and truth stores (t, c, z, y, x). Writes `train.zarr` and `val.zarr`, groups of `image` (n, y, x, c)
float16, normalized, and `target` (n, y, x) uint8, the class of each pixel or 255 where it is unknown; `patches.json`,
what they are; and beside the folder a contact sheet, some of them before and after.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import zarr

from tessera.common.atomic_write import atomic_folder
from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.common.job import running
from tessera.data.annotated_images import (
    PatchSampler,
    check_class_statistics,
    grid_positions,
    measure_class_statistics,
    open_annotated_images,
)
from tessera.data.augmentation import check_transforms
from tessera.data.augmentation_check import describe_label_damage, measure_label_damage
from tessera.data.auto_configuration import resolve_auto_settings
from tessera.data.channels import align_channels
from tessera.data.dataset_fingerprint import compute_fingerprint, summarize_images
from tessera.data.patch_renderer import PatchRenderer
from tessera.data.split import check_subsets
from tessera.report.contact_sheet import draw_contact_sheet

PER_SHARD = 32
SHOWN = 8  # patches on the sheet


def augment(
    images, truth, sides, provenance, output, sheet, *,
    task, classes, seed, n_patches, class_balanced_fraction, boundary_px, workers, **settings,
):  # fmt: skip
    """Write the patches of one fold.

    Args:
        images, truth: folders of batches that hold the stores.
        sides: {image: "train" | "val"}.
        provenance: digest of all that the patches are made from, kept in `patches.json`.
        output: folder to write; it appears when it is whole.
        sheet: PNG to write.
        task: "instances" | "semantic".
        classes: names of the classes, background first.
        n_patches: training patches to render; validation patches cover their images, and are half as many at most.
        seed, class_balanced_fraction, boundary_px: see `tessera.data.patch_renderer.PatchRenderer`.
        workers: threads; their number changes nothing in the patches.
        settings: the others of section augment, see `tessera.data.auto_configuration.resolve_auto_settings`.

    Raises:
        InputError: no image trains or validates, images with different channels, transforms that cannot be.
    """
    cv2.setNumThreads(1)  # the workers already keep every core busy
    sources = {
        side: open_annotated_images(images, truth, sorted(image for image in sides if sides[image] == side))
        for side in ("train", "val")
    }
    check_subsets([side for side in sources if sources[side]])
    both = sources["train"] + sources["val"]
    channels = align_channels(both)
    check_transforms(settings["transforms"] or [], len(channels))
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(partial(measure_class_statistics, task=task, classes=classes), both))
    check_class_statistics(sources["train"], classes)
    patch_size_px, transforms, configured = resolve_auto_settings(both, **settings)
    renderer = PatchRenderer(task, patch_size_px, boundary_px, transforms, class_balanced_fraction, seed)

    render = partial(renderer.transform, PatchSampler(sources["train"]))
    places = grid_positions(sources["val"], patch_size_px, max(n_patches // 2, 1))
    shape = (patch_size_px, patch_size_px, len(channels))
    with atomic_folder(output) as workplace:
        started = time.perf_counter()
        counts = write_patches(workplace / "train.zarr", range(n_patches), render, shape, workers)
        rate = n_patches / (time.perf_counter() - started)
        write_patches(workplace / "val.zarr", places, renderer.cut, shape, workers)
        described = {
            "task": task,
            "classes": list(classes),
            "outputs": INSTANCE_OUTPUTS if task == "instances" else list(classes),
            "channels": channels,
            "patch_size_px": patch_size_px,
            "transforms": transforms,
            "sources": {side: [source.image for source in found] for side, found in sources.items()},
            "provenance": provenance,
            "label_check": measure_label_damage(sources["train"], transforms, patch_size_px, seed),
            "speed": {"patches_per_s": round(rate, 1), "per_core": round(rate / workers, 1), "workers": workers},
        } | configured
        described |= summarize_images(both, counts[: len(described["outputs"])])
        described["fingerprint"] = compute_fingerprint(zarr.open_array(workplace / "train.zarr" / "image", mode="r"))
        print(f"Rendered {rate:.1f} patches a second, {rate / workers:.1f} a core")
        print(describe_label_damage(described["label_check"]), flush=True)
        (workplace / "patches.json").write_text(json.dumps(described, indent=1))
        shown = np.linspace(0, n_patches - 1, min(SHOWN, n_patches)).astype(int).tolist()
        draw_contact_sheet(sheet, [render(number) for number in shown], classes, instances=task == "instances")


def write_patches(path, keys, make, shape, workers):
    """Write the Sample `make(key)` of each key to a zarr group; a thread owns whole shards.

    Args:
        path: of the group.
        keys: a sequence.
        make: makes a Sample of `shape` (y, x, c).

    Returns:
        How many pixels of the targets have each class, (256,).
    """
    group = zarr.create_group(path, zarr_format=3)
    arrays = {
        name: group.create_array(name, shape=(len(keys), *one), dtype=dtype, chunks=(1, *one), shards=(PER_SHARD, *one))
        for name, one, dtype in (("image", shape, "float16"), ("target", shape[:2], "uint8"))
    }

    def write_shard(start):
        samples = [make(key) for key in keys[start : start + PER_SHARD]]
        arrays["image"][start : start + len(samples)] = np.stack([one.pixels for one in samples]).astype(np.float16)
        arrays["target"][start : start + len(samples)] = targets = np.stack([one.target for one in samples])
        return len(samples), np.bincount(targets.ravel(), minlength=256)

    done, counts = 0, np.zeros(256, np.int64)
    with ThreadPoolExecutor(workers) as threads:
        for written, found in threads.map(write_shard, range(0, len(keys), PER_SHARD)):
            done, counts = done + written, counts + found
            print(f"{path.stem}: {done} of {len(keys)} patches", flush=True)
    return counts


if __name__ == "__main__":
    with running(snakemake):
        augment(
            images=snakemake.input.images,
            truth=snakemake.input.truth,
            sides=snakemake.params.sides,
            provenance=snakemake.params.provenance,
            output=snakemake.output.patches,
            sheet=snakemake.output.sheet,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            workers=snakemake.threads,
            **snakemake.params.settings,
        )
