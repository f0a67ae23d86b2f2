"""Writes synthetic clips of several people in the files of PoseTrack2018: a label file per sequence, tracks, head
boxes, regions that are ignored, frames without labels.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .clip import Clip, Frame, jpeg
from .coco_labels import CATEGORY, category, flat
from .crowd import Cast, make_crowd
from .layout import Layout, corner, detections, is_test, write_bytes, write_compact
from .points import columns

CAST = Cast(
    people=(2, 6),
    reach=(3.2, 9.0),
    actions={
        "walk": 4.0,
        "run": 2.0,
        "stand": 3.0,
        "jump": 1.0,
        "jumping_jacks": 1.0,
        "squat": 1.0,
        "tennis_forehand": 1.0,
        "baseball_pitch": 1.0,
        "strum_guitar": 0.5,
    },
)
_NEVER = ("left_ear", "right_ear")  # slots that the set has, but does not annotate
_DENSE = 30  # frames in the middle of a video that all have labels
_SPARSE = 4  # every fourth has, in the rest of a validation video
_FROM = 3  # people in a clip whose farthest is not labelled, but lies in a region that is ignored


def labelled_frames(frames: int, test: bool) -> np.ndarray:
    """Which frames of a video have labels, bool [F]: the middle 30, of a short one the middle two thirds; in a
    validation video every fourth of the others too.
    """
    dense = min(_DENSE, -(-2 * frames // 3))
    first = (frames - dense) // 2
    chosen = np.zeros(frames, bool)
    chosen[first : first + dense] = True
    if test:
        chosen[::_SPARSE] = True
    return chosen


def write_sequence(
    root: Path, number: int, clips: int, clip: Clip, skeleton: dict[str, Any]
) -> list[dict[str, Any]]:
    """images/<part>/<sequence>/000000.jpg ... and annotations/<part>/<sequence>.json; returns detected boxes.

    A joint has the flag 1 where it is seen, else it is 0, 0, 0. `bbox` is the whole person's outline and `bbox_head`
    the drawn head's.
    """
    test = is_test(number, clips)
    part, video = "val" if test else "train", f"{number + 1:06d}"
    name = f"{video}_synthetic"
    labelled = labelled_frames(clip.length, test)
    ignored = {len(clip.people) - 1} if len(clip.people) >= _FROM else set()
    rng = np.random.default_rng(clip.grain_seed)
    images, annotations, boxes = [], [], []
    for index, frame in enumerate(clip.frames()):
        file = f"images/{part}/{name}/{index:06d}.jpg"
        write_bytes(root / file, jpeg(frame.image, clip.sensor.quality))
        image_id = int(f"1{video}{index:04d}")
        image = {
            "has_no_densepose": True,
            "is_labeled": bool(labelled[index]),
            "file_name": file,
            "nframes": clip.length,
            "frame_id": image_id,
            "vid_id": video,
            "id": image_id,
        }
        images.append(image)
        seen = [person for person in range(len(clip.people)) if frame.mask(person).any()]
        if labelled[index]:
            regions = [_region(frame.mask(person)) for person in seen if person in ignored]
            if regions:
                image["ignore_regions_x"] = [region[:, 0].tolist() for region in regions]
                image["ignore_regions_y"] = [region[:, 1].tolist() for region in regions]
            for person in seen:
                entry = _annotation(clip, frame, index, person, skeleton["joints"])
                if person not in ignored and entry is not None:
                    ids = {"image_id": image_id, "id": 100 * image_id + person}
                    annotations.append(entry | ids)
        if test and labelled[index]:
            truth = np.array([clip.people[person].boxes[index] for person in seen]).reshape(-1, 4)
            for box, score in detections(rng, truth, clip.size):
                boxes.append({"image_name": file, "image_id": image_id, "bbox": corner(box), "score": score})
    labels = {"categories": [category(skeleton)], "images": images, "annotations": annotations}
    write_compact(root / "annotations" / part / f"{name}.json", labels)
    return boxes


def _annotation(
    clip: Clip, frame: Frame, index: int, person: int, joints: Sequence[str]
) -> dict[str, Any] | None:
    truth, chosen = clip.people[person], columns(joints)
    flags = frame.visible[person, chosen].astype(int)
    flags[np.isin(joints, _NEVER)] = 0
    if not flags.any():
        return None
    head = truth.heads[index]
    return {
        "bbox_head": [round(v, 2) for v in (*head[:2].tolist(), *(head[2:] - head[:2]).tolist())],
        "keypoints": flat(truth.joints[index, chosen], flags),
        "track_id": person,
        "bbox": corner(truth.boxes[index]),
        "scores": [],
        "category_id": CATEGORY,
    }


def _region(mask: np.ndarray) -> np.ndarray:
    """The convex polygon int [N, 2] about what is seen of a person, with two pixels of margin."""
    rows, columns_ = np.nonzero(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)))
    return cv2.convexHull(np.column_stack([columns_, rows]).astype(np.int32))[:, 0]


def finish(root: Path, parts: list[list[dict[str, Any]]], skeleton: dict[str, Any]) -> None:
    """Boxes as of a detector in the labelled frames of the validation videos."""
    write_compact(root / "val_boxes.json", [box for part in parts for box in part])


LAYOUT = Layout(
    dataset="posetrack2018", make=partial(make_crowd, cast=CAST), write=write_sequence, finish=finish
)
