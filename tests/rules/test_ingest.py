"""Ingest: real and synthetic files become stores, and bad files are refused."""

import errno
import json
import os
import re
import signal
import struct
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.raw_files import ingest_one, ingest_rows, noise, peak_of_copying, row
from tessera.common.errors import InputError, SystemInputError
from tessera.common.user_warnings import read_warnings
from tessera.io.image_reader import list_files, open_image
from tessera.io.lazy_image import as_input_error
from tessera.io.ome_zarr_store import open_array, read_metadata


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pixel_types_are_kept_for_any_byte_order(tmp_path, dtype, byteorder):
    pixels = noise(40, 50, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder)
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif")
    assert array.dtype == dtype
    assert np.array_equal(array[0, 0, 0], pixels)


@pytest.mark.parametrize(("source", "kept"), [("float64", "float32"), ("float16", "float32"), ("bool", "uint8")])
def test_unsupported_pixel_types_become_the_nearest_supported_type(tmp_path, source, kept):
    pixels = noise(40, 50, dtype=np.uint8).astype(source)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif")
    assert array.dtype == kept
    assert np.array_equal(array[0, 0, 0], pixels.astype(kept))


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
def test_images_with_0_as_white_are_inverted(tmp_path, caplog, dtype, white):
    pixels = noise(40, 50, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", white - pixels, photometric="miniswhite")
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif")
    assert np.array_equal(array[0, 0, 0], pixels)
    assert "warning: declares that 0 is white" in caplog.text


def test_bilevel_images_with_0_as_white_are_inverted_except_masks_of_tifffile(tmp_path):
    mask = noise(40, 50) > 60
    for name, options, expected in (("a", {}, mask), ("b", {"software": "scanner"}, ~mask)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", mask, **options)
        array, _ = ingest_one(tmp_path / name, tmp_path / name / "a.tif")
        assert np.array_equal(array[0, 0, 0], expected)


def test_highly_compressed_empty_labels_are_accepted(tmp_path):
    ids = np.zeros((9000, 16000), np.uint16)
    ids[10:20, 10:20] = 7
    tifffile.imwrite(tmp_path / "a.tif", ids, compression="zstd", tile=(512, 512))
    assert ids.nbytes > 2000 * (tmp_path / "a.tif").stat().st_size
    with open_image([tmp_path / "a.tif"], labels=True) as source:
        assert source.read(0, 0, slice(0, 30), slice(0, 30)).max() == 7


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"compression": "zlib", "predictor": True},
        {"compression": "zstd", "tile": (64, 64)},
        {"compression": "lzw", "rowsperstrip": 7},
        {"tile": (32, 48)},
    ],
    ids=str,
)
def test_tiff_is_read_with_any_layout(tmp_path, options):
    pixels = noise(3, 150, 170)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "TYX"}, **options)
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif", axes="TYX")
    assert np.array_equal(array[:, 0, 0], pixels)


def test_tile_larger_than_a_small_image_is_accepted(tmp_path):
    pixels = noise(40, 50)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(1024, 1024), compression="zlib")
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif")
    assert np.array_equal(array[0, 0, 0], pixels)


@pytest.mark.parametrize("limit", [1000, 2**28])
@pytest.mark.parametrize("options", [{"tile": (64, 64)}, {"rowsperstrip": 11}, {"compression": "zlib"}], ids=str)
def test_large_planes_are_read_in_pieces_with_the_same_result(tmp_path, monkeypatch, limit, options):
    monkeypatch.setattr("tessera.io.lazy_image.PLANE_BYTES", limit)
    pixels = noise(3, 300, 330)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "CYX"}, ome=True, **options
    )
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif")
    assert np.array_equal(array[0, :, 0], pixels)


def test_ome_metadata_are_kept(tmp_path):
    metadata = {
        "axes": "TCZYX",
        "PhysicalSizeX": 250,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeZ": 2,
        "TimeIncrement": 5,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    pixels = noise(2, 2, 3, 20, 24)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=metadata)
    array, stored = ingest_one(tmp_path, tmp_path / "a.ome.tif")
    assert np.array_equal(array[:], pixels)
    assert stored.pixel_size_um == (2, 0.5, 0.25)
    assert stored.frame_interval_s == 300
    assert stored.channels == ["DAPI", "GFP"]


def test_imagej_metadata_are_kept_and_the_table_overrides_them(tmp_path):
    pixels = noise(4, 3, 2, 20, 24)
    metadata = {"axes": "TZCYX", "unit": "um", "spacing": 1.5, "finterval": 30.0}
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, resolution=(4, 2), metadata=metadata)
    array, stored = ingest_one(tmp_path, tmp_path / "a.tif")
    assert np.array_equal(array[:], pixels.swapaxes(1, 2))
    assert (stored.pixel_size_um, stored.frame_interval_s) == ((1.5, 0.5, 0.25), 30)
    (tmp_path / "second").mkdir()
    _, stored = ingest_one(tmp_path / "second", tmp_path / "a.tif", pixel_size_um=0.1, frame_interval_s=7.0)
    assert (stored.pixel_size_um, stored.frame_interval_s) == ((1.5, 0.1, 0.1), 7)


