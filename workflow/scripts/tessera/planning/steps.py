"""The steps of the workflow: one declaration for each rule.

Planning derives everything from these: the provenance hashes, the outputs before an output, when and why a job reruns,
which unchanged images of a batch are kept, which files are orphans, and which images were skipped.
To add a rule, write its `.smk` file and add its step here; a test compares the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.common.constants import MODEL_JSON, WEIGHTS_H5
from tessera.planning.code_hash import SCRIPTS, code_hashes
from tessera.planning.digests import digest, digest_path
from tessera.planning.project import Project
from tessera.planning.schema_validation import runtime_settings

RECORDS = "results/provenance"


def _always(project: Project) -> bool:
    return True


def _learns(project: Project) -> bool:
    return bool(project.folds)


def _predicts(project: Project) -> bool:
    return not project.masks_given


def _estimates_scale(project: Project) -> bool:
    settings = project.settings.get("predict", {})
    is_auto = settings.get("object_diameter_px") == "auto" and settings.get("rescale")
    return bool(_predicts(project) and is_auto and project.settings["task"] == "instances" and project.scale_groups)


def result_settings(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The settings of a section that results depend on, without those that decide how a job runs."""
    runtime = runtime_settings(section)
    return {key: value for key, value in settings[section].items() if key not in runtime}


def _training_settings(project: Project, model: str | None) -> dict[str, Any]:
    """Settings of a model, which a sweep may change. Initial weights count by their content."""
    settings = result_settings(project.models[str(model)], "train")
    weights = settings.get("encoder_weights")
    if weights not in (None, "imagenet"):
        path = Path(weights)
        # In the folder of a model, only the files that training reads count.
        files = [path / MODEL_JSON, path / WEIGHTS_H5] if path.is_dir() else [path]
        settings["encoder_weights"] = [digest_path(file) for file in files]
    return {f"train.{key}": value for key, value in settings.items()}


@dataclass(frozen=True)
class Step:
    """The declaration of a rule for planning.

    Attributes:
        name: name of the rule and of its script.
        outputs: patterns of the files and folders that it makes, apart from its record.
        key: the wildcard in the patterns; None for a rule that has one job. A rule with the key `batch` makes one
            result per image, from the results of the same image.
        upstream: the steps whose outputs it reads. Steps that are not active do not count.
        settings: sections of the configuration, or single settings (`section.key`), that its results depend on.
        uses_classes: whether its results depend on `task` and `classes`.
        raw_files: the column of the table, as in its `files` columns, that names the raw files it reads.
        columns: the cells of an image's row that its results depend on; `subset` is where the split puts the image.
        extra: {name: value} of other things that the results for a key depend on.
        templates: a folder below workflow/scripts with other files that count as code.
        members: for a step that gathers many results for a key: {name: properties that count} of images, batches or
            models. If an upstream step makes one result per image, this step reads the results of these images.
        gathers_batches: whether `members` are batches, of all images, rather than images.
        active: whether the workflow has this rule, given the settings and the table.
        is_deliverable: whether its outputs are of use to users. Other outputs are intermediate results.
        stores: the pattern among `outputs` of a folder with one store per image and a list of skipped images.
        keeps_unchanged: whether unchanged images in `stores` are kept when their batch is made again.
        values: the path among `outputs` of a file with a value for each image. Later steps depend on these values, and
            not on what they are made from (`tessera.planning.image_values`).
        record_of: the rule whose record it writes, if not its own: two rules that may make the same outputs share one.
    """

    name: str
    outputs: tuple[str, ...]
    key: str | None = None
    upstream: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    uses_classes: bool = False
    raw_files: str | None = None
    columns: tuple[str, ...] = ()
    extra: Callable[[Project, str | None], Mapping[str, Any]] | None = None
    templates: str | None = None
    members: Callable[[Project, str | None], Mapping[str, Any]] | None = None
    gathers_batches: bool = False
    active: Callable[[Project], bool] = _always
    is_deliverable: bool = False
    stores: str | None = None
    keeps_unchanged: bool = True
    values: str | None = None
    record_of: str | None = None

    @property
    def script(self) -> str:
        """File name of its script."""
        return f"{self.name}.py"

    @property
    def code(self) -> dict[str, str]:
        """{path below workflow/scripts: hash} of the code that its results depend on."""
        templates = {self.templates: digest_path(SCRIPTS / self.templates)} if self.templates else {}
        return {**code_hashes(self.script), **templates}

    @property
    def is_per_image(self) -> bool:
        """Whether each image has a result of its own."""
        return self.key == "batch"

    @property
    def record(self) -> str:
        """Pattern of the path of its record: the file that says what its outputs were made from."""
        name = self.record_of or self.name
        return f"{RECORDS}/{name}/{{{self.key}}}.json" if self.key else f"{RECORDS}/{name}.json"

    def paths(self, key: str | None) -> list[str]:
        """Paths of its outputs and its record for a key."""
        return [self.path(pattern, key) for pattern in (*self.outputs, self.record)]

    def path(self, pattern: str, key: str | None) -> str:
        """The path that a pattern of this step stands for."""
        return pattern.replace(f"{{{self.key}}}", key) if self.key and key is not None else pattern

    def keys(self, project: Project) -> list[str]:
        """All values that its wildcard takes; none for a step with one job."""
        match self.key:
            case "batch":
                return sorted(project.scored_batches) if self.raw_files == "truth_files" else list(project.batches)
            case "fold":
                return list(project.folds)
            case "model":
                return list(project.models)
            case "backbone":
                return project.pretrained_backbones
            case "movie":
                return list(project.movies)
        return []

    def images(self, project: Project, batch: str) -> list[str]:
        """The images of a batch that it makes a result for."""
        images = project.batches[batch]
        return project.with_truth(images) if self.raw_files == "truth_files" else images


