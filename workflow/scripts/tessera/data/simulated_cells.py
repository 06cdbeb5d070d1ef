"""Simulated cells that grow, move, push each other apart and divide, and their brightness in an image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from scipy.stats import qmc

from tessera.settings.sections import MovieSettings

PERSISTENCE = 0.7  # of a cell's velocity, from frame to frame
ADHESION_PX = 3.0  # gap across which neighbors pull each other together
WAIST = 0.3  # elongation of a cell about to divide: its outline has a waist
MODES = np.array([2, 3, 4, 5])  # waves around an outline that make it irregular
FAINTEST = 0.45  # brightness of the faintest cell; that of a typical one is 1
WAVES = 7  # waves that make the texture of a cell


@dataclass(eq=False)
class Cell:
    """A cell: lengths in pixels, positions and velocities (y, x) in the world, angles in radians."""

    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    angle: float  # of the long axis
    area: float
    born_area: float
    division_area: float
    brightness: float  # of a typical cell: 1
    elongation: float
    bumps: NDArray[np.complex128]  # complex amplitude of each of MODES
    waves: NDArray[np.float64]  # (WAVES, 3): wave vector, in units of the radius, and phase
    spot: NDArray[np.float64]  # (y, x) of a dark spot, in units of the radius
    mother: "Cell | None" = field(default=None, repr=False)  # set only in its first frame
    track: int = 0  # its id while it is in view
    seen: int = -1  # last frame in which it was in view

    @property
    def radius(self) -> float:
        """Radius of the disc of the same area."""
        return math.sqrt(self.area / math.pi)

    @property
    def shape(self) -> tuple[float, float, float, NDArray[np.complex128]]:
        """The arguments of `trace_outline`: radius, angle, elongation, bumps."""
        progress = (self.area - self.born_area) / (self.division_area - self.born_area)
        stretch = min(max((progress - 0.75) / 0.25, 0), 1) ** 1.5
        return self.radius, self.angle, self.elongation + (WAIST - self.elongation) * stretch, self.bumps

    def texture(self, offset: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the relative brightness at `offset` (2, ...) from the center; it rotates and grows with the cell."""
        cosine, sine = math.cos(self.angle) / self.radius, math.sin(self.angle) / self.radius
        y, x = offset
        v, u = cosine * y - sine * x, sine * y + cosine * x
        ripples = sum(np.cos(a * v + b * u + phase) for a, b, phase in self.waves) / math.sqrt(WAVES)
        spot = np.exp(-((v - self.spot[0]) ** 2 + (u - self.spot[1]) ** 2) / 0.1)
        return np.maximum(1 + 0.25 * ripples - 0.5 * spot, 0.15)


def trace_outline(
    direction: NDArray[np.float64],
    radius: float | NDArray[np.float64],
    angle: float | NDArray[np.float64],
    elongation: float | NDArray[np.float64],
    bumps: NDArray[np.complex128],
) -> NDArray[np.float64]:
    """Return the distance from the center of a cell to its outline in each direction.

    Args:
        direction: angles in radians, any shape; 0 is along x, pi / 2 along y.
        radius: radius of a disc of the same area in pixels, a number or one for each direction.
        angle: angle of the long axis, a number or one for each direction.
        elongation: relative amplitude of the elongation, a number or one for each direction.
        bumps: complex amplitudes (modes,) or (..., modes).
    """
    relative = direction - angle
    bump_heights = (bumps * np.exp(1j * MODES * relative[..., None])).real.sum(-1)
    return radius / np.sqrt(1 + elongation**2 / 2) * (1 + elongation * np.cos(2 * relative) + bump_heights)


