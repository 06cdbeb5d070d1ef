"""Render training patches with random transforms, and validation patches without.

Reads image and truth stores (t, c, z, y, x). Writes `train.zarr` and `val.zarr`, groups of `image` (n, y, x, c)
float16, normalized, and `target` (n, y, x) uint8, the class of each pixel or 255 where it is unknown; `patches.json`,
their description; and beside the folder a contact sheet with patches before and after the transforms.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from tessera.common.atomic_write import atomic_folder
from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.data.annotated_images import (
    PatchSampler,
    check_class_statistics,
    grid_positions,
    measure_class_statistics,
    open_annotated_images,
    warn_of_empty_validation,
)
from tessera.data.augmentation import check_transforms
from tessera.data.augmentation_check import describe_label_damage, measure_label_damage
from tessera.data.auto_configuration import resolve_auto_settings
from tessera.data.channels import align_channels
from tessera.data.dataset_fingerprint import MAX_TEXTURES, compute_fingerprint, summarize_images
from tessera.data.object_signal import summarize_signal
from tessera.data.patch_renderer import PatchRenderer
from tessera.data.patch_writer import write_patches
from tessera.data.split import check_subsets
from tessera.report.contact_sheet import draw_contact_sheet
from tessera.settings.sections import AugmentSettings

SHOWN = 8  # patches on the sheet
logger = logging.getLogger(__name__)


def augment(
    images: Sequence[StrPath],
    truth: Sequence[StrPath],
    subsets: Mapping[str, str],
    provenance: str,
    output: StrPath,
    sheet: StrPath,
    *,
    task: str,
    classes: Sequence[str],
    settings: AugmentSettings,
    workers: int,
) -> None:
    """Write the patches of one fold.

    Args:
        images, truth: folders of batches with the stores.
        subsets: {image: "train" | "val"}.
        provenance: provenance hash of the patches, stored in `patches.json`.
        output: folder to write, atomically.
        sheet: PNG to write.
        task: "instances" | "semantic".
        classes: names of the classes, background first.
        settings: section `augment`. Validation patches cover their images, and are at most half as many as n_patches.
        workers: number of threads; it does not change the patches.

    Raises:
        InputError: a subset is empty, images have different channels, or a transform is invalid.
    """
    cv2.setNumThreads(1)  # the workers already keep every core busy
    sources = {
        subset: open_annotated_images(images, truth, sorted(image for image in subsets if subsets[image] == subset))
        for subset in ("train", "val")
    }
    check_subsets([subset for subset in sources if sources[subset]])
    both = sources["train"] + sources["val"]
    channels = align_channels(both)
    own_transforms = [transform.model_dump(exclude_unset=True) for transform in settings.transforms or []]
    check_transforms(own_transforms, len(channels))
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(partial(measure_class_statistics, task=task, classes=classes), both))
    check_class_statistics(sources["train"], classes)
    warn_of_empty_validation(sources["val"])
    patch_size_px, transforms, configured = resolve_auto_settings(both, settings)
    renderer = PatchRenderer(
        task, patch_size_px, settings.boundary_px, transforms, settings.class_balanced_fraction, settings.seed,
        configured["signal_variation"],
    )  # fmt: skip
    n_patches = settings.n_patches

    sampler = PatchSampler(sources["train"])
    render = partial(renderer.transform, sampler)
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
            "sources": {subset: [source.image for source in members] for subset, members in sources.items()},
            "provenance": provenance,
            "label_check": measure_label_damage(sources["train"], transforms, patch_size_px, settings.seed),
            "speed": {"patches_per_s": round(rate, 1), "per_core": round(rate / workers, 1), "workers": workers},
        } | configured
        described |= summarize_images(both, counts[: len(described["outputs"])])
        described["signal"] = summarize_signal(sources["train"]) if task == "instances" else None
        # New images are compared with the training images as they are, not with their noisy variations.
        plain = partial(replace(renderer, signal_variation=0.0).transform, sampler)
        with ThreadPoolExecutor(workers) as threads:
            compared = [patch.pixels for patch in threads.map(plain, evenly_spaced_indices(n_patches, MAX_TEXTURES))]
        described["fingerprint"] = compute_fingerprint(np.stack(compared).astype(np.float16))
        logger.info("Rendered %.1f patches/s, %.1f per core", rate, rate / workers)
        logger.info("%s", describe_label_damage(described["label_check"]))
        (workplace / "patches.json").write_text(json.dumps(described, indent=1))
        shown = np.linspace(0, n_patches - 1, min(SHOWN, n_patches)).astype(int).tolist()
        draw_contact_sheet(sheet, [render(number) for number in shown], classes, instances=task == "instances")


if __name__ == "__main__":
    with running(snakemake):
        augment(
            images=snakemake.input.images,
            truth=snakemake.input.truth,
            subsets=snakemake.params.subsets,
            provenance=snakemake.params.provenance,
            output=snakemake.output.patches,
            sheet=snakemake.output.sheet,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            settings=AugmentSettings.model_validate(snakemake.params.settings),
            workers=snakemake.threads,
        )
