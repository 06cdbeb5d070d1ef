"""Sizes, frame intervals and channel names in the metadata of many programs."""

import struct

import numpy as np
import pytest
import tifffile

from tessera.io.file_request import FileRequest
from tessera.io.tiff_reader import open_tiff

STACK = np.arange(5 * 20 * 24, dtype=np.uint16).reshape(5, 20, 24)


def stated(path):
    """(voxel size, frame interval, channel names, warnings) of a file."""
    with open_tiff(path, FileRequest()) as image:
        return image.pixel_size_um, image.frame_interval_s, image.channels, list(image.warnings)


def write_imagej(path, pixels, size, **metadata):
    tifffile.imwrite(path, pixels, imagej=True, resolution=(1 / size, 1 / size), metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("micrometers", 0.5),
        ("micrometres", 0.5),
        ("millimeter", 0.0005),
        ("nanometer", 500),
        ("\\u00B5m", 0.5),
        ("inch", 0.5 / 25400),
    ],
)
def test_imagej_units_are_understood(tmp_path, unit, size):
    sizes, _, _, warnings = stated(write_imagej(tmp_path / "a.tif", STACK[0], size, unit=unit))
    assert sizes == (None, pytest.approx(0.5, rel=1e-4), pytest.approx(0.5, rel=1e-4))
    assert warnings == []


def test_unknown_imagej_unit_causes_a_warning(tmp_path):
    sizes, _, _, warnings = stated(write_imagej(tmp_path / "a.tif", STACK[0], 0.5, unit="furlong"))
    assert sizes == (None, None, None)
    assert warnings == [
        "states its pixel size in 'furlong', a unit that is not understood; give it in the column pixel_size_um"
    ]


@pytest.mark.parametrize("size", [25, 50.8, 352.78])
def test_coarse_pixels_that_imagej_states_are_kept(tmp_path, size):
    sizes, _, _, warnings = stated(write_imagej(tmp_path / "a.tif", STACK[0], size, unit="um"))
    assert sizes == (None, pytest.approx(size), pytest.approx(size))
    assert warnings == []


def test_imagej_units_of_z_and_y_may_differ_from_that_of_x(tmp_path):
    metadata = {"axes": "ZYX", "unit": "um", "yunit": "mm", "zunit": "nm", "spacing": 300.0}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, resolution=(2, 2000), metadata=metadata)
    assert stated(path)[0] == pytest.approx((0.3, 0.5, 0.5))


def test_imagej_stack_taken_downwards_has_a_positive_distance(tmp_path):
    path = write_imagej(tmp_path / "a.tif", STACK, 0.5, axes="ZYX", unit="um", spacing=-1.5)
    assert stated(path) == ((1.5, 0.5, 0.5), None, None, [])


@pytest.mark.parametrize(
    ("tunit", "seconds"), [("minutes", 120), ("min", 120), ("hours", 7200), ("hr", 7200), ("msec", 0.002), ("sec", 2)]
)
def test_imagej_time_units_are_understood(tmp_path, tunit, seconds):
    path = write_imagej(tmp_path / "a.tif", STACK, 0.5, axes="TYX", unit="um", finterval=2.0, tunit=tunit)
    assert stated(path)[1] == pytest.approx(seconds)


def test_imagej_frame_rate_gives_the_interval_with_a_warning(tmp_path):
    path = write_imagej(tmp_path / "a.tif", STACK, 0.5, axes="TYX", unit="um", fps=4.0)
    _, interval, _, warnings = stated(path)
    assert interval == 0.25
    assert warnings == [
        "states no frame interval but 4 frames per second, from which it is taken; this may be the speed at which "
        "ImageJ plays it (set the column frame_interval_s if it is)"
    ]
    path = write_imagej(tmp_path / "b.tif", STACK, 0.5, axes="TYX", unit="um", fps=4.0, finterval=60.0)
    assert stated(path)[1::2] == (60, [])


def write_ome(path, size_t=5, planes=(), **attributes):
    texts = "".join(f' {key}="{value}"' for key, value in attributes.items())
    times = "".join(
        f'<Plane TheC="{c}" TheT="{t}" TheZ="{z}" DeltaT="{time}" DeltaTUnit="{unit}"/>'
        for t, z, c, time, unit in planes
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image '
        'ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="24" SizeY="20" SizeC="1" '
        f'SizeZ="1" SizeT="{size_t}"{texts}><TiffData/>{times}</Pixels></Image></OME>'
    )
    tifffile.imwrite(path, STACK, description=xml.encode(), metadata=None, photometric="minisblack")
    return path


