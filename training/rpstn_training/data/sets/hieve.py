"""HiEve: videos of crowds, 14 joints. The owners ship videos and label files, no frames.

    videos/{train,test}/<n>.mp4 (or .MOV, .MP4)     or {train,test}/videos; 1..19 and 20..32
    labels/train/track2&3/<n>.json                  or labels/track2&3/track2; PoseTrack17's form "annolist"
    frames/<n>/000000.jpg ...                       made here, once, from the videos

The labels of 20..32 are hidden: the subset "test" is the paper's validation, 3, 7, 8 and 17 of the 19, or with
`images: test` the hidden videos, of which only boxes of a detector can be cut out. A person without points, as
where it is heavily occluded, is a box that nothing is trained on.

What the `score` of a point means in the labels is not documented. -1 occurs only as a flag: 0 visible, 1 not
visible, -1 not annotated; without any -1 a score above 0 is taken for a visible joint. `point_score` decides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ...files import listed
from ..findings import Report, reporting
from ..forms import annolist, jsonfiles
from ..forms.jsonfiles import Fields
from ..forms.people import Pose, Video, track_box, track_people
from ..forms.videos import frames_of
from ..images import image_size
from ..records import Skeleton, Track

SKELETON = Skeleton(
    name="hieve",
    joints=(
        "nose",
        "chest",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
    ),
    limbs=(
        *((0, 1), (1, 2), (1, 5), (2, 8), (5, 11), (8, 11)),
        *((2, 3), (3, 4), (5, 6), (6, 7)),
        *((8, 9), (9, 10), (11, 12), (12, 13)),
    ),
    flip_pairs=((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13)),
    groups={
        "Head": (0, 1),
        "Sho": (5, 2),
        "Elb": (6, 3),
        "Wri": (7, 4),
        "Hip": (11, 8),
        "Knee": (12, 9),
        "Ank": (13, 10),
    },
    torso=(5, 8),
    torso_paper=(5, 8),
)

OFFICIAL = {"train": {"videos": 15}, "test": {"videos": 4}}  # 32 videos: 49,820 frames, 1,099,357 poses

_LABELS = ("labels/train/track2&3", "labels/track2&3/track2", "labels/train/track2", "labels/track2&3")
_VIDEOS = ("videos/{part}", "{part}/videos", "videos", "{part}")
_SUFFIXES = (".mp4", ".MP4", ".MOV", ".mov", ".avi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One entry of `annorect`: `points` [N, 4] joint, x, y, score."""

    frame: int
    track_id: int
    points: np.ndarray
    box: np.ndarray
    score: float
    place: str


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label file: `frames` are the numbers of those it lists, also where nobody is in them; `ignore_regions` maps a
    frame to polygons [N, 2].
    """

    file: Path
    number: int
    frames: tuple[int, ...]
    people: list[Person]
    ignore_regions: dict[int, list[np.ndarray]]


# The options by which the subset "test" is the paper's validation videos.
VALIDATION: dict[str, str] = {"images": "val"}


def read(
    root: Path,
    subset: str,
    *,
    clip_length: int = 5,
    validation: tuple[int, ...] = (3, 7, 8, 17),
    images: Literal["val", "test"] = "val",
    point_score: Literal["auto", "flag", "positive"] = "auto",
    frames: str | None = None,
    detections: str | None = None,
    detection_threshold: float = 0.0,
    report: Report | None = None,
) -> list[Track]:
    """The tracks of `subset`, "train" or "test". The first reading decodes the videos.

    Args:
        clip_length: frames of the clip of a detected box; the box belongs to the last one.
        validation: the videos of the 19 that "test" stands for, and "train" leaves out.
        images: with "test", the subset "test" is the videos with hidden labels.
        point_score: what the scores of points mean, see the module.
        frames: folder for the decoded frames; None is `frames` in the root.
        detections: folder of files <n>.json in the labels' form, relative to `root`, for the subset "test": each
            box with a score of at least `detection_threshold` is a clip of its own. None takes the annotated tracks.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    root = Path(root)
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")
    hidden = subset == "test" and images == "test"
    if hidden and detections is None:
        raise UserError(
            "data.options.detections: expected a folder with boxes, because the labels of HiEve's videos 20 to 32 "
            "are hidden; got none"
        )
    store = root / "frames" if frames is None else Path(frames).expanduser()
    with reporting(report) as report:
        if subset == "test" and detections is not None:
            folder = jsonfiles.inside(root, detections, "data.options.detections")
        else:
            folder = label_folder(root)
        labels = read_labels(folder, report)
        if not hidden:
            labels = [label for label in labels if (label.number in validation) == (subset == "test")]
        is_flag = point_score == "flag" or (point_score == "auto" and scores_are_flags(labels))
        tracks: list[Track] = []
        for label in tqdm(labels, desc="videos", unit="video", delay=2.0, leave=False):
            with report.file():
                video = _video(root, label, "test" if hidden else "train", store, subset, report)
                if subset == "test" and detections is not None:
                    tracks += _from_boxes(video, label, clip_length, detection_threshold, report)
                else:
                    poses = [
                        pose(person, is_flag=is_flag, file=label.file, report=report)
                        for person in label.people
                    ]
                    _count(label, poses, report)
                    tracks += track_people(video, poses, label.file, report)
        return tracks


def label_folder(root: Path) -> Path:
    """Where the labels lie: in one of the folders that unpacked archives have, or else in the first of them."""
    return next((root / name for name in _LABELS if (root / name).is_dir()), root / _LABELS[0])


def numbered_files(folder: Path) -> dict[int, Path]:
    """The files `<n>.json` of a folder by the number of their video, in its order."""
    files = {int(file.stem): file for file in listed(folder, "*.json") if file.stem.isdecimal()}
    return dict(sorted(files.items()))


