"""Pictures made of pixels: predictions beside the truth, heat maps over crops, overlay videos."""

from collections.abc import Sequence
from contextlib import ExitStack
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
from ..video.overlay import draw_pose, overlaid
from .inside import errors

MISS = (255, 60, 60)  # RGB
_CELL = 280  # pixels
_GAP = 4


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 [H, W, 3] RGB, whole or not at all."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    with atomic_write(path) as file:
        file.write(data)


def write_jpg(path: Path, image: np.ndarray, *, quality: int) -> None:
    """Write uint8 [H, W, 3] RGB with this quality of 100, whole or not at all."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
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


def case_picture(
    track: Track, found: Prediction, frame: int, skeleton: Skeleton, *, gamma: float
) -> np.ndarray:
    """RGB uint8: one frame about the person, the truth on the left, the prediction on the right.

    In the truth a joint that is hidden is hollow. In the prediction a joint farther from its label than `gamma` times
    the person size has a cross, and a line to where it belongs.
    """
    matrix = crop_matrix(track.boxes[frame], (_CELL, _CELL))
    crop = warp(read_frame(track, frame), matrix, (_CELL, _CELL))
    truth, guess = apply(matrix, track.joints[frame]), apply(matrix, found.joints[frame])
    labelled, visible = track.labelled[frame], track.visible[frame]
    left, right = crop.copy(), crop.copy()
    draw_pose(left, np.where(labelled[:, None], truth, np.nan), visible.astype(float), skeleton)
    draw_pose(right, guess, None, skeleton)
    for joint in np.flatnonzero(errors(track, found)[frame] > gamma):
        place, home = (np.rint(points[joint]).astype(int).tolist() for points in (guess, truth))
        cv2.line(right, place, home, MISS, 2, cv2.LINE_AA)
        cv2.drawMarker(right, place, MISS, cv2.MARKER_TILTED_CROSS, 14, 2, cv2.LINE_AA)
    return np.hstack([left, np.full((_CELL, _GAP, 3), 255, np.uint8), right])


def overlay_video(
    path: Path,
    tracks: Sequence[Track],
    predictions: Sequence[Prediction],
    skeleton: Skeleton,
    *,
    fps: float,
    min_score: float,
    notice: str,
) -> None:
    """The predicted skeletons over the tracks' frames, one track after the other. The strip below says which action and
    frame it is, and the `notice`.

    All frames must be of one size, as those of the synthetic clips are.
    """
    with ExitStack() as stack:
        video: OverlayWriter | None = None
        for track, found in zip(tracks, predictions):
            for frame in np.flatnonzero(found.predicted):
                image = overlaid(
                    read_frame(track, frame),
                    [(found.joints[frame], found.scores[frame])],
                    skeleton,
                    min_score=min_score,
                    place=f"{track.action.replace('_', ' ')}, frame {frame + 1}",
                    notice=notice,
                )
                if video is None:
                    size = image.shape[1], image.shape[0]
                    video = stack.enter_context(OverlayWriter(path, fps, size))
                video.write(image)
