"""Speeds of rule predict, of the bare network and of other libraries. The runs take turns."""

import json
import statistics
from pathlib import Path

from processes import ask, best_of, python_with

BENCH = Path(__file__).resolve().parent
WORK = BENCH / "work" / "predict"
VENV = BENCH / "work" / "peers-predict"
MODEL = WORK / "models" / "unet"
BARE = [{"side": side, "batch": batch} for side, batch in ((256, 16), (512, 4), (1216, 1), (2240, 1))]
MONAI = [
    {"roi": roi, "batch": batch, "precision": precision}
    for roi, batch, precision in (
        (512, 1, "bfloat16"),
        (512, 4, "bfloat16"),
        (1024, 1, "bfloat16"),
        (2048, 1, "bfloat16"),
        (512, 4, "autocast"),
        (512, 1, "float32"),
    )
]
DASK = [
    {"chunk": chunk, "scheduler": scheduler}
    for chunk, scheduler in ((1024, "synchronous"), (512, "synchronous"), (1024, "threads"))
]


def image_of(side):
    return WORK / "images" / f"side{side}.ome.zarr"


def window_of(image):
    """Contrast limits: the intensities that become 0 and 1 for the other libraries."""
    window = json.loads((image / "zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"][0]["window"]
    return window["start"], window["end"]


def predict(images, folder, model=MODEL, **settings):
    """Run rule predict on image stores. Its output is in the folder made/`folder`."""
    return ask("tiled_prediction", images=images, model=model, output=WORK / "made" / folder, settings=[settings])[0]


def listed(values):
    return ", ".join(f"{value:.2f}" for value in values)


def described(settings):
    return " ".join(f"{key} {value}" for key, value in settings.items())


def tiles_of(answer):
    return f"tiles of {answer['core_px']} + 2 x {answer['halo_px']} px"


def take_turns(side, rounds):
    """Find the best settings of the bare forward pass and of the other libraries, then time all of them in turn.

    Returns:
        {"bare", "monai", "dask": settings}, {"ours", "bare", "monai", "dask": [answer, ...]}.
    """
    image = image_of(side)
    window = {"window": window_of(image)}
    first = predict([image_of(2048)], "warm", seam_check_windows=0)
    bare = {"model": MODEL} | {key: first[key] for key in ("engine", "precision")}
    monai = {"python": python_with("monai.txt", VENV), "output": WORK / "made" / "monai.zarr"} | window
    dask = {"model": MODEL, "output": WORK / "made" / "dask.zarr"} | window
    best = {
        "bare": best_of("bare", BARE, least_seconds=3, **bare),
        "monai": best_of("sliding_window", MONAI, image=image_of(min(side, 4096)), **monai),
        "dask": best_of("map_overlap", DASK, image=image_of(2048), **dask),
    }
    runs = {"ours": [], "bare": [], "monai": [], "dask": []}
    for number in range(rounds):
        runs["ours"].append(predict([image], f"side{side}", seam_check_windows=0))
        runs["bare"] += ask("bare", settings=[best["bare"]], least_seconds=10, **bare)
        runs["monai"] += ask("sliding_window", settings=[best["monai"]], image=image, **monai)
        if number < 2:  # each run takes minutes
            runs["dask"] += ask("map_overlap", settings=[best["dask"]], image=image, **dask)
    return best, runs


def measure_speed(figures, side, rounds):
    """Time an image with `take_turns` and add the figures.

    Returns:
        Peak memory of rule predict in MiB.
    """
    best, runs = take_turns(side, rounds)
    first = runs["ours"][0]
    data = f"{side}² uint16, {first['engine']} {first['precision']}, {tiles_of(first)}"
    ours, bare = ([each["computed_px"] / each["seconds"] / 1e6 for each in runs[kind]] for kind in ("ours", "bare"))
    share = statistics.median(ours) / statistics.median(bare)
    figures.add(
        "pixels computed, share of the bare forward pass", f"{share:.3f}",
        data=f"{data}; Mpx/s: {listed(ours)}; bare, {described(best['bare'])}: {listed(bare)}",
        target=">= 0.90", holds=share >= 0.90,
    )  # fmt: skip
    cost = first["cost"]
    figures.add("pixels computed per pixel of the image", f"{cost:.3f}", data=data, target="<= 1.3", holds=cost <= 1.3)
    speeds = {kind: [side**2 / each["seconds"] / 1e6 for each in runs[kind]] for kind in ("ours", "monai", "dask")}
    for kind, name, least in (
        ("monai", "MONAI's sliding window", 2),
        ("dask", "dask.map_overlap with model.predict", 4),
    ):
        ratio = statistics.median(speeds["ours"]) / statistics.median(speeds[kind])
        theirs = f"{described(best[kind])}: {listed(speeds[kind])}"
        figures.add(
            f"times as quick as {name}, end to end", f"{ratio:.2f}",
            data=f"{data}; Mpx/s of the image: {listed(speeds['ours'])}; {kind}, {theirs}",
            target=f">= {least}", holds=ratio >= least,
        )  # fmt: skip
    before = statistics.median(each["job_seconds"] - each["seconds"] for each in runs["ours"])
    figures.add("seconds to load, compile and check the network", f"{before:.1f}", data=data)
    return max(each["peak_mb"] for each in runs["ours"])
