"""Presets: transforms of training patches for each kind of microscopy, in the format of the configuration.

They have no rotations by right angles and no reflections, since `tessera.training.data_loader` applies these in each
epoch. Limits of intensities are fractions of the patch's range with headroom, see
`tessera.data.augmentation.transform_patch`.
"""

from typing import Any, TypeAlias

Transform: TypeAlias = dict[str, Any]
"""`name` of a class of albumentations, and its arguments."""

_AFFINE = {"name": "Affine", "p": 0.7, "scale": [0.75, 1.33], "keep_ratio": True, "rotate": [-180, 180]}
_ELASTIC = {"name": "ElasticTransform", "p": 0.15, "alpha": 150, "sigma": 8}
_BLUR = {"name": "GaussianBlur", "p": 0.2, "sigma_limit": [0.3, 1.5]}
_UNEVEN = {"name": "Illumination", "p": 0.2, "mode": "linear", "intensity_range": [0.01, 0.1]}


def _gain(p: float, brightness: float, contrast: float) -> Transform:
    return {
        "name": "RandomBrightnessContrast",
        "p": p,
        "brightness_limit": brightness,
        "contrast_limit": contrast,
    }


def _gamma(p: float, low: int, high: int) -> Transform:
    return {"name": "RandomGamma", "p": p, "gamma_limit": [low, high]}


def _noise(p: float, most: float) -> Transform:
    return {"name": "GaussNoise", "p": p, "std_range": [0.005, most]}


def _tint(p: float, share: float) -> Transform:
    return {"name": "RGBShift", "p": p, **{f"{c}_shift_limit": [-share, share] for c in "rgb"}}


def _stain(p: float, saturation: float, hue: float) -> Transform:
    return {
        "name": "ColorJitter",
        "p": p,
        "brightness": [1.0, 1.0],
        "contrast": [1.0, 1.0],
        "saturation": [1 - saturation, 1 + saturation],
        "hue": [-hue, hue],
    }


PRESETS: dict[str, list[Transform]] = {
    "none": [],
    "fluorescence": [_AFFINE, _ELASTIC, _gain(0.5, 0.08, 0.25), _gamma(0.4, 70, 140), _BLUR, _noise(0.3, 0.04)],
    "brightfield": [
        *(_AFFINE, _ELASTIC, _gain(0.5, 0.06, 0.15), _gamma(0.3, 80, 125), _UNEVEN),
        *(_BLUR | {"p": 0.25, "sigma_limit": [0.3, 2.0]}, _noise(0.3, 0.03)),
    ],
    "histology": [
        *(_AFFINE, _ELASTIC, _stain(0.6, 0.3, 0.04), _tint(0.3, 0.05), _gain(0.4, 0.08, 0.2)),
        *(_gamma(0.3, 80, 125), _BLUR, _noise(0.2, 0.02)),
    ],
    "em": [
        *(_AFFINE, _ELASTIC | {"p": 0.3}, _gain(0.5, 0.1, 0.25), _gamma(0.3, 80, 125)),
        *(_BLUR | {"p": 0.25}, _noise(0.4, 0.06)),
    ],
    "mixed": [
        *(_AFFINE, _ELASTIC, {"name": "InvertImg", "p": 0.25}, {"name": "ChannelShuffle", "p": 0.2}),
        *({"name": "ToGray", "p": 0.2}, _stain(0.4, 0.3, 0.1), _tint(0.4, 0.1), _gain(0.5, 0.08, 0.25)),
        *(_gamma(0.3, 75, 133), _BLUR, _noise(0.3, 0.03)),
    ],
}
_COLOR_ONLY = {"ColorJitter", "RGBShift", "ToGray", "ChannelShuffle"}


def preset_transforms(preset: str, channels: int) -> list[Transform]:
    """Return the transforms of a preset, without color transforms if the images do not have three channels."""
    return [transform for transform in PRESETS[preset] if channels == 3 or transform["name"] not in _COLOR_ONLY]
