"""Random transforms of patches, image and mask in step, from the names that the configuration gives."""

import difflib
import os
import random
import warnings

import numpy as np

from .errors import InputError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the internet for a newer version

import albumentations as A
import cv2

HEADROOM = 0.25  # of the window, kept free above and below for what brightness and noise do
_RIGHT_ANGLES = (A.D4, A.HorizontalFlip, A.VerticalFlip, A.Transpose, A.RandomRotate90, A.SquareSymmetry, A.NoOp)


def check_transforms(transforms, channels):
    """Build every transform and run it once, so that a wrong one is known before there is work to lose.

    Args:
        transforms: dicts of albumentations' class `name` and its arguments, as in the configuration.
        channels: number of channels of the images.

    Raises:
        InputError: a line for each that does not exist, does not know an argument, changes the size, or cannot work on
            images of real numbers with so many channels.
    """
    problems = []
    pixels = np.linspace(0, 1, 64 * 64 * channels, dtype=np.float32).reshape(64, 64, channels)
    for number, settings in enumerate(transforms):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                transform = _build(settings | {"p": 1.0})
                done = A.Compose([transform], seed=0)(image=pixels, mask=np.zeros((64, 64), np.int32))
            if done["image"].shape != pixels.shape or done["image"].dtype != np.float32:
                problems.append(f"{_place(number, settings)}: it changes the size or type of the image; leave it out")
        except InputError as error:
            problems.append(f"{_place(number, settings)}: {error}")
        except Exception as error:  # albumentations and OpenCV raise many kinds
            problems.append(f"{_place(number, settings)}: {' '.join(str(error).split())}")
    if problems:
        raise InputError("\n".join(problems))


def window_px(transforms, patch_px):
    """Side of the window to read for a patch: twice the patch where rotation, scale or warp may reach beyond it."""
    return patch_px if _last_warp(map(_kind, transforms)) is None else 2 * patch_px


def transform_patch(pixels, ids, inside, transforms, patch_px, seed):
    """Transform a window at random and cut the patch out of its middle.

    albumentations takes a real image as 0 to 1 and clips it there after most transforms, so intensities are brought
    into that range, with headroom, and back; its arguments thus are parts of the patch's range of intensities.

    Args:
        pixels: (y, x, c) float32, normalised.
        ids: (y, x) int32, from 0.
        inside: (y, x) whether a pixel is in the image.
        transforms: as in the configuration.
        patch_px: side of the patch.
        seed: int; the same seed does the same.

    Returns:
        Pixels (y, x, c) float32, ids (y, x) int32 and inside (y, x) of the patch, and the names of what was applied.
    """
    built = list(map(_build, transforms))
    last = _last_warp(map(type, built))
    # What comes after the last warp needs the patch alone.
    built.insert(0 if last is None else last + 1, A.CenterCrop(patch_px, patch_px))
    low, high = min(0.0, float(pixels.min())) - HEADROOM, max(1.0, float(pixels.max())) + HEADROOM
    composed = A.Compose(built, save_applied_params=True)
    # Given a seed, albumentations gives it to each transform anew, so that all draw the same numbers: a rare one would
    # come with every other, and with their extremes.
    composed.set_random_state(np.random.default_rng(seed), random.Random(seed))
    done = composed(image=(pixels - np.float32(low)) / np.float32(high - low), mask=np.where(inside, ids, -1 - ids))
    mask = done["mask"]
    applied = [name for name, _ in done["applied_transforms"] if name != "CenterCrop"]
    restored = done["image"] * np.float32(high - low) + np.float32(low)
    return restored, np.where(mask < 0, -1 - mask, mask), mask >= 0, applied


def _build(settings):
    kind = _kind(settings)
    arguments = {key: _tuples(value) for key, value in settings.items() if key != "name"}
    if "border_mode" in kind.InitSchema.model_fields:
        # Blank corners would be an intensity that no image has.
        arguments.setdefault("border_mode", cv2.BORDER_REFLECT_101)
        if "fill_mask" in kind.InitSchema.model_fields:
            # A border that is blank all the same is not in the image: `transform_patch` takes negative ids for outside.
            arguments.setdefault("fill_mask", -1)
    return kind(**arguments)


def _kind(settings):
    """The class of albumentations that the settings name."""
    name = settings.get("name", "")
    kind = getattr(A, name, None)
    if not (isinstance(kind, type) and issubclass(kind, A.DualTransform | A.ImageOnlyTransform)):
        near = difflib.get_close_matches(name, dir(A), 1)
        raise InputError(f"albumentations has no such transform{f'; did you mean {near[0]}?' if near else ''}")
    return kind


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _last_warp(kinds):
    """Index of the last class that moves pixels other than by right angles, None if there is none."""
    warps = [n for n, kind in enumerate(kinds) if issubclass(kind, A.DualTransform) and kind not in _RIGHT_ANGLES]
    return warps[-1] if warps else None


def _place(number, settings):
    return f"augment.transforms, entry {number + 1} ({settings.get('name')})"
