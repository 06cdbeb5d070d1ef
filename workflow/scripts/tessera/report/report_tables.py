"""What a report says about many images: scores of sides, which pictures to show, run times, and what to beware of."""

from pathlib import Path

import pandas as pd

from tessera.data.split import LEAKS_KEPT, PREDICT, SUBSET_NAMES, SUBSETS
from tessera.evaluation.segmentation_metrics import (
    add_counts,
    class_counts,
    class_scores,
    count_overlaps,
    instance_counts,
    instance_scores,
    percent,
)

SHOWN_SIDES = (*reversed(SUBSETS), PREDICT)
LEAKS_SHOWN = 200
KINDS = {"iou": "IoU", "dice": "Dice", "precision": "Precision", "recall": "Recall"}


def read_table(path, **options):
    """A tab-separated table, in which an image may well be called NA."""
    names = dict.fromkeys(("image", "batch", "group", "image_a", "image_b", "fold", "fit", "provenance"), str)
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=names, **options)


def columns_of(task, classes):
    """What the table of images shows.

    Returns:
        ([(key, label, "text" | "number" | "score") of each column], key of the headline, label of the headline).
    """
    names = [("image", "Image", "text"), ("split", "Set", "text"), ("group", "Group", "text")]
    if task == "instances":
        numbers = {"frames": "Frames", "objects_truth": "True", "objects_found": "Found"}
        headline, label = "ap_50", "AP at IoU 0.5"
        scores = {headline: "AP 0.5", "ap_mean": "AP mean", "panoptic_quality": "PQ", "seg": "SEG"}
        last = {"splits": "Splits", "merges": "Merges"}
    else:
        numbers, last = {"frames": "Frames"}, {}
        headline, label = "iou_mean", "Mean foreground IoU"
        scores = {headline: "Mean IoU"}
        scores |= {f"{kind}_{name}": f"{word} {name}" for kind, word in KINDS.items() for name in classes[1:]}
    scores["pixel_accuracy"] = "Pixel accuracy"
    kinds = ((numbers, "number"), (scores, "score"), (last, "number"))
    return names + [(key, text, kind) for some, kind in kinds for key, text in some.items()], headline, label


def join_tables(tables, groups, settings):
    """One table of all images, the worst first, with every column that the report shows.

    `groups` is {image: group}, for the column of that name.
    """
    table = pd.concat(tables, ignore_index=True)
    columns, headline, _ = columns_of(settings["task"], settings["classes"])
    wanted = [key for key, _, _ in columns if key != "group"] + ["frames_scored"]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *wanted])))
    table.insert(1, "group", table["image"].map(groups))
    return table.sort_values([headline, "image"], na_position="last", ignore_index=True).convert_dtypes()


def summarise(table, split, leaks, skipped, settings, pictures_limit, learnt=True):
    """What the template says about `table` (of `join_tables`), the split and its leaks, and what was set aside.

    `learnt` says whether a network learnt in this run.
    """
    task, classes, ious = settings["task"], settings["classes"], settings["evaluate"]["iou_thresholds"]
    columns, headline, label = columns_of(task, classes)
    pooled = pool_scores(table, task=task, classes=classes, ious=ious)
    scored = [side for side in SHOWN_SIDES if pooled[side]["scored"]]
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    by_name = {row["image"]: row for row in rows}
    chosen = choose_pictures(table, headline, pictures_limit)
    curves = {}
    if task == "instances" and len(ious) > 1:
        curves = {side: [(iou, pooled[side][f"ap_{percent(iou)}"]) for iou in sorted(ious)] for side in scored}
    return {
        "task": task,
        "classes": classes,
        "sides": SHOWN_SIDES,
        "columns": [column for column in columns if column[0] != "group" or table["group"].notna().any()],
        "headline": headline,
        "headline_label": label,
        "rows": rows,
        "pooled": pooled,
        "best_side": scored[0] if scored else None,
        "best": pooled[scored[0]] if scored else None,
        "pictures": [by_name[image] for image in chosen],
        "pictured": {image: place for place, image in enumerate(chosen, start=1)},
        "histograms": {side: histogram(table.loc[table["split"] == side, headline]) for side in scored},
        "ap_curves": curves,
        "ious": sorted(ious),
        "split_lines": count_sides(split),
        "fold_lines": count_folds(split),
        "leaks": leaks.head(LEAKS_SHOWN).to_dict("records"),
        "leaks_shown": LEAKS_SHOWN,
        "leak_count": count_leaks(leaks),
        "skipped": skipped,
        "engines": count_engines(table),
        "warnings": warn(pooled, split, leaks, skipped, learnt=learnt),
    }


def count_engines(table):
    """A dict for each engine, device and precision that predicted: engine, images, change, halo_px, cost, rescaled.

    `change` is None where no lower precision was checked.
    """
    columns = ["image", "engine", "precision_iou_change", "halo_px", "overlap_cost", "scale"]
    return [
        {
            "engine": engine,
            "images": len(rows),
            "change": max(rows["precision_iou_change"].dropna(), default=None),
            "halo_px": rows["halo_px"].max(),
            "cost": rows["overlap_cost"].mean(),
            "rescaled": int((rows["scale"] != 1).sum()),
        }
        for engine, rows in table.reindex(columns=columns).groupby("engine")
    ]


