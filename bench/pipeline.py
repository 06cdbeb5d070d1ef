"""Speed of rendering patches and of training steps, and time and memory before the first step."""

import argparse
import os
import statistics
from pathlib import Path

from figures import RESULTS, Figures
from processes import ask

BENCH = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
RENDERED_PX, FITTED_PX = 256, 128  # width of patches


def measure_rendering(figures, work, patches, rounds):
    """Compare rule augment, with one worker and with one per core, to albumentations alone. The runs take turns."""
    counts = sorted({1, CORES})
    rates = {workers: [] for workers in counts} | {"bound": []}
    for _ in range(rounds):
        for workers in counts:
            rendered = ask("patching", folder=work, patches=patches, patch_size_px=RENDERED_PX, workers=workers)[0]
            rates[workers].append(rendered["per_core"])
        alone = {"patch_size_px": RENDERED_PX, "transforms": rendered["transforms"]}
        rates["bound"].append(ask("patching", folder=work, patches=patches, **alone)[0]["per_core"])
    names = ", ".join(transform["name"] for transform in rendered["transforms"])
    bound = statistics.median(rates["bound"])
    for workers in counts:
        rate = statistics.median(rates[workers])
        figures.add(
            f"augment, {workers} workers: patches per second and core; share of albumentations alone",
            f"{rate:.1f}; {rate / bound:.2f}",
            data=f"simulated, {patches} patches of {RENDERED_PX}², from store to store, {rounds} runs in turn: "
            f"{listed(rates[workers])}; albumentations alone on arrays, one thread: {listed(rates['bound'])}; {names}",
        )


def measure_fitting(figures, work, patches, epochs, rounds):
    """Compare rule train to model.fit on minibatches in memory. The runs take turns.

    The first epoch does not count, because it builds the graphs.
    """
    ask("patching", folder=work, patches=patches, patch_size_px=FITTED_PX, workers=CORES, output="trained/patches")
    seconds, first = {"ours": [], "bare": []}, None
    for _ in range(rounds):
        for whose, medians in seconds.items():
            answer = ask("fitting", patches=work / "trained" / "patches", whose=whose, epochs=epochs + 1)[0]
            medians.append(statistics.median(answer["epochs"][1:]))
            first = answer if whose == "bare" else first
    ratio = statistics.median(seconds["bare"]) / statistics.median(seconds["ours"])
    figures.add(
        "training, share of model.fit on the same batches in memory", f"{ratio:.3f}",
        data=f"simulated, {first['patches']} patches of {FITTED_PX}², batches of 8, Unet/resnet18; "
        f"{rounds} runs in turn, median of {epochs} epochs with validation, s: {listed(seconds['ours'])}; model.fit: "
        f"{listed(seconds['bare'])}",
        target=">= 0.95", holds=ratio >= 0.95,
    )  # fmt: skip
    for name, stage in first["stages"].items():
        each = f" ({stage['seconds'] / first['steps']:.2f} s each)" if name == "later steps" else ""
        figures.add(
            f"training, {name}: seconds; memory afterwards", f"{stage['seconds']:.1f}{each}; {stage['mb']:.0f} MiB",
            data=f"patches of {FITTED_PX}², batches of 8, Unet/resnet18; peak of all {first['peak_mb']:.0f} MiB",
        )  # fmt: skip


def listed(values):
    return ", ".join(f"{value:.1f}" for value in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try it with one round; records nothing")
    arguments = parser.parse_args()
    work, quick = BENCH / "work" / "pipeline", arguments.quick
    figures = Figures("make bench-pipeline", Path(os.devnull) if quick else RESULTS)
    measure_rendering(figures, work, 48 if quick else 512, 1 if quick else 3)
    measure_fitting(figures, work, 24 if quick else 160, 1 if quick else 5, 1 if quick else 3)
    figures.finish()


if __name__ == "__main__":
    main()
