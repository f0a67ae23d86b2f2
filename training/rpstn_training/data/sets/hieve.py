"""HiEve: videos of crowds, 14 joints. The owners ship videos and label files, no frames.

    videos/{train,test}/<n>.mp4 (or .MOV, .MP4)     or {train,test}/videos; 1..19 and 20..32
    labels/train/track2&3/<n>.json                  or labels/track2&3/track2; PoseTrack17's form "annolist"
    frames/<n>/000000.jpg ...                       made here, once, from the videos

Boxes of a detector are a folder of such label files, or one file (`forms.box_files`), in which a picture is called
<n>/000000.jpg.

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
from ...scores.hieve_ap import SIGMAS
from ..findings import Report, reporting
from ..forms import annolist, jsonfiles
from ..forms.detections import Detected, people_of_file, tracks_of_people
from ..forms.jsonfiles import Fields
from ..forms.people import Pose, Video, box_pose, track_people
from ..forms.videos import frames_of
from ..images import image_size
from ..records import Picture, Skeleton, Track
from . import coco

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

FIRST_HIDDEN = 20  # videos from here on have hidden labels

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
    link: Literal["none", "file", "iou", "oks"] = "none",
    link_likeness: float = 0.3,
    link_gap: int = 5,
    report: Report | None = None,
) -> list[Track]:
    """The tracks of `subset`, "train" or "test". The first reading decodes the videos.

    Args:
        clip_length: frames of the clip of a detected box that is not linked; the box belongs to the last one.
        validation: the videos of the 19 that "test" stands for, and "train" leaves out.
        images: with "test", the subset "test" is the videos with hidden labels.
        point_score: what the scores of points mean, see the module.
        frames: folder for the decoded frames; None is `frames` in the root.
        detections: folder of files <n>.json in the labels' form, or a file of boxes, relative to `root`, for the
            subset "test". None takes the annotated tracks.
        detection_threshold: the lowest score of a box that is taken.
        link: how detected boxes become the tracks that clips are cut from. "none": each box is a clip of its own, the
            same box in `clip_length` frames; "file": the track_ids of the detections; "iou": `tracking.link` by the
            boxes; "oks": the same by boxes and points, which a folder of an earlier result has (its zip, unpacked).
        link_likeness: a box less like a track than this is not its person.
        link_gap: frames in a row in which a person may be missed; there the box lies between those around.

    Raises UserError naming the file and the field that is missing or not what it should be.
    """
    root = Path(root)
    _require_subset(root, subset)
    hidden = subset == "test" and images == "test"
    if hidden and detections is None:
        raise UserError(
            "data.options.detections: expected a folder or a file with boxes, because the labels of HiEve's videos 20 "
            "to 32 are hidden; got none"
        )
    if not 0 < link_likeness <= 1 or link_gap < 0:
        raise UserError(
            "data.options: expected a link_likeness above 0 and at most 1 and a link_gap of at least 0, got "
            f"{link_likeness:g} and {link_gap}"
        )
    store = _store(root, frames)
    part = "test" if hidden else "train"
    with reporting(report) as report:
        if subset == "test" and detections is not None:
            path = jsonfiles.inside(root, detections, "data.options.detections")
            if path.suffix in (".json", ".csv"):
                found = people_of_file(
                    path, len(SKELETON.joints), coco.PERSON, link, detection_threshold, report
                )
            else:
                found = _boxes_of_folder(path, link, detection_threshold, report)
            tracks: list[Track] = []
            for number, people in tqdm(found.items(), desc="videos", unit="video", delay=2.0, leave=False):
                if not (number >= FIRST_HIDDEN if hidden else number in validation):
                    report.count("detected boxes in other videos", len(people))
                    continue
                with report.file():
                    video = _video(root, number, part, store, subset, report)
                    tracks += tracks_of_people(
                        video,
                        people,
                        link=link,
                        min_likeness=link_likeness,
                        max_missed=link_gap,
                        clip_length=clip_length,
                        sigmas=SIGMAS,
                        path=path,
                        report=report,
                    )
            return tracks
        labels = read_labels(label_folder(root), report)
        labels = [label for label in labels if (label.number in validation) == (subset == "test")]
        is_flag = point_score == "flag" or (point_score == "auto" and scores_are_flags(labels))
        tracks = []
        for label in tqdm(labels, desc="videos", unit="video", delay=2.0, leave=False):
            with report.file():
                video = _video(root, label.number, part, store, subset, report, label)
                poses = [
                    pose(person, is_flag=is_flag, file=label.file, report=report) for person in label.people
                ]
                _count(label, poses, report)
                tracks += track_people(video, poses, label.file, report)
        return tracks


def pictures(
    root: Path,
    subset: str,
    *,
    validation: tuple[int, ...] = (3, 7, 8, 17),
    images: Literal["val", "test"] = "val",
    frames: str | None = None,
    report: Report | None = None,
) -> list[Picture]:
    """Every frame of the videos of `subset`, which are decoded where they are not yet. Arguments as of `read`."""
    root = Path(root)
    _require_subset(root, subset)
    hidden = subset == "test" and images == "test"
    found: list[Picture] = []
    with reporting(report) as report:
        for number in _video_numbers(root, subset, hidden, validation):
            video = _video(root, number, "test" if hidden else "train", _store(root, frames), subset, report)
            found += [
                Picture(id=f"{number}/{path.name}", path=path, size=video.size) for path in video.frames
            ]
    return found


def _video_numbers(root: Path, subset: str, hidden: bool, validation: tuple[int, ...]) -> list[int]:
    """The numbers of the videos of `subset` that lie under `root`. Raises UserError where there is none."""
    part = "test" if hidden else "train"
    files = [file for folder in _video_folders(root, part) for file in listed(folder, "*")]
    numbers = {int(file.stem) for file in files if file.suffix in _SUFFIXES and file.stem.isdecimal()}
    if hidden:
        kept = sorted(number for number in numbers if number >= FIRST_HIDDEN)
    else:
        known = numbered_files(label_folder(root)).keys() | set(validation)  # all 32 may lie in one folder
        kept = sorted(n for n in numbers & known if (n in validation) == (subset == "test"))
    if not kept:
        example = FIRST_HIDDEN if hidden else validation[0] if subset == "test" else 1
        raise UserError(
            f"{root}: expected videos {example}.mp4 ... in videos/{part}, found none of subset {subset}"
        )
    return kept


def _require_subset(root: Path, subset: str) -> None:
    if subset not in ("train", "test"):
        raise UserError(f"{root}: expected subset train or test, got {subset}")


def _store(root: Path, frames: str | None) -> Path:
    return root / "frames" if frames is None else Path(frames).expanduser()


def _video_folders(root: Path, part: str) -> list[Path]:
    return [root / name.format(part=part) for name in _VIDEOS]


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


def _video(
    root: Path, number: int, part: str, store: Path, subset: str, report: Report, label: Label | None = None
) -> Video:
    """Video `number`, decoded; `label` has the frames with labels, without it there are none."""
    folders = _video_folders(root, part)
    found = [folder / f"{number}{suffix}" for folder in folders for suffix in _SUFFIXES]
    video = next((path for path in found if path.is_file()), found[0])
    frames = frames_of(video, store / str(number), report)
    labelled = np.zeros(len(frames), dtype=bool)
    if label is not None:
        last = max(label.frames, default=-1)
        if last >= len(frames):
            raise UserError(
                f"{store / str(number)}: expected {last + 1} frames as {label.file} has, got {len(frames)}; "
                f"copy {video.name} again and remove this folder"
            )
        labelled[list(label.frames)] = True
    return Video(
        name=str(number),
        split=subset,
        frames=tuple(frames),
        image_ids=tuple(range(len(frames))),
        labelled=labelled,
        size=image_size(frames[0]),
    )


def _boxes_of_folder(folder: Path, link: str, threshold: float, report: Report) -> dict[int, list[Detected]]:
    """The detected people of label files by the number of their video."""
    found: dict[int, list[Detected]] = {}
    boxes = 0
    for label in read_labels(folder, report):
        boxes += len(label.people)
        found[label.number] = [
            Detected(
                pose=box_pose(
                    person.box,
                    person.frame,
                    person.track_id,
                    len(SKELETON.joints),
                    place=f"{label.file.name}, {person.place}",
                    score=person.score,
                ),
                points=_points(person),
            )
            for person in label.people
            if person.score >= threshold
        ]
    kept = sum(map(len, found.values()))
    report.count("detected boxes", boxes)
    report.count(f"detected boxes with a score of {threshold:g} or more", kept)
    if not kept and not report.errors:
        raise UserError(
            f"{folder}: expected boxes with a score of {threshold:g} or more (data.options.detection_threshold), "
            f"found none among {boxes}"
        )
    for person in (person for people in found.values() for person in people if link == "oks"):
        if np.isnan(person.points).any():
            raise UserError(
                f"{folder}: {person.pose.place}: expected all {len(SKELETON.joints)} points of each person for "
                "data.options.link=oks, found fewer; link boxes without poses with data.options.link=iou"
            )
    return found


def _points(person: Person) -> np.ndarray:
    """Points [K, 2] placed by their id, NaN where there is none."""
    points = np.full((len(SKELETON.joints), 2), np.nan)
    points[person.points[:, 0].astype(int)] = person.points[:, 1:3]
    return points
