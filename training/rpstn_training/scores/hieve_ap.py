"""Average precision of poses in crowds, AP and w-AP, as far as HiEve's authors publish it (arXiv 2005.04490).

Known: a prediction is assigned to the person with whom it has the highest PCKh, one to one; what is not assigned is a
false positive; AP@avg is the mean over alpha 0.5, 0.75, 0.9; invisible key points are not scored; w-AP weighs a frame
by its crowd index and its anomalous actions. What alpha is, the formula of the weight and where it enters are not
published, and the only official scorer is a server: everything here is unofficial, and each reading has a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .posetrack_ap import THRESHOLD, People, one_to_one, outcome, pair, precision_recall
from .table import mean_of_known

ALPHAS = (0.5, 0.75, 0.9)
CRITERIA = {
    "pckh_fraction": "a pose is found if the share of its person's visible joints that are within 0.5 head sizes is at "
    "least alpha",
    "oks": "a pose is found if its object key-point similarity with its person is at least alpha",
    "poseval_distance": "joints are scored one by one, as poseval does, within alpha head sizes; mean over the joints",
}
WEIGHTS = {"A": "2 exp(CI) + N", "B": "2 CI + N", "none": "1"}
SIGMAS = (
    np.array([0.26, 0.79, *2 * (0.79, 0.72, 0.62), *2 * (1.07, 0.87, 0.89)]) / 10
)  # COCO's; chest as shoulders


@dataclass(frozen=True, kw_only=True)
class CrowdFrame:
    """One frame: `truth` has visible joints alone; `areas` [G] of people's boxes, `scores` [P] of predicted poses,
    `weight` of the frame in w-AP.
    """

    truth: People
    found: People
    areas: np.ndarray
    scores: np.ndarray
    weight: float


def crowd_index(joints: np.ndarray, present: np.ndarray, boxes: np.ndarray) -> float:
    """CI = 1/n sum_i Nb_i / Na_i, after CrowdPose: Na_i joints of person i, Nb_i joints of others in i's box. It is not
    capped at 1. People without joints are in no sum; 0 without people.

    joints [N, K, 2], present bool [N, K], boxes [N, 4] x1, y1, x2, y2, whose border is inside; NaN holds nothing.
    """
    own = present.sum(axis=1)
    low, high = boxes[:, None, None, :2], boxes[:, None, None, 2:]
    within = ((joints >= low) & (joints <= high)).all(axis=-1) & present  # [box, person, joint]
    held = within.sum(axis=2)
    others = held.sum(axis=1) - np.diagonal(held)
    counted = own > 0
    return float((others[counted] / own[counted]).mean()) if counted.any() else 0.0


def frame_weight(formula: str, index: float, actions: int) -> float:
    """The weight of a frame with crowd index CI and N kinds of anomalous actions."""
    return {"A": 2 * np.exp(index) + actions, "B": 2 * index + actions, "none": 1.0}[formula]


def similarity(truth: People, found: People, areas: np.ndarray) -> np.ndarray:
    """OKS [P, G] over the visible joints of each person; a joint that is not predicted counts as 0."""
    with np.errstate(over="ignore", under="ignore"):  # far away is far away
        squared = ((found.joints[:, None] - truth.joints[None]) ** 2).sum(axis=-1)
        scale = 2 * areas[:, None] * (2 * SIGMAS) ** 2 + np.finfo(float).eps
        near = np.exp(-squared / scale) * (found.present[:, None] & truth.present[None])
    return near.sum(axis=2) / np.maximum(truth.present.sum(axis=1), 1)


def pose_likeness(frame: CrowdFrame, criterion: str) -> np.ndarray:
    """[P]: how well each pose fits the person that it is assigned to; -1 without one."""
    if criterion == "oks":
        likeness = similarity(frame.truth, frame.found, frame.areas)
        assigned = one_to_one(likeness)
    else:
        pairs = pair(frame.truth, frame.found, THRESHOLD)
        likeness = pairs.matches.sum(axis=2) / np.maximum(frame.truth.present.sum(axis=1), 1)
        assigned = pairs.assigned
    result = np.full(len(frame.found), -1.0)
    taken = np.flatnonzero(assigned >= 0)
    result[taken] = likeness[taken, assigned[taken]]
    return result


def hieve_ap(
    frames: Sequence[CrowdFrame], alphas: Sequence[float], criterion: str, *, weighted: bool
) -> list[tuple[float, float, float]]:
    """AP, precision and recall at each alpha, as fractions. With `weighted` each prediction and each person or joint to
    be found counts as much as its frame weighs.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"hieve_ap: expected criterion {', '.join(CRITERIA)}, got {criterion!r}")
    weights = [frame.weight if weighted else 1.0 for frame in frames]
    if criterion == "poseval_distance":
        return [_by_joint(frames, weights, alpha) for alpha in alphas]
    likeness = np.concatenate([np.empty(0), *(pose_likeness(frame, criterion) for frame in frames)])
    scores = np.concatenate([np.empty(0), *(frame.scores for frame in frames)])
    counts = np.concatenate([np.empty(0), *(np.full(len(f.found), w) for f, w in zip(frames, weights))])
    positives = sum(len(frame.truth) * weight for frame, weight in zip(frames, weights))
    return [precision_recall(scores, likeness >= alpha, positives, counts) for alpha in alphas]


def _by_joint(
    frames: Sequence[CrowdFrame], weights: Sequence[float], alpha: float
) -> tuple[float, float, float]:
    joints = len(SIGMAS)
    counted, hits, scores, each = [], [], [], []
    positives = np.zeros(joints)
    for frame, weight in zip(frames, weights):
        pairs = pair(frame.truth, frame.found, alpha)
        unseen = np.zeros(frame.found.present.shape, dtype=bool)
        taken = np.flatnonzero(pairs.assigned >= 0)
        unseen[taken] = ~frame.truth.present[pairs.assigned[taken]]
        counted.append(frame.found.present & ~unseen)  # invisible joints of the person are not scored
        hits.append(outcome(frame.found, pairs))
        scores.append(frame.found.scores)
        each.append(np.full(len(frame.found), weight))
        positives += weight * frame.truth.present.sum(axis=0)
    rows = []
    all_counted, all_hits, all_scores, all_each = map(np.concatenate, (counted, hits, scores, each))
    for joint in range(joints):
        kept = all_counted[:, joint]
        rows.append(
            precision_recall(all_scores[kept, joint], all_hits[kept, joint], positives[joint], all_each[kept])
        )
    return tuple(mean_of_known(column) for column in np.array(rows).T)
