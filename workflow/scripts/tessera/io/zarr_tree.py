"""The files of a Zarr store of another program: in a folder, or in a ZIP file. Nothing in them is trusted."""

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast

import zarr

from tessera.common.errors import InputError

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
MAX_METADATA_BYTES = 2**24
MAX_DEPTH = 8  # of groups in groups


class ZarrTree(Protocol):
    """Reads the metadata of a store and lists the files of its arrays. Names are relative, with / between folders."""

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file, {} if there is none."""

    def check_folder(self, name: str) -> None:
        """Check that a folder exists within the store."""

    def list_folders(self, name: str) -> list[str]:
        """Return the names of the folders in a folder, sorted."""

    def list_chunks(self, name: str) -> list[int]:
        """Return the sizes of the chunk files of an array in bytes."""

    def open(self, name: str, zarr_format: int) -> Any:
        """Return the array in a folder."""


class FolderTree:
    """A store in a folder.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file, {} if there is none.

        Raises:
            InputError: it is a link or too large.
        """
        path = self._path / name
        if not path.is_file():
            return {}
        if path.is_symlink() or path.stat().st_size > MAX_METADATA_BYTES:
            raise InputError(f"{path}: is a link or too large for metadata; save it again")
        return cast(dict[str, Any], json.loads(path.read_bytes()))

    def check_folder(self, name: str) -> None:
        """Check that a folder exists within the store, without links.

        Raises:
            InputError: it does not.
        """
        folder = self._path / name
        if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/") or not folder.is_dir():
            raise _outside(self._path, name)
        if folder.resolve() != self._path.resolve() / name:
            raise InputError(f"{self._path}: {name} is a link; replace it with a copy of its target")

    def list_folders(self, name: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without links."""
        with os.scandir(self._path / name) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def list_chunks(self, name: str) -> list[int]:
        """Return the sizes of the chunk files of an array. Its folder may contain only files and folders, no links.

        Raises:
            InputError: it contains something else, or metadata that are too large.
        """
        sizes: list[int] = []
        waiting: list[Path | str] = [self._path / name]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    if not entry.is_file(follow_symlinks=False):
                        raise InputError(
                            f"{self._path}: {entry.path} is a link or not a file; replace it with a copy of its target"
                        )
                    size = entry.stat(follow_symlinks=False).st_size
                    if entry.name in METADATA and size > MAX_METADATA_BYTES:
                        raise InputError(f"{self._path}: {entry.path} is too large for metadata; save it again")
                    if not entry.name.startswith(".") and entry.name not in METADATA:
                        sizes.append(size)
        return sizes

    def open(self, name: str, zarr_format: int) -> Any:
        """Return the array in a folder."""
        store = zarr.storage.LocalStore(self._path / name, read_only=True)
        return zarr.open_array(store, mode="r", zarr_format=cast(Any, zarr_format))


class ZipTree:
    """A store in a ZIP file, at its top or in its only folder.

    Args:
        path: the file.

    Raises:
        InputError: the file is no ZIP file, or has no Zarr store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as file:
            self._entries = {entry.filename: entry for entry in file.infolist() if not entry.is_dir()}
        tops = {PurePosixPath(name).parts[0] for name in self._entries if name.strip("/")}
        self._top = ""
        if not any(name in self._entries for name in METADATA) and len(tops) == 1:
            self._top = f"{tops.pop()}/"
        if not any(self._top + name in self._entries for name in METADATA):
            raise InputError(f"{path}: has no Zarr store at its top; unpack it, and name the images in it")

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file, {} if there is none.

        Raises:
            InputError: it is too large.
        """
        entry = self._entries.get(self._top + name.lstrip("/"))
        if entry is None:
            return {}
        if entry.file_size > MAX_METADATA_BYTES:
            raise InputError(f"{self._path}: {name} is too large for metadata; save it again")
        with zipfile.ZipFile(self._path) as file:
            return cast(dict[str, Any], json.loads(file.read(entry)))

    def check_folder(self, name: str) -> None:
        """Check that a folder exists within the store.

        Raises:
            InputError: it does not.
        """
        if ".." in name.split("/") or not any(self._within(name)):
            raise _outside(self._path, name)

    def list_folders(self, name: str) -> list[str]:
        """Return the names of the folders in a folder, sorted."""
        inner = (within.split("/") for within, _ in self._within(name))
        return sorted({parts[0] for parts in inner if len(parts) > 1})

    def list_chunks(self, name: str) -> list[int]:
        """Return the sizes of the chunk files of an array, when they are unpacked."""
        return [
            entry.file_size
            for within, entry in self._within(name)
            if not (last := within.split("/")[-1]).startswith(".") and last not in METADATA
        ]

    def open(self, name: str, zarr_format: int) -> Any:
        """Return the array in a folder."""
        store = zarr.storage.ZipStore(self._path, mode="r")
        return zarr.open_array(
            store, path=f"{self._top}{name}".strip("/"), mode="r", zarr_format=cast(Any, zarr_format)
        )

    def _within(self, name: str) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        """Yield the files in a folder, with their names relative to it."""
        start = f"{self._top}{name}".strip("/")
        start = f"{start}/" if start else ""
        for each, entry in self._entries.items():
            if each.startswith(start):
                yield each.removeprefix(start), entry


def list_arrays(tree: ZarrTree, name: str = "", depth: int = 0) -> list[str]:
    """Return the names of the arrays in a group and the groups in it, "" for the store itself."""
    if is_array(tree, name):
        return [name]
    if depth > MAX_DEPTH:
        return []
    return [
        array
        for folder in tree.list_folders(name)
        for array in list_arrays(tree, f"{name}/{folder}".lstrip("/"), depth + 1)
    ]


def is_array(tree: ZarrTree, name: str) -> bool:
    """Return whether a folder of a store is an array."""
    return describe_array(tree, name)[0].get("node_type", "array") == "array" and bool(describe_array(tree, name)[0])


def describe_array(tree: ZarrTree, name: str) -> tuple[dict[str, Any], int]:
    """Return the metadata of an array, and the version of its format."""
    newer = tree.read_json(f"{name}/zarr.json".lstrip("/"))
    return (newer, 3) if newer else (tree.read_json(f"{name}/.zarray".lstrip("/")), 2)


def _outside(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: its pixels should be in {name[:99]!r}, which is not a folder in it; copy or save it again"
    )
