"""Exports of a Lineage: GEFF, TrackMate, napari and Newick; the Cell Tracking Challenge has `export_ctc`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from geff.core_io import write_arrays
from geff_spec import Axis, GeffMetadata
from numpy.typing import NDArray

from tessera.tracking.lineage import FILLED, FOUND, SPLIT_FROM_MERGE, Lineage

NAPARI_COLUMNS = ("track_id", "t", "z", "y", "x", "parent", "lineage", "generation", "kind")
_UNITS = {"space": "micrometer", "time": "second"}
_SPOT_FEATURES = {
    "POSITION_X": "POSITION", "POSITION_Y": "POSITION", "POSITION_Z": "POSITION", "POSITION_T": "TIME",
    "FRAME": "NONE", "RADIUS": "LENGTH", "QUALITY": "QUALITY", "VISIBILITY": "NONE", "TRACKLET": "NONE",
}  # fmt: skip
_EDGE_FEATURES = dict.fromkeys(("SPOT_SOURCE_ID", "SPOT_TARGET_ID", "DIVISION"), "NONE")


def write_napari(lineage: Lineage, path: Path) -> None:
    """Write a CSV table for napari's tracks layer: NAPARI_COLUMNS, positions in pixels, a row for each node."""
    tracks = lineage.tracks.set_index("track")
    nodes = lineage.nodes.join(tracks[["parent", "lineage", "generation"]], on="track")
    nodes = nodes.rename(columns={"track": "track_id"})
    nodes.sort_values(["track_id", "t"])[list(NAPARI_COLUMNS)].to_csv(path, index=False)


def write_newick(lineage: Lineage, path: Path) -> None:
    """Write a Newick tree for each root, one per line; nodes are tracks, branch lengths are frames.

    A branch begins in the last frame of the mother, so that a daughter's branch includes the division.
    """
    tracks = lineage.tracks.set_index("track")
    first, last = tracks["first"].to_dict(), tracks["last"].to_dict()
    parents = lineage.parents
    children: dict[int, list[int]] = {}
    for track, parent in sorted(parents.items()):
        children.setdefault(parent, []).append(track)
    branches = {
        track: f"{track}:{last[track] - (last[parents[track]] if track in parents else first[track])}"
        for track in tracks.index.tolist()
    }
    lines = []
    for root in tracks.index[tracks["parent"] == 0].tolist():
        # Without recursion, so that lineages of thousands of generations can be written.
        parts: list[str] = []
        stack: list[tuple[int | str, bool]] = [(root, False)]
        while stack:
            item, is_closing = stack.pop()
            if isinstance(item, str):
                parts.append(item)
            elif is_closing or item not in children:
                parts.append(branches[item])
            else:
                parts.append("(")
                stack += [(item, True), (")", False)]
                for number, child in enumerate(reversed(children[item])):
                    if number:
                        stack.append((",", False))
                    stack.append((child, False))
        lines.append("".join(parts) + ";\n")
    path.write_text("".join(lines))


def write_geff(lineage: Lineage, path: Path) -> None:
    """Write a GEFF store.

    Nodes have t, z, y, x, track, label, pixels, filled, split_from_merge, lineage and generation; edges have division
    and gap. Axes are in frames and pixels; their scale is the frame interval and the pixel size if these are known.
    """
    nodes = lineage.nodes
    edges, is_division = lineage.edges()
    is_gap = lineage.steps(edges) > 1
    sizes = (lineage.frame_interval_s, *lineage.pixel_size_um)
    axes = [
        Axis(name=name, type=kind, scale=size, scaled_unit=_UNITS[kind] if size else None)
        for name, kind, size in zip("tzyx", ("time", "space", "space", "space"), sizes, strict=True)
    ]
    generation = lineage.tracks.set_index("track")[["lineage", "generation"]]
    columns = nodes.join(generation, on="track")
    columns["filled"] = columns["kind"] == FILLED
    columns["split_from_merge"] = columns["kind"] == SPLIT_FROM_MERGE
    properties = ("t", "z", "y", "x", "track", "label", "pixels", "filled", "split_from_merge", "lineage", "generation")
    write_arrays(
        path,
        node_ids=np.arange(len(nodes), dtype=np.uint64),
        node_props={name: _property(columns[name].to_numpy()) for name in properties},
        edge_ids=edges.astype(np.uint64),
        edge_props={"division": _property(is_division), "gap": _property(is_gap)},
        metadata=GeffMetadata(
            directed=True,
            axes=axes,
            node_props_metadata={},
            edge_props_metadata={},
            track_node_props={"tracklet": "track", "lineage": "lineage"},
        ),
        zarr_format=3,
    )


def _property(values: NDArray[Any]) -> Any:
    return {"values": values, "missing": None}


