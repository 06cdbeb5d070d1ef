"""One step of the workflow on one image, with a network that costs nothing, so that reading and writing remain."""

import time
from pathlib import Path

import numpy as np
from tasks import answer


class Bright:
    """A network for which bright pixels are cells."""

    device, precision = "cpu", "float32"

    def predict(self, tiles):
        cell = np.rint(255 * np.clip(tiles[..., 0], 0, 1)).astype(np.uint8)
        return np.stack([255 - cell, cell, np.zeros_like(cell)], axis=1)


Bright.settings = {
    "task": "instances", "classes": ["background", "cell"], "channels": ["0"],
    "outputs": ["background", "interior", "boundary"], "normalization": {"method": "percentile"},
}  # fmt: skip


def ingest(work, raw, **_):
    from ingest import ingest_image
    from tessera.settings.sections import IngestSettings

    row = {
        "image": "a",
        "files": [Path(raw)],
        "scene": "",
        "axes": None,
        "pixel_size_um": None,
        "frame_interval_s": None,
    }
    ingest_image(row, work / "image.ome.zarr", IngestSettings())


def predict(work, **_):
    from tessera.inference.ensemble import Ensemble
    from tessera.inference.predict_image import ImagePredictor, PredictionPlan
    from tessera.inference.tiling import TilePlan
    from tessera.settings.sections import PredictSettings

    settings = PredictSettings(seam_check_windows=0, rescale=False, object_diameter_px=None)
    plan = PredictionPlan(Ensemble([Bright()], batch_px=2**22), TilePlan(1024, 64), settings, "bench", {}, 2)
    ImagePredictor(work / "image.ome.zarr", "a", plan).write(work / "predictions.ome.zarr", work / "regions")


def segment(work, **_):
    from tessera.segmentation.segment_image import ImageSegmenter, SegmentationPlan
    from tessera.settings.sections import SegmentSettings

    plan = SegmentationPlan("instances", ["background", "cell"], SegmentSettings(min_area_px=50), 2)
    paths = work / "image.ome.zarr", work / "predictions.ome.zarr"
    ImageSegmenter(*paths, "a", plan).write(work / "labels.ome.zarr", work / "objects.parquet")


def import_masks(work, raw, masks, **_):
    from import_masks import import_mask
    from tessera.settings.sections import IngestTruthSettings

    row = {"image": "a", "files": [raw], "masks_files": [masks], "axes": None}
    import_mask(
        row, work / "image.ome.zarr", work / "masks.ome.zarr", work / "masks.parquet",
        class_="cell", settings=IngestTruthSettings(), region={},
    )  # fmt: skip


def track(work, **_):
    from tessera.settings.sections import TrackSettings
    from track import track_image

    paths = work / "masks.ome.zarr", work / "image.ome.zarr", work / "tracks"
    track_image(*paths, name="a", frames=None, settings=TrackSettings())


def read(work, **_):
    """Read a window of up to 512² in every frame, or 100 of them in one plane."""
    from tessera.io.ome_zarr_store import open_array

    array = open_array(work / "image.ome.zarr")
    began = time.perf_counter(), time.process_time()
    starts = (
        np.random.default_rng(0).integers(0, np.maximum(1, np.array(array.shape[-2:]) - 512), (100, 2)) // 512 * 512
    )
    places = [(t, 0, 0) for t in range(array.shape[0])] if array.shape[0] > 1 else [(0, *start) for start in starts]
    for t, y, x in places:
        array[t, 0, 0, y : y + 512, x : x + 512]
    return {"ms": 1000 * (time.process_time() - began[1]) / len(places)}


def edit(work, **_):
    """Change one pixel of the image."""
    import zarr

    from tessera.io.ome_zarr_store import finish_image, open_array, read_metadata

    metadata = read_metadata(work / "image.ome.zarr")
    array = zarr.open_array(work / "image.ome.zarr" / "0", mode="r+")
    array[0, 0, 0, 40, 40] ^= 1
    levels = sum(path.is_dir() for path in (work / "image.ome.zarr").iterdir())
    finish_image(
        work / "image.ome.zarr", name="a", levels=levels, channels=metadata.channels,
        contrast_limits=metadata.contrast_limits,
    )  # fmt: skip
    open_array(work / "image.ome.zarr")


def run(step, work, raw, masks):
    began = time.perf_counter()
    cpu = time.process_time()
    found = globals()[step](Path(work), raw=raw, masks=masks) or {}
    return found | {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    answer(run)
