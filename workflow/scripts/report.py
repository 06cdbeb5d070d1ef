"""Gather scores, pictures, training, split, run times and settings on one page that needs nothing else.

Reads the small products of every rule; writes results/report.html and results/metrics.tsv, a row for each image.
"""

import json
import platform
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import yaml

from tessera.common.batch_outputs import read_skipped
from tessera.common.job import running
from tessera.common.user_warnings import WARNINGS_SHOWN, group_warnings, read_warnings, summarize_warnings
from tessera.evaluation.calibration import LEAST_PIXELS, say
from tessera.report import model_report as origins
from tessera.report import report_tables as summaries
from tessera.report import seam_report as findings
from tessera.report import tracking_report as trackings
from tessera.report.html_report import embed, render
from tessera.report.overlay_images import FOUND_COLOURS, TRUTH_COLOURS
from tessera.report.sweep_report import compare_models

PACKAGES = ["python", "tensorflow", "segmentation-models", "albumentations", "zarr", "dask", "numpy", "scikit-image"]
SHEET_PX = 1600
CURVES = 8  # outputs whose probabilities are shown
EMPTY = pd.DataFrame(columns=["image", "group", "split", "why", "fold"])


def read_picture(folder):
    """What `draw_pictures` or `draw_crop` left in `folder`: picture.json, with its layers as data URIs or None."""
    layers = {name: next(folder.glob(f"{name}.*"), None) for name in ("base", "labels", "truth", "reference")}
    described = json.loads((folder / "picture.json").read_text())
    return described | {name: path and embed(path) for name, path in layers.items()}


def read_explanation(folder):
    """What rule explain left in `folder`, with pictures as data URIs, and curves [(name, curve, sentence)]."""
    folder = Path(folder)
    found = json.loads((folder / "explanation.json").read_text())
    for image in found.get("images", []):
        image |= {name: embed(folder / image[name], SHEET_PX) for name in ("picture", "layers")}
    calibration = found.get("calibration", {"outputs": {}})
    curves = list(calibration["outputs"].items())[:CURVES]
    curves = [("most probable class", calibration["top"]), *curves] if curves else []
    return found | {"curves": [(name, curve, say(curve)) for name, curve in curves], "least_pixels": LEAST_PIXELS}


def installed(packages):
    """{package: version} of those that are installed here, and of Python."""
    found = {name: next(iter(metadata.distributions(name=name)), None) for name in packages}
    return {"python": platform.python_version()} | {name: dist.version for name, dist in found.items() if dist}


def report(
    *, metrics, pictures, objects, images, truth, split, leakage, sheets, models, selected, explanation, page, table,
    groups, points, title, pictures_limit, settings, provenance, labels=(), tracks=(), benchmarks="benchmarks",
):  # fmt: skip
    """Write the page and the table of all images.

    Args:
        metrics, objects: tables of the batches (TSV, Parquet).
        tracks: folders of the batches, with a folder for each movie; none where classes were predicted.
        pictures, images, truth, labels: folders of the batches; of the last three, what was set aside and
            the warnings are read.
        split, leakage: tables that rule split wrote; neither where nothing was trained.
        sheets: pictures of the patches of folds.
        models: folders of models.
        selected: the file that names the model in use; none where masks were given.
        explanation: folder that rule explain wrote; none where masks were given.
        page, table: the files to write.
        groups: {image: its group}; images of no group are left out.
        points: of the variants of a sweep, see `tessera.report.sweep_report.compare_models`.
        title: of the page.
        pictures_limit: at most so many images are shown.
        settings: the whole configuration.
        provenance: digest of everything that the page is made from.
        benchmarks: folder of Snakemake's benchmarks; it may be missing.
    """
    settings = json.loads(json.dumps(settings))
    existing, masked = bool(settings.get("model")), not selected
    split, leaks = (summaries.read_table(path) if path else EMPTY for path in (split, leakage))
    rows = summaries.join_tables(map(summaries.read_table, metrics), groups, settings)
    rows.to_csv(table, sep="\t", index=False, float_format="%.8g")
    skipped = read_skipped([*images, *truth, *labels])
    content = summaries.summarise(rows, split, leaks, skipped, settings, pictures_limit, not (existing or masked))
    folders = {folder.name: folder for batch in pictures for folder in Path(batch).iterdir()}
    content["seams"] = findings.summarise(rows, settings["task"], folders)
    content["models"] = [origins.describe_model(folder, existing) for folder in models]
    content |= {"existing": existing, "masked": masked, "misfits": origins.list_misfits(rows)}
    content["selected"] = None if masked else json.loads(Path(selected).read_text())
    content["explanation"] = None if masked else read_explanation(explanation)
    content["comparison"] = compare_models(content["models"], content["selected"], points)
    image_warnings = read_warnings([*images, *truth, *labels])
    content |= {"image_warnings": group_warnings(image_warnings), "image_warnings_shown": WARNINGS_SHOWN}
    content["nothing"] = summaries.say_nothing_left(rows, skipped, read_skipped(images))
    content["warnings"] += findings.warn(content["seams"])
    content["warnings"] += origins.warn(rows, content["models"], content["misfits"], existing)
    content["warnings"] += summarize_warnings(image_warnings)
    for event in content["seams"]["events"]:
        event["picture"] = event["picture"] and read_picture(event["picture"])
    content["movies"], content["movies_left_out"] = trackings.list_movies(tracks, rows, pictures_limit)
    for movie in content["movies"]:
        movie["pictures"] = {name: embed(movie["folder"] / f"{name}.png") for name in ("tracks", "trees", "counts")}
    content["pictures"] = [read_picture(folders[row["image"]]) | row for row in content["pictures"]]
    content["digests"] = [("This page", provenance)] + [
        (f"{what} of {model['name']}", model[key])
        for model in content["models"]
        for what, key in (("Training", "provenance"), ("Training data", "training_data"))
        if model.get(key)
    ]
    versions = installed(PACKAGES)
    content |= {
        "title": title,
        "date": datetime.now().strftime("%d %B %Y, %H:%M"),
        "objects": sum(pyarrow.parquet.read_metadata(path).num_rows for path in objects),
        "sheets": [(Path(path).stem, embed(Path(path), SHEET_PX)) for path in sheets],
        "times": summaries.run_times(benchmarks),
        "versions": versions,
        "packages": sorted({*versions, *(name for model in content["models"] for name in model["versions"])}),
        "settings": settings,
        "settings_yaml": yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
        "truth_colours": TRUTH_COLOURS,
        "found_colours": FOUND_COLOURS,
    }
    Path(page).write_text(render("report.html.j2", content), encoding="utf-8")
    counts = summaries.count(len(rows), "image"), summaries.count(len(content["pictures"]), "picture")
    print(f"{page}: {': '.join(content['nothing'] or (', '.join(counts),))}", flush=True)


if __name__ == "__main__":
    with running(snakemake):
        report(
            **{name: files for name, files in snakemake.input.items() if name != "rerun_if"},
            page=snakemake.output.report,
            table=snakemake.output.metrics,
            groups=snakemake.params.groups,
            points=snakemake.params.points,
            title=snakemake.params.settings["title"],
            pictures_limit=snakemake.params.settings["max_images"],
            settings=snakemake.config,
            provenance=snakemake.params.provenance,
        )
