"""Predictions: one image through a network, region by region, into a store."""

import json
import threading
import time
from functools import partial

import dask
import numpy as np

from tessera.data.channels import match_channels
from tessera.data.domain_shift import find_domain_shift
from tessera.data.normalization import choose_intensity_ranges
from tessera.data.rescaling import choose_scale
from tessera.inference.diameter_estimation import estimate_diameter
from tessera.inference.empty_regions import EmptyRegionFilter
from tessera.inference.region_cache import RegionCache
from tessera.inference.seam_windows import choose_seam_windows, seam_window_shape, write_seam_windows
from tessera.inference.tile_predictor import TilePredictor
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_image, open_array, read_metadata
from tessera.io.pyramid import iterate_shards
from tessera.io.region_of_interest import check_roi, clip_to_roi, select_frames

IN_FLIGHT = 3  # groups of regions at once: one is read, one is in the network, one is written
WAVE = 1024  # groups that dask plans at once
SEAM_WINDOW_PX = 512
SEAM_HALO_PX = 256  # what a seam is judged by must itself be right up to its border
SECONDS_BETWEEN_REPORTS = 10


def predict_image(
    source, path, ensemble, *, name, about, provenance, ledger, core_px, halo_px, workers,
    rescale, object_diameter_px, empty_contrast_threshold, seam_check_windows, roi=None, frames=None,
):  # fmt: skip
    """Write the probabilities of the image store `source` to a new store at `path`, in regions of one shard each.

    Args:
        ensemble: of `tessera.inference.ensemble`.
        name: of the image.
        about: what to keep in the store of how they were made.
        provenance: text that stands for the models and the code.
        ledger: folder where finished regions are kept.
        core_px, halo_px: see `tessera.inference.tiling.cut`.
        workers: threads of this job.
        roi: (y0, y1, x0, x1) to look at, or None.
        frames: see `tessera.io.region_of_interest.select_frames`.
        rescale, object_diameter_px: see `tessera.data.rescaling.choose_scale`; "auto" is found by `tessera.inference.diameter_estimation.estimate_diameter`.
        empty_contrast_threshold: contrast, see `tessera.inference.empty_regions.EmptyRegionFilter`.
        seam_check_windows: how many windows are predicted once more without a seam, see `tessera.inference.seam_windows`.

    Raises:
        InputError: the image does not fit the model, or the table the image.
    """
    pixels, metadata = open_array(source), read_metadata(source)
    order = match_channels(name, metadata.channels, ensemble.settings["channels"])
    windows = choose_intensity_ranges(metadata.contrast_limits, order, ensemble.settings)
    check_roi(name, roi, pixels.shape[-2:])
    scaling = {"rescale": rescale, "object_diameter_px": None if object_diameter_px == "auto" else object_diameter_px}
    scale = choose_scale(name, metadata.pixel_size_um, ensemble.settings, **scaling)
    if object_diameter_px == "auto" and rescale:
        seen = {"order": order, "ranges": windows, "roi": roi, "frames": frames}
        scaling["object_diameter_px"] = estimate_diameter(source, ensemble, scale=scale, **seen)
        scale = choose_scale(name, metadata.pixel_size_um, ensemble.settings, **scaling)
        if found := scaling["object_diameter_px"]:
            print(f"{name}: objects look {found:.3g} px wide, so it is magnified {scale:.3g} times", flush=True)
    misfits = find_domain_shift(source, ensemble.settings, **scaling, roi=roi, frames=frames)
    print("".join(f"{sentence}\n" for sentence in misfits), end="", flush=True)
    frames = select_frames(name, frames, pixels.shape[0])
    outputs = ensemble.settings["outputs"]
    shape = (pixels.shape[0], len(outputs), *pixels.shape[2:])
    made = create_store(path, shape, np.uint8, **chunk_layout(pixels))
    tiling = {"scale": scale, "core_px": core_px, "halo_px": halo_px}
    predictor = TilePredictor(pixels, ensemble, order=order, windows=windows, **tiling)
    regions, skipped = _list_regions(
        made, frames, roi, EmptyRegionFilter(source, windows, order, empty_contrast_threshold)
    )
    kept = RegionCache(ledger, made, json.dumps([provenance, windows, order, outputs, tiling]))
    progress = Progress(name, predictor, regions)
    write = partial(_write, predictor, made, kept, progress)
    groups = _group(regions, predictor)
    for first in range(0, len(groups), WAVE):
        wave = [dask.delayed(write, pure=False)(group) for group in groups[first : first + WAVE]]
        dask.compute(*wave, scheduler="threads", num_workers=max(1, min(workers or IN_FLIGHT, IN_FLIGHT)))
    kept.prune()
    _predict_seams(path, made, predictor, seam_check_windows, frames, roi)
    described = about | scaling | {"scale": scale, "core_px": predictor.core_px}
    described |= {"overlap_cost": progress.cost, "regions_skipped": skipped}
    sizes = {
        "pixel_size_um": metadata.pixel_size_um,
        "frame_interval_s": metadata.frame_interval_s,
        "contrast_limits": [(0, 255)] * len(outputs),
    }
    finish_image(path, name=name, channels=outputs, levels=1, extra={"prediction": described}, **sizes)
    progress.finish(skipped)


