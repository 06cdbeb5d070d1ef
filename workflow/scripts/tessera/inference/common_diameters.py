"""Object diameters of images that belong together, estimated once for all of them.

Images belong together if they are in the same group of the table and have the same channels, planes, type and pixel
size. A few of them are sampled, in an order that depends only on their names. So the work is bounded, and a further
image of a large set changes nothing, unless it comes first in that order.

The file of rule `estimate_scale` holds {"sets": [{"images", "sampled", "diameter_px", "other_px"}]}.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tessera.common.atomic_write import write_json
from tessera.common.errors import InputError
from tessera.common.types import Roi, StrPath
from tessera.data.image_sample import sample_images
from tessera.inference.diameter_estimation import DiameterEstimate, SampledImage, estimate_diameter
from tessera.inference.ensemble import Ensemble
from tessera.inference.network_view import view_image
from tessera.io.ome_zarr_store import open_array, read_metadata
from tessera.settings.sections import PredictSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupedImage:
    """An image that may belong to others.

    Attributes:
        name: of the image.
        path: its store.
        group: its group in the table.
        roi: (y0, y1, x0, x1), the region of interest; None: the whole image.
        frames: see `tessera.io.region_of_interest.select_frames`.
    """

    name: str
    path: Path
    group: str
    roi: Roi | None = None
    frames: str | None = None


@dataclass(frozen=True)
class ImageSet:
    """Images that belong together, and their diameter.

    Attributes:
        images: their names, sorted.
        sampled: names of those that the estimate is made from.
        diameter_px, other_px: see `tessera.inference.diameter_estimation.DiameterEstimate`.
    """

    images: list[str]
    sampled: list[str]
    diameter_px: float | None
    other_px: float | None


def find_sets(images: Sequence[GroupedImage]) -> list[list[GroupedImage]]:
    """Put images that belong together into sets of two or more, whatever the order of `images`.

    Raises:
        InputError: a store is damaged.
    """
    sets: dict[str, list[GroupedImage]] = {}
    for image in sorted(images, key=lambda image: image.name):
        pixels, metadata = open_array(image.path), read_metadata(image.path)
        alike = [image.group, pixels.shape[1:], str(pixels.dtype), metadata.pixel_size_um, metadata.channels]
        sets.setdefault(json.dumps(alike), []).append(image)
    return [members for members in sets.values() if len(members) > 1]


def estimate_sets(
    images: Sequence[GroupedImage], load: Callable[[], Ensemble], settings: PredictSettings, memory: "EstimateMemory"
) -> list[ImageSet]:
    """Estimate the diameters of all sets of images that belong together.

    Args:
        images: the images.
        load: returns the networks. It is only called if there is something new to estimate.
        settings: section `predict`.
        memory: estimates of earlier runs.

    Raises:
        InputError: a store or the model is damaged.
    """
    sets = []
    for members in find_sets(images):
        by_name = {image.name: image for image in members}
        sampled = [by_name[name] for name in sample_images(by_name)]
        estimate = memory.get(sampled)
        if estimate is None:
            estimate = estimate_images(sampled, load(), settings)
            memory.put(sampled, estimate)
        logger.info("%s", _describe(list(by_name), estimate))
        sets.append(ImageSet(list(by_name), [image.name for image in sampled], estimate.diameter_px, estimate.other_px))
    return sets


def estimate_images(images: Sequence[GroupedImage], ensemble: Ensemble, settings: PredictSettings) -> DiameterEstimate:
    """Estimate the diameter of the objects in images that belong together, from all of these images."""
    sampled = []
    for image in images:
        try:
            view = view_image(image.path, image.name, ensemble.settings, rescale=settings.rescale)
        except InputError as error:  # rule `predict` reports it
            logger.info("%s", error)
        else:
            sampled.append(SampledImage(image.path, view, image.roi, image.frames))
    return estimate_diameter(sampled, ensemble) if sampled else DiameterEstimate()


class EstimateMemory:
    """Estimates of earlier runs, in a file that this object renews.

    Args:
        path: the file.
        made_from: text that identifies the models, the settings and the code.
        provenance: {image: provenance hash of its pixels}.
    """

    def __init__(self, path: StrPath, made_from: str, provenance: Mapping[str, str]) -> None:
        self._path, self._made_from, self._provenance = Path(path), made_from, provenance
        self._used: dict[str, list[float | None]] = {}
        try:
            self._stored = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._stored = {}

    def get(self, images: Sequence[GroupedImage]) -> DiameterEstimate | None:
        """Return the estimate that an earlier run made from these images, or None."""
        key = self._key(images)
        if key not in self._stored:
            return None
        self._used[key] = self._stored[key]
        return DiameterEstimate(*self._stored[key])

    def put(self, images: Sequence[GroupedImage], estimate: DiameterEstimate) -> None:
        """Keep the estimate that was made from these images."""
        self._used[self._key(images)] = [estimate.diameter_px, estimate.other_px]

    def save(self) -> None:
        """Write the file, without the estimates that were not requested."""
        write_json(self._path, self._used)

    def _key(self, images: Sequence[GroupedImage]) -> str:
        parts = [[image.name, self._provenance[image.name], image.roi, image.frames] for image in images]
        return hashlib.blake2b(json.dumps([self._made_from, parts]).encode(), digest_size=16).hexdigest()


def read_common_diameters(path: StrPath) -> dict[str, DiameterEstimate]:
    """Return {image: the estimate of the images that belong to it} from the file of rule `estimate_scale`."""
    content = json.loads(Path(path).read_text())
    return {
        image: DiameterEstimate(found["diameter_px"], found["other_px"])
        for found in content["sets"]
        for image in found["images"]
    }


def write_common_diameters(path: StrPath, sets: Sequence[ImageSet]) -> None:
    """Write the file of rule `estimate_scale`."""
    write_json(path, {"sets": [asdict(each) for each in sets]})


def _describe(names: Sequence[str], estimate: DiameterEstimate) -> str:
    listed = f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    if estimate.diameter_px is None:
        return f"{listed}: left at the scale of their pixel size"
    other = f"; {estimate.other_px:.3g} px is almost equally likely" if estimate.other_px else ""
    return f"{listed}: objects are about {estimate.diameter_px:.3g} px wide{other}"
