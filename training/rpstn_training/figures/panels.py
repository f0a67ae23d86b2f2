"""Parts that several figures are made of: a crop with its pose, a matrix of joints, a map over a crop, a strip of
frames, marks at joints that are right or wrong, and what stands above and below a figure.
"""

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..data.records import Skeleton
from ..video.overlay import EDGE, draw_pose, enlargement
from .pictures import MISS, heat_over

# Okabe and Ito's colours, which people with any colour vision tell apart.
BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#777777"
FOUND = (0, 220, 150)  # RGB, of a joint that is right; one that is wrong has `MISS` and a line
_GAP = 4  # pixels between the frames of a strip
_NAME = 24  # letters of a clip's name
_LETTERS_PER_INCH = 14.6  # of a text in size 9


def spaced(name: str) -> str:
    """A joint's or an action's name for people."""
    return name.replace("_", " ")


def heading(action: str, name: str) -> str:
    """An action and a clip's name, as one line; a long name is cut in its middle."""
    short = name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[-_NAME // 2 :]}"
    return ", ".join(part for part in (spaced(action), short) if part)


def spelt(skeleton: Skeleton) -> list[str]:
    return [spaced(name) for name in skeleton.joints]


def enlarged(image: np.ndarray, *points: np.ndarray) -> tuple[np.ndarray, ...]:
    """A picture of few pixels enlarged by a whole number, and points [..., 2] of it where they are then."""
    factor = enlargement((image.shape[1], image.shape[0]))
    picture = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return picture, *(np.asarray(place) * factor + (factor - 1) / 2 for place in points)


def crop_panel(axes: Axes, crop: np.ndarray, joints: np.ndarray, skeleton: Skeleton, title: str) -> None:
    """A crop with one pose in it, joints [K, 2] in its pixels; a long title takes two lines."""
    picture, places = enlarged(crop, joints)
    draw_pose(picture, places, None, skeleton)
    axes.imshow(picture)
    axes.set_title(textwrap.fill(title, 34), fontsize=10)
    axes.axis("off")


def matrix_panel(
    axes: Axes,
    matrix: np.ndarray,
    names: Sequence[str],
    title: str,
    *,
    most: float | None = None,
    hidden: np.ndarray | None = None,
) -> AxesImage:
    """A matrix [K, K] of joints, from -`most` (blue) over 0 (white) to `most` (red), by default its largest absolute
    value. An orange triangle points at the row of each `hidden` joint.
    """
    most = (float(np.abs(matrix).max()) or 1.0) if most is None else most
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
    _name_joints(axes, names, title, hidden)
    return image


def weights_panel(
    axes: Axes, weights: np.ndarray, names: Sequence[str], title: str, *, hidden: np.ndarray | None = None
) -> AxesImage:
    """Shares [K, K] from 0 (white) to 1 (blue); what reaches a tenth is written in per cent."""
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    _name_joints(axes, names, title, hidden)
    for row, column in np.argwhere(weights >= 0.095):
        value = weights[row, column]
        shade = "white" if value > 0.55 else "black"
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=shade)
    return image


def _name_joints(axes: Axes, names: Sequence[str], title: str, hidden: np.ndarray | None) -> None:
    axes.set_title(title)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    for joint in np.flatnonzero(hidden) if hidden is not None else ():
        axes.plot(
            len(names) - 0.1,
            joint,
            marker="<",
            color=ORANGE,
            markeredgecolor="black",
            clip_on=False,
            markersize=7,
        )
    axes.set_xlim(-0.5, len(names) - 0.5)


def map_panel(
    axes: Axes,
    crop: np.ndarray,
    heatmap: np.ndarray,
    *,
    cell: tuple[float, float],
    truth: np.ndarray | None,
    distance: float,
    framed: bool,
) -> None:
    """A map over its crop, scaled to its own peak, negative values black. `cell`: pixels of the crop for one of the
    map's cells. A cross marks the `truth` [2], the number is the `distance` of the peak from it in pixels of the crop.
    A joint that the label calls hidden is `framed`.
    """
    axes.imshow(heat_over(crop, heatmap / max(float(heatmap.max()), 1e-6), cell))
    axes.set(xticks=(), yticks=())
    axes.spines[:].set(visible=framed, color=ORANGE, linewidth=3, linestyle=(0, (3, 1.5)))
    if truth is not None:
        axes.plot(*truth, "+", color="white", markersize=11, markeredgewidth=1.5)
        axes.text(3, crop.shape[0] - 5, f"{distance:.1f} px", color="white", fontsize=9)
        axes.set(xlim=(-0.5, crop.shape[1] - 0.5), ylim=(crop.shape[0] - 0.5, -0.5))


def ring(image: np.ndarray, place: np.ndarray, *, right: bool, home: np.ndarray) -> None:
    """Mark a joint found at `place` [2] in the picture itself: a green circle where it is right; where it is wrong a
    red one, with a line to the true place and a cross there.
    """
    width = max(min(image.shape[:2]) // 180, 1)
    radius, color = max(min(image.shape[:2]) // 24, 5), FOUND if right else MISS
    centre, target = (
        tuple(np.rint(np.clip(point, -4096, 4096)).astype(int).tolist()) for point in (place, home)
    )
    for thickness, shade in ((width + 2, EDGE), (width, color)):
        cv2.circle(image, centre, radius, shade, thickness, cv2.LINE_AA)
        if not right:
            cv2.line(image, centre, target, shade, thickness, cv2.LINE_AA)
            cv2.drawMarker(image, target, shade, cv2.MARKER_TILTED_CROSS, radius, thickness, cv2.LINE_AA)


def strip_panel(
    axes: Axes, rows: Sequence[Sequence[np.ndarray]], names: Sequence[str], columns: Sequence[str], title: str
) -> None:
    """Rows of pictures of one size, each row with a name at its left, each column with one below."""
    height, width = rows[0][0].shape[:2]
    picture = np.vstack([np.hstack([_with_gap(cell) for cell in row]) for row in rows])
    axes.imshow(picture[:-_GAP, :-_GAP])
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xticks([width / 2 + (width + _GAP) * n for n in range(len(columns))], columns, fontsize=8)
    axes.set_yticks(
        [height / 2 + (height + _GAP) * n for n in range(len(names))], names, rotation=90, va="center"
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _with_gap(cell: np.ndarray) -> np.ndarray:
    return np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def entitle(figure: Figure, title: str, *paragraphs: str) -> None:
    """The title above a figure, and below it paragraphs that explain it, broken into its width."""
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    lines = [line for text in paragraphs for line in textwrap.wrap(text, letters)]
    figure.supxlabel("\n".join(lines).replace("$", r"\$"), fontsize=9, x=0.01, ha="left", color="#333333")


def percent(share: float) -> str:
    """A share of 1 for people; "-" where it is not defined."""
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"
