"""A real clip on the demo's page."""

from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..public_files import open_weights
from ..video.pipeline import predict
from ..video.sources import open_source
from ..words import several
from .page import Real
from .pictures import write_png

_STILLS = 4
_FOLDER = "real"


def draw_real(source: Path, weights: Path, out: Path) -> Real:
    """Find the people of a video, or of a folder of its frames, and leave what `rpstn predict` leaves in `out`/real,
    with a picture of frames at even distances.

    Raises UserError where the source cannot be read, or is a single picture.
    """
    media = open_source(source)
    if media.names is not None and len(media.names) == 1:
        raise UserError(f"--real: expected a video or a folder of its frames, got one picture, {source}")
    result = predict(source, weights, out / _FOLDER, overlay="mp4", overwrite=True)
    stills = _spread_frames(result.files["overlay.mp4"], result.frame_count)
    notice = open_weights(weights).notice
    known_as = weights.name if notice is None else f"{weights.name}, {notice}"
    rows = [np.hstack(stills[first : first + 2]) for first in range(0, _STILLS, 2)]
    write_png(out / _FOLDER / "stills.png", np.vstack(rows))
    sentences = (
        f"{result.source}: {several(result.frame_count, 'frame')}, {several(result.pose_count, 'pose')} found. "
        f"Weights: {known_as}. People: {result.boxes}.",
        "Nobody has labelled this clip here, so there is no score: look.",
    )
    return Real(sentences=sentences, video=f"{_FOLDER}/overlay.mp4", picture=f"{_FOLDER}/stills.png")


def _spread_frames(video: Path, count: int) -> list[np.ndarray]:
    """RGB frames of a video at even distances, the first and the last among them."""
    wanted = np.linspace(0, count - 1, _STILLS).round().astype(int).tolist()
    stream, frames = cv2.VideoCapture(str(video)), {}
    for number in range(count):
        ok, image = stream.read()
        if ok and number in wanted:
            frames[number] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    stream.release()
    return [frames[number] for number in wanted]
