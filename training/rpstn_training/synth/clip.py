"""One clip: a person, an action, a place, and the truth about the joints."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .actions import Action, Style
from .body import SIDES, Figure, Proportions, mirrored, sample_proportions, solve
from .camera import Camera, sample_camera
from .draw import SUPERSAMPLING, Drawing, Light, Projected, compose, project, rasterise, sample_light, shadow
from .mesh import join
from .person import FOREARM, HEAD, PROP, SHANK, THIGH, TORSO, UPPER_ARM, build, sample_outfit
from .programs import ACTIONS
from .props import PROPS
from .scene import Backdrop, Occluder, Sensor, sample_backdrop, sample_occluder, sample_sensor

RATE = 15.0  # frames per second
JOINTS = (
    "head",
    *(
        f"{side}_{joint}"
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
# Parts of the surface that belong to a joint: seen there, they show it.
_OWN = {"head": ({HEAD}, {HEAD})}
_OWN["shoulder"] = tuple({TORSO, UPPER_ARM[s]} for s in (0, 1))
_OWN["elbow"] = tuple({UPPER_ARM[s], FOREARM[s]} for s in (0, 1))
_OWN["wrist"] = tuple({FOREARM[s]} for s in (0, 1))
_OWN["hip"] = tuple({TORSO, THIGH[s]} for s in (0, 1))
_OWN["knee"] = tuple({THIGH[s], SHANK[s]} for s in (0, 1))
_OWN["ankle"] = tuple({SHANK[s]} for s in (0, 1))
# A joint lies this deep under the surface that shows it at most, as a share of the height: more, and the
# surface is the near side of a trunk that hides its far side.
_DEEPEST = 0.11
_END = 0.99  # last key pose of an action that is played once


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is true of a clip. Pixels of the picture, x right, y down, first pixel centre at 0.

    `joints` [F, 13, 2] also where hidden or outside; `visible` bool [F, 13]; `boxes` [F, 4] x1, y1, x2, y2 of
    the whole person's outline, cut at the border.
    """

    action: str
    view: str
    joints: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip ready to be drawn."""

    action: str
    size: tuple[int, int]
    camera: Camera
    light: Light
    shown: Projected
    bones: np.ndarray
    thick: np.ndarray
    joints: np.ndarray
    depth: np.ndarray
    height: float
    boxes: np.ndarray
    backdrop: Backdrop
    occluders: tuple[Occluder, ...]
    sensor: Sensor
    grain_seed: int

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pictures uint8 [H, W, 3] BGR, each with the visibility bool [13] of its joints."""
        grain = np.random.default_rng(self.grain_seed)
        for number, shake in enumerate(self.camera.shake):
            image = self.backdrop.frame(shake, self.size)
            dark = shadow(self.bones[number], self.thick, self.camera, self.light, number, self.size)
            dim = cv2.addWeighted(dark, 0.5, dark, 0.0, 127.0)
            image = cv2.multiply(image, cv2.cvtColor(dim, cv2.COLOR_GRAY2BGR), scale=1 / 255)
            drawing = rasterise(self.shown, number, self.size)
            compose(image, drawing, self.shown.colour[number])
            cover = np.zeros(self.size[::-1], np.uint8)
            for occluder in self.occluders:
                mask = occluder.mask(number, shake, self.size)
                occluder.lay(image, mask, number, shake)
                cover = np.maximum(cover, mask)
            yield self.sensor.expose(grain, image), self._visible(number, drawing, cover)

    def _visible(self, number: int, drawing: Drawing, cover: np.ndarray) -> np.ndarray:
        """A joint is visible if it lies in the picture and at most of nine points about it (a hundredth of the
        person's height apart) nothing hides it. Hidden is a point where an occluder covers more than half,
        or where the surface on top belongs neither to the joint's limb nor to its neighbour on the body,
        or lies more than `_DEEPEST` of the height before the joint. Where nothing is drawn, nothing hides.
        """
        width, height = self.size
        joints = self.joints[number]
        inside = ((joints >= -0.5) & (joints <= np.array([width, height]) - 0.5)).all(1)
        tall = self.height * self.camera.focal / self.depth[number].mean()
        step = np.array([-1.0, 0.0, 1.0]) * max(0.01 * tall, 0.5)
        around = joints[:, None] + np.stack(np.meshgrid(step, step), -1).reshape(1, 9, 2)

        at = np.clip(np.round(around).astype(int), 0, np.array([width, height]) - 1)
        covered = cover[at[..., 1], at[..., 0]] > 127

        large = np.round((around - drawing.corner + 0.5) * SUPERSAMPLING - 0.5).astype(int)
        limit = np.array(drawing.index.shape[::-1]) - 1
        within = ((large >= 0) & (large <= limit)).all(-1)
        large = np.clip(large, 0, limit)
        top = np.where(within, drawing.index[large[..., 1], large[..., 0]], -1)
        own = _OWN_TABLE[np.arange(len(JOINTS))[:, None], self.shown.part[top]]
        before = self.depth[number][:, None] - self.shown.distance[number][top]
        shown = (top < 0) | (own & (before <= _DEEPEST * self.height))
        return inside & ((shown & ~covered).sum(1) >= 5)


