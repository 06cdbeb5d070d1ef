"""Exports of small lineages, with values from hand."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from helpers.track_readers import read_newick, read_trackmate
from tessera.tracking.export_ctc import ChallengeFolder
from tessera.tracking.exports import write_geff, write_napari, write_newick, write_trackmate
from tessera.tracking.lineage import Lineage, list_tracks, make_table, with_types

KINDS = {(2, 3): "filled", (3, 4): "split_from_merge"}


def make_lineage(**metadata):
    """Track 1 in frames 0 to 1 divides into 2 (frames 2 to 4) and 3 (2, 4); track 4 is alone in frame 1."""
    rows = [(1, 0), (1, 1), (4, 1), (2, 2), (3, 2), (2, 3), (2, 4), (3, 4)]
    nodes = pd.DataFrame(rows, columns=["track", "t"]).assign(z=0.0, y=10.0, label=1)
    nodes["x"] = [float(track + 10 * t) for track, t in rows]
    nodes["kind"] = [KINDS.get(each, "found") for each in rows]
    nodes["pixels"] = [100, *[28] * 7]
    tracks = list_tracks(nodes, {2: 1, 3: 1})
    divisions = make_table("divisions", [(1, 1, 2, 3, 0.9, "{}")])
    gaps = make_table("gaps", [(3, 2, 4, False, 0.8)])
    metadata = {"frames": 5, "tracked": [0, 1, 2, 3, 4]} | metadata
    return Lineage(with_types(nodes, "nodes"), tracks, divisions, gaps, make_table("repairs", []), **metadata)


def test_napari_table_has_a_row_per_node_sorted_by_track(tmp_path):
    write_napari(make_lineage(), tmp_path / "tracks.csv")
    table = pd.read_csv(tmp_path / "tracks.csv")
    assert table["track_id"].tolist() == [1, 1, 2, 2, 2, 3, 3, 4]
    assert table["parent"].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert table["generation"].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert table["kind"].tolist() == ["found"] * 3 + ["filled"] + ["found"] * 2 + ["split_from_merge", "found"]


def test_newick_branches_of_daughters_begin_in_the_last_frame_of_the_mother(tmp_path):
    write_newick(make_lineage(), tmp_path / "lineages.nwk")
    lengths, parents = read_newick(tmp_path / "lineages.nwk")
    assert parents == {2: 1, 3: 1}
    assert lengths == {1: 1, 2: 3, 3: 3, 4: 0}


def test_newick_of_thousands_of_generations_is_written(tmp_path):
    count = 3000
    nodes = pd.DataFrame({"track": np.arange(1, count + 1), "t": np.arange(count)})
    nodes = with_types(nodes.assign(label=1, z=0.0, y=0.0, x=0.0, pixels=1, kind="found"), "nodes")
    empty = {name: make_table(name, []) for name in ("divisions", "gaps", "repairs")}
    tracks = list_tracks(nodes, {track: track - 1 for track in range(2, count + 1)})
    write_newick(Lineage(nodes, tracks, **empty, frames=count), tmp_path / "deep.nwk")
    assert (tmp_path / "deep.nwk").read_text().count("(") == count - 1


def test_geff_marks_divisions_gaps_and_kinds_of_nodes(tmp_path):
    write_geff(make_lineage(pixel_size_um=(None, 0.5, 0.25), frame_interval_s=60.0), tmp_path / "a.geff")
    store = zarr.open(str(tmp_path / "a.geff"), mode="r")
    values = {name: np.asarray(store[f"nodes/props/{name}/values"]) for name in ("track", "t", "filled")}
    split = np.asarray(store["nodes/props/split_from_merge/values"])
    nodes = list(zip(values["track"].tolist(), values["t"].tolist(), strict=True))
    assert [node for node, filled in zip(nodes, values["filled"], strict=True) if filled] == [(2, 3)]
    assert [node for node, is_split in zip(nodes, split, strict=True) if is_split] == [(3, 4)]
    edges = [tuple(nodes[index] for index in edge) for edge in np.asarray(store["edges/ids"]).tolist()]
    marked = {}
    for name in ("division", "gap"):
        values = np.asarray(store[f"edges/props/{name}/values"])
        marked[name] = {edge for edge, value in zip(edges, values, strict=True) if value}
    assert marked == {"division": {((1, 1), (2, 2)), ((1, 1), (3, 2))}, "gap": {((3, 2), (3, 4))}}
    axes = {axis["name"]: axis["scale"] for axis in store.attrs["geff"]["axes"]}
    assert axes == {"t": 60.0, "z": None, "y": 0.5, "x": 0.25}


def test_trackmate_radius_is_that_of_a_disc_of_the_same_area(tmp_path):
    lineage = make_lineage(pixel_size_um=(None, 0.5, 0.5), frame_interval_s=60.0)
    write_trackmate(lineage, tmp_path / "a.xml", image="movie", shape=(1, 50, 60))
    text = (tmp_path / "a.xml").read_text()
    assert f'RADIUS="{np.sqrt(25 / np.pi)!s}"' in text  # 100 pixels of 0.25 µm²
    assert 'timeunits="sec"' in text
    assert 'POSITION_T="240.0"' in text
    nodes, parents = read_trackmate(tmp_path / "a.xml")
    assert nodes[2, 4] == pytest.approx((0, 5.0, 21.0))
    assert parents == {2: 1, 3: 1}


def test_challenge_track_after_an_unfilled_gap_has_a_new_id(tmp_path):
    folder = ChallengeFolder(tmp_path / "challenge", 3, 5)
    for t, tracks in enumerate(([1], [1], [2, 3], [2], [2, 3])):
        folder.add(t, np.array([[tracks]], np.int32))
    assert folder.finish({2: 1, 3: 1})
    assert (tmp_path / "challenge" / "res_track.txt").read_text().splitlines() == [
        "1 0 1 0",
        "2 2 4 1",
        "3 2 2 1",
        "4 4 4 3",
    ]
    assert tifffile.imread(tmp_path / "challenge" / "mask004.tif").tolist() == [[2, 4]]
