"""Contact sheets outline objects and hatch what training ignores."""

from types import SimpleNamespace

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from tessera.common.constants import IGNORE
from tessera.report.contact_sheet import draw_contact_sheet
from tessera.training.patch_overlays import class_color


def make_sample(*, ignored=False):
    """A dark patch with two touching objects, 32 pixels wide; its right half is ignored if `ignored`."""
    ids = np.zeros((32, 32), np.int32)
    ids[8:24, 4:12], ids[8:24, 12:20] = 1, 2
    target = (ids > 0).astype(np.uint8)
    if ignored:
        target[:, 16:] = IGNORE
    window = np.zeros((48, 48, 1), np.float32)
    return SimpleNamespace(window=window, pixels=window[8:40, 8:40], ids=ids, target=target, transforms=["D4"])


def share_of_outlines(path):
    """Fraction of the pixels of a sheet in the color of the first class."""
    drawn = np.asarray(Image.open(path).convert("RGB")).astype(int)
    color = np.rint(255 * np.array(to_rgb(class_color(1))))
    return (np.abs(drawn - color).max(-1) < 10).mean()


def test_objects_are_outlined_and_ignored_pixels_are_not(tmp_path):
    for name, ignored in (("all", False), ("half", True)):
        draw_contact_sheet(tmp_path / f"{name}.png", [make_sample(ignored=ignored)], ["background", "cell"], True)
    assert 0 < share_of_outlines(tmp_path / "half.png") < share_of_outlines(tmp_path / "all.png")


def test_two_patches_share_a_row_and_a_third_starts_another(tmp_path):
    heights = []
    for count in (2, 3):
        draw_contact_sheet(tmp_path / "sheet.png", [make_sample()] * count, ["background", "cell"], False)
        heights.append(Image.open(tmp_path / "sheet.png").size)
    assert heights[0][0] == heights[1][0] == 1600
    assert heights[1][1] - heights[0][1] == 440