def read_labels(folder: Path, report: Report) -> list[Label]:
    """All of `folder/<n>.json` in the order of their numbers."""
    files = numbered_files(folder)
    if not files:
        raise UserError(f"{folder}: expected label files 1.json ..., found none")
    labels = []
    for file in tqdm(files.values(), desc="labels", unit="file", delay=2.0, leave=False):
        with report.file():
            labels.append(read_label(file))
    return labels


def read_label(path: Path) -> Label:
    """One file in PoseTrack17's form: lists of one element wherever a value stands."""
    people: list[Person] = []
    numbers: list[int] = []
    regions: dict[int, list[np.ndarray]] = {}
    for entry in annolist.frames(Fields(path, "", jsonfiles.load(path)), len(SKELETON.joints)):
        frame = frame_number(entry)
        if frame in numbers[-1:] or (numbers and frame < numbers[-1]):
            raise entry.image.wrong("name", f"a frame after {numbers[-1]}")
        numbers.append(frame)
        regions[frame] = entry.ignore_regions
        people += [_person(rect, frame) for rect in entry.rects]
    return Label(
        file=path, number=int(path.stem), frames=tuple(numbers), people=people, ignore_regions=regions
    )


def frame_number(entry: annolist.Frame) -> int:
    """The frame's number, from its name."""
    if not entry.name.removesuffix(".jpg").isdecimal():
        raise entry.image.wrong("name", "a frame's number and .jpg")
    return int(entry.name.removesuffix(".jpg"))


def _person(rect: annolist.Rect, frame: int) -> Person:
    if rect.track_id is None:
        raise rect.fields.wrong("track_id", "a whole number")
    points = np.empty((0, 4)) if rect.points is None else rect.points
    points[np.isnan(points[:, 3]), 3] = 1.0
    return Person(
        frame=frame,
        track_id=rect.track_id,
        points=points,
        box=rect.box,
        score=1.0 if np.isnan(rect.score) else rect.score,
        place=f"{rect.fields.place}, frame {frame}",
    )


def scores_are_flags(labels: list[Label]) -> bool:
    """Whether a point somewhere has the score -1, which only the flag "not annotated" is."""
    return any((person.points[:, 3] == -1).any() for label in labels for person in label.people)


def pose(person: Person, *, is_flag: bool, file: Path, report: Report) -> Pose:
    """Points placed by their id. One at (0, 0) is a placeholder and not labelled."""
    joints = len(SKELETON.joints)
    positions, score = np.zeros((joints, 2)), np.full(joints, np.nan)
    ids = person.points[:, 0].astype(int)
    positions[ids], score[ids] = person.points[:, 1:3], person.points[:, 3]
    placed = (positions != 0).any(axis=1)
    if is_flag:
        labelled, visible = placed & np.isin(score, (0, 1)), placed & (score == 0)
    else:
        labelled, visible = placed, placed & (score > 0)
    for joint in ids[~placed[ids] & ~np.isin(score[ids], (-1, 0))]:
        report.defect(file, f"{person.place}, point {joint}", "a point at (0, 0)", "masked as a placeholder")
    return Pose(
        person=person.track_id,
        frame=person.frame,
        joints=positions,
        visible=visible,
        labelled=labelled,
        box=person.box,
        place=person.place,
    )


def _count(label: Label, poses: list[Pose], report: Report) -> None:
    report.count("videos")
    report.count("labelled frames", len(label.frames))
    report.count("labelled frames without people", len(set(label.frames) - {pose.frame for pose in poses}))
    report.count("ignore regions", sum(map(len, label.ignore_regions.values())))
    report.count("people", len({pose.person for pose in poses}))
    report.count("poses", sum(1 for pose in poses if pose.labelled.any()))
    report.count("boxes without points", sum(1 for pose in poses if not pose.labelled.any()))
    report.count("joints", sum(int(pose.visible.sum()) for pose in poses))


def _video(root: Path, label: Label, part: str, store: Path, subset: str, report: Report) -> Video:
    folders = [root / name.format(part=part) for name in _VIDEOS]
    found = [folder / f"{label.number}{suffix}" for folder in folders for suffix in _SUFFIXES]
    video = next((path for path in found if path.is_file()), found[0])
    frames = frames_of(video, store / str(label.number), report)
    last = max(label.frames, default=-1)
    if last >= len(frames):
        raise UserError(
            f"{store / str(label.number)}: expected {last + 1} frames as {label.file} has, got {len(frames)}; "
            f"copy {video.name} again and remove this folder"
        )
    labelled = np.zeros(len(frames), dtype=bool)
    labelled[list(label.frames)] = True
    return Video(
        name=str(label.number),
        split=subset,
        frames=tuple(frames),
        image_ids=tuple(range(len(frames))),
        labelled=labelled,
        size=image_size(frames[0]),
    )


def _from_boxes(
    video: Video, label: Label, clip_length: int, threshold: float, report: Report
) -> list[Track]:
    joints = len(SKELETON.joints)
    nothing = np.zeros(joints, dtype=bool)
    kept = [person for person in label.people if person.score >= threshold]
    report.count("detected boxes", len(label.people))
    report.count(f"detected boxes with a score of {threshold:g} or more", len(kept))
    tracks = []
    for number, person in enumerate(kept):
        found = Pose(
            person=person.track_id,
            frame=person.frame,
            joints=np.zeros((joints, 2)),
            visible=nothing,
            labelled=nothing,
            box=person.box,
            place=person.place,
            score=person.score,
        )
        name = f"{video.name}/{person.frame:06d}/{number}"
        tracks.append(track_box(video, found, clip_length, name, label.file, report))
    return tracks
