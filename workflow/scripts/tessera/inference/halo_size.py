"""Halos: how far around a pixel a network has to see, found from the network itself."""

import numpy as np

from tessera.common.constants import DIVISOR
from tessera.common.even_sampling import evenly_spaced_indices

CANDIDATES = (32, 64, 96, 128, 160, 192)
LARGEST_DIFFERENCE = 0.002
LARGEST_DISAGREEMENT = 0.0001
UNMEASURED = 128
_PATCHES = 4
_LARGEST_PATCH_PX = 256
_MARGIN_PX = 256  # around a patch in what passes for the whole; more than any of CANDIDATES


def measure_halo(predict, images):
    """The smallest halo with which a tile answers as if it had no edge.

    Each patch is mirrored on by _MARGIN_PX; tiles whose core begins at the patch are cut out of that with more and more
    halo, and what the network answers in the first DIVISOR pixels of the core, which are the nearest to
    the tile's edge, is compared with its answer to the whole.

    Args:
        predict: of an engine of `tessera.inference.backends`.
        images: (n, y, x, c), normalized.

    Returns:
        (halo in pixels, a multiple of DIVISOR; [{"halo_px", "mean_difference", "disagreement"}, ...] as measured).
    """
    side = min(*images.shape[1:3], _LARGEST_PATCH_PX) // DIVISOR * DIVISOR
    chosen = evenly_spaced_indices(len(images), _PATCHES) if side else []
    wholes = [_mirrored(images[number, :side, :side]) for number in chosen]
    answers = [predict(whole[None])[0, :, _MARGIN_PX:, _MARGIN_PX:].copy() for whole in wholes]
    measured = []
    for halo in CANDIDATES if wholes else ():
        start = _MARGIN_PX - halo
        pairs = [
            (_first(answer), _first(predict(np.ascontiguousarray(whole[None, start:, start:]))[0, :, halo:, halo:]))
            for whole, answer in zip(wholes, answers, strict=True)
        ]
        whole, tile = (np.stack(part).astype(np.int16) for part in zip(*pairs, strict=True))
        measured.append(
            {
                "halo_px": halo,
                "mean_difference": float(np.abs(whole - tile).mean() / 255),
                "disagreement": float((whole.argmax(1) != tile.argmax(1)).mean()),
            }
        )
        if (
            measured[-1]["mean_difference"] <= LARGEST_DIFFERENCE
            and measured[-1]["disagreement"] <= LARGEST_DISAGREEMENT
        ):
            return halo, measured
    return (measured[-1]["halo_px"] if measured else UNMEASURED), measured


def _mirrored(patch):
    """`patch` (y, x, c) amid its mirror images, _MARGIN_PX more on each side."""
    return np.pad(patch, ((_MARGIN_PX, _MARGIN_PX), (_MARGIN_PX, _MARGIN_PX), (0, 0)), mode="symmetric")


def _first(answer):
    """The pixels of an answer (outputs, y, x) in its first DIVISOR rows and columns, (outputs, pixels)."""
    rows, columns = answer[:, :DIVISOR], answer[:, DIVISOR:, :DIVISOR]
    return np.concatenate([rows.reshape(len(answer), -1), columns.reshape(len(answer), -1)], axis=1)
