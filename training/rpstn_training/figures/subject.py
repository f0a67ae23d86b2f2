"""What a figure of the paper is drawn from, a trained network and tracks with labels, and which frames it shows.

Frames are chosen by their labels alone, never by what the network makes of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import nn

from ..codec import Codec
from ..config import Config
from ..data.clips import tiled_starts
from ..data.records import Skeleton, Track
from ..scores.pck import torso_size
from ..versions import versions
from .inside import Inside, look_inside

GAMMA = 0.2  # of the torso size: within it a joint is right
COUNTED = 60  # clips that are counted for the numbers below a figure


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network in evaluation mode, the tracks it is shown with, and where both come from, in words."""

    model: nn.Module
    config: Config
    skeleton: Skeleton
    codec: Codec
    tracks: Sequence[Track]
    data: str
    weights: str

    @property
    def source(self) -> str:
        """The line that stands below every figure."""
        return f"Data: {self.data}. Weights: {self.weights}. Drawn at commit {commit()}."

    def look(self, track: int, clip: int) -> Inside:
        """What happens inside the network in the last frame of a clip."""
        return look_inside(self.model, self.config, self.tracks[track], self.skeleton, self.codec, clip)

    @cached_property
    def counted(self) -> list[Inside]:
        """The last frames of `some_clips`, for the numbers below a figure."""
        return [self.look(*place) for place in self.some_clips()]

    def some_clips(self) -> list[tuple[int, int]]:
        """Track and clip of `COUNTED` clips at most, spread evenly: the middle one of each of many tracks, or several
        of each of few.
        """
        tracks = spread(len(self.tracks), COUNTED)
        places = []
        for track in tracks:
            clips = spread(len(self.clips_of(track)), COUNTED // len(tracks))
            places += [(track, clip) for clip in (clips if len(clips) > 1 else [self.middle_clip(track)])]
        return places

    @property
    def hides(self) -> bool:
        """Whether labels call any joint hidden."""
        return any(hidden_joints(track).any() for track in self.tracks)

    @property
    def choice(self) -> str:
        """How frames and videos are chosen, in a sentence."""
        if not self.hides:
            return "No label here calls a joint hidden: these are the first ones, one of each action first."
        return "Frames are chosen by labels alone: the most hidden joints (up to a third), one of each action first."

    def clips_of(self, track: int) -> list[int]:
        """Last frames of the clips that tile a track, in order."""
        frames, length = len(self.tracks[track]), self.config.data.clip_length
        return [min(start + length, frames) - 1 for start in tiled_starts(frames, length)]

    def middle_clip(self, track: int) -> int:
        return len(self.clips_of(track)) // 2


def spread(number: int, most: int) -> list[int]:
    """`most` of the numbers from 0 to `number` - 1, or all where they are fewer, at even distances.

    >>> spread(10, 3)
    [1, 5, 8]
    """
    count = min(number, most)
    return [(2 * place + 1) * number // (2 * count) for place in range(count)]


def commit(version: dict[str, str | None] | None = None) -> str:
    """The commit in `version`, by default of the code that runs, in few letters."""
    full = (versions() if version is None else version).get("commit")
    if not full:
        return "unknown"
    return full.removesuffix("-dirty")[:10] + ("-dirty" if full.endswith("-dirty") else "")


def torso_sizes(truth: np.ndarray, labelled: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Torso sizes [F] of true joints [F, K, 2], in their unit; NaN where an end has no label or there is no length."""
    sizes = torso_size(truth, np.full_like(truth, np.nan), skeleton.torso)
    return np.where(labelled[:, list(skeleton.torso)].all(axis=1), sizes, np.nan)


def right(found: np.ndarray, truth: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which joints [F, K] lie within `GAMMA` torso sizes [F] of their label; False where the size is not known."""
    return np.linalg.norm(found - truth, axis=-1) <= GAMMA * sizes[:, None]


def hidden_joints(track: Track) -> np.ndarray:
    """Bool [F, K]: a place is known, and the label calls it not visible."""
    return track.labelled & ~track.visible


def telling(counts: Sequence[int], joints: int) -> list[int]:
    """Hidden joints as a mark for choosing frames: the more the better, but with more than a third of all joints
    hidden there is little left to see.
    """
    return [count if count <= joints // 3 else 0 for count in counts]


def best_of_each(marks: Sequence[float], groups: Sequence[str], number: int) -> list[int]:
    """Places of the `number` best marks: first the best of each group, then the second best ...; marks of 0 last."""
    by_mark = sorted(range(len(marks)), key=lambda place: -marks[place])
    rank: dict[int, int] = {}
    seen: dict[str, int] = {}
    for place in by_mark:
        rank[place] = seen.get(groups[place], 0)
        seen[groups[place]] = rank[place] + 1
    return sorted(by_mark, key=lambda place: (marks[place] <= 0, rank[place], -marks[place]))[:number]
