"""What the rules share: the project, the rerun planner, and functions for inputs, params and resources."""

import atexit
import datetime
import re
import sys
from functools import cache
from pathlib import Path

import psutil
from snakemake.exceptions import WorkflowError

# The only place that puts the package `tessera` on the path. Scripts are beside it and need no help.
sys.path.insert(0, str(workflow.current_basedir.join("../scripts")))

from tessera.common.batch_outputs import keep_stores, read_skipped
from tessera.common.errors import InputError
from tessera.common.file_lock import hold_lock
from tessera.planning.acceptance import accept_results, list_accepted
from tessera.planning.code_hash import REMEMBERED_CODE, script_hash
from tessera.planning.digests import REMEMBERED_FILES
from tessera.planning.orphans import list_orphans
from tessera.planning.project import load_project
from tessera.planning.rerun_planner import RerunPlanner
from tessera.planning.rerun_reasons import explain_reruns
from tessera.planning.resources import JobResources
from tessera.planning.steps import result_settings
from tessera.report.accepted_results import insert_accepted_results



IS_MODULE = not workflow.modifier.is_main_snakefile()


@cache
def check_rerun_triggers():
    """Refuse a profile with which Snakemake reruns more than what changed.

    A workflow that imports this one as a module decides for itself: it gets a warning.
    """
    triggers = sorted(map(str, workflow.rerun_triggers))
    if not workflow.is_main_process or triggers == ["mtime"]:
        return
    problem = (
        f"Snakemake's rerun triggers are {', '.join(triggers)}: jobs would rerun that need not. Tessera finds out itself "
        "what has changed. Add this line to your profile, or the option --rerun-triggers mtime to the command:\n"
        "    rerun-triggers: [mtime]"
    )
    if not IS_MODULE:
        raise WorkflowError(problem)
    print(f"Warning: {problem}", file=sys.stderr, flush=True)


# Jobs have nothing to add to what the plan has read.
REMEMBERED_FILES.connect(".snakemake/tessera/raw_files.json", keep=workflow.is_main_process)
REMEMBERED_CODE.connect(".snakemake/tessera/code.json", keep=workflow.is_main_process)

try:
    PROJECT = load_project(config, workflow.configfiles)
except InputError as error:
    raise WorkflowError(str(error)) from None

PLANNER = RerunPlanner(PROJECT)
RESOURCES = JobResources(PROJECT)


def share_machine():
    """Let local jobs use no more memory than the machine has, and only one at a time train or predict.

    Limits of --resources or of a profile come first.
    """
    if workflow.is_main_process and workflow.local_exec:
        memory_mb = int(0.9 * psutil.virtual_memory().total / 1e6)
        for name, limit in (("networks", 1), ("mem_mb", memory_mb)):
            if name not in workflow.global_resources:
                workflow.register_resource(name, limit)


share_machine()


def lock_results():
    """Let no other run write the same results. Unlike Snakemake's own lock, this one ends with a killed process."""
    try:
        hold_lock("results", f"{Path.cwd()}: another run is at work on these results; wait for it, or stop it")
    except InputError as error:
        raise WorkflowError(str(error)) from None


def is_forced():
    """Whether jobs are requested by --force and its like, whatever exists."""
    settings = workflow.dag_settings
    return bool(settings.forceall or settings.forcerun or settings.forcetargets)


def keep_unchanged():
    """Before Snakemake removes the batches that are made again, keep the images in them that are up to date."""
    if not is_forced():
        for folder, made, wanted in PLANNER.unchanged_stores():
            keep_stores(folder, made, wanted)


def outputs_that_run():
    """{(rule, key): what Snakemake says of it, or ""} of the outputs whose jobs run, by their records."""
    records = {PLANNER.record_path(*output): output for output in PLANNER.all_outputs()}
    outputs = {}
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        reason = workflow.dag.reason(job)
        said = "forced" if reason.forced else "interrupted" if reason.incomplete_output else ""
        outputs |= {records[path]: said for path in map(str, job.output) if path in records}
    return outputs


