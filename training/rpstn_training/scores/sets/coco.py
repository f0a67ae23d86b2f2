"""COCO 2017 key points: AP and AR of a result file by pycocotools, and result files as the server takes them.

    [{"image_id": 785, "category_id": 1, "keypoints": [x, y, score, ...], "score": 0.9}, ...]

For test-dev, whose labels only the server has, the file lies in a zip under the server's name,
person_keypoints_test-dev2017_<algorithm>_results.json.
"""

import importlib.metadata
import io
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from ...data.boxes import around
from ...data.findings import Report
from ...data.forms import coco_form, jsonfiles
from ...data.forms.jsonfiles import Fields
from ...data.records import Skeleton, Track
from ...data.sets import coco as dataset
from ...errors import UserError
from ...files import atomic_write
from ...predictions import Prediction
from .. import coco_ap
from ..set_score import SetScore
from ..table import Table

_DIGITS = 3  # of coordinates in a written file, thousandths of a pixel


def score(gt: Path, pred: Path) -> Table:
    """AP and AR of the results `pred` against the labels `gt`, person_keypoints_val2017.json.

    Raises UserError naming file and field of what is not as COCO has it: a picture of the results that the labels do
    not list, for one.
    """
    file = Fields(gt, "", jsonfiles.load(gt))
    joints = dataset.SKELETON.joints
    category = coco_form.require_joints(file, joints, dataset.SKELETON.name)
    return score_results(
        read_truth(file, joints, 1 if category is None else category.id("id")),
        pred,
        dataset.SKELETON.sigmas,
        title="COCO key points",
    )


def write(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    out: Path,
    *,
    root: Path,
    subset: str = "test",
    images: Literal["val", "test-dev"] = "val",
    input_size: tuple[int, int] = (192, 256),
    box_scale: float = 1.25,
    nms: Literal["oks", "soft", "none"] = "oks",
    algorithm: str = "rpstn",
) -> Path:
    """The poses, rescored and thinned out as in SimpleBaselines, as a result file in the folder `out`.

    Args:
        subset, images: which pictures they are of, as for the reader.
        input_size (width, height), box_scale: of the crops, whose areas the similarity of poses goes by.
        nms: "oks", "soft", or "none", which only rescores.
        algorithm: the part of the file's name that the server leaves to you.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", algorithm):
        raise UserError(f"algorithm: expected letters, digits, dots and dashes, got {algorithm!r}")
    part = _part(subset, images)
    ending = "zip" if part == "test-dev" else "json"
    results = results_of(predictions, tracks, skeleton, input_size=input_size, box_scale=box_scale, nms=nms)
    return write_results(results, out / f"person_keypoints_{part}2017_{algorithm}_results.{ending}")


def labels(root: Path, *, subset: str, images: Literal["val", "test-dev"] = "val") -> Path | None:
    """The label file of `subset` that `score` reads, None where only the server has it."""
    part = _part(subset, images)
    return None if part == "test-dev" else root / "annotations" / dataset.LABELS[part][0]


def _part(subset: str, images: str) -> str:
    return "train" if subset == "train" else images


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Labels as pycocotools takes them, of one category. `numbers` are the pictures' ids as whole numbers; `notes` say
    what the file lacks and was put in its place.
    """

    path: Path
    numbers: Mapping[coco_form.Id, int]
    annotations: tuple[Mapping[str, Any], ...]
    category: coco_form.Id
    joints: int
    notes: tuple[str, ...] = ()
    by_image: Mapping[coco_form.Id, int] = field(repr=False)

    def form(self) -> dict[str, Any]:
        return {
            "images": [{"id": number} for number in self.numbers.values()],
            "categories": [{"id": self.category}],
            "annotations": self.annotations,
        }


