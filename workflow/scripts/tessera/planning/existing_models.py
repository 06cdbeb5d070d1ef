"""Models that the configuration names: existing ones, which are applied without training any."""

import os
from pathlib import Path

from tessera.common.constants import INSTANCE_OUTPUTS, SETTINGS
from tessera.common.errors import InputError
from tessera.planning.messages import format_value


def find_existing_models(paths, task, classes):
    """The folders of existing models, each checked against what the configuration looks for.

    Args:
        paths: the setting `model`: None, a path or a list of paths, relative to the working directory.
        task, classes: of the configuration.

    Returns:
        {name: absolute path}; a model has the name of its folder.

    Raises:
        InputError: a line for each folder that is no model's, model for something else, or name that two have.
    """
    folders, problems = {}, []
    for text in [paths] if isinstance(paths, str) else paths or []:
        folder = os.path.abspath(os.path.expanduser(text))
        other = folders.setdefault(os.path.basename(folder), folder)
        if other != folder:
            problems.append(f"model: {other} and {folder} have one name; rename the folder of one")
        problems += _misfits(folder, task, classes)
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    return folders


def _misfits(folder, task, classes):
    """What is wrong with the model in `folder`, in sentences."""
    # Its imports take seconds that a plan without an existing model can do without.
    from tessera.networks.model_folder import read_model_card

    if not Path(folder).is_dir():
        return [f"model: there is no folder {folder}; give the folder of a model, in which model.json is, or null"]
    inside = sorted(path.parent for path in Path(folder).glob(f"*/{SETTINGS}"))
    if inside and not (Path(folder) / SETTINGS).exists():
        return [f"model: {folder} holds folders of models, but is none; give one of them, such as {inside[0]}"]
    try:
        about = read_model_card(folder)
    except InputError as error:
        return [f"model: {error}"]
    wanted = {"task": task, "outputs": INSTANCE_OUTPUTS if task == "instances" else classes}
    if "classes" in about:
        wanted["classes"] = classes
    return [
        f"model: {folder} has the {key} {_listed(about[key])}, the configuration asks for {_listed(value)}; "
        f"correct {'task' if task != about['task'] else 'classes'} in the configuration, or give another model"
        for key, value in wanted.items()
        if about[key] != value
    ][:1]


def _listed(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else format_value(value)