def print_reasons():
    """Say why jobs run: each cause once."""
    for line in explain_reruns(PLANNER, outputs_that_run()):
        print(line, file=sys.stderr, flush=True)


def print_reasons_of_dry_run():
    """Snakemake has no hook for dry runs, so that this runs when the process ends."""
    if workflow.dryrun and workflow._dag is not None:
        print_reasons()


if workflow.is_main_process:
    atexit.register(print_reasons_of_dry_run)


def start_run():
    """What happens before the first job: lock the results, and say why jobs run or, with --touch, accept results."""
    lock_results()
    if workflow.touch:
        for line in accept_results(PLANNER, outputs_that_run(), datetime.date.today()):
            print(line, file=sys.stderr, flush=True)
        if Path("results/report.html").is_file():
            insert_accepted_results(Path("results/report.html"), list_accepted(PLANNER))
    else:
        print_reasons()
        keep_unchanged()


def end_run():
    """What happens after the last job: name results that belong to nothing any more, and images that were skipped."""
    print_orphans()
    print_skipped()


def print_orphans():
    """Name the results that belong to no row of the table, no fold and no model any more."""
    for line in list_orphans(Path("results"), PROJECT):
        print(line, file=sys.stderr)


def print_skipped():
    """Name the images that were skipped. A run that skipped all of them fails."""
    skipped = sorted(read_skipped(PLANNER.store_folders()).keys() & PROJECT.rows.keys())
    if not skipped:
        return
    text = f"Skipped: {', '.join(skipped[:5])}{f' and {len(skipped) - 5} more' if len(skipped) > 5 else ''}"
    print(f"{text}; results/report.html says why", file=sys.stderr)
    if len(skipped) == len(PROJECT.rows):
        raise WorkflowError("No image is left: all were skipped")


def key_of(wildcards):
    """The value of a rule's one wildcard; None for a rule without."""
    name, key = next(iter(wildcards.items()), (None, None))
    if name == "batch" and key not in PROJECT.batches:
        batches = list(PROJECT.batches)
        listed = ", ".join(batches[:5]) + (", …" if len(batches) > 5 else "")
        raise WorkflowError(f"{config['images']}: has no batch called {key}; it has {listed}")
    return key


def ancient_inputs(rule, paths):
    """An input function for the data that a rule reads: paths or patterns whose age does not matter.

    If you delete an intermediate result to free disk space, Snakemake would make it again for every output that is
    made from it. So for an output that is up to date, inputs that do not exist are left out. With --force and its like
    nothing is left out.
    """

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
    """An input function: what makes Snakemake run the job of a rule if its outputs are outdated, and only then."""

    def list_paths(wildcards):
        check_rerun_triggers()  # not known before Snakemake has read this file
        return PLANNER.rerun_if(rule, key_of(wildcards))

    return list_paths


def provenance_of(rule):
    """A function for params: {image: hash} of a batch, or the hash of the one result."""
    return lambda wildcards: PLANNER.provenance.hashes(rule, key_of(wildcards))


def record_of(rule):
    """A function for params: the record that the job leaves, see `tessera.planning.provenance.Provenance.record`."""
    return lambda wildcards: PLANNER.provenance.record(rule, key_of(wildcards))


def image_folders(images):
    """The folders under results/images that hold `images`."""
    return sorted({f"results/images/{PROJECT.rows[image]['batch']}" for image in images})


def truth_folders(images):
    """The folders under results/truth that hold the ground truth of those of `images` that have one."""
    return sorted({f"results/truth/{PROJECT.rows[image]['batch']}" for image in PROJECT.with_truth(images)})


wildcard_constraints:
    batch="[^/]+",
    # An existing model may be where this workflow would put its own; it must not train that one.
    fold="|".join(PROJECT.folds) or "(?!)",
    model="|".join(map(re.escape, PROJECT.models)) or "(?!)",
    movie="[^/]+",
