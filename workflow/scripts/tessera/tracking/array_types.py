"""Types of the arrays that tracking passes around; docstrings give their shapes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Labels = NDArray[np.integer[Any]]
