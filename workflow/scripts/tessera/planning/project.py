"""The project: the settings, the image table, and what follows from the two before any job runs."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tessera.common.errors import InputError
from tessera.data.cross_validation import subsets_in_fold
from tessera.data.split import PREDICT, assign_split, check_subsets
from tessera.planning.digests import digest_path
from tessera.planning.existing_models import find_existing_models
from tessera.planning.image_table import load_table
from tessera.planning.load_settings import check_duplicate_keys, check_with_masks, load_settings
from tessera.planning.schema_validation import read_schema
from tessera.planning.sweeps import list_models, list_variants, read_sweep


@dataclass(frozen=True)
class Project:
    """The settings, the image table, and what follows from the two.

    Attributes:
        settings: the whole configuration, completed with its defaults.
        rows: {image: its row of the table}, sorted by image, so that the order of rows changes nothing.
        subsets: {image: train, val, test or predict}.
        folds: {fold: {image: train or val}}; empty if nothing is trained.
        models: {model: {"variant", "fold", "point", "train": its settings}} of every variant in every fold.
        movies: {movie: settings} of the movies that rule simulate makes.
        simulated: {path: movie} of the files that rule simulate makes.
        existing: {model: folder} of trained models that the user gives instead of training.
        groups: {image: its group}, of the images that have one, sorted by image.
    """

    settings: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]
    subsets: Mapping[str, str]
    folds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    movies: Mapping[str, Any] = field(default_factory=dict)
    simulated: Mapping[str, str] = field(default_factory=dict)
    existing: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def masks_given(self) -> bool:
        """Whether labels are imported from the masks that the table names, so that no network is needed."""
        return any(row["masks"] for row in self.rows.values())

    @cached_property
    def batches(self) -> dict[str, list[str]]:
        """{batch: its images}."""
        batches: dict[str, list[str]] = {}
        for image, row in self.rows.items():
            batches.setdefault(row["batch"], []).append(image)
        return batches

    @cached_property
    def annotated(self) -> list[str]:
        """The images with ground truth."""
        return self.with_truth(self.rows)

    @cached_property
    def scored_batches(self) -> set[str]:
        """The batches that have an image with ground truth."""
        return {self.rows[image]["batch"] for image in self.annotated}

    @cached_property
    def scale_groups(self) -> dict[str, tuple[str, Any, Any]]:
        """{image: (group, roi, frames)} of images that may have the scale of others: their group has several images.

        Images without a group belong together.
        """
        groups = {image: self.rows[image]["group"] or self.groups.get(image, "") for image in self.rows}
        groups = {
            image: "" if group == image and not self.rows[image]["group"] else group for image, group in groups.items()
        }
        counts = Counter(groups.values())
        return {
            image: (group, self.rows[image]["roi"], self.rows[image]["frames"])
            for image, group in groups.items()
            if counts[group] > 1
        }

    @cached_property
    def training_images(self) -> list[str]:
        """The images that networks learn from: those of the subsets train and val."""
        return [image for image in self.rows if self.subsets[image] in ("train", "val")]

    @cached_property
    def model_folders(self) -> dict[str, str]:
        """{model: its folder}."""
        return dict(self.existing) or {model: f"results/models/{model}" for model in self.models}

    @cached_property
    def pretrained_backbones(self) -> list[str]:
        """The backbones that start from ImageNet weights."""
        return sorted({backbone for model in self.models for backbone in self.pretrained_backbone(model)})

    @cached_property
    def model_fingerprints(self) -> dict[str, str]:
        """{model: digest of its files} of existing models, else {model: variant}."""
        if self.existing:
            return {model: digest_path(Path(folder)) for model, folder in sorted(self.existing.items())}
        return {model: parts["variant"] for model, parts in sorted(self.models.items())}

    def pretrained_backbone(self, model: str) -> list[str]:
        """The backbone of a model that starts from ImageNet weights; an empty list for any other model."""
        settings = self.models[model]["train"]
        return [settings["backbone"]] if settings.get("encoder_weights") == "imagenet" else []

    @property
    def label_step(self) -> str:
        """The rule that makes labels."""
        return "import_masks" if self.masks_given else "segment"

    def with_truth(self, images: Iterable[str]) -> list[str]:
        """The images among `images` that have ground truth."""
        return [image for image in images if self.rows[image]["truth"]]

    def cell(self, image: str, column: str) -> Any:
        """A cell of the image's row; the column `subset` holds the subset that the split assigned."""
        return self.subsets[image] if column == "subset" else self.rows[image][column]

    def regions(self, batch: str) -> dict[str, dict[str, Any]]:
        """{image: its `roi` and `frames`} of the images of a batch that are not analysed as a whole."""
        regions = {image: {key: self.rows[image][key] for key in ("roi", "frames")} for image in self.batches[batch]}
        return {image: region for image, region in regions.items() if any(region.values())}

    def raw_rows(self, batch: str, *columns: str) -> list[dict[str, Any]]:
        """The rows of a batch with raw files of a kind, for the script that reads them.

        Args:
            batch: name of the batch.
            columns: files, truth_files or masks_files, which selects the rows; then other columns.

        Returns:
            Dicts with `image` and the columns. Files are relative to the working directory, so that it can move.
        """
        rows = [self.rows[image] for image in self.batches[batch] if self.rows[image][columns[0]]]
        return [
            {
                column: list(map(_relative_path, row[column])) if column.endswith("files") else row[column]
                for column in ("image", *columns)
            }
            for row in rows
        ]

    def raw_paths(self, image: str, column: str) -> dict[str, str]:
        """{file name: path from the working directory} of raw files of an image."""
        return {os.path.basename(file): _relative_path(file) for file in self.rows[image][column]}

    def simulated_files(self, batch: str, column: str) -> list[str]:
        """The raw files of a batch that rule simulate makes; `column` is files, truth_files or masks_files."""
        files = (file for image in self.batches[batch] for file in self.rows[image][column])
        return [_relative_path(file) for file in files if file in self.simulated]

    def simulated_movies(self, batch: str, column: str) -> list[str]:
        """The movies whose files, made by rule simulate, are raw files of a batch."""
        files = (file for image in self.batches[batch] for file in self.rows[image][column])
        return list(dict.fromkeys(self.simulated[file] for file in files if file in self.simulated))


