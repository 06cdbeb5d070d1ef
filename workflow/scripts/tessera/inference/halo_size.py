"""Size of the halo: how far around a pixel a network has to see, measured on the network itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import SIZE_DIVISOR
from tessera.common.even_sampling import evenly_spaced_indices

CANDIDATES = (32, 64, 96, 128, 160, 192)
MAX_MEAN_DIFFERENCE = 0.002
MAX_DISAGREEMENT = 0.0001
UNMEASURED = 128  # halo of a model without validation patches
_N_PATCHES = 4
_MAX_PATCH_PX = 256
_MARGIN_PX = 256  # mirrored margin of the reference; larger than all CANDIDATES


def measure_halo(
    predict: Callable[[NDArray[np.float32]], NDArray[np.uint8]], images: NDArray[np.float32]
) -> tuple[int, list[dict[str, Any]]]:
    """Find the smallest halo with which a tile gives the same output as if it had no edge.

    Each patch is extended by a mirrored margin of _MARGIN_PX; the output of this large patch is the reference. Tiles
    whose core starts at the patch are cut out of it with larger and larger halos. The output in the first SIZE_DIVISOR
    pixels of the core, the nearest ones to the edge of the tile, is compared with the reference.

    Args:
        predict: of an engine of `tessera.inference.backends`. Its result is valid until the next call.
        images: patches (n, y, x, c), normalized.

    Returns:
        The halo in pixels, a multiple of SIZE_DIVISOR; the measurements
        [{"halo_px", "mean_difference", "disagreement"}].
    """
    side = min(*images.shape[1:3], _MAX_PATCH_PX) // SIZE_DIVISOR * SIZE_DIVISOR
    chosen = evenly_spaced_indices(len(images), _N_PATCHES) if side else []
    extended = [_mirrored(images[number, :side, :side]) for number in chosen]
    references = [predict(image[None])[0, :, _MARGIN_PX:, _MARGIN_PX:].copy() for image in extended]
    measured: list[dict[str, Any]] = []
    for halo in CANDIDATES if extended else ():
        start = _MARGIN_PX - halo
        # `predict` may return the same buffer again, so the edge is copied before the next call.
        edges = [
            _edge_pixels(predict(np.ascontiguousarray(image[None, start:, start:]))[0, :, halo:, halo:])
            for image in extended
        ]
        whole = np.stack([_edge_pixels(reference) for reference in references]).astype(np.int16)
        tile = np.stack(edges).astype(np.int16)
        measured.append(
            {
                "halo_px": halo,
                "mean_difference": float(np.abs(whole - tile).mean() / 255),
                "disagreement": float((whole.argmax(1) != tile.argmax(1)).mean()),
            }
        )
        if measured[-1]["mean_difference"] <= MAX_MEAN_DIFFERENCE and measured[-1]["disagreement"] <= MAX_DISAGREEMENT:
            return halo, measured
    return (measured[-1]["halo_px"] if measured else UNMEASURED), measured


def _mirrored(patch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Extend a patch (y, x, c) by a mirrored margin of _MARGIN_PX on each side."""
    return np.pad(patch, ((_MARGIN_PX, _MARGIN_PX), (_MARGIN_PX, _MARGIN_PX), (0, 0)), mode="symmetric")


def _edge_pixels(output: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (outputs, pixels) of an output (outputs, y, x) in its first SIZE_DIVISOR rows and columns."""
    rows, columns = output[:, :SIZE_DIVISOR], output[:, SIZE_DIVISOR:, :SIZE_DIVISOR]
    return np.concatenate([rows.reshape(len(output), -1), columns.reshape(len(output), -1)], axis=1)
