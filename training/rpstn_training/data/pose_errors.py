"""Poses with the errors that pose networks make, for the training of a network that refines poses.

Moon et al. ("PoseFix: Model-agnostic General Human Pose Refinement Network") draw them from the statistics of Ronchi
and Perona ("Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation"). With d(s) the distance at which a
joint's key-point similarity is s (`tolerances`), a joint is

    good        within d(0.85) of its place
    jittered    between d(0.85) and d(0.5) of its place
    inverted    within d(0.5) of its place on the other side of the body
    swapped     within d(0.5) of that joint, or of the one on the other side, of another person in the picture
    missed      between d(0.5) and d(0.1) of any of these places, and d(0.5) away from all others

and always nearer to the place that its error names than to any other. How often which error happens goes by the kind of
joint and by how many joints of the person are labelled; the rates are those of the authors' code.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .records import Skeleton

_TRIES = 64  # points drawn for each error; one for which none fits does not happen

# COCO's tolerances, for joints of sets that have none of their own; "trunk" is whatever else a set has.
_SIGMAS = {
    "face": 0.026,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "trunk": 0.079,
}
_FACE = ("nose", "eye", "ear", "head", "face")
_ARM = ("shoulder", "elbow", "wrist", "trunk")


class Rates(NamedTuple):
    """How often a joint of each kind of error is drawn; what is left over to 1 is good."""

    jitter: float
    miss: float
    inversion: float
    swap: float


@functools.cache  # asked for with every sample
def kinds(joints: tuple[str, ...]) -> tuple[str, ...]:
    """What each joint is, of the keys of the tolerances, by its name."""
    found = []
    for name in joints:
        words = name.lower()
        limb = next((kind for kind in _SIGMAS if kind in words), None)
        found.append(limb or ("face" if any(word in words for word in _FACE) else "trunk"))
    return tuple(found)


def rates(kind: str, labelled: float, crowd: int) -> Rates:
    """Of a joint whose person has the share `labelled` of its joints, with `crowd` other people in the crop."""
    few, some, most = labelled <= 5 / 17, labelled <= 10 / 17, labelled <= 15 / 17
    if kind == "hip":
        jitter = 0.25
    else:
        jitter = 0.15 if kind in ("knee", "ankle") else 0.20
    if not some:
        jitter -= 0.05
    if kind == "face":
        miss = 0.15 if few else 0.10 if some else 0.02
    elif kind in ("shoulder", "ankle"):
        miss = 0.20 if few else 0.13 if some else 0.05
    else:
        miss = 0.25 if few else 0.15 if some else 0.10
    crowded = (some and crowd > 0) or (most and crowd >= 3)
    if kind == "face":
        inversion, swap = 0.01, 0.02 if crowded else 0.01
    elif kind in _ARM:
        inversion, swap = 0.03, 0.15 if crowded else 0.06
    else:
        inversion, swap = 0.06, 0.10 if crowded else 0.03
    return Rates(jitter, miss, inversion, swap)


def tolerances(skeleton: Skeleton, area: float, similarity: float) -> np.ndarray:
    """Distances [K] at which a joint's key-point similarity exp(-d^2 / (2 area (2 sigma)^2)) is `similarity`."""
    sigmas = skeleton.sigmas or [_SIGMAS[kind] for kind in kinds(skeleton.joints)]
    return 2 * np.asarray(sigmas) * np.sqrt(-2 * area * np.log(similarity))


def with_errors(
    joints: np.ndarray,
    labelled: np.ndarray,
    others: Sequence[tuple[np.ndarray, np.ndarray]],
    area: float,
    skeleton: Skeleton,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A pose as a network might find it: joints [K, 2], and which of them there are, bool [K].

    Args:
        joints (float ndarray[K, 2]), labelled (bool ndarray[K]): the true pose.
        others: joints and labelled, in the same coordinates, of other people near by.
        area: of the person's box in these coordinates.

    A joint that is not labelled is not given.
    """
    good, half, far = (tolerances(skeleton, area, similarity) for similarity in (0.85, 0.5, 0.1))
    mirror, share = skeleton.flip_order(), float(labelled.mean())
    found, given = joints.copy(), labelled.copy()
    for joint, kind in enumerate(kinds(skeleton.joints)):
        if not labelled[joint]:
            continue
        opposite = mirror[joint]
        own = joints[joint][None]
        inverted = joints[opposite][None] if opposite != joint and labelled[opposite] else np.empty((0, 2))
        swapped = np.array(
            [there[j] for there, known in others for j in {joint, opposite} if known[j]]
        ).reshape(-1, 2)
        rate = rates(kind, share, len(others))
        places = np.concatenate([own, inverted, swapped])
        errors = [  # how often, about which places, between which distances, and how far from the other places
            (1 - sum(rate), own, (0.0, good[joint]), 0.0),
            (rate.jitter, own, (good[joint], half[joint]), 0.0),
            (rate.miss, places, (half[joint], far[joint]), half[joint]),
            (rate.inversion, inverted, (0.0, half[joint]), 0.0),
            (rate.swap, swapped, (0.0, half[joint]), 0.0),
        ]
        point = None
        while errors and point is None:  # one for which there is no place is left out, and another one drawn
            chances = np.array([chance for chance, *_ in errors])
            _, centres, reach, clearance = errors.pop(rng.choice(len(errors), p=chances / chances.sum()))
            point = _point(centres, places, reach, clearance, rng)
        if point is None:  # people stand on one spot
            given[joint] = False
        else:
            found[joint] = point
    return found, given


def _point(
    centres: np.ndarray,
    places: np.ndarray,
    reach: tuple[float, float],
    clearance: float,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """A point at a distance of `reach` from one of the centres, nearer to it than to any other of the places and at
    least `clearance` from those; None where none is found.
    """
    if not len(centres):
        return None
    centre = centres[rng.integers(len(centres), size=_TRIES)]
    radius, angle = rng.uniform(*reach, _TRIES), rng.uniform(0, 2 * np.pi, _TRIES)
    points = centre + radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    distances = np.linalg.norm(points[:, None] - places[None], axis=-1)
    distances[(centre[:, None] == places[None]).all(axis=-1)] = np.inf
    fits = (distances > np.maximum(radius, clearance)[:, None]).all(axis=1)
    return points[fits.argmax()] if fits.any() else None
