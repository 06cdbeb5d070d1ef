"""Labels, nodes, gaps and exports agree for any movie; unusual movies take no longer."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from ctc_metrics.scripts.validate import validate_sequence
from PIL import Image
from scipy import ndimage

from helpers.label_movies import same_cells, shuffled, tracked
from helpers.store_batches import place_discs, write_batch, write_image, write_labels
from helpers.track_readers import read_challenge, read_geff, read_napari, read_newick, read_trackmate
from tessera.evaluation.tracking_metrics import score_movie
from tessera.io.ome_zarr_store import open_array
from tessera.report.lineage_plots import cycle_lengths, displacements, draw_counts, draw_tracks, draw_trees
from tessera.report.track_animation import animate
from tessera.settings.sections import TrackSettings
from tessera.tracking import export_ctc, hypotheses
from tessera.tracking.detections import detect
from tessera.tracking.division_candidates import MAX_CANDIDATES_PER_MOTHER, find_divisions
from tessera.tracking.export_ctc import ChallengeFolder
from tessera.tracking.exports import write_geff, write_napari, write_newick, write_trackmate
from tessera.tracking.frame_linking import link_frames
from tessera.tracking.lineage import Lineage, list_tracks, make_table, with_types, write_lineage
from tessera.tracking.motion_estimation import learn_motion
from tessera.tracking.track_movie import track_movie
from tessera.tracking.tracker import track_detections

SIDE = 96


def draw_movie(seed):
    """A random movie int32 (t, y, x) of cells that move, divide, are missed, merged or split, with empty frames."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIDE, SIDE))
    cells, movie = [(*rng.uniform(0, SIDE, 2), rng.uniform(4, 8)) for _ in range(rng.integers(1, 14))], []
    for _ in range(rng.integers(2, 9)):
        grown = []
        for y, x, radius in cells:
            y, x = np.add((y, x), rng.normal(0, 1, 2))
            if rng.random() < 0.08:
                turn = rng.uniform(0, 2 * np.pi)
                off = 0.75 * radius * np.array([np.sin(turn), np.cos(turn)])
                grown += [(y + off[0], x + off[1], 0.75 * radius), (y - off[0], x - off[1], 0.75 * radius)]
            else:
                grown.append((y, x, radius))
        cells, frame = grown, np.zeros((SIDE, SIDE), np.int32)
        for number, (y, x, radius) in enumerate(cells, start=1):
            if rng.random() > 0.08:
                frame[((rows - y) ** 2 + (columns - x) ** 2 <= radius**2) & (frame == 0)] = number
        ids = np.unique(frame[frame > 0])
        if len(ids) and rng.random() < 0.5:
            one = rng.choice(ids)
            beside = np.setdiff1d(frame[ndimage.binary_dilation(frame == one, iterations=4)], [0, one])
            frame[np.isin(frame, beside[:1])] = one
        if len(ids) and rng.random() < 0.5:
            one = frame == rng.choice(ids)
            frame[one & (columns < np.median(columns[one]) if one.any() else one)] = frame.max() + 1
        movie.append(frame * (rng.random() > 0.05))
    return np.stack(movie)


def track_whole(root, movie, *, times=None, **settings):
    """(Lineage, its folder) of a movie of labels (t, y, x)."""
    images, labels, _ = write_batch(root, {"movie": (movie, None)})
    folder = root / "tracks"
    folder.mkdir()
    name, times = "movie.ome.zarr", range(len(movie)) if times is None else times
    settings = TrackSettings(**settings)
    lineage, _ = track_movie(labels / name, images / name, folder, name="movie", times=times, settings=settings)
    return lineage, folder


def nodes_of(lineage):
    return {(int(row.track), int(row.t)): (row.z, row.y, row.x) for row in lineage.nodes.itertuples()}


