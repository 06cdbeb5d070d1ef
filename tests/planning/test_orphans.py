"""What is left over under results is named, with whose it was and what no longer has it."""

import pytest

from tessera.planning.orphans import list_orphans
from tessera.planning.project import Project


@pytest.fixture
def results(tmp_path):
    """Products of a batch, a fold and two models of it, with what a stopped job left beside them."""
    for name in (
        "images/one",
        "images/.one.part",
        "truth/one",
        "predictions/.one.regions",
        "patches/fold1",
        "patches/.fold1.part",
        "models/seed~0.5_fold1",
        "models/.seed~1_fold1.part",
    ):
        (tmp_path / "results" / name).mkdir(parents=True)
    for name in ("objects/one.parquet", "metrics/one.tsv", "sheets/fold1.png", "provenance/train/seed~1_fold1.json"):
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    return tmp_path / "results"


def project_of(batches, scored, folds, models):
    rows = {batch: {"batch": batch, "truth": batch if batch in scored else None} for batch in {*batches, *scored}}
    return Project(
        settings={}, rows=rows, subsets={}, folds={fold: {} for fold in folds}, models={model: {} for model in models}
    )


def named(results, batches=("one",), scored=("one",), folds=("fold1",), models=("seed~0.5_fold1", "seed~1_fold1")):
    """[(sentence before the paths, the paths below `results`)]."""
    lines = [line.split(": ", maxsplit=1) for line in list_orphans(results, project_of(batches, scored, folds, models))]
    return [(text, paths.replace(f"{results}/", "").split()) for text, paths in lines]


def test_what_is_still_wanted_is_not_left_over(results):
    assert named(results) == []


def test_each_is_left_over_from_what_it_was_of(results):
    assert named(results, batches=["one-again"], scored=["one-again"]) == [
        (
            "Left over from batches no longer in the table; delete if not needed",
            ["images/.one.part", "images/one", "metrics/one.tsv", "objects/one.parquet", "predictions/.one.regions"],
        ),
        ("Left over from truth no longer in the table; delete if not needed", ["truth/one"]),
    ]
    assert named(results, scored=[]) == [
        ("Left over from truth no longer in the table; delete if not needed", ["truth/one"])
    ]
    assert named(results, folds=["fold2"]) == [
        (
            "Left over from folds no longer in the settings; delete if not needed",
            ["patches/.fold1.part", "patches/fold1", "sheets/fold1.png"],
        )
    ]
    assert named(results, models=["seed~0.5_fold1"]) == [
        (
            "Left over from models no longer in the settings; delete if not needed",
            ["models/.seed~1_fold1.part", "provenance/train/seed~1_fold1.json"],
        )
    ]


def test_where_nothing_learns_what_was_learnt_is_not_left_over(results):
    assert named(results, folds=[], models=[]) == []
