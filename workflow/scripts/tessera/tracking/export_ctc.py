"""Cell Tracking Challenge export: mask000.tif and so on, and res_track.txt."""

from pathlib import Path

import numpy as np
import tifffile

from tessera.tracking.array_types import Labels

MAX_16_BIT_TRACKS = np.iinfo(np.uint16).max


class ChallengeFolder:
    """A result in the format of the Cell Tracking Challenge, written frame by frame.

    A track of this format has no gap. After a gap that was not filled, a track goes on under another id, as the only
    child of the first part; it cannot be mistaken for a daughter, since daughters come in pairs.
    """

    def __init__(self, folder: Path, n_tracks: int, n_frames: int) -> None:
        """Make the folder; `n_tracks` is the number of tracks, that is their largest id."""
        self._folder = folder
        folder.mkdir(parents=True)
        self._digits = max(3, len(str(n_frames - 1)))
        self._rows: dict[int, list[int]] = {}  # id: first frame, last frame, parent
        self._current: dict[int, int] = {}  # track: id of its current part
        self._count = n_tracks
        self._wide = bool(n_tracks > MAX_16_BIT_TRACKS)

    def add(self, t: int, labels: Labels) -> None:
        """Write frame t, labels (z, y, x) with track ids; a single plane is written as (y, x)."""
        tracks = np.unique(labels)
        tracks = tracks[tracks > 0]
        lookup = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
        for track in tracks.tolist():
            id_ = self._current.get(track)
            if id_ is None:
                id_ = track
                self._rows[id_] = [t, t, 0]
            elif self._rows[id_][1] < t - 1:
                self._count += 1
                self._rows[self._count] = [t, t, id_]
                id_ = self._count
            self._current[track], self._rows[id_][1], lookup[track] = id_, t, id_
        self._wide |= bool(self._count > MAX_16_BIT_TRACKS)
        masks = lookup[labels].astype(np.uint32 if self._wide else np.uint16)
        masks = masks[0] if len(masks) == 1 else masks
        tifffile.imwrite(self._folder / f"mask{t:0{self._digits}d}.tif", masks, compression="zlib")

    def finish(self, parents: dict[int, int]) -> bool:
        """Write res_track.txt.

        Args:
            parents: {track of a daughter: track of her mother}.

        Returns:
            Whether all ids fit into 16 bits, which the tools of the Challenge expect.
        """
        for track, parent in parents.items():
            self._rows[track][2] = self._current[parent]
        lines = [f"{id_} {first} {last} {parent}\n" for id_, (first, last, parent) in sorted(self._rows.items())]
        (self._folder / "res_track.txt").write_text("".join(lines))
        return not self._wide
