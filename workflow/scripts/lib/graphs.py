"""Graphs: lineages as GEFF stores, which Python's tracking libraries read, and as TrackMate files."""

from xml.etree import ElementTree

import numpy as np
from geff import GeffReader
from geff.core_io import write_arrays
from geff_spec import Axis, GeffMetadata

_UNITS = {"space": "micrometer", "time": "second"}
_SPOT = {"POSITION_X": "POSITION", "POSITION_Y": "POSITION", "POSITION_Z": "POSITION", "POSITION_T": "TIME"}


def write_geff(lineage, path):
    """Write a Lineage as a GEFF store.

    Nodes have t, z, y, x, track, label, pixels, lineage, generation and whether the mask was filled or parted; edges
    have `division` and `gap`.

    Axes are in frames and pixels, with the size of a pixel and of a frame as their scale where it is known.
    """
    nodes = lineage.nodes
    edges, division = lineage.edges()
    gap = lineage.steps(edges) > 1
    sizes = (lineage.frame_s, *lineage.pixel_um)
    axes = [
        Axis(name=name, type=kind, scale=size, scaled_unit=_UNITS[kind] if size else None)
        for name, kind, size in zip("tzyx", ("time", "space", "space", "space"), sizes, strict=True)
    ]
    generation = lineage.tracks.set_index("track")[["lineage", "generation"]]
    columns = nodes.join(generation, on="track")
    columns["filled"], columns["parted"] = columns["kind"] == "filled", columns["kind"] == "parted"
    properties = ("t", "z", "y", "x", "track", "label", "pixels", "filled", "parted", "lineage", "generation")
    write_arrays(
        path,
        node_ids=np.arange(len(nodes), dtype=np.uint64),
        node_props={name: _property(columns[name].to_numpy()) for name in properties},
        edge_ids=edges.astype(np.uint64),
        edge_props={"division": _property(division), "gap": _property(gap)},
        metadata=GeffMetadata(
            directed=True,
            axes=axes,
            node_props_metadata={},
            edge_props_metadata={},
            track_node_props={"tracklet": "track", "lineage": "lineage"},
        ),
        zarr_format=3,
    )


def _property(values):
    return {"values": values, "missing": None}


def read_geff(path):
    """{(track, t): (z, y, x)} and {track: parent} of a store of `write_geff`."""
    reader = GeffReader(path)
    reader.read_node_props()
    reader.read_edge_props()
    graph = reader.build()
    values = {name: prop["values"] for name, prop in graph["node_props"].items()}
    track, t = values["track"].tolist(), values["t"].tolist()
    places = zip(*(values[axis].tolist() for axis in "zyx"), strict=True)
    born = graph["edge_ids"][graph["edge_props"]["division"]["values"]].astype(int)
    return dict(zip(zip(track, t, strict=True), places, strict=True)), {track[two]: track[one] for one, two in born}