@pytest.mark.parametrize("seed", [*range(16), 236])
def test_labels_nodes_gaps_and_exports_agree_for_random_movies(tmp_path, seed):
    lineage, folder = track_whole(tmp_path, draw_movie(seed), interpolate_gaps=bool(seed % 2))
    nodes, parents = nodes_of(lineage), lineage.parents
    seen, pixels = {}, {}
    for t, frame in enumerate(open_array(folder / "labels.ome.zarr")[:, 0]):
        for track in np.unique(frame[frame > 0]).tolist():
            places = np.argwhere(frame == track)
            seen[track, t], pixels[track, t] = pytest.approx(places.mean(0)), len(places)
    assert nodes == seen
    assert dict(zip(nodes, lineage.nodes["pixels"], strict=True)) == pixels
    edges, division = lineage.edges()
    over = lineage.nodes.iloc[edges[~division & (lineage.steps(edges) > 1), 0]]
    spans = lineage.gaps.groupby("track")
    for node in over.itertuples():
        assert spans.get_group(node.track)["before"].le(node.t).any()
    write_geff(lineage, folder / "a.geff")
    write_napari(lineage, folder / "a.csv")
    write_trackmate(lineage, folder / "a.xml", image="i", shape=(1, SIDE, SIDE))
    write_newick(lineage, folder / "a.nwk")
    assert read_geff(folder / "a.geff") == (nodes, parents)
    assert read_napari(folder / "a.csv") == (nodes, parents)
    assert read_trackmate(folder / "a.xml") == (nodes, parents)
    assert read_newick(folder / "a.nwk")[1] == parents
    assert read_challenge(folder / "challenge") == (set(nodes), parents)
    if nodes:
        assert validate_sequence(str(folder / "challenge"), threads=1)["Valid"] == 1


def test_node_split_from_merge_has_the_size_and_position_of_its_part(tmp_path):
    places = [(20, 20), (20, 70), (70, 20), (70, 70), (48, 40), (48, 53)]
    truth = np.stack([place_discs((SIDE, SIDE), places, 7)] * 8)
    seen = truth.copy()
    seen[4][seen[4] == 6] = 5
    lineage, _ = track_whole(tmp_path, shuffled(seen))
    assert lineage.repairs["kind"].tolist() == ["split_from_merge"]
    assert len(lineage.gaps) == 0
    both = lineage.nodes[(lineage.nodes["t"] == 4) & lineage.nodes["x"].between(30, 60)].sort_values("x")
    assert both["x"].to_numpy() == pytest.approx([40, 53], abs=1)
    assert both["pixels"].to_numpy() == pytest.approx(np.full(2, (truth[4] == 6).sum()), rel=0.1)
    assert sorted(both["kind"]) == ["found", "split_from_merge"]


def sheet(side, size=10):
    """A plane of side x side square cells, and the same plane as a single object."""
    cells = (1 + np.arange(side * side, dtype=np.int32)).reshape(side, side).repeat(size, 0).repeat(size, 1)
    cells[::size], cells[:, ::size] = 0, 0
    return cells, np.ones_like(cells)


def test_frame_with_all_cells_merged_loses_no_cell():
    cells, blob = sheet(14)
    movie = np.stack([cells, cells, cells, blob, cells, cells])
    labels, parents, _ = tracked(movie)
    assert not parents
    assert same_cells(labels[4:, 0], movie[4:])


def test_division_candidates_per_mother_are_limited():
    cells, blob = sheet(8)
    detections = detect((frame[None], None) for frame in (blob, blob, cells, cells))
    model = learn_motion(detections)
    divisions = find_divisions(detections, model, link_frames(detections, model))
    assert 0 < np.bincount(divisions.mother).max() <= MAX_CANDIDATES_PER_MOTHER


def wander(frames=8, seed=1, step=4):
    rng, places, movie = np.random.default_rng(seed), np.array([(20, 20), (20, 70), (70, 20), (70, 70), (45, 45)]), []
    for _ in range(frames):
        movie.append(place_discs((SIDE, SIDE), places, 6))
        places = places + rng.choice([-step, 0, step], places.shape)
    return np.stack(movie)


@pytest.mark.parametrize("max_distance_px", [1.0, 3.0])
def test_max_distance_px_limits_links_and_gaps(max_distance_px):
    movie = wander()
    detections = detect((frame[None], None) for frame in movie)
    free, held = (
        track_detections(detections, TrackSettings(max_distance_px=limit)) for limit in (None, max_distance_px)
    )
    for links, kept in ((free, False), (held, True)):
        rows = np.flatnonzero(links.before >= 0)
        way = np.linalg.norm(detections.centers[rows] - detections.centers[links.before[rows]], axis=1)
        frames = detections.frames[rows] - detections.frames[links.before[rows]]
        assert (way / frames <= max_distance_px).all() == kept


