"""Download the ImageNet weights of a backbone, before any training starts.

Writes the folder `resources/weights/{backbone}`, which Keras can use as its home: `models/` has the file of weights.
The training reads only this folder, so compute nodes need neither internet nor your home folder.
"""

import shutil
from pathlib import Path

from tessera.common.atomic_write import partial_path, replace_folder
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.networks.pretrained_weights import download_encoder_weights


def download_weights(backbone: str, output: StrPath) -> None:
    """Write the ImageNet weights of a backbone to the folder `output`.

    Args:
        backbone: name of an encoder of segmentation-models.
        output: folder for `models/{file}`.

    Raises:
        InputError: the weights cannot be downloaded, or the file is not the right one.
    """
    output = Path(output)
    downloaded = download_encoder_weights(backbone)
    folder = partial_path(output)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models").mkdir(parents=True)
    shutil.copyfile(downloaded, folder / "models" / downloaded.name)
    replace_folder(folder, output)


if __name__ == "__main__":
    with running(snakemake):
        download_weights(snakemake.wildcards.backbone, snakemake.output.weights)
