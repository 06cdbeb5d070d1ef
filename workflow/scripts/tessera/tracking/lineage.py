"""Lineages: the tables of tracks, divisions, gaps and repairs of one movie, from which all exports are written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.tracking.array_types import Bools, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.tracker import TrackGraph

FOUND, FILLED, SPLIT_FROM_MERGE, MERGED_FRAGMENT = "found", "filled", "split_from_merge", "merged_fragment"
TABLES = {
    "nodes": {"track": "int64", "t": "int64", "label": "int64", "z": "float64", "y": "float64", "x": "float64",
              "pixels": "int64", "kind": "str"},
    "tracks": {"track": "int64", "first": "int64", "last": "int64", "parent": "int64", "lineage": "int64",
               "generation": "int64"},
    "divisions": {"parent": "int64", "t": "int64", "daughter_1": "int64", "daughter_2": "int64",
                  "confidence": "float64", "evidence": "str"},
    "gaps": {"track": "int64", "before": "int64", "after": "int64", "filled": "bool", "confidence": "float64"},
    "repairs": {"kind": "str", "t": "int64", "track": "int64", "label": "int64"},
}  # fmt: skip

PixelSize = tuple[float | None, float | None, float | None]


@dataclass
class Lineage:
    """The lineages of one movie.

    Attributes:
        nodes: a row for each cell in each frame, by t and track: track, t, label (its id in the labels of `segment`, 0
            if it has none), z, y, x of its center in pixels, pixels, and kind: found; filled, the interpolated mask of
            a missed cell; split_from_merge, cut out of an object that holds several cells.
        tracks: a row for each track: first and last frame, parent (0: none), lineage (the track at its root) and
            generation (0 at the root). A track ends when its cell divides.
        divisions: parent, its last frame t, the tracks daughter_1 and daughter_2, confidence from 0 to 1, and evidence:
            JSON of the log-likelihood ratio of each of `tessera.tracking.division_scores.EVIDENCE_TERMS`.
        gaps: track, the frames before and after which it was missed, whether all of them were filled, confidence.
        repairs: objects of the labels that were repaired: kind (merged_fragment: merged with the rest of its cell;
            split_from_merge: split between cells), t, track, label.
        pixel_size_um: size of a pixel along z, y, x; None where unknown.
        frame_interval_s: seconds between frames, None if unknown.
        frames: number of frames of the movie.
        tracked: the frames that were tracked, increasing.
        motion: how the objects move, see `tessera.tracking.track_movie.describe_motion`.
    """

    nodes: pd.DataFrame
    tracks: pd.DataFrame
    divisions: pd.DataFrame
    gaps: pd.DataFrame
    repairs: pd.DataFrame
    pixel_size_um: PixelSize = (None, None, None)
    frame_interval_s: float | None = None
    frames: int = 0
    tracked: list[int] = field(default_factory=list)
    motion: dict[str, Any] = field(default_factory=dict)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Size of a voxel along z, y and x, in `unit`, as it was used for tracking."""
        return voxel_size_of(self.pixel_size_um)[0]

    @property
    def unit(self) -> str:
        """µm if the pixel size is known, else px."""
        return voxel_size_of(self.pixel_size_um)[1]

    @property
    def parents(self) -> dict[int, int]:
        """{track: parent} of the tracks that have a parent."""
        daughters = self.tracks[self.tracks["parent"] > 0]
        return dict(zip(daughters["track"].tolist(), daughters["parent"].tolist(), strict=True))

    def steps(self, edges: Indices) -> Indices:
        """Number of tracked frames that each edge spans: int64 (edges,).

        Args:
            edges: int64 (edges, 2), rows of `nodes`.
        """
        steps: Indices = np.diff(np.searchsorted(self.tracked, self.nodes["t"].to_numpy()[edges]), axis=1)[:, 0]
        return steps

    def edges(self) -> tuple[Indices, Bools]:
        """Edges of the graph.

        Returns:
            int64 (edges, 2), rows of `nodes`, the earlier one first; and bool (edges,), whether it is a division.
        """
        order = np.lexsort((self.nodes["t"], self.nodes["track"]))
        tracks = self.nodes["track"].to_numpy()[order]
        same_track = tracks[1:] == tracks[:-1]
        links = np.stack([order[:-1][same_track], order[1:][same_track]], axis=1)
        first = order[np.append(True, ~same_track)] if len(order) else order
        last = order[np.append(~same_track, True)] if len(order) else order
        first_of = dict(zip(self.nodes["track"].to_numpy()[first].tolist(), first.tolist(), strict=True))
        last_of = dict(zip(self.nodes["track"].to_numpy()[last].tolist(), last.tolist(), strict=True))
        pairs = [(last_of[parent], first_of[track]) for track, parent in self.parents.items()]
        divisions = np.array(pairs, int).reshape(-1, 2)
        return np.concatenate([links, divisions]), np.repeat([False, True], [len(links), len(divisions)])


