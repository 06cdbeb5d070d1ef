"""Seconds to plan a table of 10,000 images in batches of 64."""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from figures import Figures

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = 10_000
MOST_SECONDS = 15


def write_project(folder):
    """A table of small files in batches of 64, of which 40 are annotated."""
    (folder / "raw").mkdir()
    lines = ["image\tpath\ttruth\tbatch"]
    for number in range(IMAGES):
        name = f"image{number:05d}"
        (folder / "raw" / f"{name}.tif").write_bytes(number.to_bytes(4, "big") * 2**14)
        truth = f"raw/{name}_ids.tif" if number % 250 == 0 else ""
        if truth:
            (folder / truth).write_bytes(number.to_bytes(4, "big") * 256)
        lines.append(f"{name}\traw/{name}.tif\t{truth}\tbatch{number // 64:03d}")
    (folder / "images.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text(yaml.safe_dump({"images": "images.tsv"}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    write_project(folder)
    command = [Path(sys.executable).with_name("snakemake"), "--dry-run", "--quiet", "all"]
    command += ["--snakefile", REPOSITORY / "Snakefile", "--directory", folder, "--configfile", folder / "config.yaml"]
    seconds = []
    for _ in range(4):
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - started)
    shutil.rmtree(folder)
    median = statistics.median(seconds[1:])
    figures = Figures("make bench-plan")
    data = f"{IMAGES} rows, batches of 64, 4 runs, the first not counted"
    figures.add(
        "seconds to plan", f"{median:.1f}", data=data, target=f"<= {MOST_SECONDS}", holds=median <= MOST_SECONDS
    )
    figures.finish()


if __name__ == "__main__":
    main()
