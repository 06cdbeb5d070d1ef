"""Lineages: which track each object belongs to, and which track came from which; all exports are written from them."""

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.tracking.link_scores import NONE

TABLES = {
    "nodes": {"track": "int64", "t": "int64", "label": "int64", "z": "float64", "y": "float64", "x": "float64",
              "pixels": "int64", "kind": "str"},
    "tracks": {"track": "int64", "first": "int64", "last": "int64", "parent": "int64", "lineage": "int64",
               "generation": "int64"},
    "divisions": {"parent": "int64", "t": "int64", "one": "int64", "two": "int64", "confidence": "float64",
                  "why": "str"},
    "gaps": {"track": "int64", "before": "int64", "after": "int64", "filled": "bool", "confidence": "float64"},
    "repairs": {"kind": "str", "t": "int64", "track": "int64", "label": "int64"},
}  # fmt: skip


@dataclass
class Lineage:
    """The lineages of one movie.

    Attributes:
        nodes: a row for each cell in each frame, by t and track: track, t, label (its id in the labels of `segment`, 0
            where there was none), z, y, x of its centre in pixels, pixels, and kind: found; filled, a missed cell whose
            mask was made up; parted, one that was part of another object.
        tracks: a row for each track: first and last frame, parent (0: none), lineage (the track at its root) and
            generation (0 at the root). A track ends where its cell divides.
        divisions: parent, its last frame t, its daughters one and two, confidence from 0 to 1, and why: evidence by
            kind, as JSON of log-likelihood ratios.
        gaps: frames before and after which a track was missed, whether all of them were filled, confidence.
        repairs: objects of the labels that were mended: kind (joined to another piece, parted), t, track, label.
        pixel_size_um: size of a pixel in z, y, x, None where unknown.
        frame_interval_s: seconds between frames, None where unknown.
        frames: number of frames of the movie.
        tracked: those of them that were tracked, rising.
        motion: how the objects move, see `tessera.tracking.track_movie.describe_motion`.
    """

    nodes: pd.DataFrame
    tracks: pd.DataFrame
    divisions: pd.DataFrame
    gaps: pd.DataFrame
    repairs: pd.DataFrame
    pixel_size_um: tuple = (None, None, None)
    frame_interval_s: float | None = None
    frames: int = 0
    tracked: list = field(default_factory=list)
    motion: dict = field(default_factory=dict)

    @property
    def voxel(self):
        """Size of a pixel in z, y and x, in `unit`, as the tracks were made with."""
        return measured_in(self.pixel_size_um)[0]

    @property
    def unit(self):
        """µm where the size of a pixel is known, else px."""
        return measured_in(self.pixel_size_um)[1]

    @property
    def parents(self):
        """{track: parent} of the tracks that have one."""
        born = self.tracks[self.tracks["parent"] > 0]
        return dict(zip(born["track"].tolist(), born["parent"].tolist(), strict=True))

    def steps(self, edges):
        """How many tracked frames further each of the edges, rows (edges, 2) of `nodes`, leads: int64 (edges,)."""
        return np.diff(np.searchsorted(self.tracked, self.nodes["t"].to_numpy()[edges]), axis=1)[:, 0]

    def edges(self):
        """Rows (edges, 2) of `nodes`, from the earlier to the later, and whether each is a division: bool (edges,)."""
        order = np.lexsort((self.nodes["t"], self.nodes["track"]))
        tracks = self.nodes["track"].to_numpy()[order]
        same = tracks[1:] == tracks[:-1]
        links = np.stack([order[:-1][same], order[1:][same]], axis=1)
        head = order[np.append(True, ~same)] if len(order) else order
        tail = order[np.append(~same, True)] if len(order) else order
        heads = dict(zip(self.nodes["track"].to_numpy()[head].tolist(), head.tolist(), strict=True))
        tails = dict(zip(self.nodes["track"].to_numpy()[tail].tolist(), tail.tolist(), strict=True))
        births = [(tails[parent], heads[track]) for track, parent in self.parents.items()]
        births = np.array(births, int).reshape(-1, 2)
        return np.concatenate([links, births]), np.repeat([False, True], [len(links), len(births)])


def measured_in(pixel_size_um):
    """What lengths are measured in, where sizes of a pixel in z, y and x may be None.

    Planes that are an unknown distance apart are taken to be as far as pixels are.

    Returns:
        Size of a pixel in z, y and x, and its unit: µm where it is known in y and x, else px.
    """
    depth, height, width = pixel_size_um
    return ((depth or width, height, width), "µm") if height and width else ((1.0, 1.0, 1.0), "px")


def number_tracks(objects, trace):
    """Id of the track of each object, from 1 in the order in which tracks begin: int64 (objects,)."""
    tracks, count = np.zeros(len(objects.labels), np.int64), 0
    for t in range(objects.frames):
        rows = objects.indices(t)
        before = trace.before[rows]
        tracks[rows[before != NONE]] = tracks[before[before != NONE]]
        new = rows[(before == NONE) & (trace.joins[rows] == NONE)]
        tracks[new] = count + 1 + np.arange(len(new))
        count += len(new)
    pieces = trace.joins != NONE
    tracks[pieces] = tracks[trace.joins[pieces]]
    return tracks


