"""Show why the selected model predicts what it predicts, and whether its probabilities are right.

Reads the JSON file `selected`, the folders in `models`, and the validation patches: of a model trained here val.zarr in
the patches of its fold, of an existing one those that its folder keeps. Writes the folder `output`: explanation.json,
and for each of the best and the worst patches a picture of what speaks for each class and one of what layers answer.
"""

import json
from pathlib import Path

import numpy as np
import zarr

from tessera.common.atomic_write import atomic_folder
from tessera.common.constants import WEIGHTS
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.common.job import running
from tessera.evaluation.calibration import Calibration
from tessera.evaluation.segmentation_metrics import class_counts, class_scores, count_overlaps
from tessera.networks.model_folder import read_model_card, read_validation_patches

# Patches that are looked at: so many pixels, some seconds on two cores, but no less than LEAST_PATCHES.
MOST_PIXELS, LEAST_PATCHES = 2**22, 16
MOST_BATCH, BATCH_VALUES = 16, 2**22  # patches, and probabilities, at once


def explain(selected, models, patches, output, *, folds, n_examples, layers, device="auto", threads=None):
    """Write why the best of the models that predict answers as it does.

    Args:
        selected: file that rule select_model wrote.
        models: folders of models.
        patches: folders of patches, named as folds are.
        output: folder to write; it appears when it is whole.
        folds: {model: fold} of the models that were trained here.
        n_examples: how many of the best and of the worst patches to show; 0 leaves all out, the probabilities too.
        layers: "auto" or names of layers, see `tessera.evaluation.class_activation_maps.choose_layers`.
        device: auto, cpu or gpu.
        threads: CPU cores to use; None for all.

    Raises:
        InputError: a layer that the network does not have, a damaged model, or a GPU that is not there.
    """
    model = json.loads(Path(selected).read_text())["model"]
    folder = next(Path(folder) for folder in models if Path(folder).name == model)
    place = {Path(path).name: Path(path) for path in patches}.get(folds.get(model))
    sides, reason = find_patches(folder, place) if n_examples else (None, "explain.n_examples is 0")
    content = {"model": model, "left_out": reason}
    with atomic_folder(output) as workplace:
        if not reason:
            options = {"shown": n_examples, "layers": layers, "device": device, "threads": threads}
            content |= explain_model(workplace, folder, *sides, **options)
        (workplace / "explanation.json").write_text(json.dumps(content, indent=1))
    print(f"{model}: left out, since {reason}" if reason else f"{model}: explained", flush=True)


def find_patches(folder, place):
    """(images (n, y, x, c), targets (n, y, x)) that a model was validated on, or None; and why it is None, or None."""
    about = read_model_card(folder)
    if not (folder / WEIGHTS).is_file() or not {"architecture", "backbone"} <= about.keys():
        return (
            None,
            f"the model's folder lacks {WEIGHTS} or the architecture, and layers of others cannot be looked into",
        )
    if place is not None:
        group = zarr.open_group(place / "val.zarr", mode="r")
        return (group["image"], group["target"]), None
    patches = read_validation_patches(folder)
    return patches, None if patches else "the model's folder keeps no validation patches to explain"


def explain_model(workplace, folder, images, targets, *, shown, layers, device, threads):
    """What explanation.json tells of a model, and its pictures in `workplace`; see `explain`."""
    from tessera.evaluation.class_activation_maps import LEVELS, Probe, choose_layers, last_level
    from tessera.networks.architectures import bottleneck
    from tessera.networks.build import load_network
    from tessera.networks.devices import choose_device
    from tessera.report.explanation_figures import draw_patch

    choose_device(device, threads)
    about = read_model_card(folder)
    outputs, architecture = about["outputs"], about["architecture"]
    network = load_network(folder)
    chosen = choose_layers(network, architecture, layers)
    numbers = evenly_spaced_indices(images.shape[0], max(MOST_PIXELS // np.prod(targets.shape[1:]), LEAST_PATCHES))
    calibration, ious = judge(network, images, targets, numbers, outputs)
    probe = Probe(network, [bottleneck(network, architecture), last_level(network)], chosen)
    content = {
        "patches": len(numbers),
        "all_patches": images.shape[0],
        "calibration": calibration.summarise(),
        "layers": [{"name": layer.name, "part": layer.part, "stride": layer.stride} for layer in chosen],
        "levels": LEVELS,
        "images": rank(ious, shown),
    }
    for image in content["images"]:
        pair = images[image["patch"]].astype(np.float32), targets[image["patch"]]
        image |= draw_patch(workplace, f"{image['kind']}_{image['rank']}", network, probe, *pair, outputs, chosen)
    return content


def judge(network, images, targets, numbers, outputs):
    """A `Calibration` over the patches of these numbers, and {patch: mean IoU of its foreground, of known pixels}.

    A patch without any object has no IoU.
    """
    calibration, ious = Calibration(outputs), {}
    values = np.prod(targets.shape[1:]) * len(outputs)
    size = int(np.clip(BATCH_VALUES // values, 1, MOST_BATCH))
    for batch in (numbers[first : first + size] for first in range(0, len(numbers), size)):
        pixels = np.stack([images[number] for number in batch]).astype(np.float32)
        truth = np.stack([targets[number] for number in batch])
        probabilities = network.predict_on_batch(pixels)
        calibration.add(probabilities, truth)
        for number, true, found in zip(batch, truth, probabilities.argmax(-1), strict=True):
            if ((true > 0) & (true < len(outputs))).any():
                counts = class_counts(count_overlaps([(true, found)]), outputs)
                ious[number] = class_scores(counts, outputs)["iou_mean"]
    return calibration, ious


def rank(ious, shown):
    """The `shown` best and the `shown` worst of {patch: IoU}, no patch twice: kind, rank, patch and iou of each."""
    order = sorted(ious, key=lambda patch: (-ious[patch], patch))
    best = order[: min(shown, -(-len(order) // 2))]
    worst = order[len(best) :][::-1][:shown]
    return [
        {"kind": kind, "rank": place, "patch": patch, "iou": ious[patch]}
        for kind, patches in (("best", best), ("worst", worst))
        for place, patch in enumerate(patches, start=1)
    ]


if __name__ == "__main__":
    with running(snakemake):
        explain(
            selected=snakemake.input.selected,
            models=snakemake.input.models,
            patches=snakemake.input.patches,
            output=snakemake.output.explanation,
            folds=snakemake.params.folds,
            device=snakemake.config["predict"]["device"],
            threads=snakemake.threads,
            **snakemake.params.settings,
        )
