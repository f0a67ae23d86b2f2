"""Several people of whom nobody says where they are: the picture is searched every second, more often where somebody
may be missing, and they are followed between.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..data.boxes import iou, middle
from .clothes import clothes
from .crowd import search_crowd
from .follow import Followers
from .search import Candidate, Look, windows
from .sources import Frame
from .streams import Pose

_OFTEN = 3  # searches in a second while fewer people are followed than there may be
_REACH = 2  # times the longer side of the box of somebody who is lost: how far the person may have come
_NEAR = 1  # the same of somebody who is followed
# By which whom a search finds is dressed more like somebody who is followed than what is now in the box of that person.
_MORE = 0.1
_THERE = 0.3  # overlap with the box of somebody who is awaited from which whom a search finds is nobody new
_ELSEWHERE = 1e3  # costs more than any place and clothes within reach


@dataclass(frozen=True, kw_only=True)
class _Awaited:
    """Somebody whom a search may find: the box [4] where that is expected, and how alike the clothes must be."""

    box: np.ndarray
    followed: bool = False
    alike: float = 0.0


class SearchedCrowd:
    """Up to so many people at a time, who may come later and go.

    Who is lost is searched for near by, in every frame for a second. Whom a search of the whole picture finds is the
    lost or covered person who was last seen the nearest, of several the one in the most similar clothes, if within
    reach; or somebody who is followed, where the box of that person has moved on to somebody in other clothes; or
    nobody yet, where somebody in other clothes was lost in the last second or is covered; else somebody new, with a
    number that nobody had.

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
        self._least, self._second = least, max(round(fps), 1)
        times = "each picture" if stills else "a frame every second (three while fewer people are followed)"
        self.in_words = f"{times} searched for up to {count} people" + (
            "" if stills else ", who are followed between"
        )
        self._start()

    def _start(self) -> None:
        self._followers = Followers(self._second, least=self._least)
        self._searched: int | None = None  # the last frame that was searched as a whole
        self._people = 0  # who have a number
        self._doubted: dict[int, int] = {}  # since which search somebody who is followed does not stand out
        self._away: dict[int, np.ndarray] = {}  # boxes of those who did not stand out
        self._ended: list[int] = []

    @property
    def hidden(self) -> Collection[int]:
        return self._followers.hidden

    def boxes(self, frame: Frame, look: Look) -> dict[int, np.ndarray]:
        if self._stills:
            self._start()
        self._followers.find_nearby(frame, look)
        often = _OFTEN if len(self._followers.numbers) < self._count else 1
        if self._searched is None or (frame.number - self._searched) * often >= self._second:
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
        self._doubted = {
            person: self._doubted.get(person, frame.number)
            for person, stands in zip(followed, found.stand)
            if not stands
        }
        for person, since in self._doubted.items():
            if frame.number - since >= self._second:
                self._followers.end(person)
                self._away[person] = followed[person]
                self._ended.append(person)
        new = [one for one in found.new if one.pose.is_somebody(self._least)]
        awaited = self._awaited(frame.image, dict(zip(followed, found.known)))
        lately = self._followers.lost_lately(frame.number).values()
        gone = [*(one.next_box for one in lately), *self._followers.covered.values()]
        for one, person in zip(new, self._known(new, frame.image, awaited)):
            if person not in self._followers.numbers and len(self._followers.numbers) == self._count:
                continue
            if person is None:
                if any(iou(one.box[None], box[None])[0, 0] > _THERE for box in gone):
                    continue
                person = self._people
                self._people += 1
            self._followers.begin(person, one.box, float(one.pose.scores.mean()))
            self._away.pop(person, None)
            self._doubted.pop(person, None)

    def _awaited(self, image: np.ndarray, poses: Mapping[int, Pose]) -> dict[int, _Awaited]:
        """Everybody with a number; `poses` are those in the boxes of people who are followed."""
        lost = self._followers.lost | self._away | self._followers.covered
        awaited = {person: _Awaited(box=box) for person, box in lost.items()}
        boxes = self._followers.boxes()
        for person, wears in zip(poses, clothes(image, [pose.joints for pose in poses.values()])):
            if person in boxes.keys() - lost.keys():
                alike = self._followers.whose.alike(person, wears) + _MORE
                awaited[person] = _Awaited(box=boxes[person], followed=True, alike=alike)
        return awaited

    def _known(
        self, found: Sequence[Candidate], image: np.ndarray, awaited: Mapping[int, _Awaited]
    ) -> list[int | None]:
        """Who those found are, of everybody who is awaited; None of them is None."""
        people, whose = list(awaited), self._followers.whose
        costs = np.full((len(found), len(people)), _ELSEWHERE)
        for row, one, wears in zip(costs, found, clothes(image, [one.pose.joints for one in found])):
            for place, person in enumerate(people):
                there, alike = awaited[person], whose.alike(person, wears)
                side = float((there.box[2:] - there.box[:2]).max())
                away = float(np.linalg.norm(middle(one.box) - middle(there.box))) / side
                near = away <= (_NEAR if there.followed else _REACH)
                if near and alike >= there.alike and whose.may_be(person, wears, one.box):
                    row[place] = away / _REACH + 1 - alike
        known: list[int | None] = [None] * len(found)
        for place, of in zip(*linear_sum_assignment(costs)):
            if costs[place, of] < _ELSEWHERE:
                known[place] = people[of]
        return known