class Progress:
    """Says now and then how many of an image's tiles are done, how fast, and how long the rest takes.

    Attributes:
        cost: pixels that the network sees per pixel that it answers.
    """

    def __init__(self, name, predictor, regions):
        counted = [predictor.count(part) for *_, part in regions]
        self._name, self._tiles = name, sum(tiles for tiles, _, _ in counted)
        self.cost = sum(seen for _, seen, _ in counted) / max(1, sum(kept for _, _, kept in counted))
        self._done = self._restored = self._pixels = 0
        self._started = self._reported = time.monotonic()
        self._turn = threading.Lock()

    def add(self, tiles):
        """Count `tiles` (of `tessera.inference.tiling`) as done."""
        with self._turn:
            self._done += len(tiles)
            self._pixels += sum(tile.shape[0] * tile.shape[1] for tile in tiles)
            now = time.monotonic()
            if now - self._reported >= SECONDS_BETWEEN_REPORTS:
                self._reported = now
                left = (now - self._started) * (self._tiles - self._restored - self._done) / self._done
                done = f"{self._done + self._restored}/{self._tiles} tiles"
                print(f"{self._name}: {done}, {self._rate()}, {left:.0f} s left", flush=True)

    def restore(self, tiles):
        """Count `tiles` as done before."""
        with self._turn:
            self._restored += len(tiles)

    def finish(self, skipped):
        """Say what was done in all; `skipped` regions were not looked at."""
        parts = [f"{self._done} tiles, {self._rate()}", f"overlap costs {self.cost:.2f} times the pixels"]
        parts += [f"{self._restored} tiles were done before"] if self._restored else []
        parts += [f"{skipped} regions were not looked at"] if skipped else []
        print(f"{self._name}: {'; '.join(parts)}", flush=True)

    def _rate(self):
        return f"{self._pixels / max(time.monotonic() - self._started, 1e-9) / 1e6:.2f} Mpx/s"


def _list_regions(made, frames, roi, is_empty):
    """Regions of one shard of each output, as [(t, z, region, part to look at), ...]; the others are made background.

    Returns:
        The list, and how many others there are.
    """
    regions, skipped, frames = [], 0, set(frames)
    for t, c, z, *region in iterate_shards(made):
        if c.start == 0:
            part = clip_to_roi(roi, tuple(region)) if t.start in frames else None
            if part is None or is_empty(t.start, z.start, *part):
                made[t, 0, z, *region] = 255
                skipped += 1
            else:
                regions.append((t.start, z.start, tuple(region), part))
    return regions, skipped


def _group(regions, predictor):
    """`regions` in lists of as many as the network is given at once."""
    groups, pixels = [], 0
    for part in regions:
        _, seen, _ = predictor.count(part[-1])
        if not groups or pixels + seen > predictor.batch_px:
            groups.append([])
            pixels = 0
        groups[-1].append(part)
        pixels += seen
    return groups


def _write(predictor, made, kept, progress, group):
    """Answer and write the regions of a group, but those that were kept."""
    waiting, core_px = [], predictor.core_px
    for t, z, region, part in group:
        tiles = predictor.split(part, core_px)
        raws = [predictor.read(t, z, tile) for tile in tiles]
        place = (slice(t, t + 1), slice(0, made.shape[1]), slice(z, z + 1), *region)
        key = kept.key(raws, f"{region} {part}")
        if kept.get(key, place):
            progress.restore(tiles)
        else:
            waiting.append((place, key, tiles, raws))
    pairs = [pair for *_, tiles, raws in waiting for pair in zip(tiles, raws, strict=True)]
    try:
        answers = iter(predictor.predict_tiles(pairs))
    except MemoryError as error:
        predictor.shrink(error, core_px)
        return _write(predictor, made, kept, progress, group)
    for place, key, tiles, _ in waiting:
        region = place[-2:]
        block = np.zeros((made.shape[1], *(span.stop - span.start for span in region)), np.uint8)
        block[0] = 255
        for tile in tiles:
            _put(block, region, tile.core, next(answers))
        made[place] = block[None, :, None]
        kept.put(key, place)
        progress.add(tiles)
    return None


def _put(block, region, core, answer):
    rows, columns = (
        slice(part.start - span.start, part.stop - span.start) for part, span in zip(core, region, strict=True)
    )
    block[:, rows, columns] = answer


def _predict_seams(path, made, predictor, count, frames, roi):
    """Predict windows on seams once more, each as one tile centred on it, and keep them in the store."""
    rows, columns = predictor.find_seams(made.shards[-2:], roi)
    origins = choose_seam_windows(made, rows, columns, count=count, side_px=SEAM_WINDOW_PX, frames=frames, roi=roi)
    height, width = seam_window_shape(predictor.plane, SEAM_WINDOW_PX, roi)
    answers = []
    for t, z, y, x in origins:
        region = slice(y, y + height), slice(x, x + width)
        (tile,) = predictor.split(region, core_px=2**31, halo_px=SEAM_HALO_PX)
        try:
            answers += predictor.predict_tiles([(tile, predictor.read(t, z, tile))])
        except MemoryError as error:  # a window is one tile, and may be larger than those of the image
            print(f"Memory does not suffice for a window on a seam ({error}); seams are not audited", flush=True)
            return
    write_seam_windows(path, origins, answers)
