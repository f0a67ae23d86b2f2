"""COCO's average precision of key points, by pycocotools, and what SimpleBaselines and HRNet do before it.

Object key-point similarity of a pose with an annotated one, over the K joints that are annotated:

    OKS = mean of exp(-d^2 / (2 s^2 (2 sigma)^2))         s^2 the annotated area, sigma the joint's tolerance

A top-down network finds a person once for each box, so its poses are rescored and thinned out first: `rescore`,
then `oks_nms` or `soft_oks_nms` per picture.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from ..data.similarity import pose_similarity

STATS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
MAX_DETECTIONS = 20  # of one picture that count, those with the highest scores

_RESCORED = "score of the box times mean of the joint scores above 0.2"
NMS = {  # how the poses of a picture are thinned out
    "oks": f"{_RESCORED}; one more similar than OKS 0.9 to a better one of its picture is left out",
    "soft": f"{_RESCORED}; at most 20 a picture, chosen by soft OKS-NMS",
    "none": f"{_RESCORED}; none is left out",
}

_JOINT_THRESHOLD = 0.2  # a joint with a lower peak does not enter the score of its pose
_NMS_THRESHOLD = 0.9


def rescore(
    box_scores: np.ndarray, joint_scores: np.ndarray, *, threshold: float = _JOINT_THRESHOLD
) -> np.ndarray:
    """Score [N] of each pose: that of its box [N] times the mean of its joint scores [N, K] above `threshold`.

    A pose with no joint above it scores 0.
    """
    good = joint_scores > threshold
    total = np.where(good, joint_scores, 0.0).sum(axis=1)
    return box_scores * np.divide(total, good.sum(axis=1), out=np.zeros(len(good)), where=good.any(axis=1))


def oks_nms(
    poses: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    *,
    threshold: float = _NMS_THRESHOLD,
) -> list[int]:
    """The poses of one picture that stay, best first: one that is more similar than `threshold` to a better one
    goes.

    Args:
        poses (float64 ndarray[N, K, 2]): pixels of the image.
        scores (ndarray[N]): from `rescore`. areas (ndarray[N]): of the enlarged crops, in square pixels.
        sigmas (ndarray[K]): tolerances of the joints.
    """
    order, kept = _best_first(scores), []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[pose_similarity(poses[best], poses[rest], areas[best], areas[rest], sigmas) <= threshold]
    return kept


def soft_oks_nms(
    poses: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    *,
    threshold: float = _NMS_THRESHOLD,
    most: int = MAX_DETECTIONS,
) -> list[int]:
    """As `oks_nms`, but nothing goes: similar poses sink, exp(-OKS^2 / threshold) times for each better one, and
    the first `most` stay. The sunken scores choose the order only; a pose keeps its own, as in HRNet.
    """
    order = _best_first(scores)
    sunken, kept = scores[order], []
    while order.size and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        similarity = pose_similarity(poses[best], poses[order], areas[best], areas[order], sigmas)
        sunken = sunken[1:] * np.exp(-(similarity**2) / threshold)
        again = _best_first(sunken)
        order, sunken = order[again], sunken[again]
    return kept


def _best_first(scores: np.ndarray) -> np.ndarray:
    """Of equal scores the last first, which numpy's default order gives the reference for few poses."""
    return np.argsort(scores, kind="stable")[::-1]


@dataclass(frozen=True, kw_only=True)
class KeypointAp:
    """Fractions of 1, NaN where no annotated person is in the range of areas. `stats` has the keys `STATS`;
    `precision` and `recall` are by threshold of OKS, "0.50" to "0.95".
    """

    stats: Mapping[str, float]
    precision: Mapping[str, float]
    recall: Mapping[str, float]


def keypoint_ap(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> KeypointAp:
    """AP and AR by pycocotools, whose rules they are.

    Args:
        ground_truth: `images` (id), `categories` (id) and `annotations` (id, not 0, image_id, category_id,
            keypoints, num_keypoints, bbox, area, iscrowd) as in COCO's files.
        results: image_id, category_id, keypoints and score each, with an image_id of `images`; may be empty.
        sigmas: tolerances of the K joints.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {key: [dict(entry) for entry in entries] for key, entries in ground_truth.items()}
        truth.createIndex()
        found = truth.loadRes([dict(entry) for entry in results]) if results else _nothing(truth)
        evaluation = COCOeval(truth, found, iouType="keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, dtype=np.float64)
        with _shown(evaluation):
            evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    thresholds = [f"{threshold:.2f}" for threshold in evaluation.params.iouThrs]
    # [threshold, recall point, category, area, detections] and without the recall points; -1 is not defined.
    precision, recall = evaluation.eval["precision"][:, :, :, 0, 0], evaluation.eval["recall"][:, :, 0, 0]
    return KeypointAp(
        stats=dict(zip(STATS, (_defined(value) for value in evaluation.stats))),
        precision={name: _mean_defined(values) for name, values in zip(thresholds, precision)},
        recall={name: _mean_defined(values) for name, values in zip(thresholds, recall)},
    )


@contextlib.contextmanager
def _shown(evaluation: COCOeval) -> Iterator[None]:
    """A progress bar over the pictures, of which pycocotools asks for similarities once and for matches per area."""
    parameters = evaluation.params
    calls = len(parameters.imgIds) * len(parameters.catIds) * (1 + len(parameters.areaRng))
    with tqdm(total=calls, desc="matching", delay=2.0, leave=False) as bar:

        def counted(method: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                bar.update()
                return method(*arguments)

            return call

        evaluation.computeOks = counted(evaluation.computeOks)
        evaluation.evaluateImg = counted(evaluation.evaluateImg)
        yield


def _nothing(truth: COCO) -> COCO:
    """No results, of which pycocotools' own reader makes an IndexError."""
    found = COCO()
    found.dataset = {
        "images": truth.dataset["images"],
        "categories": truth.dataset["categories"],
        "annotations": [],
    }
    found.createIndex()
    return found


def _defined(value: float) -> float:
    return float("nan") if value == -1 else float(value)


def _mean_defined(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
