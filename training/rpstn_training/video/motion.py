"""Where a video's picture changes: who a video is about usually moves, what stands about does not."""

from collections.abc import Sequence

import cv2
import numpy as np

_LONGEST = 320  # pixels of the longer side at which pictures are compared
_BLUR = 1.5  # of these pixels: noise and blocks are no movement
_STILL = 0.05  # grey levels: pictures that differ by less on average are the same


class Motion:
    """How much each part of a picture changes, beside what the camera's own movement explains.

        change = least over later pictures of |blur(later - picture moved as the camera moved)|

    The least is what differs from all of them: where somebody is now, and not where somebody comes to be.

    The camera's movement is taken as a shift of the whole picture (phase correlation); a turn, a zoom or a cut count as
    change everywhere, which says nothing and does no harm.

    Args:
        image: uint8 [H, W, 3] RGB.
        later: pictures after it; of another size they are left out.
    """

    def __init__(self, image: np.ndarray, later: Sequence[np.ndarray]) -> None:
        height, width = image.shape[:2]
        self._factor = min(1.0, _LONGEST / max(width, height))
        here = self._grey(image)
        changes = [_change(here, self._grey(one)) for one in later if one.shape == image.shape]
        change = np.min(changes, axis=0) if changes else np.zeros_like(here)
        mean = float(change.mean())
        self._sums = cv2.integral(change / mean) if mean >= _STILL else None

    def _grey(self, image: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        sides = [max(1, round(side * self._factor)) for side in grey.shape[::-1]]
        return cv2.resize(grey, sides, interpolation=cv2.INTER_AREA).astype(np.float32)

    def within(self, box: np.ndarray) -> float:
        """Change per pixel in a box [4] of the picture, as a multiple of the whole picture's; what lies outside counts
        as still. 1 where nothing is known.
        """
        if self._sums is None:
            return 1.0
        left, top, right, bottom = np.asarray(box) * self._factor
        rows, columns = self._sums.shape
        x1, x2 = (int(np.clip(round(x), 0, columns - 1)) for x in (left, right + 1))
        y1, y2 = (int(np.clip(round(y), 0, rows - 1)) for y in (top, bottom + 1))
        total = self._sums[y2, x2] - self._sums[y1, x2] - self._sums[y2, x1] + self._sums[y1, x1]
        return float(total / max((right + 1 - left) * (bottom + 1 - top), 1.0))


def _change(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    height, width = here.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (across, down), _ = cv2.phaseCorrelate(
        here.copy(), there.copy(), window
    )  # it multiplies what it is given
    moved = cv2.warpAffine(
        here,
        np.array([[1, 0, across], [0, 1, down]], dtype=np.float32),
        (width, height),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.abs(cv2.GaussianBlur(there - moved, (0, 0), _BLUR))
