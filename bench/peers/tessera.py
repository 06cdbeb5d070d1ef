"""This pipeline's rule predict, from an image store to a store of probabilities."""

import re
import shutil
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import yaml
from lib.stores import open_array, read_metadata
from predict import predict
from select_model import select_model
from tasks import CORES, answer

CONFIGURATION = Path(__file__).resolve().parents[2] / "config" / "config.yaml"


def run(image, model, output, memory_mb=None, **settings):
    """Apply the folder `model` to the store `image`, with the `settings` that differ from the configuration's own.

    Returns:
        {"seconds": from opening the image to its finished store, "job_seconds": with loading and checking the network,
        "computed_px", "cost": pixels seen per pixel, "engine", "precision", "check", "core_px", "halo_px"}.
    """
    image, model, output = Path(image), Path(model), Path(output)
    name = image.name.removesuffix(".ome.zarr")
    for old in (output, output.with_name(f".{output.name}.regions"), output.with_name(f".{output.name}.part")):
        shutil.rmtree(old, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    selected, converted = output.with_name(f"{model.name}.json"), output.with_name(f"{model.name}.converted")
    if not selected.exists() or selected.stat().st_mtime < (model / "model.json").stat().st_mtime:
        select_model([model], selected, converted, metric="val_loss", threads=CORES)
    configured = yaml.safe_load(CONFIGURATION.read_text())["predict"]
    said, started = StringIO(), time.monotonic()
    with redirect_stdout(said):
        predict(
            image.parent, selected, converted, [model], {name: "bench"}, output,
            workers=CORES, memory_mb=memory_mb, **configured | settings,
        )  # fmt: skip
    job_seconds = time.monotonic() - started
    print(said.getvalue())
    path = output / image.name
    about = read_metadata(path).extra["prediction"]
    height, width = open_array(path).shape[-2:]
    figures = {key: about["engines"][0][key] for key in ("engine", "precision", "check")}
    figures |= {"cost": about["overlap_cost"], "computed_px": about["overlap_cost"] * height * width}
    figures |= {key: about[key] for key in ("core_px", "halo_px")}
    seconds = float(re.search(rf"\[1/1\] {re.escape(name)} \(([\d.]+) s\)", said.getvalue())[1])
    return figures | {"seconds": seconds, "job_seconds": job_seconds}


if __name__ == "__main__":
    answer(run)
