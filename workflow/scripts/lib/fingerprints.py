"""Fingerprints: what the images were like that a model learnt from, and whether others are like them.

A window is like those of the training when its texture is about as near to that of one of them as they are to each
other.
"""

import math
from pathlib import Path

import numpy as np

from .channels import match_channels
from .errors import InputError
from .intensities import choose_ranges
from .samples import LEAST_PX, sample_windows
from .scales import NEGLIGIBLE, choose_scale, side_um
from .spreads import spread
from .stores import read_metadata
from .textures import PER_CHANNEL, compare_textures, describe_texture

PERCENTILES = (25, 50, 75)
MARGIN = 0.1  # of a channel's window, by which intensities may lie beyond those of the training
KEPT = 64  # windows of the training in a fingerprint
SAMPLED = 12  # windows of an image
STRANGE = 2.0  # times the training's diameter, or its inverse
MOST_PX = 2048  # side of a window
_FLAT = 1e-3  # contrast, as a share of a channel's window, below which a window shows nothing


def take_fingerprint(patches):
    """What is to be known of the patches that a network learns from.

    Args:
        patches: normalised pixels (n, y, x, c), an array in memory or a Zarr array.

    Returns:
        What JSON can hold: patch_px; the least and the greatest of the patches' PERCENTILES, (percentiles, c); textures
        of up to KEPT patches, (n, numbers); spread, the standard deviation of each number; limit, the distance
        (`lib.textures.compare_textures`) that 95 % of the patches have to the nearest other, None for a single patch.
    """
    windows = [np.asarray(patches[number], np.float32) for number in spread(patches.shape[0], KEPT)]
    textures = np.round([describe_texture(window) for window in windows], 3)
    levels = np.array([np.percentile(window, PERCENTILES, axis=(0, 1)) for window in windows])
    deviations = np.maximum(textures.std(axis=0), 0.03).round(3)
    apart = compare_textures(textures, textures, deviations)
    np.fill_diagonal(apart, np.inf)
    return {
        "patch_px": int(patches.shape[1]),
        "least": levels.min(axis=0).round(3).tolist(),
        "greatest": levels.max(axis=0).round(3).tolist(),
        "textures": textures.tolist(),
        "spread": deviations.tolist(),
        "limit": round(float(np.percentile(apart.min(axis=1), 95)), 3) if len(textures) > 1 else None,
    }


def measure_sources(sources, counts):
    """Sizes of pixels and objects as the network sees them, None where unknown, and the share of each class.

    Args:
        sources: of `lib.examples`, after `survey`, with their `scale`.
        counts: pixels of each class.
    """
    diameters = np.concatenate([source.scale * source.diameters_px for source in sources])
    sizes = [size / source.scale for source in sources for size in source.metadata.pixel_um[1:] if size]
    return {
        "pixel_um": float(np.median(sizes)) if sizes else None,
        "pixel_um_range": [min(sizes), max(sizes)] if sizes else None,
        "diameter_px": float(np.median(diameters)) if diameters.size else None,
        "class_share": (counts / max(counts.sum(), 1)).tolist(),
    }


def check_fit(path, settings, *, rescale=True, diameter_px=None, roi=None, frames=None):
    """What sets an image apart from those that a model was trained on.

    Args:
        path: store of the image.
        settings: content of model.json; one without a fingerprint says nothing of intensities and textures.
        rescale, diameter_px: see `lib.scales.choose_scale`.
        roi: (y0, y1, x0, x1) that is looked at, or None.
        frames: see `lib.looks.chosen_frames`.

    Returns:
        Sentences for the user; none where all is well.

    Raises:
        InputError: it has more or fewer channels than the model, or its size cannot be brought to the model's.
    """
    name, metadata = Path(path).name.removesuffix(".ome.zarr"), read_metadata(path)
    order = match_channels(name, metadata.channels, settings["channels"])
    scale = choose_scale(name, metadata.pixel_um, settings, rescale=rescale, diameter_px=diameter_px)
    sentences = _unlike_channels(name, metadata.channels, settings["channels"])
    if not diameter_px:
        sentences += _unlike_pixels(name, metadata.pixel_um, settings, scale)
    if settings.get("fingerprint"):
        mark = read_fingerprint(settings)
        ranges = choose_ranges(metadata.windows, order, settings)
        seen = {"order": order, "ranges": ranges, "roi": roi, "frames": frames}
        windows = sample_windows(path, side_px=mark["patch_px"], scale=scale, count=SAMPLED, **seen)
        sentences += _unlike_content(name, windows, settings["channels"], mark)
    return sentences


