"""Trackings: what the report says of movies that were tracked."""

from pathlib import Path

import numpy as np

from tessera.evaluation.tracking_metrics import COUNTS, SCORES
from tessera.report.lineage_plots import cycle_lengths, displacements
from tessera.report.track_animation import NAME as ANIMATION
from tessera.tracking.lineage import read_lineage

UNSURE = 0.9  # confidence of divisions below which they are worth a look


def list_movies(folders, rows, limit):
    """What the report says of the movies that were tracked, by name.

    Args:
        folders: of the batches of tracks.
        rows: table of scores, a row for each image.
        limit: at most so many movies.

    Returns:
        ([{folder, image, tracks, divisions, unsure, gaps, filled, repairs, cycle, cycle_s, shift, unit, animation,
        scores, trackless}, ...], how many were left out). `cycle` is the median number of frames from birth to
        division, `shift` the median displacement from frame to frame; None where none was seen. `animation` is its path
        beside the report, or None. `scores` is {} without truth, and `trackless` is True where there is truth without
        tracks.
    """
    found = sorted(
        (path.parent for folder in folders for path in Path(folder).glob("*/lineage")), key=lambda path: path.name
    )
    scores = rows.set_index("image").reindex(columns=[*SCORES, COUNTS[0], "frames_scored"])
    return [_describe(folder, scores) for folder in found[:limit]], max(len(found) - limit, 0)


def _describe(folder, scores):
    lineage = read_lineage(folder / "lineage")
    cycles, shifts = cycle_lengths(lineage), displacements(lineage)
    known = scores.loc[folder.name].dropna().astype(float).to_dict() if folder.name in scores.index else {}
    # Where tracks were scored, their divisions were counted, even if there was nothing to score.
    counted = known.pop(COUNTS[0], None) is not None
    trackless = known.pop("frames_scored", 0) > 0 and not counted
    cycle = float(np.median(cycles)) if len(cycles) else None
    played = f"tracks/{folder.parent.name}/{folder.name}/{ANIMATION}"
    return {
        "folder": folder,
        "image": folder.name,
        "tracks": len(lineage.tracks),
        "divisions": len(lineage.divisions),
        "unsure": int((lineage.divisions["confidence"] < UNSURE).sum()),
        "gaps": len(lineage.gaps),
        "filled": int((lineage.nodes["kind"] == "filled").sum()),
        "repairs": len(lineage.repairs),
        "cycle": cycle,
        "cycle_s": cycle * lineage.frame_interval_s if cycle and lineage.frame_interval_s else None,
        "shift": float(np.median(shifts)) if len(shifts) else None,
        "unit": lineage.unit,
        "animation": played if (folder / ANIMATION).exists() else None,
        "scores": known,
        "trackless": trackless,
    }
