"""Values that one plan computes and the next one need not compute again, kept in a JSON file."""

import atexit
import contextlib
import json
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import write_json
from tessera.common.types import StrPath


class DiskMemory(dict[str, Any]):
    """{name: value} that JSON can hold. It works without a file too, and then forgets when the process ends."""

    def connect(self, path: StrPath, *, keep: bool) -> None:
        """Take the values from a file, and write them back when the process ends.

        Args:
            path: JSON file, which need not exist. A damaged file counts as empty. A folder that cannot be written to
                is left alone.
            keep: whether to write new values to the file.
        """
        path = Path(path).absolute()  # the working directory may be another one when the process ends
        with contextlib.suppress(OSError, ValueError):
            self.update(json.loads(path.read_text()))
        if keep:
            atexit.register(self._write, path, dict(self))

    def _write(self, path: Path, before: dict[str, Any]) -> None:
        # Without the file, the next plan only takes longer. A traceback at exit would look like a failure.
        with contextlib.suppress(OSError):
            if self != before:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, self)
