"""A sweep over two variants in two folds, from raw movies to the report, and a changed sweep afterwards."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers.expected_jobs import predicting
from helpers.small_project import planned, snakemake
from tessera.io.ome_zarr_store import open_array

pytestmark = pytest.mark.slow

MODELS = [f"learning_rate~{rate}_fold{fold}" for rate in (0.01, 0.03) for fold in (1, 2)]


def read_json(path):
    return json.loads(path.read_text())


def test_folds_validate_on_different_images(swept):
    split = pd.read_csv(swept / "results" / "split.tsv", sep="\t", dtype=str, keep_default_na=False).set_index("image")
    assert split["split"].to_dict() == dict.fromkeys(("train", "val", "spare"), "train") | {"test": "test"}
    sources = [
        read_json(swept / "results" / "patches" / fold / "patches.json")["sources"] for fold in ("fold1", "fold2")
    ]
    for number, subsets in enumerate(sources, start=1):
        assert subsets["val"] == sorted(split.index[split["fold"] == str(number)])
        assert sorted(subsets["train"] + subsets["val"]) == ["spare", "train", "val"]


def test_variants_train_in_every_fold_with_their_own_settings(swept):
    models = {path.name: read_json(path / "model.json") for path in (swept / "results" / "models").iterdir()}
    assert sorted(models) == MODELS
    assert [models[name]["settings"]["learning_rate"] for name in MODELS] == [0.01, 0.01, 0.03, 0.03]
    patches = {name: models[name]["sources"]["val"] for name in MODELS}
    assert patches[MODELS[0]] == patches[MODELS[2]] != patches[MODELS[1]] == patches[MODELS[3]]


def test_folds_of_the_variant_with_the_best_mean_loss_form_the_ensemble(swept):
    selected = read_json(swept / "results" / "selected.json")
    losses = {}
    for name in MODELS:
        history = pd.read_csv(swept / "results" / "models" / name / "history.csv")
        losses.setdefault(name.rpartition("_")[0], []).append(history["val_loss"].min())
    best = min(losses, key=lambda variant: np.mean(losses[variant]))
    assert selected["variant"] == best
    assert selected["members"] == [f"{best}_fold1", f"{best}_fold2"]
    assert selected["variants"][best]["mean"] == pytest.approx(np.mean(losses[best]))
    assert selected["variants"][best]["spread"] == pytest.approx(np.std(losses[best], ddof=1))
    store = swept / "results" / "predictions" / "one" / "plain.ome.zarr"
    assert len(read_json(store / "zarr.json")["attributes"]["tessera"]["prediction"]["engines"]) == 2
    sums = open_array(store)[:].astype(int).sum(1)
    assert abs(sums - 255).max() <= 2


def test_report_compares_all_models(swept):
    page = (swept / "results" / "report.html").read_text()
    assert "2 variants, each trained in 2 folds" in page
    assert page.count('<span class="chosen">in use</span>') == 4  # in the table of models, and above the curves
    for name in MODELS:
        assert name in page


def test_changed_sweep_trains_only_the_new_variant_and_lists_the_removed_one(swept, tmp_path):
    project = shutil.copytree(swept, tmp_path / "project", symlinks=True)
    kept = {name: (project / "results" / "models" / name / "model.json").stat().st_mtime_ns for name in MODELS}
    config = project / "config" / "config.yaml"
    config.write_text(config.read_text().replace("- 0.01\n  - 0.03\n", "- 0.03\n  - 0.02\n"))
    output = snakemake(project, "--cores", "2", "--max-threads", "1", "results/selected.json").stdout
    left = next(line for line in output.splitlines() if "Left over from models" in line)
    assert " results/models/learning_rate~0.01_fold2" in left
    assert "0.03" not in left
    for name in MODELS:
        assert (project / "results" / "models" / name / "model.json").stat().st_mtime_ns == kept[name]
    variants = read_json(project / "results" / "selected.json")["variants"]
    assert sorted(variants) == ["learning_rate~0.02", "learning_rate~0.03"]
    assert planned(project) == {"explain": 1} | predicting(1)
