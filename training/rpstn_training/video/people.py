"""Where the people of a video are, frame by frame: in the whole picture, in given boxes, or to be found.

Each of the three, as `detected.Detected` and `searched_crowd.SearchedCrowd`, says before a frame which boxes to look at
(`boxes`), and hears afterwards what was found (`seen`), upon which it says whose memory ends. Boxes are x1, y1, x2, y2
in pixels of the picture.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from .follow import FOUND, Followers
from .motion import Motion
from .person_boxes import Boxes
from .search import Look, search, windows
from .selection import Chosen, Selection
from .sources import Frame
from .streams import Pose

_CROWD = 8  # people who are searched for where one of them is wanted
_STANDS_OUT = 1.3  # times the median window: what the first person found in a picture must be


class People(Protocol):
    """Who is looked for where. `in_words` is for the results."""

    in_words: str
    hidden: Collection[int]  # whose pose in the last frame is somebody else's, and no result

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        """Person to box [4], by rising numbers; `look` shows the network boxes of the frame, without memory."""

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        """The box [4] that is cut out for the person's box."""

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        """The poses found in those boxes; returns the persons whose next frame is a first one."""


class WholePicture:
    """Person 0 fills the picture."""

    in_words = "the whole picture is the box of one person"
    hidden = ()

    def __init__(self, *, stills: bool) -> None:
        self._stills = stills

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        width, height = frame.size
        return {0: np.array([0.0, 0.0, width - 1.0, height - 1.0])}

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        return box

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        return list(poses) if self._stills else []


class InGivenBoxes:
    """The boxes of a file, and beyond a person's last one, where it is not the end of a track, the person is followed.

    Args:
        table: the boxes, gaps already filled.
        together: frames of a clip that the training cuts out by one box (`Codec.shared_frames`).
        fps: frames for which a lost person is searched for near by, a second.
        follow: False takes the boxes as all there are.
        stills: pictures have no past.
        select: of several people the one who is wanted; None takes all.
    """

    def __init__(
        self,
        table: Boxes,
        *,
        together: int,
        fps: float,
        follow: bool,
        stills: bool,
        select: Selection | None = None,
    ) -> None:
        self._table, self._follow, self._stills = table, follow and not stills, stills
        self._chosen = Chosen(select, stills=stills)
        self._crops = table.crops(1 if stills else together)
        self._followers = Followers(max(round(fps), 1))
        self._given: dict[int, np.ndarray] = {}
        self.in_words = "boxes from a file"
        if self._follow:
            self.in_words += ", interpolated between, people followed beyond the last"
        if select is not None:
            self.in_words += f"; {select.in_words}"

    @property
    def hidden(self) -> Collection[int]:
        return self._followers.hidden

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        self._given = self._chosen.of(self._table.at(frame.number, frame.size), frame.size)
        if not self._follow:
            return self._given
        self._followers.find_nearby(frame, look, self._given.values())
        return dict(sorted({**self._followers.boxes(), **self._given}.items()))

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        return self._crops.get((frame.number, person), box)

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        gone = self._table.gone(frame.number)
        if self._stills:
            return list(poses)
        if not self._follow:
            return gone
        lost = self._followers.seen(frame, poses, self._given)
        left = [person for person in gone if not self._table.goes_on(person)]
        for person in left:
            self._followers.end(person)
        return [*lost, *left]


class Searched:
    """Nobody says where the person is: the first frame is searched, and who is found is followed.

    Who is lost is searched for near by, in every frame for a second, and then in the whole frame once a second, and is
    that person wherever found again.

    Args:
        aspect: width / height of the network's input.
        shown: `Codec.box_scale`.
        fps: frames per second.
        stills: every picture is searched by itself.
        select: of several people the one who is wanted; None takes the most plausible.
        least: the probability of a pose (`Pose.probability`) with less of which nobody is there; None knows of none.
    """

    def __init__(
        self,
        *,
        aspect: float,
        shown: float,
        fps: float,
        stills: bool,
        select: Selection | None = None,
        least: float | None = None,
    ) -> None:
        self._aspect, self._shown, self._stills = aspect, shown, stills
        self._select, self._least = select, least
        self._every = max(round(fps), 1)
        self._start()
        each = "each picture" if stills else "the first frame"
        self.in_words = f"{each} searched for one person" + ("" if stills else ", who is followed from there")
        if select is not None:
            self.in_words += f"; {select.in_words}"

    def _start(self) -> None:
        self._followers = Followers(self._every)
        self._searched: int | None = None  # the last frame that was searched as a whole
        self._known = False

    @property
    def hidden(self) -> Collection[int]:
        return self._followers.hidden

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        if self._stills:
            self._start()
        self._followers.find_nearby(frame, look)
        awaited = self._searched is not None and frame.number - self._searched < self._every
        if not self._followers.numbers and not awaited:
            self._search(frame, look)
        return self._followers.boxes()

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        return box

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        if self._stills:
            return list(poses)
        lost = self._followers.seen(frame, poses)
        if lost:  # near by comes first
            self._searched = frame.number
        return lost

    def _search(self, frame: Frame, look: Look) -> None:
        self._searched = frame.number
        choice = self._select is not None and not self._known
        found = search(
            look,
            windows(frame.size, self._aspect, shown=self._shown),
            _CROWD if choice else 1,
            stands_out=_STANDS_OUT,
            motion=None if self._stills else Motion(frame.image, frame.later),
        )
        found = [one for one in found if one.pose.is_somebody(self._least)]
        if not found:
            return
        one = found[self._select.of([one.box for one in found], frame.size) if choice else 0]
        score = float(one.pose.scores.mean())
        if self._known and score < FOUND * self._followers.usual(0):
            return
        self._known = True
        self._followers.begin(0, one.box, score)
