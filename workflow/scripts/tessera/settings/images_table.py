"""The columns of the images table.

`tessera.planning.image_table` reads the table and checks all rows at once, by the schema made from this class.
"""

from typing import Annotated, Literal

from pydantic import Field

from tessera.settings.sections import NAME_PATTERN, SECONDS, UM, Section

BATCH_PATTERN = NAME_PATTERN.replace("[A-Za-z0-9_]", "(?![Aa][Uu][Tt][Oo])[A-Za-z0-9_]", 1)
AXES_PATTERN = r"^(?=.*Y)(?=.*X)(?!.*(.).*\1)[TCZYXS]+$"
ROI_PATTERN = r"^\d{1,9}:\d{1,9},\d{1,9}:\d{1,9}$"
FRAMES_PATTERN = r"^((-?\d{1,9})?:(-?\d{1,9})?(:([1-9]\d{0,8})?)?|-?\d{1,9}(,-?\d{1,9})*)$"


class ImageRow(Section):
    """One row of the images table: tab-separated text in UTF-8 whose first line names the columns.

    An empty cell means that the value is not given. Empty lines and lines that begin with # are skipped.
    """

    image: Annotated[
        str,
        Field(
            pattern=NAME_PATTERN,
            description="Name of the image, unique regardless of case. All results are named after it. Use letters a "
            "to z, digits and `.` `_` `+` `-`, beginning with a letter, a digit or `_`, at most 100 characters, "
            "without two dots in a row.",
        ),
    ]
    path: Annotated[
        str,
        Field(
            min_length=1,
            description="File, folder of frames, glob such as `raw/p1_t*.tif`, or folder of an OME-Zarr image. "
            "TIFF, PNG, JPEG, JPEG 2000, OME-Zarr, CZI, ND2, LIF, HDF5 "
            "(`a.h5::/dataset`) and [other formats](formats.md).",
        ),
    ]
    truth: Annotated[
        str,
        Field(description="Annotation of the image (ground truth) in one of the forms below; empty if there is none."),
    ] = ""
    masks: Annotated[
        str,
        Field(
            description="Masks made by another program or by hand, in the forms of annotations, for all images or "
            "none. They replace the segmentation by a network."
        ),
    ] = ""
    group: Annotated[
        str,
        Field(
            pattern=NAME_PATTERN,
            description="What the image shares with others: a dish, a position, a patient, a day. A group is never "
            "in two sets of the split. Named like images.",
        ),
    ] = ""
    split: Annotated[
        Literal["train", "val", "test", "predict"] | None,
        Field(
            description="Set of the image: `train`, `val` (validation) or `test`; `predict` if its annotation is not "
            "to be used; empty to let Tessera choose."
        ),
    ] = None
    batch: Annotated[
        str,
        Field(
            pattern=BATCH_PATTERN,
            description="Images with the same batch are processed by one job; empty to let `batch_size` decide. "
            "Named like images, but not beginning with `auto`.",
        ),
    ] = ""
    scene: Annotated[
        str,
        Field(
            description="Scene (position, series) of a file with several: its name, or its number from 0. Empty if the "
            "file has one image; otherwise the message lists the scenes.",
        ),
    ] = ""
    axes: Annotated[
        str,
        Field(
            pattern=AXES_PATTERN,
            description="Axes of the file, slowest first, such as `TCYX`, if the file does not say them or is wrong: "
            "`T` time, `C` channel, `Z` depth, `Y`, `X`, and `S` for the colors of a pixel. Axes of size 1 may be "
            "left out. Files of `truth` and `masks` have the same axes, with or without `C`; if they are ambiguous, "
            "the sizes of the image decide.",
        ),
    ] = ""
    pixel_size_um: Annotated[
        Annotated[float, Field(gt=0, le=1000)] | None,
        UM,
        Field(description="Side of a pixel, such as `0.65`, if the file does not say it or is wrong."),
    ] = None
    frame_interval_s: Annotated[
        Annotated[float, Field(gt=0, le=10_000_000)] | None,
        SECONDS,
        Field(
            description="Time between consecutive frames, if the file does not say it or is wrong.",
        ),
    ] = None
    roi: Annotated[
        str,
        Field(
            pattern=ROI_PATTERN,
            description="Region of interest, `y0:y1,x0:x1` in pixels, excluding the last ones; empty for the whole "
            "image.",
        ),
    ] = ""
    frames: Annotated[
        str,
        Field(
            pattern=FRAMES_PATTERN,
            description="Time points to analyze: numbers from 0 such as `0,5,9`, or `first:end:step` such as "
            "`0:100:10`, excluding the end; empty for all.",
        ),
    ] = ""
