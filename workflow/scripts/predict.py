"""Apply the selected network to the images of a batch.

Reads `results/images/{batch}`, `results/selected.json`, the folders of the models that it names, and what
`select_model` converted. Writes `results/predictions/{batch}/{image}.ome.zarr`: uint8 probabilities (t, c, z, y, x),
255 = 1, c = the network's outputs; background where nothing was looked at. Finished regions are kept in
`results/predictions/.{batch}.regions`, so that a job that was stopped, or that is asked again, does only what is new.
"""

import json
from pathlib import Path

from tessera.common.batch_outputs import find_stores, make_stores
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.common.memory_budget import largest_core_px, measure_bytes_per_px, memory_limit_mb, resident_mb
from tessera.inference.ensemble import load_ensemble
from tessera.inference.predict_image import predict_image
from tessera.inference.region_cache import remove_orphans
from tessera.networks.model_folder import digest_model

CORE_PX = 2048


def find_models(selected, models):
    """The folders among `models` of the models that the file `selected` names, and the content of that file.

    Raises:
        InputError: there is none of such a name.
    """
    content = json.loads(Path(selected).read_text())
    folders = {Path(folder).name: Path(folder) for folder in models}
    if missing := [name for name in content["members"] if name not in folders]:
        raise InputError(
            f"{selected}: names {', '.join(missing)}, not among {', '.join(map(str, models))}; remove the file"
        )
    return [folders[name] for name in content["members"]], content


def plan_tiles(ensemble, *, tile_px, halo_px, batch_tiles, memory_mb):
    """Sides of cores and halos, and how many tiles go at once, for the memory that there is.

    Returns:
        {"core_px", "halo_px"}; `ensemble.batch_px` is set.
    """
    core_px = CORE_PX
    if tile_px != "auto":
        if tile_px <= 2 * halo_px:
            raise InputError(f"predict.tile_px: {tile_px} leaves nothing within halos of {halo_px} px; enlarge it")
        core_px = tile_px - 2 * halo_px
    elif ensemble.engines[0].device == "cpu":
        channels = len(ensemble.engines[0].settings["channels"])
        need = sum(measure_bytes_per_px(engine.predict, channels) for engine in ensemble.engines)
        core_px = largest_core_px(CORE_PX, halo_px, need, memory_limit_mb(memory_mb))
        fewer = "" if core_px == CORE_PX else f", too many for tiles of {CORE_PX + 2 * halo_px} px"
        print(f"The network needs {need:.0f} bytes a pixel{fewer}", flush=True)
    if batch_tiles != "auto":
        ensemble.batch_px = batch_tiles * (core_px + 2 * halo_px) ** 2
    print(
        f"Tiles of {core_px + 2 * halo_px} px, of which {halo_px} on each side are halo; "
        f"{resident_mb():.0f} of {memory_limit_mb(memory_mb):.0f} MiB of memory are taken",
        flush=True,
    )
    return {"core_px": core_px, "halo_px": halo_px}


def predict(
    images, selected, converted, models, provenance, output, *, engine, precision, max_precision_iou_change, device,
    test_time_augmentation, tile_px, halo_px, batch_tiles, on_bad_image,
    code="", regions=None, workers=None, memory_mb=None, **settings,
):  # fmt: skip
    """Write the probabilities of a batch of images to the folder `output`.

    Args:
        images: folder of the batch of images.
        selected: file that names the models.
        converted: folder of models that were converted.
        models: folders of models.
        provenance: {image: digest of what its probabilities are made from}.
        output: folder of the batch of probabilities.
        code: digest of the code that is at work.
        regions: {image: {"roi": (y0, y1, x0, x1) or None, "frames": text or None}}.
        workers: threads of this job.
        memory_mb: what the job may use.
        engine, precision, max_precision_iou_change, device, test_time_augmentation, tile_px, halo_px, batch_tiles: of section predict.
        on_bad_image: "fail" or "skip" images that do not fit the model.
        settings: its others, see `tessera.inference.predict_image.predict_image`.

    Raises:
        InputError: settings, a model or images that do not fit, all images in one message.
    """
    stores = find_stores([images], provenance)
    folders, content = find_models(selected, models)
    ensemble, report = load_ensemble(
        folders, converted, engine=engine, precision=precision, max_precision_iou_change=max_precision_iou_change, device=device,
        augmentation=test_time_augmentation, workers=workers,
    )  # fmt: skip
    halo_px = content["halo_px"] if halo_px == "auto" else halo_px
    tiling = plan_tiles(ensemble, tile_px=tile_px, halo_px=halo_px, batch_tiles=batch_tiles, memory_mb=memory_mb)
    about = {"engines": report, "test_time_augmentation": test_time_augmentation, **tiling}
    kinds = [(digest_model(folders[place]), one["engine"], one["precision"]) for place, one in enumerate(report)]
    provenance = json.dumps([code, kinds, test_time_augmentation])
    ledgers = Path(output).with_name(f".{Path(output).name}.regions")

    def make(image, path):
        region = (regions or {}).get(image, {})
        predict_image(
            stores[image], path, ensemble, name=image, about=about, provenance=provenance, ledger=ledgers / image,
            workers=workers, **tiling, **region, **settings,
        )  # fmt: skip

    make_stores({image: provenance[image] for image in stores}, make, output=output, skipped=on_bad_image == "skip")
    remove_orphans(ledgers, stores)


if __name__ == "__main__":
    with running(snakemake):
        predict(
            **{name: snakemake.input[name] for name in ("images", "selected", "converted", "models")},
            provenance=snakemake.params.provenance,
            output=snakemake.output.predictions,
            code=snakemake.params.code,
            regions=snakemake.params.regions,
            workers=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
            **{key: snakemake.config["predict"][key] for key in ("device", "batch_tiles")},
            on_bad_image=snakemake.config["ingest"]["on_bad_image"],
            **snakemake.params.settings,
        )
