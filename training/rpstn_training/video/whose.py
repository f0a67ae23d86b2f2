"""Whose pose is whose, of people who are followed through each other.

Where two people overlap, the network may find one of them in both boxes, or each in the other's. So every pose is held
against what is known of everybody,

    alike = mean of IoU(box about the pose, the person's box), OKS(pose, the person's last one, moved on with the box),
            and the likeness of the clothes

and belongs to its person unless it is clearly more like somebody else, or is one of two that are the same and the less
like of them, or, from where people met until somebody stands apart again, wears other clothes. A pose that is not the
person's own is no result.
"""

from collections.abc import Collection, Mapping

import numpy as np

from ..data.boxes import alone, iou, middle
from ..data.similarity import pose_similarity
from ..data.tracking import blended
from .clothes import clothes
from .search import around_joints
from .streams import Pose

SIGMA = 0.07  # of joints in OKS: the mean of COCO's 17 is 0.072, and other skeletons have none of their own
_CLEARLY = 0.15  # by which a pose that is more like another person is the other's
_UNKNOWN = 0.5  # likeness of what is not known
_STRANGE = 0.7  # likeness of clothes: in the mean 0.6 of two people, 0.8 to 0.9 of one who meets others
_REMEMBERED = 256  # people whose clothes are known: a camera may run for days
_AGAIN = 15  # frames apart after which somebody is believed to have changed
_DOUBLE = 0.13  # of a person's size: poses nearer than that, joint by joint in the mean, are of one person
_COVERED = 0.6  # overlap of the boxes about two poses from which nothing is seen of one of two people


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
        self.clothes: dict[int, np.ndarray] = {}  # of those who stood alone

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
        if len(people) > 1 or any(person not in self.clothes or person in self._mixed for person in people):
            worn = clothes(image, [pose.joints for pose in poses.values()])
        overlaps, oks, dressed = self._likenesses(people, poses, about, places, worn)
        alike = (overlaps + oks + dressed) / 3
        margins = np.diag(alike) - (alike - 2 * np.eye(len(people))).max(axis=1, initial=0.0)
        own: list[int] = []
        hidden: list[int] = []
        order = [
            (person in certain, person not in doubtful, margin) for person, margin in zip(people, margins)
        ]
        for row in sorted(range(len(people)), key=order.__getitem__, reverse=True):
            person, pose = people[row], poses[people[row]]
            strange = self._strange(person, apart=apart[row], dressed=dressed[row, row])
            taken = any(
                shared[row, other] >= _COVERED or one_pose(pose, poses[people[other]]) for other in own
            )
            if person not in certain and (
                strange or taken or margins[row] < -_CLEARLY or not pose.is_somebody(self._least)
            ):
                hidden.append(row)
                continue
            own.append(row)
            self._joints[person] = pose.joints - middle(places[person])
            if apart[row]:
                self._mixed.pop(person, None)
            if worn is not None and (apart[row] or person not in self.clothes):
                self.clothes[person] = blended(self.clothes.pop(person, None), worn[row])  # now the latest
                if len(self.clothes) > _REMEMBERED:
                    del self.clothes[next(iter(self.clothes))]
        moved = {}
        for row in hidden:
            at = max(hidden, key=lambda other: alike[other, row])
            if at != row:
                moved[people[row]] = about[at]
        return {people[row] for row in hidden}, moved

    def _strange(self, person: int, *, apart: bool, dressed: float) -> bool:
        """Whether, after people have met, these are not the person's clothes."""
        if not apart:
            self._mixed[person] = 0
        elif person in self._mixed:
            self._mixed[person] += 1
        met = self._mixed.get(person, _AGAIN) < _AGAIN
        return met and person in self.clothes and dressed < _STRANGE

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
            if worn is not None and person in self.clothes:
                alike[2, :, column] = worn @ self.clothes[person]
        return alike


def one_pose(pose: Pose, other: Pose) -> bool:
    """Whether two poses are of one person."""
    about = around_joints(pose.joints, pose.scores)
    if iou(about[None], around_joints(other.joints, other.scores)[None])[0, 0] == 0:
        return False
    size = float((about[2:] - about[:2]).max())
    return float(np.linalg.norm(pose.joints - other.joints, axis=1).mean()) < _DOUBLE * size