def read_truth(file: Fields, joints: Sequence[str], category: coco_form.Id) -> Truth:
    """The people of one category in a label file.

    Pictures are not needed. What pycocotools needs and the file does not give follows from the key points, with a
    note: num_keypoints, iscrowd, bbox, area. Annotations of pictures that are not listed are left out, as there.
    """
    numbers: dict[coco_form.Id, int] = {}
    for fields in file.objects("images"):
        own = fields.id("id")
        if own in numbers:
            raise UserError(f"{fields.where('id')}: expected an id of its own, got {own} a second time")
        numbers[own] = own if isinstance(own, int) else -1 - len(numbers)  # pycocotools sorts them
    report = Report()  # stops at the first error
    listed = list(coco_form.people(file, category, report))
    entries = [fields for fields in listed if fields.id("image_id") in numbers]
    keypoints, _ = coco_form.read_keypoints(entries, joints, report)
    boxes, _ = coco_form.read_boxes(entries, report)
    notes: dict[str, int] = defaultdict(int)
    by_image = dict.fromkeys(numbers, 0)
    annotations = []
    for fields, points, box in zip(entries, keypoints, boxes):
        found = _annotation(fields, points, box, category, notes)
        if found is not None:
            image = fields.id("image_id")
            by_image[image] += 1
            # pycocotools takes the id 0 for "not matched", so the ids are its own.
            annotations.append({"id": len(annotations) + 1, "image_id": numbers[image], **found})
    for (what, done), found in report.kinds().items():
        notes[f"{what}, {done}"] += len(found)
    notes["annotations of pictures that are not listed, left out"] += len(listed) - len(entries)
    notes["annotations of other categories, left out"] += len(file.items("annotations")) - len(listed)
    return Truth(
        path=file.path,
        numbers=numbers,
        annotations=tuple(annotations),
        category=category,
        joints=len(joints),
        notes=tuple(f"{what} ({count})" for what, count in notes.items() if count),
        by_image=by_image,
    )


def _annotation(
    fields: Fields, points: np.ndarray, corners: np.ndarray, category: coco_form.Id, notes: dict[str, int]
) -> dict[str, Any] | None:
    """One person as pycocotools takes it; None where neither key points nor a box say where it is."""
    labelled = points[:, 2] > 0
    if np.isfinite(corners).all():
        box = fields.numbers("bbox", 4).tolist()
    elif labelled.any():
        notes["bbox taken around the key points"] += 1
        x1, y1, x2, y2 = around(points[None, :, :2], labelled[None])[0].tolist()
        box = [x1, y1, x2 - x1, y2 - y1]
    else:
        notes["people with neither key points nor a box, left out"] += 1
        return None
    if not fields.has("num_keypoints"):
        notes["num_keypoints counted from the flags"] += 1
    stated = fields.whole("num_keypoints", int(labelled.sum()))
    if not fields.has("area"):
        notes["area taken from the box"] += 1
    return {
        "category_id": category,
        "keypoints": points.ravel().tolist(),
        "num_keypoints": stated,
        "bbox": box,
        "area": fields.number("area", box[2] * box[3]),
        "iscrowd": int(fields.flag("iscrowd", False)),
    }


def score_results(truth: Truth, pred: Path, sigmas: Sequence[float], *, title: str) -> Table:
    """The table of a result file, by COCO's rules."""
    results, notes = _read_results(pred, truth)
    found = coco_ap.keypoint_ap(truth.form(), results, sigmas)
    people = truth.annotations
    ignored = sum(1 for one in people if one["iscrowd"] or not one["num_keypoints"])
    with_results = {result["image_id"] for result in results}
    version = importlib.metadata.version("pycocotools")
    protocol = (
        f"Labels: {truth.path}, {len(truth.numbers)} pictures, {len(people) - ignored} people"
        + (f" and {ignored} that are ignored ({_why_ignored(people)})" if ignored else ""),
        f"Results: {pred}, {len(results)} poses in {len(with_results)} pictures",
        *(f"Note: {note}" for note in (*truth.notes, *notes)),
        f"Score: pycocotools {version}, mean over OKS 0.50 to 0.95, at most {coco_ap.MAX_DETECTIONS} poses a picture; "
        "M: 32^2 to 96^2 square pixels, L: larger",
    )
    return Table(
        title=title,
        rows={"key points": {name: 100 * found.stats[name] for name in coco_ap.STATS}},
        protocol=protocol,
        main=found.stats["AP"],
        main_name="AP",
        details={
            "AP_per_threshold": dict(found.precision),
            "AR_per_threshold": dict(found.recall),
            "sigmas": list(sigmas),
            "counts": {
                "images": len(truth.numbers),
                "people": len(people) - ignored,
                "ignored": ignored,
                "poses": len(results),
                "images_with_poses": len(with_results),
            },
        },
    )


def _why_ignored(people: Sequence[Mapping[str, Any]]) -> str:
    """Why AP leaves out those whom it ignores; labels of which it ignores all have no AP at all."""
    flagged = sum(1 for one in people if not one["num_keypoints"] and any(one["keypoints"][2::3]))
    reasons = "crowds, no key points"
    if flagged:
        reasons = f"num_keypoints is 0 beside flagged key points: {flagged}; {reasons}"
    if all(one["iscrowd"] or not one["num_keypoints"] for one in people):
        reasons += "; so there is no AP"
    return reasons


