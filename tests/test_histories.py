"""The folder that an interrupted training goes on from."""

import json

import pytest
from lib.histories import claim_folder


def test_a_training_under_the_same_recipe_keeps_its_folder_and_another_empties_it(tmp_path):
    folder = tmp_path / "runs" / "fold1"
    claim_folder(folder, "one")
    (folder / "history.csv").touch()
    claim_folder(folder, "one")
    assert {path.name for path in folder.iterdir()} == {"history.csv", "recipe.json"}
    claim_folder(folder, "two")
    assert {path.name for path in folder.iterdir()} == {"recipe.json"}
    assert json.loads((folder / "recipe.json").read_text()) == "two"


@pytest.mark.parametrize("content", [b"", b'"on', b"\xff\xfe"])
def test_a_note_that_was_cut_off_does_not_block_training(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    (tmp_path / "history.csv").touch()
    claim_folder(tmp_path, "one")
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.json"}