@pytest.mark.parametrize("seed", range(6))
def test_labels_after_tracking_do_not_depend_on_original_ids(seed):
    movie = draw_movie(seed)
    labels, again = tracked(movie)[0], tracked(shuffled(movie, seed + 1))[0]
    assert ((labels > 0) == (again > 0)).all()
    assert same_cells(again, labels)


def test_radius_of_cells_that_span_all_planes_is_that_of_one_plane():
    flat = wander()[:, None]
    wide, narrow = (detect((frame, None) for frame in movie).radii for movie in (flat.repeat(30, 1), flat))
    assert wide == pytest.approx(narrow)


def test_tracking_every_other_frame_reports_no_gaps_and_is_scored(tmp_path):
    movie = wander(frames=11, step=2)
    lineage, folder = track_whole(tmp_path, shuffled(movie), times=range(0, 11, 2))
    assert (len(lineage.tracks), len(lineage.gaps)) == (5, 0)
    edges, _ = lineage.edges()
    assert (lineage.steps(edges) == 1).all()
    ways = [np.diff([np.argwhere(movie[t] == cell).mean(0) for t in (0, 2)], axis=0) for cell in (1, 2)]
    assert all(np.isclose(displacements(lineage), np.linalg.norm(way) / 2).any() for way in ways)
    assert len((folder / "challenge" / "res_track.txt").read_text().splitlines()) == 5
    assert len(list((folder / "challenge").glob("mask*.tif"))) == 6
    write_lineage(lineage, folder / "lineage")
    truth = write_labels(tmp_path, "truth", movie, extra={"lineage": [[cell, 0, 10, 0] for cell in range(1, 6)]})
    assert score_movie(folder, truth)["tra"] == 1
    assert score_movie(folder, truth, roi=(0, 50, 0, 96))["chota"] == 1
    draw_counts(lineage), draw_tracks(lineage, tmp_path / "images" / "one" / "movie.ome.zarr")


def test_tracks_of_selected_frames_are_scored_against_those_frames(tmp_path):
    movie = wander(frames=8)
    lineage, folder = track_whole(tmp_path, shuffled(movie), times=range(2, 6))
    write_lineage(lineage, folder / "lineage")
    known = np.where(np.isin(np.arange(8), range(2, 6))[:, None, None], movie, -1).astype(np.int32)
    extra = {"annotated_t": [2, 3, 4, 5], "lineage": [[cell, 2, 5, 0] for cell in range(1, 6)]}
    scores = score_movie(folder, write_labels(tmp_path, "truth", known, extra=extra))
    assert (scores["tra"], scores["chota"], scores["complete_tracks"]) == (1, 1, 1)


def lineage_of(rows, **attributes):
    """A Lineage without divisions, from nodes (track, t, x)."""
    nodes = pd.DataFrame(rows, columns=["track", "t", "x"]).assign(label=1, z=0.0, y=0.0, pixels=9, kind="found")
    frames = 1 + max(t for _, t, _ in rows)
    empty = {name: make_table(name, []) for name in ("divisions", "gaps", "repairs")}
    attributes = {"frames": frames, "tracked": list(range(frames))} | attributes
    return Lineage(with_types(nodes, "nodes"), list_tracks(nodes, {}), **empty, **attributes)


def test_equal_displacements_can_be_drawn():
    lineage = lineage_of([(track, t, track + 5.7 * t + 1e-13 * track * t) for track in range(1, 4) for t in range(6)])
    assert len(np.unique(displacements(lineage))) > 1
    assert len(cycle_lengths(lineage)) == 0
    draw_counts(lineage), draw_trees(lineage)


@pytest.mark.parametrize("frames", [2, 4, 11, 13, 97])
def test_frame_ticks_are_integers(frames):
    lineage = lineage_of([(1, t, 3.0 * t) for t in range(frames)])
    for figure, axis in ((draw_trees(lineage), "y"), (draw_counts(lineage), "x")):
        figure.draw_without_rendering()
        ticks = getattr(figure.axes[0], f"get_{axis}ticks")()
        assert len(ticks) > 1
        assert (ticks == np.rint(ticks)).all()
    assert len(draw_counts(lineage).axes[1].get_xticks()) == 0, "no cell cycle, no scale"


