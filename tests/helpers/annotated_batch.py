"""A batch of images with ground truth, and settings to render patches of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import disk

from augment import augment
from tessera.data.annotated_images import AnnotatedImage, measure_class_statistics, open_annotated_images
from tessera.io.ome_zarr_store import create_store, finish_image, finish_labels
from tessera.settings.sections import AugmentSettings

GEOMETRIC = [
    {"name": "D4", "p": 1.0},
    {"name": "Affine", "p": 1.0, "scale": [0.75, 1.33], "rotate": [-180, 180]},
    {"name": "ElasticTransform", "p": 1.0, "alpha": 40, "sigma": 6},
]
OPTICAL = [
    {"name": "RandomBrightnessContrast", "p": 0.5, "brightness_limit": 0.1, "contrast_limit": 0.2},
    {"name": "RandomGamma", "p": 0.5, "gamma_limit": [80, 125]},
    {"name": "GaussianBlur", "p": 0.5, "sigma_limit": [0.3, 1.5]},
    {"name": "GaussNoise", "p": 0.5, "std_range": [0.01, 0.06]},
]
SETTINGS = {
    **{"task": "instances", "classes": ["background", "cell"], "seed": 0, "patch_size_px": 64, "n_patches": 40},
    **{
        "class_balanced_fraction": 0.5,
        "boundary_px": 2,
        "transforms": GEOMETRIC + OPTICAL,
        "workers": 2,
        "preset": "auto",
    },
    **{"normalization": "auto", "rescale_by": "auto", "target_pixel_size_um": None, "target_diameter_px": None},
}


def cells(
    seed: int, shape: tuple[int, int] = (150, 170), count: int = 12
) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Ids (y, x) of discs at random places, and a noisy image of them."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(shape, np.int32)
    for id_ in range(1, count + 1):
        ids[
            disk((rng.integers(10, shape[0] - 10), rng.integers(10, shape[1] - 10)), rng.integers(6, 12), shape=shape)
        ] = id_
    return ids, (1000 * (ids > 0) + rng.normal(500, 60, shape)).clip(0).astype(np.uint16)


def split_settings(values):
    """Keyword arguments of `augment`: those of section augment become its AugmentSettings."""
    own = {key: value for key, value in values.items() if key in ("task", "classes", "workers")}
    section = {key: value for key, value in values.items() if key not in own}
    return own | {"settings": AugmentSettings.model_validate(section)}


class Batch:
    """Folders of image and ground truth stores, to which a test adds images.

    Attributes:
        images: folder of the image stores.
        truth: folder of the ground truth stores.
        sides: {image: subset of the split}.
    """

    def __init__(self, folder: Path) -> None:
        self.images, self.truth = folder / "images" / "b0", folder / "truth" / "b0"
        self.sides: dict[str, str] = {}

    def add(
        self,
        image: str,
        side: str,
        pixels: NDArray[Any],
        ids: NDArray[Any],
        *,
        classes: Sequence[str] | None = None,
        extra: dict[str, Any] | None = None,
        **metadata: Any,
    ) -> Batch:
        """Add an image (t, c, z, y, x) or (y, x) of a subset, with its ground truth."""
        pixels, ids = (plane if plane.ndim == 5 else plane[None, None, None] for plane in (pixels, ids))
        create_store(self.images / f"{image}.ome.zarr", pixels.shape, pixels.dtype)[:] = pixels
        finish_image(self.images / f"{image}.ome.zarr", name=image, **metadata)
        create_store(self.truth / f"{image}.ome.zarr", ids.shape, ids.dtype)[:] = ids
        finish_labels(self.truth / f"{image}.ome.zarr", name=image, classes=classes, extra=extra)
        self.sides[image] = side
        return self

    def source(
        self, image: str, task: str = "instances", classes: Sequence[str] = ("background", "cell")
    ) -> AnnotatedImage:
        """Open an image of the batch as the renderer of patches does."""
        (source,) = open_annotated_images([self.images], [self.truth], [image])
        measure_class_statistics(source, task, list(classes))
        return source

    def augment(self, output: Path, **changes: Any) -> Path:
        """Render patches into `output`, with `changes` of SETTINGS."""
        augment(
            [self.images],
            [self.truth],
            self.sides,
            "digest",
            output,
            output.with_suffix(".png"),
            **split_settings(SETTINGS | changes),
        )
        return output
