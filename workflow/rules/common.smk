"""What the rules share: the settings, the table, the batches, the provenance, and resources that follow the data."""

import os
import re
import sys
from functools import cache
from pathlib import Path

import psutil
from snakemake.exceptions import WorkflowError
from snakemake.io import strip_wildcard_constraints

# The only place that puts the package `tessera` on the path. Scripts lie beside it and need no help.
sys.path.insert(0, str(workflow.current_basedir.join("../scripts")))

from tessera.planning.code_hash import script_hash
from tessera.planning.digests import remember_in
from tessera.planning.orphans import list_leftovers
from tessera.planning.existing_models import find_existing_models
from tessera.planning.rerun_planner import Products
from tessera.planning.provenance import ProvenanceHashes, effective
from tessera.planning.schema_validation import read_schema
from tessera.planning.load_settings import check_duplicate_keys, check_with_masks, load_settings
from tessera.planning.sweeps import list_models, list_variants, read_sweep
from tessera.planning.image_table import load_table
from tessera.common.batch_outputs import keep_stores, read_skipped
from tessera.common.errors import InputError
from tessera.data.cross_validation import subsets_in_fold
from tessera.common.file_lock import hold_lock
from tessera.data.split import PREDICT, check_subsets, assign_split


class Batches(dict):
    """{batch: its images}."""

    def __missing__(self, batch):
        known = ", ".join(list(self)[:5]) + (", …" if len(self) > 5 else "")
        raise WorkflowError(f"{config['images']}: has no batch called {batch}; it has {known}")


# Jobs have nothing to add to what the plan has read.
remember_in(".snakemake/tessera/digests.json", keep=workflow.is_main_process)

try:
    check_duplicate_keys(workflow.configfiles)
    config.update(load_settings(config, source=", ".join(map(str, workflow.configfiles)) or "--config"))
    MOVIES = config["simulate"]["movies"]
    SIMULATED = {
        Path("resources/demo", f"{movie}{end}").resolve(): movie for movie in MOVIES for end in (".ome.tif", "_truth")
    }
    table = load_table(config["images"], batch_size=config["batch_size"], simulated=SIMULATED)
    # Masks that were made elsewhere stand in for all that a network is needed for.
    MASKED = any(row["masks"] for row in table)
    if MASKED:
        check_with_masks(config)
    EXISTING = find_existing_models(config["model"], config["task"], config["classes"])
    if EXISTING or MASKED:
        # Nothing is learnt here, so that whatever has truth tests the model or the masks.
        SIDES = {row["image"]: "test" if row["truth"] and row["split"] != PREDICT else PREDICT for row in table}
        LEARNERS, lines = {}, []
    else:
        if not any(row["truth"] for row in table):
            raise InputError(
                f"{config['images']}: no image has truth to train a network on; fill in the column truth for some, name "
                "a trained model's folder (model), or give masks of all images to track and measure (column masks)"
            )
        lines, _ = assign_split(
            table,
            **{key: value for key, value in config["split"].items() if key != "leakage_similarity"},
        )
        SIDES = {line["image"]: line["split"] for line in lines}
        LEARNERS = {f"fold{fold}": subsets_in_fold(lines, fold) for fold in range(1, config["split"]["folds"] + 1)}
        for sides in LEARNERS.values():
            check_subsets(sides.values())
except InputError as error:
    raise WorkflowError(str(error)) from None

VARIANTS = list_variants(read_sweep(config["sweep"], read_schema("config"))[0], config["train"])
# {model: {"variant", "fold", "point", "train": settings}}; no model where there are existing ones, since there is no fold.
MODELS = list_models(VARIANTS, LEARNERS)
LABELLING = "import_masks" if MASKED else "segment"  # the rule that makes labels
MODEL_FOLDERS = EXISTING or {model: f"results/models/{model}" for model in MODELS}

GROUPS = {row["image"]: row["group"] for row in table if row["group"]} | {
    line["image"]: line["group"] for line in lines
}
GROUPS = dict(sorted(GROUPS.items()))  # the order of rows is no cause to rerun
ROWS = {row["image"]: row for row in sorted(table, key=lambda row: row["image"])}
BATCHES = Batches()
for image, row in ROWS.items():
    BATCHES.setdefault(row["batch"], []).append(image)

ANNOTATED = [image for image in ROWS if ROWS[image]["truth"]]
LEARNING = {row["batch"] for image, row in ROWS.items() if SIDES[image] in ("train", "val")}
SCORED = {ROWS[image]["batch"] for image in ANNOTATED}
PROVENANCE = ProvenanceHashes(config, ROWS, MOVIES, SIDES, LEARNERS, MODELS, SIMULATED, EXISTING)


