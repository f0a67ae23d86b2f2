"""Average precision of PoseTrack, after its reference tool poseval: joints, scored by assigned people.

In one frame, with D(p, g, j) the distance of joint j of a prediction p from a person g as a share of g's head size:

    match(p, g, j) = D <= 0.5
    PCKh(p, g)     = matches / annotated joints of g

Each prediction keeps only the person with its highest PCKh, and each person takes the best of the predictions left
to it, if any has more than 0. A joint of an assigned prediction is a true positive if it matches; every other
predicted joint is a false positive. AP is the area under the envelope of precision over recall (VOC, all points).
Where a rule of poseval is odd it is kept: a joint that is nowhere predicted has an AP of 0, even if nowhere annotated.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

THRESHOLD = 0.5  # of the head size
HEAD_SHARE = 0.6  # head size: this share of the diagonal of the head's box
NO_SCORE = -9999.0  # of a joint without a score


@dataclass(frozen=True, kw_only=True)
class People:
    """N people in one frame: `joints` [N, K, 2], `present` bool [N, K] annotated or predicted joints, `scores` [N, K]
    of predictions, `heads` [N] head sizes in pixels and `tracks` int [N]; heads, scores and tracks are of no meaning
    where they are not used.
    """

    joints: np.ndarray
    present: np.ndarray
    scores: np.ndarray
    heads: np.ndarray
    tracks: np.ndarray

    def __len__(self) -> int:
        return len(self.joints)

    def without(self, regions: list[np.ndarray]) -> "People":
        """Without the joints inside a polygon [N, 2], and without the people to whom no joint is left."""
        present = self.present & ~in_regions(self.joints, regions)
        kept = present.any(axis=1)
        return People(
            joints=self.joints[kept],
            present=present[kept],
            scores=self.scores[kept],
            heads=self.heads[kept],
            tracks=self.tracks[kept],
        )


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """P predictions and G people of one frame: `distances` [P, G, K] as shares of the head size, infinite where a joint
    is not in both; `matches` bool of the same shape; `assigned` int [P], the person of each prediction or -1.
    """

    distances: np.ndarray
    matches: np.ndarray
    assigned: np.ndarray


def pair(truth: People, found: People, threshold: float = THRESHOLD) -> Pairs:
    """Distances, and predictions assigned to people one to one. The scores of predictions play no part."""
    both = found.present[:, None] & truth.present[None]
    with np.errstate(
        divide="ignore", invalid="ignore", over="ignore"
    ):  # nothing matches a head box of no size
        distances = np.linalg.norm(found.joints[:, None] - truth.joints[None], axis=-1) / truth.heads[:, None]
    distances = np.where(both, distances, np.inf)
    matches = distances <= threshold
    annotated = truth.present.sum(axis=1)
    pckh = matches.sum(axis=2) / np.maximum(annotated, 1)
    return Pairs(distances=distances, matches=matches, assigned=one_to_one(pckh))


def one_to_one(likeness: np.ndarray) -> np.ndarray:
    """For each of P predictions its person among G, or -1, by `likeness` [P, G]; the first one wins a tie."""
    predictions, people = likeness.shape
    assigned = np.full(predictions, -1)
    if predictions and people:
        rows = np.arange(predictions)
        best = likeness.argmax(axis=1)
        kept = np.zeros_like(likeness)
        kept[rows, best] = likeness[rows, best]
        taken = np.flatnonzero(kept.max(axis=0) > 0)
        assigned[kept.argmax(axis=0)[taken]] = taken
    return assigned


def outcome(found: People, pairs: Pairs) -> np.ndarray:
    """Bool [P, K]: which joints of the predictions are true positives."""
    hits = np.zeros(found.present.shape, dtype=bool)
    taken = np.flatnonzero(pairs.assigned >= 0)
    hits[taken] = pairs.matches[taken, pairs.assigned[taken]]
    return hits & found.present


@dataclass(frozen=True, kw_only=True)
class ApResult:
    """Fractions per joint [K]. `annotated`, `predicted` and `hits` int [K] are what they were counted from, `tied` the
    number of predicted joints whose score another one of their kind has too.
    """

    ap: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    annotated: np.ndarray
    predicted: np.ndarray
    hits: np.ndarray
    tied: int


def average_precision(frames: Iterable[tuple[People, People, Pairs]], joints: int) -> ApResult:
    """AP, precision and recall of `joints` joints over frames of (people, predictions, their pairs)."""
    annotated = np.zeros(joints, dtype=np.int64)
    scores: list[np.ndarray] = [np.empty((0, joints))]
    hits: list[np.ndarray] = [np.empty((0, joints), dtype=bool)]
    present: list[np.ndarray] = [np.empty((0, joints), dtype=bool)]
    for truth, found, pairs in frames:
        annotated += truth.present.sum(axis=0)
        scores.append(found.scores)
        present.append(found.present)
        hits.append(outcome(found, pairs))
    all_scores, all_hits, all_present = map(np.concatenate, (scores, hits, present))
    rows, tied = [], 0
    for joint in range(joints):
        counted = all_present[:, joint]
        joint_scores = all_scores[counted, joint]
        rows.append(precision_recall(joint_scores, all_hits[counted, joint], annotated[joint]))
        _, times = np.unique(joint_scores, return_counts=True)
        tied += int(times[times > 1].sum())
    ap, precision, recall = np.array(rows).T
    return ApResult(
        ap=ap,
        precision=precision,
        recall=recall,
        annotated=annotated,
        predicted=all_present.sum(axis=0),
        hits=all_hits.sum(axis=0),
        tied=tied,
    )


def precision_recall(
    scores: np.ndarray, hits: np.ndarray, positives: float, weights: np.ndarray | None = None
) -> tuple[float, float, float]:
    """AP, and precision and recall of all predictions together. NaN where there is nothing to find, 0 where nothing
    was predicted.

    scores, hits (ndarray[N]): of each prediction, in any order. positives: how many there are to find. weights
    (ndarray[N]): what each prediction counts, default 1; positives are then a sum of weights too.
    Equal scores are ordered as poseval orders them, by numpy's argsort.
    """
    if len(scores) == 0:
        return 0.0, 0.0, 0.0
    order = np.argsort(scores)[::-1]
    counts = np.ones(len(scores)) if weights is None else weights[order]
    found = np.cumsum(counts * hits[order])
    seen = np.cumsum(counts)
    precision = np.divide(found, seen, out=np.zeros(len(seen)), where=seen > 0)
    if positives == 0:
        return float("nan"), float(precision[-1]), float("nan")
    recall = found / positives
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * envelope).sum()), float(precision[-1]), float(recall[-1])


def in_regions(points: np.ndarray, regions: list[np.ndarray]) -> np.ndarray:
    """Which points [..., 2] are inside one of the polygons [N, 2]."""
    result = np.zeros(points.shape[:-1], dtype=bool)
    for region in regions:
        result |= inside(points, region)
    return result


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which points [..., 2] are inside a polygon [N, 2], its border not included, as shapely's `contains` has it: a ray
    to the right crosses the border an odd number of times. Exact, also on the border.
    """
    flat, polygon = points.reshape(-1, 2).astype(np.float64), polygon.astype(np.float64)
    if len(polygon) < 3:
        return np.zeros(points.shape[:-1], dtype=bool)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    near = np.flatnonzero(((flat > low) & (flat < high)).all(axis=1))  # border and outside are out anyway
    result = np.zeros(len(flat), dtype=bool)
    if len(near):
        result[near] = _crossings(flat[near], polygon)
    return result.reshape(points.shape[:-1])