@pytest.mark.parametrize(
    ("size", "unit"), [("5E-6", "dm"), ("0.5", "µm"), ("500", "nm"), ("5000", "Å"), ("5E-4", "mm"), ("0.5", None)]
)
def test_ome_units_are_understood(tmp_path, size, unit):
    named = {f"PhysicalSize{axis}Unit": unit for axis in "XY" if unit}
    path = write_ome(tmp_path / "a.tif", PhysicalSizeX=size, PhysicalSizeY=size, **named)
    assert stated(path)[0] == (None, pytest.approx(0.5), pytest.approx(0.5))


def test_ome_frame_interval_follows_from_the_times_of_planes(tmp_path):
    path = write_ome(tmp_path / "a.tif", planes=[(0, 0, 0, 0, "s"), (1, 0, 0, 300, "s")])
    assert stated(path)[1::2] == (300, [])
    path = write_ome(tmp_path / "b.tif", planes=[(t, 0, 0, 5 * t, "min") for t in range(5)])
    assert stated(path)[1::2] == (300, [])
    path = write_ome(tmp_path / "c.tif", planes=[(0, 0, 0, 0, "s"), (1, 0, 0, 300, "s")], TimeIncrement=7)
    assert stated(path)[1] == 7
    path = write_ome(tmp_path / "d.tif", planes=[(0, 0, 0, 0, "s"), (1, 0, 0, 300, "moons")])
    assert stated(path)[3] == [
        "states its frame interval in 'moons', a unit that is not understood; give it in the column frame_interval_s"
    ]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (118.11, 118.11), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (600, 600), "resolutionunit": "INCH"}, None),
        ({"resolution": (4, 4)}, None),
    ],
)
def test_resolution_for_printing_is_no_pixel_size(tmp_path, options, size):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], **options)
    assert stated(tmp_path / "a.tif") == ((None, size, size), None, None, [])


def test_coarse_resolution_tag_that_fits_no_printer_causes_a_warning(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=(400, 400), resolutionunit="CENTIMETER")
    sizes, _, _, warnings = stated(tmp_path / "a.tif")
    assert sizes == (None, None, None)
    assert warnings == [
        "has resolution tags with pixels of 25 µm, which are ignored, since such large pixels are often meant for "
        "printing; give the column pixel_size_um if they are true"
    ]


def write_lsm(path, interval_s):
    """Two frames of three channels with thumbnails, as Zeiss LSM files have them."""
    names = b"".join(len(name).to_bytes(4, "little") + name for name in (b"DAPI\0", b"GFP\0", b"RFP\0"))
    colors = np.array([24 + 12 + len(names), 3, 3, 24, 36, 0], "<u4").tobytes() + bytes(12) + names
    header = np.zeros(1, np.dtype(tifffile.TIFF.CZ_LSMINFO, align=False).newbyteorder("<"))
    values = {"MagicNumber": 67127628, "StructureSize": header.nbytes, "DimensionX": 24, "DimensionY": 20}
    values |= {"DimensionZ": 1, "DimensionChannels": 3, "DimensionTime": 2, "ScanType": 3}
    values |= {"VoxelSizeX": 2e-7, "VoxelSizeY": 3e-7, "VoxelSizeZ": 1e-6, "TimeIntervall": interval_s}
    for key, value in values.items():
        header[key] = value

    def write(place):
        header["OffsetChannelColors"] = place
        tag = (34412, 1, header.nbytes + len(colors), header.tobytes() + colors, True)
        with tifffile.TiffWriter(path) as writer:
            for t in range(2):
                tags = [tag] if t == 0 else []
                options = {"photometric": "minisblack", "metadata": None}
                writer.write(STACK[t : t + 3], planarconfig="separate", contiguous=False, extratags=tags, **options)
                writer.write(np.zeros((8, 8), np.uint8), subfiletype=1, contiguous=False, **options)

    write(0)
    write(path.read_bytes().index(colors))
    return path


