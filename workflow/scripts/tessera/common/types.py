"""Types that many modules share."""

import os
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as text or as a path object."""