def _own_table() -> np.ndarray:
    table = np.zeros((len(JOINTS), PROP + 1), bool)
    for row, name in enumerate(JOINTS):
        side, _, joint = name.rpartition("_")
        table[row, sorted(_OWN[joint][side == "right"])] = True
    return table


_OWN_TABLE = _own_table()


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
    """The clip with `number` (from 0) of the set with `seed`; the same arguments give the same clip.

    `action`, `view` (front, back, left, right) and the number of `occluders` are drawn by lot unless given.
    """
    rng = np.random.default_rng([seed, number])
    chosen = action or _action_of(seed, number)
    program = ACTIONS[chosen]
    body = sample_proportions(rng)
    figure, lead = _move(rng, program, body, frames)
    mesh = build(figure, body, sample_outfit(rng))
    person_quads = len(mesh.quads)
    made = [PROPS[name](figure, body, lead, rng) for name in program.props]
    mesh = join([mesh, *(prop for prop in made if prop is not None)])
    person_vertices = mesh.quads[:person_quads].max() + 1

    weights = (
        tuple(float(view == name) for name in ("front", "back", "left", "right")) if view else program.views
    )
    camera = sample_camera(
        rng,
        points=mesh.vertices[:, :person_vertices:3],
        height=body.height,
        weights=weights,
        spread=program.spread,
        size=size,
        cut=rng.random() < 0.12,
    )
    light = sample_light(rng)
    shown = project(mesh, camera, light)
    points = joint_points(figure) @ camera.turn.T
    flat, depth = camera.project(points)
    outline = shown.corners[:, :person_quads].reshape(frames, -1, 2)
    border = np.array(size) - 1
    boxes = np.concatenate([np.clip(outline.min(1), 0, border), np.clip(outline.max(1), 0, border)], 1)
    bones, thick = _bones(figure, body)
    count = int(rng.choice([0, 1, 2], p=[0.5, 0.33, 0.17])) if occluders is None else occluders
    return Clip(
        action=chosen,
        size=size,
        camera=camera,
        light=light,
        shown=shown,
        bones=bones @ camera.turn.T,
        thick=thick,
        joints=camera.shaken(flat),
        depth=depth,
        height=body.height,
        boxes=boxes,
        backdrop=sample_backdrop(rng, camera, size, outdoor=rng.random() < program.outdoor),
        occluders=tuple(sample_occluder(rng, boxes, frames, size) for _ in range(count)),
        sensor=sample_sensor(rng, size),
        grain_seed=int(rng.integers(2**31)),
    )


def _action_of(seed: int, number: int) -> str:
    """All actions in turn, in an order that depends on the seed."""
    names = sorted(ACTIONS)
    return names[np.random.default_rng([seed, 2**31]).permutation(len(names))[number % len(names)]]


def _move(rng: np.random.Generator, action: Action, body: Proportions, frames: int) -> tuple[Figure, int]:
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


def joint_points(figure: Figure) -> np.ndarray:
    """The 13 joints [F, 13, 3] in the order of `JOINTS`."""
    pairs = (figure.shoulders, figure.elbows, figure.wrists, figure.hips, figure.knees, figure.ankles)
    return np.concatenate([figure.head[:, None], *pairs], 1)


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


def render(clip: Clip) -> tuple[list[bytes], Truth]:
    """The frames as JPEG files and the truth of the clip."""
    pictures, visible = [], []
    for image, seen in clip.frames():
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, clip.sensor.quality])
        assert done
        pictures.append(data.tobytes())
        visible.append(seen)
    return pictures, Truth(
        action=clip.action,
        view=clip.camera.view,
        joints=clip.joints,
        visible=np.stack(visible),
        boxes=clip.boxes,
    )
