"""Graphs: lineages as GEFF stores, which Python's tracking libraries read, and as TrackMate files."""

import contextlib
from xml.sax.saxutils import XMLGenerator

import numpy as np
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
    sizes = (lineage.frame_interval_s, *lineage.pixel_size_um)
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


def write_trackmate(lineage, path, *, image, shape):
    """Write a Lineage as a TrackMate file (version 7): a spot for each node; a track there is a lineage.

    Places and radii are in `lineage.unit`. The file is written as it goes, since
    as one tree it would take gigabytes for a million of nodes.

    Args:
        lineage: Lineage.
        path: the file.
        image: path or name of the image, kept in the file.
        shape: (z, y, x) pixels of a frame.
    """
    sizes, space = lineage.voxel, {"µm": "micron", "px": "pixel"}[lineage.unit]
    interval = lineage.frame_interval_s or 1.0
    with open(path, "w", encoding="UTF-8") as file:
        xml = XMLGenerator(file, "UTF-8", short_empty_elements=True)
        xml.startDocument()
        with _element(xml, "TrackMate", version="7.11.1"):
            units = {"spatialunits": space, "timeunits": "sec" if lineage.frame_interval_s else "frame"}
            with _element(xml, "Model", **units):
                _write_features(xml)
                _write_spots(xml, lineage, sizes, interval, volume=shape[0] > 1)
                _write_edges(xml, lineage)
            about = {"filename": image, "folder": "", "width": shape[2], "height": shape[1], "nslices": shape[0]}
            about |= {"nframes": lineage.frames, "timeinterval": interval}
            about |= dict(zip(("voxeldepth", "pixelheight", "pixelwidth"), sizes, strict=True))
            with _element(xml, "Settings"):
                _write(xml, "ImageData", **about)
        xml.endDocument()


@contextlib.contextmanager
def _element(xml, tag, /, **attributes):
    xml.startElement(tag, {key: str(value) for key, value in attributes.items()})
    xml.characters("\n")
    yield
    xml.endElement(tag)
    xml.characters("\n")


def _write(xml, tag, /, **attributes):
    xml.startElement(tag, {key: str(value) for key, value in attributes.items()})
    xml.endElement(tag)
    xml.characters("\n")


def _write_features(xml):
    spot = _SPOT | {"FRAME": "NONE", "RADIUS": "LENGTH", "QUALITY": "QUALITY", "VISIBILITY": "NONE", "TRACKLET": "NONE"}
    edge = dict.fromkeys(("SPOT_SOURCE_ID", "SPOT_TARGET_ID", "DIVISION"), "NONE")
    with _element(xml, "FeatureDeclarations"):
        for kind, dimensions, whole in (
            ("SpotFeatures", spot, {"FRAME", "VISIBILITY", "TRACKLET"}),
            ("EdgeFeatures", edge, set(edge)),
            ("TrackFeatures", {"TRACK_ID": "NONE"}, {"TRACK_ID"}),
        ):
            with _element(xml, kind):
                for name, dimension in dimensions.items():
                    about = {"feature": name, "name": name.capitalize().replace("_", " "), "shortname": name}
                    isint = "true" if name in whole else "false"
                    _write(xml, "Feature", **about, dimension=dimension, isint=isint)


def _write_spots(xml, lineage, sizes, interval, *, volume):
    nodes = lineage.nodes
    pixel = np.prod(sizes if volume else sizes[1:])
    with _element(xml, "AllSpots", nspots=len(nodes)):
        for t, group in nodes.groupby("t"):
            with _element(xml, "SpotsInFrame", frame=t):
                for row in group.itertuples():
                    size = row.pixels * pixel
                    radius = np.cbrt(3 * size / (4 * np.pi)) if volume else np.sqrt(size / np.pi)
                    about = {"ID": row.Index, "name": f"track {row.track}", "FRAME": t, "POSITION_T": t * interval}
                    for axis, place, step in zip("ZYX", (row.z, row.y, row.x), sizes, strict=True):
                        about[f"POSITION_{axis}"] = float(place * step)
                    about |= {"RADIUS": float(radius), "QUALITY": 1.0 if row.kind == "found" else 0.0}
                    _write(xml, "Spot", **about, VISIBILITY=1, TRACKLET=row.track)


def _write_edges(xml, lineage):
    """Lineages, which are TrackMate's tracks, with their edges; all of them are shown."""
    edges, division = lineage.edges()
    roots = lineage.tracks.set_index("track")["lineage"]
    of_edge = roots.loc[lineage.nodes["track"].to_numpy()[edges[:, 1]]].to_numpy() if len(edges) else np.zeros(0, int)
    order = np.argsort(of_edge, kind="stable")
    numbers, firsts = np.unique(of_edge[order], return_index=True)
    with _element(xml, "AllTracks"):
        for number, places in zip(numbers.tolist(), np.split(order, firsts[1:]), strict=False):
            with _element(xml, "Track", name=f"lineage {number}", TRACK_ID=number):
                for place in places:
                    one, two = edges[place]
                    about = {"SPOT_SOURCE_ID": one, "SPOT_TARGET_ID": two, "DIVISION": int(division[place])}
                    _write(xml, "Edge", **about)
    with _element(xml, "FilteredTracks"):
        for number in numbers.tolist():
            _write(xml, "TrackID", TRACK_ID=number)
