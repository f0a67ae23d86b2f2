"""Key points of your own: single pictures and label files in COCO's form, with whatever joints they name.

    data:
      name: custom
      root: data/hands
      clip_length: 1
      options:
        train: annotations/train.json          # relative to root
        test: annotations/val.json
        train_images: images/train             # where `file_name` begins, relative to root
        test_images: images/val

Joints, limbs, flip pairs and sigmas come from the file's category: `keypoints` (names), `skeleton` (pairs of
numbers that begin at 1), and, beyond COCO's own form, `flip_pairs` (numbers from 0) and `sigmas`. What is given
under `data.options` goes before the file: `joints`, `limbs`, `flip_pairs` (numbers from 0), `sigmas`, `torso`.
Flip pairs that nobody gives follow from names that differ in left and right, or l and r.
"""

import functools
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..findings import Report, reporting
from ..forms import coco_form, jsonfiles
from ..forms.jsonfiles import Fields
from ..images import Pictures
from ..records import Skeleton, Track
from . import coco

Pairs = tuple[tuple[int, int], ...]

_COLUMNS = {"shoulder": "Sho", "elbow": "Elb", "wrist": "Wri", "hip": "Hip", "knee": "Knee", "ankle": "Ank"}
_HEAD = ("head", "nose", "eye", "ear", "head_top", "head_bottom")

# The options by which the subset "test" is the label file for validation.
VALIDATION: dict[str, str] = {}