def voxel_size_of(pixel_size_um: PixelSize) -> tuple[tuple[float, float, float], str]:
    """Voxel size that tracking uses, from a pixel size of which parts may be unknown.

    If the distance between planes is unknown, it is taken to be the width of a pixel.

    Returns:
        Size of a voxel along z, y, x, and its unit: µm if the size is known in y and x, else px.
    """
    depth, height, width = pixel_size_um
    return ((depth or width, height, width), "µm") if height and width else ((1.0, 1.0, 1.0), "px")


def number_tracks(detections: Detections, graph: TrackGraph) -> Indices:
    """Number the tracks from 1 in the order in which they begin.

    Returns:
        int64 (detections,), the track of each detection; fragments have the track of their cell.
    """
    tracks, count = np.zeros(len(detections), np.int64), 0
    for t in range(detections.n_frames):
        indices = detections.frame_indices(t)
        before = graph.before[indices]
        tracks[indices[before != NO_DETECTION]] = tracks[before[before != NO_DETECTION]]
        new = indices[(before == NO_DETECTION) & (graph.fragment_of[indices] == NO_DETECTION)]
        tracks[new] = count + 1 + np.arange(len(new))
        count += len(new)
    fragments = graph.fragment_of != NO_DETECTION
    tracks[fragments] = tracks[graph.fragment_of[fragments]]
    return tracks


def build_lineage(
    detections: Detections,
    graph: TrackGraph,
    tracks: Indices,
    nodes: pd.DataFrame,
    *,
    tracked: Sequence[int],
    pixel_size_um: PixelSize = (None, None, None),
    frame_interval_s: float | None = None,
    frames: int | None = None,
) -> Lineage:
    """Build the Lineage of a movie.

    Args:
        detections: Detections.
        graph: TrackGraph.
        tracks: int64 (detections,), of `number_tracks`.
        nodes: track, t, z, y, x and pixels of all cells in the labels with track ids, see `Lineage`.
        tracked: number in the movie of each frame of `detections`.
        pixel_size_um, frame_interval_s, frames: see `Lineage`.
    """
    frame_numbers = np.asarray(tracked, np.int64)[detections.frames]
    nodes = _with_labels(nodes, detections, graph, tracks, frame_numbers)
    daughters = np.flatnonzero(graph.mother != NO_DETECTION)
    parents = dict(zip(tracks[daughters].tolist(), tracks[graph.mother[daughters]].tolist(), strict=True))
    track_table = list_tracks(nodes, parents)
    return Lineage(
        nodes=with_types(nodes, "nodes"),
        tracks=track_table,
        divisions=make_table("divisions", _list_divisions(graph, tracks, track_table)),
        gaps=make_table("gaps", _list_gaps(graph, tracks, frame_numbers, nodes, tracked)),
        repairs=make_table("repairs", _list_repairs(detections, graph, tracks, frame_numbers)),
        pixel_size_um=pixel_size_um,
        frame_interval_s=frame_interval_s,
        frames=frames or detections.n_frames,
        tracked=list(tracked),
    )


def _with_labels(
    nodes: pd.DataFrame, detections: Detections, graph: TrackGraph, tracks: Indices, frame_numbers: Indices
) -> pd.DataFrame:
    """The table of nodes with the columns label and kind, by t and track."""
    columns = {"track": tracks, "t": frame_numbers, "label": detections.labels, "kind": FOUND}
    found = pd.DataFrame(columns)[graph.fragment_of == NO_DETECTION]
    nodes = nodes.merge(found, how="left", on=["track", "t"]).sort_values(["t", "track"], ignore_index=True)
    hidden = list(_hidden_nodes(graph, tracks, frame_numbers))
    kind = np.where(pd.MultiIndex.from_frame(nodes[["t", "track"]]).isin(hidden), SPLIT_FROM_MERGE, FILLED)
    return nodes.assign(label=nodes["label"].fillna(0), kind=nodes["kind"].where(nodes["kind"].notna(), kind))


def _hidden_nodes(graph: TrackGraph, tracks: Indices, frame_numbers: Indices) -> set[tuple[int, int]]:
    """{(t, track)} of cells that are split from a merged object."""
    return {
        (int(frame_numbers[merged]), int(tracks[detection])) for (detection, _), merged in graph.merged_into.items()
    }


