"""This pipeline's rule augment on simulated images, and albumentations alone on arrays in memory."""

import json
import random
import shutil
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import yaml
from scipy import ndimage
from specimens import draw_scene, expose
from tasks import answer

from augment import augment
from tessera.data.annotated_images import PatchSampler, measure_class_statistics, open_annotated_images
from tessera.data.augmentation import HEADROOM, _composed, window_px
from tessera.data.patch_reader import read_window
from tessera.io.ome_zarr_store import create_store, finish_image, finish_labels
from tessera.settings.sections import AugmentSettings

CONFIGURATION = Path(__file__).resolve().parents[2] / "config" / "config.yaml"
CLASSES = ["background", "cell"]
SUBSETS = {"one": "train", "two": "train", "three": "val"}
KEPT = 48  # windows in memory, for albumentations alone


def write_images(folder):
    """Write images of touching cells and their ids unless they exist. Each image is another scene."""
    for number, image in enumerate(SUBSETS):
        paths = [folder / kind / "bench" / f"{image}.ome.zarr" for kind in ("images", "truth")]
        if paths[1].exists():
            continue
        light, classes = draw_scene(number)
        ids = ndimage.label(classes == 1)[0].astype(np.int32)
        pixels = expose(light, np.random.default_rng(number))
        for path, array, finish in zip(paths, (pixels, ids), (finish_image, finish_labels), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            store = create_store(path, (1, 1, 1, *array.shape), array.dtype)
            store[0, 0, 0] = array
            finish(path, name=image)


def ours(folder, output, patches, patch_size_px, workers):
    """Rule augment, from stores of images to a store of patches."""
    settings = yaml.safe_load(CONFIGURATION.read_text())["augment"]
    stores = {kind: [folder / kind / "bench"] for kind in ("images", "truth")}
    augment(
        **stores, subsets=SUBSETS, provenance="bench", output=output, sheet=output.with_suffix(".png"),
        task="instances", classes=CLASSES, workers=workers,
        settings=AugmentSettings.model_validate(settings | {"n_patches": patches, "patch_size_px": patch_size_px}),
    )  # fmt: skip
    made = json.loads((output / "patches.json").read_text())
    return {"per_core": made["speed"]["patches_per_s"] / workers} | {
        key: made[key] for key in ("patch_size_px", "transforms")
    }


def albumentations(folder, patches, patch_size_px, transforms):
    """The same transforms, composed as for a patch, on windows in memory, in one thread."""
    cv2.setNumThreads(1)
    sources = open_annotated_images([folder / "images" / "bench"], [folder / "truth" / "bench"], ["one", "two"])
    for source in sources:
        measure_class_statistics(source, "instances", CLASSES)
    pool, rng, windows = PatchSampler(sources), np.random.default_rng(0), []
    side = window_px(transforms, patch_size_px)
    for _ in range(KEPT):
        pixels, ids, _ = read_window(*pool.draw(rng, 0.5), side, patch_size_px)
        low, high = min(0.0, float(pixels.min())) - HEADROOM, max(1.0, float(pixels.max())) + HEADROOM
        windows.append((((pixels - low) / (high - low)).astype(np.float32), ids))
    composed = _composed(json.dumps(transforms), patch_size_px, side, threading.get_ident())
    composed.set_random_state(np.random.default_rng(0), random.Random(0))
    started = time.perf_counter()
    for number in range(patches):
        pixels, ids = windows[number % KEPT]
        composed(image=pixels, mask=ids)
    return {"per_core": patches / (time.perf_counter() - started)}


def run(folder, patches, patch_size_px, workers=1, output="patches", transforms=None):
    """Render patches, by albumentations alone if `transforms` are given: {"per_core": patches per second and core}."""
    folder = Path(folder)
    write_images(folder)
    if transforms is not None:
        return albumentations(folder, patches, patch_size_px, transforms)
    shutil.rmtree(folder / output, ignore_errors=True)
    return ours(folder, folder / output, patches, patch_size_px, workers)


if __name__ == "__main__":
    answer(run)