STEPS = {
    step.name: step
    for step in (
        Step(
            "simulate",
            ("resources/demo/{movie}.ome.tif", "resources/demo/{movie}_truth"),
            key="movie",
            extra=lambda project, movie: {f"simulate.movies.{movie}": project.movies[str(movie)]},
        ),
        Step(
            "ingest",
            ("results/images/{batch}",),
            key="batch",
            upstream=("simulate",),
            settings=("ingest",),
            raw_files="files",
            columns=("image", "scene", "axes", "pixel_size_um", "frame_interval_s"),
            stores="results/images/{batch}",
        ),
        Step(
            "ingest_truth",
            ("results/truth/{batch}",),
            key="batch",
            upstream=("simulate", "ingest"),
            settings=("ingest_truth",),
            uses_classes=True,
            raw_files="truth_files",
            columns=("roi", "frames"),
            stores="results/truth/{batch}",
        ),
        Step(
            "import_masks",
            ("results/labels/{batch}", "results/objects/{batch}.parquet"),
            key="batch",
            upstream=("simulate", "ingest"),
            settings=("ingest_truth",),
            uses_classes=True,
            raw_files="masks_files",
            columns=("roi", "frames"),
            active=lambda project: project.masks_given,
            is_deliverable=True,
            stores="results/labels/{batch}",
            record_of="segment",
        ),
        Step(
            "split",
            ("results/split.tsv", "results/leakage.tsv"),
            upstream=("ingest",),
            settings=("split",),
            members=lambda project, _: {
                image: [project.rows[image][column] for column in ("group", "split")] for image in project.annotated
            },
            active=_learns,
        ),
        Step(
            "augment",
            ("results/patches/{fold}", "results/sheets/{fold}.png"),
            key="fold",
            upstream=("ingest", "ingest_truth"),
            settings=("augment",),
            uses_classes=True,
            members=lambda project, fold: project.folds[str(fold)],
            active=_learns,
        ),
        Step(
            "download_weights",
            ("resources/weights/{backbone}",),
            key="backbone",
            active=lambda project: bool(project.pretrained_backbones),
        ),
        Step(
            "train",
            ("results/models/{model}",),
            key="model",
            upstream=("augment", "download_weights"),
            extra=_training_settings,
            active=_learns,
        ),
        Step(
            "select_model",
            ("results/selected.json", "results/converted"),
            upstream=("train",),
            settings=("select_model", "predict.engine"),
            members=lambda project, _: project.model_fingerprints,
            active=_predicts,
        ),
        Step(
            "explain",
            ("results/explanation",),
            upstream=("augment", "select_model"),
            settings=("explain",),
            active=_predicts,
        ),
        Step(
            "estimate_scale",
            ("results/scales.json",),
            upstream=("ingest", "select_model"),
            settings=("predict.rescale", "predict.object_diameter_px", "predict.test_time_augmentation"),
            members=lambda project, _: project.scale_groups,
            active=_estimates_scale,
            values="results/scales.json",
        ),
        Step(
            "predict",
            ("results/predictions/{batch}",),
            key="batch",
            upstream=("ingest", "select_model", "estimate_scale"),
            settings=("predict",),
            columns=("roi", "frames"),
            active=_predicts,
            stores="results/predictions/{batch}",
        ),
        Step(
            "segment",
            ("results/labels/{batch}", "results/objects/{batch}.parquet"),
            key="batch",
            upstream=("predict",),
            settings=("segment",),
            uses_classes=True,
            active=_predicts,
            is_deliverable=True,
            stores="results/labels/{batch}",
        ),
        Step(
            "track",
            ("results/tracks/{batch}", "results/tracked/{batch}.parquet"),
            key="batch",
            upstream=("import_masks", "segment"),
            settings=("track",),
            active=lambda project: project.settings["task"] == "instances",
            is_deliverable=True,
            stores="results/tracks/{batch}",
        ),
        Step(
            "evaluate",
            ("results/metrics/{batch}.tsv", "results/pictures/{batch}"),
            key="batch",
            upstream=("ingest_truth", "import_masks", "segment", "track"),
            settings=("evaluate",),
            uses_classes=True,
            columns=("subset",),
            is_deliverable=True,
        ),
        Step(
            "report",
            ("results/report.html", "results/metrics.tsv"),
            upstream=("split", "explain", "evaluate"),
            settings=("report",),
            extra=lambda project, _: {"sweep": {model["variant"]: model["point"] for model in project.models.values()}},
            templates="tessera/report/templates",
            members=lambda project, _: {
                batch: digest([(image, project.rows[image]["group"]) for image in images])
                for batch, images in project.batches.items()
            },
            gathers_batches=True,
            is_deliverable=True,
        ),
    )
}


def active_steps(project: Project) -> dict[str, Step]:
    """The steps that the workflow has, given the settings and the table."""
    return {name: step for name, step in STEPS.items() if step.active(project)}
