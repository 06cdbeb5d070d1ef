"""The rules for `auto` settings follow sizes, intensities and colors of the images, and give reasons with numbers."""

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.data.auto_rules import (
    choose_normalization,
    choose_patch_size_px,
    choose_preset,
    choose_rescaling,
    choose_signal_variation,
)

NAMES = ["a", "b", "c"]
NONE = [None, None, None]


def sizes(*diameters):
    """Ten objects of each diameter, an image each."""
    return [np.full(10, float(diameter)) for diameter in diameters]


@pytest.mark.parametrize(
    ("diameters", "sides", "expected"),
    [
        ([40.0], [1000], 160),
        ([41.0], [1000], 192),
        ([10.0], [1000], 96),  # the least
        ([300.0], [2000], 512),  # the most
        ([60.0], [100, 120, 900], 128),  # no more than half of the images fill
        ([60.0], [20], 96),
        ([], [1000], 256),
        ([], [200], 224),
    ],
)
def test_patch_size_fits_four_large_objects_and_most_images(diameters, sides, expected):
    assert choose_patch_size_px("auto", np.array(diameters), sides)[0] == expected


def test_patch_size_reason_contains_its_numbers():
    assert choose_patch_size_px("auto", np.array([40.0]), [1000])[1] == (
        "4.0 times the diameter of large objects, 40 px (percentile 95)"
    )
    assert choose_patch_size_px(64, np.array([40.0]), [1000]) == (64, "as set")


def test_different_pixel_sizes_are_rescaled_to_their_median():
    (method, factors), why = choose_rescaling("auto", NAMES, [0.25, 0.5, 1.0], sizes(40, 20, 10))
    assert (method, factors) == ("pixel_size", [0.5, 1.0, 2.0])
    assert why == "pixels are 0.25 to 1 µm wide; images are magnified 0.5 to 2 times"


def test_similar_or_unknown_pixel_sizes_are_not_rescaled():
    for known in ([0.5, 0.52, 0.54], [0.5, 1.0, None], NONE):
        assert choose_rescaling("auto", NAMES, known, sizes(20, 20, 20))[0] == ("none", [1.0, 1.0, 1.0])


def test_objects_too_wide_for_the_network_are_shrunk():
    (method, factors), why = choose_rescaling("auto", NAMES, NONE, sizes(384, 192, 192))
    assert method == "object_diameter"
    # All are brought to one size, and that is 96 px.
    assert factors == [0.25, 0.5, 0.5]
    assert why.startswith("large objects are 384 px wide (percentile 95), too wide for the network's view")


def test_large_objects_are_shrunk_after_rescaling_to_one_pixel_size():
    (method, factors), _ = choose_rescaling("auto", NAMES, [0.1, 0.2, 0.1], sizes(192, 96, 192))
    assert (method, factors) == ("pixel_size", [0.5, 1.0, 0.5])


def test_different_object_diameters_are_rescaled_to_one_diameter():
    (method, factors), why = choose_rescaling("auto", NAMES, NONE, sizes(10, 20, 40))
    assert (method, factors) == ("object_diameter", [2.0, 1.0, 0.5])
    assert why.startswith(
        "objects are 10 to 40 px wide (medians of images), and prediction estimates their size in new images"
    )
    assert choose_rescaling("auto", NAMES, NONE, sizes(5, 10, 15))[0] == ("object_diameter", [4.0, 2.0, 1.3333])


def test_different_object_diameters_at_equal_pixel_size_are_not_rescaled():
    (method, factors), why = choose_rescaling("auto", NAMES, [0.5] * 3, sizes(10, 20, 40))
    assert (method, factors) == ("none", [1.0] * 3)
    assert why.startswith(
        "objects are 10 to 40 px wide (medians of images) although pixel sizes agree, so the network learns all"
    )