def _read_results(path: Path, truth: Truth) -> tuple[list[dict[str, Any]], list[str]]:
    """The results of the category, in the file's order, and what is worth a note about them."""
    values = jsonfiles.load_list(path, "results with image_id, category_id, keypoints and score")
    entries, other = [], 0
    for number, value in enumerate(values):
        fields = Fields(path, f"[{number}]", value)
        if fields.id("image_id") not in truth.by_image:
            raise fields.wrong("image_id", f"a picture of {truth.path.name}")
        if fields.id("category_id") == truth.category:
            entries.append(fields)
        else:
            other += 1
    keypoints = coco_form.numbers_of(entries, "keypoints", 3 * truth.joints)
    # pycocotools takes areas from boxes where the first result of the file has one, else from the key points.
    boxes = bool(values) and values[0].get("bbox") not in (None, [])
    results, per_image = [], defaultdict(int)
    for fields, points in zip(tqdm(entries, desc="results", unit="pose", delay=2.0, leave=False), keypoints):
        result = {
            "image_id": truth.numbers[fields.id("image_id")],
            "category_id": truth.category,
            "keypoints": points.tolist(),
            "score": fields.number("score"),
        }
        if boxes:
            result["bbox"] = fields.numbers("bbox", 4).tolist()
        per_image[fields.id("image_id")] += 1
        results.append(result)
    notes = []
    if boxes:
        notes.append("areas are those of the results' boxes, as pycocotools has it where they are given")
    if other:
        notes.append(f"results of other categories, left out ({other})")
    beyond = sum(max(count - coco_ap.MAX_DETECTIONS, 0) for count in per_image.values())
    if beyond:
        notes.append(f"results beyond the best {coco_ap.MAX_DETECTIONS} of a picture do not count ({beyond})")
    without = sum(1 for image, people in truth.by_image.items() if people and image not in per_image)
    if without:
        notes.append(f"pictures with people but without results ({without})")
    return results, notes


def results_of(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    *,
    input_size: tuple[int, int],
    box_scale: float,
    nms: str,
    category: coco_form.Id = 1,
    order: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """The poses in COCO's result form, picture by picture, in each the best first.

    order: for each joint of the label file its place in the skeleton; None where they are the same.
    """
    columns = list(range(len(skeleton.joints)) if order is None else order)
    by_image: dict[coco_form.Id, list[tuple[int, int]]] = defaultdict(list)
    for number, (prediction, track) in enumerate(zip(predictions, tracks)):
        for frame in np.flatnonzero(prediction.predicted):
            by_image[track.image_ids[frame]].append((number, int(frame)))
    results = []
    images = sorted(by_image, key=lambda image: (isinstance(image, str), image))
    for image in tqdm(images, desc="results", unit="image", delay=2.0, leave=False):
        found = by_image[image]
        joints = np.stack([predictions[number].joints[frame] for number, frame in found])
        peaks = np.stack([predictions[number].scores[frame] for number, frame in found])
        boxes = np.stack([tracks[number].boxes[frame] for number, frame in found])
        scores = coco_ap.rescore(np.array([tracks[number].box_score for number, _ in found]), peaks)
        areas = crop_areas(boxes, input_size, box_scale)
        if nms == "none":
            kept = np.argsort(-scores, kind="stable").tolist()
        else:
            rule = {"oks": coco_ap.oks_nms, "soft": coco_ap.soft_oks_nms}[nms]
            kept = rule(joints, scores, areas, np.array(skeleton.sigmas))
        for person in kept:
            points = np.concatenate([joints[person], peaks[person, :, None]], axis=1)[columns].round(_DIGITS)
            results.append(
                {
                    "image_id": image if isinstance(image, str) else int(image),
                    "category_id": category,
                    "keypoints": points.ravel().tolist(),
                    "score": float(scores[person]),
                }
            )
    return results


def crop_areas(boxes: np.ndarray, input_size: tuple[int, int], box_scale: float) -> np.ndarray:
    """Areas [N] of the crops of boxes [N, 4]: widened or heightened to the input's aspect, then enlarged."""
    aspect = input_size[0] / input_size[1]
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.maximum(width, aspect * height) * np.maximum(height, width / aspect) * box_scale**2


def write_results(results: list[dict[str, Any]], path: Path) -> Path:
    """A result file; as .zip it lies in the archive under the same name."""
    lines = ",\n".join(json.dumps(result, allow_nan=False) for result in results)
    content = f"[\n{lines}\n]\n".encode()
    if path.suffix == ".zip":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(zipfile.ZipInfo(f"{path.stem}.json"), content, zipfile.ZIP_DEFLATED)
        content = archive.getvalue()
    with atomic_write(path) as file:
        file.write(content)
    return path


SCORE = SetScore(score=score, write=write, labels=labels, several_poses=True)