def read(
    root: Path,
    subset: str,
    *,
    clip_length: int = 1,
    train: str | None = None,
    test: str | None = None,
    train_images: str = "images",
    test_images: str = "images",
    category: str | None = None,
    joints: tuple[str, ...] | None = None,
    limbs: Pairs | None = None,
    flip_pairs: Pairs | None = None,
    sigmas: tuple[float, ...] | None = None,
    torso: tuple[int, int] | None = None,
    detections: str | None = None,
    detection_threshold: float = 0.0,
    report: Report | None = None,
) -> list[Track]:
    """The people (or hands, or animals) of `subset`, "train" or "test", each a track of one frame.

    Args:
        train, test: the label files, relative to `root`.
        train_images, test_images: the folders in which their `file_name` begin, relative to `root`.
        category: name of the category that is meant, for a file with several that have key points.
        joints, limbs, flip_pairs, sigmas, torso: see the module; None takes the file's.
        detections: boxes for the subset "test", as for COCO.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    root = Path(root)
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    coco_form.require_stills("custom", clip_length)
    path = label_file(root, subset, train, test)
    chosen = train_images if subset == "train" else test_images
    folder = root if chosen in ("", ".") else jsonfiles.inside(root, chosen, f"data.options.{subset}_images")
    with reporting(report) as report, report.file():
        file = Fields(path, "", jsonfiles.load(path))
        names = joints or category_of(file, category).texts("keypoints")
        number = category_of(file, category).whole("id") if file.has("categories") else None
        images = coco_form.read_images(file, folder, Pictures(), report)
        report.count("images", len(images))
        if subset == "test" and detections is not None:
            boxes = jsonfiles.inside(root, detections, "data.options.detections")
            return coco_form.box_tracks(images, len(names), boxes, detection_threshold, subset, report)
        annotations = coco_form.read_annotations(file, len(names), images, number)
        return coco_form.still_tracks(annotations, subset, report)
    return []


def skeleton(
    root: Path,
    *,
    train: str | None = None,
    test: str | None = None,
    category: str | None = None,
    joints: tuple[str, ...] | None = None,
    limbs: Pairs | None = None,
    flip_pairs: Pairs | None = None,
    sigmas: tuple[float, ...] | None = None,
    torso: tuple[int, int] | None = None,
    **_: Any,
) -> Skeleton:
    """The skeleton by the options of `read`, and for what they leave open by the category of the label file."""
    path = label_file(root, "test" if train is None and test is not None else "train", train, test)
    stamp = path.stat() if path.is_file() else None
    plain = _load_categories(path, stamp and (stamp.st_mtime_ns, stamp.st_size))
    file = Fields(path, "", {"categories": plain} if plain is not None else {})
    from_file = category_of(file, category) if joints is None or file.has("categories") else None
    names = joints or from_file.texts("keypoints")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: expected joints of different names, got {', '.join(names)}")
    if from_file is not None and joints is None:
        limbs = limbs if limbs is not None else _pairs(from_file, "skeleton", len(names), first=1)
        flip_pairs = (
            flip_pairs if flip_pairs is not None else _pairs(from_file, "flip_pairs", len(names), first=0)
        )
        if sigmas is None and from_file.has("sigmas"):
            sigmas = tuple(float(sigma) for sigma in from_file.numbers("sigmas", len(names)))
    if flip_pairs is None:
        flip_pairs = _mirror_pairs(names)
    if sigmas is None:
        known = dict(zip(coco.SKELETON.joints, coco.SKELETON.sigmas))
        sigmas = tuple(known[name] for name in names) if set(names) <= set(known) else ()
    if torso is None:
        if not {"left_shoulder", "right_hip"} <= set(names):
            raise UserError(
                "data.options.torso: expected two joints whose distance is the size that PCK by torso goes by, "
                "because none are called left_shoulder and right_hip; got nothing"
            )
        torso = (names.index("left_shoulder"), names.index("right_hip"))
    if len(sigmas) not in (0, len(names)):
        raise UserError(f"data.options.sigmas: expected {len(names)} numbers like joints, got {len(sigmas)}")
    for key, pairs in (("limbs", limbs or ()), ("flip_pairs", flip_pairs), ("torso", (torso,))):
        if any(not 0 <= joint < len(names) for pair in pairs for joint in pair):
            raise UserError(f"data.options.{key}: expected joints 0..{len(names) - 1}, got {list(pairs)}")
    return Skeleton(
        name="custom",
        joints=names,
        limbs=limbs or (),
        flip_pairs=flip_pairs,
        groups=_groups(names),
        torso=torso,
        torso_paper=torso,
        sigmas=sigmas,
    )


def label_file(root: Path, subset: str, train: str | None, test: str | None) -> Path:
    name = train if subset == "train" else test
    if name is None:
        raise UserError(f"data.options.{subset}: expected a label file, relative to data.root; got none")
    return jsonfiles.inside(Path(root), name, f"data.options.{subset}")


@functools.lru_cache(maxsize=4)
def _load_categories(path: Path, stamp: object) -> Any:
    """`categories` of a file that is read anew only when it has changed."""
    return Fields(path, "", jsonfiles.load(path)).values.get("categories")


def category_of(file: Fields, name: str | None) -> Fields:
    """The category with key points, the one called `name` where there are several."""
    found = [fields for fields in file.objects("categories") if fields.has("keypoints")]
    if name is not None:
        found = [fields for fields in found if fields.values.get("name") == name]
    if len(found) != 1:
        wanted = "a category with keypoints" if name is None else f"a category {name} with keypoints"
        several = "; choose one with data.options.category" if len(found) > 1 else ""
        raise UserError(f"{file.where('categories')}: expected {wanted}, got {len(found)}{several}")
    return found[0]


def _pairs(fields: Fields, key: str, joints: int, first: int) -> Pairs | None:
    if not fields.has(key):
        return None
    entries = Fields(fields.path, f"{fields.place}.{key}", dict(enumerate(fields.items(key))))
    pairs = []
    for number in entries.values:
        pair = entries.numbers(number, 2)
        if any(joint != int(joint) or not first <= joint < first + joints for joint in pair):
            raise entries.wrong(number, f"two joints in {first}..{first + joints - 1}")
        pairs.append((int(pair[0]) - first, int(pair[1]) - first))
    return tuple(pairs)


def _mirror_pairs(names: tuple[str, ...]) -> Pairs:
    partners = [(joint, coco_form.mirrored(name)) for joint, name in enumerate(names)]
    return tuple(
        (joint, names.index(other))
        for joint, other in partners
        if other in names and joint < names.index(other)
    )


def _groups(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Score columns: left and right of a name together, joints of the human body under the usual headings."""
    columns: dict[str, tuple[int, ...]] = {}
    for joint, name in enumerate(names):
        stem = "_".join(word for word in name.split("_") if coco_form.mirrored(word) == word) or name
        column = "Head" if stem in _HEAD else _COLUMNS.get(stem, stem)
        columns[column] = (*columns.get(column, ()), joint)
    order = ["Head", *_COLUMNS.values()]
    return dict(
        sorted(columns.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    )
