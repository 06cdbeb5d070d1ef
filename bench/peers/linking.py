"""laptrack on the centers of objects, with one distance for links, gaps and splits."""

import time

import numpy as np
import pandas as pd
from laptrack import LapTrack
from tasks import answer


def run(points, cutoff_px):
    """Track the objects of a movie.

    Args:
        points: npz of frame, y and x, each (objects,).
        cutoff_px: largest distance of a link, a gap and a split.

    Returns:
        {"tracks": track of each object, "splits": [[parent, child], ...], "seconds"}.
    """
    with np.load(points) as arrays:
        table = pd.DataFrame({name: arrays[name] for name in ("frame", "y", "x")})
    cutoff = cutoff_px**2
    tracker = LapTrack(cutoff=cutoff, gap_closing_cutoff=cutoff, gap_closing_max_frame_count=3, splitting_cutoff=cutoff)
    began = time.perf_counter()
    tracks, splits, _ = tracker.predict_dataframe(table, ["y", "x"], only_coordinate_cols=False)
    seconds = time.perf_counter() - began
    # The table is returned in its order, by frame.
    return {"tracks": tracks["track_id"].tolist(), "splits": splits.to_numpy(int).tolist(), "seconds": seconds}


if __name__ == "__main__":
    answer(run)
