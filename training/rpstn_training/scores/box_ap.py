"""COCO's average precision of boxes of one category, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

MOST = (
    300  # detections of a picture that count, those with the highest scores; COCO's 100 are few for a crowd
)


@dataclass(frozen=True, kw_only=True)
class BoxFrame:
    """One picture: `truth` [G, 4] and `found` [P, 4] boxes x, y, width, height, `scores` [P] of those found. `ignored`
    [I, 4] are boxes of regions in which nothing counts.
    """

    truth: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray


def box_ap(frames: Sequence[BoxFrame], overlap: float = 0.5) -> float:
    """AP at one overlap (intersection over union), a fraction; NaN where nobody is annotated.

    >>> box, far = np.array([[0.0, 0, 10, 20]]), np.array([[50.0, 0, 10, 20]])
    >>> nothing = np.zeros((0, 4))
    >>> frame = BoxFrame(truth=box, found=np.concatenate([far, box]), scores=np.array([0.9, 0.8]), ignored=nothing)
    >>> round(box_ap([frame]), 6)
    0.5
    >>> round(box_ap([BoxFrame(truth=box, found=frame.found, scores=frame.scores, ignored=far)]), 6)
    1.0
    """
    truth, found = [], []
    for number, frame in enumerate(frames):
        for boxes, is_crowd in ((frame.truth, 0), (frame.ignored, 1)):
            truth += [_row(number, len(truth) + i + 1, box, iscrowd=is_crowd) for i, box in enumerate(boxes)]
        for box, score in zip(frame.found, frame.scores):
            found.append(_row(number, len(found) + 1, box, iscrowd=0, score=float(score)))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(len(frames), truth), _coco(len(frames), found), iouType="bbox")
        evaluation.params.iouThrs = np.array([overlap])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # -1 where nobody is annotated
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _row(image: int, number: int, box: np.ndarray, **more: float) -> dict[str, object]:
    area = float(box[2] * box[3])
    return {"id": number, "image_id": image, "category_id": 1, "bbox": box.tolist(), "area": area, **more}


def _coco(images: int, annotations: list[dict[str, object]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": 1}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
