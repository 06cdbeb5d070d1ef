"""Folders with a file for each channel, plane or position are refused; frames of movies are not."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tessera.common.errors import InputError
from tessera.io.channel_files import refuse_channel_files
from tessera.io.image_reader import natural_sort_key, open_image

T = range(1, 5)


def combine(template, *values):
    return [template.format(*each) for each in product(*values)]


REFUSED = {
    "numbers": (combine("p1_t{:02}_w{}.tif", T, (1, 2)), "channel", "p1_t*_w1.tif"),
    "words": (combine("p1_t{:02}_{}.tif", T, ("DAPI", "GFP")), "channel", "p1_t*_DAPI.tif"),
    "words first": (combine("{1}_{0}.tif", T, ("GFP", "phase")), "channel", "GFP_*.tif"),
    "unknown words": (combine("p1_t{:02}_{}.tif", T, ("left", "right")), "channel", "p1_t*_left.tif"),
    "words with numbers": (combine("t{}_{}.tif", T, ("Cy3", "Cy5", "DAPI")), "channel", "t*_Cy3.tif"),
    "planes": (combine("p1_t{:02}_z{:02}.tif", T, (1, 2, 3)), "plane", "p1_t*_z01.tif"),
    "planes of one stack": (combine("stack_z{:03}.tif", range(20)), "plane", "stack_z000.tif"),
    "channels of one frame": (["a_ch00.tif", "a_ch01.tif"], "channel", "a_ch00.tif"),
    "stains of one frame": (["DAPI.tif", "GFP.tif"], "channel", "DAPI.tif"),
    "Micro-Manager": (
        combine("img_channel{:03}_position000_time{:09}_z000.tif", (0, 1), T),
        "channel",
        "img_channel000_position000_time*_z000.tif",
    ),
    "Micro-Manager, one channel": (combine("img_channel000_time{:09}_z{:03}.tif", T, (0, 1)), "plane", None),
    "Opera": (combine("r01c01f01p01-ch{}sk{}fk1fl1.tiff", (1, 2), T), "channel", "r01c01f01p01-ch1sk*fk1fl1.tiff"),
    "positions": (combine("p{}_t{:03}.tif", (1, 2), T), "channel, plane or position", "p1_t*.tif"),
    "plain numbers": (combine("a_{:03}_{}.tif", T, (0, 1)), "channel, plane or position", "a_*_0.tif"),
    "folders": (combine("t{}/w{}.tif", T, (1, 2)), "channel", "t*/w1.tif"),
    "folders of channels": (combine("{}/{:03}.tif", ("GFP", "BF"), T), "channel", "BF/*.tif"),
    "masks beside images": (combine("t{}{}.tif", T, ("", "_cp_masks")), "channel", "t*.tif"),
    "running number": (["a_0001_w1.tif", "a_0002_w2.tif", "a_0003_w1.tif", "a_0004_w2.tif"], "channel", None),
    "one file missing": (combine("t{:02}_w{}.tif", T, (1, 2))[:-1], "channel", "t*_w1.tif"),
    "brackets": (combine("a[1]_t{}_w{}.tif", T, (1, 2)), "channel", "a[[]1]_t*_w1.tif"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_of_channels_and_planes_are_refused(name):
    names, what, pattern = REFUSED[name]
    files = sorted((Path("/data/p1", each) for each in names), key=natural_sort_key)
    with pytest.raises(InputError) as raised:
        refuse_channel_files(files)
    assert str(raised.value).startswith(
        f"/data/p1: has a file for each {what}, not only for each frame: {files[0].relative_to('/data/p1')} "
    )
    assert pattern is None or f"such as /data/p1/{pattern}. If each file" in str(raised.value)


def test_message_says_what_to_write():
    with pytest.raises(InputError) as raised:
        refuse_channel_files([Path("/data/p1", name) for name in combine("p1_t{:02}_w{}.tif", T, (1, 2))])
    assert str(raised.value) == (
        "/data/p1: has a file for each channel, not only for each frame: p1_t01_w1.tif and p1_t01_w2.tif look like "
        "parts of one frame. Save all that belongs to a frame in one TIFF file, or let the table name the files of one "
        "channel only, such as /data/p1/p1_t*_w1.tif. If each file is a frame, number the files consecutively"
    )


UUIDS = [f"{number:08x}-1234-4321-abcd-0123456789ab" for number in range(0x3AF00000, 0x3AF00004)]
ACCEPTED = {
    "numbers": combine("t{}.tif", range(12)),
    "channel that does not vary": combine("p1_t{:02}_w1.tif", T),
    "constant word": combine("{:03}_DAPI.tif", T),
    "running number and date": [f"a_{t:03}_2024-01-{t // 2 + 1:02}.tif" for t in range(8)],
    "dates": combine("2024-{:02}-{:02}.tif", (1, 2), range(1, 29)),
    "dates and times": combine("a_2024_01_31_{:02}_{:02}_00.tif", range(3), range(0, 60, 10)),
    "compact dates": combine("a_202401{:02}_{:02}0000.tif", range(1, 4), range(10, 14)),
    "times": combine("a_{:02}-{:02}-00.tif", range(3), range(0, 60, 30)),
    "times of an incubator": combine("VID1_A1_1_{:02}d{:02}h00m.tif", range(3), range(0, 24, 6)),
    "hours": combine("a_day{}_hour{:02}.tif", range(3), range(0, 24, 6)),
    "unnumbered first frame": ["img.tif", "img1.tif", "img2.tif"],
    "copies": ["img.tif", "img (2).tif", "img (3).tif"],
    "names without numbers": ["a.tif", "b.tif", "c.tif"],
    "numbers that run together": [f"t{t}_s{t}.tif" for t in T],
    "unique names": [f"t1_w1{uuid}.tif" for uuid in UUIDS],
    "real movie": [f"EMBO_2012_Group3--empty--empty--W0002--P001--T{t:05}--Z000--C.tif" for t in range(30)],
    "real masks": [f"im{t:03}_mask1.tif" for t in range(10)],
    "many wells": combine("a_w{:04}.tif", range(96)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_frames_are_accepted(name):
    refuse_channel_files(sorted((Path("/data/p1", each) for each in ACCEPTED[name]), key=natural_sort_key))


@pytest.mark.parametrize("labels", [False, True])
def test_channels_in_a_folder_are_refused_when_it_is_opened(tmp_path, labels):
    for name in combine("t{}_w{}.tif", (1, 2), (1, 2)):
        tifffile.imwrite(tmp_path / name, np.zeros((4, 5), np.uint8))
    with pytest.raises(InputError, match="has a file for each channel"), open_image([tmp_path], labels=labels):
        pass


def test_annotation_of_a_stack_may_have_a_file_for_each_plane(tmp_path):
    for z in range(3):
        tifffile.imwrite(tmp_path / f"z{z}.tif", np.full((4, 5), z, np.uint8))
    with open_image([tmp_path], labels=True, like=(1, 1, 3, 4, 5)) as image:
        assert image.shape == (3, 1, 1, 4, 5)