def test_print_resolution_is_no_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(20, 24), resolution=(72, 72), resolutionunit="INCH")
    tifffile.imwrite(tmp_path / "b.tif", noise(20, 24), resolution=(40000, 20000), resolutionunit="CENTIMETER")
    path = ingest_rows(tmp_path, row("a", tmp_path / "a.tif"), row("b", tmp_path / "b.tif"))
    assert read_metadata(path / "a.ome.zarr").pixel_size_um == (None, None, None)
    assert read_metadata(path / "b.ome.zarr").pixel_size_um == (None, 0.5, 0.25)


def test_axes_of_the_table_override_those_of_the_file(tmp_path, caplog):
    pixels = noise(5, 20, 24)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    rows = [row(axes or "own", tmp_path / "a.tif", axes=axes) for axes in ("", "ZYX", "CYX", "XTY")]
    path = ingest_rows(tmp_path, *rows)
    shapes = {each["image"]: open_array(path / f"{each['image']}.ome.zarr").shape for each in rows}
    assert shapes == {
        "own": (5, 1, 1, 20, 24),
        "ZYX": (1, 1, 5, 20, 24),
        "CYX": (1, 5, 1, 20, 24),
        "XTY": (20, 1, 1, 24, 5),
    }
    assert np.array_equal(open_array(path / "XTY.ome.zarr")[:, 0, 0], pixels.transpose(1, 2, 0))
    assert caplog.text.count("they are read as frames") == 1


def test_axes_of_size_1_may_be_named_or_omitted(tmp_path, caplog):
    pixels = noise(5, 20, 24)
    tifffile.imwrite(tmp_path / "plain.tif", pixels[:, None], photometric="minisblack")
    tifffile.imwrite(tmp_path / "ome.ome.tif", pixels[:, None, None], metadata={"axes": "TCZYX"})
    save_png(tmp_path / "flat.png", pixels[0].astype(np.uint8))
    named = {"plain": ("", "TYX", "TZYX", "ZYX", "CTYX"), "ome": ("TCZYX", "TZYX", "CTYX"), "flat": ("ZYX", "TCYX")}
    files = {"plain": "plain.tif", "ome": "ome.ome.tif", "flat": "flat.png"}
    rows = [row(f"{name}{axes}", tmp_path / files[name], axes=axes) for name in named for axes in named[name]]
    path = ingest_rows(tmp_path, *rows)
    shapes = {each["image"]: open_array(path / f"{each['image']}.ome.zarr").shape for each in rows}
    others = {"plainZYX": (1, 1, 5, 20, 24), "plainCTYX": (1, 5, 1, 20, 24)}
    others |= {"flatZYX": (1, 1, 1, 20, 24), "flatTCYX": (1, 1, 1, 20, 24)}
    assert shapes == dict.fromkeys(shapes, (5, 1, 1, 20, 24)) | others
    for name in ("plain", "plainTYX", "omeTCZYX", "omeCTYX"):
        assert np.array_equal(open_array(path / f"{name}.ome.zarr")[:, 0, 0], pixels)
    assert np.array_equal(open_array(path / "plainZYX.ome.zarr")[0, 0], pixels)
    assert caplog.text.count("they are read as frames") == 1


@pytest.mark.parametrize(
    ("shape", "axes", "what"),
    [
        ((5, 3, 20, 24), "", "its axes QQYX of sizes (5, 3, 20, 24) are ambiguous; name them in the column axes"),
        (
            (1, 5, 1, 20, 24),
            "TZYX",
            "has 5 axes of sizes (1, 5, 1, 20, 24), the column axes names 4 (TZYX); correct it",
        ),
        ((5, 3, 20, 24), "TYX", "has 4 axes of sizes (5, 3, 20, 24), the column axes names 3 (TYX); correct it"),
        ((1,) * 40 + (20, 24), "TCZYX", "the column axes names 5 (TCZYX); correct it"),
        ((1,) * 40 + (20, 24), "", None),
    ],
)
def test_ambiguous_axes_of_images_are_refused(tmp_path, shape, axes, what):
    tifffile.imwrite(tmp_path / "a.tif", noise(*shape), photometric="minisblack")
    if what:
        with pytest.raises(InputError, match=re.escape(what)):
            ingest_one(tmp_path, tmp_path / "a.tif", axes=axes)
    else:
        assert ingest_one(tmp_path, tmp_path / "a.tif", axes=axes)[0].shape == (1, 1, 1, 20, 24)


