"""Scores of the labels of this pipeline and of another one, by the same code, and images of both."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries
from tasks import answer

from tessera.evaluation.segmentation_metrics import add_counts, count_overlaps, instance_counts
from tessera.io.ome_zarr_store import open_array

COLOURS = {"truth": (0, 220, 60), "ours": (255, 200, 0), "theirs": (255, 60, 200)}


def run(examples, results, theirs, kinds, pictures, shown):
    """Score the test images of `examples`.

    Args:
        examples: see `examples.py`.
        results: results of this pipeline.
        theirs: folder with the labels of the other one, {image}.npy.
        kinds: {image: kind}.
        pictures: folder to write: an image with outlines of each test image, and `sheet.png` of at most `shown`.

    Returns:
        {kind: {"images", "objects", "ours", "theirs": (true, false, missed) objects at IoU 0.5}}.
    """
    pictures = Path(pictures)
    pictures.mkdir(parents=True, exist_ok=True)
    counts, drawn = {}, {}
    for path in sorted((Path(examples) / "test").glob("*.npz")):
        with np.load(path) as arrays:
            pixels, truth = arrays["image"], arrays["labels"]
        store = next(Path(results).glob(f"labels/*/{path.stem}.ome.zarr"))
        found = {"ours": open_array(store)[0, 0, 0], "theirs": np.load(Path(theirs) / f"{path.stem}.npy")}
        kind = kinds[path.stem]
        for whose, labels in found.items():
            one = instance_counts(count_overlaps([(truth, labels)]), [0.5])
            counts.setdefault(kind, {}).setdefault(whose, []).append(one)
        scores = {whose: _ap(counts[kind][whose][-1:]) for whose in found}
        drawn[path.stem] = _draw(f"{path.stem}, {kind}", pixels, {"truth": truth} | found, scores)
        drawn[path.stem].save(pictures / f"{path.stem}.png")
    _sheet(drawn, kinds, shown).save(pictures / "sheet.png")
    figures = {}
    for kind, found in counts.items():
        total = add_counts(found["ours"])
        figures[kind] = {"images": len(found["ours"]), "objects": total["tp_50"] + total["fn_50"]}
        figures[kind] |= {whose: _sum(each) for whose, each in found.items()}
    return figures


def _sum(counts):
    total = add_counts(counts)
    return [total[f"{what}_50"] for what in ("tp", "fp", "fn")]


def _ap(counts):
    true, *wrong = _sum(counts)
    return true / max(1, true + sum(wrong))


def _draw(name, pixels, labels, scores):
    """The image, and next to it the outlines of each of `labels`."""
    grey = pixels.astype(float)
    low, high = np.percentile(grey, (1, 99.8))
    picture = (255 * np.clip((grey - low) / max(high - low, 1), 0, 1) ** 0.7).astype(np.uint8)
    picture = np.broadcast_to(picture, (*picture.shape[:2], 3)) if picture.shape[-1] == 1 else picture[..., :3]
    panels = [picture]
    for whose, ids in labels.items():
        panel = picture.copy()
        panel[find_boundaries(ids, mode="inner")] = COLOURS[whose]
        panels.append(panel)
    height, width = picture.shape[:2]
    drawn = Image.new("RGB", (len(panels) * (width + 4), height + 14))
    for number, panel in enumerate(panels):
        drawn.paste(Image.fromarray(panel), (number * (width + 4), 14))
    for number, text in enumerate((name, "truth", *(f"{whose} {score:.2f}" for whose, score in scores.items()))):
        ImageDraw.Draw(drawn).text((number * (width + 4) + 2, 1), text)
    return drawn


def _sheet(drawn, kinds, shown):
    """Some of the pictures below each other, equally many of each kind."""
    by_kind = {
        kind: [name for name in drawn if kinds[name] == kind] for kind in sorted({kinds[name] for name in drawn})
    }
    names = [name for found in by_kind.values() for name in found[: -(-shown // len(by_kind))]]
    pictures = [drawn[name].reduce(max(1, drawn[name].width // 1400)) for name in names]
    sheet = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)))
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


if __name__ == "__main__":
    answer(run)
