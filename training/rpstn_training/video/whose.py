"""Whose pose is whose, of people who are followed through each other.

Where two people overlap, the network may find one of them in both boxes, or each in the other's. So every pose is held
against what is known of everybody,

    alike = mean of IoU(box about the pose, the person's box), OKS(pose, the person's last one, moved on with the box),
            and the likeness of the clothes

and belongs to its person unless it is one of two that are the same and the less like of them, or is not clearly less
like everybody else, or, where clothes tell two people apart, wears those of the other one who was seen near there
(`Whose.wears_anothers`), or, from where people met until somebody stands apart again, other clothes. A pose that is not
the person's own is no result.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..data.boxes import alone, iou, middle
from ..data.similarity import pose_similarity
from ..data.tracking import blended
from .clothes import clothes
from .search import around_joints
from .streams import Pose

SIGMA = 0.07  # of joints in OKS: the mean of COCO's 17 is 0.072, and other skeletons have none of their own
_CLEARLY = 0.15  # by which a pose is more like one person than another
_UNKNOWN = 0.5  # likeness of what is not known
_STRANGE = 0.7  # likeness of clothes: in the mean 0.6 of two people, 0.8 to 0.9 of one who meets others
_REMEMBERED = 256  # people whose clothes are known: a camera may run for days
# Of what tells a person's clothes from another's, the share that must be seen. Of 25 poses in drawn crowds that had
# just come to lie on another person it finds 23, and takes 5 right ones of 100 for wrong.
_OWN, _OWN_AMONG = 0.3, 0.4  # of one who stands apart, and among others
_TOLD_APART = 0.15  # by which the clothes of two people must differ
_SURE = 2  # times seen apart, from which somebody's clothes are known for sure
_NEAR = 1.5  # times the longer side of a box, from one middle to the other
_AGAIN = 15  # frames apart after which somebody is believed to have changed
_DOUBLE = 0.13  # of a person's size: poses nearer than that, joint by joint in the mean, are of one person
_COVERED = 0.6  # overlap of the boxes about two poses from which nothing is seen of one of two people


@dataclass(kw_only=True)
class _Known:
    """Who was seen: how dressed, how often apart from others, and the box [4] about the last pose."""

    clothes: np.ndarray
    place: np.ndarray
    times: int = 0


class Whose:
    """What is known of people by their numbers.

    Args:
        least: the probability of a pose (`Pose.probability`) with less of which nobody is seen; None knows of none.
    """

    def __init__(self, *, least: float | None = None) -> None:
        self._least = least
        self._joints: dict[int, np.ndarray] = {}  # [K, 2] from the middle of the box, when seen last
        # Who met somebody: frames apart since, none of them in the known clothes.
        self._mixed: dict[int, int] = {}
        self._known: dict[int, _Known] = {}

    def tell(
        self,
        image: np.ndarray,
        poses: Mapping[int, Pose],
        places: Mapping[int, np.ndarray],
        *,
        certain: Collection[int] = (),
        doubtful: Collection[int] = (),
    ) -> tuple[set[int], dict[int, np.ndarray]]:
        """Who has no pose of their own, and the boxes [4] of those of them whose own pose somebody else has.

        Args:
            image: uint8 [H, W, 3] RGB.
            poses: found in the boxes `places` [4] of the same people.
            certain: whose poses are theirs whatever they look like.
            doubtful: who gives way where two have one pose.
        """
        people = list(poses)
        about = np.array([around_joints(pose.joints, pose.scores) for pose in poses.values()]).reshape(-1, 4)
        shared, apart = iou(about, about), alone(about)
        worn = None
        if len(self._known.keys() | people) > 1 or any(
            person not in self._known or person in self._mixed for person in people
        ):
            worn = clothes(image, [pose.joints for pose in poses.values()])
        alike = self._likenesses(people, poses, about, places, worn).mean(axis=0)
        margins = np.diag(alike) - (alike - 2 * np.eye(len(people))).max(axis=1, initial=0.0)
        own: list[int] = []
        hidden: list[int] = []
        order = [
            (person in certain, person not in doubtful, margin) for person, margin in zip(people, margins)
        ]
        for row in sorted(range(len(people)), key=order.__getitem__, reverse=True):
            person, pose = people[row], poses[people[row]]
            strange = worn is not None and self._strange(person, worn[row], about[row], apart=apart[row])
            unlike = alike[row, row] - max(
                (
                    alike[row, at]
                    for at, other in enumerate(people)
                    if at != row and not self._told_apart(person, other)
                ),
                default=0.0,
            )
            taken = any(
                shared[row, other] >= _COVERED or one_pose(pose, poses[people[other]]) for other in own
            )
            if person not in certain and (
                strange
                or taken
                or unlike < (_CLEARLY if person in self._joints else -_CLEARLY)
                or not pose.is_somebody(self._least)
            ):
                hidden.append(row)
                continue
            own.append(row)
            self._joints[person] = pose.joints - middle(places[person])
            if apart[row]:
                self._mixed.pop(person, None)
            if worn is not None:
                self._see(person, worn[row], about[row], apart=apart[row])
            elif person in self._known:
                self._known[person].place = about[row]
        moved = {}
        for row in hidden:
            at = max(hidden, key=lambda other: alike[other, row])
            if at != row:
                moved[people[row]] = about[at]
        return {people[row] for row in hidden}, moved

    def may_be(self, person: int, worn: np.ndarray, about: np.ndarray) -> bool:
        """Whether somebody who is found in a box [4] in these clothes may be this person who was lost."""
        if person not in self._known or self._known[person].times < _SURE:
            return True
        return self.alike(person, worn) >= _STRANGE and not self.wears_anothers(person, worn, about)

    def alike(self, person: int, worn: np.ndarray) -> float:
        """Of clothes and the person's, 1 where those are not known."""
        return float(worn @ self._known[person].clothes) if person in self._known else 1.0

    def wears_anothers(self, person: int, worn: np.ndarray, about: np.ndarray, *, apart: bool = True) -> bool:
        """Whether clothes that are seen in a box [4], o, are less the person's, p, than of somebody's who was seen near
        there, q: for any of them (o.p - o.q) / (1 - p.q) is 1 where they are the person's, -1 where they are the
        other's.
        """
        for other, there in self._known.items():
            reach = _NEAR * max(float((box[2:] - box[:2]).max()) for box in (about, there.place))
            near = np.linalg.norm(middle(about) - middle(there.place)) < reach
            if not near or not self._told_apart(person, other):
                continue
            known = self._known[person].clothes
            speaks = float(worn @ known - worn @ there.clothes) / (1 - float(known @ there.clothes))
            if speaks < (_OWN if apart else _OWN_AMONG):
                return True
        return False

    def _told_apart(self, person: int, other: int) -> bool:
        """Whether both are known, and by their clothes."""
        if person == other or not {person, other} <= self._known.keys():
            return False
        one, two = self._known[person], self._known[other]
        return min(one.times, two.times) >= _SURE and 1 - float(one.clothes @ two.clothes) >= _TOLD_APART

    def _see(self, person: int, worn: np.ndarray, about: np.ndarray, *, apart: bool) -> None:
        known = self._known.pop(person, None)  # the latest comes last
        if known is None:
            known = _Known(clothes=worn, place=about)
        known.place = about
        if apart:
            known.times += 1
            known.clothes = blended(known.clothes, worn, times=known.times)
        self._known[person] = known
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def _strange(self, person: int, worn: np.ndarray, about: np.ndarray, *, apart: bool) -> bool:
        """Whether these are not the person's clothes."""
        others = self.wears_anothers(person, worn, about, apart=apart)
        if not apart or (others and person not in self._mixed):
            self._mixed[person] = 0
        elif person in self._mixed:
            self._mixed[person] += 1
        if self._mixed.get(person, 0) >= _AGAIN:
            self._known.pop(person, None)
            return False
        return others or (person in self._mixed and self.alike(person, worn) < _STRANGE)

    def _likenesses(
        self,
        people: list[int],
        poses: Mapping[int, Pose],
        about: np.ndarray,
        places: Mapping[int, np.ndarray],
        worn: np.ndarray | None,
    ) -> np.ndarray:
        """IoU, OKS and that of the clothes, [3, poses, people]."""
        count = len(people)
        alike = np.full((3, count, count), _UNKNOWN)
        joints = np.array([poses[person].joints for person in people])
        for column, person in enumerate(people):
            place = places[person]
            alike[0, :, column] = iou(about, place[None])[:, 0]
            if person in self._joints:
                expected = self._joints[person] + middle(place)
                area = float((place[2:] - place[:2]).prod())
                sigmas = np.full(len(expected), SIGMA)
                alike[1, :, column] = pose_similarity(expected, joints, area, np.full(count, area), sigmas)
            if worn is not None and person in self._known:
                alike[2, :, column] = worn @ self._known[person].clothes
        return alike


def one_pose(pose: Pose, other: Pose) -> bool:
    """Whether two poses are of one person."""
    about = around_joints(pose.joints, pose.scores)
    if iou(about[None], around_joints(other.joints, other.scores)[None])[0, 0] == 0:
        return False
    size = float((about[2:] - about[:2]).max())
    return float(np.linalg.norm(pose.joints - other.joints, axis=1).mean()) < _DOUBLE * size
