"""Find the files, folders and globs of frames that the images table names."""

import difflib
import fnmatch
import glob
import os
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from tessera.common.errors import InputError
from tessera.common.natural_order import natural_sort_key
from tessera.common.types import StrPath

_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2007\u202f", " "))  # no-break spaces look like spaces
MAX_HINTS = 20  # finding similar names is slow


class FileFinder:
    """Finds the files that cells name, relative to one folder.

    Each folder is listed and resolved once, so ten thousand cells that name files of one folder are fast.
    """

    def __init__(self, folder: StrPath, simulated: Iterable[StrPath] = ()) -> None:
        """
        Args:
            folder: base of relative paths.
            simulated: resolved paths that need not exist yet.
        """
        self._base = os.path.realpath(folder)
        self._simulated = {str(path) for path in simulated}
        self._resolved: dict[str, str] = {}
        self._listings: dict[str, list[str]] = {}
        self._plain_names: dict[str, dict[str, str]] = {}
        self._hints_left = MAX_HINTS

    def find(self, text: str) -> list[str]:
        """Absolute path of the file or folder that `text` names, or else paths of the files that it matches as a glob.

        The folder is resolved but not the last part, so a link keeps its own name and suffix. Frames are in natural
        order, 2 before 10.

        Raises:
            InputError: nothing was found, or a frame is a link to a missing file. The message does not name the table.
        """
        whole = os.path.join(self._base, os.path.expanduser(text))
        folder, name = os.path.split(whole.rstrip("/"))
        path = os.path.join(self._resolve(folder), name) if name not in ("", ".", "..") else os.path.realpath(whole)
        if path in self._simulated or os.path.isfile(path):
            return [path]
        if os.path.isdir(path):
            if not self._list(path):
                raise InputError(f"the folder {text} is empty; put files there, or correct the path")
            return [path]
        respelled = self._respell(path)
        if respelled and (os.path.isfile(respelled) or (os.path.isdir(respelled) and self._list(respelled))):
            return [respelled]
        if not glob.has_magic(text):
            raise InputError(self._absence(text, path))
        paths = sorted(self._match(text, folder, name), key=natural_sort_key)
        if not paths:
            brackets = "; in a pattern, write [[] for a [ in a name" if "[" in text else ""
            raise InputError(f"no file matches {text}; correct the pattern (it is relative to {self._base}){brackets}")
        return paths

    def _respell(self, path: str) -> str | None:
        """The existing path that looks like `path` but has accents or spaces of another encoding, or None.

        Macs store the letter ü as u with a combining accent (NFD), most tables have it as one character (NFC).
        """
        if os.path.lexists(path):
            return None
        folder, name = os.path.split(path)
        if not name:
            return None
        existing = folder if os.path.isdir(folder) else self._respell(folder)
        if existing is None:
            return None
        if existing not in self._plain_names:
            self._plain_names[existing] = {_plain(other): other for other in self._list(existing)}
        other = self._plain_names[existing].get(_plain(name))
        if other is None and existing != folder and os.path.lexists(os.path.join(existing, name)):
            other = name
        return None if other is None else os.path.join(existing, other)

    def _match(self, text: str, folder: str, name: str) -> list[str]:
        # A folder whose name has brackets is taken by its name, like a file.
        if glob.has_magic(folder.removeprefix(self._base)) and not os.path.isdir(folder):
            matches = glob.glob(os.path.expanduser(text), root_dir=self._base, recursive=True)
            whole = [os.path.join(self._base, path) for path in matches]
            paths = [os.path.join(self._resolve(os.path.dirname(path)), os.path.basename(path)) for path in whole]
        else:
            folder = self._resolve(folder if os.path.isdir(folder) else self._respell(folder) or folder)
            paths = [os.path.join(folder, match) for match in _matches(self._list(folder), name)]
        for path in paths:
            if os.path.islink(path) and not os.path.exists(path):
                raise InputError(
                    f"{path} is a link to {os.readlink(path)}, which does not exist; restore that file, or remove the "
                    "link"
                )
        return [path for path in paths if os.path.isfile(path)]

    def _resolve(self, folder: str) -> str:
        if folder not in self._resolved:
            self._resolved[folder] = os.path.realpath(folder)
        return self._resolved[folder]

    def _list(self, folder: str) -> list[str]:
        """Sorted names of the entries of a folder without hidden files; [] if the folder does not exist."""
        if folder not in self._listings:
            try:
                names = os.listdir(folder)
            except (FileNotFoundError, NotADirectoryError):
                names = []
            except OSError as error:
                raise InputError(
                    f"the folder {folder} cannot be read ({error.strerror}); check its permissions"
                ) from None
            self._listings[folder] = sorted(name for name in names if not name.startswith("."))
        return self._listings[folder]

    def _absence(self, text: str, path: str) -> str:
        """What to say about a file that does not exist."""
        if "\\" in text:
            return f"there is no {text}; write / where the path has \\"
        folder, name = os.path.split(path)
        for link in (path, folder):
            if os.path.islink(link) and not os.path.exists(link):
                return (
                    f"{text if link == path else folder} is a link to {os.readlink(link)}, which does not exist; "
                    "restore that file or folder, or correct the path"
                )
        if not os.path.isdir(folder):
            return f"there is no {text}, nor its folder {folder}; correct the path{self._relative(text)}"
        if self._hints_left:
            self._hints_left -= 1
            names = self._list(folder)
            stem = name.casefold().partition(".")[0]
            same = [other for other in names if other.casefold().partition(".")[0] == stem]
            # A name with another number belongs to another image.
            same_numbers = [other for other in names if re.findall(r"\d+", other) == re.findall(r"\d+", name)]
            if close := same or difflib.get_close_matches(name, same_numbers, n=1, cutoff=0.85):
                return f"there is no {text}; did you mean {os.path.join(os.path.dirname(text), close[0])}?"
        return f"there is no {text}; correct the path{self._relative(text)}"

    def _relative(self, text: str) -> str:
        return "" if os.path.isabs(text) else f" (it is relative to {self._base})"


def _matches(names: Sequence[str], pattern: str) -> list[str]:
    """The names that match a glob; `names` is sorted."""
    start = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    candidates = names[bisect_left(names, start) : bisect_left(names, f"{start}\U0010ffff")]
    matches = fnmatch.filter(candidates, pattern)
    if matches or pattern.isascii():
        return matches
    return [name for name in names if fnmatch.fnmatchcase(_plain(name), _plain(pattern))]


def _plain(name: str) -> str:
    """A name with composed accents and plain spaces."""
    return unicodedata.normalize("NFC", name).translate(_SPACES)
