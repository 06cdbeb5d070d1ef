"""Ledgers: finished regions of a store, kept by what they were made from, for when the same is asked for again.

A region is some whole shards of an array. A shard's file gets a second name (a hard link) under the digest of the
region: that takes no room while both names exist, and stays when the store is removed to be made anew. Zarr writes
files under another name and then renames them, so what has a name is whole.
"""

import hashlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np

NO_FILE = "none"


class RegionCache:
    """The regions of one array.

    Args:
        folder: where they are kept, beside the stores.
        array: zarr.Array, whose regions are whole shards.
        provenance: text that stands for everything but the pixels and how the array lays them out in files.
    """

    def __init__(self, folder, array, provenance):
        self._folder, self._array = Path(folder), array
        self._recipe = f"{provenance} {array.dtype.str} {array.chunks} {array.shards}"
        self._used = set()
        self._links = True
        self._turn = threading.Lock()  # regions of the same pixels have the same key

    def key(self, parts, place):
        """Digest of the arrays `parts` that a region is made from, of the text `place`, and of the provenance."""
        state = hashlib.blake2b(f"{self._recipe} {place}".encode(), digest_size=16)
        for part in parts:
            part = np.ascontiguousarray(part)
            state.update(f"{part.shape} {part.dtype.str}".encode())
            state.update(part.reshape(-1).view(np.uint8))
        return state.hexdigest()

    def get(self, key, region):
        """Put the shards of `region` (slices of the array) in place, and say whether they were kept under `key`."""
        with self._turn:
            self._used.add(key)
            return self._restore(key, region)

    def _restore(self, key, region):
        try:
            digests = (self._folder / key).read_text().split()
        except (FileNotFoundError, ValueError):
            return False
        files = self._files(region)
        kept = [self._folder / f"{key}.{number}" for number in range(len(files))]
        if digests != [_digest(path) for path in kept]:
            return False
        for path, file, digest in zip(kept, files, digests, strict=True):
            file.unlink(missing_ok=True)
            if digest != NO_FILE:
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, file)
                except OSError:  # results that were copied to where files cannot have two names
                    return False
        return True

    def put(self, key, region):
        """Remember the shards of `region`, which were just written, under `key`, where files can have two names."""
        with self._turn:
            if self._links:
                try:
                    self._link(key, region)
                except OSError as error:
                    self._links = False
                    reason = f"({error.strerror})"
                    print(f"{self._folder}: finished regions cannot be kept for another run {reason}", flush=True)

    def _link(self, key, region):
        self._folder.mkdir(parents=True, exist_ok=True)
        digests = []
        for number, file in enumerate(self._files(region)):
            digests.append(_digest(file))
            path = self._folder / f"{key}.{number}"
            path.unlink(missing_ok=True)
            if digests[-1] != NO_FILE:  # a shard of zeros has no file
                os.link(file, path)
        partial = self._folder / f"{key}.part"
        partial.write_text(" ".join(digests))
        partial.replace(self._folder / key)

    def prune(self):
        """Remove what `restore` was not asked about since this ledger was made."""
        for path in self._folder.glob("*"):
            if path.name.partition(".")[0] not in self._used:
                path.unlink()

    def _files(self, region):
        """Paths of the shards of a region, in the order of their channels."""
        steps = self._array.shards or self._array.chunks
        places = [range(span.start // step, -(-span.stop // step)) for span, step in zip(region, steps, strict=True)]
        root = Path(self._array.store_path.store.root) / self._array.store_path.path
        names = np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, len(places))
        return [root / self._array.metadata.encode_chunk_key(tuple(map(int, name))) for name in names]


def remove_orphans(folder, names):
    """Remove the ledgers in `folder` but those of such `names`."""
    for path in Path(folder).glob("*"):
        if path.name not in names:
            shutil.rmtree(path)


def _digest(path):
    """Digest of a file: both of its names lead to the same bytes, so that a shard that was damaged is so under both."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        return NO_FILE
