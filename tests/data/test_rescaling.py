"""Images are rescaled so that their objects have the size that the model was trained on."""

import pytest

from tessera.common.errors import InputError
from tessera.data.rescaling import check_scale, choose_scale

MODEL = {"pixel_size_um": 0.5, "diameter_px": 20.0}
UNKNOWN = (None, None, None)


@pytest.mark.parametrize(
    ("pixel_size_um", "scale"),
    [
        ((None, 0.5, 0.5), 1.0),
        ((None, 1.0, 1.0), 2.0),
        ((None, 0.25, 0.25), 0.5),
        ((3.0, 0.5, 2.0), 2.0),  # the geometric mean of y and x
        ((None, 0.53, 0.53), 1.0),  # too little to matter
        ((None, 0.47, 0.47), 1.0),
        ((None, None, 1.0), 1.0),
        (UNKNOWN, 1.0),
    ],
)
def test_known_pixel_sizes_are_rescaled_to_the_training_pixel_size(pixel_size_um, scale):
    assert choose_scale("a", pixel_size_um, MODEL) == pytest.approx(scale)
    assert choose_scale("a", pixel_size_um, {"pixel_size_um": None}) == 1.0
    assert choose_scale("a", pixel_size_um, {}) == 1.0
    assert choose_scale("a", pixel_size_um, MODEL, rescale=False) == 1.0


@pytest.mark.parametrize(("pixel_size_um", "scale"), [(0.3, 1.0), (0.9, 1.0), (1.5, 3.0), (0.1, 0.2)])
def test_pixel_sizes_in_the_training_range_are_not_rescaled(pixel_size_um, scale):
    settings = MODEL | {"pixel_size_um_range": [0.3, 0.9]}
    assert choose_scale("a", (None, pixel_size_um, pixel_size_um), settings) == pytest.approx(scale)


def test_target_pixel_size_is_the_mean_of_the_training_range():
    assert choose_scale("a", (None, 1.0, 1.0), {"pixel_size_um_range": [0.25, 0.25]}) == pytest.approx(4)


def test_object_diameter_takes_precedence_over_pixel_sizes():
    assert choose_scale("a", (None, 1.0, 1.0), MODEL, object_diameter_px=80) == pytest.approx(0.25)
    assert choose_scale("a", UNKNOWN, MODEL, object_diameter_px=10) == pytest.approx(2)
    assert choose_scale("a", (None, 1.0, 1.0), MODEL, object_diameter_px=19) == 1.0
    assert choose_scale("a", UNKNOWN, MODEL, object_diameter_px=10, rescale=False) == 1.0


def test_object_diameter_is_refused_if_the_model_has_none():
    with pytest.raises(
        InputError, match=r"predict\.object_diameter_px: the model\.json of the model lacks diameter_px"
    ):
        choose_scale("a", UNKNOWN, {"diameter_px": None}, object_diameter_px=10)


@pytest.mark.parametrize(("pixel_size_um", "diameter_px"), [(50.0, None), (0.001, None), (None, 1), (None, 1000)])
def test_extreme_scale_is_refused_with_the_name_of_the_image(pixel_size_um, diameter_px):
    with pytest.raises(InputError, match=r"^a: would be magnified [\d.]+ times"):
        choose_scale("a", (None, pixel_size_um, pixel_size_um), MODEL, object_diameter_px=diameter_px)


def test_image_of_unknown_pixel_size_gets_the_median_training_scale():
    settings = MODEL | {"scale": {"method": "object_diameter", "typical": 0.25, "range": [0.2, 0.5]}}
    assert choose_scale("a", UNKNOWN, settings) == 0.25
    assert choose_scale("a", (None, 1.0, 1.0), settings) == 2.0
    assert choose_scale("a", UNKNOWN, settings, object_diameter_px=40) == 0.5
    assert choose_scale("a", UNKNOWN, settings, rescale=False) == 1.0


def test_invalid_scale_of_a_model_is_refused():
    good = {"method": "pixel_size", "typical": 0.5, "range": [0.5, 1]}
    for scale in (None, good):
        check_scale(scale)
    for wrong in ({"typical": 0}, {"typical": "x"}, {"range": [1]}, {"range": [0.5, 99]}, {"range": 1}, {"method": 1}):
        with pytest.raises(ValueError, match="needs a method"):
            check_scale(good | wrong)
    with pytest.raises(ValueError, match="needs a method"):
        check_scale([1])