def pool_scores(table, *, task, classes, ious):
    """{side: scores} of all scored images of each side together, from their summed counts.

    Each holds the counts and scores of tessera.evaluation.segmentation_metrics, `images` (all of the side), `scored` and `frames_scored`.
    """
    nothing = count_overlaps([])
    names = instance_counts(nothing, ious) if task == "instances" else class_counts(nothing, classes)
    pooled = {}
    for side in SHOWN_SIDES:
        rows = table[table["split"] == side]
        scored = rows[rows["frames_scored"] > 0]
        pooled[side] = {"images": len(rows), "scored": len(scored), "frames_scored": int(scored["frames_scored"].sum())}
        if len(scored):
            counts = add_counts(scored[list(names)].to_dict("records"))
            scores = instance_scores(counts, ious) if task == "instances" else class_scores(counts, classes)
            pooled[side] |= counts | scores
    return pooled


def choose_pictures(table, headline, limit):
    """Names of at most `limit` images, an equal share of each side while it lasts: test first, the worst first."""
    ranked = table.sort_values([headline, "image"], na_position="last")
    ranked = ranked.assign(
        rank=ranked.groupby("split").cumcount(),
        side=ranked["split"].map({side: n for n, side in enumerate(SHOWN_SIDES)}),
    )
    chosen = ranked.sort_values(["rank", "side"]).head(limit)
    return chosen.sort_values(["side", "rank"])["image"].tolist()


def histogram(scores, bins=20):
    """How many of the scores (images,), from 0 to 1, fall into each of equal bins."""
    places = (scores.dropna() * bins).astype(int).clip(0, bins - 1)
    return places.value_counts().reindex(range(bins), fill_value=0).tolist()


def run_times(folder):
    """A dict for each rule that left benchmarks under `folder`: rule, jobs, seconds in all, longest, memory_mb."""
    folder = Path(folder)
    parts = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        parts.append(pd.read_csv(path, sep="\t", na_values=["-"])[["s", "max_rss"]].assign(rule=rule))
    if not parts:
        return []
    grouped = pd.concat(parts).groupby("rule")
    times = grouped.agg(jobs=("s", "size"), seconds=("s", "sum"), longest=("s", "max"), memory_mb=("max_rss", "max"))
    return times.sort_values("seconds", ascending=False).reset_index().to_dict("records")


def learning_curves(history):
    """A dict for each column of a training's history (epochs, columns) that has a partner val_...

    Each holds `name`, `lines` {"train", "val": [(epoch, value)]}, `first` and `last` epoch, and `top` of the axis.
    """
    curves = []
    for name in (column for column in history.columns if f"val_{column}" in history):
        columns = {"train": name, "val": f"val_{name}"}
        points = {side: history[["epoch", column]].dropna() for side, column in columns.items()}
        most = max((line.iloc[:, 1].max() for line in points.values() if len(line)), default=0)
        curves.append(
            {
                "name": name.replace("_", " "),
                "lines": {
                    side: list(map(tuple, line.to_numpy().tolist())) for side, line in points.items() if len(line)
                },
                "first": int(history["epoch"].min()),
                "last": int(max(history["epoch"].max(), history["epoch"].min() + 1)),
                "top": float(most) if most > 1 or (name == "loss" and most > 0) else 1.0,
            }
        )
    return curves


def count_sides(split):
    """A dict for each side: side, images, groups, and images that are there by hash, by the table, or to fill it."""
    lines = []
    for side in SHOWN_SIDES:
        rows = split[split["split"] == side]
        reasons = {why: int((rows["why"] == why).sum()) for why in ("hash", "table", "filled")}
        if len(rows):
            lines.append({"side": side, "images": len(rows), "groups": rows["group"].nunique()} | reasons)
    return lines


def count_folds(split):
    """A dict for each fold that groups were dealt into: fold, images and groups; none where there is one fold."""
    dealt = split[(split["split"] == "train") & split["fold"].notna()]
    return [
        {"fold": fold, "images": len(rows), "groups": rows["group"].nunique()}
        for fold, rows in sorted(dealt.groupby("fold"), key=lambda pair: int(pair[0]))
    ]


def warn(pooled, split, leaks, skipped, learnt=True):
    """Sentences [(text, section that says more)] about what may make the scores less than they seem.

    A run in which no network learnt needs no split, and `learnt` is False.
    """
    warnings = []
    if not pooled["test"]["scored"] and learnt:
        warnings.append(
            ("No image of the test set has a score; nothing here says how well unseen images will do.", "split")
        )
    if len(leaks):
        most = f"{leaks['similarity'].max():.2f}"
        text = f"{count_leaks(leaks)} of nearly the same image in two sets (similarity up to {most})."
        warnings.append((text, "split"))
    filled = split[split["why"] == "filled"]
    if len(filled):
        sides = " and ".join(f"the {SUBSET_NAMES[side]}" for side in SUBSETS if side in set(filled["split"]))
        given = "was given one" if filled["split"].nunique() == 1 else "were given one each"
        warnings.append((f"There are few groups: {sides} would have been empty and {given}.", "split"))
    if skipped:
        warnings.append((f"{count(len(skipped), 'image')} set aside; the list says why.", "set-aside"))
    return warnings


def say_nothing_left(table, skipped, unread):
    """(what, why) in words where every image was set aside, None where some are in `table`.

    `skipped` is {image: reason}, `unread` the images of it that could not even be read.
    """
    if len(table) or not skipped:
        return None
    what = "No image could be read" if set(skipped) <= set(unread) else "No image could be used"
    others = len(skipped) - 1
    return what, next(iter(skipped.values())) + (f" (and {count(others, 'image')} more)" if others else "")


def count_leaks(leaks):
    """How many pairs there are, of which the table of `leaks` lists LEAKS_KEPT at most."""
    return count(len(leaks), "pair") + (" or more" if len(leaks) >= LEAKS_KEPT else "")


def count(number, noun):
    """A number and its noun: 1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
