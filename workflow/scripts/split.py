"""Assign annotated images to the subsets train, val and test, and find near-duplicates in different subsets.

Reads image stores (t, c, z, y, x). Writes `split.tsv` (image, group, split, why, fold) and `leakage.tsv` (image_a, t_a,
image_b, t_b, split_a, split_b, similarity) with the most similar pairs, where folds count as subsets.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tessera.common.batch_outputs import find_stores
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.data.cross_validation import fold_or_subset
from tessera.data.leakage import COLUMNS, find_leaks, read_planes, signature
from tessera.data.split import SUBSETS, assign_split
from tessera.settings.sections import SplitSettings

logger = logging.getLogger(__name__)


def split(
    rows: Sequence[Mapping[str, Any]],
    images: Sequence[StrPath],
    output: StrPath,
    leakage: StrPath,
    *,
    settings: SplitSettings,
) -> None:
    """Write the subset of every image of `rows` to `output`, and near-duplicates in different subsets to `leakage`.

    Args:
        rows: annotated rows of the table: dicts with image, truth, group and split.
        images: folders of batches with their stores; skipped images are not compared.
        output: path of the table of subsets.
        leakage: path of the table of pairs.
        settings: section `split`.
    """
    lines, remarks = assign_split(
        rows,
        seed=settings.seed,
        train=settings.train,
        val=settings.val,
        test=settings.test,
        group_pattern=settings.group_pattern,
        folds=settings.folds,
    )
    write_table(output, ["image", "group", "split", "why", "fold"], lines)
    for subset in SUBSETS:
        members = [line for line in lines if line["split"] == subset]
        logger.info("%s: %d images of %d groups", subset, len(members), len({line["group"] for line in members}))
    for remark in remarks:
        logger.warning("%s", remark)
    places = {line["image"]: fold_or_subset(line) for line in lines if line["split"] in SUBSETS}
    frames, signatures = [], []
    for image, path in find_stores(images, places).items():
        for t, plane in read_planes(path):
            frames.append((image, t, places[image]))
            signatures.append(signature(plane))
    count, pairs = find_leaks(frames, np.array(signatures), settings.leakage_similarity)
    write_table(leakage, COLUMNS, pairs)
    listed = f"; the {len(pairs)} most similar are listed" if count > len(pairs) else ""
    logger.info(
        "%d pairs of images in different subsets have a similarity above %g%s",
        count,
        settings.leakage_similarity,
        listed,
    )


def write_table(path: StrPath, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Write dicts as tab-separated values."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    with running(snakemake):
        split(
            rows=snakemake.params.rows,
            images=snakemake.input.images,
            output=snakemake.output.split,
            leakage=snakemake.output.leakage,
            settings=SplitSettings.model_validate(snakemake.params.settings),
        )
