"""Score labels against truth and, on seams, against predictions without a seam, and draw all of them.

Reads results/labels/{batch}, results/images/{batch} and results/truth/{batch}: stores (t, c, z, y, x), the labels int32
instances or uint8 classes; and the windows on seams that results/predictions/{batch} holds. Writes
results/metrics/{batch}.tsv, a row for each image, and results/pictures/{batch}/{image}/ (see tessera/report/overlay_images.py and
tessera/evaluation/seam_audit.py).
"""

import json
import shutil
from pathlib import Path

import pandas as pd

from tessera.common.batch_outputs import find_stores
from tessera.common.job import running
from tessera.data.domain_shift import check_object_diameter, find_domain_shift
from tessera.data.split import PREDICT
from tessera.evaluation.image_scores import score_image, worst_frame
from tessera.evaluation.seam_audit import audit_seams, check_seams, draw_disagreements
from tessera.evaluation.tracking_metrics import score_movie
from tessera.io.ome_zarr_store import open_array, read_metadata
from tessera.networks.model_folder import read_model_card
from tessera.report.overlay_images import draw_pictures


def read_model(selected, models):
    """Content of model.json of the one among the folders `models` that the file `selected` names."""
    name = json.loads(Path(selected).read_text())["model"]
    return read_model_card(next(folder for folder in models if Path(folder).name == name))


def read_prediction(store):
    """What a prediction store, or None, says about how it was made."""
    return read_metadata(store).extra.get("prediction", {}) if store else {}


def list_engines(made):
    """Columns of the table that say what predicted an image, from `read_prediction`."""
    engines = made.get("engines", [])
    checks = [engine["check"] for engine in engines if engine["check"]]
    return {
        "engine": " + ".join(sorted({f"{one['engine']}, {one['device']}, {one['precision']}" for one in engines}))
        or None,
        "precision_iou_change": max((check["iou_change"] for check in checks), default=None),
        "halo_px": made.get("halo_px"),
        "overlap_cost": made.get("overlap_cost"),
        "scale": made.get("scale"),
    }


def find_misfits(image, made, about, row, seen):
    """Sentences on what sets an image, and the objects found in it, apart from those of the training.

    Args:
        image: path of the store.
        made: from `read_prediction`.
        about: content of model.json.
        row: of the table of scores.
        seen: rescale, object_diameter_px, roi and frames, see `tessera.data.domain_shift.find_domain_shift`.
    """
    # Objects of a stack have volumes, the training diameters in planes.
    area_px = row.get("area_px_median") if open_array(image).shape[2] == 1 else None
    name = image.name.removesuffix(".ome.zarr")
    return find_domain_shift(image, about, **seen) + check_object_diameter(name, area_px, about, made.get("scale", 1.0))


def evaluate(
    labels, images, truth, predictions=(), *, provenance, sides, annotated, metrics, pictures, task, classes, iou_thresholds,
    tracks=None, about=None, regions=None, segment=None, min_seam_f1=None,
):  # fmt: skip
    """Score and draw every image of a batch.

    Args:
        labels, images: folders of the batch.
        truth: folders of the batch's truth, none or one.
        predictions: folders of the batch's predictions, none or one; seams are audited where they hold windows.
        provenance: {image: digest}, kept in the table.
        sides: {image: side of the split}.
        annotated: the images that have a truth.
        metrics: the table to write, a row for each image that was not set aside.
        pictures: the folder to write, a folder in it for each of those.
        task, classes, iou_thresholds: see `tessera.evaluation.image_scores.score_image`.
        tracks: folder of the batch's tracks, None: there is none; they are scored as far as a movie was looked at.
        about: content of the model's model.json, which says what it was trained on.
        regions: {image: its roi and frames}, see `tessera.io.region_of_interest`, of images that were not looked at in whole.
        segment: settings that the labels were made with.
        min_seam_f1: see `tessera.evaluation.seam_audit.check_seams`.

    Raises:
        InputError: stores that do not fit each other, or labels that seams have changed too much.
    """
    stores = find_stores([images], provenance)
    found = find_stores([labels], stores)
    true = find_stores(truth, [image for image in found if image in annotated and sides[image] != PREDICT])
    probable = find_stores(predictions, found) if predictions else {}
    rows, events = [], {}
    # A job that outlived its Snakemake may have left some.
    shutil.rmtree(pictures, ignore_errors=True)
    Path(pictures).mkdir(parents=True)
    for number, image in enumerate(found, start=1):
        scored = {"task": task, "classes": classes, "iou_thresholds": iou_thresholds} | (regions or {}).get(image, {})
        row, scores = score_image(found[image], true.get(image), **scored)
        made = read_prediction(probable.get(image))
        seen = {key: made[key] for key in ("rescale", "object_diameter_px") if key in made} | (regions or {}).get(
            image, {}
        )
        fit = find_misfits(stores[image], made, about, row, seen) if about else []
        t, score = worst_frame(scores)
        drawn = {"image": stores[image], "classes": classes if task == "semantic" else ()}
        draw_pictures(Path(pictures) / image, labels=found[image], truth=true.get(image), t=t, score=score, **drawn)
        seams, disagreements = audit_seams(probable.get(image), found[image], task=task, segment=segment)
        draw_disagreements(Path(pictures) / image, disagreements, **drawn)
        events[image] = [each.event for each in disagreements]
        if tracks:
            roi = (regions or {}).get(image, {}).get("roi")
            row |= score_movie(Path(tracks) / image, true.get(image), roi=roi)
        rows.append({"image": image, "batch": Path(metrics).stem, "split": sides[image]} | row | seams)
        rows[-1] |= list_engines(made) | {"fit": "; ".join(fit), "provenance": provenance[image]}
        print("".join(f"{sentence}\n" for sentence in fit), end="")
        print(f"[{number}/{len(found)}] {image}" + (f": {score:.3f}" if score is not None else ""), flush=True)
    check_seams(rows, events, min_seam_f1)
    # Not all images are movies, so that the columns are those of any row.
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = pd.DataFrame(rows, columns=columns or ["image", "batch", "split", "fit", "provenance"])
    table.convert_dtypes().to_csv(metrics, sep="\t", index=False, float_format="%.8g")


if __name__ == "__main__":
    with running(snakemake):
        evaluate(
            labels=snakemake.input.labels,
            images=snakemake.input.images,
            truth=snakemake.input.truth,
            predictions=[snakemake.input.predictions] if snakemake.input.predictions else [],
            provenance=snakemake.params.provenance,
            sides=snakemake.params.sides,
            tracks=snakemake.input.tracks or None,
            annotated=set(snakemake.params.annotated),
            metrics=snakemake.output.metrics,
            pictures=snakemake.output.pictures,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            about=read_model(snakemake.input.selected, snakemake.input.models) if snakemake.input.selected else None,
            regions=snakemake.params.regions,
            segment=snakemake.params.segment,
            **snakemake.params.settings,
        )