def _relative_path(file: str) -> str:
    """The path from the working directory of a file with an absolute path."""
    folder = f"{os.getcwd()}/"
    return file.removeprefix(folder) if file.startswith(folder) else os.path.relpath(file)


def load_project(config: dict[str, Any], configfiles: Sequence[Path]) -> Project:
    """Read the configuration and the image table.

    Args:
        config: the configuration as Snakemake read it; it is completed in place.
        configfiles: the files with the configuration.

    Raises:
        InputError: names every problem of the configuration, else of the table.
    """
    check_duplicate_keys(configfiles)
    config.update(load_settings(config, source=", ".join(map(str, configfiles)) or "--config"))
    movies = config["simulate"]["movies"]
    simulated = {
        os.path.realpath(f"resources/demo/{movie}{end}"): movie for movie in movies for end in (".ome.tif", "_truth")
    }
    table = load_table(config["images"], batch_size=config["batch_size"], simulated=simulated)
    masks_given = any(row["masks"] for row in table)
    if masks_given:
        check_with_masks(config)
    existing = find_existing_models(config["model"], config["task"], config["classes"])
    folds: dict[str, dict[str, str]] = {}
    groups = {row["image"]: row["group"] for row in table if row["group"]}
    if existing or masks_given:
        # Nothing is trained, so all ground truth tests the model or the masks.
        subsets = {row["image"]: "test" if row["truth"] and row["split"] != PREDICT else PREDICT for row in table}
    else:
        lines = _split(config, table)
        subsets = {line["image"]: line["split"] for line in lines}
        folds = {f"fold{fold}": subsets_in_fold(lines, fold) for fold in range(1, config["split"]["folds"] + 1)}
        for members in folds.values():
            check_subsets(members.values())
        groups |= {line["image"]: line["group"] for line in lines}
    variants = list_variants(read_sweep(config["sweep"], read_schema("config"))[0], config["train"])
    return Project(
        settings=config,
        rows={row["image"]: row for row in sorted(table, key=lambda row: row["image"])},
        subsets=subsets,
        folds=folds,
        models=list_models(variants, folds),
        movies=movies,
        simulated=simulated,
        existing=existing or {},
        groups=dict(sorted(groups.items())),
    )


def _split(config: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for each image: the subset, the group and the fold that it is put into."""
    if not any(row["truth"] for row in table):
        raise InputError(
            f"{config['images']}: no image has truth to train a network on; fill in the column truth for some, name "
            "a trained model's folder (model), or give masks of all images to track and measure (column masks)"
        )
    settings = {key: value for key, value in config["split"].items() if key != "leakage_similarity"}
    lines, _ = assign_split(table, **settings)
    return list(lines)
