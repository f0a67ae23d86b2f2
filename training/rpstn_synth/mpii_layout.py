"""Writes synthetic pictures in the files of MPII as SimpleBaselines converted them, and what scores them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .clip import Clip, jpeg
from .crowd import Cast, make_crowd
from .layout import Layout, inside, is_test, write_bytes, write_compact, write_mat
from .points import columns
from .programs import ACTIONS

CAST = Cast(
    people=(1, 3),
    reach=(2.8, 6.5),
    actions=dict.fromkeys(sorted(set(ACTIONS) - {"bench_press", "pullup"}), 1.0)
    | {"stand": 3.0, "walk": 3.0},
)
_PIXELS_PER_SCALE, _CENTRE_SHIFT = 200.0, 15.0  # see the reader
_FEWEST = 4  # joints seen of a person with labels
# gt_valid.mat's names of the joints.
_NAMES = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)


def write_picture(
    root: Path, number: int, clips: int, clip: Clip, skeleton: dict[str, Any]
) -> tuple[bool, list[dict[str, Any]], list[Any]]:
    """images/000000001.jpg; returns whether it is held out, its people and their head boxes [x1, y1, x2, y2].

    Numbers are 1-based. All joints in the picture are annotated, hidden ones too; one outside is at (-1, -1) with
    joints_vis 0. `center` and `scale` are such that the reader's square is as high as the person.
    """
    name, chosen = f"{number + 1:09d}.jpg", columns(skeleton["joints"])
    (frame,) = clip.frames()
    write_bytes(root / "images" / name, jpeg(frame.image, clip.sensor.quality))
    people, heads = [], []
    for person, truth in enumerate(clip.people):
        if frame.visible[person, chosen].sum() < _FEWEST:
            continue
        x1, y1, x2, y2 = truth.outlines[0].tolist()
        scale = round((y2 - y1) / _PIXELS_PER_SCALE, 6)
        joints = truth.joints[0, chosen]
        known = inside(joints, clip.size)
        positions = np.where(known[:, None], np.round(joints + 1, 3), -1.0)
        people.append(
            {
                "joints_vis": known.astype(int).tolist(),
                "joints": positions.tolist(),
                "image": name,
                "scale": scale,
                "center": [round((x1 + x2) / 2 + 1, 3), round((y1 + y2) / 2 + 1 - _CENTRE_SHIFT * scale, 3)],
            }
        )
        heads.append(np.round(truth.heads[0] + 1, 3).tolist())
    return is_test(number, clips), people, heads


def finish(
    root: Path, parts: list[tuple[bool, list[dict[str, Any]], list[Any]]], skeleton: dict[str, Any]
) -> None:
    """annot/{train,valid,trainval}.json, and annot/gt_valid.mat with what HRNet's scorer of PCKh reads."""
    train, valid = (
        [person for part in parts if part[0] == test for person in part[1]] for test in (False, True)
    )
    for name, people in (("train", train), ("valid", valid), ("trainval", train + valid)):
        write_compact(root / "annot" / f"{name}.json", people)
    heads = np.array([head for test, _, of in parts if test for head in of]).reshape(-1, 2, 2)
    known = np.array([person["joints_vis"] for person in valid]).reshape(-1, len(_NAMES))
    positions = np.array([person["joints"] for person in valid]).reshape(-1, len(_NAMES), 2)
    values = {
        "dataset_joints": np.array([_NAMES], dtype=object),
        "jnt_missing": (1 - known.T).astype(np.uint8),  # [16, N]
        "pos_gt_src": positions.transpose(1, 2, 0),  # [16, 2, N]
        "headboxes_src": heads.transpose(1, 2, 0),  # [2, 2, N]: first corner, last corner
    }
    write_mat(root / "annot" / "gt_valid.mat", values, "synthetic labels in the layout of MPII")


LAYOUT = Layout(
    dataset="mpii", make=partial(make_crowd, cast=CAST), write=write_picture, finish=finish, stills=True
)
