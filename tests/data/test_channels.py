"""Channels are matched in training and prediction for any order in the files."""

import numpy as np
import pytest

from helpers.store_batches import place_discs, write_image, write_labels
from tessera.common.errors import InputError
from tessera.data.annotated_images import open_annotated_images
from tessera.data.channels import align_channels, match_channels
from tessera.data.patch_reader import read_window


def test_channels_are_matched_by_name_or_else_by_order():
    assert match_channels("a", ["actin", "dna"], ["dna", "actin"]) == [1, 0]
    assert match_channels("field 3", ["phase"], ["dna"]) == [0]
    assert match_channels("a", ["dna", "dna"], ["0", "1"]) == [0, 1]


@pytest.mark.parametrize("channels", [["dna", "actin"], []])
def test_wrong_number_of_channels_is_refused_with_the_expected_names(channels):
    with pytest.raises(
        InputError, match=rf"field 3: has {len(channels)} .*{', '.join(channels)}.*trained on 1 \(dna\)"
    ):
        match_channels("field 3", channels, ["dna"])


def test_channels_with_partly_equal_names_are_refused():
    with pytest.raises(
        InputError,
        match=r"b: its channels \(GFP, DAPI\) agree with the channels of a \(DAPI, RFP\) only in part \(DAPI\)",
    ):
        match_channels("b", ["GFP", "DAPI"], ["DAPI", "RFP"], "a")
    with pytest.raises(InputError, match=r"only in part \(dna\)"):
        match_channels("b", ["dna", "dna"], ["dna", "actin"])


def test_channel_numbers_do_not_count_as_names():
    assert match_channels("a", ["1", "2"], ["0", "1"]) == [0, 1]
    assert match_channels("a", ["1", "0"], ["0", "1"]) == [1, 0]
    assert match_channels("a", ["dna", "dna"], ["dna", "dna"]) == [0, 1]


def test_channel_order_of_training_images_does_not_change_patches(tmp_path, caplog):
    pixels = np.random.default_rng(0).integers(0, 4000, (1, 2, 1, 40, 50)).astype(np.uint16)
    pixels[:, 1] //= 50
    ids = place_discs((40, 50), [(20, 20)], 8)
    for name, planes, channels in (
        ("a", pixels, ["DAPI", "GFP"]),
        ("b", pixels[:, ::-1], ["GFP", "DAPI"]),
        ("c", pixels, ["0", "1"]),
    ):
        write_image(tmp_path / "images", name, planes, channels=channels)
        write_labels(tmp_path / "truth", name, ids[None])
    sources = open_annotated_images([tmp_path / "images"], [tmp_path / "truth"], ["a", "b", "c"])
    assert align_channels(sources) == ["DAPI", "GFP"]
    assert caplog.messages == ["c: channels (0, 1) are matched by order to those of a (DAPI, GFP)"]
    windows = [read_window(source, (0, 0), 20, 25, 32, 32)[0] for source in sources]
    for window in windows[1:]:
        np.testing.assert_array_equal(window, windows[0])


def test_training_images_with_partly_equal_channels_are_refused_by_name(tmp_path):
    pixels = np.zeros((1, 2, 1, 40, 50), np.uint16)
    for name, channels in (("a", ["DAPI", "GFP"]), ("b", ["GFP", "RFP"]), ("c", ["GFP", "RFP"])):
        write_image(tmp_path / "images", name, pixels, channels=channels)
        write_labels(tmp_path / "truth", name, np.ones((1, 40, 50), np.int32))
    sources = open_annotated_images([tmp_path / "images"], [tmp_path / "truth"], ["a", "b", "c"])
    with pytest.raises(
        InputError, match=r"b and 1 more: its channels \(GFP, RFP\) agree with the channels of a \(DAPI, GFP\)"
    ):
        align_channels(sources)
