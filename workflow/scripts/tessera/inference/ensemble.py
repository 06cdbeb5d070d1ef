"""Ensembles: the mean answer of several models, each asked about several views of the same pixels."""

import numpy as np

from tessera.data.dihedral import apply_dihedral, invert_dihedral
from tessera.inference.backends import choose_engine, load_engine, reduced_precision
from tessera.inference.precision_check import check_precision
from tessera.networks.model_folder import read_model_card, read_validation_patches

BATCH_PX = {"cpu": 2**20, "gpu": 2**25}
VIEWS = {"none": [0], "flips": [0, 2, 4, 6], "all": [*range(8)]}


class Ensemble:
    """Engines that answer as one.

    Args:
        engines: of `tessera.inference.backends`, with the same outputs.
        augmentation: views that each engine is asked about: none, flips (4), or all turns and flips (8).
        batch_px: most pixels that an engine is given at once, where that is more than one tile.
    """

    def __init__(self, engines, *, augmentation="none", batch_px=2**20):
        self.engines, self.batch_px = engines, batch_px
        self.settings = engines[0].settings
        self._views = VIEWS[augmentation]

    def predict(self, tiles):
        """Probabilities uint8 (n, outputs, y, x), 255 = 1, of `tiles` float32 (n, y, x, c), normalized, of one size.

        When memory does not suffice for a batch, it is parted, and so are all later ones.

        Raises:
            MemoryError: it does not suffice for a single tile.
        """
        most = max(1, self.batch_px // (tiles.shape[1] * tiles.shape[2]))
        answers = []
        while (done := sum(map(len, answers))) < len(tiles):
            batch = tiles[done : done + most]
            try:
                answers.append(self._mean(batch))
            except MemoryError as error:
                if len(batch) == 1:
                    raise
                most = len(batch) // 2
                self.batch_px = most * tiles.shape[1] * tiles.shape[2]
                print(
                    f"Memory does not suffice for {len(batch)} tiles at once ({error}); going on with {most}",
                    flush=True,
                )
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _mean(self, tiles):
        asked = [(engine, view) for engine in self.engines for view in self._views]
        if len(asked) == 1:
            return self.engines[0].predict(tiles).copy()
        total = 0
        for engine, view in asked:
            answer = engine.predict(np.ascontiguousarray(apply_dihedral(tiles, view, (1, 2))))
            total = total + invert_dihedral(answer, view, (2, 3)).astype(np.uint16)
        return np.rint(total / len(asked)).astype(np.uint8)


def load_ensemble(folders, converted, *, engine, precision, max_precision_iou_change, device, augmentation, workers):
    """The engines of all models, each in the precision that it was found to work in.

    Args:
        folders: of the models.
        converted: folder of converted models.
        engine, precision, max_precision_iou_change, device: of section predict.
        augmentation: see `Ensemble`.
        workers: CPU cores to use; None for all.

    Returns:
        Ensemble; [{model, engine, device, precision, check (see `tessera.inference.precision_check`) or None}, ...].
    """
    engine, device = choose_engine(engine, device, threads=workers)
    reduced = {"auto": reduced_precision(engine, device), "float32": None}.get(precision, precision)
    engines, report = [], []
    for folder in folders:
        settings, patches, check = read_model_card(folder), read_validation_patches(folder), None
        options = {"converted": converted, "threads": workers}
        chosen = load_engine(engine, device, settings, folder, **options)
        if reduced and patches:
            quick = load_engine(engine, device, settings, folder, precision=reduced, **options)
            check = check_precision(chosen.predict, quick.predict, patches, max_precision_iou_change)
            chosen = quick if check["passed"] else chosen
        engines.append(chosen)
        report.append({"model": folder.name, "engine": engine, "device": device, "precision": chosen.precision})
        report[-1]["check"] = check
        print(
            f"{folder.name}: {engine} on the {device.upper()}, {chosen.precision}; {_verdict(reduced, check)}",
            flush=True,
        )
    return Ensemble(engines, augmentation=augmentation, batch_px=BATCH_PX[device]), report


def _verdict(reduced, check):
    if not reduced:
        return "no lower precision is wanted, or quicker here"
    if not check:
        return f"{reduced} cannot be checked, since the model keeps no validation patches"
    return (
        f"{reduced} changes the IoU of {check['patches']} validation patches by at most {check['iou_change']:.5f}, "
        f"{'within' if check['passed'] else 'more than'} the {check['tolerance']:g} that is allowed"
    )
