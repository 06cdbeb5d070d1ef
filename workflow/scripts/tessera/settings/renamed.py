"""Old names of settings, values and columns. They are refused with the new name."""

SECTIONS = {"annotate": "ingest_truth"}

SETTINGS = {
    "simulate.smaller_share": "simulate.smaller_daughter_fraction",
    "simulate.pixel_um": "simulate.pixel_size_um",
    "simulate.frame_s": "simulate.frame_interval_s",
    "ingest.bad_images": "ingest.on_bad_image",
    "ingest_truth.pieces": "ingest_truth.disconnected_labels",
    "ingest_truth.ignore": "ingest_truth.ignore_label",
    "augment.balance": "augment.class_balanced_fraction",
    "augment.patches": "augment.n_patches",
    "augment.patch_px": "augment.patch_size_px",
    "augment.normalisation": "augment.normalization",
    "augment.scale": "augment.rescale_by",
    "augment.pixel_um": "augment.target_pixel_size_um",
    "augment.diameter_px": "augment.target_diameter_px",
    "train.unfrozen_rate": "train.finetune_lr_factor",
    "train.minutes": "train.max_minutes",
    "train.pictures_every": "train.log_images_every",
    "train.wandb": "train.wandb_mode",
    "explain.images": "explain.n_examples",
    "predict.tolerance": "predict.max_precision_iou_change",
    "predict.diameter_px": "predict.object_diameter_px",
    "predict.skip_empty": "predict.empty_contrast_threshold",
    "predict.seam_windows": "predict.seam_check_windows",
    "segment.foreground": "segment.foreground_threshold",
    "segment.seed_interior": "segment.seed_threshold",
    "segment.join_z": "segment.stitch_threshold",
    "track.fill_gaps": "track.interpolate_gaps",
    "track.divisions": "track.allow_divisions",
    "track.repair": "track.correct_merges_and_splits",
    "evaluate.ious": "evaluate.iou_thresholds",
    "report.pictures": "report.max_images",
}

VALUES = {
    "ingest.on_bad_image": {"refuse": "fail", "set_aside": "skip"},
    "ingest_truth.disconnected_labels": {"separate": "split"},
    "augment.rescale_by": {"pixel": "pixel_size", "object": "object_diameter"},
    "select_model.ensemble": {"true": "all", "false": "best"},
}

COLUMNS = {"pixel_um": "pixel_size_um", "frame_s": "frame_interval_s"}
