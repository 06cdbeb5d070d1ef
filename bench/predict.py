"""Speed of rule predict compared to the bare network and to other libraries, its memory, and the effect of tiles."""

import argparse
import os
import statistics
from pathlib import Path

from figures import RESULTS, Figures
from processes import ask
from speeds import MODEL, WORK, image_of, measure_speed, predict, tiles_of

BENCH = Path(__file__).resolve().parent
REAL = BENCH / "work" / "phase" / "results"  # written by make bench-accuracy
REAL_IMAGES = ("set10", "set19", "set24", "set3")  # test images
SMALL_TILE = 512  # gives many seams
SEAM_WINDOWS = 32


def measure_memory(figures, peaks):
    """Add the peak memory by size of the image. `peaks` is {side: MiB}."""
    middle = statistics.median(peaks.values())
    spread = max(abs(peak / middle - 1) for peak in peaks.values())
    data = "; ".join(f"{side}²: {peak:.0f} MiB" for side, peak in peaks.items())
    figures.add("peak memory, largest deviation", f"{spread:.3f}", data=data, target="<= 0.10", holds=spread <= 0.10)
    most = max(peaks.values()) * 2**20 / 1e9
    figures.add("peak memory, GB", f"{most:.2f}", data=data, target="< 3", holds=most < 3)


def measure_agreement(figures, images, model, data, **tiling):
    """Compare tiled prediction to prediction of whole planes, in the precision of the back end and in float32."""
    tiled = predict(images, "tiled", model=model, seam_check_windows=SEAM_WINDOWS, **tiling)
    side = 16384 + 2 * tiled["halo_px"]  # one tile for a whole plane
    for folder, precision in (("whole", tiled["precision"]), ("exact", "float32")):
        predict(images, folder, model=model, seam_check_windows=0, tile_px=side, precision=precision)
    folders = {folder: WORK / "made" / folder for folder in ("tiled", "whole", "exact")}
    names = [image.name for image in images]
    agreement = ask("agreement", labels=WORK / "made" / "labels.ome.zarr", names=names, **folders)[0]
    data = f"{data}, {tiled['precision']}, {tiles_of(tiled)}"
    for index, (claim, target, holds) in enumerate(
        (
            ("tiled and whole: mean difference of probabilities", "< 0.002", lambda value: value < 0.002),
            ("tiled and whole: share of pixels of the same argmax", ">= 0.9998", lambda value: value >= 0.9998),
        )
    ):
        value, exact = agreement["whole"][index], agreement["exact"][index]
        against = f"{data}; against whole in float32: {exact:.6f}"
        figures.add(claim, f"{value:.6f}", data=against, target=target, holds=holds(value))
    seams = agreement["seam_f1"]
    figures.add(
        "seam F1", "none" if seams is None else f"{seams:.4f}",
        data=f"{data}; {agreement['seam_objects']} objects in {agreement['seam_windows']} windows; all objects of the "
        f"planes: {agreement['object_f1']:.5f}",
        target=">= 0.999", holds=seams is not None and seams >= 0.999,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8192, help="width of the image that is timed, in pixels")
    parser.add_argument("--quick", action="store_true", help="try it with one round; records nothing")
    arguments = parser.parse_args()
    side, quick = arguments.side, arguments.quick
    rounds, whole, others = (1, 2048, [side // 2]) if quick else (3, 4096, [side // 2, 2 * side])
    ask("specimens", folder=WORK, sides=[2048, min(side, 4096), side, *others], whole=whole)
    figures = Figures("make bench-predict", Path(os.devnull) if quick else RESULTS)
    peaks = {side: measure_speed(figures, side, rounds)}
    peaks |= {other: predict([image_of(other)], f"side{other}")["peak_mb"] for other in others}
    measure_memory(figures, dict(sorted(peaks.items())))
    images = [WORK / "images" / f"whole{whole}.ome.zarr"]
    data = f"simulated {whole}², trained a minute"
    measure_agreement(figures, images, MODEL, data, tile_px=SMALL_TILE if quick else "auto")
    if (REAL / "models" / "fold1").is_dir():
        images = [REAL / "images" / "auto" / f"{name}.ome.zarr" for name in REAL_IMAGES]
        data = f"{len(images)} phase-contrast images of 1022 x 1024"
        measure_agreement(figures, images, REAL / "models" / "fold1", data, tile_px=SMALL_TILE)
    else:
        print(
            "bench/work/phase: not found; run make bench-accuracy first to compare tiles on real images too", flush=True
        )
    figures.finish()


if __name__ == "__main__":
    main()
