"""Diagrams of scores for the demo's page: narrow ones, which a telephone shows at the size of its letters."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from ..codec import crop_matrix
from ..data.boxes import person_size
from ..data.clips import read_frame
from ..data.crops import apply, warp
from ..data.records import Skeleton, Track
from ..predictions import Prediction
from ..video.overlay import side_colors
from .measures import NAMED, TOLERANCES, Case, at
from .panels import BLUE, GREY, ORANGE, spaced

WIDTH = 5.4  # inches
_CROP = 480  # pixels
# The columns of a table of PCK in full.
PARTS = {
    "Head": "head",
    "Sho": "shoulders",
    "Elb": "elbows",
    "Wri": "wrists",
    "Hip": "hips",
    "Knee": "knees",
    "Ank": "ankles",
    "Mean": "all joints",
}


def tolerance_picture(track: Track, prediction: Prediction, case: Case, skeleton: Skeleton) -> Figure:
    """A frame with circles of the tolerances about the true joints, to scale, and the joints found.

    Solid: 0.05 of the person's size, dashed: 0.2. A line leads from each joint found to its true place.
    """
    frame = case.frame
    figure = Figure(figsize=(WIDTH, WIDTH + 0.1), layout="constrained")
    axes = figure.subplots()
    matrix = crop_matrix(track.boxes[frame], (_CROP, _CROP))
    axes.imshow(warp(read_frame(track, frame), matrix, (_CROP, _CROP)))
    truth, found = apply(matrix, track.joints[frame]), apply(matrix, prediction.joints[frame])
    size = person_size(track.score_boxes)[frame] * float(np.hypot(*matrix[:2, 0]))
    for joint in np.flatnonzero(track.labelled[frame]):
        for radius, style in ((NAMED[0], "-"), (NAMED[-1], "--")):
            axes.add_patch(
                Circle(
                    truth[joint], radius * size, fill=False, edgecolor="white", linestyle=style, linewidth=1
                )
            )
        axes.plot(*zip(truth[joint], found[joint]), color="#ff3c3c", linewidth=1)
        color = np.array(side_colors(skeleton)[joint]) / 255
        axes.plot(*found[joint], "o", color=color, markeredgecolor="black", markersize=6)
    axes.set(xlim=(-0.5, _CROP - 0.5), ylim=(_CROP - 0.5, -0.5))
    axes.axis("off")
    return figure


def tolerance_curve(curves: Mapping[str, np.ndarray], size: str) -> Figure:
    """Percent of joints found over the tolerance, of the `curves` (`measures.curve`) that there are."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    for (name, values), color in zip(curves.items(), (BLUE, ORANGE)):
        axes.plot(TOLERANCES, values, color=color, linewidth=2, label=name)
    first = next(iter(curves.values()))
    for tolerance in NAMED:
        axes.axvline(tolerance, color=GREY, linewidth=0.8)
        axes.text(tolerance + 0.005, 3, f"{at(first, tolerance):.0f} %", color=BLUE, fontsize=10)
    _over_tolerances(axes, size)
    return figure


def score_bars(rows: Mapping[str, Mapping[str, float]], skeleton: Skeleton, label: str) -> Figure:
    """Percent by part of the body: a row of a table (`scores.pck`) for each colour."""
    columns = [*skeleton.groups, "Mean"]
    names = [PARTS.get(name, name) for name in columns]
    return _bars({name: [row[column] for column in columns] for name, row in rows.items()}, names, label)


def action_bars(actions: Mapping[str, Mapping[str, float]], names: Mapping[str, str], label: str) -> Figure:
    """Percent by action (`measures.by_action`), its rows called by `names`."""
    rows = {word: [found[row] for found in actions.values()] for row, word in names.items()}
    return _bars(rows, [spaced(action) for action in actions], label)


def _bars(rows: Mapping[str, Sequence[float]], names: Sequence[str], label: str) -> Figure:
    """Lying bars, group below group, so that names need no turning; NaN leaves a gap."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.19 * len(names) * (len(rows) + 0.7)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(rows)
    for number, ((name, values), color) in enumerate(zip(rows.items(), (BLUE, ORANGE, GREY))):
        places = np.arange(len(names)) + (number - (len(rows) - 1) / 2) * height
        bars = axes.barh(places, np.nan_to_num(values), height * 0.92, color=color, label=name)
        texts = ["" if np.isnan(value) else f"{value:.0f}" for value in values]
        axes.bar_label(bars, texts, fontsize=8, padding=2)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=label, xlim=(0, 108), xticks=range(0, 101, 20), ylim=(len(names) - 0.4, -0.6))
    figure.legend(loc="outside upper center", ncols=len(rows), frameon=False, fontsize=9)
    _open(axes, grid="x")
    return figure


def before_after_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], size: str) -> Figure:
    """Percent of joints over the tolerance, before the relation step (dashed) and after it, of each kind of joints."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    for (name, (before, after)), color in zip(curves.items(), (BLUE, ORANGE)):
        axes.plot(TOLERANCES, before, "--", color=color, linewidth=2, label=f"{name}, before")
        axes.plot(TOLERANCES, after, color=color, linewidth=2, alpha=0.75, label=f"{name}, after")
    axes.axvline(NAMED[-1], color=GREY, linewidth=0.8)
    _over_tolerances(axes, size)
    return figure


def _over_tolerances(axes: Axes, size: str) -> None:
    axes.set(xlim=(0, TOLERANCES[-1]), ylim=(0, 100))
    axes.set(xlabel=f"tolerance, share of the {size}", ylabel="joints found (%)")
    axes.legend(loc="lower right", frameon=False)
    _open(axes)


def _open(axes: Axes, grid: str = "both") -> None:
    axes.grid(axis=grid, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
