"""Writes synthetic pictures of several people in the files of COCO 2017 key points, and as a set of one's own."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .clip import Clip, jpeg
from .coco_labels import CATEGORY, category, flat, polygons, run_lengths, tight_box
from .crowd import Cast, make_crowd
from .layout import Layout, corner, detections, inside, is_test, write_bytes, write_compact
from .points import columns
from .programs import ACTIONS

CAST = Cast(
    people=(1, 7),
    reach=(2.3, 10.0),
    actions=dict.fromkeys(sorted(set(ACTIONS) - {"bench_press", "pullup"}), 1.0)
    | {"stand": 8.0, "walk": 6.0, "run": 2.0},
)
_NOBODY_EVERY, _NOBODY_AT = 8, 5  # pictures to train on without people
_SMALLEST = 256 / (
    320 * 240
)  # share of the picture of a person with key points; smaller ones are outlined only
_FEWEST = 3  # joints seen of a person with key points
_CROWD = 3  # people who make one, of at least twice as many in the picture


def make(seed: int, number: int, *, frames: int, size: tuple[int, int]) -> Clip:
    nobody = number % _NOBODY_EVERY == _NOBODY_AT
    cast = replace(CAST, people=(0, 0)) if nobody else CAST
    return make_crowd(seed, number, cast=cast, frames=frames, size=size)


def write_picture(
    root: Path, number: int, clips: int, clip: Clip, skeleton: dict[str, Any], *, folders: tuple[str, str]
) -> tuple[bool, dict[str, Any], list[dict[str, Any]]]:
    """<folder>/000000000001.jpg; returns whether it is held out, and its entries of `images` and `annotations`.

    Flags: 2 for a joint that is seen, 1 for one that something hides. A person who is small or hardly seen has no
    key points; in some pictures the farthest are one region with iscrowd 1.
    """
    test, name = is_test(number, clips), f"{number + 1:012d}.jpg"
    (frame,) = clip.frames()
    write_bytes(root / folders[test] / name, jpeg(frame.image, clip.sensor.quality))
    width, height = clip.size
    image = {"license": 1, "file_name": name, "height": height, "width": width, "id": number + 1}
    rng = np.random.default_rng(clip.grain_seed)
    masks = [frame.mask(person) for person in range(len(clip.people))]
    crowded = len(masks) >= 2 * _CROWD and rng.random() < 0.6
    single = len(masks) - (_CROWD if crowded else 0)
    chosen = columns(skeleton["joints"])
    annotations = []
    for person, mask in enumerate(masks[:single]):
        if not mask.any():
            continue
        joints, seen = clip.people[person].joints[0, chosen], frame.visible[person, chosen]
        flags = np.where(seen, 2, 1) * inside(joints, clip.size)
        if mask.sum() < _SMALLEST * mask.size or seen.sum() < _FEWEST:
            flags[:] = 0
        annotations.append(
            {
                "segmentation": polygons(mask),
                "num_keypoints": int((flags > 0).sum()),
                "area": int(mask.sum()),
                "iscrowd": 0,
                "keypoints": flat(joints, flags),
                "bbox": corner(tight_box(mask)),
            }
        )
    together = np.any(masks[single:], axis=0) if crowded else np.zeros((height, width), bool)
    if together.any():
        annotations.append(
            {
                "segmentation": run_lengths(together),
                "num_keypoints": 0,
                "area": int(together.sum()),
                "iscrowd": 1,
                "keypoints": [0] * (3 * len(chosen)),
                "bbox": corner(tight_box(together)),
            }
        )
    common = {"image_id": number + 1, "category_id": CATEGORY}
    ids = {"id": 100 * (number + 1)}
    return test, image, [a | common | {"id": ids["id"] + i} for i, a in enumerate(annotations)]


def finish(
    root: Path,
    parts: list[Any],
    skeleton: dict[str, Any],
    *,
    files: tuple[str, str],
    found: str,
    extra: tuple[str, ...],
) -> None:
    """The two label files, and boxes as of a detector in the held-out pictures."""
    boxes: list[dict[str, Any]] = []
    for test, file in enumerate(files):
        of_part = [part for part in parts if part[0] == test]
        labels = {
            "info": {"description": "synthetic pictures", "version": "1"},
            "licenses": [{"id": 1, "name": "none, the pictures are drawn", "url": ""}],
            "images": [image for _, image, _ in of_part],
            "annotations": [annotation for _, _, annotations in of_part for annotation in annotations],
            "categories": [category(skeleton) | {key: skeleton[key] for key in extra}],
        }
        write_compact(root / file, labels)
        if not test:
            continue
        for _, image, annotations in of_part:
            truth = np.array([a["bbox"] for a in annotations if not a["iscrowd"]]).reshape(-1, 4)
            truth[:, 2:] += truth[:, :2] - 1
            size = (image["width"], image["height"])
            for box, score in detections(np.random.default_rng(image["id"]), truth, size):
                boxes.append(
                    {"bbox": corner(box), "category_id": CATEGORY, "image_id": image["id"], "score": score}
                )
    write_compact(root / found, boxes)


LAYOUT = Layout(
    dataset="coco",
    make=make,
    write=partial(write_picture, folders=("train2017", "val2017")),
    finish=partial(
        finish,
        files=("annotations/person_keypoints_train2017.json", "annotations/person_keypoints_val2017.json"),
        found="person_detection_results/COCO_val2017_detections_AP_H_56_person.json",
        extra=(),
    ),
    stills=True,
)
# The same with the names that training/configs/custom.yaml has, and the fields beyond COCO's own form.
CUSTOM = Layout(
    dataset="coco",
    make=make,
    write=partial(write_picture, folders=("images", "images")),
    finish=partial(
        finish,
        files=("annotations/train.json", "annotations/val.json"),
        found="annotations/val_detections.json",
        extra=("flip_pairs", "sigmas"),
    ),
    stills=True,
)
