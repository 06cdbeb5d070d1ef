"""A request to read a file: the cells of the table that concern it, and the choice of its scene."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.common.errors import InputError
from tessera.common.types import Shape5D

MAX_SHOWN = 20  # scenes in a message


@dataclass(frozen=True)
class FileRequest:
    """The cells of the table that decide how a file is read.

    Attributes:
        axes: axes of the array in the file, to override its metadata; None: as the file says.
        labels: whether the pixels are ids, which may have 64 bits.
        like: shape (t, c, z, y, x) of the annotated image; None: unknown.
        scene: name or number of the scene to read; "" if the file has only one.
    """

    axes: str | None = None
    labels: bool = False
    like: Shape5D | None = None
    scene: str = ""


def choose_scene(path: Path, names: Sequence[str], scene: str) -> int:
    """Return the number of the scene to read.

    Args:
        path: the file, for messages.
        names: names of its scenes; they need not be unique.
        scene: name or number of a scene. A name goes before a number.

    Raises:
        InputError: the file has several scenes and none is chosen, or it lacks the chosen one.
    """
    if not names:
        raise InputError(f"{path}: contains no image; replace or remove it")
    if not scene and len(names) == 1:
        return 0
    listed = ", ".join(f"{number} ({name})" if name else str(number) for number, name in enumerate(names[:MAX_SHOWN]))
    listed += f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    if not scene:
        raise InputError(
            f"{path}: has {len(names)} scenes; choose one by its number or name in the column scene: {listed}"
        )
    found = [number for number, name in enumerate(names) if name == scene]
    if len(found) == 1:
        return found[0]
    if not found and scene.isascii() and scene.isdecimal() and int(scene) < len(names):
        return int(scene)
    fault = f"has {len(found)} scenes named {scene}" if found else f"has no scene {scene}"
    raise InputError(f"{path}: {fault}; choose one by its number in the column scene: {listed}")
