"""Random transforms of patches, applied to image and mask together, by their names in the configuration."""

import difflib
import functools
import json
import math
import os
import random
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no query for newer versions over the internet

import albumentations as A
import cv2

HEADROOM = 0.25  # of the contrast range, free above and below it for changes of brightness and for noise
MAX_WINDOW = 2  # the largest side of a window that is read for a patch, in sides of the patch
_HOLES = (A.CoarseDropout, A.GridDropout, A.PixelDropout)  # do not change the ground truth
_RIGHT_ANGLES = (A.D4, A.HorizontalFlip, A.VerticalFlip, A.Transpose, A.RandomRotate90, A.SquareSymmetry, A.NoOp)


def check_transforms(transforms: Sequence[Mapping[str, Any]], channels: int) -> None:
    """Build every transform and run it once, so that an invalid transform is reported before any work starts.

    Args:
        transforms: dicts with the `name` of a class of albumentations and its arguments, as in the configuration.
        channels: number of channels of the images.

    Raises:
        InputError: has a line for each transform that does not exist, does not accept an argument, changes the size of
            the image, or cannot process float images with this number of channels.
    """
    problems = []
    pixels = np.linspace(0, 1, 64 * 64 * channels, dtype=np.float32).reshape(64, 64, channels)
    for number, settings in enumerate(transforms):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                transform = _build({**settings, "p": 1.0})
                result = A.Compose([transform], seed=0)(image=pixels, mask=np.zeros((64, 64), np.int32))
            if result["image"].shape != pixels.shape or result["image"].dtype != np.float32:
                problems.append(f"{_entry(number, settings)}: it changes the size or type of the image; remove it")
        except InputError as error:
            problems.append(f"{_entry(number, settings)}: {error}")
        except Exception as error:  # albumentations and OpenCV raise many kinds
            problems.append(f"{_entry(number, settings)}: {' '.join(str(error).split())}")
    if problems:
        raise InputError("\n".join(problems))


def window_px(transforms: Sequence[Mapping[str, Any]], patch_size_px: int) -> int:
    """Return the side of the window to read for a patch.

    The window is larger than the patch if rotation, scaling or warping moves pixels from outside into the patch.
    """
    return _window_px(json.dumps(transforms), patch_size_px)


def moves_pixels(settings: Mapping[str, Any]) -> bool:
    """Return whether a transform moves the pixels of image and ground truth, instead of changing intensities only."""
    return issubclass(_kind(settings), A.DualTransform)