def test_axes_that_do_not_fit_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(5, 20, 24))
    with pytest.raises(InputError, match=r"a\.tif: has 3 axes of sizes \(5, 20, 24\), the column axes names 4"):
        ingest_one(tmp_path, tmp_path / "a.tif", axes="TCYX")
    tifffile.imwrite(tmp_path / "b.tif", noise(2, 20, 24, 3, dtype=np.uint8), photometric="rgb")
    with pytest.raises(InputError, match=r"b\.tif: the column axes \(CYXS\) names an axis twice"):
        ingest_one(tmp_path, tmp_path / "b.tif", axes="CYXS")


def test_pyramidal_tiff_is_read_at_full_size_and_its_other_images_are_scenes(tmp_path):
    pixels = noise(200, 220)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(pixels, subifds=1, tile=(64, 64), metadata={"axes": "YX", "Name": "cells"})
        writer.write(pixels[::2, ::2], subfiletype=1, tile=(64, 64))
        writer.write(noise(30, 30), metadata={"axes": "YX", "Name": "overview"})
    array, _ = ingest_one(tmp_path, tmp_path / "a.ome.tif", scene="cells")
    assert np.array_equal(array[0, 0, 0], pixels)
    with pytest.raises(InputError, match=r"has 2 scenes; choose .*: 0 \(cells\), 1 \(overview\)"):
        ingest_one(tmp_path / "b", tmp_path / "a.ome.tif")


def ome_image(number, file, shape, name):
    """The description of image `number` of a set, whose planes all lie in `file`."""
    t, y, x = shape
    return f'''<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT"
    Type="uint16" SizeX="{x}" SizeY="{y}" SizeC="1" SizeZ="1" SizeT="{t}" PhysicalSizeX="{number + 1}"
    PhysicalSizeY="{number + 1}"><Channel ID="Channel:{number}:0" Name="channel {number}" SamplesPerPixel="1"/><TiffData
    FirstT="0" IFD="0" PlaneCount="{t}"><UUID FileName="{file}">urn:uuid:{number}</UUID></TiffData></Pixels></Image>'''


def write_set(folder, positions, names=("left", "right"), **options):
    """Positions of one acquisition, a file each, every one with the description of the whole set."""
    described = [ome_image(n, f"{n}.ome.tif", positions[n].shape, names[n]) for n in range(len(positions))]
    for number, pixels in enumerate(positions):
        tifffile.imwrite(
            folder / f"{number}.ome.tif",
            pixels,
            metadata=None,
            photometric="minisblack",
            description=f"""<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"
            UUID="urn:uuid:{number}">{"".join(described)}</OME>""",
            software="a microscope " * 20 * number,
            **options,
        )


def test_each_file_of_an_ome_set_gives_its_own_image(tmp_path, caplog):
    for compression in (None, "zlib"):
        folder = tmp_path / str(compression)
        folder.mkdir()
        pixels = [noise(3, 20, 24) + 100 * number for number in range(2)]
        write_set(folder, pixels, compression=compression)
        path = ingest_rows(folder, *(row(f"p{number}", folder / f"{number}.ome.tif") for number in range(2)))
        for number in range(2):
            assert np.array_equal(open_array(path / f"p{number}.ome.zarr")[:, 0, 0], pixels[number])
            metadata = read_metadata(path / f"p{number}.ome.zarr")
            assert (metadata.pixel_size_um, metadata.channels) == (
                (None, number + 1, number + 1),
                [f"channel {number}"],
            )
    assert "the first is used" not in caplog.text


@pytest.mark.parametrize(("names", "size"), [(("left", "right"), 2), (("", ""), None)])
def test_file_of_an_ome_set_is_read_without_the_others(tmp_path, names, size):
    pixels = [noise(3, 20, 24), noise(3, 20, 24) + 100]
    write_set(tmp_path, pixels, names)
    (tmp_path / "0.ome.tif").unlink()
    array, metadata = ingest_one(tmp_path, tmp_path / "1.ome.tif")
    assert np.array_equal(array[:, 0, 0], pixels[1])
    assert metadata.pixel_size_um == (None, size, size)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_movie_in_several_ome_files_is_complete_from_each_of_them(tmp_path, compression):
    frames = noise(2, 20, 24)
    files = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="{t}.ome.tif">urn:uuid:{t}</UUID></TiffData>'
        for t in range(2)
    )
    for t in range(2):
        own = ome_image(0, "", frames.shape, "movie")
        described = own[: own.index("<TiffData")] + files + own[own.index("</Pixels>") :]
        tifffile.imwrite(
            tmp_path / f"{t}.ome.tif",
            frames[t],
            metadata=None,
            compression=compression,
            description=f'<?xml version="1.0"?><OME UUID="urn:uuid:{t}">{described}</OME>',
        )
    path = ingest_rows(tmp_path, *(row(f"m{t}", tmp_path / f"{t}.ome.tif") for t in range(2)))
    for t in range(2):
        assert np.array_equal(open_array(path / f"m{t}.ome.zarr")[:, 0, 0], frames)


