"""Presets: transforms of training patches that suit a kind of microscopy, as the configuration would list them.

Right angles and mirrors are not in them, since `tessera.training.data_loader` turns patches anew in each epoch. Intensities are those of
`tessera.data.augmentation.transform_patch`: albumentations' 0 to 1 is the patch's range with headroom.
"""

_AFFINE = {"name": "Affine", "p": 0.7, "scale": [0.75, 1.33], "keep_ratio": True, "rotate": [-180, 180]}
_ELASTIC = {"name": "ElasticTransform", "p": 0.15, "alpha": 150, "sigma": 8}
_BLUR = {"name": "GaussianBlur", "p": 0.2, "sigma_limit": [0.3, 1.5]}
_UNEVEN = {"name": "Illumination", "p": 0.2, "mode": "linear", "intensity_range": [0.01, 0.1]}


def _gain(p, brightness, contrast):
    return {
        "name": "RandomBrightnessContrast",
        "p": p,
        "brightness_limit": brightness,
        "contrast_limit": contrast,
    }


def _gamma(p, low, high):
    return {"name": "RandomGamma", "p": p, "gamma_limit": [low, high]}


def _noise(p, most):
    return {"name": "GaussNoise", "p": p, "std_range": [0.005, most]}


def _tint(p, share):
    return {"name": "RGBShift", "p": p, **{f"{c}_shift_limit": [-share, share] for c in "rgb"}}


def _stain(p, saturation, hue):
    return {
        "name": "ColorJitter",
        "p": p,
        "brightness": [1.0, 1.0],
        "contrast": [1.0, 1.0],
        "saturation": [1 - saturation, 1 + saturation],
        "hue": [-hue, hue],
    }


PRESETS = {
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
_COLOUR = {"ColorJitter", "RGBShift", "ToGray", "ChannelShuffle"}


def preset_transforms(preset, channels):
    """The transforms of a preset, without those that need three channels where there are others."""
    return [one for one in PRESETS[preset] if channels == 3 or one["name"] not in _COLOUR]
