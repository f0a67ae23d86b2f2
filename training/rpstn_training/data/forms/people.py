"""From the poses of single frames to tracks: one `Track` for each stretch in which a person stays in a video."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import UserError
from .. import boxes as box_rules
from ..findings import Report
from ..images import Orientation, image_size
from ..records import Track
from ..tracking import fill_gaps

_BORDER = 1.0  # pixels that a box may reach over the picture's border without being worth a line


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video, or a single picture, with its frames in order.

    `labelled` bool [F]: frames in which people were annotated; only these are trained on and scored.
    `size` (width, height) of its pictures, `stated_size` the same as the label file has it, where it does.
    `orientation` as for `Track`.
    """

    name: str
    split: str
    action: str = ""
    frames: tuple[Path, ...]
    image_ids: tuple[int, ...]
    labelled: np.ndarray
    size: tuple[int, int] | None = None
    stated_size: tuple[int, int] | None = None
    orientation: Orientation = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """One person in one frame: `joints` [K, 2], `visible` and `labelled` bool [K] as in `Track`; `box` [4] is NaN
    where none is annotated. `place` says where it stands in the label file, `score` how sure a detector is.
    """

    person: int
    frame: int
    joints: np.ndarray
    visible: np.ndarray
    labelled: np.ndarray
    box: np.ndarray
    place: str
    score: float = 1.0


def box_pose(box: np.ndarray, frame: int, person: int, joints: int, *, place: str, score: float) -> Pose:
    """A detected box [4] as a pose of `joints` joints, none of which is labelled."""
    nothing = np.zeros(joints, dtype=bool)
    return Pose(
        person=person,
        frame=frame,
        joints=np.zeros((joints, 2)),
        visible=nothing,
        labelled=nothing,
        box=box,
        place=place,
        score=score,
    )


def track_people(video: Video, poses: Sequence[Pose], file: Path, report: Report) -> list[Track]:
    """The tracks of a video, in order of person and time.

    A track runs from frame to frame over frames without labels, and ends where a labelled frame shows the
    person no more. Frames without labels get boxes between their neighbours', no visible joint, and are not
    scored. A person who is in one frame twice is a track of its own the second time.
    """
    by_person: dict[int, list[Pose]] = defaultdict(list)
    for pose in poses:
        by_person[pose.person].append(pose)
    labelled_before = np.concatenate([[0], np.cumsum(video.labelled)])
    tracks = []
    for person, found in sorted(by_person.items()):
        runs: list[list[Pose]] = []
        twice: list[Pose] = []
        for pose in sorted(found, key=lambda pose: pose.frame):
            last = runs[-1][-1].frame if runs else None
            if pose.frame == last:
                report.defect(
                    file, pose.place, "a person a second time in one frame", "made a track of its own"
                )
                twice.append(pose)
            elif last is not None and labelled_before[pose.frame] == labelled_before[last + 1]:
                runs[-1].append(pose)
            else:
                runs.append([pose])
        runs += [[pose] for pose in twice]
        for number, run in enumerate(runs):
            name = f"{video.name}/{person}" + (f".{number + 1}" if len(runs) > 1 else "")
            tracks.append(_track(video, name, person, run, file, report))
    return tracks


def track_box(video: Video, pose: Pose, clip_length: int, name: str, file: Path, report: Report) -> Track:
    """The clip of a detected box: the frames before its own, the first one repeated at the video's start, and
    its own as the last, which alone is scored.
    """
    window = np.maximum(np.arange(pose.frame - clip_length + 1, pose.frame + 1), 0)
    (box,) = fit_boxes(pose.box[None], [pose], video, file, report)
    if not box_rules.usable(box[None])[0]:
        box = _whole_picture(video, window[-1])
        report.defect(
            file, pose.place, "a detected box outside the picture or of no size", "the whole picture"
        )
    repeated = np.repeat(pose.joints[None], clip_length, axis=0)
    nothing = np.zeros(repeated.shape[:2], dtype=bool)
    visible, labelled = nothing.copy(), nothing.copy()
    visible[-1], labelled[-1] = pose.visible, pose.labelled
    boxes = np.repeat(box[None], clip_length, axis=0)
    return Track(
        name=name,
        split=video.split,
        action=video.action,
        frames=tuple(video.frames[frame] for frame in window),
        joints=repeated,
        visible=visible,
        labelled=labelled,
        boxes=boxes,
        score_boxes=boxes,
        video=video.name,
        person=pose.person,
        image_ids=tuple(video.image_ids[frame] for frame in window),
        scored=np.arange(clip_length) == clip_length - 1,
        box_score=pose.score,
        size=video.stated_size,
        orientation=video.orientation,
    )


