"""Time and memory to plan tables of many images in batches of 64."""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from figures import Figures

REPOSITORY = Path(__file__).resolve().parent.parent
# (images, annotated images, number of timed runs, target in seconds)
TABLES = ((10_000, 40, 3, 10), (10_000, 10_000, 3, 10), (100_000, 40, 1, 60))


def write_project(folder, images, annotated):
    """Write a table of small files in batches of 64, `annotated` of them with ground truth."""
    (folder / "raw").mkdir()
    lines = ["image\tpath\ttruth\tbatch"]
    for number in range(images):
        name = f"image{number:05d}"
        (folder / "raw" / f"{name}.tif").write_bytes(number.to_bytes(4, "big") * 2**14)
        truth = f"raw/{name}_ids.tif" if number % (images // annotated) == 0 else ""
        if truth:
            (folder / truth).write_bytes(number.to_bytes(4, "big") * 256)
        lines.append(f"{name}\traw/{name}.tif\t{truth}\tbatch{number // 64:03d}")
    (folder / "images.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text(yaml.safe_dump({"images": "images.tsv"}))


def time_plans(folder, runs):
    """Seconds of each of `runs` dry runs. A first run, which reads all files, is not timed."""
    command = [Path(sys.executable).with_name("snakemake"), "--dry-run", "--quiet", "all"]
    command += ["--snakefile", REPOSITORY / "Snakefile", "--directory", folder, "--configfile", folder / "config.yaml"]
    seconds = []
    for _ in range(1 + runs):
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - started)
    return seconds[1:]


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    figures = Figures("make bench-plan")
    for images, annotated, runs, most in TABLES:
        with tempfile.TemporaryDirectory() as folder:
            write_project(Path(folder), images, annotated)
            median = statistics.median(time_plans(Path(folder), runs))
        data = f"{images:,} rows, {annotated:,} with truth, batches of 64, median of {runs}, files read before"
        figures.add("seconds to plan", f"{median:.1f}", data=data, target=f"<= {most}", holds=median <= most)
        peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20 * 1.024**3
        figures.add("peak memory of any plan so far, GB", f"{peak_gb:.2f}", data=data)
    figures.finish()


if __name__ == "__main__":
    main()
