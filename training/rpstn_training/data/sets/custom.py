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

Joints, limbs, flip pairs and sigmas come from the category of the file for training: `keypoints` (names),
`skeleton` (pairs of numbers that begin at 1), and, beyond COCO's own form, `flip_pairs` (numbers from 0) and
`sigmas`. What is given under `data.options` goes before the file: `joints`, `limbs`, `flip_pairs` (numbers from 0),
`sigmas`, `torso`.
Flip pairs that nobody gives follow from names that differ in left and right, or l and r (left_eye, LEye, eye.l).
The file for the test must name the same joints; their order may be another, and is that of what is handed in.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...errors import UserError
from ..findings import Report, reporting
from ..forms import coco_form, joint_names, jsonfiles
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
    orientation: Literal["auto", "turned", "stored"] = "auto",
    report: Report | None = None,
) -> list[Track]:
    """The people (or hands, or animals) of `subset`, "train" or "test", each a track of one frame.

    Args:
        train, test: the label files, relative to `root`.
        train_images, test_images: the folders in which their `file_name` begin, relative to `root`.
        category: name of the category that is meant, for a file with several that have key points.
        joints, limbs, flip_pairs, sigmas, torso: see the module; None takes the file's.
        detections: boxes for the subset "test", as for COCO.
        orientation: whether labels refer to pictures as EXIF turns them ("turned", as most tools show them) or as they
            are stored; "auto" goes by the size that the label file states, and leaves them as stored where it has none.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    root = Path(root)
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    coco_form.require_stills("custom", clip_length)
    path = label_file(root, subset, train, test)
    base = f"data.options.{subset}_images"
    chosen = train_images if subset == "train" else test_images
    folder = root if chosen in ("", ".") else jsonfiles.inside(root, chosen, base, "data.root")
    with reporting(report) as report, report.file():
        file = Fields(path, "", jsonfiles.load(path))
        own = category_of(file, category) if file.has("categories") or joints is None else None
        order = column_order(root, subset, train=train, test=test, category=category, joints=joints)
        if own is not None and path == _main_file(root, train, test) and joints is None and limbs is None:
            for what, done in read_limbs(own).notes:
                report.defect(path, own.where("skeleton").partition(": ")[2], what, done)
        images = coco_form.read_images(file, folder, Pictures(), report, base)
        report.count("images", len(images.by_id))
        if subset == "test" and detections is not None:
            boxes = jsonfiles.inside(root, detections, "data.options.detections", "data.root")
            whose = coco_form.box_category(file, own)
            return coco_form.box_tracks(
                images, len(order), boxes, detection_threshold, subset, report, whose, orientation
            )
        names = joints if own is None else own.texts("keypoints")
        annotations = coco_form.read_annotations(file, names, images, report, own and own.id("id"))
        annotations = [replace(one, keypoints=one.keypoints[list(order)]) for one in annotations]
        return coco_form.still_tracks(file, annotations, images, subset, report, orientation)
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
    path = _main_file(root, train, test)
    from_file = _category_in(path, category, required=joints is None)
    names = joints or from_file.texts("keypoints")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: expected joints of different names, got {', '.join(names)}")
    if from_file is not None and joints is None:
        limbs = limbs if limbs is not None else read_limbs(from_file).pairs
        flip_pairs = flip_pairs if flip_pairs is not None else _flip_pairs(from_file, len(names))
        if sigmas is None and from_file.filled("sigmas"):
            sigmas = tuple(float(sigma) for sigma in from_file.numbers("sigmas", len(names)))
    if flip_pairs is None:
        flip_pairs = joint_names.mirror_pairs(names)
    if sigmas is None:
        sigmas = coco.tolerances(names) or ()
    if torso is None:
        plain = [joint_names.plain(name) for name in names]
        if not {"left_shoulder", "right_hip"} <= set(plain):
            raise UserError(
                "data.options.torso: expected two joints whose distance is the size that PCK by torso goes by, "
                "because none are called left_shoulder and right_hip; got nothing"
            )
        torso = (plain.index("left_shoulder"), plain.index("right_hip"))
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


def column_order(
    root: Path,
    subset: str,
    *,
    train: str | None = None,
    test: str | None = None,
    category: str | None = None,
    joints: tuple[str, ...] | None = None,
) -> tuple[int, ...]:
    """For each joint of the skeleton its place among the key points in the label file of `subset`.

    Files are matched by the names that they give; `joints` gives names to a file that has none, or other ones. Raises
    UserError where the names differ, for a network has one set of joints.
    """
    path, main = label_file(root, subset, train, test), _main_file(root, train, test)
    own = _category_in(path, category, required=joints is None)
    if own is None:
        return tuple(range(len(joints)))
    names = own.texts("keypoints")
    order = tuple(range(len(names)))
    if path != main and (reference := _category_in(main, category, required=False)) is not None:
        order = _match(own, names, reference.texts("keypoints"), str(main))
        names = reference.texts("keypoints")
    if joints is None:
        return order
    if set(joints) == set(names):
        return tuple(order[place] for place in _match(own, names, joints, "data.options.joints"))
    if len(joints) != len(names):
        raise UserError(
            f"{own.where('keypoints')}: expected {len(joints)} joints like data.options.joints, got {len(names)}"
        )
    return order


def _match(own: Fields, names: tuple[str, ...], wanted: tuple[str, ...], source: str) -> tuple[int, ...]:
    """The place of each wanted name among `names`, which `own` has."""
    if len(set(names)) != len(names) or set(names) != set(wanted):
        raise UserError(
            f"{own.where('keypoints')}: expected the {len(wanted)} joints of {source} ({', '.join(wanted)}), in any "
            f"order, got {len(names)} ({', '.join(names)}); train and test need the same joints"
        )
    return tuple(names.index(name) for name in wanted)


def _main_file(root: Path, train: str | None, test: str | None) -> Path:
    """The label file that the skeleton comes from."""
    return label_file(root, "test" if train is None and test is not None else "train", train, test)


def label_file(root: Path, subset: str, train: str | None, test: str | None) -> Path:
    name = train if subset == "train" else test
    if name is None:
        raise UserError(f"data.options.{subset}: expected a label file, relative to data.root; got none")
    return jsonfiles.inside(Path(root), name, f"data.options.{subset}")


def _category_in(path: Path, name: str | None, *, required: bool) -> Fields | None:
    """The category with key points of a label file; None where it lists none at all and nobody needs it."""
    stamp = path.stat() if path.is_file() else None
    plain = _load_categories(path, stamp and (stamp.st_mtime_ns, stamp.st_size))
    if plain is None and not required:
        return None
    return category_of(Fields(path, "", {"categories": plain} if plain is not None else {}), name)


@functools.lru_cache(maxsize=4)
def _load_categories(path: Path, stamp: object) -> Any:
    """`categories` of a file that is read anew only when it has changed."""
    return Fields(path, "", jsonfiles.load(path)).values.get("categories")


def category_of(file: Fields, name: str | None, option: str = "data.options.category") -> Fields:
    """The category with key points, the one called `name` where there are several; option: what chooses it."""
    with_joints = coco_form.categories_with_joints(file)
    found = [fields for fields in with_joints if name is None or fields.values.get("name") == name]
    if len(found) != 1:
        wanted = "a category with keypoints" if name is None else f"a category {name} with keypoints"
        names = ", ".join(str(fields.values.get("name", "one without a name")) for fields in with_joints)
        got = f"{len(found)}" if not with_joints else f"{len(found)} of {names}"
        choose = f"; choose one with {option}" if with_joints else ""
        raise UserError(f"{file.where('categories')}: expected {wanted}, got {got}{choose}")
    return found[0]


@dataclass(frozen=True, kw_only=True)
class Limbs:
    """Pairs of joints, from 0; `notes` (what, done) where they are not what they should be."""

    pairs: Pairs = ()
    notes: tuple[tuple[str, str], ...] = ()


def read_limbs(category: Fields) -> Limbs:
    """`skeleton` of a category, which nothing but drawings depends on, so that it stops nothing."""
    entries = category.values.get("skeleton") if category.filled("skeleton") else []
    count = len(category.texts("keypoints"))
    plain = isinstance(entries, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(joint, int) and not isinstance(joint, bool) for joint in pair)
        for pair in entries
    )
    numbers = {joint for pair in entries for joint in pair} if plain else set()
    first = 0 if 0 in numbers else 1
    if not plain or not numbers <= set(range(first, first + count)):
        done = "drawn without limbs; give data.options.limbs, counted from 0"
        return Limbs(notes=((f"a skeleton that is not pairs of joints in 1..{count}", done),))
    pairs = tuple((one - first, other - first) for one, other in entries)
    if first == 1:
        return Limbs(pairs=pairs)
    done = "taken as counted from 0; data.options.limbs goes before it"
    return Limbs(pairs=pairs, notes=(("a skeleton that is counted from 0 instead of 1", done),))


def _flip_pairs(fields: Fields, joints: int) -> Pairs | None:
    if not fields.has("flip_pairs"):
        return None
    entries = Fields(fields.path, f"{fields.place}.flip_pairs", dict(enumerate(fields.items("flip_pairs"))))
    pairs = []
    for number in entries.values:
        pair = entries.numbers(number, 2)
        if any(joint != int(joint) or not 0 <= joint < joints for joint in pair):
            raise entries.wrong(number, f"two joints in 0..{joints - 1}")
        pairs.append((int(pair[0]), int(pair[1])))
    return tuple(pairs)


def _groups(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Score columns: left and right of a name together, joints of the human body under the usual headings."""
    columns: dict[str, tuple[int, ...]] = {}
    for joint, name in enumerate(names):
        stem = joint_names.stem(name)
        column = "Head" if stem in _HEAD else _COLUMNS.get(stem, stem)
        columns[column] = (*columns.get(column, ()), joint)
    order = ["Head", *_COLUMNS.values()]
    return dict(
        sorted(columns.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    )
