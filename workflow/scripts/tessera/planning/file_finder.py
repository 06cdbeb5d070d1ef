"""The paths that a table of images names: files, folders, and globs of frames."""

import difflib
import fnmatch
import glob
import os
import re
from bisect import bisect_left
from pathlib import Path

from tessera.common.errors import InputError

HINTS = 20


class FileFinder:
    """Finds what cells name, relative to one folder.

    Folders are listed and resolved once, so that ten thousand cells and globs of files in one folder stay quick.
    """

    def __init__(self, folder, simulated=()):
        """
        Args:
            folder: what relative paths are relative to.
            simulated: resolved paths that need not exist yet.
        """
        self._base = os.path.realpath(folder)
        self._simulated = {str(path) for path in simulated}
        self._resolved = {}
        self._listings = {}
        self._hints_left = HINTS

    def find(self, text):
        """Absolute paths of the file or folder that `text` names, or else of the files that it matches as a glob.

        The folder is resolved, the last part is not: a link keeps its own name and suffix. Frames are in natural order,
        2 before 10.

        Raises:
            InputError: there is nothing; the message does not name the table.
        """
        whole = os.path.join(self._base, os.path.expanduser(text))
        folder, name = os.path.split(whole.rstrip("/"))
        path = os.path.join(self._resolve(folder), name) if name not in ("", ".", "..") else os.path.realpath(whole)
        if path in self._simulated or os.path.isfile(path):
            return [Path(path)]
        if os.path.isdir(path):
            if not self._list(path):
                raise InputError(f"the folder {text} is empty; put files there, or correct the path")
            return [Path(path)]
        if not glob.has_magic(text):
            raise InputError(self._absence(text, path))
        paths = sorted(self._match(text, folder, name), key=_natural)
        if not paths:
            raise InputError(f"no file matches {text}; correct the pattern (it is relative to {self._base})")
        return [Path(path) for path in paths]

    def _match(self, text, folder, name):
        if glob.has_magic(folder.removeprefix(self._base)):
            found = glob.glob(os.path.expanduser(text), root_dir=self._base, recursive=True)
            found = (os.path.join(self._base, path) for path in found)
            paths = (os.path.join(self._resolve(os.path.dirname(path)), os.path.basename(path)) for path in found)
        else:
            folder = self._resolve(folder)
            paths = (os.path.join(folder, match) for match in _matches(self._list(folder), name))
        return [path for path in paths if os.path.isfile(path)]

    def _resolve(self, folder):
        if folder not in self._resolved:
            self._resolved[folder] = os.path.realpath(folder)
        return self._resolved[folder]

    def _list(self, folder):
        """Sorted names of what is in a folder, without hidden files; none where there is no folder."""
        if folder not in self._listings:
            try:
                names = os.listdir(folder)
            except (FileNotFoundError, NotADirectoryError):
                names = []
            except OSError as error:
                raise InputError(f"the folder {folder} cannot be read ({error.strerror}); allow it") from None
            self._listings[folder] = sorted(name for name in names if not name.startswith("."))
        return self._listings[folder]

    def _absence(self, text, path):
        if "\\" in text:
            return f"there is no {text}; write / where the path has \\"
        folder, name = os.path.split(path)
        if not os.path.isdir(folder):
            return f"there is no {text}, nor its folder {folder}; correct the path{self._relative(text)}"
        if self._hints_left:
            self._hints_left -= 1
            names = self._list(folder)
            stem = name.casefold().partition(".")[0]
            same = [other for other in names if other.casefold().partition(".")[0] == stem]
            # A name with another number is that of another image.
            alike = [other for other in names if re.findall(r"\d+", other) == re.findall(r"\d+", name)]
            if close := same or difflib.get_close_matches(name, alike, n=1, cutoff=0.85):
                return f"there is no {text}; did you mean {os.path.join(os.path.dirname(text), close[0])}?"
        return f"there is no {text}; correct the path{self._relative(text)}"

    def _relative(self, text):
        return "" if os.path.isabs(text) else f" (it is relative to {self._base})"


def _matches(names, pattern):
    """Those of the sorted `names` that match a glob."""
    start = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    candidates = names[bisect_left(names, start) : bisect_left(names, f"{start}\U0010ffff")]
    return fnmatch.filter(candidates, pattern)


def _natural(path):
    """A key that sorts frame 2 before frame 10."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", path))], path
