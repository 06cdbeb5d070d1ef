"""The best of several models is chosen by a column of their histories."""

import json

import pytest
from lib.errors import InputError
from lib.models import FORMAT
from select_model import choose, select_model


@pytest.fixture
def models(tmp_path):
    """Two models that kept epoch 2; the second has the smaller loss and the smaller IoU."""
    for name, loss, iou in (("wide", 0.4, 0.7), ("deep", 0.3, 0.6)):
        folder = tmp_path / name
        folder.mkdir()
        settings = {"format": FORMAT, "task": "semantic", "architecture": "Unet", "backbone": "resnet18"}
        settings |= {"channels": ["grey"], "outputs": ["a", "b"], "normalisation": {"method": "percentile"}}
        (folder / "model.json").write_text(json.dumps(settings | {"best_epoch": 2}))
        (folder / "history.csv").write_text(f"epoch,val_loss,val_iou,odd\n1,0.9,0.99,nan\n2,{loss},{iou},nan\n")
    return [tmp_path / "wide", tmp_path / "deep"]


def chosen(models, metric):
    output = models[0].parent / "selected.json"
    select_model(models, output, metric=metric)
    return json.loads(output.read_text())


def test_the_smallest_loss_wins_and_the_largest_of_anything_else(models):
    assert chosen(models, "val_loss") == {
        "model": "deep",
        "metric": "val_loss",
        "value": 0.3,
        "candidates": {"wide": 0.4, "deep": 0.3},
    }
    # Not the 0.99 of the epoch whose weights were not kept.
    assert chosen(models, "val_iou")["model"] == "wide"
    assert chosen(models, "val_iou")["value"] == 0.7


def test_an_unknown_column_is_refused_with_the_known_ones(models):
    with pytest.raises(InputError, match=r"accuracy is no column of .* epoch, val_loss, val_iou, odd"):
        chosen(models, "accuracy")


def test_a_model_without_a_value_cannot_win(models):
    with pytest.raises(InputError, match="no model has a value of odd"):
        chosen(models, "odd")
    assert choose({"a": None, "b": 0.1}, "val_iou") == "b"


def test_of_equals_the_first_by_name_wins():
    assert choose({"b": 0.5, "a": 0.5}, "val_loss") == "a"
    assert choose({"b": 0.5, "a": 0.5}, "val_iou") == "a"


def test_a_damaged_model_is_refused_by_name(models):
    (models[0] / "history.csv").write_text("epoch,val_loss\n1,0.5\n")
    with pytest.raises(InputError, match=r"wide/history\.csv: has no epoch 2"):
        chosen(models, "val_loss")
    (models[0] / "model.json").unlink()
    with pytest.raises(InputError, match=r"wide/model\.json"):
        chosen(models, "val_loss")
