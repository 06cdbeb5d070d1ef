"""A batch of stores, made one by one, kept through interruptions, and put in place when whole."""

import json
import os
import shutil
import time
from pathlib import Path

from tessera.common.atomic_write import partial_path, replace_folder, write_json
from tessera.common.errors import InputError, SystemInputError
from tessera.common.user_warnings import WARNINGS, collect_warnings

SKIPPED = "skipped.json"
FINISHED = "finished.json"
TABLES = ".tables"  # in a batch of labels, {image}.parquet of each


def make_stores(provenance, make, *, output, skipped=False, before=None, finish=None, suffix=".ome.zarr"):
    """Make one store per image in a hidden folder beside `output`, then rename the folder to `output`.

    What an earlier, interrupted call finished is kept where its provenance is the same, and so is what `keep_stores` kept.

    Args:
        provenance: {image name: provenance digest}.
        make: make(image, path) writes the store of `image` at `path`; it raises InputError where the input is bad, and
            may write nothing where there is nothing to write.
        output: the folder of the batch; afterwards it holds `{image}.ome.zarr` for each image and `skipped.json`,
            {image: reason}, of those that were bad; and `warnings.json`, {image: what `tessera.common.user_warnings.warn_user` was told}, if any.
        skipped: go on without bad images, rather than refuse the batch.
        before: {image: reason} of images that the step before set aside, which are listed as well.
        finish: finish(folder) makes what else is made of the whole batch, while an interruption still loses nothing.
        suffix: of the stores, after the image's name; a folder of several stores has none.

    Raises:
        InputError: a line for every bad image, unless `skipped` and no SystemInputError; the good ones stay in the hidden
            folder.
    """
    workplace = partial_path(output)
    workplace.mkdir(parents=True, exist_ok=True)
    ledger = workplace / FINISHED
    finished = _read_ledger(ledger)
    kept = {image for image in provenance if finished.get(image) == provenance[image]}
    kept = {image for image in kept if (workplace / f"{image}{suffix}").is_dir()}
    _drop_strangers(workplace, kept, suffix)
    warnings = {image: told for image, told in _read_ledger(workplace / WARNINGS).items() if image in kept}
    write_json(workplace / WARNINGS, warnings)
    bad, failed = {}, []
    started = time.monotonic()
    for number, (image, image_hash) in enumerate(provenance.items(), start=1):
        if image not in kept:
            partial = workplace / f".{image}.part"  # no image's name begins with a point
            try:
                with collect_warnings() as told:
                    make(image, partial)
            except InputError as error:
                shutil.rmtree(partial, ignore_errors=True)
                bad[image] = str(error)
                failed += [str(error)] if isinstance(error, SystemInputError) or not skipped else []
                print(f"[{number}/{len(provenance)}] {image}: {error}", flush=True)
                continue
            if partial.exists():
                partial.rename(workplace / f"{image}{suffix}")
            if told:
                warnings[image] = told
                write_json(workplace / WARNINGS, warnings)
            finished[image] = image_hash
            write_json(ledger, finished)
        print(f"[{number}/{len(provenance)}] {image} ({time.monotonic() - started:.1f} s)", flush=True)
    if failed:
        raise InputError("\n".join(failed))
    write_json(workplace / SKIPPED, (before or {}) | bad)
    if not warnings:
        (workplace / WARNINGS).unlink()
    if finish:
        finish(workplace)
    replace_folder(workplace, output)
    (Path(output) / ledger.name).unlink(missing_ok=True)


def keep_stores(output, made, provenance):
    """Keep those stores of a batch that are to stay as they are, for the next call of `make_stores`.

    Snakemake removes `output` before it runs the job that makes it. The files are linked, so that they take no room.

    Args:
        output: folder of the batch.
        made: {image: provenance} by which it was made.
        provenance: {image: provenance} by which it is to be made.
    """
    output, workplace = Path(output), partial_path(output)
    finished, warnings = (_read_ledger(workplace / name) for name in (FINISHED, WARNINGS))
    told = _read_ledger(output / WARNINGS)
    for image, image_hash in provenance.items():
        store = next((output / name for name in (f"{image}.ome.zarr", image) if (output / name).is_dir()), None)
        if store is None or made.get(image) != image_hash or finished.get(image) == image_hash:
            continue
        try:
            _link(store, workplace / store.name)
            if (output / TABLES / f"{image}.parquet").exists():
                _link(output / TABLES / f"{image}.parquet", workplace / TABLES / f"{image}.parquet")
        except OSError:  # a file system without links: all are made again
            return
        finished[image] = image_hash
        warnings |= {image: told[image]} if image in told else {}
    if finished:
        write_json(workplace / WARNINGS, warnings)
        write_json(workplace / FINISHED, finished)


def _link(path, target):
    if path.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(path, target, copy_function=os.link)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(path, target)


def find_stores(folders, images):
    """{image: path} of the stores of `images` in the batch `folders`; images that were set aside are left out.

    Raises:
        InputError: a store is neither there nor set aside.
    """
    found, absent = {}, []
    reasons = read_skipped(folders)
    for image in images:
        paths = [Path(folder) / f"{image}.ome.zarr" for folder in folders]
        path = next((path for path in paths if path.is_dir()), None)
        if path is not None:
            found[image] = path
        elif image not in reasons:
            absent.append(image)
    if absent:
        raise InputError(
            f"{', '.join(absent)}: no store in {', '.join(map(str, folders))}; remove the folder to have it made again"
        )
    return found


def read_skipped(folders):
    """{image: reason} of the images that were set aside in the batch `folders`."""
    reasons = {}
    for folder in folders:
        path = Path(folder) / SKIPPED
        reasons |= json.loads(path.read_text()) if path.exists() else {}
    return reasons


def _read_ledger(path):
    """{image: provenance} of what an earlier call finished; nothing where the ledger was lost in a crash."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _drop_strangers(workplace, kept, suffix):
    """Leave nothing but what is of the images that are `kept`."""
    for path in workplace.iterdir():
        if path.is_dir() and path.name != TABLES and path.name not in {f"{image}{suffix}" for image in kept}:
            shutil.rmtree(path)
    for table in (workplace / TABLES).glob("*.parquet"):
        if table.stem not in kept:
            table.unlink()
