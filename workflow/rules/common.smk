"""What the rules share: the project, the rerun planner, and functions for inputs, params and resources."""

import atexit
import contextlib
import datetime
import gc
import re
import sys
from functools import cache
from pathlib import Path

import psutil
import smart_open
from snakemake.exceptions import WorkflowError

# The only place that adds the package `tessera` to the path. Scripts find it because they are in the same folder.
sys.path.insert(0, str(workflow.current_basedir.join("../scripts")))

from tessera.common.batch_outputs import keep_stores, read_skipped
from tessera.common.errors import InputError
from tessera.common.file_lock import hold_lock
from tessera.planning.acceptance import (
    accept_results,
    forget_acceptance,
    list_accepted,
    record_with_acceptance,
    remember_acceptance,
)
from tessera.planning.code_hash import REMEMBERED_CODE, script_hash
from tessera.planning.digests import REMEMBERED_FILES
from tessera.planning.input_functions import with_signature
from tessera.planning.orphans import list_orphans
from tessera.planning.project import load_project
from tessera.planning.rerun_planner import JobPlanners, RerunPlanner
from tessera.planning.rerun_reasons import explain_reruns
from tessera.planning.resources import JobResources
from tessera.planning.skipped_images import describe_skipped
from tessera.planning.steps import result_settings
from tessera.planning.temporary_folder import check_temporary_folder
from tessera.report.accepted_results import insert_accepted_results

IS_MODULE = not workflow.modifier.is_main_snakefile()


@cache
def check_rerun_triggers():
    """Refuse a profile that makes Snakemake rerun more than what changed.

    A workflow that imports this one as a module may have such a profile; it gets a warning.
    """
    triggers = sorted(map(str, workflow.rerun_triggers))
    if not workflow.is_main_process or triggers == ["mtime"]:
        return
    problem = (
        f"Snakemake's rerun triggers are {', '.join(triggers)}, so jobs would rerun without need. Tessera itself finds "
        "out what has changed. Add this line to your profile, or the option --rerun-triggers mtime to the command:\n"
        "    rerun-triggers: [mtime]"
    )
    if not IS_MODULE:
        raise WorkflowError(problem)
    print(f"Warning: {problem}", file=sys.stderr, flush=True)


# A plan makes many objects that last until its end, so garbage collection would look at them often and find little.
gc.set_threshold(50_000)

# Snakemake parses the paths of the same few scripts again for every job.
smart_open.parse_uri = cache(smart_open.parse_uri)


if workflow.is_main_process:
    try:
        check_temporary_folder()
    except InputError as error:
        raise WorkflowError(str(error)) from None

# Only planning, not a job, remembers what it has read.
REMEMBERED_FILES.connect(".snakemake/tessera/raw_files.json", keep=workflow.is_main_process)
REMEMBERED_CODE.connect(".snakemake/tessera/code.json", keep=workflow.is_main_process)

try:
    PROJECT = load_project(config, workflow.configfiles)
except InputError as error:
    raise WorkflowError(str(error)) from None

PLANNER = RerunPlanner(PROJECT, list_forced=lambda: workflow.dag_settings.forcerun)
JOB_PLANNERS = JobPlanners(PLANNER)
RESOURCES = JobResources(PROJECT)
gc.freeze()  # no garbage collection looks at the project again


def share_machine():
    """Limit the memory of local jobs to that of the machine, and train or predict in one job at a time.

    Limits from --resources or a profile take precedence.
    """
    if workflow.is_main_process and workflow.local_exec:
        memory_mb = int(0.9 * psutil.virtual_memory().total / 1e6)
        for name, limit in (("networks", 1), ("mem_mb", memory_mb)):
            if name not in workflow.global_resources:
                workflow.register_resource(name, limit)


share_machine()


def lock_results():
    """Prevent other runs from writing the same results. Unlike Snakemake's lock, this lock ends with its process."""
    try:
        hold_lock("results", f"{Path.cwd()}: another run is at work on these results; wait for it, or stop it")
    except InputError as error:
        raise WorkflowError(str(error)) from None


def is_forced():
    """Whether jobs are requested with --force, --forceall or --forcerun."""
    settings = workflow.dag_settings
    return bool(settings.forceall or settings.forcerun or settings.forcetargets)


def keep_unchanged():
    """Keep the images that are up to date in batches that are made again, before Snakemake removes these batches."""
    if is_forced():
        forget_acceptance()
        return
    remember_acceptance(PLANNER)
    for folder, made, wanted in PLANNER.unchanged_stores():
        keep_stores(folder, made, wanted)


def outputs_that_run():
    """Return {(rule, key): Snakemake's own reason, or ""} of the outputs whose jobs run."""
    records = {PLANNER.record_path(*output): output for output in PLANNER.all_outputs()}
    outputs = {}
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        reason = workflow.dag.reason(job)
        said = "forced" if reason.forced else "interrupted" if reason.incomplete_output else ""
        outputs |= {records[path]: said for path in map(str, job.output) if path in records}
    return outputs


