"""Leftovers: what lies under results and is of no batch, fold or model any more, since nothing removes it."""

import re

KINDS = ("images", "truth", "predictions", "labels", "objects", "tracks", "tracked", "metrics", "pictures")
RULES = ("ingest", "annotate", "predict", "segment", "track", "evaluate")
PLACES = (
    *(f"{kind}/{{}}{end}" for kind in KINDS for end in ("", ".parquet", ".tsv")),
    "predictions/.{}.regions",
    *(f"recipes/{rule}/{{}}.json" for rule in RULES),
)


def list_leftovers(results, batches, folds, models):
    """Sentences that name what a user may delete.

    Args:
        results: folder, a Path.
        batches, folds, models: names of those that there are; without folds nothing learns, and the patches and models
            of other settings are left alone.
    """
    gone = {path.stem for path in results.glob("objects/*.parquet")} - set(batches)
    paths = [results / place.format(name) for name in gone for place in PLACES]
    left = [("batches", "table", [path for path in paths if path.exists()])]
    for what, kind, rule, known in (("folds", "patches", "augment", folds), ("models", "models", "train", models)):
        paths = [*results.glob(f"{kind}/*"), *results.glob(f"recipes/{rule}/*.json")] if folds else []
        left.append((what, "settings", [path for path in paths if _name_of(path) not in known]))
    return [
        f"Left over from {what} that are no longer in the {owner}; delete if not needed: "
        + " ".join(sorted(map(str, paths)))
        for what, owner, paths in left
        if paths
    ]


def _name_of(path):
    """Of a fold or a model, from the name of a file or folder that is its own."""
    return re.sub(r"^\.|\.(part|png|json)$", "", path.name)