def without_mirrored_border(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a transform that marks pixels from beyond the window as outside, instead of mirroring."""
    has_border_mode = "border_mode" in _kind(settings).InitSchema.model_fields
    return {**settings, **({"border_mode": cv2.BORDER_CONSTANT} if has_border_mode else {})}


def transform_patch(
    pixels: NDArray[np.float32],
    ids: NDArray[np.int32],
    inside: NDArray[np.bool_],
    transforms: Sequence[Mapping[str, Any]],
    patch_size_px: int,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_], list[str]]:
    """Transform a window at random and cut the patch out of its middle.

    albumentations expects float images from 0 to 1 and clips them after most transforms. So intensities are mapped to
    this range, with headroom, and back; arguments of transforms are fractions of the patch's range of intensities.

    Args:
        pixels: normalized intensities (y, x, c).
        ids: ids of the ground truth (y, x), at least 0.
        inside: (y, x), True for pixels in the image.
        transforms: dicts as in the configuration.
        patch_size_px: side of the patch.
        seed: the same seed gives the same result.

    Returns:
        Pixels (y, x, c), ids (y, x) and inside (y, x) of the patch, and the names of the applied transforms.
    """
    low, high = min(0.0, float(pixels.min())) - HEADROOM, max(1.0, float(pixels.max())) + HEADROOM
    composed = _composed(json.dumps(transforms), patch_size_px, len(ids), threading.get_ident())
    # With a plain seed, albumentations seeds each transform with the same number, so that all draw the same values: a
    # rare transform would always coincide with all others, and with their extremes.
    composed.set_random_state(np.random.default_rng(seed), random.Random(seed))
    result = composed(image=(pixels - np.float32(low)) / np.float32(high - low), mask=np.where(inside, ids, -1 - ids))
    mask = result["mask"]
    applied = [name for name, _ in result["applied_transforms"] if name not in ("CenterCrop", "NoOp")]
    restored = result["image"] * np.float32(high - low) + np.float32(low)
    return restored, np.where(mask < 0, -1 - mask, mask), mask >= 0, applied


def _build(settings: Mapping[str, Any]) -> A.BasicTransform:
    kind = _kind(settings)
    arguments = {key: _tuples(value) for key, value in settings.items() if key != "name"}
    if "border_mode" in kind.InitSchema.model_fields:
        # Blank corners would have an intensity that no image has.
        arguments.setdefault("border_mode", cv2.BORDER_REFLECT_101)
        if "fill_mask" in kind.InitSchema.model_fields:
            # With a constant border, pixels beyond the window get a negative id, so that `transform_patch` knows them.
            arguments.setdefault("fill_mask", -1)
    return kind(**arguments)


def _kind(settings: Mapping[str, Any]) -> Any:
    """Return the class of albumentations that the settings name."""
    name = settings.get("name", "")
    kind = getattr(A, name, None)
    if not (isinstance(kind, type) and issubclass(kind, A.DualTransform | A.ImageOnlyTransform)):
        near = difflib.get_close_matches(name, dir(A), 1)
        raise InputError(f"albumentations has no such transform{f'; did you mean {near[0]}?' if near else ''}")
    return kind


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@functools.lru_cache(maxsize=64)
def _window_px(transforms: str, patch_size_px: int) -> int:
    return _sides([_build(settings) for settings in json.loads(transforms)], patch_size_px)[0]


@functools.lru_cache(maxsize=64)
def _composed(transforms: str, patch_size_px: int, window_px: int, thread: int) -> A.Compose:
    """Return the pipeline of `transforms` (JSON). Each thread has its own, since a pipeline holds a random state."""
    built = [_build(settings) for settings in json.loads(transforms)]
    sides = [min(side, window_px) for side in _sides(built, patch_size_px)]
    steps = [A.CenterCrop(sides[0], sides[0])] if sides[0] < window_px else []
    for transform, before, after in zip(built, sides[:-1], sides[1:], strict=True):
        steps += [transform] + ([A.CenterCrop(after, after)] if after < before else [])
    return A.Compose(steps or [A.NoOp()], save_applied_params=True)


def _sides(built: Sequence[A.BasicTransform], patch_size_px: int) -> list[int]:
    """Return the side of the input that each transform needs so that the patch has no border, and of the patch."""
    sides = [patch_size_px]
    for transform in reversed(built):
        sides.append(min(_reach(transform, sides[-1]), MAX_WINDOW * patch_size_px))
    return sides[::-1]


def _reach(transform: A.BasicTransform, side: int) -> int:
    """Return the side of the input that a transform needs for an output of this side."""
    if not isinstance(transform, A.DualTransform) or isinstance(transform, (*_RIGHT_ANGLES, *_HOLES)):
        return side
    if isinstance(transform, A.ElasticTransform) and not transform.approximate:
        # Displacements are noise from -1 to 1, blurred by sigma and multiplied by alpha. The noise has a standard
        # deviation of 0.58, of which the blur leaves 1 / (2 sqrt(pi) sigma). Five standard deviations are covered.
        return side + 2 * math.ceil(transform.alpha * min(1, 1 / transform.sigma))
    return MAX_WINDOW * side


def _entry(number: int, settings: Mapping[str, Any]) -> str:
    return f"augment.transforms, entry {number + 1} ({settings.get('name')})"
