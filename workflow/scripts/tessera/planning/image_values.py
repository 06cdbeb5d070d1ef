"""Values that a step estimates for images, such as object diameters, and what is known about them before a run.

A later step depends on the values, not on how they were made. So an image that is added to the table makes
results of other images again only if their value changes. Before a run, a value is certain if nothing that it is
estimated from changed. Otherwise it is UNKNOWN, and the jobs that depend on it run. They keep the results of images
whose value turns out to be the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tessera.data.image_sample import MAX_SAMPLED, sample_position
from tessera.planning.digests import digest

UNKNOWN = "to be estimated"
Record: TypeAlias = Mapping[str, Any]


def read_values(path: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read the file of values.

    Returns:
        Its sets of images, see `tessera.inference.common_diameters`; {image: its value}. Both are empty if the file
        does not exist or is damaged.
    """
    try:
        sets = json.loads(Path(path).read_text())["sets"]
        values = {image: [each["diameter_px"], each["other_px"]] for each in sets for image in each["images"]}
    except (OSError, ValueError, KeyError, TypeError):
        return [], {}
    return sets, values


def find_certain(path: str, old: Record | None, new: Record) -> dict[str, Any]:
    """Return {image: its value, None if it has none of its own} of the images whose value cannot change in a run.

    Args:
        path: the file of values.
        old: the record of the step that made it; None: nothing is known.
        new: the record that the step should have. `members` is {image: (group, ...)}, `inputs` {image: hash}.
    """
    sets, values = read_values(path)
    shared = ("settings", "code", "models")
    if old is None or not Path(path).exists() or any(digest(old.get(part)) != digest(new.get(part)) for part in shared):
        return {}
    moved = {image for part in ("members", "inputs") for image in _differing(old[part], new[part])}
    groups = {members[image][0] for members in (old["members"], new["members"]) for image in moved & members.keys()}
    certain = {image: values.get(image) for image, member in new["members"].items() if member[0] not in groups}
    for each in sets:
        last = max(map(sample_position, each["sampled"]))
        is_full = len(each["sampled"]) == MAX_SAMPLED
        if is_full and all(sample_position(image) > last for image in moved):
            certain |= {image: values[image] for image in each["images"] if image in new["members"]}
    return {image: value for image, value in certain.items() if image not in moved}


def _differing(old: Record, new: Record) -> set[str]:
    """The images whose entries differ or that only one of the two has."""
    return {image for image in old.keys() | new.keys() if digest(old.get(image)) != digest(new.get(image))}
