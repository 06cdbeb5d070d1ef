"""Batches of stores: a job makes them one by one, keeps finished ones after an interruption, and renames at the end."""

import json
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
TABLES = ".tables"  # folder in a batch of labels with {image}.parquet of each image


def make_stores(
    provenance: Mapping[str, str],
    make: Callable[[str, Path], None],
    *,
    output: StrPath,
    skipped: bool = False,
    before: Mapping[str, str] | None = None,
    finish: Callable[[Path], None] | None = None,
    suffix: str = ".ome.zarr",
) -> None:
    """Make one store per image in a hidden folder next to `output`, then rename the folder to `output`.

    Stores with the same provenance that an interrupted call finished, or that `keep_stores` kept, are not made again.

    Args:
        provenance: {image: provenance hash}.
        make: make(image, path) writes the store of `image` to `path`. It raises InputError if the input is bad. It may
            write nothing if the image has no result.
        output: the folder of the batch. It gets `{image}.ome.zarr` of each image, `skipped.json` with {image: reason}
            of the skipped images, and, if there are any, `warnings.json` with {image: texts of `warn_user`}.
        skipped: skip bad images instead of failing.
        before: {image: reason} of images that an earlier step skipped. They are listed too.
        finish: finish(folder) makes the outputs of the whole batch. If it is interrupted, no store is lost.
        suffix: suffix of the stores after the name of the image; "" for a folder with several stores.

    Raises:
        InputError: a line for each bad image. With `skipped`, only faults of the system count. The finished stores stay
            in the hidden folder.
    """
    workplace = partial_path(output)
    workplace.mkdir(parents=True, exist_ok=True)
    ledger = workplace / FINISHED
    finished = _read_ledger(ledger)
    kept = {image for image in provenance if finished.get(image) == provenance[image]}
    kept = {image for image in kept if (workplace / f"{image}{suffix}").is_dir()}
    _remove_orphans(workplace, kept, suffix)
    warnings = {image: texts for image, texts in _read_ledger(workplace / WARNINGS).items() if image in kept}
    write_json(workplace / WARNINGS, warnings)
    bad: dict[str, str] = {}
    failed: list[str] = []
    started = time.monotonic()
    for number, (image, image_hash) in enumerate(provenance.items(), start=1):
        if image not in kept:
            partial = workplace / f".{image}.part"  # names of images do not start with a dot
            try:
                with collect_warnings() as texts:
                    make(image, partial)
            except InputError as error:
                shutil.rmtree(partial, ignore_errors=True)
                bad[image] = str(error)
                failed += [str(error)] if isinstance(error, SystemInputError) or not skipped else []
                print(f"[{number}/{len(provenance)}] {image}: {error}", flush=True)
                continue
            if partial.exists():
                partial.rename(workplace / f"{image}{suffix}")
            if texts:
                warnings[image] = texts
                write_json(workplace / WARNINGS, warnings)
            finished[image] = image_hash
            write_json(ledger, finished)
        print(f"[{number}/{len(provenance)}] {image} ({time.monotonic() - started:.1f} s)", flush=True)
    if failed:
        raise InputError("\n".join(failed))
    write_json(workplace / SKIPPED, dict(before or {}) | bad)
    if not warnings:
        (workplace / WARNINGS).unlink()
    if finish:
        finish(workplace)
    replace_folder(workplace, output)
    (Path(output) / ledger.name).unlink(missing_ok=True)


def keep_stores(output: StrPath, made: Mapping[str, str], provenance: Mapping[str, str]) -> None:
    """Keep the unchanged stores of a batch for the next call of `make_stores`.

    Snakemake removes `output` before it runs the job that makes it. Hard links keep the files without using space.

    Args:
        output: folder of the batch.
        made: {image: provenance hash} of the existing stores.
        provenance: {image: provenance hash} of the stores that the job will make.
    """
    output, workplace = Path(output), partial_path(output)
    finished, warnings = (_read_ledger(workplace / name) for name in (FINISHED, WARNINGS))
    earlier_warnings = _read_ledger(output / WARNINGS)
    for image, image_hash in provenance.items():
        store = next((output / name for name in (f"{image}.ome.zarr", image) if (output / name).is_dir()), None)
        if store is None or made.get(image) != image_hash or finished.get(image) == image_hash:
            continue
        try:
            _link(store, workplace / store.name)
            if (output / TABLES / f"{image}.parquet").exists():
                _link(output / TABLES / f"{image}.parquet", workplace / TABLES / f"{image}.parquet")
        except OSError:  # the file system has no hard links: all stores are made again
            return
        finished[image] = image_hash
        warnings |= {image: earlier_warnings[image]} if image in earlier_warnings else {}
    if finished:
        write_json(workplace / WARNINGS, warnings)
        write_json(workplace / FINISHED, finished)


def _link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(path, target, copy_function=os.link)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(path, target)


def find_stores(folders: Iterable[StrPath], images: Iterable[str]) -> dict[str, Path]:
    """{image: path} of the stores of `images` in the batches `folders`, without skipped images.

    Raises:
        InputError: an image has no store and was not skipped.
    """
    folders = list(folders)
    stores: dict[str, Path] = {}
    absent: list[str] = []
    reasons = read_skipped(folders)
    for image in images:
        paths = [Path(folder) / f"{image}.ome.zarr" for folder in folders]
        path = next((path for path in paths if path.is_dir()), None)
        if path is not None:
            stores[image] = path
        elif image not in reasons:
            absent.append(image)
    if absent:
        raise InputError(
            f"{', '.join(absent)}: no store in {', '.join(map(str, folders))}; remove the folder to have it made again"
        )
    return stores


def read_skipped(folders: Iterable[StrPath]) -> dict[str, str]:
    """{image: reason} of the skipped images of the batches `folders`."""
    reasons: dict[str, str] = {}
    for folder in folders:
        path = Path(folder) / SKIPPED
        reasons |= json.loads(path.read_text()) if path.exists() else {}
    return reasons


def _read_ledger(path: Path) -> dict[str, Any]:
    """{image: entry} of a JSON file; empty if it does not exist or a crash damaged it."""
    try:
        entries: dict[str, Any] = json.loads(path.read_text())
        return entries
    except (FileNotFoundError, ValueError):
        return {}


def _remove_orphans(workplace: Path, kept: Iterable[str], suffix: str) -> None:
    """Remove the stores and tables of all images that are not in `kept`."""
    kept = set(kept)
    for path in workplace.iterdir():
        if path.is_dir() and path.name != TABLES and path.name not in {f"{image}{suffix}" for image in kept}:
            shutil.rmtree(path)
    for table in (workplace / TABLES).glob("*.parquet"):
        if table.stem not in kept:
            table.unlink()
