"""One clip: people, what they do, a place, and the truth about them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from rpstn_training.data.boxes import alone

from .actions import Action, Style
from .body import SIDES, Figure, Proportions, mirrored, sample_proportions, solve
from .camera import Camera, sample_camera
from .draw import SUPERSAMPLING, Drawing, Light, Projected, compose, project, rasterise, sample_light, shadow
from .mesh import Mesh, join
from .person import HEAD, PROP, build, sample_outfit
from .points import DEEPEST, JOINTS, OWN, anatomy
from .programs import ACTIONS, PENN_ACTIONS
from .props import PROPS
from .scene import Backdrop, Occluder, Sensor, sample_backdrop, sample_occluder, sample_sensor

RATE = 15.0  # frames per second
_SMALLEST, _SEEN = (
    70,
    0.3,
)  # pixels, and the share of the points in sight, of somebody whom the truth is about
_NEAR = 0.1  # overlap of the boxes of two people
_END = 0.99  # last key pose of an action that is played once


@dataclass(frozen=True, kw_only=True)
class Body:
    """One person in space over F frames. World metres: see `camera.py`.

    `points` [F, P, 3] are those of `points.POINTS`, `bones` [F, N, 2, 3] lines of thickness `thick` [N] that throw the
    shadow, `own_quads` the number of quads of the person, which come before those of the props.
    """

    action: str
    height: float
    mesh: Mesh
    own_quads: int
    points: np.ndarray
    bones: np.ndarray
    thick: np.ndarray

    def moved(self, turn: np.ndarray, by: np.ndarray) -> "Body":
        """The same turned by the matrix `turn` [3, 3], then moved by `by` [3]."""
        mesh = self.mesh
        return Body(
            action=self.action,
            height=self.height,
            mesh=Mesh(
                vertices=mesh.vertices @ turn.T + by, quads=mesh.quads, part=mesh.part, colour=mesh.colour
            ),
            own_quads=self.own_quads,
            points=self.points @ turn.T + by,
            bones=self.bones @ turn.T + by,
            thick=self.thick,
        )


@dataclass(frozen=True, kw_only=True)
class Person:
    """What is true of one person of a clip. Pixels of the picture, x right, y down, first pixel centre at 0.

    `joints` [F, P, 2] are `points.POINTS`, also where hidden or outside, `depth` [F, P] their distances in metres.
    `boxes` [F, 4] x1, y1, x2, y2 of the whole person's outline, cut at the border, and `heads` [F, 4] of the head's,
    not cut; `outlines` is `boxes` not cut.
    """

    action: str
    height: float
    joints: np.ndarray
    depth: np.ndarray
    boxes: np.ndarray
    outlines: np.ndarray
    heads: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture uint8 [H, W, 3] BGR, and what of whom is seen in it: `visible` bool [people, P].

    `who` int [Q] is the person of a quad, -1 of a prop's.
    """

    image: np.ndarray
    visible: np.ndarray
    drawing: Drawing
    who: np.ndarray
    cover: np.ndarray

    def mask(self, person: int, *, covered: bool = False) -> np.ndarray:
        """Pixels more than half of which show `person`, bool [H, W]; with `covered` also what is behind things,
        but not what is behind other people.
        """
        top = np.append(self.who, -1)[self.drawing.index] == person
        large = top.astype(np.uint8) * 255
        tall, width = (n // SUPERSAMPLING for n in large.shape)
        x, y = self.drawing.corner
        mask = np.zeros(self.cover.shape, bool)
        mask[y : y + tall, x : x + width] = (
            cv2.resize(large, (width, tall), interpolation=cv2.INTER_AREA) > 128
        )
        return mask if covered else mask & (self.cover <= 127)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip ready to be drawn. `mesh` is that of all people and their props in world space, `owner` int [Q]."""

    size: tuple[int, int]
    length: int
    camera: Camera
    light: Light
    mesh: Mesh
    owner: np.ndarray
    people: tuple[Person, ...]
    bones: np.ndarray
    thick: np.ndarray
    backdrop: Backdrop
    occluders: tuple[Occluder, ...]
    sensor: Sensor
    grain_seed: int

    def shown(self, number: int) -> Projected:
        """The surfaces as the camera sees them in one frame."""
        return project(self.mesh, self.camera, self.light, number)

    def frames(self) -> Iterator[Frame]:
        """The pictures in order, with what is seen in them."""
        grain = np.random.default_rng(self.grain_seed)
        who = np.where(self.mesh.part == PROP, -1, self.owner)
        for number, shake in enumerate(self.camera.shake):
            image = self.backdrop.frame(shake, self.size)
            dark = shadow(self.bones[number], self.thick, self.camera, self.light, number, self.size)
            dim = cv2.addWeighted(dark, 0.5, dark, 0.0, 127.0)
            image = cv2.multiply(image, cv2.cvtColor(dim, cv2.COLOR_GRAY2BGR), scale=1 / 255)
            shown = self.shown(number)
            drawing = rasterise(shown, self.size)
            compose(image, drawing, shown.colour)
            cover = np.zeros(self.size[::-1], np.uint8)
            for occluder in self.occluders:
                mask = occluder.mask(number, shake, self.size)
                occluder.lay(image, mask, number, shake)
                cover = np.maximum(cover, mask)
            visible = [
                self._visible(number, person, shown, drawing, cover) for person in range(len(self.people))
            ]
            yield Frame(
                image=self.sensor.expose(grain, image),
                visible=np.array(visible, bool).reshape(len(self.people), len(DEEPEST)),
                drawing=drawing,
                who=who,
                cover=cover,
            )

    def _visible(
        self, number: int, person: int, shown: Projected, drawing: Drawing, cover: np.ndarray
    ) -> np.ndarray:
        """A point is visible if it lies in the picture and at most of nine points about it (a hundredth of the
        person's height apart) nothing hides it. Hidden is a point where an occluder covers more than half, or
        where the surface on top is another person's and nearer, or the person's own but belongs neither to the
        point's limb nor to its neighbour on the body, or lies more than `DEEPEST` of the height before the
        point. Where nothing is drawn, nothing hides.
        """
        width, height = self.size
        truth = self.people[person]
        joints, depth = truth.joints[number], truth.depth[number]
        inside = ((joints >= -0.5) & (joints <= np.array([width, height]) - 0.5)).all(1)
        tall = truth.height * self.camera.focal / depth[: len(JOINTS)].mean()
        step = np.array([-1.0, 0.0, 1.0]) * max(0.01 * tall, 0.5)
        around = joints[:, None] + np.stack(np.meshgrid(step, step), -1).reshape(1, 9, 2)

        at = np.clip(np.round(around).astype(int), 0, np.array([width, height]) - 1)
        covered = cover[at[..., 1], at[..., 0]] > 127

        large = np.round((around - drawing.corner + 0.5) * SUPERSAMPLING - 0.5).astype(int)
        limit = np.array(drawing.index.shape[::-1]) - 1
        within = ((large >= 0) & (large <= limit)).all(-1)
        large = np.clip(large, 0, limit)
        top = np.where(within, drawing.index[large[..., 1], large[..., 0]], -1)
        own = OWN[np.arange(len(OWN))[:, None], shown.part[top]]
        before = depth[:, None] - shown.distance[top]
        free = np.where(
            self.owner[top] == person, own & (before <= DEEPEST[:, None] * truth.height), before < 0
        )
        return inside & ((((top < 0) | free) & ~covered).sum(1) >= 5)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is true of one person of a clip: `joints` [F, P, 2], `visible` bool [F, P], `boxes` [F, 4]."""

    action: str
    view: str
    joints: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray


def make_clip(
    seed: int,
    number: int,
    *,
    frames: int,
    size: tuple[int, int],
    action: str | None = None,
    view: str | None = None,
    occluders: int | None = None,
) -> Clip:
    """The clip of one person with `number` (from 0) of the set with `seed`; the same arguments give the same clip.

    `action` (one of Penn Action's), `view` (front, back, left, right) and the number of `occluders` are drawn by
    lot unless given.
    """
    rng = np.random.default_rng([seed, number])
    chosen = action or _action_of(seed, number)
    program = ACTIONS[chosen]
    proportions = sample_proportions(rng)
    figure, lead = move(rng, program, proportions, frames)
    body = dress(rng, chosen, figure, proportions, lead)
    person_vertices = body.mesh.quads[: body.own_quads].max() + 1

    weights = (
        tuple(float(view == name) for name in ("front", "back", "left", "right")) if view else program.views
    )
    camera = sample_camera(
        rng,
        points=body.mesh.vertices[:, :person_vertices:3],
        height=proportions.height,
        weights=weights,
        spread=program.spread,
        size=size,
        cut=rng.random() < 0.12,
    )
    light = sample_light(rng)
    body = body.moved(camera.turn, np.zeros(3))
    person = truth_of(body, camera, size)
    count = int(rng.choice([0, 1, 2], p=[0.5, 0.33, 0.17])) if occluders is None else occluders
    return assemble(
        [body],
        [person],
        size=size,
        camera=camera,
        light=light,
        backdrop=sample_backdrop(rng, camera, size, outdoor=rng.random() < program.outdoor),
        occluders=tuple(sample_occluder(rng, person.boxes, frames, size) for _ in range(count)),
        sensor=sample_sensor(rng, size),
        grain_seed=int(rng.integers(2**31)),
    )


def make_any_clip(seed: int, number: int, **options: Any) -> Clip:
    """`make_clip` of every action there is, those of every day among them.

    They are 20, a multiple of the four that part the clips: each turn through them begins one action later, so that
    after four turns each was trained on and held out.
    """
    turn = number // len(ACTIONS)
    return make_clip(seed, number, action=_action_of(seed, number + turn, ACTIONS), **options)


def assemble(
    bodies: Sequence[Body],
    people: Sequence[Person],
    *,
    size: tuple[int, int],
    camera: Camera,
    light: Light,
    backdrop: Backdrop,
    occluders: tuple[Occluder, ...],
    sensor: Sensor,
    grain_seed: int,
) -> Clip:
    """A clip of the people in one surface, so that the nearest is on top wherever they meet."""
    frames = len(camera.shake)
    nothing = Mesh(
        vertices=np.zeros((frames, 0, 3)),
        quads=np.zeros((0, 4), int),
        part=np.zeros(0, int),
        colour=np.zeros((0, 3)),
    )
    return Clip(
        size=size,
        length=frames,
        camera=camera,
        light=light,
        mesh=join([body.mesh for body in bodies] or [nothing]),
        owner=np.repeat(np.arange(len(bodies)), [len(body.mesh.quads) for body in bodies]),
        people=tuple(people),
        bones=np.concatenate([np.zeros((frames, 0, 2, 3)), *(body.bones for body in bodies)], 1),
        thick=np.concatenate([np.zeros(0), *(body.thick for body in bodies)]),
        backdrop=backdrop,
        occluders=occluders,
        sensor=sensor,
        grain_seed=grain_seed,
    )


def _action_of(seed: int, number: int, actions: Iterable[str] = PENN_ACTIONS) -> str:
    """All actions in turn, in an order that depends on the seed."""
    names = sorted(actions)
    return names[np.random.default_rng([seed, 2**31]).permutation(len(names))[number % len(names)]]


def move(rng: np.random.Generator, action: Action, body: Proportions, frames: int) -> tuple[Figure, int]:
    """The body over the frames, and which hand leads: 0 left, 1 right."""
    style = Style(
        amplitude=rng.uniform(0.82, 1.08),
        stance=rng.uniform(0.8, 1.2),
        lean=rng.uniform(-2, 4),
        quirk=tuple(rng.random(3)),
    )
    begin, passed = rng.random(), np.arange(frames) / (RATE * rng.uniform(*action.seconds))
    phase = begin + passed
    if action.once:
        phase = np.minimum(begin * max(0.0, _END - passed[-1]) + passed, _END)
    motion = action.program(phase, body, style)
    left_handed = action.handed and rng.random() < 0.25
    if left_handed:
        motion = mirrored(motion)
    return solve(motion, body), 0 if left_handed else 1


def dress(rng: np.random.Generator, action: str, figure: Figure, body: Proportions, lead: int) -> Body:
    """Skin, clothes and props about a moving figure."""
    mesh = build(figure, body, sample_outfit(rng))
    made = [PROPS[name](figure, body, lead, rng) for name in ACTIONS[action].props]
    bones, thick = _bones(figure, body)
    return Body(
        action=action,
        height=body.height,
        mesh=join([mesh, *(prop for prop in made if prop is not None)]),
        own_quads=len(mesh.quads),
        points=anatomy(figure, body),
        bones=bones,
        thick=thick,
    )


def truth_of(body: Body, camera: Camera, size: tuple[int, int]) -> Person:
    """What is true of a body in the pictures of `camera`."""
    own = body.mesh.quads[: body.own_quads]
    flat, _ = camera.project(body.mesh.vertices[:, : own.max() + 1])
    flat = camera.shaken(flat)
    head = np.unique(own[body.mesh.part[: body.own_quads] == HEAD])
    outlines, heads = (np.concatenate([of.min(1), of.max(1)], 1) for of in (flat, flat[:, head]))
    border = np.array(size) - 1
    joints, depth = camera.project(body.points)
    return Person(
        action=body.action,
        height=body.height,
        joints=camera.shaken(joints),
        depth=depth,
        boxes=np.concatenate([np.clip(outlines[:, :2], 0, border), np.clip(outlines[:, 2:], 0, border)], 1),
        outlines=outlines,
        heads=heads,
    )


def _bones(figure: Figure, body: Proportions) -> tuple[np.ndarray, np.ndarray]:
    """Lines [F, N, 2, 3] and thicknesses [N] that throw the shadow."""
    lines = [
        (figure.pelvis, figure.waist, 0.17),
        (figure.waist, figure.chest, 0.17),
        (figure.chin, figure.crown, 0.08),
    ]
    for s in range(len(SIDES)):
        tip = figure.ankles[:, s] + 0.6 * body.foot * figure.toes[:, s]
        lines += [
            (figure.hips[:, s], figure.knees[:, s], 0.09),
            (figure.knees[:, s], figure.ankles[:, s], 0.06),
            (figure.ankles[:, s], tip, 0.05),
            (figure.shoulders[:, s], figure.elbows[:, s], 0.05),
            (figure.elbows[:, s], figure.fingers[:, s], 0.04),
        ]
    ends = np.stack([np.stack([a, b], 1) for a, b, _ in lines], 1)
    return ends, np.array([share for *_, share in lines]) * body.height


def jpeg(image: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def render(clip: Clip) -> tuple[list[bytes], Truth]:
    """The frames of a clip as JPEG files, and the truth about one of its people (`_subject`)."""
    pictures, seen = [], []
    for frame in clip.frames():
        pictures.append(jpeg(frame.image, clip.sensor.quality))
        seen.append(frame.visible)
    visible = np.stack(seen)
    chosen = _subject(clip, visible)
    person = clip.people[chosen]
    return pictures, Truth(
        action=person.action,
        view=clip.camera.view,
        joints=person.joints,
        visible=visible[:, chosen],
        boxes=person.boxes,
    )


def _subject(clip: Clip, visible: np.ndarray) -> int:
    """The number of the person that the truth is about, of `visible` [F, people, P]: by lot one of those of whom enough
    is seen and who are near somebody in the picture; if nobody is, one of whom enough is seen; else one of all.
    """
    boxes = np.stack([person.boxes for person in clip.people])
    clear = (boxes[..., 2:] - boxes[..., :2]).max(2).min(1) >= _SMALLEST
    clear &= visible.mean(2).min(0) >= _SEEN
    near = [~alone(frame, _NEAR) for frame in boxes.swapaxes(0, 1)]
    for some in (clear & np.any(near, 0), clear):
        if some.any():
            return int(np.random.default_rng(clip.grain_seed).choice(np.flatnonzero(some)))
    return clip.grain_seed % len(clip.people)