def test_ome_file_without_own_images_names_the_files_that_have_them(tmp_path):
    write_set(tmp_path, [noise(3, 20, 24)])
    head = tifffile.tiffcomment(tmp_path / "0.ome.tif").replace('UUID="urn:uuid:0"', 'UUID="urn:uuid:9"')
    tifffile.imwrite(tmp_path / "head.ome.tif", noise(1, 20, 24), metadata=None, description=head)
    with pytest.raises(InputError, match=r"head\.ome\.tif: its images are in 0\.ome\.tif; name those in the table"):
        ingest_one(tmp_path, tmp_path / "head.ome.tif")


@pytest.mark.parametrize("place", ["/absolute/{}", "../{}", "inner/{}", r"C:\{}", "..", "", "beside", "link"])
def test_ome_file_with_references_outside_its_folder_is_refused_unopened(tmp_path, place):
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for fifo in (tmp_path / "fifo", folder / "inner/fifo", folder / "beside"):
        os.mkfifo(fifo)
    (folder / "link").symlink_to(tmp_path / "fifo")
    name = place.format("fifo").replace("/absolute", str(tmp_path))
    text = f'<?xml version="1.0"?><OME UUID="urn:uuid:own">{ome_image(0, name, (3, 20, 24), "a")}</OME>'
    tifffile.imwrite(folder / "a.ome.tif", noise(3, 20, 24), metadata=None, photometric="minisblack", description=text)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("a pipe was opened"))
    signal.alarm(5)
    try:
        with pytest.raises(InputError, match=r"a\.ome\.tif: refers to .*which is not a file .*; save it as one file"):
            ingest_one(tmp_path, folder / "a.ome.tif")
    finally:
        signal.alarm(0)


def test_renamed_ome_file_is_read(tmp_path):
    pixels = noise(3, 20, 24)
    text = ome_image(0, r"C:\data\old.ome.tif", pixels.shape, "a")
    text = f'<?xml version="1.0"?><OME UUID="urn:uuid:0">{text}</OME>'
    tifffile.imwrite(tmp_path / "new.ome.tif", pixels, metadata=None, photometric="minisblack", description=text)
    array, _ = ingest_one(tmp_path, tmp_path / "new.ome.tif")
    assert np.array_equal(array[:, 0, 0], pixels)


