"""Audits: what seams did to labels, seen by comparing them with windows that were predicted once more without a seam.

The reference is made of a window alone, so that what its border cuts cannot be judged, nor what lies so near to it that
what is beyond may have had a say.
"""

import json
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tessera.common.errors import InputError
from tessera.evaluation.label_comparison import COUNTS, EVERY_SIDE, LISTED, Event, compare_classes, compare_objects, f1
from tessera.inference.seam_windows import read_seam_windows
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata
from tessera.report.overlay_images import draw_crop
from tessera.segmentation.seeded_growth import REACH_PX, segment_plane
from tessera.settings.sections import SegmentSettings

PICTURED = 6
NAMED = 5


class Disagreement(NamedTuple):
    """An event, and of the worst few the labels around it: arrays (y, x), `corner` is their place in the plane."""

    event: Event
    corner: tuple[int, int]
    reference: np.ndarray | None
    found: np.ndarray | None


def audit_seams(predictions, labels, *, task, segment):
    """Compare the labels of an image with what they would be without a seam.

    Objects match when their IoU is above 0.5, which is one to one. Of classes, the pixels of all but the first count
    instead of objects.

    Args:
        predictions, labels: paths of the image's stores; predictions may be None.
        task: instances or semantic.
        segment: section of the settings that the labels were made with.

    Returns:
        (row, disagreements): {"seam_windows": windows, "seam_f1": 2 tp / (2 tp + fp + fn), and the COUNTS of the task,
        which add up over images}, None where there is no window; Disagreements, the worst first, LISTED at most.
    """
    counts, worst, windows = dict.fromkeys(COUNTS[task], 0), [], 0
    stored, pixel_size_um = open_array(labels), read_metadata(labels).pixel_size_um
    for (t, z, y, x), probabilities in read_seam_windows(predictions) if predictions else ():
        shape = probabilities.shape[1:]
        found = read_block(stored, np.s_[t, 0, z, y : y + shape[0], x : x + shape[1]])
        if task == "instances":
            reference = _renumbered(
                segment_plane(
                    probabilities,
                    SegmentSettings.model_validate(segment),
                    pixel_size_um=pixel_size_um,
                    name=str(labels),
                )
            )
            found = _renumbered(found)
            ends = (y > 0, y + shape[0] < stored.shape[3]), (x > 0, x + shape[1] < stored.shape[4])
            added, events = compare_objects(reference, found, doubtful(reference, found, ends))
        else:
            reference = probabilities.argmax(0).astype(found.dtype)
            added, events = compare_classes(reference, found)
        counts = {name: counts[name] + added[name] for name in counts}
        windows += 1
        for event in events:
            crop = _crop(event.at, shape, event.area_px)
            corner = (int(y + crop[0].start), int(x + crop[1].start))
            placed = event._replace(at=(t, z, y + event.at[0], x + event.at[1]))
            worst.append(Disagreement(placed, corner, reference[crop].copy(), found[crop].copy()))
        worst = sorted(worst, key=lambda each: each.event)[:LISTED]
        worst[PICTURED:] = [each._replace(reference=None, found=None) for each in worst[PICTURED:]]
    if not windows:
        return {"seam_windows": 0, "seam_f1": None} | dict.fromkeys(counts), []
    return {"seam_windows": windows, "seam_f1": f1(**counts)} | counts, worst


def draw_disagreements(folder, disagreements, *, image, classes=()):
    """Write what disagrees in one image: seams.json, a list, and pictures of the first ones; nothing if nothing does.

    Args:
        folder: of the image's pictures; the pictures are in its folders seams/0, seams/1, ... (see `draw_crop`).
        disagreements: as of `audit_seams`.
        image: path of its store.
        classes: as in `tessera.report.overlay_images.draw_pictures`.
    """
    if not disagreements:
        return
    listed = [each.event._asdict() for each in disagreements]
    (folder / "seams.json").write_text(json.dumps(listed))
    for number, each in enumerate(disagreements):
        if each.found is not None:
            layers = {"labels": each.found, "reference": each.reference}
            place = folder / "seams" / str(number)
            draw_crop(place, image, *each.event.at[:2], each.corner, layers, classes=classes)


def check_seams(rows, events, least):
    """Refuse a batch that seams have changed too much.

    Args:
        rows: of the table, each with `image` and what `audit_seams` gives.
        events: {image: [Event, ...]}.
        least: F1 of all images together that is enough; None: any is.

    Raises:
        InputError: it is less; with the images and the worst places.
    """
    compared = sorted((row for row in rows if row["seam_f1"] is not None), key=lambda row: row["seam_f1"])
    pooled = f1(**{name: sum(row[name] for row in compared) for name in ("seam_tp", "seam_fp", "seam_fn")})
    if least is None or pooled is None or pooled >= least:
        return
    poor = [row for row in compared if row["seam_f1"] < least]
    images = ", ".join(
        [f"{row['image']} ({row['seam_f1']:.4f})" for row in poor[:NAMED]] + ["..."] * (len(poor) > NAMED)
    )
    worst = sorted((event, row["image"]) for row in poor for event in events[row["image"]])[:NAMED]
    places = (f"{image} at t, z, y, x = {', '.join(map(str, event.at))}: {event.kind}" for event, image in worst)
    raise InputError(
        f"{images}: seams change the labels. Their F1 is {pooled:.4f} in this batch, "
        f"evaluate.min_seam_f1 is {least:g} ({'; '.join(places)}); give a larger predict.halo_px, or a smaller "
        "evaluate.min_seam_f1"
    )


def doubtful(reference, found, inner, margin_px=REACH_PX):
    """Pixels of objects that what lies beyond the window may have changed: they hang together with its inner border.

    Args:
        reference, found: ids (y, x) of the window.
        inner: ((first, last), (first, last)) of y and x: whether the image goes on beyond that end of the window.
        margin_px: how far a window's surroundings reach into it through connected foreground.

    Returns:
        bool (y, x).
    """
    pieces, _ = ndimage.label((reference > 0) | (found > 0), EVERY_SIDE)
    near, cut = np.zeros(pieces.shape, dtype=bool), []
    for axis, (first, last) in enumerate(inner):
        for goes_on, line, band in ((first, 0, slice(margin_px)), (last, -1, slice(-margin_px, None))):
            if goes_on:
                cut.append(pieces.take(line, axis))
                np.moveaxis(near, axis, 0)[band] = True
    return near & (pieces > 0) & np.isin(pieces, np.concatenate(cut)) if cut else near


def _crop(at, shape, area_px):
    """Slices (y, x) around an object of a window of this shape, with as much beside it as it is large."""
    sides = [min(length, max(96, 4 * int(area_px**0.5))) for length in shape]
    starts = [
        min(max(place - side // 2, 0), length - side) for place, side, length in zip(at, sides, shape, strict=True)
    ]
    return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


def _renumbered(ids):
    """The same partition with ids 0, 1, 2, ..., int32."""
    return np.unique(np.append(ids.ravel(), 0), return_inverse=True)[1][:-1].reshape(ids.shape).astype(np.int32)
