"""The folder of temporary files, which Snakemake's scheduler needs."""

import os
import shutil
import tempfile
from pathlib import Path

from tessera.common.errors import InputError

LEAST_FREE_BYTES = 2**20


def check_temporary_folder(least_free_bytes: int = LEAST_FREE_BYTES) -> None:
    """Refuse a full disk of temporary files, with which Snakemake's scheduler fails without saying why.

    Args:
        least_free_bytes: free space that is enough.

    Raises:
        InputError: names the folder.
    """
    # The scheduler takes TMPDIR as it is, while Python falls back to other folders.
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    if Path(folder).is_dir() and shutil.disk_usage(folder).free < least_free_bytes:
        raise InputError(f"{folder}: the disk of temporary files is full; free space, or set TMPDIR to another folder")