def test_figure_of_a_tall_image_is_limited_in_size(tmp_path):
    path = write_image(tmp_path, "tall", np.zeros((2, 1, 1, 2000, 24), np.uint16))
    figure = draw_tracks(lineage_of([(1, 0, 3.0), (1, 1, 4.0)]), path)
    assert max(figure.get_size_inches() * figure.dpi) < 1000


@pytest.mark.parametrize(
    ("pixel_size_um", "x", "unit"), [((None, None, 0.5), 4, "pixel"), ((None, 0.5, 0.5), 2, "micron")]
)
def test_trackmate_positions_are_in_the_named_unit(tmp_path, pixel_size_um, x, unit):
    write_trackmate(
        lineage_of([(1, 0, 4.0)], pixel_size_um=pixel_size_um), tmp_path / "a.xml", image="i", shape=(1, 9, 9)
    )
    assert f'spatialunits="{unit}"' in (tmp_path / "a.xml").read_text()
    assert read_trackmate(tmp_path / "a.xml")[0][1, 0] == (0, 0, x)


def test_unknown_plane_distance_is_the_pixel_width_everywhere(tmp_path):
    lineage = lineage_of([(1, 0, 4.0), (1, 1, 4.0)], pixel_size_um=(None, 0.5, 0.25))
    lineage.nodes["z"] = [0.0, 4.0]
    assert displacements(lineage).tolist() == [1.0]  # as tracking does: four times the width of a pixel
    write_trackmate(lineage, tmp_path / "a.xml", image="i", shape=(5, 9, 9))
    assert 'voxeldepth="0.25"' in (tmp_path / "a.xml").read_text()
    assert read_trackmate(tmp_path / "a.xml")[0][1, 1] == (1, 0, 1)


def test_track_figures_show_all_planes_of_a_stack(tmp_path):
    pixels = np.zeros((2, 1, 5, 40, 40), np.uint16)
    pixels[:, :, 0, 4:12, 4:12] = 900  # in the outermost plane alone
    image = write_image(tmp_path, "stack", pixels)
    lineage = lineage_of([(1, 0, 8.0), (1, 1, 8.0)])
    assert np.asarray(draw_tracks(lineage, image).axes[0].images[0].get_array())[8, 8] == 255
    labels = write_image(tmp_path, "labels", (pixels > 0).astype(np.uint16))
    animate(tmp_path / "a.gif", lineage, image, labels)
    with Image.open(tmp_path / "a.gif") as animation:
        shown = np.asarray(animation.convert("RGB")).astype(int)
    side = shown.shape[0] / 40
    assert shown[int(8 * side), int(8 * side)].min() > 150
    assert shown[int(30 * side), int(30 * side)].max() < 50


def test_challenge_masks_all_have_the_same_dtype(tmp_path, monkeypatch):
    monkeypatch.setattr(export_ctc, "MAX_16_BIT_TRACKS", 3)
    folder = ChallengeFolder(tmp_path / "challenge", 4, 2)
    for t, frame in enumerate(([[1, 2]], [[3, 4]])):
        folder.add(t, np.array([frame], np.int32))
    assert not folder.finish({})
    assert {tifffile.imread(path).dtype for path in (tmp_path / "challenge").glob("*.tif")} == {np.dtype(np.uint32)}


def test_independent_groups_can_be_solved_separately(monkeypatch):
    rng = np.random.default_rng(5)
    gains = rng.normal(1, 2, 3000)
    # Groups of five hypotheses need three of the same six resources each.
    uses = np.argsort(rng.random((3000, 6)), axis=1)[:, :3] + 6 * (np.arange(3000) // 5)[:, None]
    whole = hypotheses.select(gains, uses)
    monkeypatch.setattr(hypotheses, "HYPOTHESES_PER_PROGRAM", 50)
    apart = hypotheses.select(gains, uses)
    assert gains[apart].sum() == pytest.approx(gains[whole].sum())
    monkeypatch.setattr(hypotheses, "MAX_HYPOTHESES_PER_PROGRAM", 0)
    greedy = hypotheses.select(gains, uses)
    assert 0.8 * gains[whole].sum() < gains[greedy].sum() <= gains[whole].sum() + 1e-9
