"""What every reader returns: a `Track` per person and video, and the `Skeleton` its joints follow."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Names, connections and score groups of a data set's K joints; all numbers are joint indices.

    `flip_pairs` are the left/right pairs that a mirrored picture exchanges. `groups` are the columns of the
    score tables, "Head" to "Ank" in this order; a joint in no group enters only the mean over all joints.
    `torso` is the pair whose distance is the torso size in the compared code, `torso_paper` the pair that
    the paper's text names. `sigmas` are the joints' tolerances of COCO's object key-point similarity, as
    shares of the person's size; empty where the set has none.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    groups: dict[str, tuple[int, ...]]
    torso: tuple[int, int]
    torso_paper: tuple[int, int]
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        named = [*self.limbs, *self.flip_pairs, *self.groups.values(), self.torso, self.torso_paper]
        if any(not 0 <= joint < len(self.joints) for joints in named for joint in joints):
            last = len(self.joints) - 1
            raise ValueError(f"Skeleton {self.name}: expected joint indices in 0..{last}, got {named}")
        if self.sigmas and len(self.sigmas) != len(self.joints):
            raise ValueError(
                f"Skeleton {self.name}: expected {len(self.joints)} sigmas like joints, got {len(self.sigmas)}"
            )

    def flip_order(self) -> np.ndarray:
        """Indices [K] that exchange left and right: `joints[..., flip_order(), :]` fits a mirrored person."""
        order = np.arange(len(self.joints))
        for left, right in self.flip_pairs:
            order[[left, right]] = right, left
        return order

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and strings, as checkpoints and JSON files hold them; `from_dict` reads them."""
        plain = asdict(self)
        plain["groups"] = {name: list(joints) for name, joints in self.groups.items()}
        for key in ("limbs", "flip_pairs"):
            plain[key] = [list(pair) for pair in plain[key]]
        for key in ("joints", "torso", "torso_paper", "sigmas"):
            plain[key] = list(plain[key])
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Skeleton":
        return cls(
            name=str(plain["name"]),
            joints=tuple(str(name) for name in plain["joints"]),
            limbs=_pairs(plain["limbs"]),
            flip_pairs=_pairs(plain["flip_pairs"]),
            groups={str(name): tuple(int(j) for j in joints) for name, joints in plain["groups"].items()},
            torso=_pairs([plain["torso"]])[0],
            torso_paper=_pairs([plain["torso_paper"]])[0],
            sigmas=tuple(float(sigma) for sigma in plain.get("sigmas", ())),
        )


def _pairs(pairs: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in pairs)


@dataclass(frozen=True, kw_only=True)
class Track:
    """One person in one video of F frames, or in one picture (F = 1).

    Coordinates are pixels of the original image, x right, y down, first pixel centre at 0.

    `joints` float64 [F, K, 2]; where `labelled` is False it is the data set's placeholder and no
    position. `visible` bool [F, K]: trained on and scored. `labelled` bool [F, K]: a real position,
    perhaps of an occluded joint; every visible joint is labelled. `boxes` float64 [F, 4] x1, y1, x2, y2
    for cropping, always valid. `score_boxes` float64 [F, 4] for the person size of PCK: as annotated,
    mended only where that has no size.

    What writers of official files need: `video` and `person` are the set's own name and number of them,
    `image_ids` [F] its numbers of the frames, `box_score` how sure a detector is of the box, one number for all
    frames or float64 [F]. `scored` bool
    [F] marks the frames with labels, None stands for all. `size` (width, height) is what the label file
    states; a picture of another size is refused, because the labels would not fit it. `orientation` says whether EXIF
    turns the pictures (`images.read_image`).
    """

    name: str
    split: str
    action: str
    frames: tuple[Path, ...]
    joints: np.ndarray
    visible: np.ndarray
    labelled: np.ndarray
    boxes: np.ndarray
    score_boxes: np.ndarray
    video: str = ""
    person: int = 0
    image_ids: tuple[int, ...] = ()
    box_score: float | np.ndarray = 1.0
    scored: np.ndarray | None = None
    size: tuple[int, int] | None = None
    orientation: Literal["auto", "turned", "stored"] = "auto"

    def __post_init__(self) -> None:
        frames, joints = len(self.frames), self.joints.shape[1] if self.joints.ndim == 3 else -1
        expected = {
            "joints": (frames, joints, 2),
            "visible": (frames, joints),
            "labelled": (frames, joints),
            "boxes": (frames, 4),
            "score_boxes": (frames, 4),
        }
        if self.scored is not None:
            expected["scored"] = (frames,)
        if np.ndim(self.box_score):
            expected["box_score"] = (frames,)
        if self.image_ids and len(self.image_ids) != frames:
            raise ValueError(f"Track {self.name}: expected {frames} image_ids, got {len(self.image_ids)}")
        for name, shape in expected.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(f"Track {self.name}: expected {name} {shape}, got {got}")
        if (self.visible & ~self.labelled).any():
            raise ValueError(f"Track {self.name}: expected every visible joint to be labelled")

    def __len__(self) -> int:
        return len(self.frames)

    def box_score_at(self, frame: int) -> float:
        """How sure a detector is of the box of frame `frame`, counted from the track's first."""
        return float(np.broadcast_to(self.box_score, len(self))[frame])


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a set: `id` is what files of detected boxes call it. `size` (width, height) and `orientation` as
    for `Track`.
    """

    id: int | str
    path: Path
    size: tuple[int, int] | None = None
    orientation: Literal["auto", "turned", "stored"] = "auto"
