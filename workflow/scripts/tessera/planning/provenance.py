"""ProvenanceHashes: digests of everything that a product is made from, and so the cause of every rerun.

A provenance changes with the rows of the table, the raw files, the settings of the rule, the source of its script, and the
provenance before it; it does not change with comments, layout, docstrings, timestamps of code, or where the project lies.
"""

from functools import cache, cached_property
from pathlib import Path

from tessera.common.constants import SETTINGS, WEIGHTS
from tessera.planning.code_hash import SCRIPTS, script_hash
from tessera.planning.digests import digest, digest_path

# Settings that decide how a job runs, not what it makes; scripts read them from the configuration, not from params.
WITHOUT_EFFECT = {
    "ingest": {"on_bad_image"},
    "train": {"device", "gpus", "xla", "deterministic", "log_images_every", "wandb_mode"},
    "predict": {"device", "batch_tiles"},
}


def effective(settings, rule):
    """The settings of a rule that what it makes depends on."""
    return {key: value for key, value in settings[rule].items() if key not in WITHOUT_EFFECT.get(rule, ())}


def _pretrained(weights):
    """What `encoder_weights` counts by: a file by its content, the folder of a model by what is taken from it."""
    if weights in (None, "imagenet"):
        return weights
    path = Path(weights)
    if path.is_dir():
        return [digest_path(path / name) for name in (SETTINGS, WEIGHTS)]
    return digest_path(path)


class ProvenanceHashes:
    """The provenance of every product, one method per rule.

    Args:
        settings: the validated configuration.
        rows: {image: row of the table}, with `files`, `truth_files` and `masks_files`.
        movies: {movie: settings of its simulation}.
        sides: {image: side of the split}.
        learners: {fold: {image: "train" | "val"}} of the images that a network learns from.
        models: {model: {"fold", "variant", "point", "train": settings}} of the models to train.
        simulated: {resolved path: movie} of the files that rule simulate makes.
        existing: {model: folder} of the models that are applied instead of training one.
    """

    def __init__(self, settings, rows, movies, sides, learners, models, simulated, existing=None):
        self._settings = settings
        self._rows = rows
        self._movies = movies
        self._sides = sides
        self._learners = learners
        self._models = models
        self._simulated = simulated
        self._existing = existing or {}
        # Many provenance are made from these.
        self.ingest, self.ingest_truth = cache(self.ingest), cache(self.ingest_truth)
        self.augment, self.train = cache(self.augment), cache(self.train)

    def simulate(self, movie):
        return digest(movie, self._movies[movie], script_hash("simulate.py"))

    def ingest(self, image):
        row = self._rows[image]
        columns = [row[column] for column in ("image", "axes", "pixel_size_um", "frame_interval_s")]
        return digest(columns, self._named(row["files"]), effective(self._settings, "ingest"), script_hash("ingest.py"))

    def ingest_truth(self, image):
        row = self._rows[image]
        made = self.ingest(image), self._named(row["truth_files"]), row["roi"], row["frames"]
        return digest(made, self._task, self._settings["ingest_truth"], script_hash("ingest_truth.py"))

    @cached_property
    def split(self):
        rows = [self._rows[image] for image in sorted(self._rows) if self._rows[image]["truth"]]
        members = [(row["image"], row["group"], row["split"], self.ingest(row["image"])) for row in rows]
        return digest(members, self._settings["split"], script_hash("split.py"))

    def augment(self, fold):
        sides = sorted(self._learners[fold].items())
        members = [(image, side, self.ingest(image), self.ingest_truth(image)) for image, side in sides]
        return digest(members, self._task, self._settings["augment"], script_hash("augment.py"))

    def train(self, model):
        settings = effective(self._models[model], "train")
        settings |= {"encoder_weights": _pretrained(settings.get("encoder_weights"))}
        return digest(self.augment(self._models[model]["fold"]), settings, script_hash("train.py"))

    @cached_property
    def select_model(self):
        engine = self._settings["predict"]["engine"]
        models = sorted((name, digest_path(folder)) for name, folder in self._existing.items())
        models += sorted((name, model["variant"], self.train(name)) for name, model in self._models.items())
        return digest(models, self._settings["select_model"], engine, script_hash("select_model.py"))

    @cached_property
    def explain(self):
        return digest(self.select_model, self._settings["explain"], script_hash("explain.py"))

    @cached_property
    def _network(self):
        return digest(self.select_model, effective(self._settings, "predict"), script_hash("predict.py"))

    def predict(self, image):
        row = self._rows[image]
        return digest(self.ingest(image), row["roi"], row["frames"], self._network)

    def import_masks(self, image):
        row = self._rows[image]
        made = self.ingest(image), self._named(row["masks_files"]), row["roi"], row["frames"]
        return digest(made, self._task, self._settings["ingest_truth"], script_hash("import_masks.py"))

    def segment(self, image):
        return digest(self.predict(image), self._task, self._settings["segment"], script_hash("segment.py"))

    def track(self, image):
        return digest(self._labels(image), self._settings["track"], script_hash("track.py"))

    def evaluate(self, image):
        truth = self.ingest_truth(image) if self._rows[image]["truth"] else None
        side = self._sides[image]
        made = self.track(image) if self._settings["task"] == "instances" else self._labels(image)
        return digest(made, truth, side, self._task, self._settings["evaluate"], script_hash("evaluate.py"))

    @cached_property
    def report(self):
        rows = sorted(self._rows.items())
        images = [(image, row["batch"], row["group"], self.evaluate(image)) for image, row in rows]
        looks = digest_path(SCRIPTS.parent / "report")
        masks = any(row["masks"] for row in self._rows.values())
        split = None if self._existing or masks else self.split
        why = None if masks else self.explain
        points = {model["variant"]: model["point"] for model in self._models.values()}
        return digest(images, why, split, points, self._settings["report"], looks, script_hash("report.py"))

    def _labels(self, image):
        return self.import_masks(image) if self._rows[image]["masks"] else self.segment(image)

    @property
    def _task(self):
        return self._settings["task"], self._settings["classes"]

    def _named(self, files):
        """Raw files with their names, which may say of which frame they are; wherever they lie."""
        return [(Path(file).name, content) for file, content in zip(files, self._raw(files), strict=True)]

    def _raw(self, files):
        return [self.simulate(self._simulated[f]) if f in self._simulated else digest_path(f) for f in files]
