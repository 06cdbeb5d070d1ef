"""Exports: lineages in the forms that the field uses."""

import numpy as np
import tifffile

CHALLENGE_MOST = np.iinfo(np.uint16).max
NAPARI = ("track_id", "t", "z", "y", "x", "parent", "lineage", "generation", "kind")


class ChallengeFolder:
    """A result in the form of the Cell Tracking Challenge: mask000.tif and so on, and res_track.txt.

    A track there has no gap. One that was missed and not filled goes on under another id, with the first as its parent;
    as an only child it cannot be taken for a daughter, since those are two.

    Args:
        folder: where to write; it is made.
        tracks: number of tracks, that is the largest id.
        frames: number of frames.
    """

    def __init__(self, folder, tracks, frames):
        self._folder = folder
        folder.mkdir(parents=True)
        self._digits = max(3, len(str(frames - 1)))
        self._rows, self._now, self._count = {}, {}, tracks
        self._wide = tracks > CHALLENGE_MOST

    def add(self, t, labels):
        """Write frame t, labels (z, y, x) of tracks; a single plane is written as (y, x)."""
        ids = np.unique(labels)
        ids = ids[ids > 0]
        lut = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
        for track in ids.tolist():
            here = self._now.get(track)
            if here is None:
                here = track
                self._rows[here] = [t, t, 0]
            elif self._rows[here][1] < t - 1:
                self._count += 1
                self._rows[self._count] = [t, t, here]
                here = self._count
            self._now[track], self._rows[here][1], lut[track] = here, t, here
        masks = lut[labels]
        self._wide |= self._count > CHALLENGE_MOST
        masks = masks.astype(np.uint32 if self._wide else np.uint16)
        masks = masks[0] if len(masks) == 1 else masks
        tifffile.imwrite(self._folder / f"mask{t:0{self._digits}d}.tif", masks, compression="zlib")

    def finish(self, parents):
        """Write res_track.txt with {track: parent} of the daughters; whether ids of 16 bits, as the Challenge's, do."""
        for track, parent in parents.items():
            self._rows[track][2] = self._now[parent]
        lines = [f"{track} {first} {last} {parent}\n" for track, (first, last, parent) in sorted(self._rows.items())]
        (self._folder / "res_track.txt").write_text("".join(lines))
        return not self._wide


def write_napari(lineage, path):
    """Write a table for napari's tracks layer: track_id, t, z, y, x in pixels, and properties; a row for each node."""
    tracks = lineage.tracks.set_index("track")
    nodes = lineage.nodes.join(tracks[["parent", "lineage", "generation"]], on="track").rename(
        columns={"track": "track_id"}
    )
    nodes.sort_values(["track_id", "t"])[list(NAPARI)].to_csv(path, index=False)


def write_newick(lineage, path):
    """Write lineages as Newick trees, a line for each root: tracks by name, branches as long as they last, in frames.

    A branch begins where the mother was seen last, so that a daughter's includes the step of the division.
    """
    tracks = lineage.tracks.set_index("track")
    children = {}
    for track, parent in sorted(lineage.parents.items()):
        children.setdefault(parent, []).append(track)

    def branch(track):
        begin = (
            tracks.loc[tracks.loc[track, "parent"], "last"]
            if tracks.loc[track, "parent"]
            else tracks.loc[track, "first"]
        )
        return f"{track}:{tracks.loc[track, 'last'] - begin}"

    lines = []
    for root in tracks.index[tracks["parent"] == 0]:
        # Without recursion, since lineages of thousands of generations are no reason to fail.
        parts, stack = [], [(root, False)]
        while stack:
            track, closing = stack.pop()
            if isinstance(track, str):
                parts.append(track)
            elif closing or track not in children:
                parts.append(branch(track))
            else:
                parts.append("(")
                stack += [(track, True), (")", False)]
                for number, child in enumerate(reversed(children[track])):
                    stack += [(",", False)] * bool(number) + [(child, False)]
        lines.append("".join(parts) + ";\n")
    path.write_text("".join(lines))
