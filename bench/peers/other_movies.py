"""Movies with ground truth of a second simulator, so that tracking is not tuned to the project's own one.

Rods grow, push each other and divide in the middle. Discs, balls or blobs crawl and round up before mitosis; the
distance of their daughters is a parameter. Equal discs drift in a
regular array. Labels are track ids.
"""

import math

import numpy as np
from scipy.spatial import cKDTree

ROD_WIDTH_PX, ROD_GROWTH, DIVIDING_ROD_PX = 9.0, 1.09, 26.0
SMALLEST_PX = 12
_NAMES = ("frames", "shape", "cells", "radius", "speed", "persistence", "cycle", "apart", "uneven")
# The number of cells that divide in the movie of each seed. The other cells of these movies do not grow.
RARE_DIVISIONS = {
    "rare divisions": (1, 2, 3),
    "rare divisions, large cells": (1, 2, 3),
    "rare divisions, crowded": (1, 2, 3),
}
_NUMBERS = {
    "crawling": (40, (420, 420), 25, 14, 5, 0.5, 1e6, 1.0, 0.25),
    "few and fast": (60, (420, 420), 6, 12, 9, 0.2, 24, 1.1, 0.05),
    "small, rounding up": (40, (420, 420), 110, 6, 1.5, 0.6, 30, 1.3, 0.15),
    "parting far": (30, (520, 520), 40, 12, 2, 0.3, 20, 2.0, 0.1),
    "long interval": (16, (520, 520), 60, 13, 9, 0.3, 8, 1.4, 0.1),
    "rare divisions": (100, (420, 420), 30, 12, 2, 0.3, 1e6, 1.1, 0.1),
    "rare divisions, large cells": (100, (420, 420), 8, 24, 4, 0.3, 1e6, 1.1, 0.15),
    "rare divisions, crowded": (100, (320, 320), 90, 10, 1.5, 0.3, 1e6, 1.1, 0.1),
    "stack": (24, (60, 150, 150), 20, 9, 1.5, 0.3, 12, 1.1, 0.0),
}
ARRAYS = {f"array, {drift} px a frame": drift for drift in (3, 6, 9, 12)}
OTHERS = {kind: dict(zip(_NAMES, numbers, strict=True)) for kind, numbers in _NUMBERS.items()} | {"rods": None} | ARRAYS


def make_other(kind, seed):
    """Masks with track ids: (frames int32 (y, x) or (z, y, x), {daughter: mother})."""
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    if kind in ARRAYS:
        return name_tracks(_make_array(rng, ARRAYS[kind]), {})
    if OTHERS[kind] is None:
        return name_tracks(*_make_rods(rng))
    n_dividing = RARE_DIVISIONS[kind][seed % 3] if kind in RARE_DIVISIONS else None
    return name_tracks(*_make_blobs(rng, n_dividing, **OTHERS[kind]))


def name_tracks(movie, mothers):
    """The movie with a new id for a cell that leaves and returns, and without objects below SMALLEST_PX pixels.

    Args:
        movie: frames of ids.
        mothers: {id of a daughter: id of her mother}.

    Returns:
        Frames of ids, {daughter: mother} for mothers that are visible in the previous frame.
    """
    tracks, last, parents, renamed, count = {}, {}, {}, [], 0
    for t, frame in enumerate(movie):
        sizes = np.bincount(frame.ravel())
        lut = np.zeros(len(sizes), np.int32)
        for cell in np.flatnonzero(sizes >= SMALLEST_PX).tolist():
            if cell and last.get(cell, -2) < t - 1:
                count += 1
                mother = mothers.get(cell)
                if cell not in last and last.get(mother, -2) == t - 1:
                    parents[count] = tracks[mother]
                tracks[cell] = count
            if cell:
                last[cell], lut[cell] = t, tracks[cell]
        renamed.append(lut[frame])
    return renamed, parents


def _push_apart(places, reach, strength, rounds, owner=None):
    """Move positions (points, 2 or 3) apart if they are closer than the sum of their radii `reach` (points,)."""
    places = places.copy()
    for _ in range(rounds):
        one, two = cKDTree(places).query_pairs(2 * reach.max(), output_type="ndarray").T
        if owner is not None:
            other = owner[one] != owner[two]
            one, two = one[other], two[other]
        way = places[one] - places[two]
        distance = np.maximum(np.linalg.norm(way, axis=1), 0.1)
        push = strength * np.maximum(reach[one] + reach[two] - distance, 0)[:, None] * way / distance[:, None]
        np.add.at(places, one, push)
        np.subtract.at(places, two, push)
    return places


def _paint(shape, shapes):
    """Labels of cells [(id, center, reach, distance function)]: each pixel belongs to the nearest cell."""
    frame, depth = np.zeros(shape, np.int32), np.ones(shape)
    for cell, centre, reach, far_out in shapes:
        ends = np.clip([np.floor(centre - reach), np.ceil(centre + reach) + 1], 0, shape).astype(int)
        box = tuple(map(slice, *ends.tolist()))
        offset = np.mgrid[box] - centre.reshape(-1, *[1] * len(shape))
        out = far_out(offset)
        mine = out < depth[box]
        frame[box][mine], depth[box][mine] = cell, out[mine]
    return frame


