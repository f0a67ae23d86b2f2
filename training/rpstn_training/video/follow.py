"""Following people from frame to frame by the poses found: where the next box is, and when somebody is lost.

A box is the one about the pose before (`search.around_joints`), moved on by an alpha-beta filter: its centre c has a
constant velocity v, and a frame whose pose lies r = z - (c + v) away from the expected place corrects both,

    c <- c + v + ALPHA r        v <- v + BETA r

Its sides follow those about the pose more slowly, above all when those shrink: unsure joints are found too near to the
middle of the body, and a box that shrinks by them would cut off hands and feet next. A pose that scores much less than
the person's usually do corrects nothing: the box moves on, ever more slowly, and after some such frames the person is
lost. Neither does a pose that is somebody else's: of two with one pose the one who was expected there has it, and the
other is taken to be hidden.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..data.boxes import middle
from .clothes import clothes
from .search import Look, around_joints, nearby, search
from .sources import Frame
from .streams import Pose
from .whose import Whose

# Tried on 12 clips of drawn people and one of JHMDB, with small networks: more follows the noise of the poses, and half
# of it loses who moves quickly.
ALPHA, BETA = 0.6, 0.2
PATIENCE = 5  # frames with a low score in a row after which a person is lost
LOW = 0.5  # of the person's usual score: less is low
FOUND = 0.7  # of the person's usual score: what a pose needs to be this person again
_GROWING, _SHRINKING = 0.3, 0.01  # how much of a change of the sides is followed in a frame
_FASTEST_SIZE = 1.25  # times: the most that the sides seem to change in a frame
_USUAL = 0.1  # how much of a new score goes into the usual one
_NEARBY = 3  # of the most plausible people near by, of whom the first may be somebody else
_SLOWING = 0.8  # of the velocity that is left in a frame without a good pose


class Follower:
    """One person's box as it moves on. Boxes are x1, y1, x2, y2 in pixels of the picture.

    Args:
        box (ndarray[4]): where the person is.
        score: of the pose there, the mean over the joints.

    A person who moves two pixels to the right in every frame:

    >>> def person(x):
    ...     return Pose(joints=np.array([[x, 0.0], [x + 20, 50], [x + 10, 100]]), scores=np.ones(3))
    >>> follower = Follower(np.array([-8.0, -8, 28, 108]), 1.0)
    >>> for frame in range(50):
    ...     follower.seen(person(2.0 * frame))
    >>> follower.next_box.round(1).tolist()
    [92.0, -8.0, 128.0, 108.0]
    """

    def __init__(self, box: np.ndarray, score: float) -> None:
        self._centre, self._sides = _centre_and_sides(np.asarray(box, dtype=np.float64))
        self._velocity = np.zeros(2)
        self._by_pose = False  # whether the last place came from a pose
        self._low = 0
        self.usual = score

    @property
    def next_box(self) -> np.ndarray:
        """Where the person is expected in the next frame, [4]."""
        middle, half = self._centre + self._velocity, self._sides / 2
        return np.concatenate([middle - half, middle + half])

    @property
    def lost(self) -> bool:
        return self._low >= PATIENCE

    @property
    def sure(self) -> bool:
        return self._low == 0

    def seen(self, pose: Pose) -> None:
        """The pose found in the `next_box` of the frame."""
        score = float(pose.scores.mean())
        if score < LOW * self.usual:
            self.not_seen()
            return
        centre, sides = _centre_and_sides(around_joints(pose.joints, pose.scores))
        self._move(centre, score, by_pose=True)
        sides = np.clip(sides, self._sides / _FASTEST_SIZE, self._sides * _FASTEST_SIZE)
        share = np.where(sides > self._sides, _GROWING, _SHRINKING)
        self._sides = self._sides + share * (sides - self._sides)

    def not_seen(self) -> None:
        """Nothing says where the person is in the `next_box`'s frame."""
        self._low += 1
        self._centre, self._velocity = self._centre + self._velocity, _SLOWING * self._velocity

    def given(self, box: np.ndarray, score: float) -> None:
        """The person's box in this frame is known, and the score of the pose found in it."""
        centre, self._sides = _centre_and_sides(box)
        self._move(centre, score, by_pose=False)
        self._centre = centre

    def _move(self, centre: np.ndarray, score: float, *, by_pose: bool) -> None:
        self._low = 0
        self.usual += _USUAL * (score - self.usual)
        away = centre - (self._centre + self._velocity)
        self._centre = self._centre + self._velocity + ALPHA * away
        if by_pose == self._by_pose:  # from a given box to a pose in it is no movement
            self._velocity = self._velocity + BETA * away
        self._by_pose = by_pose


