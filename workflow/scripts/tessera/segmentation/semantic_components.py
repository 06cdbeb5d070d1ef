"""Classes: the connected pieces of each class of a plane, block by block."""

import numpy as np

from tessera.segmentation.blocks import widen
from tessera.segmentation.connected_components import describe, label_pieces
from tessera.segmentation.relabeling import name_pieces

HALO_PX = 1


def likeliest(probabilities):
    """The class of each pixel, the first of the likeliest: uint8 (y, x) from probabilities uint8 (classes, y, x)."""
    classes, most = np.zeros(probabilities.shape[1:], np.uint8), probabilities[0].copy()
    for class_, probability in enumerate(probabilities[1:], start=1):
        classes[probability > most] = class_
        np.maximum(most, probability, out=most)
    return classes


def find_classes(probabilities, block, plane, number):
    """The pieces of each class in one block.

    Args:
        probabilities: uint8 (classes, y, x) of the block and HALO_PX around it, as far as the plane goes.
        block, plane, number: as of `tessera.segmentation.seeded_growth.find_cells`.

    Returns:
        int32 (y, x), the number in the block of each pixel's piece, 0 for those of the first class, the background;
        its `tessera.segmentation.connected_components.Part`, with the classes as kinds.
    """
    _, inner = widen(block, HALO_PX, plane)
    window = likeliest(probabilities)
    classes = window[inner]
    ids, kinds = np.zeros(classes.shape, np.int32), [np.zeros(0, np.uint8)]
    for class_ in range(1, len(probabilities)):
        mask = classes == class_
        pieces, more = label_pieces(mask)
        np.add(pieces, sum(map(len, kinds)), out=ids, where=mask)
        kinds.append(np.full(more, class_, np.uint8))
    return ids, describe(ids, np.concatenate(kinds), window, inner, block, plane, number)


def name_classes(pieces, min_area_px):
    """Each piece of `tessera.segmentation.connected_components.Pieces` that is not smaller is an object: tessera.segmentation.relabeling.Named."""
    return name_pieces(pieces, np.where(pieces.areas >= max(min_area_px, 1), np.arange(len(pieces.areas)), 0))
