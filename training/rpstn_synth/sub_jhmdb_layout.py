"""Writes synthetic clips in the files of Sub-JHMDB: one person each, masks, three splits."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .clip import Clip, make_clip
from .layout import Layout, is_test, write_bytes, write_mat
from .points import columns

# The set's names of the actions that can be drawn. Seven: no factor in common with the four that part the clips.
ACTIONS = {
    "golf": "golf_swing",
    "jump": "jump",
    "pick": "pick",
    "pullup": "pullup",
    "run": "run",
    "swing_baseball": "baseball_swing",
    "walk": "walk",
}
_SPLITS = 3


def make(seed: int, number: int, *, frames: int, size: tuple[int, int]) -> Clip:
    """All actions in turn, nothing before the person: the set has no flags of visibility."""
    action = sorted(ACTIONS.values())[number % len(ACTIONS)]
    return make_clip(seed, number, frames=frames, size=size, action=action, occluders=0)


def write_clip(
    root: Path, number: int, clips: int, clip: Clip, skeleton: dict[str, Any]
) -> list[tuple[str, str]]:
    """Rename_Images/<action>/<clip>/00001.png ..., joint_positions and puppet_mask with the keys, shapes and 1-based
    pixels of the real set; returns (file, line) of the splits. A person's scale is the share of the picture's height.
    """
    (person,) = clip.people
    action = next(name for name, drawn in ACTIONS.items() if drawn == person.action)
    name = f"synthetic_{action}_{number + 1:04d}"
    masks = np.zeros((clip.size[1], clip.size[0], clip.length), np.uint8)
    for index, frame in enumerate(clip.frames()):
        masks[..., index] = frame.mask(0)
        done, data = cv2.imencode(".png", frame.image)
        assert done
        write_bytes(root / "Rename_Images" / action / name / f"{index + 1:05d}.png", data.tobytes())
    positions = person.joints[:, columns(skeleton["joints"])].transpose(2, 1, 0) + 1
    width, height = clip.size
    scale = (person.outlines[:, 3] - person.outlines[:, 1]) / height
    world = np.stack(
        [(positions[0] / width - 0.5) * width / height / scale, (positions[1] / height - 0.5) / scale]
    )
    text = "synthetic clip in the layout of JHMDB"
    write_mat(
        root / "joint_positions" / action / name / "joint_positions.mat",
        {"pos_img": positions, "pos_world": world, "scale": scale[None]},
        text,
    )
    write_mat(
        root / "puppet_mask" / action / name / "puppet_mask.mat", {"part_mask": masks}, text, compressed=True
    )
    return [
        (f"{action}_test_split_{split + 1}.txt", f"{name}.avi {2 if is_test(number - split, clips) else 1}")
        for split in range(_SPLITS)
    ]


def finish(root: Path, parts: list[list[tuple[str, str]]], skeleton: dict[str, Any]) -> None:
    """sub_splits/<action>_test_split_{1,2,3}.txt; each split holds out other clips."""
    files: dict[str, list[str]] = {}
    for file, line in (entry for part in parts for entry in part):
        files.setdefault(file, []).append(line)
    for file, lines in sorted(files.items()):
        write_bytes(root / "sub_splits" / file, "".join(f"{line}\n" for line in lines).encode())


LAYOUT = Layout(dataset="sub_jhmdb", make=make, write=write_clip, finish=finish)
