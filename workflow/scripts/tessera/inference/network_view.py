"""How the network sees an image: its channels, its intensities and its scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.data.channels import match_channels
from tessera.data.normalization import IntensityRanges, choose_intensity_ranges
from tessera.data.rescaling import choose_scale
from tessera.io.ome_zarr_store import read_metadata


@dataclass(frozen=True)
class NetworkView:
    """How the network sees an image.

    Attributes:
        order: which channel of the image each channel of the network is.
        ranges: intensities of these channels that become 0 and 1.
        scale: pixels of the network per pixel of the image.
    """

    order: Sequence[int]
    ranges: IntensityRanges
    scale: float = 1.0


def view_image(
    path: Path,
    name: str,
    model: Mapping[str, Any],
    *,
    rescale: bool = True,
    object_diameter_px: float | None = None,
) -> NetworkView:
    """Return how the network sees an image.

    Args:
        path: store of the image.
        name: of the image, for messages.
        model: content of model.json.
        rescale: see `tessera.data.rescaling.choose_scale`.
        object_diameter_px: see `tessera.data.rescaling.choose_scale`.

    Raises:
        InputError: the image does not fit the model.
    """
    metadata = read_metadata(path)
    order = match_channels(name, metadata.channels, model["channels"])
    return NetworkView(
        order,
        choose_intensity_ranges(metadata, order, model),
        choose_scale(name, metadata.pixel_size_um, model, rescale=rescale, object_diameter_px=object_diameter_px),
    )
