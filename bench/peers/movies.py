"""Simulated movies of masks with ground truth, of many kinds of cells, and typical segmentation errors."""

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "scripts"))

from tessera.data.simulated_cells import Colony
from tessera.settings.sections import MovieSettings

_NAMES = ("frames", "size_px", "cells", "diameter_px", "cycle_frames", "speed_px")
_NUMBERS = {
    "nuclei": (30, 400, 40, 22, 20, 2),
    "dense nuclei": (24, 320, 120, 18, 22, 2),
    "fast sparse": (30, 512, 14, 18, 25, 14),
    "fast": (24, 512, 40, 20, 30, 9),
    "unequal": (30, 400, 36, 24, 18, 2),
    "large": (24, 320, 9, 60, 30, 4),
    "small": (24, 320, 150, 12, 24, 2),
    "adherent": (30, 400, 10, 50, 1e5, 3),
    "dense yeast": (24, 320, 120, 20, 1e5, 0.7),
    "budding yeast": (24, 320, 80, 22, 20, 0.5),
    "drifting": (24, 400, 50, 20, 24, 1.5),
}
_MORE = {"unequal": {"smaller_daughter_fraction": 0.3}, "budding yeast": {"buds": True}, "drifting": {"drift_px": 6}}
KINDS = {kind: dict(zip(_NAMES, numbers, strict=True)) | _MORE.get(kind, {}) for kind, numbers in _NUMBERS.items()}
NO_DIVISIONS = ("adherent", "dense yeast", "budding yeast")


class _Budding(Colony):
    """Cells that keep their size when a bud appears beside them; buds have no mother in the ground truth."""

    def _divide(self, mother):
        mother.area = mother.born_area = mother.area / 1.15
        mother.division_area = mother.area + self.born_area * self.rng.lognormal(0, 0.2)
        turn = self.rng.uniform(0, 2 * np.pi)
        area = self.born_area * self.rng.uniform(0.06, 0.2)
        away = mother.radius + np.sqrt(area / np.pi)
        place = mother.position + away * np.array([np.sin(turn), np.cos(turn)])
        bud = self._new_cell(place, area=area, born_area=area, brightness=mother.brightness)
        bud.division_area = 2.0 * self.born_area
        return [mother, bud]


def make_movie(kind, seed):
    """Masks with track ids: (frames int32 (y, x), {daughter: mother}).

    As in the Cell Tracking Challenge, a cell that leaves the image and returns gets a new id.
    """
    settings = dict(KINDS[kind])
    frames, size, drift_px = settings.pop("frames"), settings["size_px"], settings.pop("drift_px", 0)
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    colony = (_Budding if settings.pop("buds", False) else Colony)(rng, MovieSettings(**settings))
    corner, movie, parents, count = np.zeros(2), [], {}, 0
    for t in range(frames):
        if t:
            colony.step()
            corner = corner + drift_px * (rng.normal(0, 0.3, 2) + np.array([0.8, -0.5])) * (1 if t % 9 else -3)
        _, owners = colony.draw(corner, size)
        areas = np.bincount(owners.ravel(), minlength=len(colony.cells) + 1)
        ids = np.zeros(len(colony.cells) + 1, np.int32)
        for owner, cell in enumerate(colony.cells, start=1):
            if areas[owner] < 20:
                continue
            if cell.seen < 0 or cell.seen < t - 1:
                count += 1
                cell.track = count
                if cell.seen < 0 and cell.mother is not None and cell.mother.seen == t - 1 >= 0:
                    parents[count] = cell.mother.track
            cell.seen, ids[owner] = t, cell.track
        movie.append(ids[owners])
    return movie, parents


def shuffle(movie, seed):
    """The movie with random ids in each frame."""
    rng, shuffled = np.random.default_rng(seed), []
    for frame in movie:
        ids = np.unique(frame[frame > 0])
        lut = np.zeros(frame.max() + 1, np.int32)
        lut[ids] = rng.permutation(len(ids)) + 1
        shuffled.append(lut[frame])
    return shuffled


def touching_pairs(frame):
    """Pairs of labels with adjacent pixels: (pairs, 2), each pair once."""
    pairs = []
    for axis in (0, 1):
        a, b = (np.moveaxis(frame, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        touching = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.sort(np.stack([a[touching], b[touching]], 1), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def mark(movie, seed):
    """Markers instead of masks: discs at the centers of cells, with a random radius in each frame."""
    rng, marked = np.random.default_rng([seed, 2]), []
    for frame in movie:
        discs = np.zeros_like(frame)
        rows, columns = np.indices(frame.shape, sparse=True)
        labels = np.unique(frame[frame > 0])
        for label, (y, x) in zip(labels, ndimage.center_of_mass(frame > 0, frame, labels), strict=True):
            inside = (rows - round(y)) ** 2 + (columns - round(x)) ** 2 <= rng.uniform(2.5, 5.5) ** 2
            discs[inside & (discs == 0)] = label
        marked.append(discs)
    return marked


def round_up(movie, parents):
    """The movie in which mothers shrink to 0.8 and 0.55 of their area before they divide; daughters start with 0.8."""
    movie = [frame.copy() for frame in movie]
    last = {label: t for t, frame in enumerate(movie) for label in np.unique(frame[frame > 0]).tolist()}
    shrinking = {(last[mother] - 1, mother): 0.8 for mother in parents.values()}
    shrinking |= {(last[mother], mother): 0.55 for mother in parents.values()}
    shrinking |= {(last[mother] + 1, daughter): 0.8 for daughter, mother in parents.items()}
    for (t, label), share in shrinking.items():
        if 0 <= t < len(movie) and (movie[t] == label).any():
            mine = movie[t] == label
            depth = ndimage.distance_transform_edt(np.pad(mine, 1))[1:-1, 1:-1]
            movie[t][mine & (depth < np.quantile(depth[mine], 1 - share))] = 0
    return movie


def degrade(movie, seed):
    """Segmentation errors: 3 % of objects missed, 1 % of touching pairs merged, 1 % split, outlines off by a pixel."""
    rng, worse = np.random.default_rng([seed, 1]), []
    for frame in movie:
        frame = frame.copy()
        top = int(frame.max())
        pairs = touching_pairs(frame)
        for one, two in pairs[rng.random(len(pairs)) < 0.01]:
            frame[frame == two] = one
        # The outline of each object moves in or out by a pixel.
        grown = ndimage.grey_dilation(frame, footprint=ndimage.generate_binary_structure(2, 1))
        eroded = (ndimage.minimum_filter(frame, 3) == frame) & (ndimage.maximum_filter(frame, 3) == frame)
        for label in np.unique(frame[frame > 0]):
            mine = frame == label
            draw = rng.random()
            if draw < 0.03:
                frame[mine] = 0
            elif draw < 0.04 and mine.sum() > 30:
                rows, columns = np.nonzero(mine)
                turn = rng.uniform(0, np.pi)
                way = (rows - rows.mean()) * np.sin(turn) + (columns - columns.mean()) * np.cos(turn)
                top += 1
                far = way > np.quantile(way, rng.uniform(0.35, 0.65))
                frame[rows[far], columns[far]] = top
            elif draw < 0.5:
                shrunk = mine & eroded
                if shrunk.sum() > 0.6 * mine.sum():
                    frame[mine & ~eroded] = 0
            else:
                frame[(frame == 0) & (grown == label)] = label
        worse.append(frame)
    return worse
