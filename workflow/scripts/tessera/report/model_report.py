"""Origins: what a report says of the models in use, where they come from, and which images do not fit them."""

from pathlib import Path

import pandas as pd

from tessera.common.constants import HISTORY, RATES
from tessera.networks.model_folder import read_model_card
from tessera.report.html_report import duration, embed, grouped
from tessera.report.report_tables import count, learning_curves


def describe_model(folder, existing):
    """What the page shows of a model.

    Args:
        folder: of the model.
        existing: it was there before, and nothing was trained.

    Returns:
        Content of model.json, and besides `name`, `facts` [(label, text)], `curves` of `tessera.report.report_tables.learning_curves`,
        `rates` (the trial of learning rates as a data URI, or None) and `versions`; a model that was made elsewhere may
        have no history, and say little.
    """
    folder, about = Path(folder), read_model_card(folder)
    # Where the model of another run lies, its own history says how it was trained; it is shown all the same.
    curves = learning_curves(pd.read_csv(folder / HISTORY)) if (folder / HISTORY).is_file() else []
    facts = [
        ("Folder", str(folder) if existing else None),
        ("Network", " ".join(about[key] for key in ("architecture", "backbone") if about.get(key))),
        ("Parameters", about.get("parameters") and grouped(about["parameters"])),
        ("Channels", ", ".join(about["channels"])),
        ("Outputs", ", ".join(about["outputs"])),
        ("Patch", about.get("patch_size_px") and f"{about['patch_size_px']} px"),
        ("Pixel", about.get("pixel_size_um") and f"{about['pixel_size_um']:.3g} µm"),
        ("Diameter of objects", about.get("diameter_px") and f"{about['diameter_px']:.3g} px"),
        ("Share of pixels", _shares(about["outputs"], about.get("class_share") or [])),
        ("Epochs", about.get("epochs") and f"{about['epochs']}, the best {about['best_epoch']}"),
        ("Time", about.get("seconds") and duration(about["seconds"])),
        ("Trained on", about.get("device") and {"cpu": "CPU", "gpu": "GPU"}.get(about["device"])),
        ("Speed", _speed(about.get("throughput"))),
    ]
    trial = folder / RATES
    known = {"name": folder.name, "facts": [fact for fact in facts if fact[1]], "curves": curves}
    known["rates"] = embed(trial) if trial.is_file() else None
    return {"versions": {}, "best_epoch": None, "plan": []} | about | known


def list_misfits(table):
    """[(image, sentences)] of the images in a table of scores that do not fit what the model was trained on."""
    if "fit" not in table:
        return []
    rows = table.loc[table["fit"].notna(), ["image", "fit"]]
    return [
        (image, fit.removeprefix(f"{image}: ").split(f"; {image}: ")) for image, fit in rows.itertuples(index=False)
    ]


def warn(table, models, misfits, existing):
    """Sentences [(text, section that says more)] about images that do not fit, or that the model knows already, and
    about transforms that damaged the truth it learnt from.

    Args:
        table: of `tessera.report.report_tables.join_tables`.
        models: of `describe_model`.
        misfits: of `list_misfits`.
        existing: nothing was trained.
    """
    warnings = []
    if misfits:
        verb = "differs" if len(misfits) == 1 else "differ"
        warnings.append((f"{count(len(misfits), 'image')} {verb} from what the model was trained on.", "misfits"))
    damages = {text for model in models for text in (model.get("label_check") or {}).get("warnings", [])}
    warnings += [(f"{text}.", "training") for text in sorted(damages)]
    known = {image for model in models for images in (model.get("sources") or {}).values() for image in images}
    scored = set(table.loc[table["frames_scored"] > 0, "image"])
    if existing and known & scored:
        text = f"{count(len(known & scored), 'image')} with truth, by name, trained the model; their scores say little."
        warnings.append((text, "training"))
    return warnings


def _speed(found):
    """What `tessera.training.throughput.measure_throughput` found, in words."""
    if not found:
        return None
    verdict = "the input pipeline holds it up" if found["bound"] == "input" else "the input pipeline keeps up"
    step, pipeline = (f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}" for rate in (found["step"], found["pipeline"]))
    rates = f"{step} patches/s through the network, {pipeline} from the input pipeline alone"
    return f"{rates}; {verdict}"


def _shares(outputs, shares):
    return ", ".join(f"{name} {share:.1%}" for name, share in zip(outputs, shares, strict=False))
