"""docs/outputs.md describes every column of the tables that Tessera writes."""

import re

import pytest

from helpers.repository import REPOSITORY
from tessera.evaluation.tracking_metrics import TRACK_COUNTS, TRACK_SCORES
from tessera.segmentation.object_table import SCHEMA
from tessera.tracking.lineage import TABLES
from tessera.tracking.track_columns import COLUMNS

TEXT = (REPOSITORY / "docs" / "outputs.md").read_text()
WORDS = set(re.findall(r"`([a-z0-9_]+)`", TEXT))


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_lineage_tables_are_documented(table):
    assert f"| `{table}` |" in TEXT
    assert set(TABLES[table]) <= WORDS


def test_columns_of_the_object_table_are_documented():
    # A row describes the column in pixels together with the one in µm. Bounding boxes are described as one.
    expected = {re.sub("_um$", "_px", name) for name in SCHEMA.names if not name.startswith("bbox_")} | set(COLUMNS)
    assert expected <= WORDS


def test_tracking_scores_are_documented():
    assert {*TRACK_SCORES, *TRACK_COUNTS} <= WORDS
