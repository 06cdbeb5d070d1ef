"""Connected components of each class of a plane (`task: semantic`), block by block."""

import numpy as np
from numpy.typing import NDArray

from tessera.segmentation.blocks import BlockInPlane
from tessera.segmentation.connected_components import (
    BlockComponents,
    Components,
    describe_components,
    label_mask,
)
from tessera.segmentation.fragment_merging import ObjectMap, relabel_components

HALO_PX = 1


def argmax_classes(probabilities: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the most probable class of each pixel, the first one of equally probable classes.

    Args:
        probabilities: (classes, y, x), 255 = 1.

    Returns:
        (y, x).
    """
    classes, highest = np.zeros(probabilities.shape[1:], np.uint8), probabilities[0].copy()
    for class_, probability in enumerate(probabilities[1:], start=1):
        classes[probability > highest] = class_
        np.maximum(highest, probability, out=highest)
    return classes


def find_class_components(
    probabilities: NDArray[np.uint8], place: BlockInPlane
) -> tuple[NDArray[np.int32], BlockComponents]:
    """Find the connected components of each class in one block.

    Args:
        probabilities: (classes, y, x) of the block and a margin of HALO_PX inside the plane, 255 = 1.
        place: the block.

    Returns:
        Ids (y, x) of the components, 0 for the first class, the background; the components, whose kinds are classes.
    """
    _, inner = place.with_margin(HALO_PX)
    window = argmax_classes(probabilities)
    classes = window[inner]
    ids, kinds = np.zeros(classes.shape, np.int32), [np.zeros(0, np.uint8)]
    for class_ in range(1, len(probabilities)):
        mask = classes == class_
        of_class, count = label_mask(mask)
        np.add(of_class, sum(map(len, kinds)), out=ids, where=mask)
        kinds.append(np.full(count, class_, np.uint8))
    return ids, describe_components(ids, np.concatenate(kinds), window, inner, place)


def relabel_classes(components: Components, min_area_px: int) -> ObjectMap:
    """Make an object of each component of at least `min_area_px` pixels."""
    numbers = np.arange(len(components.areas))
    return relabel_components(components, np.where(components.areas >= max(min_area_px, 1), numbers, 0))
