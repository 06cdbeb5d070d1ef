"""Findings: what the audits of seams found in all images together."""

import heapq
import json

from tessera.evaluation.label_comparison import COUNTS, f1

LISTED = 200
PICTURED = 12
FINE_F1 = 0.99


def summarise(table, task, folders):
    """Pool the audits of all images.

    Args:
        table: of images, with what `tessera.evaluation.seam_audit.audit_seams` gives.
        task: instances or semantic.
        folders: {image: its folder of pictures}.

    Returns:
        `images` and `windows`, their numbers; the summed COUNTS and `f1`, None where there was nothing to compare; for
        instances `objects` and the mean `iou` of those that match, for classes the share of pixels that are the `same`;
        `events`, see `list_events`, and whether there are `more`.
    """
    rows = table.reindex(columns=["seam_windows", *COUNTS[task]])
    rows = rows[rows["seam_windows"] > 0]
    counts = {name: rows[name].sum() for name in COUNTS[task]}
    events = list_events(folders)
    pooled = {"images": len(rows), "windows": int(rows["seam_windows"].sum()), "f1": f1(**counts)}
    pooled |= {"events": events[:LISTED], "more": len(events) > LISTED}
    if task == "instances":
        matched = counts["seam_tp"]
        compared = {"objects": int(matched + counts["seam_fn"])}
        return counts | pooled | compared | {"iou": counts["seam_iou_sum"] / matched if matched else None}
    pixels = counts["seam_pixels"]
    return counts | pooled | {"same": counts["seam_pixels_right"] / pixels if pixels else None}


def list_events(folders):
    """Where seams changed labels, the worst first: dicts of `tessera.evaluation.label_comparison.Event`s, one more than LISTED at most.

    Each has `image` too, and of the worst few `picture`, the folder that `tessera.report.overlay_images.draw_crop` made, else None.
    """
    events = (
        event | {"image": image, "picture": folder / "seams" / str(number)}
        for image, folder in folders.items()
        if (folder / "seams.json").exists()
        for number, event in enumerate(json.loads((folder / "seams.json").read_text()))
    )
    worst = heapq.nsmallest(LISTED + 1, events, key=lambda event: event["gravity"])
    drawn = 0
    for event in worst:
        if drawn == PICTURED or not event["picture"].is_dir():
            event["picture"] = None
        drawn += event["picture"] is not None
    return worst


def warn(found):
    """Sentences [(text, section)], as `tessera.report.report_tables.warn` gives them, of what `summarise` gives."""
    if found["f1"] is None or found["f1"] >= FINE_F1:
        return []
    return [(f"Labels are not the same without seams: F1 {found['f1']:.4f} where tiles meet.", "seams")]
