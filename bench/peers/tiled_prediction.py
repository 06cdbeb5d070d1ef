"""This pipeline's rule predict, from image stores to stores of probabilities."""

import math
import re
import shutil
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import yaml
from tasks import CORES, answer

from predict import predict
from select_model import select_model
from tessera.inference.prediction_plan import Models, plan_prediction
from tessera.io.ome_zarr_store import open_array, read_metadata
from tessera.settings.sections import PredictSettings

CONFIGURATION = Path(__file__).resolve().parents[2] / "config" / "config.yaml"


def run(images, model, output, **settings):
    """Apply the folder `model` to stores of one folder. `settings` are those that differ from the defaults.

    Returns:
        {"seconds": from opening the first image to the last finished store, "job_seconds": with loading and checking
        the network, "computed_px", "cost": pixels computed per pixel, "engine", "precision", "core_px", "halo_px"}.
    """
    folder, model, output = Path(images[0]).parent, Path(model), Path(output)
    names = [Path(image).name.removesuffix(".ome.zarr") for image in images]
    for old in (output, output.with_name(f".{output.name}.regions"), output.with_name(f".{output.name}.part")):
        shutil.rmtree(old, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    selected, converted = output.with_name(f"{model.name}.json"), output.with_name(f"{model.name}.converted")
    if not selected.exists() or selected.stat().st_mtime < (model / "model.json").stat().st_mtime:
        select_model([model], selected, converted, metric="val_loss", ensemble="best", threads=CORES)
    configured = PredictSettings.model_validate(yaml.safe_load(CONFIGURATION.read_text())["predict"] | settings)
    said, started = StringIO(), time.monotonic()
    with redirect_stdout(said):
        plan = plan_prediction(Models(selected, converted, [model]), configured, workers=CORES)
        predict(folder, dict.fromkeys(names, "bench"), output, plan)
    job_seconds = time.monotonic() - started
    print(said.getvalue())
    stores = [output / f"{name}.ome.zarr" for name in names]
    about = [read_metadata(store).extra["prediction"] for store in stores]
    sizes = [math.prod(open_array(store).shape[-2:]) for store in stores]
    computed = sum(one["overlap_cost"] * size for one, size in zip(about, sizes, strict=True))
    figures = {key: about[0]["engines"][0][key] for key in ("engine", "precision")}
    figures |= {key: about[0][key] for key in ("core_px", "halo_px")}
    seconds = float(re.findall(r"^\[\d+/\d+\] .* \(([\d.]+) s\)$", said.getvalue(), re.MULTILINE)[-1])
    figures |= {"seconds": seconds, "job_seconds": job_seconds}
    return figures | {"computed_px": computed, "cost": computed / sum(sizes)}


if __name__ == "__main__":
    answer(run)