def build_lineage(
    objects, trace, tracks, nodes, *, tracked, pixel_size_um=(None, None, None), frame_interval_s=None, frames=None
):
    """The Lineage of a movie.

    Args:
        objects: Detections.
        trace: Trace.
        tracks: of `number_tracks`.
        nodes: track, t, z, y, x and pixels of what the labels with tracks hold, as in `Lineage`.
        tracked: number of each frame of `objects` in the movie.
        pixel_size_um, frame_interval_s, frames: see `Lineage`.
    """
    times = np.asarray(tracked, np.int64)[objects.times]
    whole = trace.joins == NONE
    found = pd.DataFrame({"track": tracks, "t": times, "label": objects.labels, "kind": "found"})[whole]
    nodes = nodes.merge(found, how="left", on=["track", "t"]).sort_values(["t", "track"], ignore_index=True)
    here = pd.MultiIndex.from_frame(nodes[["t", "track"]])
    hidden = {(int(times[holder]), int(tracks[row])) for (row, _), holder in trace.hides.items()}
    made_up = np.where(here.isin(list(hidden)), "parted", "filled")
    nodes = nodes.assign(label=nodes["label"].fillna(0), kind=nodes["kind"].where(nodes["kind"].notna(), made_up))
    mothers = np.flatnonzero(trace.mother != NONE)
    parents = dict(zip(tracks[mothers].tolist(), tracks[trace.mother[mothers]].tolist(), strict=True))
    gaps = []
    for row, confidence in sorted(trace.gaps.items()):
        first, last, track = int(times[trace.before[row]]), int(times[row]), int(tracks[row])
        between = [(t, track) for t in tracked if first < t < last]
        filled = all(each in here for each in between)
        # A cell that was part of another object was not missed.
        if not filled or not hidden.issuperset(between):
            gaps.append((track, first, last, filled, confidence))
    repairs = [
        ("joined", int(times[row]), int(tracks[row]), int(objects.labels[row])) for row in np.flatnonzero(~whole)
    ]
    repairs += [
        ("parted", int(times[holder]), int(tracks[row]), int(objects.labels[holder]))
        for (row, _), holder in trace.hides.items()
    ]
    listed = list_tracks(nodes, parents)
    # A mother that was missed at her division has a mask made up, later than she was seen.
    last = dict(zip(listed["track"].tolist(), listed["last"].tolist(), strict=True))
    divisions = [
        (
            int(tracks[mother]),
            last[int(tracks[mother])],
            *sorted((int(tracks[heir]), int(tracks[new]))),
            confidence,
            json.dumps(why),
        )
        for mother, heir, new, confidence, why in trace.divisions
    ]
    return Lineage(
        nodes=typed(nodes, "nodes"),
        tracks=listed,
        divisions=table("divisions", sorted(divisions)),
        gaps=table("gaps", gaps),
        repairs=table("repairs", sorted(repairs, key=lambda each: each[1:])),
        pixel_size_um=tuple(pixel_size_um),
        frame_interval_s=frame_interval_s,
        frames=frames or objects.frames,
        tracked=list(tracked),
    )


def list_tracks(nodes, parents):
    """The table of tracks, see `Lineage`, of nodes (track, t) and {track: parent}."""
    spans = nodes.groupby("track")["t"].agg(["min", "max"])
    root, generation = {}, {}
    for track in spans.index[np.argsort(spans["min"], kind="stable")].tolist():
        parent = parents.get(track, 0)
        root[track] = root.get(parent, track)
        generation[track] = generation.get(parent, -1) + 1 if parent else 0
    rows = [
        (track, first, last, parents.get(track, 0), root[track], generation[track])
        for track, first, last in zip(spans.index.tolist(), spans["min"], spans["max"], strict=True)
    ]
    return table("tracks", rows)


def table(name, rows):
    """The table `name` of a Lineage with these rows."""
    return typed(pd.DataFrame(rows, columns=list(TABLES[name])), name)


def typed(frame, name):
    """A table of a Lineage with the types of TABLES."""
    return frame.astype(TABLES[name])[list(TABLES[name])].reset_index(drop=True)


def write_lineage(lineage, folder):
    """Write the tables of a Lineage as Parquet files into a new folder."""
    folder.mkdir(parents=True)
    for name in TABLES:
        pq.write_table(pa.Table.from_pandas(getattr(lineage, name), preserve_index=False), folder / f"{name}.parquet")
    about = {
        "pixel_size_um": lineage.pixel_size_um,
        "frame_interval_s": lineage.frame_interval_s,
        "frames": lineage.frames,
        "tracked": lineage.tracked,
        "motion": lineage.motion,
    }
    (folder / "lineage.json").write_text(json.dumps(about, indent=1))


def read_lineage(folder):
    """The Lineage that `write_lineage` wrote."""
    about = json.loads((folder / "lineage.json").read_text())
    about["pixel_size_um"] = tuple(about["pixel_size_um"])
    tables = {name: typed(pq.read_table(folder / f"{name}.parquet").to_pandas(), name) for name in TABLES}
    return Lineage(**tables, **about)
