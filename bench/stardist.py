"""Nuclei: this pipeline against StarDist, trained on the same images for the same minutes.

The 96 images are of 86 fields: some are neighbouring crops (see datasets/nuclei.py), and stay on one side. Fields of
each kind, ordered by size and brightness, are dealt out to eight parts in turn, so that every part has some of all
that there is. Two parts are tested on (19 fluorescence and 4 coloured images in the first round), one validates and
five train; the two bright images, alone of their kind, train. With --rounds 4 every part is tested on once, with a
training of both for each pair of parts, and objects of all rounds count together. This pipeline comes first, then
StarDist, which gets the very pixels and truth of the pipeline's stores, and the same code scores both. What is
finished is not done again.
"""

import argparse
import json
import os
from pathlib import Path

import yaml
from accuracy import snakemake
from datasets import nuclei
from figures import RESULTS, Figures
from PIL import Image, ImageStat
from processes import ask, python_with

BENCH = Path(__file__).resolve().parent
VENV = BENCH / "work" / "peers-stardist"
PARTS = 8
KINDS = ("fluorescence", "coloured")  # scored, each apart


def deal(rows):
    """The part, 0 to PARTS - 1, of each row of nuclei.rows, and the name of its field; None for kinds not in KINDS."""
    paths = [path for _, path, _, _ in rows]
    fields = nuclei.neighbours(paths)
    parts = [None] * len(rows)
    for kind in KINDS:
        members = {}
        for number, row in enumerate(rows):
            if row[3] == kind:
                members.setdefault(fields[number], []).append(number)
        order = sorted(members.values(), key=lambda numbers: _look(paths[numbers[0]]))
        for turn, numbers in enumerate(order):
            for number in numbers:
                parts[number] = turn % PARTS
    return parts, [f"field{field:02d}" for field in fields]


def _look(path):
    """Size and brightness."""
    with Image.open(path) as image:
        return image.size, ImageStat.Stat(image.convert("L")).median, path.name


def side_of(part, number):
    """The side of a part in round `number`."""
    if part is None:
        return "train"
    turn = (part - 2 * number) % PARTS
    return "test" if turn < 2 else "val" if turn == 2 else "train"


def write_project(work, rows, number, settings):
    """The table and configuration of a round."""
    work.mkdir(parents=True, exist_ok=True)
    parts, fields = deal(rows)
    lines = [(*nuclei.COLUMNS, "group", "split")]
    lines += [(*row, field, side_of(part, number)) for row, part, field in zip(rows, parts, fields, strict=True)]
    (work / "images.tsv").write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    (work / "config.yaml").write_text(yaml.safe_dump({"images": "images.tsv"} | settings))


def train_stardist(work, **settings):
    """StarDist on the examples of a round, unless an earlier run did the same: its figures."""
    made, about = work / "stardist", dict(settings)
    done = made / "done.json"
    about["sides"] = {
        side: sorted(path.stem for path in (work / "examples" / side).glob("*.npz"))
        for side in ("train", "val", "test")
    }
    if done.exists():
        earlier = json.loads(done.read_text())
        if earlier["about"] == about:
            return earlier["figures"]
    settings |= {"python": python_with("stardist.txt", VENV), "examples": work / "examples", "output": made}
    figures = ask("stardist_training", **settings)[0]
    done.write_text(json.dumps({"about": about, "figures": figures}, indent=1))
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds nuclei-dsb2018")
    parser.add_argument("--minutes", type=float, default=20, help="of each training")
    parser.add_argument("--rounds", type=int, choices=range(1, 5), default=1, help="pairs of parts that are tested on")
    parser.add_argument(
        "--precision", default="quickest", help="of StarDist: float32, mixed_bfloat16 or the quickest of both"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a quarter of the images, half a minute each, to try it; nothing is recorded",
    )
    arguments = parser.parse_args()
    minutes = 0.5 if arguments.quick else arguments.minutes
    rows = list(nuclei.rows(arguments.data.resolve() / "nuclei-dsb2018"))[:: 4 if arguments.quick else 1]
    settings = yaml.safe_load((BENCH / "datasets" / "nuclei.yaml").read_text())
    settings["train"] |= {"max_minutes": minutes, "epochs": 100_000, "patience": 100_000}  # the minutes alone end it
    kinds = {row[0]: row[3] for row in rows}
    rounds, trained = [], []
    for number in range(arguments.rounds):
        work = BENCH / "work" / ("stardist-quick" if arguments.quick else "stardist") / f"round{number}"
        write_project(work, rows, number, settings)
        print(f"round {number + 1}: this pipeline, {minutes:g} min", flush=True)
        snakemake(work)
        counts = ask("examples", results=work / "results", examples=work / "examples")[0]
        print(f"round {number + 1}: StarDist, {minutes:g} min, on {counts}", flush=True)
        options = {"minutes": minutes, "precision": arguments.precision, "optimise": not arguments.quick}
        trained.append(train_stardist(work, **options))
        print(json.dumps(trained[-1]), flush=True)
        rounds.append(
            ask(
                "scores", examples=work / "examples", results=work / "results", theirs=work / "stardist", kinds=kinds,
                pictures=work / "pictures", shown=8,
            )[0]
        )  # fmt: skip
        print(json.dumps(rounds[-1]), flush=True)
    record(rounds, trained, minutes, Figures("make bench-stardist", Path(os.devnull) if arguments.quick else RESULTS))


def record(rounds, trained, minutes, figures):
    """Add the scores of all rounds together."""
    speed = ", ".join(f"{one['precision']} {one['images_per_second']:.1f} images/s" for one in trained)
    for kind in KINDS:
        found = [each[kind] for each in rounds if kind in each]
        images, objects = (sum(one[key] for one in found) for key in ("images", "objects"))
        scores = {}
        for whose in ("ours", "theirs"):
            true, false, missed = (sum(one[whose][number] for one in found) for number in range(3))
            scores[whose] = true / max(1, true + false + missed)
        data = f"nuclei, {images} {kind} test images, {objects} objects, {minutes:g} min each; StarDist: {speed}"
        figures.add(
            f"AP at IoU 0.5, {kind}; ahead of StarDist's {scores['theirs']:.3f}", f"{scores['ours']:.3f}",
            data=data, target=f"> {scores['theirs']:.3f}", holds=scores["ours"] > scores["theirs"],
        )  # fmt: skip
    figures.finish()


if __name__ == "__main__":
    main()
