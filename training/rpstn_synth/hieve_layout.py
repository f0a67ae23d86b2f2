"""Writes synthetic videos of crowds in the files of HiEve: real .mp4 files, and labels in PoseTrack17's form."""

from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from rpstn_training.video.encoding import OverlayWriter

from .clip import RATE, Clip
from .crowd import Cast, make_crowd
from .layout import Layout, detections, inside, is_test, rank, write_compact
from .points import columns

CAST = Cast(
    people=(7, 14),
    reach=(5.0, 13.0),
    actions={"walk": 5.0, "stand": 5.0, "run": 1.5, "pick": 0.5},
    eye=(2.4, 4.2),
    focal=(1.0, 1.4),
    outdoor=0.8,
)
VALIDATION = (3, 7, 8, 17)  # the paper's, of the 19 videos with labels
_SMALLEST = 500 / (320 * 240)  # share of the picture of a box with a pose; the set has 500 pixels
_FEWEST = 3  # joints seen of a person with a pose


def video_number(number: int, clips: int) -> int:
    """The name of the video of clip `number`: held-out clips are the paper's four, the others the rest from 1 on.

    There are no more than four to hold out: later ones are trained on, with the numbers from 1001 on.
    """
    place = rank(number, clips)
    if not is_test(number, clips):
        return next(islice((n for n in count(1) if n not in VALIDATION), place, None))
    return VALIDATION[place] if place < len(VALIDATION) else 1001 + place


def write_video(
    root: Path, number: int, clips: int, clip: Clip, skeleton: dict[str, Any]
) -> tuple[int, list[dict[str, Any]]]:
    """videos/train/<n>.mp4 and labels/train/track2&3/<n>.json; returns n and detected boxes.

    A point has the score 1 where it is seen and 0 where something hides it, and is absent outside the picture. A
    person who is small or hardly seen is a box without points. Boxes are those of the whole person; with the points,
    the crowd index follows from them.
    """
    name = video_number(number, clips)
    rng = np.random.default_rng(clip.grain_seed)
    path = root / "videos" / "train" / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = columns(skeleton["joints"])
    labels, found = [], []
    with OverlayWriter(path, RATE, clip.size) as video:
        for index, frame in enumerate(clip.frames()):
            video.write(frame.image[..., ::-1])
            people = [p for p in range(len(clip.people)) if frame.mask(p).any()]
            labels.append(
                _entry(index, [_person(clip, index, p, chosen, frame.visible[p, chosen]) for p in people])
            )
            truth = np.array([clip.people[p].boxes[index] for p in people]).reshape(-1, 4)
            boxes = detections(rng, truth, clip.size)
            found.append(
                _entry(
                    index,
                    [_rectangle(box, score) | {"track_id": [i]} for i, (box, score) in enumerate(boxes)],
                )
            )
    write_compact(root / "labels" / "train" / "track2&3" / f"{name}.json", {"annolist": labels})
    return name, found


def _entry(frame: int, people: list[dict[str, Any]]) -> dict[str, Any]:
    return {"image": [{"name": f"{frame:06d}.jpg"}], "ignore_regions": [], "annorect": people}


def _rectangle(box: np.ndarray, score: float) -> dict[str, Any]:
    corners = zip(("x1", "y1", "x2", "y2"), np.round(box).astype(int).tolist())
    return {key: [value] for key, value in corners} | {"score": [score]}


def _person(clip: Clip, index: int, person: int, chosen: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    truth = clip.people[person]
    joints, box = truth.joints[index, chosen], truth.boxes[index]
    drawn = inside(joints, clip.size)
    if np.prod(box[2:] - box[:2] + 1) < _SMALLEST * np.prod(clip.size) or seen.sum() < _FEWEST:
        drawn[:] = False
    points = [
        {"id": [int(j)], "x": [round(x, 2)], "y": [round(y, 2)], "score": [int(seen[j])]}
        for j, (x, y) in enumerate(joints.tolist())
        if drawn[j]
    ]
    return _rectangle(box, 1) | {"track_id": [person], "annopoints": [{"point": points}] if points else []}


def finish(root: Path, parts: list[tuple[int, list[dict[str, Any]]]], skeleton: dict[str, Any]) -> None:
    """detections/<n>.json for the validation videos, as of a detector, in the labels' form."""
    for name, found in parts:
        if name in VALIDATION:
            write_compact(root / "detections" / f"{name}.json", {"annolist": found})


LAYOUT = Layout(
    dataset="hieve", make=partial(make_crowd, cast=CAST), write=write_video, finish=finish, even=True
)
