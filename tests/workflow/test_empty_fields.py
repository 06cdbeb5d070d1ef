"""A network that has seen fields without cells finds none in noise."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.annotated_batch import Batch, cells
from helpers.small_network import SMALL_NETWORK
from predict import predict
from segment import segment
from select_model import select_model
from tessera.inference.prediction_plan import Models, plan_prediction
from tessera.segmentation.segment_image import SegmentationPlan
from tessera.settings.sections import PredictSettings, SegmentSettings, SelectModelSettings
from train import train


@pytest.mark.slow
def test_network_trained_with_empty_fields_finds_no_object_in_empty_images(tmp_path):
    batch = Batch(tmp_path)
    for number, side in enumerate(["train", "train", "val", "test"]):
        ids, pixels = cells(number)
        batch.add(f"cells{number}", side, pixels, ids)
        noise = np.random.default_rng(100 + number).normal(500, 60, ids.shape).astype(np.uint16)
        batch.add(f"empty{number}", side, noise, 0 * ids)
    model, selected, converted = tmp_path / "fold1", tmp_path / "selected.json", tmp_path / "converted"
    subsets = batch.sides.copy()
    batch.sides = {image: side for image, side in subsets.items() if side != "test"}
    patches = batch.augment(tmp_path / "patches", n_patches=64)
    train(
        patches, settings=SMALL_NETWORK.model_copy(update={"epochs": 5}), provenance="digest", output=model, threads=2
    )
    choice = SelectModelSettings(metric="val_loss", ensemble="best")
    select_model([model], settings=choice, output=selected, converted=converted, engine="openvino", device="cpu")

    settings = PredictSettings(device="cpu", seam_check_windows=0, object_diameter_px=None)
    plan = plan_prediction(Models(selected, converted, [model]), settings, workers=2)
    tested = {image: "digest" for image, side in subsets.items() if side == "test"}
    predict(batch.images, tested, tmp_path / "predictions", plan)
    segmentation = SegmentationPlan("instances", ["background", "cell"], SegmentSettings())
    table = tmp_path / "objects.parquet"
    segment(tmp_path / "predictions", batch.images, tested, tmp_path / "labels", table, plan=segmentation)
    found = pq.read_table(table).column("image").to_pylist()
    assert found.count("empty3") == 0
    assert found.count("cells3") >= 8
