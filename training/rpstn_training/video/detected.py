"""People by a detector: it says in every N-th frame who is there, and between they are followed by their poses."""

from collections.abc import Callable, Mapping

import numpy as np

from ..data.tracking import Linker
from .follow import Followers
from .search import Look
from .selection import Selection
from .sources import Frame
from .streams import Pose

# Of joints in OKS: the mean of COCO's over its 17 joints is 0.072, and other skeletons have none of their own.
_SIGMA = 0.07

Find = Callable[[np.ndarray], np.ndarray]


class Detected:
    """Numbers by overlap of boxes and by OKS (`data.tracking`), good for the whole video: nobody gets one twice.

    Who is not detected is followed on, for as long as known before and a second at most; who is missed for longer is
    somebody new.

    Args:
        find: boxes [N, 4] of the people in an image uint8 [H, W, 3] RGB, the surest first.
        every: frames from one detection to the next.
        joints: K of the poses.
        fps: frames per second.
        stills: pictures have no past, each is looked through.
        select: of several people the one who is followed, chosen in the first frame that has any; None takes all.
    """

    def __init__(
        self, find: Find, *, every: int, joints: int, fps: float, stills: bool, select: Selection | None
    ) -> None:
        self._find, self._every, self._stills, self._select = find, every, stills, select
        self._patience = max(round(fps), 1)
        self._linker = Linker(sigmas=np.full(joints, _SIGMA), max_missed=max(self._patience, every))
        self._followers = Followers(self._patience)
        self._frames = 0
        self._chosen: int | None = None
        self._given: dict[int, np.ndarray] = {}
        self._known: dict[
            int, tuple[int, int]
        ] = {}  # first and last frame of the detections of who is followed
        self._ended: list[int] = []
        times = "each picture" if stills else "each frame" if every == 1 else f"every {every}th frame"
        self.in_words = f"boxes of a detector in {times}"
        if not stills:
            self.in_words += (
                ", people followed between" if every > 1 else ", people followed where it misses them"
            )
        if select is not None:
            self.in_words += f"; {select.in_words}"

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        self._given = {}
        if self._stills or self._frames % self._every == 0:
            self._detect(frame, look)
        self._frames += 1
        return dict(sorted({**self._followers.boxes(), **self._given}.items()))

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        return box

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        if self._stills:
            return list(poses)
        size = frame.image.shape[1], frame.image.shape[0]
        boxes = self._followers.boxes()
        ended, self._ended = self._ended, []
        lost = self._followers.seen(frame.number, size, poses, self._given)
        if not self._given:  # no detection: the pose says where the person is
            for person in self._followers.sure:
                self._linker.see(person, frame.number, boxes[person], poses[person].joints)
        return [*ended, *lost]

    def _detect(self, frame: Frame, look: Look) -> None:
        boxes = self._find(frame.image)
        if self._stills:
            people = range(len(boxes))
        else:
            joints = np.stack([pose.joints for pose in look(list(boxes))]) if len(boxes) else None
            people = self._linker.next_frame(frame.number, boxes, joints).tolist()
        if self._select is not None and len(boxes):
            if self._stills or self._chosen is None:
                self._chosen = people[self._select.of(boxes, (frame.image.shape[1], frame.image.shape[0]))]
            boxes = boxes[[person == self._chosen for person in people]]
            people = [person for person in people if person == self._chosen]
        self._given = dict(zip(people, boxes))
        if self._stills:
            return
        for person in people:
            self._known[person] = self._known.get(person, (frame.number, 0))[0], frame.number
        for person in self._followers.numbers:
            first, last = self._known[person]
            if frame.number - last > min(self._patience, last - first):
                self._followers.end(person)
                self._ended.append(person)
