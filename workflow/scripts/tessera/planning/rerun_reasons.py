"""Why jobs rerun, in sentences for the user: each cause once, where it arises.

`segment (157 batches): segment.min_area_px 16 -> 20` is one line, however many images there are. Jobs that run only
because a job before them does are summarized in a last line, such as `then: track (157 batches), report`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.planning.provenance import Output
from tessera.planning.rerun_planner import RerunPlanner, count

ITEMS_SHOWN = 3
CAUSES_SHOWN = 8  # of one step
VALUE_LENGTH = 60
SUBSETS = {"train": "training", "val": "validation"}
_ABSENT = object()


@dataclass(frozen=True)
class Cause:
    """Why an output is made again.

    Attributes:
        text: the sentence. `{items}` stands for the items, and `{count image}` for how many images they are.
        items: names of images or files; those of equal sentences are put together.
        is_code: whether only code differs, and no settings or inputs.
    """

    text: str
    items: tuple[str, ...] = ()
    is_code: bool = False

    def render(self) -> str:
        """The sentence with its items."""
        text = self.text.replace("{items}", shorten(self.items))
        return re.sub(r"\{count ([^}]*)\}", lambda match: count(len(self.items), match[1]), text)


def explain_reruns(planner: RerunPlanner, jobs: Mapping[Output, str]) -> list[str]:
    """Say why jobs run.

    Args:
        planner: compares the records with what results should be made from.
        jobs: {(step, key): what Snakemake says of it, such as "forced", or ""} of all jobs that run.

    Returns:
        Lines of text; none if nothing runs.
    """
    if jobs and not any(planner.has_record(*output) for output in planner.all_outputs()):
        return ["Nothing has been made yet: all steps run."]
    causes: dict[Output, list[Cause]] = {}
    for job, said in jobs.items():
        causes[job] = [Cause(said)] if said else find_causes(planner, *job)
        if not causes[job] and not planner.is_changed(*job):
            causes[job] = _why_missing(planner, job, jobs)
    follow = [job for job in jobs if not causes[job]]
    return [*render_causes(planner, causes), *([f"then: {planner.list_outputs(follow)}"] if follow else [])]


def render_causes(planner: RerunPlanner, causes: Mapping[Output, Sequence[Cause]]) -> list[str]:
    """Lines such as `segment (2 batches): segment.min_area_px 16 -> 20`, in the order of the steps.

    Args:
        planner: knows the steps.
        causes: {(step, key): its causes}.
    """
    grouped: dict[tuple[str, str], tuple[dict[Output, None], dict[str, None]]] = {}
    for job, found in causes.items():
        for cause in found:
            outputs, items = grouped.setdefault((job[0], cause.text), ({}, {}))
            outputs[job] = None
            items |= dict.fromkeys(cause.items)
    sentences: dict[str, list[Output]] = {}
    shown: dict[str, int] = {}
    for name in planner.steps:
        for (step, text), (outputs, items) in grouped.items():
            if step == name:
                shown[name] = shown.get(name, 0) + 1
                sentence = Cause(text, tuple(items)).render()
                if shown[name] > CAUSES_SHOWN:
                    sentence = "more causes of the same kinds"
                sentences.setdefault(sentence, []).extend(outputs)
    return [f"{planner.list_outputs(list(dict.fromkeys(jobs)))}: {text}" for text, jobs in sentences.items()]


def find_causes(planner: RerunPlanner, name: str, key: str | None = None) -> list[Cause]:
    """What differs between the record of an output and what it should be made from.

    Returns:
        The causes that arise in this step; none if the output is up to date, or only outputs before it differ.
    """
    if not planner.is_changed(name, key):
        return []
    old = planner.read_record(name, key)
    if old is None:
        return [Cause("the record is damaged: {items}", (planner.record_path(name, key),))]
    new = planner.provenance.record(name, key)
    causes = _compare_settings(old.get("settings", {}), new["settings"])
    causes += _compare_code(old.get("code", {}), new["code"])
    causes += _compare_images(planner, name, old, new)
    causes += _compare_members(name, old.get("members", {}), new.get("members", {}))
    upstream = planner.provenance.upstream(name, key)
    if not causes and not any(planner.is_changed(*output) for output in upstream):
        read = _differing(old.get("upstream", {}), new["upstream"])
        causes = [Cause(f"made from earlier results of {' and '.join(read)}" if read else "made from other inputs")]
    return causes


def _compare_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    return [
        Cause(f"{name} {_show(old.get(name, _ABSENT))} -> {_show(new.get(name, _ABSENT))}")
        for name in _differing(old, new)
    ]


def _compare_code(old: Mapping[str, str], new: Mapping[str, str]) -> list[Cause]:
    changed = tuple(path.removeprefix("tessera/") for path in _differing(old, new))
    return [Cause("code of {items}", changed, is_code=True)] if changed else []


def _compare_images(planner: RerunPlanner, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    """Differences of the rows and raw files of the images of a batch."""
    step = planner.steps[name]
    if not step.is_per_image:
        return []
    causes = []
    before, after = old["hash"], new["hash"]
    truth = " with ground truth" if step.raw_files == "truth_files" else ""
    if step.raw_files in ("files", "truth_files"):  # images that are new are so to all later steps
        causes += _count_cause(f"image{truth}", "added", after.keys() - before.keys())
        causes += _count_cause(f"image{truth}", "removed", before.keys() - after.keys())
    old_images, new_images = old.get("images", {}), new.get("images", {})
    for image in sorted(old_images.keys() & new_images.keys()):
        old_row, new_row = old_images[image].get("row", {}), new_images[image].get("row", {})
        for column in _differing(old_row, new_row):
            change = f"{_show_cell(old_row.get(column))} -> {_show_cell(new_row.get(column))}"
            causes.append(Cause(f"{column} {change} of {{items}}", (image,)))
        old_files, new_files = old_images[image].get("raw", {}), new_images[image].get("raw", {})
        paths = planner.project.raw_paths(image, str(step.raw_files)) if old_files != new_files else {}
        for file in _differing(old_files, new_files):
            verb = "added" if file not in old_files else "removed" if file not in new_files else "changed"
            causes.append(Cause(f"{{items}} {verb}", (paths.get(file, f"{image}: {file}"),)))
    return causes


def _compare_members(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    """Differences of what a step gathers: training images, models, or batches."""
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    changed = [member for member in _differing(old, new) if member in old and member in new]
    if name == "augment":
        causes = [
            cause
            for verb, members, subset_of in (("added", added, new), ("removed", removed, old))
            for subset, word in SUBSETS.items()
            for cause in _count_cause(f"{word} image", verb, [each for each in members if subset_of[each] == subset])
        ]
        moved = [Cause(f"{{items}} moved from {old[image]} to {new[image]}", (image,)) for image in changed]
        return causes + moved
    noun = {"select_model": "model", "split": "annotated image", "estimate_scale": "image"}.get(name, "batch")
    changes = [("added", added), ("removed", removed), ("changed", changed if noun != "batch" else [])]
    return [cause for verb, members in changes for cause in _count_cause(noun, verb, members)]


def _why_missing(planner: RerunPlanner, job: Output, jobs: Mapping[Output, str]) -> list[Cause]:
    """Why an output is made whose record shows no difference: all or part of it does not exist."""
    missing = planner.missing(*job)
    if planner.has_record(*job):
        step = planner.steps[job[0]]
        text = "{items} missing" if step.is_deliverable else "{items} missing, and a job needs to read it"
        return [Cause(text, tuple(missing))] if missing else []
    arises_before = any(output in jobs for output in planner.provenance.upstream(*job))
    return [] if arises_before else [Cause("not made before")]


def _count_cause(noun: str, verb: str, members: Iterable[str]) -> list[Cause]:
    """A cause such as `2 training images added (day4_p1, day4_p2)`; none without members."""
    listed = tuple(sorted(members))
    return [Cause(f"{{count {noun}}} {verb} ({{items}})", listed)] if listed else []


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names whose values differ or that only one of the two has. Values are compared as JSON keeps them."""
    names = list(dict.fromkeys([*new, *old]))
    return [name for name in names if _plain(old.get(name, "\0")) != _plain(new.get(name, "\0"))]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _show(value: Any) -> str:
    """A value as the configuration would have it, shortened."""
    if value is _ABSENT:
        return "(no such setting)"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 20 in the configuration becomes 20.0 if the setting may have decimals
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= VALUE_LENGTH else f"{text[:VALUE_LENGTH]}…"


def _show_cell(value: Any) -> str:
    """A cell of the table."""
    return "(empty)" if value in (None, "") else _show(value)


def shorten(items: Sequence[str]) -> str:
    """`a, b, c and 7 more`."""
    rest = len(items) - ITEMS_SHOWN
    return ", ".join(items[:ITEMS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
