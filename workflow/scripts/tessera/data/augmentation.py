"""Random transforms of patches, applied to image and mask together, by their names in the configuration."""

import difflib
import functools
import json
import math
import os
import random
import threading
import warnings

import numpy as np

from tessera.common.errors import InputError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the internet for a newer version

import albumentations as A
import cv2

HEADROOM = 0.25  # of the window, kept free above and below for what brightness and noise do
WIDEST = 2  # patches: what is read at most for one that is turned, shrunk or warped
_HOLES = (A.CoarseDropout, A.GridDropout, A.PixelDropout)  # leave the truth as it is
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


def window_px(transforms, patch_size_px):
    """Side of the window to read for a patch: wider where rotation, scale or warp reach beyond the patch."""
    return _window_px(json.dumps(transforms), patch_size_px)


def moves_pixels(settings):
    """Whether a transform moves the truth with the image, rather than changing intensities alone."""
    return issubclass(_kind(settings), A.DualTransform)


def without_mirrored_border(settings):
    """The same transform with what comes from beyond the window marked as outside, not mirrored."""
    known = "border_mode" in _kind(settings).InitSchema.model_fields
    return settings | ({"border_mode": cv2.BORDER_CONSTANT} if known else {})


def transform_patch(pixels, ids, inside, transforms, patch_size_px, seed):
    """Transform a window at random and cut the patch out of its middle.

    albumentations takes a real image as 0 to 1 and clips it there after most transforms, so intensities are brought
    into that range, with headroom, and back; its arguments thus are parts of the patch's range of intensities.

    Args:
        pixels: (y, x, c) float32, normalized.
        ids: (y, x) int32, from 0.
        inside: (y, x) whether a pixel is in the image.
        transforms: as in the configuration.
        patch_size_px: side of the patch.
        seed: int; the same seed does the same.

    Returns:
        Pixels (y, x, c) float32, ids (y, x) int32 and inside (y, x) of the patch, and the names of what was applied.
    """
    low, high = min(0.0, float(pixels.min())) - HEADROOM, max(1.0, float(pixels.max())) + HEADROOM
    composed = _composed(json.dumps(transforms), patch_size_px, len(ids), threading.get_ident())
    # Given a seed, albumentations gives it to each transform anew, so that all draw the same numbers: a rare one would
    # come with every other, and with their extremes.
    composed.set_random_state(np.random.default_rng(seed), random.Random(seed))
    done = composed(image=(pixels - np.float32(low)) / np.float32(high - low), mask=np.where(inside, ids, -1 - ids))
    mask = done["mask"]
    applied = [name for name, _ in done["applied_transforms"] if name not in ("CenterCrop", "NoOp")]
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


@functools.lru_cache(maxsize=64)
def _window_px(transforms, patch_size_px):
    return _sides([_build(settings) for settings in json.loads(transforms)], patch_size_px)[0]


@functools.lru_cache(maxsize=64)
def _composed(transforms, patch_size_px, window_px, thread):
    """The pipeline of `transforms`, as JSON; each thread has its own, since it holds the random numbers."""
    built = [_build(settings) for settings in json.loads(transforms)]
    sides = [min(side, window_px) for side in _sides(built, patch_size_px)]
    steps = [A.CenterCrop(sides[0], sides[0])] if sides[0] < window_px else []
    for transform, before, after in zip(built, sides[:-1], sides[1:], strict=True):
        steps += [transform] + ([A.CenterCrop(after, after)] if after < before else [])
    return A.Compose(steps or [A.NoOp()], save_applied_params=True)


def _sides(built, patch_size_px):
    """Side of what each transform has to be given for the patch to be right, and of the patch."""
    sides = [patch_size_px]
    for transform in reversed(built):
        sides.append(min(_reach(transform, sides[-1]), WIDEST * patch_size_px))
    return sides[::-1]


def _reach(transform, side):
    if not isinstance(transform, A.DualTransform) or isinstance(transform, (*_RIGHT_ANGLES, *_HOLES)):
        return side
    if isinstance(transform, A.ElasticTransform) and not transform.approximate:
        # It moves pixels by its noise, within -1 to 1, blurred by sigma and times alpha: a blur of so many pixels
        # leaves 1 / (2 sqrt(pi) sigma) of a standard deviation, which is at most 0.58, and five of them are enough.
        return side + 2 * math.ceil(transform.alpha * min(1, 1 / transform.sigma))
    return WIDEST * side


def _place(number, settings):
    return f"augment.transforms, entry {number + 1} ({settings.get('name')})"
