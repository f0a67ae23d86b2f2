"""The frames with the poses over them, as videos or as one picture."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data.records import Skeleton
from . import overlay as drawing
from .encoding import FORMATS, OverlayWriter, Sound, encodes
from .sources import Frame, Source
from .writers import FoundPose

OVERLAYS = {"mp4": (".mp4",), "webm": (".webm",), "both": (".mp4", ".webm"), "none": ()}


def usual_overlay() -> str:
    """mp4, but webm where FFmpeg lacks the encoder of H.264: some are built without it, for its licence."""
    return "mp4" if encodes(FORMATS[".mp4"][0]) else "webm"


class Pictures:
    """Pictures with poses over them in the files of those names, videos or one picture (.png); a context manager.

    A video's frames have the source's times, from the first one that could be gone through on, and its sound. `notice`
    stands below each of them. What is less probable than `sure_from` is pale (`overlay.strength_of`).
    """

    def __init__(
        self,
        files: Sequence[Path],
        media: Source,
        skeleton: Skeleton,
        min_score: float | None,
        *,
        sure_from: float | None = None,
        notice: str = "",
    ) -> None:
        self._files, self._media, self._notice = list(files), media, notice
        self._skeleton, self._min_score, self._sure_from = skeleton, min_score, sure_from
        self._start = media.window.start or 0.0
        self._videos: list[OverlayWriter] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Pictures":
        return self

    def add(self, frame: Frame, poses: Sequence[FoundPose], *, with_boxes: bool) -> None:
        """Draw the poses over a copy of the frame, which may be enlarged, and write it."""
        if not self._files:
            return
        image = drawing.overlaid(
            frame.image,
            [self._drawn(pose) for pose in poses],
            self._skeleton,
            min_score=drawing.MIN_SCORE if self._min_score is None else self._min_score,
            boxes={pose.person: pose.box for pose in poses} if with_boxes else None,
            strengths=[self._strength(pose) for pose in poses],
            hollow=[None if pose.states is None else np.array(pose.states) != "visible" for pose in poses],
            sure_from=self._sure_from,
            place=f"frame {frame.number}, {frame.time:.2f} s",
            notice=self._notice,
        )
        if self._files[0].suffix == ".png":
            png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
            self._files[0].write_bytes(png.tobytes())
            return
        if not self._videos:
            size = image.shape[1], image.shape[0]
            for file in self._files:
                writer = OverlayWriter(file, self._media.fps, size, sound=self._sound())
                self._videos.append(self._stack.enter_context(writer))
        for video in self._videos:
            video.write(drawing.fit(image, video.size), frame.time - self._start, frame.duration)

    def _drawn(self, pose: FoundPose) -> tuple[np.ndarray, np.ndarray | None]:
        """Joints [K, 2], those outside the picture left out, and the scores [K] by which they are hollow."""
        joints = pose.joints
        if pose.states is not None:
            joints = np.where(np.array(pose.states)[:, None] == "outside", np.nan, joints)
        known = pose.probabilities is not None and self._min_score is None  # then what is unsure is pale
        return joints, None if known else pose.scores

    def _strength(self, pose: FoundPose) -> np.ndarray | None:
        if pose.probabilities is None:
            return None
        return drawing.strength_of(pose.probabilities, self._sure_from)

    def end(self) -> None:
        """The files are whole."""
        self._stack.close()

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def _sound(self) -> Sound | None:
        if not self._media.sound or not isinstance(self._media.place, Path):
            return None
        return Sound(place=self._media.place, start=self._start, end=self._media.window.end)
