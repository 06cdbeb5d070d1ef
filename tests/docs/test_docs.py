"""docs/tables.md names every column that is written."""

import re

import pytest

from helpers.repository import REPOSITORY
from tessera.evaluation.tracking_metrics import TRACK_COUNTS, TRACK_SCORES
from tessera.segmentation.object_table import SCHEMA
from tessera.tracking.lineage import TABLES
from tessera.tracking.track_columns import COLUMNS

TEXT = (REPOSITORY / "docs" / "tables.md").read_text()
WORDS = set(re.findall(r"`([a-z0-9_]+)`", TEXT))


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_lineages_are_told(table):
    assert f"| `{table}` |" in TEXT
    assert set(TABLES[table]) <= WORDS


def test_columns_of_objects_are_told():
    # A column in µm is told of with the one in pixels, a box by its corners.
    wanted = {re.sub("_um$", "_px", name) for name in SCHEMA.names if not name.startswith("bbox_")} | set(COLUMNS)
    assert wanted <= WORDS


def test_scores_of_tracks_are_told():
    assert {*TRACK_SCORES, *TRACK_COUNTS} <= WORDS
