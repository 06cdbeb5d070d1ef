"""Speed of rule predict against the bare network and its peers, its memory, and what tiles do to its answers."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from figures import RESULTS, Figures

BENCH = Path(__file__).resolve().parent
WORK = BENCH / "work" / "predict"
PEERS = BENCH / "peers"
VENV = BENCH / "work" / "peers-predict"
MONAI = [
    *(
        {"roi": roi, "batch": batch, "precision": "bfloat16"}
        for roi, batch in ((512, 1), (512, 4), (1024, 1), (2048, 1))
    ),
    {"roi": 512, "batch": 4, "precision": "autocast"},
    {"roi": 512, "batch": 1, "precision": "float32"},
]
DASK = [{"chunk": 1024, "scheduler": "synchronous"}, {"chunk": 512, "scheduler": "synchronous"}]
DASK += [{"chunk": 1024, "scheduler": "threads"}]
BARE = [{"side": side, "batch": batch} for side, batch in ((256, 16), (512, 4), (1216, 1), (2240, 1))]
REAL = BENCH / "work" / "phase" / "results"  # left by make bench-accuracy
REAL_IMAGE, REAL_TILE = "set10", 512  # small tiles, for many seams
MODEL = WORK / "models" / "unet"


def ask(task, *, settings=({},), python=sys.executable, **arguments):
    """What a script of `peers` answers for each of `settings`, in a process of its own."""
    text = json.dumps(
        {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        | {"settings": list(settings)}
    )
    environment = os.environ | {"PYTHONPATH": str(BENCH.parent / "workflow" / "scripts")}
    command = [python, PEERS / f"{task}.py", text]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{task} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def best_of(task, settings, **arguments):
    """The quickest of `settings`, in pixels per second where the task counts them."""
    answers = ask(task, settings=settings, **arguments)
    rates = [answer.get("computed_px", 1) / answer["seconds"] for answer in answers]
    for setting, rate in zip(settings, rates, strict=True):
        print(
            f"{task} {setting}: {rate / 1e6 if rate > 100 else 1 / rate:.2f} {'Mpx/s' if rate > 100 else 's'}",
            flush=True,
        )
    return settings[rates.index(max(rates))]


def peers_python():
    """The Python of a virtual environment that has MONAI, made where there is none."""
    python, ready = VENV / "bin" / "python", VENV / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", PEERS / "monai.txt"], check=True)
        ready.touch()
    return python


def image_of(side):
    return WORK / "images" / f"side{side}.ome.zarr"


def window_of(image):
    """What becomes 0 and 1, as peers are told."""
    window = json.loads((image / "zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"][0]["window"]
    return window["start"], window["end"]


def predict(image, folder, model=MODEL, **settings):
    """Rule predict over one image, from store to store, the network loaded and checked before."""
    return ask("tessera", image=image, model=model, output=WORK / "made" / folder, settings=[settings])[0]


def listed(values, digits=2):
    return ", ".join(f"{value:.{digits}f}" for value in values)


def tiles_of(made):
    return f"tiles of {made['core_px']} + 2 x {made['halo_px']} px"


def measure_speed(figures, side, rounds):
    """Ours, the bare forward pass and the peers, taken in turn."""
    image, small = image_of(side), image_of(min(side, 4096))
    first = predict(image_of(2048), "warm", seam_windows=0)
    engine = {key: first[key] for key in ("engine", "precision")}
    bare = best_of("bare", BARE, model=MODEL, least_seconds=3, **engine)
    window = {"window": window_of(image)}
    monai = {"python": peers_python(), "output": WORK / "made" / "monai.zarr"} | window
    monai_best = best_of("sliding_window", MONAI, image=small, **monai)
    dask = {"model": MODEL, "output": WORK / "made" / "dask.zarr"} | window
    dask_best = best_of("map_overlap", DASK, image=image_of(2048), **dask)
    ours, bound, monai_s, dask_s = [], [], [], []
    for number in range(rounds):
        ours.append(predict(image, f"side{side}", seam_windows=0))
        bound += ask("bare", settings=[bare], model=MODEL, least_seconds=10, **engine)
        monai_s += ask("sliding_window", settings=[monai_best], image=image, **monai)
        if number < 2:
            dask_s += ask("map_overlap", settings=[dask_best], image=image, **dask)
    rates = [[each["computed_px"] / each["seconds"] / 1e6 for each in kind] for kind in (ours, bound)]
    share = statistics.median(rates[0]) / statistics.median(rates[1])
    about = f"{side}² uint16, {engine['engine']} {engine['precision']}, {tiles_of(ours[0])}"
    figures.add(
        "pixels computed, share of the bare forward pass", f"{share:.3f}",
        data=f"{about}; Mpx/s: {listed(rates[0])}; bare, {bare['side']} px x {bare['batch']}: {listed(rates[1])}",
        target=">= 0.90", holds=share >= 0.90,
    )  # fmt: skip
    cost = ours[0]["cost"]
    figures.add("pixels computed per pixel of the image", f"{cost:.3f}", data=about, target="<= 1.3", holds=cost <= 1.3)
    for name, others, best, least in (
        ("MONAI's sliding window", monai_s, monai_best, 2),
        ("dask.map_overlap with model.predict", dask_s, dask_best, 4),
    ):
        speeds = [[side**2 / each["seconds"] / 1e6 for each in kind] for kind in (ours, others)]
        ratio = statistics.median(speeds[0]) / statistics.median(speeds[1])
        setting = " ".join(str(value) for value in best.values())
        figures.add(
            f"times as quick as {name}, end to end", f"{ratio:.2f}",
            data=f"{about}; Mpx/s of the image: {listed(speeds[0])}; {name} ({setting}): {listed(speeds[1])}",
            target=f">= {least}", holds=ratio >= least,
        )  # fmt: skip
    job = statistics.median(each["job_seconds"] - each["seconds"] for each in ours)
    figures.add("seconds to load, compile and check the network", f"{job:.1f}", data=about)
    return max(each["peak_mb"] for each in ours)


def measure_memory(figures, peaks):
    """`peaks`: {side: MiB}."""
    middle = statistics.median(peaks.values())
    spread = max(abs(peak / middle - 1) for peak in peaks.values())
    data = "; ".join(f"{side}²: {peak:.0f} MiB" for side, peak in peaks.items())
    figures.add("peak memory, largest deviation", f"{spread:.3f}", data=data, target="<= 0.10", holds=spread <= 0.10)
    most = max(peaks.values()) * 2**20 / 1e9
    figures.add("peak memory, GB", f"{most:.2f}", data=data, target="< 3", holds=most < 3)


def measure_agreement(figures, image, model, data, **tiling):
    """Tiles against the whole plane, both in the engine's own precision, and against the whole in float32."""
    name = image.name
    tiled = predict(image, "tiled", model=model, seam_windows=16, **tiling)
    side = 16384 + 2 * tiled["halo_px"]  # larger than the plane
    for folder, precision in (("whole", tiled["precision"]), ("exact", "float32")):
        predict(image, folder, model=model, seam_windows=0, tile_px=side, precision=precision)
    stores = {folder: WORK / "made" / folder / name for folder in ("tiled", "whole", "exact")}
    found = ask("agreement", labels=WORK / "made" / "labels.ome.zarr", **stores)[0]
    data = f"{data}, {tiled['precision']}, {tiles_of(tiled)}"
    exact = f"{data}; against float32 {found['exact_mean_difference']:.5f} and {found['exact_argmax_equal']:.6f}"
    difference, equal, seams = (found[key] for key in ("mean_difference", "argmax_equal", "seam_f1"))
    figures.add(
        "tiled and whole: mean difference of probabilities", f"{difference:.6f}", data=exact, target="< 0.002",
        holds=difference < 0.002,
    )  # fmt: skip
    figures.add(
        "tiled and whole: share of pixels of the same argmax", f"{equal:.6f}", data=exact, target=">= 0.9998",
        holds=equal >= 0.9998,
    )  # fmt: skip
    figures.add(
        "seam F1", "none" if seams is None else f"{seams:.4f}",
        data=f"{data}; {found['seam_objects']} objects in {found['seam_windows']} windows; all objects of the plane: "
        f"{found['object_f1']:.5f}",
        target=">= 0.999", holds=seams is not None and seams >= 0.999,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8192, help="of the image whose speed is measured, in pixels")
    parser.add_argument(
        "--quick", action="store_true", help="one round on small images, to try it; nothing is recorded"
    )
    arguments = parser.parse_args()
    side, whole = arguments.side, 2048 if arguments.quick else 4096
    sides = sorted({2048, min(side, 4096), side // 2, side, side * (1 if arguments.quick else 2)})
    ask("specimens", folder=WORK, sides=sides, whole=whole)
    figures = Figures("make bench-predict", Path(os.devnull) if arguments.quick else RESULTS)
    peaks = {side: measure_speed(figures, side, 1 if arguments.quick else 3)}
    peaks |= {
        each: predict(image_of(each), f"side{each}")["peak_mb"] for each in sides if each in (side // 2, 2 * side)
    }
    measure_memory(figures, dict(sorted(peaks.items())))
    data = f"simulated {whole}², trained a minute"
    measure_agreement(figures, WORK / "images" / f"whole{whole}.ome.zarr", MODEL, data)
    if (REAL / "models" / "fold1").is_dir():
        image = REAL / "images" / "auto" / f"{REAL_IMAGE}.ome.zarr"
        model = REAL / "models" / "fold1"
        measure_agreement(figures, image, model, "phase contrast, 1022 x 1024", tile_px=REAL_TILE)
    else:
        print("bench/work/phase: not there; make bench-accuracy first, for the comparison on a real image", flush=True)
    figures.finish()


if __name__ == "__main__":
    main()
