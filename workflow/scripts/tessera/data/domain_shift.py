"""Domain shift: whether an image resembles the images that a model was trained on.

A window is like those of the training when its texture is about as near to that of one of them as they are to each
other.
"""

import math
from pathlib import Path

import numpy as np

from tessera.data.channels import match_channels
from tessera.data.dataset_fingerprint import PERCENTILES, has_contrast, parse_fingerprint
from tessera.data.normalization import choose_intensity_ranges
from tessera.data.rescaling import NEGLIGIBLE, choose_scale, mean_pixel_size_um
from tessera.data.texture_features import texture_distances, texture_features
from tessera.data.window_sampling import sample_windows
from tessera.io.ome_zarr_store import read_metadata

MARGIN = 0.1  # of a channel's window, by which intensities may lie beyond those of the training
SAMPLED = 12  # windows of an image
STRANGE = 2.0  # times the training's diameter, or its inverse


def find_domain_shift(path, settings, *, rescale=True, object_diameter_px=None, roi=None, frames=None):
    """What sets an image apart from those that a model was trained on.

    Args:
        path: store of the image.
        settings: content of model.json; one without a fingerprint says nothing of intensities and textures.
        rescale, object_diameter_px: see `tessera.data.rescaling.choose_scale`.
        roi: (y0, y1, x0, x1) that is looked at, or None.
        frames: see `tessera.io.region_of_interest.select_frames`.

    Returns:
        Sentences for the user; none where all is well.

    Raises:
        InputError: it has more or fewer channels than the model, or its size cannot be brought to the model's.
    """
    name, metadata = Path(path).name.removesuffix(".ome.zarr"), read_metadata(path)
    order = match_channels(name, metadata.channels, settings["channels"])
    scale = choose_scale(name, metadata.pixel_size_um, settings, rescale=rescale, object_diameter_px=object_diameter_px)
    sentences = _unlike_channels(name, metadata.channels, settings["channels"])
    if not object_diameter_px:
        sentences += _unlike_pixels(name, metadata.pixel_size_um, settings, scale)
    if settings.get("fingerprint"):
        mark = parse_fingerprint(settings)
        ranges = choose_intensity_ranges(metadata.contrast_limits, order, settings)
        seen = {"order": order, "ranges": ranges, "roi": roi, "frames": frames}
        windows = sample_windows(path, side_px=mark["patch_size_px"], scale=scale, count=SAMPLED, **seen)
        sentences += _unlike_content(name, windows, settings["channels"], mark)
    return sentences


def check_object_diameter(name, area_px, settings, scale=1.0):
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
        f"({diameter / wanted:.2g} times); see whether they are what you look for, and give predict.object_diameter_px, the "
        "diameter that they have"
    ]


def _unlike_channels(name, channels, wanted):
    if set(channels) == set(wanted) or all(channel.isdigit() for channel in [*channels, *wanted]):
        return []
    return [
        f"{name}: its channels ({', '.join(channels)}) are taken for the model's ({', '.join(wanted)}) in this order; "
        "see that they show the same"
    ]


def _unlike_pixels(name, pixel_size_um, settings, scale):
    least, most = settings.get("pixel_size_um_range") or [settings.get("pixel_size_um")] * 2
    size = mean_pixel_size_um(pixel_size_um)
    smallest, largest = (settings.get("scale") or {}).get("range", (1, 1))
    if not size and smallest < largest:
        return [
            f"{name}: the size of its pixels is not known, and training images were magnified {smallest:.3g} to "
            f"{largest:.3g} times; it is {scale:.3g} times; give pixel_size_um in the table, or predict.object_diameter_px"
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
    windows = [window for window in windows if has_contrast(window)]
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
    textures = np.array([texture_features(window) for window in windows])
    distance = float(np.median(texture_distances(textures, mark["textures"], mark["spread"]).min(axis=1)))
    if distance > mark["limit"]:
        sentences.append(
            f"{name}: its detail is unlike that of the training images (distance {distance:.2f}, theirs are within "
            f"{mark['limit']:.2f}); see whether microscopy, focus or noise differ, and train on images like it"
        )
    return sentences
