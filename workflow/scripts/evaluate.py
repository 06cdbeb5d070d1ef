"""Score labels against truth and, on seams, against predictions without a seam, and draw all of them.

Reads results/labels/{batch}, results/images/{batch} and results/truth/{batch}: stores (t, c, z, y, x), the labels int32
instances or uint8 classes; and the windows on seams that results/predictions/{batch} holds. Writes
results/metrics/{batch}.tsv, a row for each image, and results/pictures/{batch}/{image}/ (see lib/pictures.py and
lib/audits.py).
"""

import shutil
from pathlib import Path

import pandas as pd
from lib.audits import audit_seams, check_seams, draw_disagreements
from lib.batches import find_stores
from lib.jobs import running
from lib.pictures import draw_pictures
from lib.scores import score_image, worst_frame
from lib.splits import PREDICT


def evaluate(
    labels, images, truth, predictions=(), *, recipes, sides, annotated, metrics, pictures, task, classes, ious,
    segment=None, seam_f1_least=None,
):  # fmt: skip
    """Score and draw every image of a batch.

    Args:
        labels, images: folders of the batch.
        truth: folders of the batch's truth, none or one.
        predictions: folders of the batch's predictions, none or one; seams are audited where they hold windows.
        recipes: {image: digest}, kept in the table.
        sides: {image: side of the split}.
        annotated: the images that have a truth.
        metrics: the table to write, a row for each image that was not set aside.
        pictures: the folder to write, a folder in it for each of those.
        task, classes, ious: see `lib.scores.score_image`.
        segment: settings that the labels were made with.
        seam_f1_least: see `lib.audits.check_seams`.

    Raises:
        InputError: stores that do not fit each other, or labels that seams have changed too much.
    """
    stores = find_stores([images], recipes)
    found = find_stores([labels], stores)
    true = find_stores(truth, [image for image in found if image in annotated and sides[image] != PREDICT])
    probable = find_stores(predictions, found) if predictions else {}
    rows, events = [], {}
    # A job that outlived its Snakemake may have left some.
    shutil.rmtree(pictures, ignore_errors=True)
    Path(pictures).mkdir(parents=True)
    for number, image in enumerate(found, start=1):
        row, scores = score_image(found[image], true.get(image), task=task, classes=classes, ious=ious)
        t, score = worst_frame(scores, row["frames"])
        drawn = {"image": stores[image], "classes": classes if task == "semantic" else ()}
        draw_pictures(Path(pictures) / image, labels=found[image], truth=true.get(image), t=t, score=score, **drawn)
        seams, disagreements = audit_seams(probable.get(image), found[image], task=task, segment=segment)
        draw_disagreements(Path(pictures) / image, disagreements, **drawn)
        events[image] = [each.event for each in disagreements]
        rows.append({"image": image, "batch": Path(metrics).stem, "split": sides[image]} | row | seams)
        rows[-1]["recipe"] = recipes[image]
        print(f"[{number}/{len(found)}] {image}" + (f": {score:.3f}" if score is not None else ""), flush=True)
    check_seams(rows, events, seam_f1_least)
    table = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["image", "batch", "split", "recipe"])
    table.convert_dtypes().to_csv(metrics, sep="\t", index=False, float_format="%.8g")


if __name__ == "__main__":
    with running(snakemake):
        evaluate(
            labels=snakemake.input.labels,
            images=snakemake.input.images,
            truth=snakemake.input.truth,
            predictions=[snakemake.input.predictions],
            recipes=snakemake.params.recipes,
            sides=snakemake.params.sides,
            annotated=set(snakemake.params.annotated),
            metrics=snakemake.output.metrics,
            pictures=snakemake.output.pictures,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            segment=snakemake.params.segment,
            **snakemake.params.settings,
        )
