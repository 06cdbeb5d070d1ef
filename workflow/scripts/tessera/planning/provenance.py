"""ProvenanceHashes: digests of everything that a product is made from, and so the cause of every rerun.

A provenance changes with the rows of the table, the raw files, the settings of the rule, the source of its script, and the
provenance before it; it does not change with comments, layout, docstrings, timestamps of code, or where the project lies.
"""

import ast
import itertools
from functools import cache, cached_property
from pathlib import Path

from tessera.common.constants import SETTINGS, WEIGHTS
from tessera.planning.digests import digest, digest_path

SCRIPTS = Path(__file__).resolve().parents[2]
# Settings that decide how a job runs, not what it makes; scripts read them from the configuration, not from params.
WITHOUT_EFFECT = {
    "ingest": {"on_bad_image"},
    "train": {"device", "gpus", "xla", "deterministic", "log_images_every", "wandb"},
    "predict": {"device", "batch_tiles"},
}


@cache
def source(script):
    """Digest of the parsed source of workflow/scripts/`script` and of every module of ours that it imports."""
    return digest([(path.name, _parsed(path)[0]) for path in sorted(_modules(SCRIPTS / script))])


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


def _modules(path):
    """`path` and the files of every module of `tessera` that it imports, however deep."""
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for name in _parsed(path)[1] for file in _files_of(name)]
    return found


def _files_of(module):
    """The file of the dotted name of a module of `tessera`; none where it names a part of one, or a package."""
    path = SCRIPTS / f"{module.replace('.', '/')}.py"
    return [path] if path.is_file() else []


def _imported(node):
    """Dotted names that an import statement brings in from `tessera`: of modules, or of what is in one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("tessera.")]
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tessera" and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


@cache
def _parsed(path):
    """What a file says, as a digest, and the names of the modules of `tessera` that it imports."""
    tokens, modules = [], []
    _describe(ast.parse(path.read_bytes()), tokens, modules)
    return digest(tokens), modules


def _describe(node, tokens, modules):
    """Append the names, fields and constants below `node` to `tokens`, and the modules that it imports to `modules`.

    Unlike what `ast` prints, the tokens are the same for every version of Python.
    """
    if isinstance(node, list):
        tokens.append("[")
        for item in node:
            _describe(item, tokens, modules)
        tokens.append("]")
    elif isinstance(node, ast.JoinedStr):
        _describe_f_string(node, tokens, modules)
    elif isinstance(node, ast.AST):
        modules += _imported(node)
        tokens.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            # Whether a name is read or written follows from where it stands.
            if value is None or value == [] or name == "ctx":
                continue
            if name == "body" and _has_docstring(node):
                value = value[1:]
            tokens.append(name)
            _describe(value, tokens, modules)
        tokens.append(".")
    else:
        tokens.append(repr(node))


def _describe_f_string(node, tokens, modules):
    """Versions of Python cut the text between the values of an f-string in different places."""
    tokens.append("JoinedStr")
    for is_text, run in itertools.groupby(node.values, lambda part: isinstance(part, ast.Constant)):
        if not is_text:
            _describe(list(run), tokens, modules)
        elif text := "".join(part.value for part in run):
            tokens.append(repr(text))
    tokens.append(".")


def _has_docstring(node):
    return isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None


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
        return digest(movie, self._movies[movie], source("simulate.py"))

    def ingest(self, image):
        row = self._rows[image]
        columns = [row[column] for column in ("image", "axes", "pixel_size_um", "frame_interval_s")]
        return digest(columns, self._named(row["files"]), effective(self._settings, "ingest"), source("ingest.py"))

    def ingest_truth(self, image):
        row = self._rows[image]
        made = self.ingest(image), self._named(row["truth_files"]), row["roi"], row["frames"]
        return digest(made, self._task, self._settings["ingest_truth"], source("ingest_truth.py"))

    @cached_property
    def split(self):
        rows = [self._rows[image] for image in sorted(self._rows) if self._rows[image]["truth"]]
        members = [(row["image"], row["group"], row["split"], self.ingest(row["image"])) for row in rows]
        return digest(members, self._settings["split"], source("split.py"))

    def augment(self, fold):
        sides = sorted(self._learners[fold].items())
        members = [(image, side, self.ingest(image), self.ingest_truth(image)) for image, side in sides]
        return digest(members, self._task, self._settings["augment"], source("augment.py"))

    def train(self, model):
        settings = effective(self._models[model], "train")
        settings |= {"encoder_weights": _pretrained(settings.get("encoder_weights"))}
        return digest(self.augment(self._models[model]["fold"]), settings, source("train.py"))

    @cached_property
    def select_model(self):
        engine = self._settings["predict"]["engine"]
        models = sorted((name, digest_path(folder)) for name, folder in self._existing.items())
        models += sorted((name, model["variant"], self.train(name)) for name, model in self._models.items())
        return digest(models, self._settings["select_model"], engine, source("select_model.py"))

    @cached_property
    def explain(self):
        return digest(self.select_model, self._settings["explain"], source("explain.py"))

    @cached_property
    def _network(self):
        return digest(self.select_model, effective(self._settings, "predict"), source("predict.py"))

    def predict(self, image):
        row = self._rows[image]
        return digest(self.ingest(image), row["roi"], row["frames"], self._network)

    def import_masks(self, image):
        row = self._rows[image]
        made = self.ingest(image), self._named(row["masks_files"]), row["roi"], row["frames"]
        return digest(made, self._task, self._settings["ingest_truth"], source("import_masks.py"))

    def segment(self, image):
        return digest(self.predict(image), self._task, self._settings["segment"], source("segment.py"))

    def track(self, image):
        return digest(self._labels(image), self._settings["track"], source("track.py"))

    def evaluate(self, image):
        truth = self.ingest_truth(image) if self._rows[image]["truth"] else None
        side = self._sides[image]
        made = self.track(image) if self._settings["task"] == "instances" else self._labels(image)
        return digest(made, truth, side, self._task, self._settings["evaluate"], source("evaluate.py"))

    @cached_property
    def report(self):
        rows = sorted(self._rows.items())
        images = [(image, row["batch"], row["group"], self.evaluate(image)) for image, row in rows]
        looks = digest_path(SCRIPTS.parent / "report")
        masks = any(row["masks"] for row in self._rows.values())
        split = None if self._existing or masks else self.split
        why = None if masks else self.explain
        points = {model["variant"]: model["point"] for model in self._models.values()}
        return digest(images, why, split, points, self._settings["report"], looks, source("report.py"))

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
