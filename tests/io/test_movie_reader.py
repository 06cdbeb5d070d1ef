"""MP4, AVI and GIF files are movies: frames equal those of FFmpeg and Pillow."""

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


def write_video(path, codec, pixels):
    """Write frames (t, y, x, colors)."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 10, pixels.shape[2:0:-1])
    assert writer.isOpened()
    for frame in pixels:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def test_lossless_avi_has_the_pixels_that_were_written(tmp_path):
    pixels = noise(5, 32, 48, 3, dtype=np.uint8)
    write_video(tmp_path / "a.avi", "FFV1", pixels)
    expected = pixels.transpose(0, 3, 1, 2)[:, :, None]
    with open_image([tmp_path / "a.avi"]) as image:
        assert np.array_equal(read_all(image), expected)
        assert np.array_equal(image.read(1, 0, slice(3, 9), slice(None)), expected[1, :, 0, 3:9])  # back
        assert (image.channels, image.frame_interval_s) == (["red", "green", "blue"], None)


def test_movie_without_colors_has_one_channel(tmp_path):
    pixels = noise(3, 32, 48, dtype=np.uint8)
    write_video(tmp_path / "a.avi", "FFV1", np.repeat(pixels[..., None], 3, -1))
    with open_image([tmp_path / "a.avi"]) as image:
        assert np.array_equal(read_all(image)[:, 0, 0], pixels)
        assert "has no colors; it is read as one channel" in image.warnings


def test_lossy_mp4_is_near_the_pixels_that_were_written_and_says_so(tmp_path):
    ramp = np.add.outer(np.arange(64), np.arange(96)) + 10 * np.arange(6)[:, None, None]
    write_video(tmp_path / "a.mp4", "mp4v", np.repeat(ramp[..., None], 3, -1).astype(np.uint8))
    with open_image([tmp_path / "a.mp4"]) as image:
        assert image.shape == (6, 3, 1, 64, 96)
        assert np.abs(read_all(image)[:, :, 0] - ramp[:, None].astype(float)).mean() < 3
        assert [text.split(",")[0] for text in image.warnings] == [
            "is compressed by FMP4",
            "does not state the time between frames",
        ]


def test_gif_has_the_pixels_that_were_written(tmp_path):
    pixels = noise(4, 20, 30, dtype=np.uint8)
    first, *others = map(Image.fromarray, pixels)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=100)
    with open_image([tmp_path / "a.gif"]) as image:
        assert np.array_equal(read_all(image)[:, 0, 0], pixels)


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_truncated_movie_is_refused(tmp_path, name):
    write_video(tmp_path / name, "mp4v", noise(20, 32, 48, 3, dtype=np.uint8))
    data = (tmp_path / name).read_bytes()
    for share in (0.01, 0.4, 0.7):
        (tmp_path / f"b{name}").write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match=f"b{name}: "), open_image([tmp_path / f"b{name}"]):
            pass


def test_list_of_other_files_is_not_opened_as_a_movie(tmp_path):
    write_video(tmp_path / "a.avi", "mp4v", noise(5, 32, 48, 3, dtype=np.uint8))
    (tmp_path / "b.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'a.avi'}\n")
    with (
        pytest.raises(InputError, match="does not begin like an MP4, MOV or AVI file"),
        open_image([tmp_path / "b.mp4"]),
    ):
        pass
