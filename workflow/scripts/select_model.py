"""Choose the variant and the model that did best on validation images, and make what predicts ready.

Reads model.json, history.csv and the validation patches of each folder in `models`. Writes the JSON file `output`:
model (the best of the best variant), metric, value, candidates {model: value}, variant, variants (see
`tessera.training.model_selection.summarize_variants`), note (on the metric, or null), members (the models that predict), halo_px, halo (as
measured); and the folder `converted` with each member as OpenVINO has it, where that is installed and wanted.
"""

import json
import math
from pathlib import Path

from tessera.common.constants import CONVERTED, HISTORY
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.inference.backends import choose_engine, convert, load_engine
from tessera.inference.halo_size import UNMEASURED, measure_halo
from tessera.networks.model_folder import read_model_card, read_validation_patches
from tessera.training.history import read_history
from tessera.training.model_selection import choose_best, choose_metric, summarize_variants


def select_model(
    models, output, converted, *, metric, ensemble, variants=None, engine="auto", device="auto", threads=None
):
    """Write down which of `models` predict, and how all of them did at the epochs whose weights they kept.

    Args:
        models: folders of models, named as the models are.
        output: the JSON file.
        converted: folder for converted models.
        metric: a column of history.csv; the smallest value wins for a loss, the largest otherwise; auto: see
            `tessera.training.model_selection.choose_metric`.
        ensemble: predict with the mean of all models ("all"), the best of the best variant ("best"), or all of the best
            variant ("auto").
        variants: {model: name of its variant}; a model that is not among them is a variant of its own.
        engine, device: those of section predict.
        threads: CPU cores to use; None for all.

    Raises:
        InputError: a model that is damaged or lacks the column, no model with a value, or models of one ensemble that
            differ in what they see or answer.
    """
    folders = {Path(folder).name: Path(folder) for folder in models}
    metric, note = choose_metric(metric, [read_model_card(folder).get("settings") or {} for folder in folders.values()])
    candidates = {name: value_of(folder, metric) for name, folder in folders.items()}
    summaries = summarize_variants({name: (variants or {}).get(name, name) for name in folders}, candidates)
    variant, best = choose(summaries, candidates, metric, ensemble)
    members = list(folders) if ensemble == "all" else summaries[variant]["models"] if ensemble == "auto" else [best]
    check_alike({name: read_model_card(folders[name]) for name in members})
    engine, device = choose_engine(engine, device, threads=threads)
    Path(converted).mkdir(parents=True, exist_ok=True)
    halos = []
    for name in members:
        if engine == "openvino":
            convert(folders[name], Path(converted) / f"{name}{CONVERTED}")
        halos.append(find_halo(folders[name], engine, device, converted, threads))
        print(f"{name}: halo of {halos[-1][0]} px", flush=True)
    content = {"model": best, "metric": metric, "value": candidates[best], "candidates": candidates}
    content |= {"variant": variant, "variants": summaries, "note": note}
    content |= {"members": members, "halo_px": max(halo for halo, _ in halos)}
    content["halo"] = dict(zip(members, (measured for _, measured in halos), strict=True))
    Path(output).write_text(json.dumps(content, indent=1))
    print("".join(f"{note}\n" for note in [note] if note), end="", flush=True)
    print(f"{best}: the best of {len(folders)} by {metric}; predicting: {', '.join(members)}", flush=True)


def find_halo(folder, engine, device, converted, threads):
    """(halo in pixels, what was measured) of a model, from its validation patches."""
    patches = read_validation_patches(folder)
    if patches is None:
        print(f"{folder}: keeps no validation patches; its halo is taken to be {UNMEASURED} px", flush=True)
        return UNMEASURED, []
    options = {"converted": converted, "threads": threads}
    return measure_halo(load_engine(engine, device, read_model_card(folder), folder, **options).predict, patches[0])


def check_alike(members):
    """Refuse models {name: settings} for one ensemble that differ in channels, outputs or task."""
    for key in ("task", "channels", "outputs", "normalization", "scale"):
        if len(kinds := {json.dumps(settings.get(key)): name for name, settings in members.items()}) > 1:
            differing = "; ".join(f"{name}: {kind}" for kind, name in kinds.items())
            raise InputError(f"select_model.ensemble: models differ in {key} ({differing}); set it to best")


def value_of(folder, metric):
    """The metric at the best epoch of a model, or None where it has none (a class that no validation image shows).

    A model that was not trained here may have no history, and then no value.
    """
    best = read_model_card(folder).get("best_epoch")
    path = Path(folder) / HISTORY
    if best is None and not path.is_file():
        return None
    rows = read_history(path) if path.is_file() else []
    row = next((row for row in rows if row["epoch"] == best), None)
    if row is None:
        raise InputError(f"{path}: has no epoch {best}, the best one by model.json; train the model again")
    if metric not in row:
        raise InputError(f"select_model.metric: {metric} is no column of {path}; it can be {', '.join(row)}")
    return row[metric] if math.isfinite(row[metric]) else None


def choose(summaries, candidates, metric, ensemble):
    """The best variant, by its mean, and its best model; a single one, or all together, need no values."""
    if len(candidates) == 1:
        return next(iter(summaries)), next(iter(candidates))
    if ensemble == "all" and not any(value is not None for value in candidates.values()):
        return min(summaries), min(candidates)
    variant = choose_best({name: summary["mean"] for name, summary in summaries.items()}, metric)
    return variant, choose_best({name: candidates[name] for name in summaries[variant]["models"]}, metric)


if __name__ == "__main__":
    with running(snakemake):
        select_model(
            models=snakemake.input.models,
            output=snakemake.output.selected,
            converted=snakemake.output.converted,
            variants=snakemake.params.variants,
            engine=snakemake.params.engine,
            device=snakemake.config["predict"]["device"],
            threads=snakemake.threads,
            **snakemake.params.settings,
        )