def track_boxes(
    video: Video, poses: Sequence[Pose], max_missed: int, file: Path, report: Report
) -> list[Track]:
    """The tracks of detected boxes whose `person` says who is who, in order of person and time.

    A person who is missed in more than `max_missed` frames in a row has another track afterwards. Where fewer are
    missed, box and score lie between those of the frames around, and these frames count like the others.

    Raises UserError where a person is in one frame twice.
    """
    by_person: dict[int, list[Pose]] = defaultdict(list)
    for pose in poses:
        by_person[pose.person].append(pose)
    tracks = []
    for person, found in sorted(by_person.items()):
        found.sort(key=lambda pose: pose.frame)
        for pose, after in pairwise(found):
            if pose.frame == after.frame:
                raise UserError(
                    f"{file}: {after.place}: expected each track_id once in a frame, got {person} a second time in "
                    f"frame {pose.frame} (first: {pose.place}); let the boxes be linked with data.options.link=iou"
                )
        frames, sure = np.array([pose.frame for pose in found]), np.array([pose.score for pose in found])
        stretches = fill_gaps(frames, sure, max_missed=max_missed)
        for number, (every, scores, given) in enumerate(stretches):
            run = [pose for pose in found if every[0] <= pose.frame <= every[-1]]
            name = f"{video.name}/{person}" + (f".{number + 1}" if len(stretches) > 1 else "")
            track = _track(video, name, person, run, file, report)
            tracks.append(replace(track, scored=None, box_score=scores))
            report.count("boxes between detected ones", int((~given).sum()))
    return tracks


def _track(video: Video, name: str, person: int, run: list[Pose], file: Path, report: Report) -> Track:
    first, last = run[0].frame, run[-1].frame
    length, joints = last - first + 1, len(run[0].joints)
    rows = np.array([pose.frame - first for pose in run])
    positions = np.zeros((length, joints, 2))
    visible, labelled = np.zeros((length, joints), dtype=bool), np.zeros((length, joints), dtype=bool)
    annotated = np.full((length, 4), np.nan)
    positions[rows] = [pose.joints for pose in run]
    visible[rows] = [pose.visible for pose in run]
    labelled[rows] = [pose.labelled for pose in run]
    annotated[rows] = [pose.box for pose in run]

    boxes = annotated.copy()
    boxes[rows] = fit_boxes(annotated[rows], run, video, file, report)
    around = fit_boxes(box_rules.around(positions, labelled)[rows], run, video, file, None)
    bad = ~box_rules.usable(boxes[rows])
    from_joints = bad & box_rules.usable(around)
    boxes[rows[from_joints]] = around[from_joints]
    known = box_rules.usable(boxes)
    for pose, is_bad, mended in zip(run, bad, from_joints):
        if is_bad:
            what = "no box" if np.isnan(pose.box).all() else "a box outside the picture or of no size"
            done = "the box of its joints" if mended else "the box of a frame near by" if known.any() else ""
            report.defect(file, pose.place, what, done or "the whole picture")
    between = ~known
    between[rows] = False
    if between.any() and known.any():
        for side in range(4):
            at = np.flatnonzero(between)
            boxes[at, side] = np.interp(at, np.flatnonzero(known), boxes[known, side])
    if not box_rules.usable(boxes).all():
        whole = _whole_picture(video, first)
        boxes = box_rules.mend(boxes, positions, visible, lambda: (int(whole[2] + 1), int(whole[3] + 1)))
    scored = np.zeros(length, dtype=bool)
    scored[rows] = True
    return Track(
        name=name,
        split=video.split,
        action=video.action,
        frames=video.frames[first : last + 1],
        joints=positions,
        visible=visible,
        labelled=labelled,
        boxes=boxes,
        score_boxes=box_rules.for_scoring(annotated, boxes),
        video=video.name,
        person=person,
        image_ids=video.image_ids[first : last + 1],
        scored=None if scored.all() else scored,
        size=video.stated_size,
        orientation=video.orientation,
    )


def fit_boxes(
    boxes: np.ndarray, poses: Sequence[Pose], video: Video, file: Path, report: Report | None
) -> np.ndarray:
    """Boxes [N, 4] cut at the picture's border, NaN where nothing is left; `report` None says nothing of it."""
    if video.size is None:
        return boxes.copy()
    limits = np.array([*video.size, *video.size]) - 1.0
    cut = np.clip(boxes, 0, limits)
    gone = box_rules.usable(boxes) & ~box_rules.usable(cut)
    over = box_rules.usable(boxes) & ~gone & (np.abs(boxes - cut) > _BORDER).any(axis=1)
    if report is not None:
        for pose in (pose for pose, is_over in zip(poses, over) if is_over):
            report.defect(file, pose.place, "a box partly outside the picture", "cut at the border")
    return np.where(gone[:, None], np.nan, cut)


def _whole_picture(video: Video, frame: int) -> np.ndarray:
    width, height = video.size or image_size(video.frames[frame], video.orientation)
    return np.array([0.0, 0.0, width - 1.0, height - 1.0])
