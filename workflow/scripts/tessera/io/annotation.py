"""Annotations: the labels of an image, and their meaning."""

from collections.abc import Mapping
from dataclasses import dataclass

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.io.lazy_image import LazyImage

NOT_ANNOTATED = -(2**40)  # no file has this id: pixels that nobody annotated, or that the table does not select


@dataclass(frozen=True)
class LabelKind:
    """The meaning of labels: ids of instances, or semantic classes.

    Attributes:
        task: "instances" or "semantic".
        classes: names of the classes, background first.
        colors: {color such as "#ff0000": name of a class, or ignore} of images whose colors are classes; None: pixels
            are ids or numbers of classes.
        outlines: whether images show outlines of objects instead of ids.
    """

    task: str
    classes: tuple[str, ...]
    colors: Mapping[str, str] | None = None
    outlines: bool = False

    @property
    def semantic(self) -> bool:
        """Whether labels are classes."""
        return self.task == "semantic"

    @property
    def unknown(self) -> int:
        """Label of pixels that nobody annotated."""
        return IGNORE if self.semantic else UNKNOWN


@dataclass(frozen=True)
class Annotation:
    """An annotation opened for reading.

    Attributes:
        source: ids or classes (t, 1, z, y, x), of the shape of the image. NOT_ANNOTATED marks pixels that nobody
            annotated.
        one_object_per_mask: whether there was one file for each object, so that each id is certainly one object.
        drawn: whether the labels were made from outlines or named classes, so that each is certainly one object or an
            index of `classes`.
        annotated_t: annotated frames; None: all.
        lineage: [label, first frame, last frame, parent] of each track; None: unknown.
    """

    source: LazyImage
    one_object_per_mask: bool = False
    drawn: bool = False
    annotated_t: list[int] | None = None
    lineage: list[list[int]] | None = None
