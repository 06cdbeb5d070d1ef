"""Kills a training at five random moments and compares its weights with those of an uninterrupted training.

Both train a plain U-Net on the same noise with deterministic operations. The moments are random in each run,
from the start of the process to the end of the training.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import zarr
from figures import Figures

BENCH = Path(__file__).resolve().parent
KILLS = 5
PATCH_INFO = {
    "task": "instances", "classes": ["background", "cell"], "outputs": ["background", "interior", "boundary"],
    "channels": ["gray"], "patch_size_px": 64, "class_share": [0.7, 0.2, 0.1],
    "normalization": {"method": "percentile", "low": 1, "high": 99.8},
}  # fmt: skip
CODE = """
import sys
sys.path[:0] = sys.argv[3:]
import logging
from train import train
from tessera.settings.sections import TrainSettings
logging.basicConfig(level=logging.INFO, format="%(message)s")
network = {"architecture": "PlainUnet", "backbone": None, "width": 8, "depth": 3}
settings = TrainSettings(**network, epochs=24, patience=24, device="cpu")
train(sys.argv[1], settings=settings, provenance="provenance", output=sys.argv[2])
"""


def write_patches(folder):
    """Write patches of noise; the classes are dark and bright pixels."""
    noise = np.random.default_rng(0)
    for subset, number in (("train", 64), ("val", 8)):
        images = noise.normal(size=(number, 64, 64, 1)).astype("float16")
        group = zarr.open_group(folder / f"{subset}.zarr", mode="w")
        group.create_array("image", data=images)
        group.create_array("target", data=(images[..., 0] > 0).astype("uint8"))
    (folder / "patches.json").write_text(json.dumps(PATCH_INFO))


def start(work, name, log):
    """Start the process that trains model `name`."""
    paths = [BENCH.parent / "workflow" / "scripts", BENCH.parent]
    command = [sys.executable, "-c", CODE, work / "patches", work / name, *paths]
    return subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT)


def digest(path):
    """Return the digest of all arrays in a file of weights."""
    state = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            state.update(name.encode() + item[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(add)
    return state.hexdigest()


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    work = BENCH / "work" / "kills"
    shutil.rmtree(work, ignore_errors=True)
    (work / "patches").mkdir(parents=True)
    write_patches(work / "patches")
    with open(work / "log.txt", "w") as log:
        began = time.monotonic()
        assert start(work, "whole", log).wait() == 0, work / "log.txt"
        whole_s, moments = time.monotonic() - began, []
        while len(moments) < KILLS:
            process = start(work, "killed", log)
            moment = random.uniform(0.2, 0.6) * whole_s
            time.sleep(moment)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                moments.append(moment)
            else:  # the training had ended; start again
                shutil.rmtree(work / "killed")
        if not (work / "killed").exists():
            assert start(work, "killed", log).wait() == 0, work / "log.txt"
    files = ("model.weights.h5", "last.weights.h5")
    same = all(digest(work / "whole" / file) == digest(work / "killed" / file) for file in files)
    resumed = (work / "log.txt").read_text().count("Continuing after epoch")
    figures = Figures("make bench-kills")
    figures.add(
        f"the same weights after {len(moments)} kills", same, target=True, holds=same,
        data=f"plain U-Net, {whole_s:.0f} s; killed {', '.join(f'{s:.0f}' for s in moments)} s after starts; "
        f"{resumed} continued from a saved epoch",
    )  # fmt: skip
    figures.finish()


if __name__ == "__main__":
    main()
