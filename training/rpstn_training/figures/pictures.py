"""Pictures made of pixels: predictions beside the truth, heat maps over crops, overlay videos."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..codec import crop_matrix
from ..data.clips import read_frame
from ..data.crops import apply, warp
from ..data.records import Skeleton, Track
from ..files import atomic_write
from ..predictions import Prediction
from ..video.encoding import OverlayWriter
from ..video.overlay import MIDDLE, draw_pose, draw_text, enlargement, overlaid
from .inside import errors

MISS = (255, 60, 60)  # RGB
_CELL = 240  # pixels
_GAP = 6
_CAPTION = 24
_COLUMNS = 3
_INK, _PAPER = (40, 40, 40), 255


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 [H, W, 3] RGB, whole or not at all."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    with atomic_write(path) as file:
        file.write(data)


def heat_over(crop: np.ndarray, heatmap: np.ndarray, cell: tuple[float, float]) -> np.ndarray:
    """A heat map between 0 and 1 in colours over its darkened crop: its value [i, j] at the pixel it stands for.

    cell: pixels of the crop from one cell to the next, along x and along y (`Codec.cell`).
    """
    level = cv2.warpAffine(
        np.rint(255 * heatmap.clip(0, 1)).astype(np.uint8),
        np.array([[cell[0], 0, 0], [0, cell[1], 0]], dtype=np.float64),
        (crop.shape[1], crop.shape[0]),
        borderMode=cv2.BORDER_REPLICATE,
    )
    colours = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = level[..., None] / 255
    return np.rint((1 - share) * crop * 0.5 + share * colours).astype(np.uint8)


def prediction_sheet(
    tracks: Sequence[Track], predictions: Sequence[Prediction], skeleton: Skeleton, *, gamma: float
) -> np.ndarray:
    """RGB uint8 picture: the middle frame of each track, the truth on the left, the prediction on the right.

    A joint farther from its label than `gamma` times the person size has a cross, and a line to where it belongs.
    """
    pairs = [_pair(track, found, skeleton, gamma) for track, found in zip(tracks, predictions)]
    blank = np.full_like(pairs[0], _PAPER)
    pairs += [blank] * (-len(pairs) % _COLUMNS)
    rows = [np.hstack(pairs[first : first + _COLUMNS]) for first in range(0, len(pairs), _COLUMNS)]
    return np.vstack(rows)


def _pair(track: Track, found: Prediction, skeleton: Skeleton, gamma: float) -> np.ndarray:
    frame = int(np.flatnonzero(found.predicted)[found.predicted.sum() // 2])
    matrix = crop_matrix(track.boxes[frame], (_CELL, _CELL))
    crop = warp(read_frame(track, frame), matrix, (_CELL, _CELL))
    truth, guess = apply(matrix, track.joints[frame]), apply(matrix, found.joints[frame])
    labelled, visible = track.labelled[frame], track.visible[frame]
    left, right = crop.copy(), crop.copy()
    draw_pose(left, np.where(labelled[:, None], truth, np.nan), visible.astype(float), skeleton)
    draw_pose(right, guess, None, skeleton)
    missed = errors(track, found)[frame] > gamma
    for joint in np.flatnonzero(missed):
        place, home = (np.rint(points[joint]).astype(int).tolist() for points in (guess, truth))
        cv2.line(right, place, home, MISS, 1, cv2.LINE_AA)
        cv2.drawMarker(right, place, MISS, cv2.MARKER_TILTED_CROSS, 12, 2, cv2.LINE_AA)
    caption = np.full((_CAPTION, 2 * _CELL + 2, 3), _PAPER, np.uint8)
    text = (
        f"{track.action.replace('_', ' ')}: {int((labelled & ~missed).sum())} of {int(labelled.sum())} right"
    )
    cv2.putText(caption, text, (2, _CAPTION - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    cells = np.hstack([left, np.full((_CELL, 2, 3), _PAPER, np.uint8), right])
    return np.pad(np.vstack([caption, cells]), ((0, _GAP), (0, 2 * _GAP), (0, 0)), constant_values=_PAPER)


def overlay_videos(
    out: Path,
    suffixes: Sequence[str],
    tracks: Sequence[Track],
    predictions: Sequence[Prediction],
    skeleton: Skeleton,
    *,
    fps: float,
    min_score: float,
) -> list[Path]:
    """The predicted skeletons over the tracks' frames, one track after the other: `out` with each suffix.

    All frames must be of one size, as those of the synthetic clips are.
    """
    height, width = read_frame(tracks[0], 0).shape[:2]
    scale = enlargement((width, height))
    paths = [out.with_suffix(suffix) for suffix in suffixes]
    for path in paths:
        with OverlayWriter(path, fps, (width * scale, height * scale)) as video:
            for track, found in zip(tracks, predictions):
                for frame in np.flatnonzero(found.predicted):
                    poses = [(found.joints[frame], found.scores[frame])]
                    image = overlaid(read_frame(track, frame), poses, skeleton, min_score=min_score)
                    draw_text(image, track.action.replace("_", " "), (10, 26), MIDDLE)
                    video.write(image)
    return paths
