"""Render training patches by random transforms, and validation patches as they are.

Reads image and truth stores (t, c, z, y, x). Writes `train.zarr` and `val.zarr`, groups of `image` (n, y, x, c) float16,
normalised, and `target` (n, y, x) uint8, class of each pixel or 255 where it is unknown; `patches.json`, what they are;
and `sheet.png`, some of them before and after.
"""

import json
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import zarr
from lib.errors import InputError
from lib.logs import logged
from lib.sheets import draw_sheet
from lib.sources import Pool, list_grid, open_sources, read_window, survey
from lib.targets import IGNORE, INSTANCE_OUTPUTS, instance_targets
from lib.transforms import check_transforms, transform_patch, window_px

PER_SHARD = 32
SHOWN = 8  # patches on the sheet


def augment(
    images,
    truth,
    sides,
    recipe,
    output,
    *,
    task,
    classes,
    seed,
    patch_px,
    patches,
    balance,
    boundary_px,
    transforms,
    workers,
):
    """Write the patches of one fold.

    Args:
        images, truth: folders of batches that hold the stores.
        sides: {image: "train" | "val"}.
        recipe: digest of all that the patches are made from, kept in `patches.json`.
        output: folder to write; it appears when it is whole.
        task: "instances" | "semantic".
        classes: names of the classes, background first.
        seed: decides all that is random, whatever the number of workers.
        patch_px: side of a patch, a multiple of 32.
        patches: training patches to render; validation patches cover their images, and are half as many at most.
        balance: share of patches that are centred on a pixel of a class, drawn evenly among classes.
        boundary_px: width of the boundary around instances.
        transforms: dicts of albumentations' class name and arguments.
        workers: threads.

    Raises:
        InputError: no image trains or validates, images with different channels, transforms that cannot be.
    """
    cv2.setNumThreads(1)  # the workers already keep every core busy
    sources = {
        side: open_sources(images, truth, sorted(image for image in sides if sides[image] == side))
        for side in ("train", "val")
    }
    check_sides(sources)
    channels = check_channels(sources["train"] + sources["val"])
    check_transforms(transforms, len(channels))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda source: survey(source, task, classes), sources["train"]))
    outputs = INSTANCE_OUTPUTS if task == "instances" else list(classes)

    def target(ids, inside):
        classed = instance_targets(ids, boundary_px) if task == "instances" else ids.astype(np.uint8)
        return np.where(inside, classed, np.uint8(IGNORE))

    train = Pool(sources["train"])
    reach_px = window_px(transforms, patch_px)

    def render(number):
        """Before (y, x, c), after (y, x, c), ids, inside, names of transforms: everything follows from the number."""
        rng = np.random.default_rng([seed, number])
        place = train.draw(rng, balance)
        pixels, ids, inside = read_window(*place, reach_px, patch_px)
        return pixels, *transform_patch(pixels, ids, inside, transforms, patch_px, int(rng.integers(2**31)))

    def make_train(number):
        _, pixels, ids, inside, _ = render(number)
        return pixels, target(ids, inside)

    def sample(number):
        window, pixels, ids, inside, names = render(number)
        margin = (reach_px - patch_px) // 2
        return {
            "before": window[margin : margin + patch_px, margin : margin + patch_px],
            "after": pixels,
            "regions": ids,
            "colours": (ids > 0).astype(int) if task == "instances" else ids,
            "target": target(ids, inside),
            "transforms": names,
        }

    grid = list_grid(sources["val"], patch_px, max(patches // 2, 1))

    def make_val(number):
        pixels, ids, inside = read_window(*grid[number], patch_px, patch_px)
        return pixels, target(ids, inside)

    output = Path(output)
    partial = output.with_name(f".{output.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shape = (patch_px, patch_px, len(channels))
    counts = write_patches(partial / "train.zarr", patches, shape, make_train, workers)
    write_patches(partial / "val.zarr", len(grid), shape, make_val, workers)
    described = describe(sources, task, classes, outputs, channels, patch_px, counts, recipe)
    (partial / "patches.json").write_text(json.dumps(described, indent=1))
    shown = np.linspace(0, patches - 1, min(SHOWN, patches)).astype(int).tolist()
    draw_sheet(
        partial / "sheet.png", [sample(number) for number in shown], ["cell"] if task == "instances" else classes[1:]
    )
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def check_sides(sources):
    """Raise an InputError that says how to get images on a side, where there are none."""
    lacking = [side for side in ("train", "val") if not sources[side]]
    if lacking:
        raise InputError(
            "\n".join(
                f"No image is on the side {side}, so nothing can be trained; annotate images of another group, or state "
                f"split = {side} for some in the table (a single image can be cut in two, each with its truth)"
                for side in lacking
            )
        )


def check_channels(sources):
    """The names of the channels that all `sources` have.

    Raises:
        InputError: their numbers differ.
    """
    by_count = defaultdict(list)
    for source in sources:
        by_count[source.pixels.shape[1]].append(source.image)
    if len(by_count) > 1:
        found = "; ".join(
            f"{count}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
            for count, names in sorted(by_count.items())
        )
        raise InputError(
            f"Images that train one network have different numbers of channels ({found}); convert them, or state "
            "split = predict for those of one kind"
        )
    names = {tuple(source.metadata.channels) for source in sources}
    if len(names) > 1:
        print(f"Channels have different names, and are taken in their order: {sorted(names)}", flush=True)
    return list(sources[0].metadata.channels)


def write_patches(path, count, shape, make, workers):
    """Write patches `make(number)`, pixels (y, x, c) and target (y, x), to a zarr group; each thread owns whole shards.

    Returns:
        Pixels of each class id, (256,).
    """
    group = zarr.create_group(path, zarr_format=3)
    image = group.create_array(
        "image", shape=(count, *shape), dtype="float16", chunks=(1, *shape), shards=(PER_SHARD, *shape)
    )
    target = group.create_array(
        "target", shape=(count, *shape[:2]), dtype="uint8", chunks=(1, *shape[:2]), shards=(PER_SHARD, *shape[:2])
    )

    def write_shard(start):
        stop = min(start + PER_SHARD, count)
        pixels, classes = zip(*map(make, range(start, stop)), strict=True)
        image[start:stop] = np.stack(pixels).astype(np.float16)
        target[start:stop] = np.stack(classes)
        return stop - start, np.bincount(np.stack(classes).ravel(), minlength=256)

    counts, done = np.zeros(256, np.int64), 0
    with ThreadPoolExecutor(workers) as pool:
        for written, found in pool.map(write_shard, range(0, count, PER_SHARD)):
            counts, done = counts + found, done + written
            print(f"{path.stem}: {done} of {count} patches", flush=True)
    return counts


def describe(sources, task, classes, outputs, channels, patch_px, counts, recipe):
    """What `patches.json` says; see docs/architecture.md."""
    areas = [area for source in sources["train"] for area in source.areas]
    sizes = [size for source in sources["train"] for size in source.metadata.pixel_um[1:] if size]
    known = counts[: len(outputs)]
    return {
        "task": task,
        "classes": list(classes),
        "outputs": outputs,
        "channels": channels,
        "pixel_um": float(np.median(sizes)) if sizes else None,
        "patch_px": patch_px,
        "object_px": float(np.median(np.sqrt(4 * np.array(areas) / np.pi))) if areas else None,
        "class_share": (known / max(known.sum(), 1)).tolist(),
        "sources": {side: [source.image for source in found] for side, found in sources.items()},
        "normalisation": {"method": "percentile", "low": 1, "high": 99.8},
        "recipe": recipe,
    }


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        augment(
            images=snakemake.input.images,
            truth=snakemake.input.truth,
            sides=snakemake.params.sides,
            recipe=snakemake.params.recipe,
            output=snakemake.output.patches,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            workers=snakemake.threads,
            **snakemake.params.settings,
        )
