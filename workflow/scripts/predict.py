"""Apply the selected networks to the images of a batch.

Reads `results/images/{batch}`, `results/selected.json`, the folders of the models that it names, and the models that
`select_model` converted. Writes `results/predictions/{batch}/{image}.ome.zarr`: uint8 probabilities (t, c, z, y, x),
255 = 1, c = the network's outputs; regions that are not predicted are background. Finished regions are kept in
`results/predictions/.{batch}.regions`, so that a job that was stopped, or that runs again, predicts only what is new.
"""

from pathlib import Path
from typing import Any

from tessera.common.batch_outputs import find_stores, make_stores
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.inference.common_diameters import read_common_diameters
from tessera.inference.predict_image import ImagePredictor
from tessera.inference.prediction_plan import Models, PredictionPlan, plan_prediction
from tessera.inference.region_cache import remove_orphans
from tessera.inference.shared_calls import UpcomingImages
from tessera.settings.sections import PredictSettings


def predict(
    images: StrPath,
    provenance: dict[str, str],
    output: StrPath,
    plan: PredictionPlan,
    *,
    regions: dict[str, dict[str, Any]] | None = None,
    diameters: StrPath | None = None,
    skip_bad_images: bool = False,
) -> None:
    """Write the probabilities of a batch of images to the folder `output`.

    Args:
        images: folder of the batch of images.
        provenance: {image: provenance hash of its probabilities}.
        output: folder of the batch of probabilities.
        plan: how the images are predicted.
        regions: {image: {"roi": (y0, y1, x0, x1) or None, "frames": text or None}}.
        diameters: the file of rule `estimate_scale`; None: each image is estimated alone.
        skip_bad_images: skip images that do not fit the model, instead of failing.

    Raises:
        InputError: images do not fit the model, all in one message.
    """
    stores = find_stores([images], provenance)
    caches = Path(output).with_name(f".{Path(output).name}.regions")
    common = read_common_diameters(diameters) if diameters else {}

    def open_image(image: str) -> ImagePredictor:
        region = (regions or {}).get(image, {})
        return ImagePredictor(stores[image], image, plan, region.get("roi"), region.get("frames"), common.get(image))

    upcoming = UpcomingImages(open_image, plan.ensemble, alone={image for image in stores if (caches / image).exists()})

    def make(image: str, path: Path) -> None:
        upcoming.take(image).write(path, caches / image)

    make_stores(
        {image: provenance[image] for image in stores}, make,
        output=output, skip_bad_images=skip_bad_images, announce=upcoming.announce,
    )  # fmt: skip
    remove_orphans(caches, stores)


if __name__ == "__main__":
    with running(snakemake):
        predict(
            images=snakemake.input.images,
            provenance=snakemake.params.provenance,
            output=snakemake.output.predictions,
            plan=plan_prediction(
                Models(snakemake.input.selected, snakemake.input.converted, snakemake.input.models),
                PredictSettings.model_validate(snakemake.config["predict"] | snakemake.params.settings),
                code=snakemake.params.code,
                workers=snakemake.threads,
                memory_mb=snakemake.resources.mem_mb,
            ),
            regions=snakemake.params.regions,
            diameters=snakemake.input.scales or None,
            skip_bad_images=snakemake.config["ingest"]["on_bad_image"] == "skip",
        )
