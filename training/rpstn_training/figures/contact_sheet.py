"""A picture of random samples as the network gets them: crops, joints, heat maps."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ..codec import Codec
from ..data.records import Skeleton
from ..video.overlay import draw_pose
from .pictures import heat_over

_MOST_FRAMES = 5  # of a clip
_WIDTH = 1600  # pixels of a sheet, about
_GAP = 4
_CAPTION = 18  # pixels


def contact_sheet(samples: Sequence[dict[str, Any]], skeleton: Skeleton, codec: Codec) -> np.ndarray:
    """RGB uint8 picture of samples of `clips.TrainClips` or `EvalClips`.

    A strip for each: its frames with the joints that count (discs) and those of a known position that do not
    (rings), and the heat maps of its last frame that counts, all joints in one.
    """
    strips = [_strip(sample, skeleton, codec) for sample in samples]
    columns = max(1, _WIDTH // (strips[0].shape[1] + _GAP))
    blank = np.zeros_like(strips[0])
    strips += [blank] * (-len(strips) % columns)
    rows = [np.hstack(strips[first : first + columns]) for first in range(0, len(strips), columns)]
    return np.vstack(rows)


def _strip(sample: dict[str, Any], skeleton: Skeleton, codec: Codec) -> np.ndarray:
    crops = sample["frames"].permute(0, 2, 3, 1).numpy()
    weights, labelled = sample["weights"].numpy(), sample["labelled"].numpy() > 0
    joints = sample["joints"].numpy().astype(np.float64)
    chosen = range(len(crops))[-_MOST_FRAMES:]
    cells = []
    for t in chosen:
        cell = crops[t].copy()
        draw_pose(cell, np.where(labelled[t, :, None], joints[t], np.nan), weights[t], skeleton)
        cells.append(cell)
    counting = [t for t in chosen if weights[t].any()]
    shown = counting[-1] if counting else chosen[-1]
    maps = codec.encode(sample["joints"][shown])
    together = (maps * sample["weights"][shown][:, None, None]).amax(dim=0).numpy()
    cells.append(heat_over(crops[shown], together, codec.cell))
    strip = np.hstack([np.pad(cell, ((0, 0), (0, _GAP), (0, 0))) for cell in cells])
    caption = np.zeros((_CAPTION, strip.shape[1], 3), np.uint8)
    text = f"frame {int(sample['frame_ids'][shown])}, {int(weights[shown].sum())} joints: {sample['name']}"
    place = (2, _CAPTION - 5)
    cv2.putText(caption, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([caption, strip, np.zeros((_GAP, strip.shape[1], 3), np.uint8)])