def _crossings(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    starts, ends = polygon, np.roll(polygon, -1, axis=0)
    y = points[:, 1, None]
    below, above = (
        starts[:, 1] <= y,
        ends[:, 1] <= y,
    )  # [points, edges]: whether an end is at or under the ray
    side = _side(points, starts, ends)
    between = (points[:, None] >= np.minimum(starts, ends)).all(axis=-1)
    between &= (points[:, None] <= np.maximum(starts, ends)).all(axis=-1)
    on_border = (between & (side == 0)).any(axis=1)
    upwards, downwards = below & ~above, ~below & above
    crossed = (upwards & (side > 0)) | (downwards & (side < 0))
    return (crossed.sum(axis=1) % 2 == 1) & ~on_border


def _side(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sign [points, edges] of (end - start) x (point - start): 1 left, -1 right of the edge, 0 on its line."""
    way = ends - starts
    offset = points[:, None] - starts
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = way[:, 0] * offset[..., 1], way[:, 1] * offset[..., 0]
        cross = first - second
        # The rounding error is below 8 units of the last place of the products: within it, rational numbers decide.
        unsure = ~(np.abs(cross) > 8 * np.finfo(float).eps * (np.abs(first) + np.abs(second)))
    sign = np.sign(cross)
    for point, edge in np.argwhere(unsure):
        x, y, x1, y1, x2, y2 = map(Fraction, (*points[point], *starts[edge], *ends[edge]))
        exact = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        sign[point, edge] = (exact > 0) - (exact < 0)
    return sign