class Followers:
    """The people who are followed, by their numbers, and those who were lost a short time ago.

    Args:
        patience: frames for which a lost person is searched for near by, in each of them.
        least: the probability of a pose (`Pose.probability`) with less of which nobody is seen; None knows of none.
    """

    def __init__(self, patience: int, *, least: float | None = None) -> None:
        self.patience, self.whose = patience, Whose(least=least)
        self._followed: dict[int, Follower] = {}
        self._lost: dict[int, tuple[Follower, int]] = {}  # and the frame of the loss
        self._joints: dict[int, np.ndarray] = {}  # [K, 2] in the last frame
        self.hidden: set[int] = set()  # whose pose in the last frame is somebody else's or nobody's

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(sorted(self._followed))

    @property
    def lost(self) -> dict[int, np.ndarray]:
        """Where those who are lost were expected last."""
        return {person: follower.next_box for person, (follower, _) in self._lost.items()}

    @property
    def joints(self) -> list[np.ndarray]:
        """Of everybody who is followed, [K, 2] in the last frame."""
        return [joints for person, joints in self._joints.items() if person in self._followed]

    @property
    def sure(self) -> list[int]:
        """Those who are followed and whose last pose was none of low score."""
        return [person for person in self.numbers if self._followed[person].sure]

    def boxes(self) -> dict[int, np.ndarray]:
        """Where everybody who is followed is expected."""
        return {person: self._followed[person].next_box for person in self.numbers}

    def begin(self, person: int, box: np.ndarray, score: float) -> None:
        """Follow from this box on; whatever was known of the person is forgotten."""
        self._lost.pop(person, None)
        self._followed[person] = Follower(box, score)

    def end(self, person: int) -> None:
        """The person is neither followed nor searched for any more."""
        self._followed.pop(person, None)
        self._lost.pop(person, None)

    def seen(
        self,
        frame: Frame,
        poses: Mapping[int, Pose],
        given: Mapping[int, np.ndarray] | None = None,
        *,
        numbered: bool = True,
    ) -> list[int]:
        """The poses of everybody in this frame, some of whom were in boxes [4] that are `given`; returns who is lost.

        Lost is who scores low or is hidden for a while, and who has left the picture; nobody whose box is given. A pose
        in a given box is never taken for somebody else's where the file says whose box it is (`numbered`).
        """
        given = given or {}
        for person in given.keys() - self._followed.keys():
            self.begin(person, given[person], float(poses[person].scores.mean()))
        places = {person: given.get(person, self._followed[person].next_box) for person in poses}
        self.hidden, moved = self.whose.tell(
            frame.image,
            poses,
            places,
            certain=given.keys() if numbered else (),
            doubtful=[person for person in poses if not self._followed[person].sure],
        )
        self._joints = {person: pose.joints for person, pose in poses.items()}
        for person, pose in poses.items():
            follower = self._followed[person]
            if person in given:
                score = follower.usual if person in self.hidden else float(pose.scores.mean())
                follower.given(given[person], score)
            elif person in moved:
                self.begin(person, moved[person], follower.usual)
            elif person in self.hidden:
                follower.not_seen()
            else:
                follower.seen(pose)
        gone = {
            person
            for person, follower in self._followed.items()
            if follower.lost or not _in_picture(follower.next_box, frame.size)
        }
        gone = sorted(gone - given.keys())
        for person in gone:
            self._lost[person] = self._followed.pop(person), frame.number
        return gone

    def find_nearby(self, frame: Frame, look: Look, taken: Iterable[np.ndarray] = ()) -> list[int]:
        """Search for those who were lost at most `patience` frames ago; who is found is followed from here on."""
        found = []
        for person, (follower, since) in list(self._lost.items()):
            if frame.number - since > self.patience:
                continue
            occupied = [*taken, *self.boxes().values()]
            near = search(look, nearby(follower.next_box), _NEARBY, taken=occupied, known=self.joints)
            worn = clothes(frame.image, [one.pose.joints for one in near])
            for one, wears in zip(near, worn):
                score = float(one.pose.scores.mean())
                if score >= FOUND * follower.usual and self.whose.may_be(person, wears, one.box):
                    self.begin(person, one.box, score)
                    found.append(person)
                    break
        return found

    def usual(self, person: int) -> float:
        """The usual score of someone who is lost."""
        return self._lost[person][0].usual


def _centre_and_sides(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return middle(box), np.maximum(box[2:] - box[:2], 2.0)


def _in_picture(box: np.ndarray, size_wh: Sequence[int]) -> bool:
    """Whether the middle of a box is in the picture."""
    place = middle(box)
    return bool((place >= 0).all() and (place <= np.array(size_wh) - 1).all())
