"""Leftovers: what lies under results and is of no batch, fold or model any more, since nothing removes it."""

import re

# What there is of each, by the folder that it lies in, and by the rule whose record tells of it.
OF_BATCHES = {
    "images": "ingest", "predictions": "predict", "labels": "segment", "objects": "", "tracks": "track", "tracked": "",
    "metrics": "evaluate", "pictures": "",
}  # fmt: skip
OF_TRUTH, OF_FOLDS, OF_MODELS = {"truth": "ingest_truth"}, {"patches": "augment", "sheets": ""}, {"models": "train"}
ENDS = re.compile(r"(\.(part|regions|parquet|tsv|png|json))+$")


def list_leftovers(results, batches, scored, folds, models):
    """Sentences that name what a user may delete.

    Args:
        results: folder, a Path.
        batches, scored, folds, models: names of those that there are; `scored` are the batches that have truth. Without
            folds nothing learns, and the patches and models of other settings are left alone.
    """
    left = [
        ("batches", "table", _strangers(results, OF_BATCHES, batches)),
        ("truth", "table", _strangers(results, OF_TRUTH, scored)),
        ("folds", "settings", _strangers(results, OF_FOLDS, folds) if folds else []),
        ("models", "settings", _strangers(results, OF_MODELS, models) if folds else []),
    ]
    return [
        f"Left over from {what} no longer in the {owner}; delete if not needed: {' '.join(sorted(map(str, paths)))}"
        for what, owner, paths in left
        if paths
    ]


def _strangers(results, kinds, known):
    """Files and folders of these kinds whose names are of none that is known."""
    folders = [*kinds, *(f"provenance/{rule}" for rule in kinds.values() if rule)]
    paths = [path for folder in folders for path in results.glob(f"{folder}/*")]
    return [path for path in paths if not {path.name, ENDS.sub("", path.name).removeprefix(".")} & set(known)]
