"""Find the existing models that the configuration names; they are applied without training."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tessera.common.constants import INSTANCE_OUTPUTS, MODEL_JSON
from tessera.common.errors import InputError
from tessera.planning.messages import format_value


def find_existing_models(paths: str | Sequence[str] | None, task: str, classes: Sequence[str]) -> dict[str, str]:
    """The folders of existing models, each checked against the task and classes of the configuration.

    Args:
        paths: the setting `model`, relative to the working directory.
        task: "instances" | "semantic".
        classes: names of the classes, background first.

    Returns:
        {name: absolute path}; the name of a model is the name of its folder.

    Raises:
        InputError: a line for each folder without a model, with a model for another task, or with the name of another.
    """
    folders: dict[str, str] = {}
    problems = []
    for text in [paths] if isinstance(paths, str) else paths or []:
        folder = os.path.abspath(os.path.expanduser(text))
        other = folders.setdefault(os.path.basename(folder), folder)
        if other != folder:
            problems.append(f"model: {other} and {folder} have the same name; rename one of the folders")
        problems += _find_problems(folder, task, list(classes))
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    return folders


def _find_problems(folder: str, task: str, classes: list[str]) -> list[str]:
    """What is wrong with the model in `folder`."""
    # This import takes seconds, which a plan without an existing model saves.
    from tessera.networks.model_folder import read_model_card

    if not Path(folder).is_dir():
        return [f"model: there is no folder {folder}; give the folder of a model, which contains model.json, or null"]
    inside = sorted(path.parent for path in Path(folder).glob(f"*/{MODEL_JSON}"))
    if inside and not (Path(folder) / MODEL_JSON).exists():
        return [f"model: {folder} contains folders of models; give one of them, such as {inside[0]}"]
    try:
        card: Mapping[str, Any] = read_model_card(folder)
    except InputError as error:
        return [f"model: {error}"]
    expected: dict[str, Any] = {"task": task, "outputs": INSTANCE_OUTPUTS if task == "instances" else classes}
    if "classes" in card:
        expected["classes"] = classes
    return [
        f"model: {folder} has the {key} {_listed(card[key])}, but the configuration has {_listed(value)}; "
        f"correct {'task' if task != card['task'] else 'classes'} in the configuration, or give another model"
        for key, value in expected.items()
        if card[key] != value
    ][:1]


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else format_value(value)
