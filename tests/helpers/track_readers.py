"""Readers of exported tracks, independent of the writers.

A node is (track, t). Each reader returns the nodes and {daughter: mother}.
"""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile
from geff import GeffReader

Node = tuple[int, int]
Position = tuple[float, ...]


def read_challenge(folder: Path) -> tuple[set[Node], dict[int, int]]:
    """Nodes and mothers of a Cell Tracking Challenge folder. An only child is the same cell as its parent."""
    rows = [tuple(map(int, line.split())) for line in (folder / "res_track.txt").read_text().splitlines()]
    children = {}
    for track, _, _, parent in rows:
        children.setdefault(parent, []).append(track)
    name = {track: track for track, *_ in rows}
    for track, _, _, parent in sorted(rows, key=lambda row: row[1]):
        if parent and len(children[parent]) == 1:
            name[track] = name[parent]
    parents = {name[track]: name[parent] for track, _, _, parent in rows if parent and name[track] != name[parent]}
    masks = sorted(folder.glob("mask*.tif"))
    nodes = {
        (name[track], t) for t, mask in enumerate(masks) for track in np.unique(tifffile.imread(mask)).tolist() if track
    }
    return nodes, parents


def read_napari(path: Path) -> tuple[dict[Node, Position], dict[int, int]]:
    """{node: (z, y, x)} and mothers of a table of `write_napari`."""
    with open(path, newline="") as table:
        rows = list(csv.DictReader(table))
    nodes = {(int(row["track_id"]), int(row["t"])): tuple(float(row[axis]) for axis in "zyx") for row in rows}
    return nodes, {int(row["track_id"]): int(row["parent"]) for row in rows if int(row["parent"])}


def read_newick(path: Path) -> tuple[dict[int, int], dict[int, int]]:
    """{track: length of its branch in frames} and mothers of trees of `write_newick`."""
    lengths, parents = {}, {}
    for line in path.read_text().splitlines():
        waiting, done = [[]], []
        for token in re.findall(r"[(),;]|[^(),;]+", line):
            if token == "(":
                waiting.append([])
            elif token == ")":
                done = waiting.pop()
            elif token not in ",;":
                track, length = map(int, token.split(":"))
                lengths[track] = length
                parents |= dict.fromkeys(done, track)
                waiting[-1].append(track)
                done = []
    return lengths, parents


def read_geff(path: Path) -> tuple[dict[Node, Position], dict[int, int]]:
    """{node: (z, y, x)} and mothers of a store of `write_geff`."""
    reader = GeffReader(path)
    reader.read_node_props()
    reader.read_edge_props()
    graph = reader.build()
    values = {name: prop["values"] for name, prop in graph["node_props"].items()}
    track, t = values["track"].tolist(), values["t"].tolist()
    places = zip(*(values[axis].tolist() for axis in "zyx"), strict=True)
    divisions = graph["edge_ids"][graph["edge_props"]["division"]["values"]].astype(int)
    nodes = dict(zip(zip(track, t, strict=True), places, strict=True))
    return nodes, {track[daughter]: track[mother] for mother, daughter in divisions}


def read_trackmate(path: Path) -> tuple[dict[Node, Position], dict[int, int]]:
    """{node: (z, y, x) in the units of the file} and mothers of a file of `write_trackmate`."""
    root = ElementTree.parse(path).getroot()
    nodes, track = {}, {}
    for spot in root.iter("Spot"):
        number, t = int(spot.get("TRACKLET")), int(spot.get("FRAME"))
        track[spot.get("ID")] = number
        nodes[number, t] = tuple(float(spot.get(f"POSITION_{axis}")) for axis in "ZYX")
    divisions = [edge for edge in root.iter("Edge") if edge.get("DIVISION") == "1"]
    return nodes, {track[edge.get("SPOT_TARGET_ID")]: track[edge.get("SPOT_SOURCE_ID")] for edge in divisions}
