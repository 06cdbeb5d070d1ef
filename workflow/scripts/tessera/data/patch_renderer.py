"""Renders training patches: reads windows, transforms them, and computes their targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import IGNORE
from tessera.data.annotated_images import PatchPosition, PatchSampler
from tessera.data.augmentation import transform_patch, window_px
from tessera.data.patch_reader import read_window
from tessera.data.signal_variation import vary_signal
from tessera.data.training_targets import instance_targets


@dataclass(frozen=True)
class Patch:
    """A rendered patch.

    Attributes:
        pixels: normalized intensities (y, x, c).
        ids: ids of the ground truth (y, x).
        target: class of each pixel (y, x), IGNORE where unknown.
        window: pixels before the transforms, (y, x, c), at least as large as the patch.
        transforms: names of the applied transforms.
    """

    pixels: NDArray[np.float32]
    ids: NDArray[np.int32]
    target: NDArray[np.uint8]
    window: NDArray[np.float32]
    transforms: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PatchRenderer:
    """Renders patches. Each depends only on its number or position, so the number of workers does not change them.

    Attributes:
        task: "instances" | "semantic".
        patch_size_px: side of a patch.
        boundary_px: width of the boundary around instances.
        transforms: dicts as in the configuration.
        class_balanced_fraction: fraction of patches that are centered on a randomly drawn class.
        seed: seed of positions and transforms.
        signal_variation: see `tessera.data.signal_variation.vary_signal`.
    """

    task: str
    patch_size_px: int
    boundary_px: int
    transforms: Sequence[Mapping[str, Any]]
    class_balanced_fraction: float
    seed: int
    signal_variation: float = 0.0

    def transform(self, sampler: PatchSampler, number: int) -> Patch:
        """Render the training patch of this number, at a random position and with random transforms."""
        rng = np.random.default_rng([self.seed, number])
        position = sampler.draw(rng, self.class_balanced_fraction)
        window, ids, inside = read_window(*position, window_px(self.transforms, self.patch_size_px), self.patch_size_px)
        seed = int(rng.integers(2**31))
        pixels, ids, inside, names = transform_patch(window, ids, inside, self.transforms, self.patch_size_px, seed)
        if self.signal_variation:
            source, instances = position[0], self.task == "instances"
            pixels = vary_signal(
                pixels,
                ids if instances else None,
                rng,
                fraction=self.signal_variation,
                is_compressed=source.intensity_ranges.is_compressed,
            )
        return Patch(pixels, ids, self._target(ids, inside), window, names)

    def cut(self, position: PatchPosition) -> Patch:
        """Render the patch at a position, without transforms."""
        pixels, ids, inside = read_window(*position, self.patch_size_px, self.patch_size_px)
        return Patch(pixels, ids, self._target(ids, inside), pixels)

    def _target(self, ids: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
        # Targets are computed after the transforms, so that boundaries keep their width. Pixels that a transform brings
        # in from outside the image are unknown, like pixels that nobody annotated.
        instances = self.task == "instances"
        classes = instance_targets(ids, self.boundary_px, inside) if instances else ids.astype(np.uint8)
        return np.where(inside, classes, np.uint8(IGNORE))
