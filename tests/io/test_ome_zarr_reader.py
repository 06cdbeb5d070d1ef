"""OME-Zarr of others is read as it is meant, and refused where it is hostile or broken."""

import json
import os
import signal
import tracemalloc

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image

from helpers.raw_files import ingest_one, noise, peak_of_copying
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


def write_zarr(path, pixels, axes="tczyx", *, version="0.5", scale=None, units=None, omero=None, name="0", **options):
    """An OME-Zarr image as other programs write it, by zarr alone."""
    newer = version == "0.5"
    group = zarr.create_group(path, zarr_format=3 if newer else 2, overwrite=True)
    if not newer:
        options.setdefault("chunk_key_encoding", {"name": "v2", "separator": "/"})
    array = group.create_array(
        name, shape=pixels.shape, dtype=pixels.dtype, **{"chunks": (1,) * (pixels.ndim - 2) + (16, 16)} | options
    )
    array[...] = pixels
    kinds = {"t": "time", "c": "channel"}
    axis_metadata = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in axis_metadata:
        if unit := (units or {}).get(axis["name"]):
            axis["unit"] = unit
    dataset = {"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale or [1.0] * len(axes)}]}
    described = {"multiscales": [{"version": version, "axes": axis_metadata, "datasets": [dataset]}]} | (
        {"omero": omero} if omero else {}
    )
    group.attrs.update({"ome": described | {"version": version}} if newer else described)
    return path


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_is_read_with_its_axes_sizes_and_channels(tmp_path, version):
    pixels = noise(3, 2, 4, 40, 50)
    omero = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    units = {"t": "minute", "z": "micrometer", "y": "nanometer", "x": "nanometer"}
    path = write_zarr(
        tmp_path / "a.zarr", pixels, version=version, scale=[2, 1, 1.5, 500, 250], units=units, omero=omero
    )
    array, metadata = ingest_one(tmp_path, path)
    assert array.dtype == np.uint16
    assert np.array_equal(array[:], pixels)
    assert (metadata.pixel_size_um, metadata.frame_interval_s, metadata.channels) == (
        (1.5, 0.5, 0.25),
        120,
        ["DAPI", "GFP"],
    )


@pytest.mark.parametrize("axes", ["yx", "tyx", "zyx", "xyt", "cyx"])
def test_ome_zarr_may_have_fewer_axes_in_any_order(tmp_path, axes):
    pixels = noise(*(40, 50, 6)[: len(axes)]) if axes[0] in "xy" else noise(6, 40, 50)
    array, metadata = ingest_one(tmp_path, write_zarr(tmp_path / "a.zarr", pixels, axes))
    whole = np.asarray(array)
    expected = {"yx": (1, 1, 1, 40, 50), "tyx": (6, 1, 1, 40, 50), "zyx": (1, 1, 6, 40, 50), "xyt": (6, 1, 1, 50, 40)}
    assert whole.shape == expected.get(axes, (1, 6, 1, 40, 50))
    assert np.array_equal(whole.squeeze(), pixels.transpose(2, 1, 0) if axes == "xyt" else pixels)
    assert metadata.pixel_size_um == (None, None, None)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (2, 1, 3, 16, 50)},
        {"chunks": (1, 2, 4, 40, 50)},
        {"chunks": (1, 1, 1, 8, 8), "shards": (1, 1, 2, 16, 24)},
        {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
        {"compressors": None},
        {"compressors": zarr.codecs.GzipCodec(), "filters": [zarr.codecs.TransposeCodec(order=(4, 3, 2, 1, 0))]},
    ],
    ids=["thick", "channels together", "shards", "blosc", "plain", "gzip, turned"],
)
@pytest.mark.parametrize("limit", [100, 2**28])
def test_ome_zarr_is_read_with_any_codec_and_chunks(tmp_path, monkeypatch, options, limit):
    monkeypatch.setattr("tessera.io.lazy_image.PLANE_BYTES", limit)
    monkeypatch.setattr("tessera.io.chunk_reader.KEPT_BYTES", limit)
    pixels = noise(3, 2, 4, 40, 50).astype(">i2")
    array, _ = ingest_one(tmp_path, write_zarr(tmp_path / "a.zarr", pixels, **options))
    assert np.array_equal(array[:], pixels)


