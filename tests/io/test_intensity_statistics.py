"""Background and contrast of frames with known objects, noise and artifacts."""

import numpy as np
import pytest
import zarr

from tessera.io.intensity_statistics import estimate_noise, measure_frame, measure_intensity_ranges

BACKGROUND, CONTRAST, NOISE = 100, 500, 5


def paint(contrast=CONTRAST, *, spacing=64, noise=NOISE, seed=0):
    """Return a frame, float (512, 512), with squares of 24 pixels in a grid, and noise."""
    frame = np.random.default_rng(seed).normal(BACKGROUND, noise, (512, 512))
    for row in range(16, 512 - 24, spacing):
        for column in range(16, 512 - 24, spacing):
            frame[row : row + 24, column : column + 24] += contrast
    return frame


def test_background_and_contrast_are_those_of_the_objects():
    background, contrast = measure_frame([paint()])
    assert background == pytest.approx(BACKGROUND, abs=NOISE)
    assert contrast == pytest.approx(CONTRAST, abs=2 * NOISE)


def test_contrast_hardly_depends_on_the_number_of_objects():
    assert measure_frame([paint(spacing=256)])[1] == pytest.approx(CONTRAST, abs=2 * NOISE)


@pytest.mark.parametrize("artifact", ["hot pixels", "fiber", "bright objects"])
def test_bright_artifacts_hardly_change_the_contrast(artifact):
    frame = paint()
    if artifact == "hot pixels":
        frame.flat[:: 512 * 4 + 37] = 65000
    elif artifact == "fiber":
        frame[300:304] += 20 * CONTRAST
    else:
        frame[16:40, 16:40] += 30 * CONTRAST
        frame[144:168, 80:104] += 30 * CONTRAST
    assert measure_frame([frame])[1] == pytest.approx(CONTRAST, rel=0.2)


def test_frame_of_noise_has_twice_the_noise_as_contrast():
    assert measure_frame([paint(0)])[1] == pytest.approx(2 * NOISE, rel=0.1)


def test_constant_frame_has_no_contrast():
    assert measure_frame([np.full((64, 64), 7, np.uint8)]) == (7, 0)
    assert measure_frame([np.full((8, 8), np.nan)]) == (0, 0)


def test_pixels_that_are_not_finite_do_not_count():
    frame = paint()
    frame[:40, 200:240] = np.nan
    frame[400, 7] = np.inf
    assert measure_frame([frame])[1] == pytest.approx(CONTRAST, abs=2 * NOISE)


def test_noise_is_that_of_the_pixels():
    assert estimate_noise([paint()]) == pytest.approx(NOISE, rel=0.05)


def test_ranges_follow_bleaching_and_jumps_but_not_a_single_frame():
    factors = [0.9, 0.9, 0.8, 9, 0.8, 0.7, 0.1, 0.1, 0.1]  # the fourth frame is a flash
    frames = np.stack([factor * paint(seed=t) for t, factor in enumerate(factors)])[:, None, None]
    array = zarr.create_array({}, shape=frames.shape, dtype="f4", chunks=(1, 1, 1, 256, 256))
    array[:] = frames
    contrasts = np.diff(measure_intensity_ranges(array, 0), axis=1).ravel()
    assert contrasts[[0, 3]] == pytest.approx([CONTRAST * 0.9, CONTRAST * 0.8], rel=0.05)
    assert contrasts[-2:] == pytest.approx([CONTRAST * 0.1] * 2, rel=0.05)