class _Blob:
    def __init__(self, rng, place, cell, age, settings):
        self.rng, self.place, self.cell, self.age, self.settings = rng, place, cell, age, settings
        self.life = settings["cycle"] * rng.lognormal(0, 0.12)
        self.speed = rng.normal(0, settings["speed"], len(place))
        self.size = settings["radius"] * rng.lognormal(0, 0.1)
        self.waves = settings["uneven"] * rng.uniform(0.3, 1, 3), rng.uniform(0, 2 * np.pi, 3)
        self.turn = rng.uniform(0, 2 * np.pi)

    @property
    def radius(self):
        rounded = 0.75 if self.life - self.age < 1.5 else 0.9 if self.age < 1 else 1.0
        return rounded * self.size * math.sqrt((1 + self.age / self.life) / 1.5)

    def step(self):
        lasting, usual = self.settings["persistence"], self.settings["speed"]
        self.speed = lasting * self.speed + self.rng.normal(0, math.sqrt(1 - lasting**2) * usual, len(self.place))
        self.place = self.place + self.speed
        self.turn += self.rng.normal(0, 0.15)
        self.age += 1

    def far_out(self, offset):
        angle = np.arctan2(offset[-2], offset[-1]) - self.turn
        uneven = sum(a * np.cos(k * angle + b) for k, a, b in zip((2, 3, 4), *self.waves, strict=True))
        return np.sqrt((offset**2).sum(0)) / np.maximum(self.radius * (1 + uneven), 1)


def _make_blobs(rng, n_dividing, frames, shape, cells, **settings):
    """Frames of ids and {daughter: mother}; only `n_dividing` cells divide, once, unless it is None."""
    span = np.array(shape)
    blobs = [
        _Blob(rng, rng.random(len(span)) * span, 1 + number, rng.uniform(0, 0.6) * settings["cycle"], settings)
        for number in range(cells)
    ]
    # Cells in the middle, so that their divisions are seen.
    for blob in sorted(blobs, key=lambda blob: np.abs(blob.place - span / 2).max())[: n_dividing or 0]:
        blob.age, blob.life = 0.0, rng.uniform(0.1, 0.9) * frames
    movie, mothers = [], {}
    for t in range(frames):
        for blob in list(blobs) if t else ():
            blob.step()
            if blob.age > blob.life:
                way = rng.normal(size=len(span))
                way *= settings["apart"] * blob.size / np.linalg.norm(way)
                blobs.remove(blob)
                for side in (-1, 1):
                    cells += 1
                    mothers[cells] = blob.cell
                    blobs.append(_Blob(rng, blob.place + side * way, cells, 0.0, settings))
        radii = np.array([blob.radius for blob in blobs])
        places = _push_apart(np.array([blob.place for blob in blobs]), radii, 0.3, 15)
        for blob, place in zip(blobs, places, strict=True):
            blob.place = place
        movie.append(_paint(shape, [(b.cell, b.place, 1.7 * b.radius, b.far_out) for b in blobs]))
    return movie, mothers


def _make_array(rng, drift_px, frames=4, side=300, space=30, radius=8):
    """Frames of equal discs in a square array that drifts to the right."""
    line = np.arange(-3 * space, side + space, space)
    places = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    movie = []
    for t in range(frames):
        now = places + np.array([0, t * drift_px]) + rng.normal(0, 1, places.shape)
        seen = np.flatnonzero(((now > -radius) & (now < side + radius)).all(1))
        discs = [(1 + cell, now[cell], radius, lambda offset: np.sqrt((offset**2).sum(0)) / radius) for cell in seen]
        movie.append(_paint((side, side), discs))
    return movie


class _Rod:
    def __init__(self, rng, place, cell, turn, length):
        self.place, self.cell, self.turn, self.length = place, cell, turn, length
        self.longest = rng.normal(DIVIDING_ROD_PX, 2)

    @property
    def axis(self):
        return np.array([math.sin(self.turn), math.cos(self.turn)])

    def far_out(self, offset):
        along = np.clip(np.tensordot(self.axis, offset, 1), -self.length / 2, self.length / 2)
        away = offset - along * self.axis.reshape(2, 1, 1)
        return np.sqrt((away**2).sum(0)) / (ROD_WIDTH_PX / 2)


def _make_rods(rng, frames=26, side=420, cells=3):
    rods = [
        _Rod(rng, side / 2 + rng.normal(0, 25, 2), 1 + number, rng.uniform(0, np.pi), rng.uniform(12, 22))
        for number in range(cells)
    ]
    movie, mothers = [], {}
    for t in range(frames):
        for rod in list(rods) if t else ():
            rod.length *= ROD_GROWTH * rng.lognormal(0, 0.01)
            rod.turn += rng.normal(0, 0.04)
            rod.place = rod.place + rng.normal(0, 0.4, 2)
            if rod.length > rod.longest:
                rods.remove(rod)
                for end in (-1, 1):
                    cells += 1
                    mothers[cells] = rod.cell
                    place = rod.place + end * rod.length / 4 * rod.axis
                    rods.append(_Rod(rng, place, cells, rod.turn + rng.normal(0, 0.08), rod.length / 2 - 1))
        for _ in range(20):
            _settle(rods)
        movie.append(_paint((side, side), [(r.cell, r.place, r.length / 2 + 6, r.far_out) for r in rods]))
    return movie, mothers


def _settle(rods):
    """Move and turn rods a little so that they overlap less: the ends and the middle of each are pushed."""
    parts = np.linspace(-0.5, 0.5, 7)
    places = np.array([rod.place + part * rod.length * rod.axis for rod in rods for part in parts])
    owner = np.repeat(np.arange(len(rods)), len(parts))
    pushed = _push_apart(places, np.full(len(places), ROD_WIDTH_PX / 2), 0.3, 1, owner) - places
    for rod, way in zip(rods, pushed.reshape(len(rods), len(parts), 2), strict=True):
        rod.place = rod.place + way.mean(0)
        across = way @ np.array([rod.axis[1], -rod.axis[0]])
        rod.turn += float((parts * across).mean() / ((parts**2).mean() * rod.length))
