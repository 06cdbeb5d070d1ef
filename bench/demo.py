"""Time of `make demo` in a fresh clone, and its score on the test movie."""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import pandas
from figures import Figures

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_MINUTES = 5
MIN_AP = 0.93
MIN_DIVISIONS = 20  # of the test movie


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "tessera")
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
        subprocess.run(["make", "setup"], cwd=clone, check=True)
        started = time.monotonic()
        subprocess.run(["make", "demo"], cwd=clone, check=True)
        minutes = (time.monotonic() - started) / 60
        again = subprocess.run(["make", "demo"], cwd=clone, check=True, text=True, capture_output=True)
        metrics = pandas.read_csv(clone / "results" / "metrics.tsv", sep="\t")
    tested = metrics[metrics["split"] == "test"]
    true, false, missed = tested[["tp_50", "fp_50", "fn_50"]].sum()
    score = true / (true + false + missed)
    idle = "Nothing to be done" in again.stdout + again.stderr
    figures = Figures("make bench-demo")
    data = f"simulated, {len(tested)} test movie of {len(metrics)}"
    figures.add(
        "minutes of make demo, set up",
        f"{minutes:.1f}",
        data=data,
        target=f"<= {MAX_MINUTES}",
        holds=minutes <= MAX_MINUTES,
    )
    figures.add("AP at IoU 0.5", f"{score:.3f}", data=data, target=f">= {MIN_AP}", holds=score >= MIN_AP)
    divisions = int(tested["divisions_truth"].sum())
    figures.add(
        "divisions of the test movie",
        str(divisions),
        data=data,
        target=f">= {MIN_DIVISIONS}",
        holds=divisions >= MIN_DIVISIONS,
    )
    figures.add(
        "a second make demo", "runs nothing" if idle else "runs jobs", data=data, target="runs nothing", holds=idle
    )
    figures.finish()


if __name__ == "__main__":
    main()