def print_reasons():
    """Print why jobs run, each cause once."""
    for line in explain_reruns(PLANNER, outputs_that_run()):
        print(line, file=sys.stderr, flush=True)


def print_reasons_of_dry_run(folder):
    """Print why jobs would run in `folder`. Snakemake has no hook for dry runs, and leaves `folder` before exit."""
    if workflow.dryrun and workflow._dag is not None:
        with contextlib.chdir(folder):
            print_reasons()


if workflow.is_main_process:
    atexit.register(print_reasons_of_dry_run, Path.cwd())


def start_run():
    """Before the first job, lock the results and print why jobs run; with --touch, accept the results instead."""
    lock_results()
    if workflow.touch:
        # Results are accepted as made from the values of the last run.
        planner = RerunPlanner(PROJECT, PLANNER.provenance.recorded_values())
        for line in accept_results(planner, outputs_that_run(), datetime.date.today()):
            print(line, file=sys.stderr, flush=True)
        if Path("results/report.html").is_file():
            insert_accepted_results(Path("results/report.html"), list_accepted(PLANNER))
    else:
        print_reasons()
        keep_unchanged()


def end_run():
    """After the last job, list orphans and skipped images."""
    print_orphans()
    print_skipped()


def print_orphans():
    """Print the orphans: results that belong to no row of the table, no fold and no model."""
    for line in list_orphans(Path("results"), PROJECT):
        print(line, file=sys.stderr)


def print_skipped():
    """Print the images that were skipped. A run that skipped all images fails."""
    reasons = read_skipped(PLANNER.store_folders())
    skipped = {image: reason for image, reason in sorted(reasons.items()) if image in PROJECT.rows}
    for line in describe_skipped(skipped, Path("results/report.html")):
        print(line, file=sys.stderr)
    if len(skipped) == len(PROJECT.rows):
        raise WorkflowError("All images were skipped")


def key_of(wildcards):
    """Return the value of a rule's only wildcard; None for a rule without wildcards."""
    name, key = next(iter(wildcards.items()), (None, None))
    if name == "batch" and key not in PROJECT.batches:
        batches = list(PROJECT.batches)
        listed = ", ".join(batches[:5]) + (", …" if len(batches) > 5 else "")
        raise WorkflowError(f"{config['images']}: has no batch called {key}; it has {listed}")
    return key


def ancient_inputs(rule, paths):
    """Return an input function for the data that a rule reads. The age of these paths does not matter.

    If you delete an intermediate result to free disk space, Snakemake would make it again for every output that is
    made from it. So for an output that is up to date, the function leaves out inputs that do not exist. With --force,
    --forceall and --forcerun it leaves out nothing.

    Args:
        rule: name of the rule.
        paths: a path, a list of paths, or a function of the wildcards that returns one of these. Paths may contain
            wildcards in braces.
    """

    @with_signature
    def list_paths(wildcards):
        given = paths(wildcards) if callable(paths) else paths
        listed = given if isinstance(given, list) else [given]
        for name, value in wildcards.items():
            listed = [path.replace(f"{{{name}}}", value) for path in listed]
        if not is_forced() and not PLANNER.is_outdated(rule, key_of(wildcards)):
            listed = [path for path in listed if Path(path).exists()]
        return ancient(listed if isinstance(given, list) or not listed else listed[0])

    return list_paths


def rerun_if(rule):
    """Return an input function for what makes Snakemake run the job of a rule if and only if it is outdated."""

    @with_signature
    def list_paths(wildcards):
        check_rerun_triggers()  # Snakemake knows them only after it has read this file
        return PLANNER.rerun_if(rule, key_of(wildcards))

    return list_paths


def provenance_of(rule):
    """Return a function for params: {image: provenance hash} of a batch, or the hash of a single result."""
    return with_signature(lambda wildcards: JOB_PLANNERS.current().provenance.hashes(rule, key_of(wildcards)))


def record_of(rule):
    """Return a function for params: the record of the outputs (see `tessera.planning.provenance.Provenance.record`)."""
    return with_signature(lambda wildcards: record_with_acceptance(JOB_PLANNERS.current(), rule, key_of(wildcards)))


def image_folders(images):
    """Return the folders below results/images that contain `images`."""
    return sorted({f"results/images/{PROJECT.rows[image]['batch']}" for image in images})


def truth_folders(images):
    """Return the folders below results/truth that contain the ground truth of `images`, if they have any."""
    return sorted({f"results/truth/{PROJECT.rows[image]['batch']}" for image in PROJECT.with_truth(images)})


def weights_folders(model):
    """Return the folder of the ImageNet weights that a model starts from, in a list that may be empty."""
    return [f"resources/weights/{backbone}" for backbone in PROJECT.pretrained_backbone(model)]


wildcard_constraints:
    batch="[^/]+",
    # An existing model may be in the folder of a model of this workflow; the workflow must not train it.
    backbone="|".join(PROJECT.pretrained_backbones) or "(?!)",
    fold="|".join(PROJECT.folds) or "(?!)",
    model="|".join(map(re.escape, PROJECT.models)) or "(?!)",
    movie="[^/]+",