def test_ome_zarr_of_other_programs_is_read(tmp_path):
    pixels = noise(2, 3, 40, 50)
    for version, fmt in (("0.4", FormatV04()), ("0.5", FormatV05())):
        path = tmp_path / version / "a.ome.zarr"
        write_image(pixels, str(path), axes="czyx", fmt=fmt)
        array, _ = ingest_one(tmp_path / version, path)
        assert np.array_equal(array[0], pixels)


def test_image_store_of_tessera_is_read_unchanged(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(3, 200, 300), metadata={"axes": "TYX"}, photometric="minisblack")
    first, expected = ingest_one(tmp_path, tmp_path / "a.tif", axes="TYX", pixel_size_um=0.25, frame_interval_s=30.0)
    again, metadata = ingest_one(tmp_path / "again", tmp_path / "images" / "a.ome.zarr")
    assert np.array_equal(first[:], again[:])
    assert metadata == expected


def test_missing_chunks_cause_a_warning(tmp_path, caplog):
    path = write_zarr(tmp_path / "a.zarr", 1 + noise(2, 1, 1, 32, 32))
    (path / "0" / "c" / "1" / "0" / "0" / "1" / "1").unlink()
    ingest_one(tmp_path, path)
    assert "a: warning: has 7 of 8 chunks; the pixels of missing chunks are 0" in caplog.text


def outside(path):
    (path / "zarr.json").rename(path.parent / "zarr.json")
    (path.parent / "b").mkdir()
    (path / "0").rename(path.parent / "0")
    (path.parent / "zarr.json").rename(path / "zarr.json")


def named(name):
    def change(path):
        outside(path)
        edit_json(path / "zarr.json", lambda node: datasets(node)[0].update(path=name))

    return change


def datasets(node):
    return node["attributes"]["ome"]["multiscales"][0]["datasets"]


def linked(path):
    (path / "0").rename(path.parent / "elsewhere")
    (path / "0").symlink_to(path.parent / "elsewhere")


def linked_chunk(path):
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.rename(path.parent / "secret")
    chunk.symlink_to(path.parent / "secret")


def piped_chunk(path):
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)


def large_chunk(path):
    os.truncate(path / "0" / "c" / "0" / "0" / "0" / "0" / "0", 10**11)


def array_json(**changes):
    return lambda path: edit_json(path / "0" / "zarr.json", lambda node: node.update(changes))


def cut_chunk(path):
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:9])


def chunked(*sides):
    return array_json(chunk_grid={"name": "regular", "configuration": {"chunk_shape": sides}})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (named("../0"), "its pixels should be in '../0', which is not a folder in it"),
        (named("/etc"), "its pixels should be in '/etc', which is not a folder in it"),
        (named("5"), "its pixels should be in '5', which is not a folder in it"),
        (named(7), "cannot be read, because it is damaged"),
        (linked, "0 is a link; replace it with a copy of its target"),
        (linked_chunk, "is a link or not a file; replace it with a copy"),
        (piped_chunk, "is a link or not a file"),
        (large_chunk, "has chunks of above 1 GB"),
        (cut_chunk, "cannot be read, because it is damaged"),
        (chunked(1, 1, 1, 10**5, 10**5), "has chunks of above 1 GB; save it again with smaller chunks"),
        (array_json(shape=[10**6, 1, 1, 10**5, 10**5]), "claims 20000000.0 GB of pixels in a file of"),
        (
            array_json(data_type="variable_length_utf8"),
            "its pixels have the type 'variable_length_utf8', which is not supported",
        ),
        (array_json(data_type={"name": "struct"}), "its pixels have the type .* which is not supported"),
        (array_json(data_type="complex64"), "its pixels have the type 'complex64', which is not supported"),
        (
            array_json(codecs=[{"name": "numcodecs.pickle"}]),
            r"is compressed by numcodecs\.pickle, which is not supported",
        ),
        (lambda path: (path / "0" / "zarr.json").unlink(), "its pixels have the type 'None', which is not supported"),
        (lambda path: (path / "zarr.json").write_text("[" * 10**5), "cannot be read, because it is damaged"),
        (lambda path: os.truncate(path / "zarr.json", 10**9), "is a link or too large for metadata"),
        (
            lambda path: edit_json(path / "zarr.json", lambda node: node.pop("attributes")),
            "name them in the column axes",
        ),
        (
            lambda path: edit_json(path / "zarr.json", lambda node: datasets(node).clear()),
            "cannot be read, because it is damaged",
        ),
        (lambda path: [file.unlink() for file in (path / "0" / "c").rglob("*") if file.is_file()], "has no chunks"),
    ],
)
def test_hostile_and_broken_ome_zarr_is_refused_by_name(tmp_path, change, what):
    path = write_zarr(tmp_path / "inner" / "a.zarr", noise(2, 1, 1, 32, 32))
    change(path)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("a pipe was opened"))
    signal.alarm(20)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"a\.zarr.*: .*{what}"):
            ingest_one(tmp_path, path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
        signal.alarm(0)


@pytest.mark.parametrize("changes", [{"dtype": "|O", "filters": [{"id": "pickle"}]}, {"filters": [{"id": "pickle"}]}])
def test_objects_in_older_ome_zarr_are_never_unpickled(tmp_path, changes):
    path = write_zarr(tmp_path / "a.zarr", noise(2, 1, 1, 32, 32), version="0.4")
    edit_json(path / "0" / ".zarray", lambda node: node.update(changes))
    for chunk in (path / "0").rglob("[0-9]"):
        if chunk.is_file():
            chunk.write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "ran").encode())
    with pytest.raises(InputError, match=r"a\.zarr: (its pixels have the type '\|O'|is compressed by pickle)"):
        ingest_one(tmp_path, path)
    assert not (tmp_path / "ran").exists()