def save_png(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def test_png_keeps_its_colors_and_loses_constant_transparency(tmp_path):
    color = noise(20, 24, 4, dtype=np.uint8)
    plain = color.copy()
    plain[..., 3] = 255
    rows = [
        row("gray", save_png(tmp_path / "gray.png", color[..., 0])),
        row("gray16", save_png(tmp_path / "gray16.png", noise(20, 24) * 500)),
        row("rgb", save_png(tmp_path / "rgb.png", color[..., :3])),
        row("plain", save_png(tmp_path / "plain.png", plain)),
        row("varied", save_png(tmp_path / "varied.png", color)),
    ]
    path = ingest_rows(tmp_path, *rows)
    kinds = {each["image"]: (open_array(path / f"{each['image']}.ome.zarr").shape[1]) for each in rows}
    assert kinds == {"gray": 1, "gray16": 1, "rgb": 3, "plain": 3, "varied": 4}
    assert open_array(path / "gray16.ome.zarr").dtype == np.uint16
    assert np.array_equal(open_array(path / "plain.ome.zarr")[0, :, 0], color[..., :3].transpose(2, 0, 1))
    assert read_metadata(path / "plain.ome.zarr").channels == ["red", "green", "blue"]


def test_transparency_of_tiff_is_treated_like_that_of_png(tmp_path):
    pixels = noise(20, 24, 4, dtype=np.uint8)
    pixels[..., 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    array, metadata = ingest_one(tmp_path, tmp_path / "a.tif")
    assert np.array_equal(array[0, :, 0], pixels[..., :3].transpose(2, 0, 1))
    assert metadata.channels == ["red", "green", "blue"]


def test_png_with_16_bit_colors_keeps_16_bits(tmp_path):
    pixels = noise(20, 24, 3) * 500
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    array, _ = ingest_one(tmp_path, tmp_path / "a.png")
    assert np.array_equal(array[0, :, 0], pixels.transpose(2, 0, 1))


def test_palette_becomes_colors_unless_the_pixels_are_ids(tmp_path):
    ids = noise(20, 24, dtype=np.uint8) % 3
    image = Image.fromarray(ids, "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png")
    array, _ = ingest_one(tmp_path, tmp_path / "a.png")
    assert np.array_equal(array[0, 0, 0], (ids == 1) * 255)
    assert np.array_equal(array[0, 1, 0], (ids == 2) * 255)
    with open_image([tmp_path / "a.png"], labels=True) as source:
        assert np.array_equal(source.read(0, 0, slice(None), slice(None))[0], ids)


@pytest.mark.parametrize(("photometric", "samples"), [("separated", 4), ("cielab", 3), ("ycbcr", 3)])
def test_non_additive_color_spaces_are_refused(tmp_path, photometric, samples):
    tifffile.imwrite(tmp_path / "a.tif", noise(64, 64, samples, dtype=np.uint8), photometric=photometric)
    name = {"separated": "CMYK"}.get(photometric, photometric.upper())
    with pytest.raises(InputError, match=rf"a\.tif: its colors are {name}.*save it as RGB"):
        ingest_one(tmp_path, tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["JPEG", "ALT_JPEG", "JPEG_LOSSY"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_colors_of_jpeg_in_tiff_are_rgb(tmp_path, subsampling, compression):
    plane = np.full((64, 64, 3), (180, 60, 20), np.uint8)
    options = {"compression": "jpeg", "subsampling": subsampling}
    tifffile.imwrite(tmp_path / "a.tif", plane, photometric="rgb", **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(int(tifffile.COMPRESSION[compression]))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages[0].compression.name == compression
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR
    array, metadata = ingest_one(tmp_path, tmp_path / "a.tif")
    assert metadata.channels == ["red", "green", "blue"]
    assert np.allclose(array[0, :, 0, 20, 20], plane[20, 20], atol=4)


def test_tiff_with_a_lookup_table_keeps_its_values(tmp_path, caplog):
    pixels = noise(20, 24, dtype=np.uint8)
    table = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)[:, ::-1].copy()
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=table)
    array, _ = ingest_one(tmp_path, tmp_path / "a.tif")
    assert np.array_equal(array[0, 0, 0], pixels)
    assert "has a palette, which is ignored" in caplog.text


def test_frames_are_sorted_by_their_numbers(tmp_path):
    movie = tmp_path / "movie"
    movie.mkdir()
    for number in (10, 2, 1):
        tifffile.imwrite(movie / f"frame{number}.tif", np.full((20, 24), number, np.uint8))
    (movie / "notes.txt").write_text("acquired on a Monday")
    (movie / ".DS_Store").write_bytes(b"\0")
    array, _ = ingest_one(tmp_path, movie)
    assert array[:, 0, 0, 0, 0].tolist() == [1, 2, 10]
    assert [file.name for file in list_files([movie / "frame10.tif", movie / "frame2.tif"])] == [
        "frame2.tif",
        "frame10.tif",
    ]


@pytest.mark.parametrize("names", [("img.tif", "img{}.tif"), ("img.ome.tif", "img ({}).ome.tif")])
def test_frame_without_a_number_is_the_first(tmp_path, names):
    movie = tmp_path / "movie"
    movie.mkdir()
    for number, name in enumerate([names[0], *(names[1].format(number) for number in (2, 3, 10))]):
        tifffile.imwrite(movie / name, np.full((20, 24), number, np.uint8))
    array, _ = ingest_one(tmp_path, movie)
    assert array[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_link_to_a_missing_file_among_the_frames_is_refused(tmp_path):
    movie = tmp_path / "movie"
    movie.mkdir()
    for number in (1, 3):
        tifffile.imwrite(movie / f"t{number}.tif", np.full((20, 24), number, np.uint8))
    (movie / "notes.txt").symlink_to("/nowhere/notes.txt")
    (movie / "t2.tif").symlink_to("/nowhere/t2.tif")
    with pytest.raises(InputError) as refused:
        ingest_one(tmp_path, movie)
    assert str(refused.value) == (
        f"{movie}/t2.tif: is a link to /nowhere/t2.tif, which does not exist; restore that file, or remove the link"
    )
    (movie / "t2.tif").unlink()
    assert ingest_one(tmp_path, movie)[0].shape[0] == 2


@pytest.mark.parametrize("suffix", [".vsi", ".VSI"])
def test_preview_in_a_vsi_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"slide{suffix}"
    tifffile.imwrite(path, noise(20, 24))
    with pytest.raises(InputError) as refused:
        ingest_one(tmp_path, path)
    assert str(refused.value) == (
        f"{path}: .vsi files hold only a preview, the image is in the folder _slide_ beside it; convert it to OME-TIFF "
        "(Bio-Formats, Fiji)"
    )


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 1, 2, 4, 5], "1 of its frame numbers (3); later frames move up: frame 3 is p2_t4.tif"),
        ([10, 20, 30, 50, 90], "4 of its frame numbers (40, 60, 70, 80); later frames move up: frame 3 is"),
        ([1, 2, 3, 10**15], "999999999999996 of its frame numbers (4, 5, 6, 7, 8, ...); later frames"),
        ([1, 2, 3, 4], None),
        ([0, 10, 20, 30], None),
        ([3, 77, 78, 312], None),
        ([1, 5], None),
    ],
)
def test_gap_in_frame_numbers_causes_a_warning(tmp_path, caplog, numbers, message):
    movie = tmp_path / "movie7"
    movie.mkdir()
    for number in numbers:
        tifffile.imwrite(movie / f"p2_t{number}.tif", np.full((20, 24), number % 99, np.uint8))
    ingest_one(tmp_path, movie)
    out = caplog.text
    assert f"a: warning: has no file for {message}" in out if message else "frame numbers" not in out


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (np.zeros((20, 25), np.uint8), "is 20 y x 25 x uint8, but f0.tif is 20 y x 24 x uint8; .* have the same size"),
        (
            np.zeros((20, 24), np.uint16),
            "is 20 y x 24 x uint16, but f0.tif is 20 y x 24 x uint8; .* have the same bit depth",
        ),
        (np.zeros((5, 20, 24), np.uint8), "has 5 frames, but is one of 3 files of a movie"),
    ],
    ids=["shape", "type", "stack"],
)
def test_frame_of_another_shape_is_named(tmp_path, odd, what):
    for number in (0, 2):
        tifffile.imwrite(tmp_path / f"f{number}.tif", np.zeros((20, 24), np.uint8))
    tifffile.imwrite(tmp_path / "f1.tif", odd)
    with pytest.raises(InputError, match=rf"f1\.tif: {what}"):
        ingest_one(tmp_path, *tmp_path.glob("f*.tif"))


