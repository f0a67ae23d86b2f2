"""People by boxes of which nobody says whose they are: a detector's in every N-th frame, or those of a file."""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from ..data.tracking import Linker
from .clothes import clothes
from .follow import Followers
from .search import Look
from .selection import Chosen, Selection
from .sources import Frame
from .streams import Pose
from .whose import SIGMA, one_pose

_SOON = 3  # frames after a new person's first one: where a file has boxes in some, one must be the person's

Find = Callable[[Frame], np.ndarray | None]
Ahead = Callable[[int], Iterable[tuple[int, np.ndarray]]]


class Detected:
    """Numbers by overlap of boxes, by OKS and by clothes (`data.tracking`), good for the whole video: nobody gets one
    twice.

    Who is not detected is followed on, for as long as known before and a second at most; who is missed for longer is
    somebody new. Whose pose is somebody else's is nobody new, and a pose that is not the person's own (`whose`) is no
    result. Where the boxes to come are known, a missed person's box is interpolated up to the one that continues it,
    and a box that nothing continues soon is a false alarm.

    Args:
        find: boxes [N, 4] of the people in a frame, the surest first; None where nobody looked.
        joints: K of the poses.
        fps: frames per second.
        stills: pictures have no past, each is looked through.
        select: of several people the one who is followed, chosen in the first frame that has any; None takes all.
        most: people at a time; who was there before stays, then the surest come. None takes all.
        in_words: whose boxes these are.
        ahead: of a frame's number the frames after it that have boxes, and these; None where they are not known.
        follow: False takes the boxes as all there are.
        least: the probability of a pose (`Pose.probability`) with less of which nobody is there; None knows of none.
    """

    def __init__(
        self,
        find: Find,
        *,
        joints: int,
        fps: float,
        stills: bool,
        select: Selection | None,
        most: int | None = None,
        in_words: str,
        ahead: Ahead | None = None,
        follow: bool = True,
        least: float | None = None,
    ) -> None:
        self._find, self._stills = find, stills
        self._ahead, self._follow, self._most = ahead, follow, most
        self._patience = max(round(fps), 1)
        self._linker = Linker(sigmas=np.full(joints, SIGMA), max_missed=self._patience)
        self._followers = Followers(self._patience, least=least)
        self._chosen = Chosen(select, stills=stills)
        self._given: dict[int, np.ndarray] = {}
        self._detected = False  # in this frame
        self._known: dict[
            int, tuple[int, int]
        ] = {}  # first and last frame of the detections of who is followed
        self._ended: list[int] = []
        self.in_words = in_words if most is None else f"{in_words}; up to {most} at a time"
        if select is not None:
            self.in_words += f"; {select.in_words}"

    @property
    def hidden(self) -> Collection[int]:
        return self._followers.hidden

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        self._given = {}
        boxes = self._find(frame)
        self._detected = boxes is not None
        if boxes is not None and self._stills:
            self._given = self._chosen.of(dict(enumerate(boxes[: self._most])), frame.size)
        elif boxes is not None:
            self._detect(frame, boxes, look)
        if self._stills or not self._follow:
            return self._given
        self._given |= self._between(frame.number)
        return dict(sorted({**self._followers.boxes(), **self._given}.items()))

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        return box

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        if self._stills:
            return list(poses)
        boxes = self._followers.boxes() | self._given
        ended, self._ended = self._ended, []
        lost = self._followers.seen(frame, poses, self._given, numbered=False)
        if not self._detected:  # the pose says where the person is
            for person in {*self._followers.sure, *self._given} & poses.keys():
                self._linker.see(person, frame.number, boxes[person], poses[person].joints)
        return [*ended, *lost, *self._followers.hidden]

    def _detect(self, frame: Frame, boxes: np.ndarray, look: Look) -> None:
        poses = look(list(boxes))
        joints = np.stack([pose.joints for pose in poses]) if poses else None
        worn = None if joints is None else clothes(frame.image, joints)
        people = self._linker.next_frame(frame.number, boxes, joints, worn).tolist()
        new = [person for person in people if person not in self._known]
        if new:
            false = {*self._twice(people, poses), *self._alone(frame.number, new)}
            boxes = boxes[[person not in false for person in people]]
            people = [person for person in people if person not in false]
        self._given = self._limited(self._chosen.of(dict(zip(people, boxes)), frame.size))
        for person in self._given:
            self._known[person] = self._known.get(person, (frame.number, 0))[0], frame.number
        for person in self._followers.numbers:
            first, last = self._known[person]
            if frame.number - last > min(self._patience, last - first):
                self._followers.end(person)
                self._ended.append(person)

    def _limited(self, boxes: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """No more new people than there is room for."""
        if self._most is None:
            return boxes
        there = self._followers.numbers
        new = [person for person in boxes if person not in there][: self._most - len(there)]
        return {person: box for person, box in boxes.items() if person in there or person in new}

    def _twice(self, people: Sequence[int], poses: Sequence[Pose]) -> list[int]:
        """New people with the pose of somebody before them or known."""
        return [
            person
            for place, person in enumerate(people)
            if person not in self._known
            and any(
                one_pose(poses[place], pose)
                for before, (other, pose) in enumerate(zip(people, poses))
                if other in self._known or before < place
            )
        ]

    def _alone(self, frame: int, new: Iterable[int]) -> list[int]:
        """New people whom no box of the next frames continues."""
        if self._ahead is None:
            return []
        coming = [boxes for number, boxes in self._to_come(frame) if number - frame <= _SOON]
        if not coming:
            return []
        again = set().union(*coming)
        return [person for person in new if person not in again]

    def _between(self, frame: int) -> dict[int, np.ndarray]:
        """The boxes of people who are missing in a frame, on the way from the last ones to those that are to come."""
        missing = set(self._followers.numbers) - self._given.keys()
        boxes: dict[int, np.ndarray] = {}
        if self._ahead is None or not missing:
            return boxes
        for number, found in self._to_come(frame):
            for person in missing & found.keys() - boxes.keys():
                before, last = self._linker.last(person)
                boxes[person] = last + (frame - before) / (number - before) * (found[person] - last)
            if missing == boxes.keys():
                break
        return boxes

    def _to_come(self, frame: int) -> Iterable[tuple[int, dict[int, np.ndarray]]]:
        """Frames after this one, a second at most, with the boxes of people by the numbers that overlap gives them."""
        linker = copy.deepcopy(self._linker)
        for number, boxes in self._ahead(frame):
            if number - frame > self._patience:
                return
            yield number, dict(zip(linker.next_frame(number, boxes).tolist(), boxes))


def every(count: int, find: Callable[[np.ndarray], np.ndarray]) -> Find:
    """A detector of images uint8 [H, W, 3] RGB that looks at every so many-th frame, the first one too."""
    frames = 0

    def look(frame: Frame) -> np.ndarray | None:
        nonlocal frames
        frames += 1
        return find(frame.image) if (frames - 1) % count == 0 else None

    return look


def detector_in_words(count: int, *, stills: bool) -> str:
    times = "each picture" if stills else "each frame" if count == 1 else f"every {count}th frame"
    followed = ", people followed between" if count > 1 else ", people followed where it misses them"
    return f"boxes of a detector in {times}" + ("" if stills else followed)
