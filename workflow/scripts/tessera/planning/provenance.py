"""Provenance hashes: one hash of everything that a result is made from. It reruns if and only if its hash changes.

A hash covers the settings of the step, its code (`tessera.planning.code_hash`), the cells of the image's row, the raw
files, and the hashes of the results that it is made from. It does not cover times of files, or where the project is.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from tessera.planning.digests import digest, digest_path
from tessera.planning.image_values import UNKNOWN, find_certain, read_values
from tessera.planning.project import Project
from tessera.planning.records import read_record
from tessera.planning.steps import Step, active_steps, result_settings

Hashes: TypeAlias = str | dict[str, str]
Output: TypeAlias = tuple[str, str | None]  # the name of a step, and a value of its wildcard
MANY_FILES = 200


class Provenance:
    """Hashes of all results of a project, and the parts that they are made of.

    Args:
        project: the settings and the table.
        known: {image: value} of values that this run does not change, see `tessera.planning.image_values`; None: those
            that are certain.
    """

    def __init__(self, project: Project, known: Mapping[str, Any] | None = None) -> None:
        self._project = project
        self._known = known or {}
        self.steps = active_steps(project)
        self._before = {
            step.name: [self.steps[name] for name in step.upstream if name in self.steps]
            for step in self.steps.values()
        }
        self._batch_of = {image: row["batch"] for image, row in project.rows.items()}
        self._code_hash = cache(lambda name: digest(sorted(self.steps[name].code.items())))
        self._shared = cache(self._hash_shared)
        self._image_hashes = cache(self._hash_images)
        self._image_parts = cache(self._list_image_parts)
        self._certain = cache(self._find_certain)
        self.hashes = cache(self._list_hashes)
        self.upstream = cache(self._list_upstream)

    def _list_hashes(self, name: str, key: str | None = None) -> Hashes:
        """{image: hash} of a batch of a step that makes one result per image; else the hash of its result for `key`."""
        return self._image_hashes(name, str(key)) if self.steps[name].is_per_image else self._shared(name, key)

    def _list_upstream(self, name: str, key: str | None = None) -> tuple[Output, ...]:
        """The outputs that the outputs of a step for `key` are made from, which are those of active steps."""
        step = self.steps[name]
        outputs: dict[Output, None] = {}
        for other in self._before[step.name]:
            if other.key is None:
                outputs[other.name, None] = None
            elif other.key == "movie":
                movies = self._project.simulated_movies(str(key), str(step.raw_files))
                outputs |= dict.fromkeys((other.name, movie) for movie in movies)
            elif step.is_per_image:
                outputs |= {(other.name, key): None} if other.images(self._project, str(key)) else {}
            elif other.is_per_image:
                batches = dict.fromkeys(self._batch_of[image] for image in self._members(step, key, other))
                outputs |= dict.fromkeys((other.name, batch) for batch in batches)
            else:
                outputs |= dict.fromkeys((other.name, each) for each in self._keys_read(step, key, other))
        return tuple(outputs)

    def record(self, name: str, key: str | None = None) -> dict[str, Any]:
        """The record of a result: its hashes, and the parts that they are made of, by which a rerun is explained.

        Returns:
            `hash`, the hashes; `settings` and `code`, {name: value}; `upstream`, {step: hash of what is read of it};
            `members`, {name: what counts of it} of what a step gathers; `images`, {image: {"row", "raw"}} of a step
            that makes one result per image.
        """
        step = self.steps[name]
        record: dict[str, Any] = {
            "hash": self.hashes(name, key),
            "settings": self.settings(step, key),
            "code": step.code,
            "upstream": self._upstream_digests(step, key),
        }
        if step.members:
            record["members"] = dict(step.members(self._project, key))
        if step.values:
            record |= self._made_from(step)
        if step.columns or step.raw_files:
            record["images"] = self._image_parts(name, str(key))
        return record

    def settings(self, step: Step, key: str | None) -> dict[str, Any]:
        """{name of a setting: value} of all settings that a result depends on."""
        settings: dict[str, Any] = {}
        for name in step.settings:
            section, _, setting = name.partition(".")
            values = result_settings(self._project.settings, section)
            chosen = {setting: values[setting]} if setting else values
            settings |= {f"{section}.{each}": value for each, value in chosen.items()}
        if step.uses_classes:
            settings |= {name: self._project.settings[name] for name in ("task", "classes")}
        return settings | dict(step.extra(self._project, key) if step.extra else {})

    def _hash_images(self, name: str, batch: str) -> dict[str, str]:
        """{image: hash} of a batch of a step that makes one result per image."""
        shared = self._shared(name, None)
        upstream = [self._image_hashes(other.name, batch) for other in self._before[name] if other.is_per_image]
        hashes = {}
        for image, parts in self._image_parts(name, batch).items():
            read = [image_hashes[image] for image_hashes in upstream if image in image_hashes]
            # The order of the files counts, which a digest of a dict does not cover.
            hashes[image] = digest(shared, read, parts["row"], list(parts.get("raw", {}).items()))
        return hashes

    def _hash_shared(self, name: str, key: str | None) -> str:
        """The hash of all parts but those of single images of a step that makes one result per image."""
        step = self.steps[name]
        upstream: list[Any] = []
        for other in self._before[step.name]:
            if other.values:
                continue
            if not step.is_per_image and other.is_per_image:
                for image in self._members(step, key, other):
                    upstream.append((image, self._image_hashes(other.name, self._batch_of[image])[image]))
            elif other.key is None:
                upstream.append(self._shared(other.name, None))
            elif not other.is_per_image and other.key != "movie":
                upstream += [(each, self._shared(other.name, each)) for each in self._keys_read(step, key, other)]
        members = sorted(step.members(self._project, key).items()) if step.members else None
        return digest(key, sorted(self.settings(step, key).items()), self._code_hash(step.name), members, upstream)

    def _keys_read(self, step: Step, key: str | None, other: Step) -> list[str]:
        """Keys of `other` whose outputs a step reads: a model has its own fold and backbone."""
        if step.key == "model" and other.key == "fold":
            return [self._project.models[str(key)]["fold"]]
        if step.key == "model" and other.key == "backbone":
            return self._project.pretrained_backbone(str(key))
        return other.keys(self._project)

    def _members(self, step: Step, key: str | None, other: Step) -> list[str]:
        """The images whose results of `other` a step gathers."""
        members = step.members(self._project, key) if step.members else {}
        images = list(self._project.rows) if step.gathers_batches else sorted(members)
        return self._project.with_truth(images) if other.raw_files == "truth_files" else images

    def known_values(self) -> dict[str, Any]:
        """{image: value} of all values that are certain."""
        values = dict(self._known)
        for name, step in self.steps.items():
            values |= self._certain(name) if step.values else {}
        return values

    def recorded_values(self) -> dict[str, Any]:
        """{image: value} of all values that are certain, and of those of the last run."""
        values: dict[str, Any] = {}
        for step in self.steps.values():
            if step.values and step.members and os.path.exists(step.values):
                recorded = read_values(step.values)[1]
                values |= {image: recorded.get(image) for image in step.members(self._project, None)}
        return values | self.known_values()

    def _values(self, step: Step, image: str) -> dict[str, Any]:
        """{name of a step: its value for an image} of the steps whose values a step reads."""
        return {
            other.name: self._known[image] if image in self._known else self._certain(other.name).get(image, UNKNOWN)
            for other in self._before[step.name]
            if other.values and image in (other.members(self._project, None) if other.members else {})
        }

    def _find_certain(self, name: str) -> dict[str, Any]:
        step = self.steps[name]
        return find_certain(str(step.values), read_record(step.record), self.record(name))

    def _made_from(self, step: Step) -> dict[str, Any]:
        """Parts of the record of a step that estimates values: what each image, and what all images depend on."""
        per_image = [other.name for other in self._before[step.name] if other.is_per_image]
        models = [self._shared(other.name, None) for other in self._before[step.name] if other.key is None]
        images = step.members(self._project, None) if step.members else {}
        inputs = {
            image: digest([self._image_hashes(name, self._batch_of[image])[image] for name in per_image])
            for image in images
        }
        return {"models": models, "inputs": inputs}

    def _list_image_parts(self, name: str, batch: str) -> dict[str, dict[str, Any]]:
        """{image: {"row": {column: cell}, "raw": {file: digest}}} of what counts of the images of a batch.

        Values that another step estimates count as cells of the row.
        """
        step = self.steps[name]
        parts: dict[str, dict[str, Any]] = {}
        for image in step.images(self._project, batch):
            row = {column: self._project.cell(image, column) for column in step.columns}
            parts[image] = {"row": row | self._values(step, image)}
            if step.raw_files:
                parts[image]["raw"] = self._digest_raw_files(self._project.rows[image][step.raw_files])
        return parts

    def _digest_raw_files(self, files: Sequence[str]) -> dict[str, str]:
        """{name: digest} of the raw files of an image; one digest for many files, or for files of the same name.

        A name may say of which frame a file is.
        """
        digests = [(os.path.basename(file), self._digest_raw_file(file)) for file in files]
        by_name = dict(digests)
        return by_name if len(by_name) == len(files) <= MANY_FILES else {f"{len(files)} files": digest(digests)}

    def _digest_raw_file(self, file: str) -> str:
        movie = self._project.simulated.get(file)
        return self._shared("simulate", movie) if movie is not None else digest_path(file)

    def _upstream_digests(self, step: Step, key: str | None) -> dict[str, str]:
        digests: dict[str, list[Any]] = {}
        for name, other_key in self.upstream(step.name, key):
            digests.setdefault(name, []).append(self.hashes(name, other_key))
        return {name: digest(hashes) for name, hashes in digests.items()}
