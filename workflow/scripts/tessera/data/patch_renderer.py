"""Renders training patches: sampled, transformed, and with targets."""

from dataclasses import dataclass, field

import numpy as np

from tessera.common.constants import IGNORE
from tessera.data.annotated_images import PatchSampler
from tessera.data.augmentation import transform_patch, window_px
from tessera.data.patch_reader import read_window
from tessera.data.training_targets import instance_targets


@dataclass(frozen=True)
class Patch:
    """A patch.

    Attributes:
        pixels: (y, x, c) float32, normalized.
        ids: (y, x) int32, of the truth.
        target: (y, x) uint8, class of each pixel, IGNORE where it is unknown.
        window: what the patch was made from, (y, x, c) float32.
        transforms: names of what was applied.
    """

    pixels: np.ndarray
    ids: np.ndarray
    target: np.ndarray
    window: np.ndarray
    transforms: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PatchRenderer:
    """Makes patches, each from its number or place alone, so that any number of workers make the same ones.

    Attributes:
        task: "instances" | "semantic".
        patch_size_px: side of a patch.
        boundary_px: width of the boundary around instances.
        transforms: as in the configuration.
        class_balanced_fraction: share of patches centred on a class.
        seed: int.
    """

    task: str
    patch_size_px: int
    boundary_px: int
    transforms: list[dict]
    class_balanced_fraction: float
    seed: int

    def transform(self, pool: PatchSampler, number):
        """The training patch of this number, drawn from the pool: a Patch."""
        rng = np.random.default_rng([self.seed, number])
        place = pool.draw(rng, self.class_balanced_fraction)
        window, ids, inside = read_window(*place, window_px(self.transforms, self.patch_size_px), self.patch_size_px)
        seed = int(rng.integers(2**31))
        pixels, ids, inside, names = transform_patch(window, ids, inside, self.transforms, self.patch_size_px, seed)
        return Patch(pixels, ids, self._target(ids, inside), window, names)

    def cut(self, place):
        """The patch at a place (see `tessera.data.annotated_images.grid_positions`) as it is: a Patch."""
        pixels, ids, inside = read_window(*place, self.patch_size_px, self.patch_size_px)
        return Patch(pixels, ids, self._target(ids, inside), pixels)

    def _target(self, ids, inside):
        # Targets come after transforms, so that boundaries keep their width.
        # What a transform brings in from outside of the image is as unknown as what nobody annotated.
        instances = self.task == "instances"
        classes = instance_targets(ids, self.boundary_px, inside) if instances else ids.astype(np.uint8)
        return np.where(inside, classes, np.uint8(IGNORE))