def check_size(name, area_px, settings, scale=1.0):
    """What sets the objects found in an image apart from those that a model was trained on, in sentences.

    Args:
        name: of the image.
        area_px: median area of the objects, in pixels of the image, or None.
        settings: content of model.json.
        scale: pixels of the network per pixel of the image.
    """
    if not area_px or not settings.get("diameter_px"):
        return []
    diameter, wanted = math.sqrt(4 * area_px / math.pi), settings["diameter_px"] / scale
    if 1 / STRANGE <= diameter / wanted <= STRANGE:
        return []
    return [
        f"{name}: the objects found are {diameter:.3g} px wide, those of the training would be {wanted:.3g} px here "
        f"({diameter / wanted:.2g} times); see whether they are what you look for, and give predict.diameter_px, the "
        "diameter that they have"
    ]


def shows_something(window):
    """Whether the pixels (y, x, c) of a normalised window differ."""
    return np.ptp(window, axis=(0, 1)).max() > _FLAT


def read_fingerprint(settings):
    """The fingerprint in model.json, its lists as arrays; it may come from outside, and sizes in it ask for memory.

    Raises:
        InputError: it is damaged.
    """
    channels = len(settings["channels"])
    numbers, levels = PER_CHANNEL * channels, (len(PERCENTILES), channels)
    try:
        mark = settings["fingerprint"]
        arrays = {key: np.array(mark[key], np.float64) for key in ("least", "greatest", "textures", "spread")}
        fits = arrays["least"].shape == arrays["greatest"].shape == levels and arrays["spread"].shape == (numbers,)
        fits &= arrays["textures"].shape[1:] == (numbers,) and 0 < len(arrays["textures"]) <= KEPT
        if not fits or not LEAST_PX <= mark["patch_px"] <= MOST_PX or not arrays["spread"].min() > 0:
            raise ValueError("sizes")
        return {"patch_px": int(mark["patch_px"]), "limit": float(mark["limit"] or np.inf)} | arrays
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The model's model.json: its fingerprint is damaged ({error}); set it to null, or train the model again"
        ) from error


def _unlike_channels(name, channels, wanted):
    if set(channels) == set(wanted) or all(channel.isdigit() for channel in [*channels, *wanted]):
        return []
    return [
        f"{name}: its channels ({', '.join(channels)}) are taken for the model's ({', '.join(wanted)}) in this order; "
        "see that they show the same"
    ]


def _unlike_pixels(name, pixel_um, settings, scale):
    least, most = settings.get("pixel_um_range") or [settings.get("pixel_um")] * 2
    size = side_um(pixel_um)
    smallest, largest = (settings.get("scale") or {}).get("range", (1, 1))
    if not size and smallest < largest:
        return [
            f"{name}: the size of its pixels is not known, and training images were magnified {smallest:.3g} to "
            f"{largest:.3g} times; it is {scale:.3g} times; give pixel_um in the table, or predict.diameter_px"
        ]
    if scale != 1 or not size or not least:
        return []
    if least / NEGLIGIBLE <= size <= most * NEGLIGIBLE:
        return []
    trained = f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}"
    return [
        f"{name}: its pixels are {size:.3g} µm wide, those of the training {trained} µm; set predict.rescale to true, "
        "so that it is brought to their size"
    ]


def _unlike_content(name, windows, channels, mark):
    windows = [window for window in windows if shows_something(window)]
    if not windows:
        return [f"{name}: shows nothing, all of its pixels are alike; take it out of the table, or give a whole image"]
    sentences, least, greatest = [], mark["least"], mark["greatest"]
    levels = np.median([np.percentile(window, PERCENTILES, axis=(0, 1)) for window in windows], axis=0)
    beyond = np.maximum(least - levels, levels - greatest)
    row, channel = np.unravel_index(beyond.argmax(), beyond.shape)
    if beyond[row, channel] > MARGIN:
        sentences.append(
            f"{name}: percentile {PERCENTILES[row]} of channel {channels[channel]} lies at "
            f"{levels[row, channel]:.2f} of the window from dark to bright, in the training at "
            f"{least[row, channel]:.2f} to {greatest[row, channel]:.2f}; see whether it is of another "
            "kind, and train on images like it"
        )
    textures = np.array([describe_texture(window) for window in windows])
    distance = float(np.median(compare_textures(textures, mark["textures"], mark["spread"]).min(axis=1)))
    if distance > mark["limit"]:
        sentences.append(
            f"{name}: its detail is unlike that of the training images (distance {distance:.2f}, theirs are within "
            f"{mark['limit']:.2f}); see whether microscopy, focus or noise differ, and train on images like it"
        )
    return sentences