def test_folder_of_several_ome_zarr_images_is_refused_with_their_names(tmp_path):
    write_zarr(tmp_path / "a.zarr" / "0", noise(2, 1, 1, 32, 32))
    zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"bioformats2raw.layout": 3}})
    with pytest.raises(InputError, match=r"a\.zarr: is a folder of images; name one of them .* such as a\.zarr/0"):
        ingest_one(tmp_path, tmp_path / "a.zarr")
    assert ingest_one(tmp_path, tmp_path / "a.zarr" / "0")[0].shape == (2, 1, 1, 32, 32)
    write_zarr(tmp_path / "c.zarr" / "B" / "3" / "0", noise(2, 1, 1, 32, 32))
    zarr.create_group(tmp_path / "c.zarr", attributes={"ome": {"plate": {"wells": [{"path": "B/3"}]}}})
    with pytest.raises(InputError, match=r"c\.zarr: is a folder of images; .* such as c\.zarr/B/3/0"):
        ingest_one(tmp_path, tmp_path / "c.zarr")
    (tmp_path / "d.zarr" / "0").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"d\.zarr: lacks zarr\.json or \.zattrs; copy the whole folder, including hidden"
    ):
        ingest_one(tmp_path, tmp_path / "d.zarr")
    zarr.create_group(tmp_path / "b.zarr")
    with pytest.raises(InputError, match=r"b\.zarr: is a Zarr folder without an OME-Zarr image"):
        ingest_one(tmp_path, tmp_path / "b.zarr")


def test_memory_stays_flat_as_an_ome_zarr_movie_grows(tmp_path):
    peaks = []
    for frames in (3, 30):
        path = write_zarr(tmp_path / f"{frames}.zarr", noise(frames, 1, 1, 400, 500), chunks=(2, 1, 1, 200, 250))
        peaks.append(peak_of_copying(path, tmp_path / f"{frames}.ome.zarr"))
    assert peaks[1] < peaks[0] + 1e6  # the longer movie has 11e6 bytes more


def test_units_outside_the_specification_are_understood_or_named(tmp_path):
    pixels = noise(2, 1, 2, 20, 24)
    units = {"t": "hr", "z": "um", "y": "decimeter", "x": "furlong"}
    write_zarr(tmp_path / "a.zarr", pixels, scale=[2, 1, 1.5, 5e-6, 1], units=units)
    with open_image([tmp_path / "a.zarr"]) as image:
        assert image.pixel_size_um == (1.5, pytest.approx(0.5), None)
        assert image.frame_interval_s == 7200
        assert (
            "states its pixel size in 'furlong', a unit that is not understood; give it in the column pixel_size_um"
            in image.warnings
        )