def test_rescaling_uses_the_target_of_the_settings():
    assert (
        choose_rescaling("pixel_size", NAMES, [0.5] * 3, sizes(20, 20, 20), target_pixel_size_um=2.0)[0][1]
        == [0.25] * 3
    )
    assert choose_rescaling("object_diameter", NAMES, NONE, sizes(20, 40, 20), target_diameter_px=10)[0][1] == [
        0.5,
        0.25,
        0.5,
    ]


def test_image_without_objects_gets_the_median_scale():
    assert choose_rescaling("object_diameter", NAMES, NONE, [*sizes(20, 20), np.empty(0)], target_diameter_px=10)[0][
        1
    ] == [
        0.5,
        0.5,
        0.5,
    ]


@pytest.mark.parametrize(
    ("setting", "sizes_um", "diameters", "targets", "message"),
    [
        (
            "pixel_size",
            [0.5, None, 0.5],
            sizes(9, 9, 9),
            {},
            r"augment\.rescale_by: pixel_size needs to know .* and b do not say it",
        ),
        (
            "object_diameter",
            NONE,
            [np.empty(0)] * 3,
            {},
            r"augment\.rescale_by: object_diameter needs objects to measure",
        ),
        (
            "pixel_size",
            [0.5, 0.5, 50],
            sizes(9, 9, 9),
            {"target_pixel_size_um": 0.5},
            "^c: would be magnified 100 times",
        ),
        ("object_diameter", NONE, sizes(9, 9, 9), {"target_diameter_px": 0.3}, r"^a: would be magnified 0\.0333 times"),
    ],
)
def test_impossible_rescaling_is_refused(setting, sizes_um, diameters, targets, message):
    with pytest.raises(InputError, match=message):
        choose_rescaling(setting, NAMES, sizes_um, diameters, **targets)


def limits(*highs):
    """Contrast limits of images with one channel."""
    return [[[10, high]] for high in highs]


def test_8_bit_images_with_similar_contrast_limits_share_them():
    (method, middle), why = choose_normalization("auto", limits(200, 205, 210, 212, 215), ["u1"] * 5)
    assert (method, middle) == ("fixed", [[10, 210]])
    assert why == "the contrast limits of 5 images differ by up to 5% of their median, no more than 10%"


@pytest.mark.parametrize(
    ("highs", "dtype"), [((200, 210, 240, 210, 210), "u1"), ((210,) * 4, "u1"), ((210,) * 5, "u2")]
)
def test_other_images_keep_their_own_contrast_limits_and_fluorescence_those_of_frames(highs, dtype):
    for preset, expected in ((None, "percentile"), ("histology", "percentile"), ("fluorescence", "asinh")):
        assert choose_normalization("auto", limits(*highs), [dtype] * len(highs), preset)[0][0] == expected


def test_signal_varies_only_in_fluorescence_unless_it_is_set():
    assert choose_signal_variation("auto", "fluorescence")[0] == 0.5
    for preset in (None, "none", "mixed", "brightfield"):
        assert choose_signal_variation("auto", preset)[0] == 0
    assert choose_signal_variation(0.3, None) == (0.3, "as set")


def test_explicit_normalization_is_not_changed():
    assert choose_normalization("fixed", limits(1, 99, 100), ["f4"] * 3) == (("fixed", [[10, 99]]), "as set")


@pytest.mark.parametrize(
    ("looks", "preset"),
    [
        ([(0.05, 0)] * 9, "fluorescence"),
        ([(0.4, 0)] * 9, "brightfield"),
        ([(0.9, 0)] * 9, "brightfield"),
        ([(0.9, 0.3)] * 9, "histology"),
        ([(0.05, 0)] * 9 + [(0.9, 0.3)], "mixed"),
        ([(0.05, 0)] * 30 + [(0.9, 0.3)], "fluorescence"),  # one in thirty may be a mistake
    ],
)
def test_preset_follows_background_and_colors(looks, preset):
    assert choose_preset("auto", looks)[0] == preset
    assert choose_preset("em", looks) == ("em", "as set")
