"""People detected in videos, and the tracks that clips are cut from: a box alone, or boxes linked over the frames."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import UserError
from .. import tracking
from ..findings import Report
from ..records import Track
from . import box_files, box_rows, coco_form
from .people import Pose, Video, track_box, track_boxes

_PICTURE = re.compile(r"(?:.*/)?(\d+)/(\d+)\.jpg")


@dataclass(frozen=True, kw_only=True, slots=True)
class Detected:
    """A detected person: `pose` has the box and nothing labelled; `points` [K, 2] of an earlier result, else NaN."""

    pose: Pose
    points: np.ndarray


def people_of_file(
    path: Path, joints: int, category: box_files.Category, link: str, threshold: float, report: Report
) -> dict[int, list[Detected]]:
    """The people of a file of boxes (`box_files`) by the number of their video. A picture is called by video and frame,
    3/000012.jpg.
    """
    if link == "oks":
        raise UserError(
            f"{path}: expected a folder of files <n>.json with points for data.options.link=oks, got a file of boxes; "
            "link them with data.options.link=iou"
        )
    found: dict[int, list[Detected]] = {}
    nowhere = np.full((joints, 2), np.nan)
    for number, box in enumerate(box_files.read(path, report, category=category, threshold=threshold)):
        with report.file():
            name = _PICTURE.fullmatch(box.image) if isinstance(box.image, str) else None
            if name is None:
                raise UserError(
                    f"{box.where}: expected an image_id of video and frame like 3/000012.jpg, got "
                    f"{box_rows.short(box.image)}"
                )
            if link == "file" and box.person is None:
                raise UserError(
                    f"{box.where}: expected a track_id for data.options.link=file, got none; link boxes without one "
                    "with data.options.link=iou"
                )
            person = number if box.person is None else box.person
            pose = coco_form.detected(box, int(name[2]), person, joints)
            found.setdefault(int(name[1]), []).append(Detected(pose=pose, points=nowhere))
    return dict(sorted(found.items()))


def tracks_of_people(
    video: Video,
    people: Sequence[Detected],
    *,
    link: str,
    min_likeness: float,
    max_missed: int,
    clip_length: int,
    sigmas: np.ndarray,
    path: Path,
    report: Report,
) -> list[Track]:
    """The tracks of the people detected in one video.

    Args:
        link: "none" makes each box a clip of its own, `people.track_box`; "file" goes by the numbers of the people;
            "iou" links by boxes and "oks" by boxes and points, see `tracking.link`.
    """
    poses, points = _in_video(people, video, path, report)
    if link == "none":
        return [
            track_box(video, pose, clip_length, f"{video.name}/{pose.frame:06d}/{number}", path, report)
            for number, pose in enumerate(poses)
        ]
    if link != "file" and poses:
        numbers = tracking.link(
            [pose.frame for pose in poses],
            np.stack([pose.box for pose in poses]),
            scores=np.array([pose.score for pose in poses]),
            poses=np.stack(points) if link == "oks" else None,
            sigmas=sigmas if link == "oks" else None,
            min_likeness=min_likeness,
            max_missed=max_missed,
        )
        poses = [replace(pose, person=int(number)) for pose, number in zip(poses, numbers)]
    return track_boxes(video, poses, max_missed, path, report)


def _in_video(
    people: Sequence[Detected], video: Video, path: Path, report: Report
) -> tuple[list[Pose], list[np.ndarray]]:
    """Poses and points of those in frames that there are."""
    kept = []
    for person in people:
        if person.pose.frame < len(video.frames):
            kept.append(person)
            continue
        place = f"{person.pose.place}, frame {person.pose.frame} of video {video.name}"
        report.defect(path, place, "a box in a frame that the video does not have", "left out")
    return [person.pose for person in kept], [person.points for person in kept]
