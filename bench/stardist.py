"""Nuclei: this pipeline compared to StarDist. Both train on the same images for the same time.

The 96 images show 86 fields. Neighboring crops of one field (see datasets/nuclei.py) stay in one subset. The fields of
each kind are sorted by size and brightness and dealt out to eight parts, so that all parts are alike. Five parts train,
one validates and two test (19 fluorescence and 4 color images in the first round). The two bright images, the only ones
of their kind, train. `--rounds 4` tests on each part once: it trains both methods for each pair of parts and pools the
objects of all rounds. StarDist gets the pixels and the ground truth of the pipeline's stores, and the same code scores
both. Finished steps are not repeated.
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
KINDS = ("fluorescence", "coloured")  # scored separately


def deal(rows):
    """Deal the images out to parts.

    Args:
        rows: rows of `nuclei.rows`.

    Returns:
        The part of each row, 0 to PARTS - 1, or None for a kind that is not in KINDS; the name of its field.
    """
    paths = [path for _, path, _, _ in rows]
    fields = nuclei.find_fields(paths)
    parts = [None] * len(rows)
    for kind in KINDS:
        members = {}
        for number, row in enumerate(rows):
            if row[3] == kind:
                members.setdefault(fields[number], []).append(number)
        order = sorted(members.values(), key=lambda numbers: _size_and_brightness(paths[numbers[0]]))
        for turn, numbers in enumerate(order):
            for number in numbers:
                parts[number] = turn % PARTS
    return parts, [f"field{field:02d}" for field in fields]


def _size_and_brightness(path):
    """Key to sort images by size, then by brightness."""
    with Image.open(path) as image:
        return image.size, ImageStat.Stat(image.convert("L")).median, path.name


def subset_of(part, number):
    """The subset of a part in round `number`."""
    if part is None:
        return "train"
    turn = (part - 2 * number) % PARTS
    return "test" if turn < 2 else "val" if turn == 2 else "train"


def write_project(work, rows, number, settings):
    """Write the table and the settings of a round."""
    work.mkdir(parents=True, exist_ok=True)
    parts, fields = deal(rows)
    lines = [(*nuclei.COLUMNS, "group", "split")]
    lines += [(*row, field, subset_of(part, number)) for row, part, field in zip(rows, parts, fields, strict=True)]
    (work / "images.tsv").write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    (work / "config.yaml").write_text(yaml.safe_dump({"images": "images.tsv"} | settings))


def train_stardist(work, **settings):
    """Train StarDist on the images of a round, unless an earlier run did the same, and return its figures."""
    output, about = work / "stardist", dict(settings)
    done = output / "done.json"
    about["subsets"] = {
        subset: sorted(path.stem for path in (work / "examples" / subset).glob("*.npz"))
        for subset in ("train", "val", "test")
    }
    if done.exists():
        earlier = json.loads(done.read_text())
        if earlier["about"] == about:
            return earlier["figures"]
    settings |= {"python": python_with("stardist.txt", VENV), "examples": work / "examples", "output": output}
    figures = ask("stardist_training", **settings)[0]
    done.write_text(json.dumps({"about": about, "figures": figures}, indent=1))
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with nuclei-dsb2018")
    parser.add_argument("--minutes", type=float, default=20, help="time of each training")
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 5), default=1, help="number of pairs of parts to test on"
    )
    parser.add_argument(
        "--precision",
        default="quickest",
        help="precision of StarDist: float32, mixed_bfloat16, or quickest for the faster of both",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="try it with a quarter of the images for half a minute each; records nothing",
    )
    arguments = parser.parse_args()
    minutes = 0.5 if arguments.quick else arguments.minutes
    rows = list(nuclei.rows(arguments.data.resolve() / "nuclei-dsb2018"))[:: 4 if arguments.quick else 1]
    settings = yaml.safe_load((BENCH / "datasets" / "nuclei.yaml").read_text())
    settings["train"] |= {"max_minutes": minutes, "epochs": 100_000, "patience": 100_000}  # only the time limit ends it
    kinds = {row[0]: row[3] for row in rows}
    rounds, trained = [], []
    for number in range(arguments.rounds):
        work = BENCH / "work" / ("stardist-quick" if arguments.quick else "stardist") / f"round{number}"
        write_project(work, rows, number, settings)
        print(f"round {number + 1}: this pipeline, {minutes:g} min", flush=True)
        snakemake(work)
        counts = ask("examples", results=work / "results", examples=work / "examples")[0]
        print(f"round {number + 1}: StarDist, {minutes:g} min, on {counts}", flush=True)
        options = {"minutes": minutes, "precision": arguments.precision, "optimize": not arguments.quick}
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
    """Pool the objects of all rounds and add the scores."""
    speed = ", ".join(f"{answer['precision']} {answer['images_per_second']:.1f} images/s" for answer in trained)
    for kind in KINDS:
        scored = [each[kind] for each in rounds if kind in each]
        images, objects = (sum(each[key] for each in scored) for key in ("images", "objects"))
        scores = {}
        for whose in ("ours", "theirs"):
            true, false, missed = (sum(each[whose][number] for each in scored) for number in range(3))
            scores[whose] = true / max(1, true + false + missed)
        data = f"nuclei, {images} {kind} test images, {objects} objects, {minutes:g} min each; StarDist: {speed}"
        figures.add(
            f"AP at IoU 0.5, {kind}; ahead of StarDist's {scores['theirs']:.3f}", f"{scores['ours']:.3f}",
            data=data, target=f"> {scores['theirs']:.3f}", holds=scores["ours"] > scores["theirs"],
        )  # fmt: skip
    figures.finish()


if __name__ == "__main__":
    main()
