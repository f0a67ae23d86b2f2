"""Key points of your own in COCO's form: AP and AR as COCO counts them, with the tolerances of your joints.

Labels are a file in COCO's form, results a list as for COCO. The tolerances (sigmas) are those given, else the
`sigmas` of the file's category, else COCO's where all joints have its names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ...data.forms import jsonfiles
from ...data.forms.jsonfiles import Fields
from ...data.records import Skeleton, Track
from ...data.sets import coco as coco_dataset
from ...data.sets import custom as dataset
from ...errors import UserError
from ...predictions import Prediction
from ..set_score import SetScore
from ..table import Table
from .coco import read_truth, results_of, score_results, write_results


def score(
    gt: Path,
    pred: Path,
    *,
    category: str | None = None,
    joints: tuple[str, ...] | None = None,
    sigmas: tuple[float, ...] | None = None,
) -> Table:
    """AP and AR of the results `pred` against the labels `gt`.

    Args:
        category: name of the category that is meant, for a file with several that have key points.
        joints: their names, where the file does not give them, in its order.
        sigmas: tolerances of the joints, as shares of the person's size, in the file's order.

    Raises UserError naming file and field of what is not as it should be.
    """
    file = Fields(gt, "", jsonfiles.load(gt))
    if joints is not None and not file.has("categories"):
        chosen = Fields(gt, "categories[0]", {"id": 1})
    else:
        chosen = dataset.category_of(file, category, "--set category=")
    names = joints or chosen.texts("keypoints")
    truth = read_truth(file, names, chosen.id("id"))
    return score_results(truth, pred, _sigmas(chosen, names, sigmas), title="Key points by COCO's rules")


def _sigmas(category: Fields, names: tuple[str, ...], given: tuple[float, ...] | None) -> tuple[float, ...]:
    if given is None and category.has("sigmas"):
        given = tuple(category.numbers("sigmas", len(names)).tolist())
    if given is None:
        given = coco_dataset.tolerances(names)
        if given is None:
            raise UserError(
                f"{category.where('sigmas')}: expected a tolerance for each of the {len(names)} joints, because not "
                "all have names that COCO has tolerances for; got nothing, give sigmas in the file or as an option"
            )
    if len(given) != len(names) or min(given) <= 0:
        raise UserError(f"sigmas: expected {len(names)} numbers above 0 like joints, got {list(given)}")
    return given


def write(
    predictions: Sequence[Prediction],
    tracks: Sequence[Track],
    skeleton: Skeleton,
    out: Path,
    *,
    root: Path,
    subset: str = "test",
    train: str | None = None,
    test: str | None = None,
    category: str | None = None,
    joints: tuple[str, ...] | None = None,
    input_size: tuple[int, int] = (256, 256),
    box_scale: float = 1.25,
    nms: Literal["oks", "soft", "none"] = "oks",
) -> Path:
    """The poses as `<name of the label file>_results.json` in the folder `out`; arguments as for COCO and the reader.

    Joints are written in the order of the label file. Without tolerances there is no similarity of poses, so all of
    them stay.
    """
    path = labels(root, subset=subset, train=train, test=test)
    file = Fields(path, "", jsonfiles.load(path))
    number = dataset.category_of(file, category).id("id") if file.has("categories") else 1
    results = results_of(
        predictions,
        tracks,
        skeleton,
        input_size=input_size,
        box_scale=box_scale,
        nms=nms if skeleton.sigmas else "none",
        category=number,
        order=_file_order(root, subset, train=train, test=test, category=category, joints=joints),
    )
    return write_results(results, out / f"{path.stem}_results.json")


def as_labelled(
    root: Path,
    skeleton: Skeleton,
    *,
    subset: str = "test",
    train: str | None = None,
    test: str | None = None,
    category: str | None = None,
    joints: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """The options of `score` that go by joint, in the order of the label file, which may be another than that of the
    skeleton and its options.
    """
    order = _file_order(root, subset, train=train, test=test, category=category, joints=joints)
    found: dict[str, Any] = {"joints": [skeleton.joints[joint] for joint in order]}
    if skeleton.sigmas:
        found["sigmas"] = [skeleton.sigmas[joint] for joint in order]
    return found


def _file_order(root: Path, subset: str, **options: Any) -> tuple[int, ...]:
    """For each joint of the label file its place in the skeleton."""
    order = dataset.column_order(root, subset, **options)
    return tuple(order.index(place) for place in range(len(order)))


def labels(root: Path, *, subset: str, train: str | None = None, test: str | None = None) -> Path:
    """The label file of `subset` that `score` reads."""
    return dataset.label_file(root, subset, train, test)


SCORE = SetScore(score=score, write=write, labels=labels, as_labelled=as_labelled, several_poses=True)
