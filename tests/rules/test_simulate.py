"""Simulated movies: their format, their ground truth, and that they are neither trivial nor empty."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label, regionprops
from skimage.metrics import contingency_table
from skimage.morphology import remove_small_objects

from simulate import MIN_AREA_PX, label_tracks, simulate
from tessera.data.simulated_cells import Colony
from tessera.data.simulated_microscope import Microscope
from tessera.settings.sections import MovieSettings

DEMO = Path(__file__).parents[2] / "config" / "demo"
SMALL = {"seed": 5, "frames": 14, "size_px": 160, "cells": 8, "cycle_frames": 8}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Paths of a small movie and its truth."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(
        folder / "movie.ome.tif",
        folder / "movie_truth",
        MovieSettings(**SMALL, pixel_size_um=0.25, frame_interval_s=120),
    )
    return folder / "movie.ome.tif", folder / "movie_truth"


@pytest.fixture(scope="module")
def masks(simulated):
    """Truth of the small movie (t, y, x)."""
    return read_masks(simulated[1])


@pytest.fixture(scope="module")
def tracks(simulated):
    """man_track.txt of the small movie: {id: (first, last, mother)}."""
    rows = np.loadtxt(simulated[1] / "man_track.txt", int, ndmin=2)
    assert len(np.unique(rows[:, 0])) == len(rows)
    return {track: (first, last, mother) for track, first, last, mother in rows.tolist()}


def read_masks(truth):
    return np.stack([tifffile.imread(path) for path in sorted(truth.glob("man_track*.tif"))])


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


def average_precision(truth, labels, iou=0.5):
    """TP / (TP + FP + FN) over all frames of two label movies (t, y, x)."""
    hits = misses = 0
    for true, own in zip(truth, labels, strict=True):
        overlap = contingency_table(true, own).toarray()
        true_area, own_area = overlap.sum(1)[1:, None], overlap.sum(0)[None, 1:]
        shared = overlap[1:, 1:]
        matched = np.count_nonzero(shared > iou * (true_area + own_area - shared))
        hits += matched
        misses += np.count_nonzero(true_area) + np.count_nonzero(own_area) - 2 * matched
    return hits / (hits + misses)


def otsu_objects(frame):
    """What a careful user of a threshold would do: smooth, threshold, drop specks."""
    smooth = gaussian(frame.astype(float), 1)
    return label(remove_small_objects(smooth > threshold_otsu(smooth), max_size=MIN_AREA_PX))


def test_movie_is_an_ome_tiff_with_its_sizes(simulated):
    with tifffile.TiffFile(simulated[0]) as tiff:
        series = tiff.series[0]
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (series.axes, series.shape, series.dtype) == ("TYX", (14, 160, 160), np.uint16)
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.25, "µm")
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == (0.25, "µm")
    assert (pixels["TimeIncrement"], pixels["TimeIncrementUnit"]) == (120, "s")


def test_ground_truth_has_one_mask_of_the_same_shape_per_frame(simulated, masks):
    names = [path.name for path in sorted(simulated[1].iterdir())]
    assert names == ["man_track.txt", *(f"man_track{t:03d}.tif" for t in range(14))]
    assert masks.dtype == np.uint16
    assert masks.shape == tifffile.imread(simulated[0]).shape


def test_each_track_is_in_exactly_its_frames(masks, tracks):
    seen = {t: set(np.unique(mask).tolist()) - {0} for t, mask in enumerate(masks)}
    listed = {t: {track for track, (first, last, _) in tracks.items() if first <= t <= last} for t in seen}
    assert seen == listed


def test_mothers_end_in_the_frame_before_their_daughters_begin(tracks):
    daughters = {track: mother for track, (_, _, mother) in tracks.items() if mother}
    assert all(tracks[mother][1] == tracks[daughter][0] - 1 for daughter, mother in daughters.items())
    brood = np.unique(list(daughters.values()), return_counts=True)[1]
    assert brood.max() == 2
    assert np.count_nonzero(brood == 2) >= 5


def test_daughters_are_at_the_position_of_their_mother(masks, tracks):
    for daughter, (first, _, mother) in tracks.items():
        if mother:
            near = ndimage.binary_dilation(masks[first - 1] == mother, iterations=8)
            assert near[masks[first] == daughter].mean() > 0.5, daughter


def test_cells_are_connected_large_enough_and_touch(masks):
    touching = 0
    for mask in masks:
        for cell in regionprops(mask):
            assert cell.area >= MIN_AREA_PX
            if min(cell.bbox[:2]) > 0 and max(cell.bbox[2:]) < len(mask):
                assert label(cell.image).max() == 1
                assert 14 <= cell.equivalent_diameter_area <= 34
        across = np.stack([mask[:, 1:].ravel(), mask[:, :-1].ravel()])
        touching += ((across > 0).all(0) & (across[0] != across[1])).any()
    assert touching > len(masks) / 2


def test_cells_grow_and_a_mother_has_the_area_of_her_daughters(masks, tracks):
    area = np.array([np.bincount(mask.ravel(), minlength=max(tracks) + 1) for mask in masks])
    inside = np.zeros_like(masks, bool)
    inside[:, 1:-1, 1:-1] = True
    cut = {track for mask in np.where(inside, 0, masks) for track in np.unique(mask)}
    whole = {track: (first, last) for track, (first, last, _) in tracks.items() if track not in cut}
    growth = [area[last, track] / area[first, track] for track, (first, last) in whole.items() if last - first >= 5]
    assert len(growth) >= 3
    assert min(growth) > 1.2
    for mother, (_, last) in whole.items():
        brood = [track for track in whole if tracks[track][2] == mother]
        if len(brood) == 2:
            assert area[last + 1, brood].sum() == pytest.approx(area[last, mother], rel=0.2)


def test_cells_are_brighter_than_background_and_textured(simulated, masks):
    movie = tifffile.imread(simulated[0]).astype(float)
    levels = []
    for frame, mask in zip(movie, masks, strict=True):
        near = ndimage.binary_dilation(mask > 0, iterations=6) & ~ndimage.binary_dilation(mask > 0, iterations=2)
        assert frame[mask > 0].mean() > 1.3 * frame[near].mean()
        levels += [cell.intensity_mean for cell in regionprops(mask, frame)]
    assert np.percentile(levels, 95) > 1.5 * np.percentile(levels, 5)


def test_seed_determines_the_bytes_of_the_movie(tmp_path):
    few = SMALL | {"frames": 3}
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        simulate(tmp_path / name / "m.ome.tif", tmp_path / name / "m_truth", MovieSettings(**few | {"seed": seed}))
    assert digest(tmp_path / "one") == digest(tmp_path / "again")
    one, other = (tifffile.imread(tmp_path / name / "m.ome.tif") for name in ("one", "other"))
    assert not np.array_equal(one, other)
    assert not np.array_equal(read_masks(tmp_path / "one" / "m_truth"), read_masks(tmp_path / "other" / "m_truth"))


def test_shorter_movie_replaces_a_longer_one_and_no_other_files(tmp_path):
    few = SMALL | {"size_px": 64, "cells": 2}
    (tmp_path / "m_truth").mkdir()
    (tmp_path / "m_truth" / "notes.txt").write_text("mine")
    simulate(tmp_path / "m.ome.tif", tmp_path / "m_truth", MovieSettings(**few | {"frames": 4}))
    simulate(tmp_path / "m.ome.tif", tmp_path / "m_truth", MovieSettings(**few | {"frames": 2}))
    names = sorted(path.name for path in (tmp_path / "m_truth").iterdir())
    assert names == ["man_track.txt", "man_track000.tif", "man_track001.tif", "notes.txt"]


def test_movie_may_have_one_frame_with_one_still_cell(tmp_path):
    simulate(
        tmp_path / "m.ome.tif",
        tmp_path / "m_truth",
        MovieSettings(frames=1, size_px=65, cells=1, diameter_px=12.5, speed_px=0, seed=3),
    )
    with tifffile.TiffFile(tmp_path / "m.ome.tif") as tiff:
        assert tiff.series[0].get_shape(squeeze=False)[0] == 1
        assert tiff.series[0].shape[-2:] == (65, 65)
    mask = tifffile.imread(tmp_path / "m_truth" / "man_track000.tif")
    tracks = np.loadtxt(tmp_path / "m_truth" / "man_track.txt", int, ndmin=2)
    assert tracks.tolist() == [[track, 0, 0, 0] for track in np.unique(mask[mask > 0])]
    assert len(tracks) >= 1


def test_unequal_divisions_give_daughters_of_unequal_size():
    colony = Colony(
        np.random.default_rng(0),
        MovieSettings(cells=20, size_px=200, diameter_px=20, cycle_frames=8, smaller_daughter_fraction=0.3, speed_px=1),
    )
    shares = []
    for _ in range(8):
        colony.step()
        newborn = [cell for cell in colony.cells if cell.mother is not None]
        shares += [cell.area / cell.mother.area for cell in newborn]
    smaller = [share for share in shares if share < 0.5]
    assert len(smaller) >= 10
    assert np.mean(smaller) == pytest.approx(0.3, abs=0.03)


def test_returning_cell_gets_a_new_id_and_no_mother():
    colony = Colony(
        np.random.default_rng(0),
        MovieSettings(cells=1, size_px=64, diameter_px=20, cycle_frames=50, smaller_daughter_fraction=0.5, speed_px=1),
    )
    cells, tracks = colony.cells[:1], {}
    here, away = np.ones((8, 8), int), np.zeros((8, 8), int)
    ids = [label_tracks(cells, view, t, tracks).max() for t, view in enumerate([here, here, away, here])]
    assert ids == [1, 1, 0, 2]
    assert tracks == {1: [0, 1, 0], 2: [3, 3, 0]}


def test_stage_drift_is_within_the_margin_and_light_fades():
    microscope = Microscope(np.random.default_rng(0), size_px=64, diameter_px=20, photons=200)
    light = np.ones((144, 144), np.float32)
    first, late = microscope.expose(light, 0).mean(), microscope.expose(light, 60).mean()
    assert late - 100 < 0.75 * (first - 100)
    drifts = []
    for _ in range(1000):
        microscope.move_stage()
        drifts.append(np.abs(microscope.drift).max())
    assert 3 < max(drifts) < microscope.margin


@pytest.mark.slow
def test_thresholding_fails_on_the_movies_of_the_demo(tmp_path):
    settings = yaml.safe_load((DEMO / "config.yaml").read_text())["simulate"]
    for name, own in settings.pop("movies").items():
        simulate(tmp_path / f"{name}.ome.tif", tmp_path / name, MovieSettings(**settings | own))
        movie, truth = tifffile.imread(tmp_path / f"{name}.ome.tif")[::5], read_masks(tmp_path / name)[::5]
        assert average_precision(truth, truth) == 1
        assert average_precision(truth, [otsu_objects(frame) for frame in movie]) < 0.5, name
        assert min(len(np.unique(mask)) - 1 for mask in truth) >= 10, name


def test_demo_trains_validates_and_tests_on_different_simulated_movies():
    movies = yaml.safe_load((DEMO / "config.yaml").read_text())["simulate"]["movies"]
    with open(DEMO / "images.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["image"] for row in rows] == list(movies)
    assert len({movie["seed"] for movie in movies.values()}) == len(movies)
    for row in rows:
        assert row["path"] == f"../../resources/demo/{row['image']}.ome.tif"
        assert row["truth"] in ("", f"../../resources/demo/{row['image']}_truth")
        assert (row["split"] == "predict") == (row["truth"] == "")
    assert {row["split"] for row in rows} == {"train", "val", "test", "predict"}