def test_sizes_and_channel_names_of_lsm_files_are_read(tmp_path):
    sizes, interval, channels, warnings = stated(write_lsm(tmp_path / "a.lsm", 12.5))
    assert sizes == pytest.approx((1, 0.3, 0.2))
    assert (interval, channels) == (12.5, ["DAPI", "GFP", "RFP"])
    assert len(warnings) == 1
    assert "thumbnail" in warnings[0] or "has 2 images" in warnings[0]


@pytest.mark.parametrize(
    ("code", "text", "sizes"),
    [
        (34682, "[Scan]\r\nPixelWidth=2e-09\r\nPixelHeight=3e-09\r\n", (None, 0.003, 0.002)),
        (34680, "[EScan]\r\nPixelWidth=2e-09\r\n", (None, 0.002, 0.002)),
        (34118, "0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 12.5 nm\r\n", (None, 0.0125, 0.0125)),
        (34118, "0\r\nAP_PIXEL_SIZE\r\nPixel Size = 1.25 µm\r\n", (None, 1.25, 1.25)),
    ],
    ids=["FEI Helios", "FEI SFEG", "Zeiss", "Zeiss µm"],
)
def test_sizes_of_electron_microscopes_are_read(tmp_path, code, text, sizes):
    tag = (code, 2, len(text.encode("cp1252")) + 1, text.encode("cp1252") + b"\0", True)
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], extratags=[tag], metadata=None, resolution=(96, 96))
    assert stated(tmp_path / "a.tif") == (pytest.approx(sizes), None, None, [])


def test_size_of_metaseries_files_is_read(tmp_path):
    values = {"spatial-calibration-state": ("bool", "on"), "spatial-calibration-units": ("string", "um")}
    values |= {"spatial-calibration-x": ("float", "0.25"), "spatial-calibration-y": ("float", "0.5")}
    entries = "".join(f'<prop id="{name}" type="{kind}" value="{value}"/>' for name, (kind, value) in values.items())
    description = f"<MetaData><PlaneInfo>{entries}</PlaneInfo></MetaData>"
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], description=description, software="MetaSeries", metadata=None)
    assert stated(tmp_path / "a.tif")[0] == (None, 0.5, 0.25)


def test_sizes_of_fluoview_files_are_read(tmp_path):
    header = np.zeros(1, np.dtype(tifffile.TIFF.MM_HEADER).newbyteorder("<"))
    for place, dimension in enumerate(
        [("X", 24, 0, 0.25, "um"), ("Y", 20, 0, 0.5, "um"), ("Z", 5, 0, 1500, "nm"), ("T", 1, 0, 0, "s")]
    ):
        header["Dimensions"][0, place] = tuple(
            value.encode() if isinstance(value, str) else value for value in dimension
        )
    tags = [(34361, 1, header.nbytes, header.tobytes(), True), (34362, 12, 8, (0.0,) * 8, True)]
    options = {"photometric": "minisblack", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder="<") as writer:
        for number, page in enumerate(STACK):
            writer.write(page, contiguous=False, extratags=tags if number == 0 else [], **options)
    with open_tiff(tmp_path / "a.tif", FileRequest()) as image:
        assert (image.shape, image.pixel_size_um) == ((1, 1, 5, 20, 24), (1.5, 0.5, 0.25))


def test_sizes_of_micro_manager_files_are_read(tmp_path):
    summary = b'{"PixelSize_um": 0.5, "z-step_um": 2.0, "Interval_ms": 3000, "Frames": 1}'
    head = struct.pack("<8I", 54773648, 0, 0, 0, 0, 0, 2355492, len(summary))
    pixels_at = 8 + len(head) + len(summary)
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, pixels_at), (277, 1), (278, 4), (279, 16)]
    page = struct.pack("<H", len(tags) + 1) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    page += struct.pack("<HHIII", 51123, 2, len(summary), 8 + len(head), 0)
    content = struct.pack("<2sHI", b"II", 42, pixels_at + 16) + head + summary + bytes(range(16)) + page
    (tmp_path / "a.tif").write_bytes(content)
    assert stated(tmp_path / "a.tif")[0] == (None, 0.5, 0.5)


def test_vendor_metadata_that_cannot_be_read_cause_a_warning(tmp_path):
    description = '<MetaData><prop id="PlaneInfo" value="lost"/></MetaData>'
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], description=description, software="MetaSeries", metadata=None)
    assert stated(tmp_path / "a.tif")[3] == [
        "has metaseries metadata that cannot be read (AttributeError); its sizes may be missing"
    ]
