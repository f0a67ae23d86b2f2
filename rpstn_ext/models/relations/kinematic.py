"""A relation along the limbs of a skeleton, in an order that is laid down and not learned."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rpstn_ext.models.relations.base import Relation, convolution_before_relu, start_at_zero
from rpstn_ext.models.relations.coarse import pooled, upsampled

Limbs = Sequence[Sequence[int]]


def kinematic_tree(num_joints: int, limbs: Limbs) -> list[tuple[int, tuple[int, ...]]]:
    """The joints from the root outwards, each with those it is connected to in the tree, by number.

    The root is the joint with the most limbs, of several the first. A limb that would close a ring is left out, so that
    each joint is as few limbs from the root as can be; joints that no limb reaches from there have roots of their own.

    Raises:
        ValueError: there is no limb, or one is not a pair of two of the joints.

    Example:
        >>> kinematic_tree(5, [(0, 1), (1, 2), (1, 3), (3, 2)])
        [(1, (0, 2, 3)), (0, (1,)), (2, (1,)), (3, (1,)), (4, ())]
    """
    neighbours: list[list[int]] = [[] for _ in range(num_joints)]
    for limb in limbs or ():
        if len(limb) != 2 or limb[0] == limb[1] or not all(0 <= joint < num_joints for joint in limb):
            raise ValueError(
                f"limbs: expected pairs of two joints of 0..{num_joints - 1}, got {tuple(limb)}; name the skeleton's"
            )
        for joint, other in (limb, reversed(limb)):
            if other not in neighbours[joint]:
                neighbours[joint].append(other)
    if not limbs:
        raise ValueError(
            "limbs: the relation repose goes along a skeleton, expected its limbs as pairs of joints, got none; "
            "name them, for example [[0, 1], [1, 2]]"
        )
    tree: dict[int, set[int]] = {}
    for root in sorted(range(num_joints), key=lambda joint: (-len(neighbours[joint]), joint)):
        if root in tree:
            continue
        tree[root], reached = set(), [root]
        for joint in reached:
            for other in sorted(neighbours[joint]):
                if other not in tree:
                    tree[joint].add(other)
                    tree[other] = {joint}
                    reached.append(other)
    return [(joint, tuple(sorted(connected))) for joint, connected in tree.items()]


class KinematicUpdates(Relation):
    """The relation "repose", "RPSTN-RePose" of Table I: the manual graph of RePose (Isack et al., "RePose: Learning
    Deep Kinematic Priors for Fast Human Pose Estimation"). On maps m = pool(M), for the joints k of the tree one after
    the other, from the root outwards

        m_k <- m_k + C_k2(ReLU(C_k1([m_k, m_j for each j connected to k]))),      Z = up(m - pool(M)) + M

    where a joint before k in the order has been updated already. As in RePose this happens at a coarse resolution and
    each joint has convolutions of its own. RePose has features of each joint and ours are maps, so the sizes are ours:
    5x5 both, C_k1 with as many outputs as inputs, on maps pooled by 4. A joint without a limb stays as it is.

    Args:
        num_joints, norm: as `Relation`.
        limbs: pairs of joints that are connected (`kinematic_tree`).
        start (str): "identity": every C_k2 begins at zero.

    Raises:
        ValueError: as `kinematic_tree`.

    Example:
        >>> maps = torch.rand(2, 3, 16, 12)
        >>> torch.equal(KinematicUpdates(3, norm=False, limbs=[(0, 1), (1, 2)])(maps), maps)
        True
    """

    SIZE = 5

    def __init__(
        self, num_joints: int, *, norm: bool, limbs: Limbs | None = None, start: str = "identity"
    ) -> None:
        super().__init__(num_joints, norm=norm)
        self.tree = [
            (joint, connected) for joint, connected in kinematic_tree(num_joints, limbs) if connected
        ]
        self.updates = nn.ModuleDict()
        for joint, connected in self.tree:
            inputs = 1 + len(connected)
            last = nn.Conv2d(inputs, 1, self.SIZE, padding=self.SIZE // 2)
            start_at_zero(last, start)
            self.updates[str(joint)] = nn.Sequential(
                convolution_before_relu(inputs, inputs, self.SIZE), nn.ReLU(inplace=True), last
            )

    def related(self, maps: Tensor) -> Tensor:
        before = pooled(maps)
        coarse = list(before.split(1, dim=1))
        for joint, connected in self.tree:
            seen = torch.cat([coarse[number] for number in (joint, *connected)], dim=1)
            coarse[joint] = coarse[joint] + self.updates[str(joint)](seen)
        return maps + upsampled(torch.cat(coarse, dim=1) - before, maps.shape[2:])