def write_trackmate(lineage, path, *, image, shape):
    """Write a Lineage as a TrackMate file (version 7): a spot for each node; a track there is a lineage.

    Args:
        lineage: Lineage.
        path: the file.
        image: path or name of the image, kept in the file.
        shape: (z, y, x) pixels of a frame.
    """
    known = bool(lineage.pixel_um[1] and lineage.pixel_um[2])
    sizes = [size or 1.0 for size in lineage.pixel_um] if known else [1.0, 1.0, 1.0]
    interval = lineage.frame_s or 1.0
    root = ElementTree.Element("TrackMate", version="7.11.1")
    model = ElementTree.SubElement(
        root, "Model", spatialunits="micron" if known else "pixel", timeunits="sec" if lineage.frame_s else "frame"
    )
    features = ElementTree.SubElement(model, "FeatureDeclarations")
    spot = _SPOT | {"FRAME": "NONE", "RADIUS": "LENGTH", "QUALITY": "QUALITY", "VISIBILITY": "NONE", "TRACKLET": "NONE"}
    _declare(features, "SpotFeatures", spot, {"FRAME", "VISIBILITY", "TRACKLET"})
    edge = dict.fromkeys(("SPOT_SOURCE_ID", "SPOT_TARGET_ID", "DIVISION"), "NONE")
    _declare(features, "EdgeFeatures", edge, set(edge))
    _declare(features, "TrackFeatures", {"TRACK_ID": "NONE"}, {"TRACK_ID"})
    nodes = lineage.nodes
    spots = ElementTree.SubElement(model, "AllSpots", nspots=str(len(nodes)))
    volume = shape[0] > 1
    pixel = np.prod(sizes[1:]) if not volume else np.prod(sizes)
    for t, group in nodes.groupby("t"):
        frame = ElementTree.SubElement(spots, "SpotsInFrame", frame=str(t))
        for row in group.itertuples():
            size = row.pixels * pixel
            radius = np.cbrt(3 * size / (4 * np.pi)) if volume else np.sqrt(size / np.pi)
            place = dict(zip("ZYX", (row.z * sizes[0], row.y * sizes[1], row.x * sizes[2]), strict=True))
            ElementTree.SubElement(
                frame,
                "Spot",
                {"ID": str(row.Index), "name": f"track {row.track}", "FRAME": str(t), "POSITION_T": repr(t * interval)}
                | {f"POSITION_{axis}": repr(float(value)) for axis, value in place.items()}
                | {"RADIUS": repr(float(radius)), "QUALITY": "1.0" if row.kind == "found" else "0.0", "VISIBILITY": "1"}
                | {"TRACKLET": str(row.track)},
            )
    edges, division = lineage.edges()
    lineages = lineage.tracks.set_index("track")["lineage"]
    of_edge = lineages.loc[nodes["track"].to_numpy()[edges[:, 1]]].to_numpy() if len(edges) else np.zeros(0, int)
    tracks = ElementTree.SubElement(model, "AllTracks")
    filtered = ElementTree.SubElement(model, "FilteredTracks")
    order = np.argsort(of_edge, kind="stable")
    for number in np.unique(of_edge).tolist():
        name = {"name": f"lineage {number}", "TRACK_ID": str(number)}
        track = ElementTree.SubElement(tracks, "Track", name)
        span = slice(*np.searchsorted(of_edge[order], [number, number + 1]))
        for place in order[span]:
            one, two = edges[place]
            ends = {"SPOT_SOURCE_ID": str(one), "SPOT_TARGET_ID": str(two), "DIVISION": str(int(division[place]))}
            ElementTree.SubElement(track, "Edge", ends)
        ElementTree.SubElement(filtered, "TrackID", TRACK_ID=str(number))
    settings = ElementTree.SubElement(root, "Settings")
    about = {"filename": str(image), "folder": "", "width": shape[2], "height": shape[1], "nslices": shape[0]}
    about |= {"nframes": lineage.frames, "pixelwidth": sizes[2], "pixelheight": sizes[1], "voxeldepth": sizes[0]}
    ElementTree.SubElement(
        settings, "ImageData", {**{key: str(value) for key, value in about.items()}, "timeinterval": str(interval)}
    )
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


def _declare(features, kind, dimensions, whole):
    group = ElementTree.SubElement(features, kind)
    for name, dimension in dimensions.items():
        about = {
            "feature": name,
            "name": name.capitalize().replace("_", " "),
            "shortname": name,
            "dimension": dimension,
        }
        ElementTree.SubElement(group, "Feature", about | {"isint": "true" if name in whole else "false"})


def read_trackmate(path):
    """{(track, t): (z, y, x) in the units of the file} and {track: parent} of a file of `write_trackmate`."""
    root = ElementTree.parse(path).getroot()
    nodes, track = {}, {}
    for spot in root.iter("Spot"):
        number, t = int(spot.get("TRACKLET")), int(spot.get("FRAME"))
        track[spot.get("ID")] = number
        nodes[number, t] = tuple(float(spot.get(f"POSITION_{axis}")) for axis in "ZYX")
    born = [edge for edge in root.iter("Edge") if edge.get("DIVISION") == "1"]
    return nodes, {track[edge.get("SPOT_TARGET_ID")]: track[edge.get("SPOT_SOURCE_ID")] for edge in born}