class Colony:
    """A population of cells in a square world that extends beyond the frame by a margin; the frame starts at (0, 0).

    Args:
        rng: the only source of randomness.
        settings: settings of the movie; the margin is as densely populated as the frame.
    """

    def __init__(self, rng: np.random.Generator, settings: MovieSettings) -> None:
        self.rng = rng
        diameter_px, size_px = settings.diameter_px, settings.size_px
        self.low, self.high = -2.0 * diameter_px, size_px + 2.0 * diameter_px
        self.cycle_frames, self.speed_px = settings.cycle_frames, settings.speed_px
        self.smaller_daughter_fraction = settings.smaller_daughter_fraction
        # Over cells of all ages, the mean area is 2 ln 2 times the area at birth. In its life, a cell adds about the
        # area of a typical newborn cell.
        self.born_area = math.pi * diameter_px**2 / 4 / (2 * math.log(2))
        count = round(settings.cells * ((self.high - self.low) / size_px) ** 2)
        # Cells are in clumps so that they touch; clumps are evenly spaced so that no movie is empty.
        clumps = self.low + (self.high - self.low) * qmc.Halton(2, rng=rng).random(max(1, count // 4))
        self.cells = [
            self._new_cell(
                clumps[number % len(clumps)] + rng.normal(0, diameter_px, 2),
                area=self.born_area * 2 ** rng.uniform(0, 1),
                born_area=self.born_area,
                brightness=max(rng.lognormal(0, 0.45), FAINTEST),
            )
            for number in range(count)
        ]
        self._push_apart(100)

    def step(self) -> None:
        """Advance the cells by one frame."""
        pressure = self._push_apart(0)
        for cell, squeezed in zip(self.cells, pressure, strict=True):
            cell.velocity = PERSISTENCE * cell.velocity + self._kick(math.sqrt(1 - PERSISTENCE**2))
            cell.position = cell.position + cell.velocity
            cell.mother = None
            cell.angle += self.rng.normal(0, 0.08)
            cell.bumps = 0.9 * cell.bumps + self._bumps(math.sqrt(1 - 0.9**2))
            cell.area *= 2 ** (max(0.0, 1 - squeezed) * self.rng.lognormal(0, 0.1) / self.cycle_frames)
        self.cells = [
            part for cell in self.cells for part in (self._divide(cell) if cell.area >= cell.division_area else [cell])
        ]
        self._push_apart(25)
        self.cells = [cell for cell in self.cells if ((cell.position > self.low) & (cell.position < self.high)).all()]

    def draw(self, corner: NDArray[np.float64], size_px: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Draw a square view of the cells.

        Args:
            corner: position (y, x) of the first pixel in the world.
            size_px: side of the view.

        Returns:
            light: (y, x), 1 in the middle of a typical cell.
            owners: (y, x), 0 or 1 + the index in `cells` of the cell at the pixel.
        """
        depth = np.ones((size_px, size_px), np.float32)  # distance from the center, relative to the outline's
        owners = np.zeros((size_px, size_px), np.int32)
        for owner, cell, box, offset in self._windows(corner, size_px):
            cell_depth = np.hypot(*offset) / trace_outline(np.arctan2(*offset), *cell.shape)
            nearest = cell_depth < depth[box]
            owners[box][nearest] = owner
            depth[box][nearest] = cell_depth[nearest]
        light = np.zeros((size_px, size_px), np.float32)
        for owner, cell, box, offset in self._windows(corner, size_px):
            whole = owners[box] == owner
            mask = _largest_component(whole)
            owners[box][whole & ~mask] = 0
            thickness = np.maximum(1 - depth[box] ** 2, 0) ** 0.6
            light[box][mask] = (cell.brightness * thickness * cell.texture(offset))[mask]
        return light, owners

    def _windows(
        self, corner: NDArray[np.float64], size_px: int
    ) -> Iterator[tuple[int, Cell, tuple[slice, slice], NDArray[np.float64]]]:
        """Yield (1 + index, cell, slices (y, x) around it, offsets (2, y, x) from its center) of the cells in view."""
        for owner, cell in enumerate(self.cells, start=1):
            center, reach = cell.position - corner, 1.8 * cell.radius
            low = np.clip(np.floor(center - reach).astype(int), 0, size_px)
            high = np.clip(np.ceil(center + reach).astype(int), 0, size_px)
            if (low < high).all():
                box = (slice(low[0], high[0]), slice(low[1], high[1]))
                yield owner, cell, box, np.mgrid[box] - center[:, None, None]

    def _new_cell(
        self,
        position: NDArray[np.float64],
        *,
        area: float,
        born_area: float,
        brightness: float,
        mother: Cell | None = None,
    ) -> Cell:
        rng = self.rng
        turn, pitch = rng.uniform(0, 2 * math.pi, WAVES), rng.uniform(5, 11, WAVES)
        return Cell(
            position=position,
            velocity=self._kick(1),
            angle=rng.uniform(0, 2 * math.pi),
            area=area,
            born_area=born_area,
            division_area=born_area + self.born_area * rng.lognormal(0, 0.1),
            brightness=brightness,
            elongation=rng.uniform(0.02, 0.2),
            bumps=self._bumps(1),
            waves=np.stack([pitch * np.sin(turn), pitch * np.cos(turn), rng.uniform(0, 2 * math.pi, WAVES)], axis=1),
            spot=rng.uniform(-0.45, 0.45, 2),
            mother=mother,
        )

    def _divide(self, mother: Cell) -> list[Cell]:
        fraction = min(max(self.smaller_daughter_fraction + self.rng.normal(0, 0.02), 0.1), 0.5)
        axis = np.array([math.sin(mother.angle), math.cos(mother.angle)]) * self.rng.choice([-1, 1])
        distance = 0.95 * mother.radius * (math.sqrt(fraction) + math.sqrt(1 - fraction))
        return [
            self._new_cell(
                mother.position + offset * axis,
                area=area_fraction * mother.area,
                born_area=area_fraction * mother.area,
                brightness=max(mother.brightness * self.rng.lognormal(0, 0.1), FAINTEST),
                mother=mother,
            )
            for area_fraction, offset in (
                (fraction, (1 - fraction) * distance),
                (1 - fraction, -fraction * distance),
            )
        ]

    def _push_apart(self, rounds: int) -> NDArray[np.float64]:
        """Separate overlapping cells and attract cells that nearly touch, in some rounds.

        Returns:
            The overlap of each cell with its neighbors in units of its radius, 0 for a free cell: (cells,).
        """
        positions = np.array([cell.position for cell in self.cells]).reshape(-1, 2)
        shapes = [np.array(values) for values in zip(*(cell.shape for cell in self.cells), strict=True)]
        squeezed = np.zeros(len(positions))
        for remaining in range(rounds, -1, -1):
            if len(positions) < 2:
                break
            max_distance = 3 * shapes[0].max() + ADHESION_PX
            first, second = spatial.cKDTree(positions).query_pairs(max_distance, output_type="ndarray").T
            gap = positions[first] - positions[second]
            distance = np.maximum(np.hypot(*gap.T), 1e-3)
            direction = np.arctan2(*gap.T)
            reach = trace_outline(direction + math.pi, *(values[first] for values in shapes))
            overlap = reach + trace_outline(direction, *(values[second] for values in shapes)) - distance
            if remaining:
                force = np.where(overlap > 0, 0.25 * overlap, np.where(overlap > -ADHESION_PX, 0.03 * overlap, 0))
                shift = gap * (force / distance)[:, None]
                np.add.at(positions, first, shift)
                np.subtract.at(positions, second, shift)
            else:
                np.add.at(squeezed, first, np.maximum(overlap, 0) / shapes[0][first])
                np.add.at(squeezed, second, np.maximum(overlap, 0) / shapes[0][second])
        for cell, position in zip(self.cells, positions, strict=True):
            cell.position = position
        return squeezed

    def _kick(self, scale: float) -> NDArray[np.float64]:
        return self.rng.normal(0, scale * self.speed_px / math.sqrt(2), 2)

    def _bumps(self, scale: float) -> NDArray[np.complex128]:
        amplitudes: NDArray[np.complex128] = self.rng.normal(size=len(MODES)) + 1j * self.rng.normal(size=len(MODES))
        return scale * 0.035 * amplitudes


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    components, count = ndimage.label(mask)
    return mask if count < 2 else components == 1 + np.argmax(np.bincount(components.ravel())[1:])