def share_machine():
    """Where jobs run on this machine, let no more run at once than it has memory for, and one that trains or predicts.

    What --resources or a profile says goes before.
    """
    if workflow.is_main_process and workflow.local_exec:
        memory_mb = int(0.9 * psutil.virtual_memory().total / 1e6)
        for name, most in (("networks", 1), ("mem_mb", memory_mb)):
            if name not in workflow.global_resources:
                workflow.register_resource(name, most)


share_machine()


def lock_results():
    """Let no other run write the same results; unlike Snakemake's own lock, this one ends with a process that is killed."""
    try:
        hold_lock("results", f"{Path.cwd()}: another run is at work on these results; wait for it, or stop it")
    except InputError as error:
        raise WorkflowError(str(error)) from None


def is_forced():
    """Whether jobs were asked for by --force and its like, whatever is there."""
    asked = workflow.dag_settings
    return bool(asked.forceall or asked.forcerun or asked.forcetargets)


def keep_unchanged():
    """Before Snakemake removes the batches that are to be made again, keep the images in them that need not be."""
    if is_forced():
        return
    labelled = [(LABELLING, "labels", BATCHES), ("track", "tracks", BATCHES if config["task"] == "instances" else [])]
    for rule, kind, batches in (("ingest", "images", BATCHES), ("ingest_truth", "truth", SCORED), *labelled):
        for batch in batches:
            made = PRODUCTS.made_by(rule, batch)
            if made and PRODUCTS.is_outdated(rule, batch):
                keep_stores(f"results/{kind}/{batch}", made, provenance_of(rule, batch))


def name_leftovers():
    """Say what under results is of no row of the table, fold or model any more."""
    for line in list_leftovers(Path("results"), BATCHES, SCORED, LEARNERS, MODELS):
        print(line, file=sys.stderr)


def name_skipped():
    """Say which images were set aside; a run of which none is left fails."""
    folders = [f"results/{kind}/{batch}" for kind in ("images", "truth", "predictions", "labels") for batch in BATCHES]
    aside = sorted(read_skipped(folders).keys() & ROWS.keys())
    if not aside:
        return
    text = f"Set aside: {', '.join(aside[:5])}{f' and {len(aside) - 5} more' if len(aside) > 5 else ''}"
    print(f"{text}; results/report.html says why", file=sys.stderr)
    if len(aside) == len(ROWS):
        raise WorkflowError("No image is left: all were set aside")


def image_folders(images):
    """The folders under results/images that hold `images`."""
    return sorted({f"results/images/{ROWS[image]['batch']}" for image in images})


def with_truth(images):
    """Those of `images` that the table gives a truth."""
    return [image for image in images if ROWS[image]["truth"]]


def truth_folders(images):
    """The folders under results/truth that hold the truth of those of `images` that have one."""
    return sorted({f"results/truth/{ROWS[image]['batch']}" for image in with_truth(images)})


def raw_rows(batch, *columns):
    """The rows of a batch that have the first of the `columns` (files, truth_files or masks_files): the image and these.

    Files are relative to the working directory, so that it can move.
    """
    rows = [{column: ROWS[image][column] for column in ("image", *columns)} for image in BATCHES[batch]]
    return [
        row
        | {column: [os.path.relpath(file) for file in row[column]] for column in columns if column.endswith("files")}
        for row in rows
        if row[columns[0]]
    ]


def simulated_files(batch, files):
    """Those of the `files` (files, truth_files or masks_files) of a batch that rule simulate makes."""
    return [os.path.relpath(file) for image in BATCHES[batch] for file in ROWS[image][files] if file in SIMULATED]


def regions_of(batch):
    """{image: its `roi` and `frames`} of the images of a batch that are not looked at in whole."""
    regions = {image: {key: ROWS[image][key] for key in ("roi", "frames")} for image in BATCHES[batch]}
    return {image: region for image, region in regions.items() if any(region.values())}


def learning_images():
    """The images that a network learns from: those of the sides train and val."""
    return [image for image in ROWS if SIDES[image] in ("train", "val")]


@cache
def raw_mb(batch):
    """Megabytes of the largest raw file of a batch, and of all of them; a simulated one counts as 50."""
    files = [file for image in BATCHES[batch] for path in ROWS[image]["files"] for file in [path, *path.rglob("*")]]
    simulated = [50 for file in files if file in SIMULATED]
    sizes = [os.path.getsize(file) / 1e6 for file in files if file not in SIMULATED and file.is_file()] + simulated
    return max(sizes, default=0), sum(sizes)


