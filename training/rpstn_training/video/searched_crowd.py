"""Several people of whom nobody says where they are: the picture is searched every second, and they are followed
between.
"""

from collections.abc import Collection, Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..data.boxes import middle
from .clothes import clothes
from .crowd import search_crowd
from .follow import Followers
from .search import Candidate, Look, windows
from .sources import Frame
from .streams import Pose

_DOUBTS = 2  # searches in a row in which somebody who is followed does not stand out, and is nobody then
_REACH = 2  # times the longer side of the box of somebody who is lost: how far the person may have come
_ELSEWHERE = 1e3  # costs more than any place and clothes within reach


class SearchedCrowd:
    """Up to so many people at a time, who may come later and go.

    Who is lost is searched for near by, in every frame for a second. Whom a search of the whole picture finds is the
    lost or covered person who was last seen the nearest, of several the one in the most similar clothes, if within
    reach; else somebody new, with a number that nobody had.

    Args:
        count: of people at a time, from 1.
        aspect: width / height of the network's input.
        shown: `Codec.box_scale`.
        fps: frames per second.
        stills: every picture is searched by itself.
        least: the probability of a pose (`Pose.probability`) with less of which nobody is there; None knows of none.
    """

    def __init__(
        self,
        count: int,
        *,
        aspect: float,
        shown: float,
        fps: float,
        stills: bool,
        least: float | None = None,
    ) -> None:
        self._count, self._aspect, self._shown, self._stills = count, aspect, shown, stills
        self._least, self._every = least, max(round(fps), 1)
        times = "each picture" if stills else "a frame every second"
        self.in_words = f"{times} searched for up to {count} people" + (
            "" if stills else ", who are followed between"
        )
        self._start()

    def _start(self) -> None:
        self._followers = Followers(self._every, least=self._least)
        self._searched: int | None = None  # the last frame that was searched as a whole
        self._people = 0  # who have a number
        self._doubts: dict[int, int] = {}
        self._away: dict[int, np.ndarray] = {}  # boxes of those who did not stand out
        self._ended: list[int] = []

    @property
    def hidden(self) -> Collection[int]:
        return self._followers.hidden

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        if self._stills:
            self._start()
        self._followers.find_nearby(frame, look)
        if self._searched is None or frame.number - self._searched >= self._every:
            self._searched = frame.number
            self._search(frame, look)
        return self._followers.boxes()

    def crop(self, frame: Frame, person: int, box: np.ndarray) -> np.ndarray:
        return box

    def seen(self, frame: Frame, poses: Mapping[int, Pose]) -> list[int]:
        if self._stills:
            return list(poses)
        ended, self._ended = self._ended, []
        lost = self._followers.seen(frame, poses)
        return [*ended, *lost, *self._followers.hidden]

    def _search(self, frame: Frame, look: Look) -> None:
        followed = self._followers.boxes()
        everywhere = windows(frame.size, self._aspect, shown=self._shown)
        found = search_crowd(look, everywhere, self._count, list(followed.values()))
        for (person, box), stands in zip(followed.items(), found.stand):
            self._doubts[person] = 0 if stands else self._doubts.get(person, 0) + 1
            if self._doubts[person] == _DOUBTS:
                self._followers.end(person)
                self._away[person] = box
                self._ended.append(person)
        covered = {person: followed[person] for person in self._followers.hidden & followed.keys()}
        room = self._count - len(self._followers.numbers)
        new = [one for one in found.new if one.pose.is_somebody(self._least)][: room + len(covered)]
        for one, person in zip(new, self._numbered(new, frame.image, covered)):
            if person not in self._followers.numbers:
                if room == 0:
                    continue
                room -= 1
            self._followers.begin(person, one.box, float(one.pose.scores.mean()))
            self._away.pop(person, None)
            self._doubts[person] = 0

    def _numbered(
        self, found: list[Candidate], image: np.ndarray, covered: dict[int, np.ndarray]
    ) -> list[int]:
        """The numbers of those found: of somebody who is lost or covered by somebody else, or new ones."""
        lost = self._followers.lost | self._away | covered
        people = list(lost)
        costs = np.full((len(found), len(people)), _ELSEWHERE)
        whose = self._followers.whose
        for row, one, worn in zip(costs, found, clothes(image, [one.pose.joints for one in found])):
            for place, person in enumerate(people):
                away = middle(one.box) - middle(lost[person])
                reach = _REACH * float((lost[person][2:] - lost[person][:2]).max())
                if np.linalg.norm(away) <= reach and whose.may_be(person, worn, one.box):
                    row[place] = np.linalg.norm(away) / reach + 1 - whose.alike(person, worn)
        numbers = [-1] * len(found)
        for place, of in zip(*linear_sum_assignment(costs)):
            if costs[place, of] < _ELSEWHERE:
                numbers[place] = people[of]
        for place, number in enumerate(numbers):
            if number < 0:
                numbers[place] = self._people
                self._people += 1
        return numbers
