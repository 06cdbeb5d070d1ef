"""The folder of a batch: one store per image, and lists of skipped images and of warnings.

A job makes the stores one by one in a hidden folder beside the output, which gets its final name when it is complete.
So a job that was interrupted continues with the images that are missing.

Used at plan time, so this module needs the standard library only.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import partial_path, replace_folder, write_json
from tessera.common.errors import InputError, SystemInputError
from tessera.common.types import StrPath
from tessera.common.user_warnings import WARNINGS, collect_warnings

SKIPPED = "skipped.json"
FINISHED = "finished.json"
TABLES = ".tables"  # in a batch of labels: {image}.parquet, the objects of each image
logger = logging.getLogger(__name__)


def make_stores(
    provenance: Mapping[str, str],
    make: Callable[[str, Path], None],
    *,
    output: StrPath,
    skip_bad_images: bool = False,
    skipped_before: Mapping[str, str] | None = None,
    finish: Callable[[Path], None] | None = None,
    announce: Callable[[list[str]], None] | None = None,
    suffix: str = ".ome.zarr",
) -> None:
    """Make one store per image in a hidden folder beside `output`, then rename the folder to `output`.

    Stores that an interrupted call finished, or that `keep_stores` kept, are not made again if their hash is the same.

    Args:
        provenance: {image: provenance hash}.
        make: make(image, path) writes the store of `image` at `path`. It raises InputError if the input is bad, and may
            write nothing if there is nothing to write.
        output: folder of the batch. Afterwards it holds `{image}.ome.zarr` for each image; `skipped.json`, {image:
            reason}; and `warnings.json`, {image: [warning, ...]}, if there are any (`tessera.common.user_warnings`).
        skip_bad_images: whether to skip bad images rather than fail.
        skipped_before: {image: reason} of the images that an earlier step skipped; `skipped.json` lists them as well.
        announce: announce(images) gets the images that will be made, in their order, before the first one.
        finish: finish(folder) makes other outputs from the whole batch before the folder gets its final name.
        suffix: end of the names of stores; "" if the store of an image is a plain folder.

    Raises:
        InputError: a line for every bad image, unless bad images are skipped and none raised a SystemInputError. The
            stores of good images stay in the hidden folder.
    """
    builder = _BatchBuilder(output, provenance, suffix)
    skipped: dict[str, str] = {}
    errors: list[str] = []
    started = time.monotonic()
    if announce:
        announce([image for image in provenance if image in builder.pending])
    for number, image in enumerate(provenance, start=1):
        position = f"[{number}/{len(provenance)}] {image}"
        if image in builder.pending:
            try:
                builder.add(image, make)
            except InputError as error:
                logger.info("%s: %s", position, error)
                skipped[image] = str(error)
                if isinstance(error, SystemInputError) or not skip_bad_images:
                    errors.append(str(error))
                continue
        logger.info("%s (%.1f s)", position, time.monotonic() - started)
    if errors:
        raise InputError("\n".join(errors))
    builder.commit(dict(skipped_before or {}) | skipped, finish)


class _BatchBuilder:
    """The hidden folder beside the folder of a batch, where stores wait until all are there.

    Args:
        output: folder of the batch.
        provenance: {image: provenance hash} of all stores of the batch.
        suffix: end of the names of stores.

    Attributes:
        pending: the images whose stores must be made.
    """

    def __init__(self, output: StrPath, provenance: Mapping[str, str], suffix: str) -> None:
        self._output = Path(output)
        self._provenance = provenance
        self._suffix = suffix
        self._folder = partial_path(output)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._finished = _read_json(self._folder / FINISHED)
        kept = {image for image, image_hash in provenance.items() if self._finished.get(image) == image_hash}
        kept = {image for image in kept if self._store(image).is_dir()}
        self.pending = provenance.keys() - kept
        _remove_all_but(self._folder, kept, suffix)
        stored = _read_json(self._folder / WARNINGS)
        self._warnings = {image: texts for image, texts in stored.items() if image in kept}
        write_json(self._folder / WARNINGS, self._warnings)

    def add(self, image: str, make: Callable[[str, Path], None]) -> None:
        """Make the store of an image; nothing of it stays if `make` raises InputError."""
        partial = self._folder / f".{image}.part"  # no name of an image starts with a dot
        try:
            with collect_warnings() as warnings:
                make(image, partial)
        except InputError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if partial.exists():
            partial.rename(self._store(image))
        if warnings:
            self._warnings[image] = warnings
            write_json(self._folder / WARNINGS, self._warnings)
        self._finished[image] = self._provenance[image]
        write_json(self._folder / FINISHED, self._finished)

    def commit(self, skipped: Mapping[str, str], finish: Callable[[Path], None] | None) -> None:
        """Write the list of skipped images, call `finish`, and give the folder its final name."""
        write_json(self._folder / SKIPPED, skipped)
        if not self._warnings:
            (self._folder / WARNINGS).unlink()
        if finish:
            finish(self._folder)
        replace_folder(self._folder, self._output)
        (self._output / FINISHED).unlink(missing_ok=True)

    def _store(self, image: str) -> Path:
        return self._folder / f"{image}{self._suffix}"


def keep_stores(output: StrPath, made: Mapping[str, str], provenance: Mapping[str, str]) -> None:
    """Keep the unchanged stores of a batch for the next call of `make_stores`.

    Snakemake removes `output` before it runs the job that makes it. The files are linked, so they need no disk space.

    Args:
        output: folder of the batch.
        made: {image: provenance hash} of the stores that exist.
        provenance: {image: provenance hash} of the stores to be made.
    """
    output, workplace = Path(output), partial_path(output)
    finished, warnings = (_read_json(workplace / name) for name in (FINISHED, WARNINGS))
    stored_warnings = _read_json(output / WARNINGS)
    for image, image_hash in provenance.items():
        store = next((output / name for name in (f"{image}.ome.zarr", image) if (output / name).is_dir()), None)
        if store is None or made.get(image) != image_hash or finished.get(image) == image_hash:
            continue
        try:
            _link_folder(store, workplace / store.name)
            if (output / TABLES / f"{image}.parquet").exists():
                _link_file(output / TABLES / f"{image}.parquet", workplace / TABLES / f"{image}.parquet")
        except OSError:  # a file system without links: the job makes all stores again
            return
        finished[image] = image_hash
        warnings |= {image: stored_warnings[image]} if image in stored_warnings else {}
    if finished:
        write_json(workplace / WARNINGS, warnings)
        write_json(workplace / FINISHED, finished)


def find_stores(folders: Iterable[StrPath], images: Iterable[str]) -> dict[str, Path]:
    """Return {image: path of its store} of `images` in the batch `folders`, without skipped images.

    Raises:
        InputError: an image that was not skipped has no store.
    """
    folders = list(folders)
    skipped = read_skipped(folders)
    stores: dict[str, Path] = {}
    missing = []
    for image in images:
        paths = [Path(folder) / f"{image}.ome.zarr" for folder in folders]
        path = next((path for path in paths if path.is_dir()), None)
        if path is not None:
            stores[image] = path
        elif image not in skipped:
            missing.append(image)
    if missing:
        listed = ", ".join(map(str, folders))
        raise InputError(f"{', '.join(missing)}: no store in {listed}; remove the folder, so that it is made again")
    return stores


def read_skipped(folders: Iterable[StrPath]) -> dict[str, str]:
    """Return {image: reason} of the images that were skipped in the batch `folders`."""
    reasons: dict[str, str] = {}
    for path in (Path(folder) / SKIPPED for folder in folders):
        reasons |= json.loads(path.read_text()) if path.exists() else {}
    return reasons


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; {} if the file does not exist or a crash damaged it."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _remove_all_but(folder: Path, kept: set[str], suffix: str) -> None:
    """Remove the stores and tables of all images but those that are kept."""
    names = {TABLES, *(f"{image}{suffix}" for image in kept)}
    for path in folder.iterdir():
        if path.is_dir() and path.name not in names:
            shutil.rmtree(path)
    for table in (folder / TABLES).glob("*.parquet"):
        if table.stem not in kept:
            table.unlink()


def _link_folder(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, copy_function=os.link)


def _link_file(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(path, target)