def memory_mb(base, per_mb, most=16_000):
    """Memory that grows with the largest raw file of the batch up to `most`, and then with each attempt."""
    return lambda wildcards, attempt: int(attempt * min(base + per_mb * raw_mb(wildcards.batch)[0], most))


def minutes(base, per_mb, most=1440):
    """Run time that grows with the raw megabytes of the batch, and with each attempt, up to `most`.

    A queue may never start a job that asks for more than it allows; one that is stopped goes on when it is tried again.
    """
    return lambda wildcards, attempt: min(int(attempt * (base + per_mb * raw_mb(wildcards.batch)[1])), most)


def training_minutes(model):
    """Run time to ask for when a model is trained."""
    return 60 + int(1.2 * (MODELS[model]["train"]["max_minutes"] or 150))


def provenance_of(rule, key=None):
    """{image: digest} of what the batch `key` of a rule is made from, or the digest of its one product."""
    match rule:
        case "ingest_truth":
            return {image: PROVENANCE.ingest_truth(image) for image in with_truth(BATCHES[key])}
        case "ingest" | "import_masks" | "predict" | "segment" | "track" | "evaluate":
            return {image: getattr(PROVENANCE, rule)(image) for image in BATCHES[key]}
        case "simulate" | "augment" | "train":
            return getattr(PROVENANCE, rule)(key)
    return getattr(PROVENANCE, rule)


def upstream_of(rule, key=None):
    """The products, (rule, key), that the product of a rule is made from."""
    match rule:
        case "ingest":
            kinds = ("files", "truth_files", "masks_files")
            files = [file for image in BATCHES[key] for kind in kinds for file in ROWS[image][kind]]
            return [("simulate", SIMULATED[file]) for file in dict.fromkeys(files) if file in SIMULATED]
        case "ingest_truth" | "import_masks":
            return [("ingest", key)]
        case "split":
            return [("ingest", batch) for batch in SCORED]
        case "augment":
            return [(before, batch) for batch in LEARNING for before in ("ingest", "ingest_truth")]
        case "train":
            return [("augment", MODELS[key]["fold"])]
        case "select_model":
            return [("train", model) for model in MODELS]
        case "explain":
            return [("select_model", None), *(("augment", fold) for fold in LEARNERS)]
        case "predict":
            return [("ingest", key), ("select_model", None)]
        case "segment":
            return [("predict", key)]
        case "track":
            return [(LABELLING, key)]
        case "evaluate":
            tracked = [("track", key)] if config["task"] == "instances" else []
            return [(LABELLING, key), *tracked, *([("ingest_truth", key)] if key in SCORED else [])]
        case "report":
            whole = [*([] if MASKED else [("explain", None)]), *([("split", None)] if LEARNERS else [])]
            return [*whole, *(("evaluate", batch) for batch in BATCHES)]
    return []


def outputs_of(rule, key=None):
    """Paths of the files and folders that a rule makes."""
    made = workflow.get_rule(rule)
    return [strip_wildcard_constraints(path).format(**dict.fromkeys(made.wildcard_names, key)) for path in made.output]


PRODUCTS = Products(
    provenance_of,
    upstream_of,
    outputs_of,
    wanted=(LABELLING, "track", "evaluate", "report"),
    gathering=("split", "augment", "select_model", "explain"),
)


def reads(rule, paths):
    """An input function: what a rule reads, paths or patterns, whose age is of no matter.

    Of a product that is up to date, what is not there any more is left out: Snakemake would make it again for what is
    there already, and then that as well. With --force and its like nothing is left out.
    """

    def find(wildcards):
        found = paths(wildcards) if callable(paths) else paths
        several = found if isinstance(found, list) else [found]
        for name, value in wildcards.items():
            several = [path.replace(f"{{{name}}}", value) for path in several]
        if not is_forced() and not PRODUCTS.is_outdated(rule, next(iter(wildcards), None)):
            several = [path for path in several if Path(path).exists()]
        return ancient(several if isinstance(found, list) or not several else several[0])

    return find


wildcard_constraints:
    batch="[^/]+",
    # An existing model may well lie where this workflow would put its own; it must not train it then.
    fold="|".join(LEARNERS) or "(?!)",
    model="|".join(map(re.escape, MODELS)) or "(?!)",
    movie="[^/]+",
