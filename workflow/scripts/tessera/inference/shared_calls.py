"""Network calls that several small images share.

A network call has a fixed cost, which matters for images of a few hundred pixels. So before such an image is predicted,
the next small images of the batch are read, and those of the same size go through the network with it.
"""

import logging
import math
from collections.abc import Callable, Container, Sequence

from tessera.common.errors import InputError
from tessera.inference.ensemble import Ensemble
from tessera.inference.predict_image import ImagePredictor, OnlyTile
from tessera.inference.tile_predictor import run_network

MAX_AHEAD = 64  # images that are open at once
logger = logging.getLogger(__name__)


class UpcomingImages:
    """The images of a batch, in the order in which they are predicted.

    Args:
        open_image: returns the predictor of an image. It raises InputError if the image cannot be predicted.
        ensemble: the networks.
        alone: images that do not share calls, because an earlier run has predicted parts of them.
    """

    def __init__(
        self,
        open_image: Callable[[str], ImagePredictor],
        ensemble: Ensemble,
        alone: Container[str] = (),
    ) -> None:
        self._open, self._ensemble, self._alone = open_image, ensemble, alone
        self._names: list[str] = []
        self._positions: dict[str, int] = {}
        self._opened: dict[str, ImagePredictor] = {}
        self._tiles: dict[str, OnlyTile] = {}
        self._next = 0

    def announce(self, names: Sequence[str]) -> None:
        """Say which images will be taken, in this order."""
        self._names, self._positions = list(names), {name: position for position, name in enumerate(names)}

    def take(self, name: str) -> ImagePredictor:
        """Return the predictor of an image. If the image is small, its network output may be there already.

        Raises:
            InputError: the image cannot be predicted.
        """
        predictor = self._opened.pop(name) if name in self._opened else self._open(name)
        self._next = max(self._next, self._positions.get(name, -1) + 1)
        tile = None if name in self._alone else self._tiles.pop(name, None) or predictor.only_tile
        if tile and not tile.predictor.is_known:
            self._run([tile, *self._same_shape(tile)])
        return predictor

    def _same_shape(self, tile: OnlyTile) -> list[OnlyTile]:
        """Tiles of the next images that the network gets together with a tile."""
        most = max(1, self._ensemble.batch_px // math.prod(tile.tile.shape)) - 1
        while self._next < len(self._names) and len(self._tiles) < MAX_AHEAD:
            found = self._find(tile)
            if len(found) >= most:
                break
            self._look_at(self._names[self._next])
            self._next += 1
        return self._find(tile)[:most]

    def _find(self, tile: OnlyTile) -> list[OnlyTile]:
        return [
            other
            for other in self._tiles.values()
            if other.tile.shape == tile.tile.shape and not other.predictor.is_known
        ]

    def _look_at(self, name: str) -> None:
        """Open an image ahead of its turn, and keep it if it is small."""
        if name in self._alone:
            return
        try:
            predictor = self._open(name)
            tile = predictor.only_tile
        except InputError:
            return  # it is raised again when it is the turn of this image
        if tile:
            self._opened[name], self._tiles[name] = predictor, tile

    def _run(self, tiles: Sequence[OnlyTile]) -> None:
        try:
            outputs = run_network(self._ensemble, [each.predictor.prepare(each.tile, each.pixels) for each in tiles])
        except MemoryError as error:  # each image is predicted alone, with smaller tiles
            logger.info("Not enough memory for %d small images at once (%s)", len(tiles), error)
            return
        for each, output in zip(tiles, outputs, strict=True):
            each.predictor.remember(each.tile, output)
