"""What is round the person: floor and walls, things that pass in front, and the faults of the sensor."""

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import Camera

MARGIN = 0.12  # of the picture on every side, for the camera's shake


def noise(
    rng: np.random.Generator, size: tuple[int, int], *, cells: float = 4, octaves: int = 5, fall: float = 0.55
) -> np.ndarray:
    """Smooth noise float32 [h, w] of mean 0 and deviation 1: octaves from `cells` across on, each finer."""
    width, height = size
    total, strength = np.zeros((height, width), np.float32), 1.0
    for octave in range(octaves):
        across = int(min(max(2, cells * 2**octave), width))
        down = int(min(max(2, cells * 2**octave * height / width), height))
        grid = rng.standard_normal((down, across)).astype(np.float32)
        total += strength * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
        strength *= fall
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _pale(rng: np.random.Generator, low: float = 60, high: float = 200) -> np.ndarray:
    grey = rng.uniform(low, high)
    return np.clip(grey * (1 + rng.uniform(-0.25, 0.25, 3)), 10, 245)


def _tiles(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> np.ndarray:
    """A flat texture float32 [h, w, 3]."""
    width, height = size
    base = _pale(rng)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rough = noise(rng, size, cells=6, octaves=6)[..., None]
    image = base + rough * rng.uniform(4, 14)
    if kind == "grass":
        base = np.array([rng.uniform(35, 70), rng.uniform(95, 150), rng.uniform(60, 115)])
        fine = rng.standard_normal((height, width, 1)).astype(np.float32)
        image = base + 14 * rough + 13 * cv2.GaussianBlur(fine, (0, 0), 0.8)[..., None]
    elif kind == "planks":
        pitch, long = rng.uniform(14, 30), rng.uniform(90, 200)
        row = np.floor(y / pitch)
        plank = np.floor((x + row * 53) / long) + row * 131
        tone = np.sin(plank * 12.9898) * 10
        seam = (y % pitch < 1.6) | ((x + row * 53) % long < 1.6)
        image = np.array([90, 130, 175.0]) * rng.uniform(0.55, 1.1) + tone[..., None] + 6 * rough
        image[seam] *= 0.72
    elif kind in ("squares", "bricks"):
        pitch = rng.uniform(28, 60)
        shift = 0.5 * pitch * (np.floor(y / (pitch / 2)) % 2) if kind == "bricks" else 0
        down = pitch / 2 if kind == "bricks" else pitch
        seam = ((x + shift) % pitch < 2.2) | (y % down < 2.2)
        tone = np.sin(np.floor((x + shift) / pitch) * 78.2 + np.floor(y / down) * 37.7)
        image = image + (tone * rng.uniform(2, 12))[..., None]
        image[seam] = image[seam] * 0.6 + 0.4 * rng.uniform(30, 220)
    elif kind == "panels":
        pitch = rng.uniform(40, 110)
        image = image + 9 * np.sin(np.floor(x / pitch) * 5.1)[..., None]
        image[x % pitch < 2] *= 0.8
    elif kind == "court":
        base = _pale(rng, 70, 150)
        image = base + 5 * rough
        for _ in range(5):
            a, b = rng.integers(0, width), rng.integers(0, height)
            cv2.line(image, (a, 0), (a, height), (235, 235, 235), 3)
            cv2.line(image, (0, b), (width, b), (235, 235, 235), 3)
    return np.clip(image, 0, 255).astype(np.float32, order="C")


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """The empty scene `image` uint8 with a margin round it; `origin` is the picture's (0, 0) in it."""

    image: np.ndarray
    origin: np.ndarray

    def frame(self, shake: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The scene uint8 [H, W, 3] as the camera with `shake` [2, 3] sees it."""
        matrix = shake.copy()
        matrix[:, 2] -= shake[:, :2] @ self.origin
        return cv2.warpAffine(
            self.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


def sample_backdrop(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int], *, outdoor: bool, room: float = 0.0
) -> Backdrop:
    """A room or a place outdoors, in the camera's perspective, `room` metres deeper and wider than for one person."""
    origin = np.ceil(np.array(size) * MARGIN)
    full = tuple(int(n) for n in np.array(size) + 2 * origin)
    behind = camera.position[2] - rng.uniform(2.0, 5.0) - rng.uniform(4.5, 7.0) - room
    deep = camera.position[2] - 0.6
    # Sky or ceiling first.
    top = np.array([230, 200, 160.0]) * rng.uniform(0.7, 1.1) if outdoor else _pale(rng, 120, 225)
    low = np.array([235, 228, 220.0]) if outdoor else top * 0.8
    way = np.linspace(0, 1, full[1], dtype=np.float32)[:, None, None]
    canvas = np.broadcast_to(top + (low - top) * way, (full[1], full[0], 3)).astype(np.float32, order="C")
    if outdoor:
        cloud = np.clip(noise(rng, full, cells=3, octaves=5), 0, 2)[..., None]
        canvas = canvas + cloud * rng.uniform(0, 18)
        behind = min(behind, camera.position[2] - 16.0 - room)
    canvas = np.clip(canvas, 0, 255).astype(np.uint8, order="C")

    def paste(texture: np.ndarray, corners: np.ndarray) -> None:
        """`texture` onto the parallelogram in space whose corners follow the texture's."""
        nonlocal canvas
        flat, _ = camera.project(corners)
        flat = flat + origin
        height, width = texture.shape[:2]
        source = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
        matrix = cv2.getPerspectiveTransform(source, flat.astype(np.float32))
        warped = cv2.warpPerspective(texture, matrix, full, flags=cv2.INTER_AREA)
        mask = np.zeros(full[::-1], np.uint8)
        limit = 2**15
        cv2.fillConvexPoly(mask, np.clip(flat, -limit, limit).round().astype(np.int32), 255, cv2.LINE_AA)
        share = mask[..., None].astype(np.float32) / 255
        canvas = (canvas * (1 - share) + warped * share).astype(np.uint8, order="C")

    middle = camera.position[0]
    kind = (
        rng.choice(["grass", "grass", "court", "squares", "rough"])
        if outdoor
        else rng.choice(["planks", "planks", "squares", "rough", "court"])
    )
    floor = _tiles(rng, str(kind), (640, 640))
    x0, x1 = middle - 8 - room, middle + 8 + room
    paste(floor, np.array([[x0, 0, behind], [x1, 0, behind], [x1, 0, deep], [x0, 0, deep]]))
    if outdoor:
        _skyline(rng, canvas, camera, behind, origin)
    else:
        wall = _tiles(rng, str(rng.choice(["rough", "panels", "bricks", "squares"])), (768, 256))
        shade = np.linspace(1.08, 0.86, 256, dtype=np.float32)[:, None, None]
        wall = _pictures(rng, wall * shade)
        high = rng.uniform(2.8, 4.5)
        paste(wall, np.array([[x0, high, behind], [x1, high, behind], [x1, 0, behind], [x0, 0, behind]]))
        flat, _ = camera.project(np.array([[x0, 0, behind], [x1, 0, behind]]))
        a, b = (flat + origin).round().astype(int).tolist()
        cv2.line(canvas, a, b, _pale(rng, 30, 220).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        _furniture(rng, canvas, camera, behind, origin)
    # Light falls off to one side.
    slope = np.linspace(-1, 1, full[0], dtype=np.float32)[None, :, None] * rng.uniform(-0.12, 0.12)
    canvas = canvas * (1 + slope) * (1 + 0.04 * noise(rng, full, cells=3, octaves=2)[..., None])
    blur = rng.uniform(0.0, 1.1) * size[1] / 200
    image = np.clip(canvas, 0, 255).astype(np.uint8, order="C")
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return Backdrop(image=image, origin=origin)


def _skyline(
    rng: np.random.Generator, canvas: np.ndarray, camera: Camera, behind: float, origin: np.ndarray
) -> None:
    """Trees or houses along the far end of the floor, drawn in place."""
    height, width = canvas.shape[:2]
    flat, distance = camera.project(np.array([[0, 0, behind]]))
    base = float(flat[0, 1] + origin[1])
    metre = camera.focal / float(distance[0])
    x = np.arange(width)
    if rng.random() < 0.65:
        rough = noise(rng, (width, 8), cells=10, octaves=5)[4]
        top = base - metre * (rng.uniform(1.5, 4) + rng.uniform(0.4, 1.2) * rough)
        colour = np.array([rng.uniform(30, 60), rng.uniform(70, 110), rng.uniform(45, 85)])
        leaves = noise(rng, (width, height), cells=24, octaves=4)[..., None] * 16
    else:
        steps = np.repeat(rng.uniform(2, 6, 24), -(-width // 24))[:width]
        top = base - metre * steps
        colour = _pale(rng, 80, 190)
        rows = (
            np.arange(height)[:, None] // max(int(metre * 0.45), 2)
            + np.arange(width) // max(int(metre * 0.4), 2)
        ) % 2
        leaves = (rows * -18.0)[..., None] + np.repeat(rng.uniform(-25, 25, 24), -(-width // 24))[:width][
            None, :, None
        ]
    rows = np.arange(height)[:, None]
    mask = (rows >= top[None, x]) & (rows < base + 1)
    canvas[mask] = np.clip(np.broadcast_to(colour + leaves, canvas.shape)[mask], 0, 255)


def _pictures(rng: np.random.Generator, wall: np.ndarray) -> np.ndarray:
    """Posters, windows and doors on a wall."""
    wall = wall.copy()
    height, width = wall.shape[:2]
    for _ in range(int(rng.integers(1, 7))):
        w, h = int(rng.integers(18, 90)), int(rng.integers(25, 110))
        x = int(rng.integers(0, width - w))
        y = int(rng.integers(0, height - h)) if rng.random() < 0.7 else height - h
        frame = _pale(rng, 20, 235)
        cv2.rectangle(wall, (x, y), (x + w, y + h), frame.tolist(), -1)
        inner = _pale(rng, 30, 240)
        cv2.rectangle(wall, (x + 3, y + 3), (x + w - 3, y + h - 3), inner.tolist(), -1)
        for _ in range(int(rng.integers(0, 4))):
            a, b = rng.integers(3, [w, h], (2, 2)).tolist()
            cv2.line(
                wall,
                (x + a[0], y + a[1]),
                (x + b[0], y + b[1]),
                _pale(rng, 10, 245).tolist(),
                int(rng.integers(1, 6)),
            )
    return wall


def _furniture(
    rng: np.random.Generator, canvas: np.ndarray, camera: Camera, behind: float, origin: np.ndarray
) -> None:
    """A box on the floor behind the person: three of its faces."""
    z = rng.uniform(behind + 0.4, max(behind + 0.6, -1.3))
    x = camera.position[0] + rng.uniform(-4, 4)
    w, h, d = rng.uniform(0.2, 1.4), rng.uniform(0.25, 2.0), rng.uniform(0.2, 0.6)
    a, b = np.array([x - w / 2, 0, z - d / 2]), np.array([x + w / 2, h, z + d / 2])
    base = _pale(rng, 25, 215)
    side = b[0] if camera.position[0] > b[0] else a[0]
    faces = [
        (0.75, [[side, a[1], a[2]], [side, a[1], b[2]], [side, b[1], b[2]], [side, b[1], a[2]]]),
        (1.15, [[a[0], b[1], a[2]], [b[0], b[1], a[2]], [b[0], b[1], b[2]], [a[0], b[1], b[2]]]),
        (1.0, [[a[0], a[1], b[2]], [b[0], a[1], b[2]], [b[0], b[1], b[2]], [a[0], b[1], b[2]]]),
    ]
    for brightness, corners in faces:
        flat, _ = camera.project(np.array(corners))
        polygon = ((flat + origin) * 8).round().astype(np.int32)
        cv2.fillConvexPoly(canvas, polygon, np.clip(base * brightness, 0, 255).tolist(), cv2.LINE_AA, 3)
    flat, _ = camera.project(np.array(faces[2][1]))
    left, up = (flat + origin).min(0)
    right, down = (flat + origin).max(0)
    for share in rng.uniform(0.1, 0.9, int(rng.integers(0, 4))):  # shelves, drawers
        y = int(up + share * (down - up))
        cv2.line(canvas, (int(left), y), (int(right), y), (base * 0.6).tolist(), 1, cv2.LINE_AA)


@dataclass(frozen=True, kw_only=True)
class Occluder:
    """Something before the person: polygon [N, 2] about 0 in pixels, its place [F, 2] in the picture without
    shake, a texture uint8 [h, w, 3].
    """

    outline: np.ndarray
    place: np.ndarray
    texture: np.ndarray

    def mask(self, frame: int, shake: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Coverage uint8 [H, W], 255 where it hides all."""
        points = (self.outline + self.place[frame]) @ shake[:, :2].T + shake[:, 2]
        mask = np.zeros(size[::-1], np.uint8)
        limit = 2**15
        fixed = np.clip(points * 16, -limit * 16, limit * 16).round().astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
        return mask

    def lay(self, image: np.ndarray, mask: np.ndarray, frame: int, shake: np.ndarray) -> None:
        """Lay it over `image` in place."""
        size = image.shape[1::-1]
        middle = np.array(self.texture.shape[1::-1]) / 2
        matrix = shake.copy()
        matrix[:, 2] += shake[:, :2] @ (self.place[frame] - middle)
        cover = cv2.warpAffine(
            self.texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        share = cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)
        under = cv2.multiply(image, 255 - share, scale=1 / 255)
        cv2.add(under, cv2.multiply(cover, share, scale=1 / 255), dst=image)


def sample_occluder(
    rng: np.random.Generator, box: np.ndarray, frames: int, size: tuple[int, int], kind: str | None = None
) -> Occluder:
    """A pole, a box or a bush that crosses the person, who fills `box` [F, 4] (x1, y1, x2, y2)."""
    kind = kind or str(rng.choice(["pole", "box", "blob", "slat"]))
    tall = float(np.median(box[:, 3] - box[:, 1]))
    wide = float(np.median(box[:, 2] - box[:, 0]))
    scale = max(tall, 0.8 * wide)
    if kind == "pole":
        w, h = rng.uniform(0.06, 0.13) * scale, 2.5 * size[1]
        lean = rng.uniform(-0.06, 0.06) * h
        outline = np.array([[-w - lean, -h], [w - lean, -h], [w + lean, h], [-w + lean, h]]) / 2
    elif kind == "slat":
        w, h = rng.uniform(0.5, 1.2) * scale, rng.uniform(0.05, 0.11) * scale
        outline = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    elif kind == "box":
        w, h = rng.uniform(0.20, 0.42, 2) * scale
        outline = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    else:
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        radius = rng.uniform(0.11, 0.22) * scale
        for wave in range(2, 7):
            radius = radius * (1 + rng.normal(0, 0.28 / wave) * np.cos(wave * angle + rng.uniform(0, 6)))
        outline = np.stack([radius * np.cos(angle), radius * np.sin(angle) * rng.uniform(0.8, 1.3)], -1)
    time = np.arange(frames) / max(frames - 1, 1)
    meeting = rng.uniform(0.2, 0.8)
    at = box[int(meeting * (frames - 1))]
    goal = at[:2] + rng.uniform([0.25, 0.1], [0.75, 0.9]) * (at[2:] - at[:2])
    speed = np.array(
        [
            rng.choice([-1, 1]) * rng.uniform(0.5, 2.0) * max(wide, 0.5 * scale),
            rng.uniform(-0.25, 0.25) * tall,
        ]
    )
    if kind == "slat":
        speed = speed[::-1] * np.array([0.5, 0.8])
    texture_size = (
        max(int(np.ptp(outline[:, 0])) // 2 * 2, 16),
        max(min(int(np.ptp(outline[:, 1])), 2 * size[1]), 16),
    )
    base = _pale(rng, 25, 225)
    texture = base + noise(rng, texture_size, cells=rng.uniform(3, 9), octaves=5)[..., None] * rng.uniform(
        6, 26
    )
    round_ = 1 - 0.35 * np.abs(np.linspace(-1, 1, texture_size[0]))[None, :, None] if kind == "pole" else 1.0
    if kind == "box" and rng.random() < 0.5:
        y, x = np.mgrid[: texture_size[1], : texture_size[0]]
        texture[((x + y) // 6) % 2 == 0] *= 0.7
    return Occluder(
        outline=outline,
        place=goal + (time - meeting)[:, None] * speed,
        texture=np.clip(texture * round_, 0, 255).astype(np.uint8),
    )


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """Blur, noise, colour and compression, the same for a whole clip."""

    blur: float
    grain: np.ndarray  # int16 [h, w, 3], larger than the picture: every frame takes another piece
    gain: np.ndarray  # [3] BGR
    quality: int

    def expose(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """The picture uint8 [H, W, 3] as recorded."""
        if self.blur > 0.25:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        height, width = image.shape[:2]
        y, x = rng.integers(0, np.array(self.grain.shape[:2]) - (height, width) + 1)
        developed = cv2.multiply(image, (*self.gain.tolist(), 0.0), dtype=cv2.CV_16S)
        grain = self.grain[y : y + height, x : x + width]
        return cv2.add(developed, grain, dtype=cv2.CV_8U)


def sample_sensor(rng: np.random.Generator, size: tuple[int, int]) -> Sensor:
    width, height = size
    grain = rng.standard_normal((height + 32, width + 32, 3)).astype(np.float32) * rng.uniform(0.5, 5.0)
    return Sensor(
        blur=rng.uniform(0.0, 0.7) * height / 200,
        grain=np.round(cv2.GaussianBlur(grain, (0, 0), 0.6)).astype(np.int16),
        gain=rng.uniform(0.82, 1.08) * (1 + rng.uniform(-0.05, 0.05, 3)),
        quality=int(rng.integers(72, 96)),
    )