def truncated(path, pixels, share=0.6, **options):
    tifffile.imwrite(path, pixels, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("frames", [1, 6])
@pytest.mark.parametrize(
    "options",
    [{}, {"ome": True}, {"imagej": True}, {"compression": "zlib"}, {"tile": (32, 32)}, {"bigtiff": True}],
    ids=str,
)
def test_truncated_tiff_is_refused(tmp_path, frames, options):
    truncated(tmp_path / "a.tif", noise(frames, 90, 100).squeeze(), **options)
    with pytest.raises(InputError, match=r"a\.tif: .*(truncated|damaged).*(replace|remove)"):
        ingest_one(tmp_path, tmp_path / "a.tif")


def bomb(path):
    """A PNG of a few bytes that claims to be 100,000 pixels wide and high."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    Image.new("L", (1, 1)).save(path)
    content = path.read_bytes()
    path.write_bytes(
        content[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    )


def huge_tiff(path):
    """A TIFF of one deflated strip that claims to be 60,000 pixels wide and high."""
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[tag].overwrite(60_000)


def huge_tiles(path, width=30_000, length=30_000):
    """A TIFF of 64 x 64 pixels in one tile that claims to be much larger, and is filled to the brim."""
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(64, 64), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages[0].tags
        tags["TileWidth"].overwrite(width)
        tags["TileLength"].overwrite(length)
        content = zlib.compress(bytes(width * 2000))
        tags["TileOffsets"].overwrite(path.stat().st_size)
        tags["TileByteCounts"].overwrite(len(content))
    with open(path, "ab") as file:
        file.write(content)


def missing_parts(path):
    """The first of two files of an OME-TIFF set; the second is not there."""
    tifffile.imwrite(path, noise(2, 20, 24), ome=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tiff:
        description = tiff.pages[0].description
    tiffdata = '<TiffData FirstT="{t}" IFD="{t}" PlaneCount="1"><UUID FileName="{f}">urn:uuid:{u}</UUID></TiffData>'
    start, end = description.index("<TiffData"), description.index("</Pixels>")
    uuid = description.split('UUID="urn:uuid:')[1][:36]
    parts = tiffdata.format(t=0, f=path.name, u=uuid) + tiffdata.format(t=1, f="b.ome.tif", u="1" * 8 + uuid[8:])
    tifffile.imwrite(path, noise(1, 20, 24), description=description[:start] + parts + description[end:], metadata=None)


@pytest.mark.parametrize(
    ("name", "make", "what"),
    [
        ("a.tif", lambda path: path.write_bytes(b""), "the file is empty; replace or remove it"),
        ("a.tif", lambda path: path.write_text("This is text"), "is not a TIFF, PNG, JPEG or JPEG 2000 file"),
        ("a.tif", lambda path: path.write_bytes(b"II*\0\0\0\0\0"), "is a TIFF file without images"),
        ("a.tif", lambda path: tifffile.imwrite(path, noise(9, 9).astype(complex)), "pixels have the type complex128"),
        ("a.tif", lambda path: tifffile.imwrite(path, noise(9, 9).astype(np.int64)), "pixels have the type int64"),
        ("a.tif", huge_tiff, "claims 3.6 GB of pixels in a file of"),
        ("a.tif", huge_tiles, "claims 0.9 GB of pixels in a file of"),
        ("a.tif", lambda path: huge_tiles(path, 30_000, 8_000), "claims tiles of 240 MB, the page itself has 0.00"),
        ("a.ome.tif", missing_parts, "1 of its 2 planes were never written, or are in missing files"),
        ("a.png", bomb, "is too large to be decoded at once|claims 30.0 GB of pixels in a file of"),
        ("a.czi", lambda path: path.write_bytes(b"ZISRAWFILE" + bytes(9)), "is truncated or damaged"),
        ("a.jpg", lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 nonsense"), "cannot be read, because it is damaged"),
        ("lost.tif", lambda path: None, "there is no such file"),
    ],
    ids=[
        "empty",
        "text",
        "no image",
        "complex",
        "int64",
        "huge tiff",
        "huge tile",
        "large tile",
        "parts",
        "bomb",
        "czi",
        "jpeg",
        "lost",
    ],
)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, name, make, what):
    make(tmp_path / name)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"{name}: .*({what})"):
        ingest_one(tmp_path, tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jp2"])
def test_truncated_pictures_are_refused(tmp_path, name):
    Image.fromarray(noise(80, 90, 3, dtype=np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{name}: cannot be read, because it is damaged"):
        ingest_one(tmp_path, tmp_path / name)


def test_all_bad_images_of_a_batch_are_named_and_good_ones_are_kept(tmp_path, caplog):
    rows = [row(f"good{number}", tmp_path / f"good{number}.tif") for number in range(2)]
    for each in rows:
        tifffile.imwrite(each["files"][0], noise(20, 24))
    rows += [row(f"bad{number}", tmp_path / f"bad{number}.tif") for number in range(2)]
    for each in rows[2:]:
        open(each["files"][0], "w").close()
    with pytest.raises(InputError) as refused:
        ingest_rows(tmp_path, *rows)
    assert [line.split(":")[0].split("/")[-1] for line in str(refused.value).splitlines()] == ["bad0.tif", "bad1.tif"]
    assert not (tmp_path / "images").exists()
    for each in rows[:2]:
        open(each["files"][0], "w").close()
    for each in rows[2:]:
        tifffile.imwrite(each["files"][0], noise(20, 24))
    path = ingest_rows(tmp_path, *rows)
    assert sorted(store.name for store in path.iterdir()) == [
        "bad0.ome.zarr",
        "bad1.ome.zarr",
        "good0.ome.zarr",
        "good1.ome.zarr",
        "skipped.json",
    ]


def test_bad_images_are_skipped_if_the_setting_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "good.tif", noise(20, 24))
    (tmp_path / "bad.tif").write_text("oops")
    rows = [row("good", tmp_path / "good.tif"), row("bad", tmp_path / "bad.tif")]
    path = ingest_rows(tmp_path, *rows, on_bad_image="skip")
    assert [store.name for store in path.glob("*.zarr")] == ["good.ome.zarr"]
    assert "bad.tif: is not a TIFF" in json.loads((path / "skipped.json").read_text())["bad"]


def test_constant_images_and_missing_pixels_cause_warnings(tmp_path, caplog):
    holes = np.linspace(0, 1, 480, dtype=np.float32).reshape(20, 24)
    holes[3, 3:5] = np.nan
    tifffile.imwrite(tmp_path / "holes.tif", holes)
    tifffile.imwrite(tmp_path / "flat.tif", np.full((20, 24), 7, np.uint16))
    path = ingest_rows(tmp_path, row("holes", tmp_path / "holes.tif"), row("flat", tmp_path / "flat.tif"))
    assert read_warnings([path]) == {
        "holes": ["2 pixels are not finite numbers"],
        "flat": ["channel 0 is (nearly) constant"],
    }
    out = caplog.text
    assert "holes: warning: 2 pixels are not finite numbers" in out
    assert "flat: warning: channel 0 is (nearly) constant" in out


def test_memory_does_not_grow_with_a_movie(tmp_path):
    peaks = []
    for frames in (3, 30):
        file = tmp_path / f"{frames}.tif"
        tifffile.imwrite(file, noise(frames, 400, 500), compression="zlib", photometric="minisblack")
        peaks.append(peak_of_copying(file, tmp_path / f"{frames}.zarr"))
    assert peaks[1] < peaks[0] + 1e6  # the longer movie has 11e6 bytes more


REAL = {
    "libvips/multi-channel-z-series.ome.tif": ((1, 3, 5, 167, 439), "int8", -1, 96),
    "libvips/CMU-1-Small-Region.svs": ((1, 3, 1, 2967, 2220), "uint8", 0, 255),
    "training-resources/xyzc_16bit__spots.tif": ((1, 2, 17, 88, 89), "uint16", 208, 54004),
    "training-resources/xyt_8bit_polyp.tif": ((3, 1, 1, 313, 313), "uint8", 3, 239),
    "training-resources/xy_float__nuclei_probability.tif": ((1, 1, 1, 50, 59), "float32", 0, 1),
    "training-resources/xy_12bit__saturated_plant.tif": ((1, 1, 1, 512, 512), "uint16", 9, 4095),
    "training-resources/xy_rgb__cells.tif": ((1, 3, 1, 257, 280), "uint8", 0, 255),
    "training-resources/mitocheck-movie": ((30, 1, 1, 190, 211), "uint8", 2, 255),
    "stardist/histo.jpg": ((1, 3, 1, 300, 500), "uint8", 5, 255),
    "imagecodecs/gray.bigendian.u2.tif": ((2, 1, 1, 83, 111), "uint16", 1373, 3972),
    "imagecodecs/gray.bigtiff.u1.tif": ((2, 1, 1, 83, 111), "uint8", 85, 247),
    "imagecodecs/gray.f4.tif": ((2, 1, 1, 83, 111), "float32", 0.33542340993881226, 0.9699963331222534),
    "imagecodecs/rgb.tiled.zstd.u1.tif": ((2, 3, 1, 83, 111), "uint8", 71, 247),
    "Pillow/tiff_tiled_planar_lzw.tiff": ((1, 3, 1, 374, 278), "uint8", 0, 255),
    "aicspylibczi/CD_s_1_t_3_c_2_z_5.czi": ((3, 2, 5, 170, 240), "uint16", 0, 21118),
    "pims_nd2/cluster.nd2": ((3, 2, 10, 31, 38), "uint16", 0, 3033),
    "Pillow/test-card-lossy-tiled.jp2": ((1, 3, 1, 480, 640), "uint8", 0, 255),
}
REFUSED = {
    "imagecodecs/gray.c8.tif": "complex64",
    "Pillow/tiff_overflow_rows_per_strip.tif": "damaged",
    "Pillow/not_enough_data.jp2": "header is damaged",
    "Pillow/crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif": "truncated",
    "imread/error.tif": "is not a TIFF",
    "imread/00r00.tiff": "without images",
    "imread/03w03.lsm": "is not a TIFF",
    "training-resources/xyz__multiple_images.czi": "has 2 scenes",
    "readlif/LeicaLASX_wavelength-sweep_example.lif": "has 3 scenes",
}


def test_files_of_real_microscopes_equal_the_results_of_other_readers(tmp_path, real_data):
    rows = [row(f"image{number}", real_data / "awkward-files" / name) for number, name in enumerate(REAL)]
    path = ingest_rows(tmp_path, *rows, chunk_px=512, shard_px=2048)
    for each, (name, (shape, dtype, least, most)) in zip(rows, REAL.items(), strict=True):
        pixels = open_array(path / f"{each['image']}.ome.zarr")[:]
        assert (name, pixels.shape, pixels.dtype, pixels.min(), pixels.max()) == (name, shape, dtype, least, most)


def test_broken_and_unknown_real_files_are_refused_with_their_reasons(tmp_path, real_data):
    rows = [row(f"image{number}", real_data / "awkward-files" / name) for number, name in enumerate(REFUSED)]
    with pytest.raises(InputError) as refused:
        ingest_rows(tmp_path, *rows)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(REFUSED)
    for line, (name, reason) in zip(lines, REFUSED.items(), strict=True):
        assert name in line
        assert reason in line


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), SystemInputError),
        (OSError(errno.ESTALE, "Stale file handle"), SystemInputError),
        (OSError(errno.EMFILE, "Too many open files"), SystemInputError),
        (MemoryError(), SystemInputError),
        (OSError(errno.EINVAL, "Invalid argument"), InputError),  # as of an offset that a damaged header holds
        (OSError("image file is truncated"), InputError),
    ],
)
def test_temporary_failures_of_the_machine_skip_no_image(error, kind):
    with pytest.raises(InputError, match=r"^i\.tif: ") as caught, as_input_error("i.tif"):
        raise error
    assert type(caught.value) is kind
