"""Clips of several people before one camera, who hide each other as their places say."""

from dataclasses import dataclass

import numpy as np

from .body import Figure, sample_proportions
from .camera import Camera, shake_of
from .clip import Body, Clip, assemble, dress, make_any_clip, move, truth_of
from .draw import sample_light
from .programs import ACTIONS
from .scene import sample_backdrop, sample_occluder, sample_sensor

_STREAM = 1  # of random numbers, beside that of the clips of one person
_APART = 0.2  # metres between two people at least
_TRIES = 40  # to find a place for one more
_GOING = ("walk", "run")


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Who is in a set's clips: how many people (fewest, most), how far from the camera in metres (nearest, farthest),
    the weights of the actions, how high the camera stands (metres), and its focal length in widths of the picture.
    """

    people: tuple[int, int]
    reach: tuple[float, float]
    actions: dict[str, float]
    eye: tuple[float, float] = (1.2, 2.0)
    focal: tuple[float, float] = (0.9, 1.3)
    outdoor: float = 0.6


COMPANY = Cast(
    people=(2, 5),
    reach=(2.8, 6.5),
    actions=dict.fromkeys(ACTIONS, 1.0) | {"walk": 8.0, "run": 5.0, "stand": 6.0},
)
_TURNS = (
    4  # clips of one kind that follow each other: as many as part the clips that are held out from the others
)


def make_company(seed: int, number: int, *, frames: int, size: tuple[int, int]) -> Clip:
    """Four clips of one person, then four of several, and so on; see `make_any_clip` and `make_crowd`."""
    if number // _TURNS % 2 == 0:
        return make_any_clip(seed, number, frames=frames, size=size)
    return make_crowd(seed, number, cast=COMPANY, frames=frames, size=size)


def make_crowd(seed: int, number: int, *, cast: Cast, frames: int, size: tuple[int, int]) -> Clip:
    """The clip with `number` (from 0) of the set with `seed`; the same arguments give the same clip.

    World space has the floor at y = 0, the farthest people at z = 0 and the camera before them. The nearest come
    first among `Clip.people`.
    """
    rng = np.random.default_rng([seed, number, _STREAM])
    camera = _camera(rng, cast, frames, size)
    light = sample_light(rng)
    bodies: list[Body] = []
    ways: list[tuple[np.ndarray, float]] = []
    for _ in range(int(rng.integers(cast.people[0], cast.people[1] + 1))):
        _join(rng, cast, camera, size, bodies, ways)
    order = np.argsort([-way[:, 1].mean() for way, _ in ways], kind="stable")
    bodies = [bodies[i] for i in order]
    people = [truth_of(body, camera, size) for body in bodies]
    hides = bool(people) and rng.random() < 0.2
    return assemble(
        bodies,
        people,
        size=size,
        camera=camera,
        light=light,
        backdrop=sample_backdrop(
            rng, camera, size, outdoor=rng.random() < cast.outdoor, room=max(cast.reach[1] - 5.0, 0.0)
        ),
        occluders=(sample_occluder(rng, people[0].boxes, frames, size, "pole"),) if hides else (),
        sensor=sample_sensor(rng, size),
        grain_seed=int(rng.integers(2**31)),
    )


def _camera(rng: np.random.Generator, cast: Cast, frames: int, size: tuple[int, int]) -> Camera:
    eye, (near, far) = rng.uniform(*cast.eye), cast.reach
    middle = (near * far) ** 0.5  # half the picture is nearer
    return Camera(
        position=np.array([0.0, eye, far]),
        pitch=float(np.arctan2(eye - 0.9, middle)) * rng.uniform(0.85, 1.0),
        focal=rng.uniform(*cast.focal) * size[0],
        centre=(np.array(size) - 1) / 2,
        turn=np.eye(3),
        shake=shake_of(rng, frames, size),
        view="front",
    )


def _join(
    rng: np.random.Generator,
    cast: Cast,
    camera: Camera,
    size: tuple[int, int],
    bodies: list[Body],
    ways: list[tuple[np.ndarray, float]],
) -> None:
    """One more person, unless there is no room."""
    names = list(cast.actions)
    weights = np.array([cast.actions[name] for name in names])
    action = str(rng.choice(names, p=weights / weights.sum()))
    proportions = sample_proportions(rng)
    figure, lead = move(rng, ACTIONS[action], proportions, len(camera.shake))
    found = _place(rng, cast, camera, size, action, figure, ways)
    if found is None:
        return
    turn, by, way = found
    ways.append((way, _room(figure)))
    bodies.append(dress(rng, action, figure, proportions, lead).moved(turn, by))


def _place(
    rng: np.random.Generator,
    cast: Cast,
    camera: Camera,
    size: tuple[int, int],
    action: str,
    figure: Figure,
    ways: list[tuple[np.ndarray, float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Turn, place and way over the floor [F, 2] (x, z) of a figure who comes nobody too near and stays in reach."""
    near, far = cast.reach
    ground, room = figure.pelvis[:, [0, 2]], _room(figure)
    for _ in range(_TRIES):
        distance = near * (far / near) ** rng.random()
        aside = rng.uniform(-0.5, 0.5) * distance * size[0] / camera.focal
        if action in _GOING:  # mostly across the picture
            yaw = np.radians(rng.choice([-90, 90, 0, 180], p=[0.35, 0.35, 0.2, 0.1]) + rng.normal(0, 25))
        else:
            yaw = np.radians(rng.normal(0, 75))
        cos, sin = np.cos(yaw), np.sin(yaw)
        by = np.array([aside, 0.0, far - distance])
        way = ground @ np.array([[cos, -sin], [sin, cos]]) + by[[0, 2]]
        if way[:, 1].min() < -0.2 or way[:, 1].max() > far - 0.7 * near:
            continue
        if all(
            np.linalg.norm(way - other, axis=1).min() > _APART + max(room, its_room)
            for other, its_room in ways
        ):
            return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]), by, way
    return None


def _room(figure: Figure) -> float:
    """How far over the floor the head or a foot gets from the hips, in metres: who lies down needs more."""
    ends = np.concatenate([figure.ankles, figure.crown[:, None]], 1) - figure.pelvis[:, None]
    return float(np.linalg.norm(ends[..., [0, 2]], axis=-1).max())
