"""The frames with the poses over them, as videos or as one picture."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data.records import Skeleton
from . import overlay as drawing
from .writers import FoundPose

OVERLAYS = {"mp4": (".mp4",), "webm": (".webm",), "both": (".mp4", ".webm"), "none": ()}


class Pictures:
    """Pictures with poses over them in the files of those names, videos or one picture (.png); a context manager.

    `notice` stands below each of them.
    """

    def __init__(
        self,
        files: Sequence[Path],
        fps: float,
        skeleton: Skeleton,
        min_score: float | None,
        *,
        notice: str = "",
    ) -> None:
        self._files, self._notice = list(files), notice
        self._fps, self._skeleton, self._min_score = fps, skeleton, min_score
        self._videos: list[drawing.OverlayWriter] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Pictures":
        return self

    def add(self, image: np.ndarray, poses: Sequence[FoundPose], *, with_boxes: bool) -> None:
        """Draw the poses over a copy of `image`, which may be enlarged, and write it."""
        if not self._files:
            return
        image = drawing.overlaid(
            image,
            [self._drawn(pose) for pose in poses],
            self._skeleton,
            min_score=drawing.MIN_SCORE if self._min_score is None else self._min_score,
            boxes={pose.person: pose.box for pose in poses} if with_boxes else None,
            strengths=[pose.probabilities for pose in poses],
            hollow=[None if pose.states is None else np.array(pose.states) != "visible" for pose in poses],
            notice=self._notice,
        )
        if self._files[0].suffix == ".png":
            png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
            self._files[0].write_bytes(png.tobytes())
            return
        if not self._videos:
            size = image.shape[1], image.shape[0]
            for file in self._files:
                self._videos.append(self._stack.enter_context(drawing.OverlayWriter(file, self._fps, size)))
        for video in self._videos:
            video.write(drawing.fit(image, video.size))

    def _drawn(self, pose: FoundPose) -> tuple[np.ndarray, np.ndarray | None]:
        """Joints [K, 2], those outside the picture left out, and the scores [K] by which they are hollow."""
        joints = pose.joints
        if pose.states is not None:
            joints = np.where(np.array(pose.states)[:, None] == "outside", np.nan, joints)
        known = pose.probabilities is not None and self._min_score is None  # then what is unsure is pale
        return joints, None if known else pose.scores

    def end(self) -> None:
        """The files are whole."""
        self._stack.close()

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)