def _list_divisions(graph: TrackGraph, tracks: Indices, track_table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows of the table of divisions."""
    # A mother that was missed at her division has interpolated masks after the frame in which she was seen last.
    last = dict(zip(track_table["track"].tolist(), track_table["last"].tolist(), strict=True))
    rows = []
    for division in graph.divisions:
        parent = int(tracks[division.mother])
        daughters = sorted((int(tracks[division.daughter_a]), int(tracks[division.daughter_b])))
        rows.append((parent, last[parent], *daughters, division.confidence, json.dumps(division.evidence)))
    return sorted(rows)


def _list_gaps(
    graph: TrackGraph, tracks: Indices, frame_numbers: Indices, nodes: pd.DataFrame, tracked: Sequence[int]
) -> list[tuple[Any, ...]]:
    """Rows of the table of gaps."""
    existing = pd.MultiIndex.from_frame(nodes[["t", "track"]])
    hidden = _hidden_nodes(graph, tracks, frame_numbers)
    rows = []
    for detection, confidence in sorted(graph.gaps.items()):
        first, last = int(frame_numbers[graph.before[detection]]), int(frame_numbers[detection])
        track = int(tracks[detection])
        missing = [(t, track) for t in tracked if first < t < last]
        filled = all(node in existing for node in missing)
        # A cell that was merged with another in all frames was not missed.
        if not filled or not hidden.issuperset(missing):
            rows.append((track, first, last, filled, confidence))
    return rows


def _list_repairs(
    detections: Detections, graph: TrackGraph, tracks: Indices, frame_numbers: Indices
) -> list[tuple[Any, ...]]:
    """Rows of the table of repairs."""
    rows = [
        (MERGED_FRAGMENT, int(frame_numbers[index]), int(tracks[index]), int(detections.labels[index]))
        for index in np.flatnonzero(graph.fragment_of != NO_DETECTION)
    ]
    rows += [
        (SPLIT_FROM_MERGE, int(frame_numbers[merged]), int(tracks[detection]), int(detections.labels[merged]))
        for (detection, _), merged in graph.merged_into.items()
    ]
    return sorted(rows, key=lambda row: row[1:])


def list_tracks(nodes: pd.DataFrame, parents: dict[int, int]) -> pd.DataFrame:
    """The table of tracks, see `Lineage`, of nodes (track, t) and {track: parent}."""
    spans = nodes.groupby("track")["t"].agg(["min", "max"])
    root: dict[int, int] = {}
    generation: dict[int, int] = {}
    for track in spans.index[np.argsort(spans["min"], kind="stable")].tolist():
        parent = parents.get(track, 0)
        root[track] = root.get(parent, track)
        generation[track] = generation.get(parent, -1) + 1 if parent else 0
    rows = [
        (track, first, last, parents.get(track, 0), root[track], generation[track])
        for track, first, last in zip(spans.index.tolist(), spans["min"], spans["max"], strict=True)
    ]
    return make_table("tracks", rows)


def make_table(name: str, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """The table `name` of a Lineage with these rows."""
    return with_types(pd.DataFrame(rows, columns=list(TABLES[name])), name)


def with_types(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """A table with the columns and types of the table `name` of TABLES."""
    return table.astype(TABLES[name])[list(TABLES[name])].reset_index(drop=True)


def write_lineage(lineage: Lineage, folder: Path) -> None:
    """Write the tables of a Lineage as Parquet files, and lineage.json, into a new folder."""
    folder.mkdir(parents=True)
    for name in TABLES:
        pq.write_table(pa.Table.from_pandas(getattr(lineage, name), preserve_index=False), folder / f"{name}.parquet")
    metadata = {
        "pixel_size_um": lineage.pixel_size_um,
        "frame_interval_s": lineage.frame_interval_s,
        "frames": lineage.frames,
        "tracked": lineage.tracked,
        "motion": lineage.motion,
    }
    (folder / "lineage.json").write_text(json.dumps(metadata, indent=1))


def read_lineage(folder: Path) -> Lineage:
    """Read the Lineage that `write_lineage` wrote."""
    metadata = json.loads((folder / "lineage.json").read_text())
    metadata["pixel_size_um"] = tuple(metadata["pixel_size_um"])
    tables: dict[str, Any] = {
        name: with_types(pq.read_table(folder / f"{name}.parquet").to_pandas(), name) for name in TABLES
    }
    return Lineage(**tables, **metadata)
