"""Diameters: how large the objects of an image are, found from the image itself, for a network that knows one size.

The detail of an image tells it well enough to begin with: of several magnifications, one makes its texture most like
that of the training patches (`tessera.data.texture_features`). At that one the network is asked about a few windows, and the objects
that it finds there say the rest.
"""

import math

import numpy as np

from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.data.dataset_fingerprint import has_contrast, parse_fingerprint
from tessera.data.texture_features import texture_distances, texture_features
from tessera.data.window_sampling import LEAST_PX, sample_windows
from tessera.segmentation.seeded_growth import segment_plane
from tessera.settings.sections import SegmentSettings

OCTAVES = 3.0  # up and down, within which magnifications are tried
STEPS = (0.5, 0.25)  # octaves from one to the next, at first and then around the best
WIDEST_PX = 4096  # side of a window in the image, whose pixels are in memory
TEXTURES, NEAREST = 6, 3  # windows whose textures are compared, each with so many of the training
ASKED, ASKED_PX = 4, 256  # windows that the network is asked about, and their side
ROUNDS = 2
MOST = 2.0  # times that the network's answer may correct
FEWEST = 4  # objects that have to be found for it
UNLIKE = 2.0  # times the distance that windows of the training have, beyond which an image is unlike them
CLEARLY = 2.0  # times that an image has to be nearer to the training at another scale, if it is not like it there
WORTH = 1.4  # times that an image has to be off for its scale to be changed, where the network knows several sizes
RULES = SegmentSettings(foreground_threshold=0.5, seed_threshold=0.5, min_area_px=16, fill_holes=True)


def estimate_diameter(path, ensemble, *, scale, **seen):
    """Diameter of the objects in an image, in its pixels.

    Args:
        path: store of the image.
        ensemble: of `tessera.inference.ensemble`.
        scale: pixels of the network per pixel of the image at which it is seen otherwise.
        seen: order, ranges, roi and frames, see `tessera.data.window_sampling.sample_windows`.

    Returns:
        None where it is not to be found, or where the network knows several sizes and the image fits as it is.

    Raises:
        InputError: the model's fingerprint is damaged.
    """
    settings = ensemble.settings
    if not (settings.get("diameter_px") and settings.get("fingerprint")) or settings["outputs"] != INSTANCE_OUTPUTS:
        return None
    mark = parse_fingerprint(settings)
    one_size = (settings.get("scale") or {}).get("method") == "object_diameter"
    found = _begin(path, mark, scale, seen, one_size)
    if found is None:
        return None
    for _ in range(ROUNDS):
        windows = sample_windows(path, side_px=ASKED_PX, scale=found, count=ASKED, **seen)
        diameters = np.concatenate([_measure(window, ensemble) for window in windows])
        if len(diameters) < FEWEST:
            break
        found *= float(np.clip(settings["diameter_px"] / np.median(diameters), 1 / MOST, MOST))
    return settings["diameter_px"] / float(np.clip(found, 2**-OCTAVES, 2**OCTAVES))


def _begin(path, mark, scale, seen, one_size):
    """The magnification at which the network is asked first; None where an image is seen as it is, at `scale`."""
    as_it_is = math.inf if one_size else _distance(path, mark, scale, seen)
    if as_it_is <= mark["limit"]:
        return None
    found, distance = _likest(path, mark, seen)
    if math.isinf(distance):
        return None
    if one_size:
        # Unlike the training at any magnification, the usual one is as good as others.
        return found if distance <= UNLIKE * mark["limit"] else scale
    fits = distance <= max(mark["limit"], as_it_is / CLEARLY)
    return found if fits and not 1 / WORTH < found / scale < WORTH else None


def _likest(path, mark, seen):
    """The magnification at which an image is most like the training, and how far it is then, inf where it is empty."""
    coarse, fine = STEPS
    tried = {octave: _distance(path, mark, 2**octave, seen) for octave in np.arange(-OCTAVES, OCTAVES + coarse, coarse)}
    best = min(tried, key=tried.get)
    tried |= {octave: _distance(path, mark, 2**octave, seen) for octave in (best - fine, best + fine)}
    best = min(tried, key=tried.get)
    return float(2**best), tried[best]


def _distance(path, mark, scale, seen):
    """Median distance of textures from those of the training; inf where windows are small or huge, or show nothing."""
    if mark["patch_size_px"] > scale * WIDEST_PX:
        return math.inf
    windows = sample_windows(path, side_px=mark["patch_size_px"], scale=scale, count=TEXTURES, **seen)
    least = max(mark["patch_size_px"] // 2, LEAST_PX + 1)  # a smaller one tells little
    windows = [window for window in windows if has_contrast(window) and min(window.shape[:2]) >= least]
    if not windows:
        return math.inf
    textures = np.array([texture_features(window) for window in windows])
    apart = np.sort(texture_distances(textures, mark["textures"], mark["spread"]), axis=1)
    return float(np.median(apart[:, :NEAREST].mean(axis=1)))


def _measure(window, ensemble):
    """Diameters (objects,) of what the network finds in a window (y, x, c), of objects that its border does not cut."""
    window = window[:ASKED_PX, :ASKED_PX]  # a large magnification is rounded to more
    height, width = window.shape[:2]
    padded = np.pad(window, ((0, ASKED_PX - height), (0, ASKED_PX - width), (0, 0)), mode="symmetric")
    ids = segment_plane(ensemble.predict(padded[None].astype(np.float32))[0][:, :height, :width], RULES)
    areas = np.bincount(ids.ravel())
    areas[np.concatenate([[0], ids[0], ids[-1], ids[:, 0], ids[:, -1]])] = 0
    return np.sqrt(4 / math.pi * areas[areas > 0])
