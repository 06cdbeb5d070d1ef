"""Table of the nuclei of the 2018 Data Science Bowl: fluorescence and coloured images, one mask per nucleus."""

import numpy as np
from PIL import Image

COLUMNS = ("image", "path", "truth", "batch")


def rows(folder):
    """Rows of the table; `folder` is nuclei-dsb2018. The batch is the kind of image, so that each is scored apart."""
    for path in sorted(folder.glob("stage1_train/*/images/*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=int)
        coloured = np.ptp(pixels, axis=2).max() > 20
        kind = "coloured" if coloured else "fluorescence" if np.median(pixels) < 128 else "bright"
        yield path.stem[:12], path, path.parent.parent / "masks", kind
