"""The jobs that the small projects run after a change, {rule: number of jobs}.

A new rule that reads labels is added to `measuring` alone.
"""


def measuring(batches: int) -> dict[str, int]:
    """The jobs after the labels of some batches have changed, in the order of `tessera.planning.steps.STEPS`."""
    return {"track": batches, "evaluate": batches, "report": 1}


def segmenting(batches: int) -> dict[str, int]:
    """The jobs after the settings of `segment`, or its inputs for some batches, have changed."""
    return {"segment": batches} | measuring(batches)


def predicting(batches: int) -> dict[str, int]:
    """The jobs after the images of some batches, or the model, have changed."""
    return {"predict": batches} | segmenting(batches)


def importing(batches: int) -> dict[str, int]:
    """The jobs after the given masks of some batches have changed."""
    return {"import_masks": batches} | measuring(batches)


# After changed settings of the rules that measure.
TRACKING = {"track": 2, "evaluate": 2, "report": 1}
EVALUATING = {"evaluate": 2, "report": 1}

# The projects `finished` and `made` have two batches and one model. `swept` has one batch and four models.
SELECTING = {"select_model": 1, "explain": 1}
LEARNING = {"augment": 1, "train": 1} | SELECTING
APPLYING = SELECTING | predicting(2)
TRAINING = LEARNING | predicting(2)
EVERYTHING = {"ingest": 2, "ingest_truth": 2, "split": 1} | TRAINING
SWEEPING = SELECTING | predicting(1)

# A change of a setting of each section, and its jobs in the project `finished`: (section, setting, value, jobs).
CHANGED_SETTINGS = [
    ("ingest", "chunk_px", 256, EVERYTHING),
    ("ingest", "on_bad_image", "skip", {}),
    ("ingest_truth", "disconnected_labels", "split", {"ingest_truth": 2} | TRAINING),
    ("ingest_truth", "ignore_label", 65535, {"ingest_truth": 2} | TRAINING),
    ("split", "leakage_similarity", 0.7, {"split": 1, "report": 1}),
    ("augment", "seed", 1, TRAINING),
    ("train", "epochs", 3, {"train": 1} | APPLYING),
    ("select_model", "metric", "val_iou", APPLYING),
    ("explain", "n_examples", 1, {"explain": 1, "report": 1}),
    ("predict", "halo_px", 0, predicting(2)),
    ("segment", "min_area_px", 8, segmenting(2)),
    ("track", "max_gap_frames", 1, TRACKING),
    ("evaluate", "iou_thresholds", [0.5, 0.75], EVALUATING),
    ("report", "title", "Another", {"report": 1}),
]


def in_words(jobs: dict[str, int], batch: str = "") -> str:
    """The jobs as the reasons for reruns list them.

    Args:
        jobs: {rule: number of jobs}.
        batch: the name of the batch if there is one job for it.
    """
    many = {rule: f"{rule} ({count} batches)" for rule, count in jobs.items() if count > 1}
    one = {rule: rule if rule == "report" else f"{rule} {batch}" for rule in jobs}
    return ", ".join((one | many).values())