def write_trackmate(lineage: Lineage, path: Path, *, image: str, shape: tuple[int, ...]) -> None:
    """Write a TrackMate file (version 7): a spot for each node; TrackMate's tracks are lineages.

    Positions and radii are in `lineage.unit`. The file is streamed, since an XML tree of a million nodes would need
    gigabytes of memory.

    Args:
        lineage: Lineage.
        path: the file.
        image: path or name of the image, which is written to the file.
        shape: (z, y, x) pixels of a frame.
    """
    voxel_size, spatial_unit = lineage.voxel_size, {"µm": "micron", "px": "pixel"}[lineage.unit]
    interval = lineage.frame_interval_s or 1.0
    with open(path, "w", encoding="UTF-8") as file:
        xml = XMLGenerator(file, "UTF-8", short_empty_elements=True)
        xml.startDocument()
        with _element(xml, "TrackMate", version="7.11.1"):
            units = {"spatialunits": spatial_unit, "timeunits": "sec" if lineage.frame_interval_s else "frame"}
            with _element(xml, "Model", **units):
                _write_features(xml)
                _write_spots(xml, lineage, interval, is_volume=shape[0] > 1)
                _write_edges(xml, lineage)
            image_data = {"filename": image, "folder": "", "width": shape[2], "height": shape[1], "nslices": shape[0]}
            image_data |= {"nframes": lineage.frames, "timeinterval": interval}
            image_data |= dict(zip(("voxeldepth", "pixelheight", "pixelwidth"), voxel_size, strict=True))
            with _element(xml, "Settings"):
                _write_empty(xml, "ImageData", **image_data)
        xml.endDocument()


@contextlib.contextmanager
def _element(xml: XMLGenerator, tag: str, /, **attributes: Any) -> Iterator[None]:
    xml.startElement(tag, AttributesImpl({key: str(value) for key, value in attributes.items()}))
    xml.characters("\n")
    yield
    xml.endElement(tag)
    xml.characters("\n")


def _write_empty(xml: XMLGenerator, tag: str, /, **attributes: Any) -> None:
    xml.startElement(tag, AttributesImpl({key: str(value) for key, value in attributes.items()}))
    xml.endElement(tag)
    xml.characters("\n")


def _write_features(xml: XMLGenerator) -> None:
    with _element(xml, "FeatureDeclarations"):
        for kind, dimensions, integers in (
            ("SpotFeatures", _SPOT_FEATURES, {"FRAME", "VISIBILITY", "TRACKLET"}),
            ("EdgeFeatures", _EDGE_FEATURES, set(_EDGE_FEATURES)),
            ("TrackFeatures", {"TRACK_ID": "NONE"}, {"TRACK_ID"}),
        ):
            with _element(xml, kind):
                for name, dimension in dimensions.items():
                    names = {"feature": name, "name": name.capitalize().replace("_", " "), "shortname": name}
                    is_integer = "true" if name in integers else "false"
                    _write_empty(xml, "Feature", **names, dimension=dimension, isint=is_integer)


def _write_spots(xml: XMLGenerator, lineage: Lineage, interval: float, *, is_volume: bool) -> None:
    nodes, voxel_size = lineage.nodes, lineage.voxel_size
    size_of_pixel = np.prod(voxel_size if is_volume else voxel_size[1:])
    with _element(xml, "AllSpots", nspots=len(nodes)):
        for _, group in nodes.groupby("t"):
            frame = int(group["t"].iloc[0])
            with _element(xml, "SpotsInFrame", frame=frame):
                columns = [group[name].tolist() for name in ("track", "kind", "pixels", "z", "y", "x")]
                for index, track, kind, pixels, *position in zip(group.index.tolist(), *columns, strict=True):
                    size = pixels * size_of_pixel
                    radius = np.cbrt(3 * size / (4 * np.pi)) if is_volume else np.sqrt(size / np.pi)
                    spot = {"ID": index, "name": f"track {track}", "FRAME": frame, "POSITION_T": frame * interval}
                    for axis, coordinate, step in zip("ZYX", position, voxel_size, strict=True):
                        spot[f"POSITION_{axis}"] = float(coordinate * step)
                    spot |= {"RADIUS": float(radius), "QUALITY": 1.0 if kind == FOUND else 0.0}
                    _write_empty(xml, "Spot", **spot, VISIBILITY=1, TRACKLET=track)


def _write_edges(xml: XMLGenerator, lineage: Lineage) -> None:
    """Write the edges of each lineage; all lineages are shown."""
    edges, is_division = lineage.edges()
    lineage_of = lineage.tracks.set_index("track")["lineage"]
    tracks = lineage.nodes["track"].to_numpy()
    of_edge = lineage_of.loc[tracks[edges[:, 1]]].to_numpy() if len(edges) else np.zeros(0, int)
    order = np.argsort(of_edge, kind="stable")
    numbers, firsts = np.unique(of_edge[order], return_index=True)
    with _element(xml, "AllTracks"):
        for number, indices in zip(numbers.tolist(), np.split(order, firsts[1:]), strict=False):
            with _element(xml, "Track", name=f"lineage {number}", TRACK_ID=number):
                for index in indices:
                    source, target = edges[index]
                    division = int(is_division[index])
                    _write_empty(xml, "Edge", SPOT_SOURCE_ID=source, SPOT_TARGET_ID=target, DIVISION=division)
    with _element(xml, "FilteredTracks"):
        for number in numbers.tolist():
            _write_empty(xml, "TrackID", TRACK_ID=number)
