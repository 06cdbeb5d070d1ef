"""The tracker: from the detections of a movie to tracks, divisions, gaps and repairs, chosen together.

1. Learn how the objects of the movie move and change (`tessera.tracking.motion_estimation`).
2. Link the detections of consecutive frames; uncertain links stay open (`tessera.tracking.frame_linking`).
3. List what may explain the open ends and starts: the uncertain links, closed gaps (`gap_closing`), divisions
   (`division_candidates`), split and merged cells (`split_merge_repair`), each with its log-likelihood ratio.
4. Choose the combination with the largest total score (`hypotheses`).

Consecutive frames are consecutive tracked frames.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from tessera.settings.sections import TrackSettings
from tessera.tracking.array_types import Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.division_candidates import (
    Alternatives,
    DivisionCandidates,
    find_divisions,
    learn_division_prior,
)
from tessera.tracking.division_scores import EVIDENCE_TERMS
from tessera.tracking.frame_linking import CandidateLinks, LinkedFrames, link_frames
from tessera.tracking.gap_closing import close_gaps, find_gaps, rescore_uncertain_links
from tessera.tracking.hypotheses import (
    UncertainLinks,
    division_hypotheses,
    link_hypotheses,
    repair_hypotheses,
    select_hypotheses,
)
from tessera.tracking.motion_estimation import learn_motion
from tessera.tracking.motion_model import MotionModel, log_likelihood_ratio_shape, vector_lengths
from tessera.tracking.split_merge_repair import Repair, find_merged, find_mergers, find_splits


@dataclass(frozen=True)
class Division:
    """A division.

    Attributes:
        mother, daughter_a, daughter_b: indices of detections. Daughters are in the frame after the mother, or one later
            if one of the three was missed.
        confidence: probability from the total log-likelihood ratio.
        evidence: {term: log-likelihood ratio}, of EVIDENCE_TERMS.
    """

    mother: int
    daughter_a: int
    daughter_b: int
    confidence: float
    evidence: dict[str, float]


@dataclass
class TrackGraph:
    """What became of the detections of a movie.

    Attributes:
        after: int64 (detections,), index of the successor, in the next frame or after a gap; NO_DETECTION.
        before: int64 (detections,), index of the predecessor; NO_DETECTION.
        mother: int64 (detections,), index of the mother of the first detection of a daughter; NO_DETECTION.
        fragment_of: int64 (detections,), index of the detection of the same frame that a fragment belongs to;
            NO_DETECTION for detections that are no fragments.
        model: MotionModel of the movie.
        merged_into: {(detection after a gap, frame in the gap): detection that the missed cell is merged into}.
        divisions: Divisions.
        gaps: {detection after a gap: confidence}.
    """

    after: Indices
    before: Indices
    mother: Indices
    fragment_of: Indices
    model: MotionModel
    merged_into: dict[tuple[int, int], int] = field(default_factory=dict)
    divisions: list[Division] = field(default_factory=list)
    gaps: dict[int, float] = field(default_factory=dict)

    @staticmethod
    def of_confident_links(linked: LinkedFrames, model: MotionModel) -> "TrackGraph":
        """The graph of the confident links alone; all open ends and starts are unexplained."""
        after = np.where(linked.open_ends, NO_DETECTION, linked.after)
        before = np.where(linked.open_starts, NO_DETECTION, linked.before)
        mother, fragment_of = np.full((2, len(after)), NO_DETECTION)
        return TrackGraph(after, before, mother, fragment_of, model)

    def add_links(
        self, detections: Detections, before: ArrayLike, after: ArrayLike, confidence: float | Floats = 1.0
    ) -> None:
        """Link detections to later ones, int64 (links,); `confidence` is kept for links over a gap."""
        first, second = np.asarray(before, int), np.asarray(after, int)
        self.after[first], self.before[second] = second, first
        is_gap = detections.frames[second] - detections.frames[first] > 1
        confidences = np.broadcast_to(confidence, second.shape)[is_gap]
        self.gaps |= zip(second[is_gap].tolist(), confidences.tolist(), strict=True)

    def add_divisions(self, chosen: DivisionCandidates) -> None:
        """Add divisions."""
        for daughters in (chosen.daughter_a, chosen.daughter_b):
            self.before[daughters], self.mother[daughters] = NO_DETECTION, chosen.mother
        self.after[chosen.mother] = NO_DETECTION
        columns = (chosen.mother, chosen.daughter_a, chosen.daughter_b, expit(chosen.llr))
        terms = np.round(chosen.terms, 2).tolist()
        for mother, a, b, confidence, llrs in zip(*(column.tolist() for column in columns), terms, strict=True):
            self.divisions.append(Division(mother, a, b, confidence, dict(zip(EVIDENCE_TERMS, llrs, strict=True))))

    def merge_fragments(self, detections: Detections, split: Repair) -> None:
        """Repair a split cell: its track goes through the larger fragments, and the others belong to them."""
        kept, fragments = split.chain, split.second_chain
        if detections.sizes[fragments].sum() > detections.sizes[kept].sum():
            kept, fragments = fragments, kept
        self.before[fragments], self.after[fragments] = NO_DETECTION, NO_DETECTION
        self.fragment_of[fragments] = kept
        track = [*split.before, *kept, *split.after]
        self.add_links(detections, track[:-1], track[1:])

    def split_merged(self, detections: Detections, merger: Repair) -> None:
        """Repair merged cells: two tracks go through the merged objects, in the order in which they look alike."""
        other_before, first_before = merger.before
        other_after, first_after = merger.after
        merged = merger.chain
        before = [first_before, other_before]
        same_order = self._dissimilarity(detections, before, [first_after, other_after]).sum()
        exchanged = self._dissimilarity(detections, before, [other_after, first_after]).sum()
        if same_order > exchanged:
            first_after, other_after = other_after, first_after
        # The track of one cell goes through the merged objects; that of the other has a gap there.
        self.add_links(detections, [other_before, *merged, first_before], [*merged, other_after, first_after])
        for detection in merged:
            self.merged_into[first_after, int(detections.frames[detection])] = detection

    def _dissimilarity(self, detections: Detections, before: list[int], after: list[int]) -> Floats:
        """How different detections are from later ones, in position, size and shape (pairs,)."""
        first, second = np.asarray(before), np.asarray(after)
        displacements = detections.centers[first] - detections.centers[second]
        distance = vector_lengths(displacements) / self.model.displacement_scale
        size = (detections.log_sizes[first] - detections.log_sizes[second]) / max(self.model.size_change_scale, 0.1)
        n_frames = int((detections.frames[second] - detections.frames[first]).max())
        shape = log_likelihood_ratio_shape(detections.elongations, first, second, self.model, n_frames)
        result: Floats = np.log1p(distance**2 / 3) + np.log1p(size**2 / 3) - shape
        return result


def track_detections(detections: Detections, settings: TrackSettings) -> TrackGraph:
    """Decide what became of each detection of a movie; distances in `settings` are in pixels of x."""
    max_gap_frames, max_distance_px = settings.max_gap_frames, settings.max_distance_px
    model = learn_motion(detections)
    linked = link_frames(detections, model, max_distance_px=max_distance_px)
    uncertain = UncertainLinks(rescore_uncertain_links(detections, model, linked), linked)
    gaps = find_gaps(detections, model, linked, max_gap_frames=max_gap_frames, max_distance_px=max_distance_px)
    linked = close_gaps(linked, gaps)
    max_missed = min(max_gap_frames, 1)
    divisions = find_divisions(detections, model, linked, max_missed_frames=max_missed, max_distance_px=max_distance_px)
    splits: list[Repair] = []
    merged: list[Repair] = []
    if settings.correct_merges_and_splits:
        mergers = find_mergers(detections, model, linked, max_missed_frames=max_missed, max_distance_px=max_distance_px)
        splits = find_splits(detections, model, divisions, mergers, linked.after)
        merged = find_merged(detections, model, divisions, mergers, linked.after)
    if settings.allow_divisions:
        alternatives = _alternatives(gaps, uncertain, splits, merged)
        divisions = learn_division_prior(divisions, detections, model, linked, alternatives)
    else:
        divisions = divisions.select(np.zeros(0, int))
    count = len(detections)
    chosen_links, chosen_gaps, chosen_divisions, chosen_splits, chosen_merged = select_hypotheses(
        [
            link_hypotheses(uncertain.links, count),
            link_hypotheses(gaps, count),
            division_hypotheses(divisions, uncertain, count),
            repair_hypotheses(splits, uncertain, count),
            repair_hypotheses(merged, uncertain, count),
        ]
    )
    graph = TrackGraph.of_confident_links(linked, model)
    graph.add_links(detections, uncertain.links.before[chosen_links], uncertain.links.after[chosen_links])
    confidences = expit(gaps.scores[chosen_gaps])
    graph.add_links(detections, gaps.before[chosen_gaps], gaps.after[chosen_gaps], confidences)
    graph.add_divisions(divisions.select(chosen_divisions))
    for index in chosen_splits:
        graph.merge_fragments(detections, splits[index])
    for index in chosen_merged:
        graph.split_merged(detections, merged[index])
    return graph


def _alternatives(
    gaps: CandidateLinks, uncertain: UncertainLinks, splits: list[Repair], merged: list[Repair]
) -> Alternatives:
    """What explains objects without a predecessor if they are no daughters."""
    links, in_tracks = uncertain.links, uncertain.in_tracks
    after = [
        gaps.after,
        links.after[in_tracks],
        [repair.second_chain[0] for repair in splits],
        [repair.after[1] for repair in merged],
    ]
    scores = [gaps.scores, links.scores[in_tracks], *([each.score for each in repairs] for repairs in (splits, merged))]
    n_merged, n_split = (len({repair.chain[0] for repair in repairs}) for repairs in (merged, splits))
    return Alternatives(np.concatenate(after).astype(int), np.concatenate(scores), n_merged, n_split)
