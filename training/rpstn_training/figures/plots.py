"""Diagrams: the training curve, scores, the relation of joints (Fig. 7), maps before and after it (Fig. 8)."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.records import Skeleton
from ..files import atomic_write
from .inside import Inside, peak_distance
from .panels import (
    BLUE,
    ORANGE,
    crop_panel,
    map_panel,
    matrix_panel,
    spaced,
    spelt,
    weights_panel,
)

_MOST_TILES = 8  # joints side by side
_DPI = 110
# What would make two files of one figure differ.
_UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
FORMATS = tuple(_UNDATED)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure in the format of the path's suffix, one of `FORMATS`, whole or not at all."""
    form, data = path.suffix.removeprefix("."), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "rpstn"}):
        figure.savefig(data, format=form, dpi=_DPI, metadata=_UNDATED[form])
    with atomic_write(path) as file:
        file.write(data.getvalue())


def training_curve(rows: Sequence[Mapping[str, Any]], *, gamma: float) -> Figure:
    """Loss and PCK by epoch, from the rows of metrics.jsonl."""
    figure = Figure(figsize=(5.4, 6), layout="constrained")
    left, right = figure.subplots(2, 1)
    epochs = [row["epoch"] for row in rows]
    left.semilogy(epochs, [row["loss"] for row in rows], color=BLUE)
    left.set(title="Loss: squared error of the heat maps", xlabel="epoch", ylabel="loss")
    right.plot(
        epochs, [100 * row["pck"] for row in rows], color=BLUE, label="clips it learns from (distorted)"
    )
    scored = [(row["epoch"], 100 * row["score"]) for row in rows if row.get("score") is not None]
    if scored:
        right.plot(*zip(*scored), color=ORANGE, marker="o", label="held-out clips")
    right.set(title=f"Joints found: PCK@{gamma:g} (person size)", xlabel="epoch", ylabel="%", ylim=(0, 100))
    right.legend(loc="lower right", frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def relation(inside: Inside, skeleton: Skeleton) -> Figure:
    """A frame with the joints found in it, the correlation of its heat maps and the weights W_r (Fig. 7)."""
    figure = Figure(figsize=(13, 4.7), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(0.8, 1, 1))
    title = f"{spaced(inside.action)}, frame {inside.frame + 1}"
    relation_row(figure, panels, inside, skeleton, title)
    return figure


def relation_row(
    figure: Figure, panels: Sequence[Axes], inside: Inside, skeleton: Skeleton, title: str
) -> None:
    """The three panels of `relation`, of one frame."""
    picture, left, right = panels
    crop_panel(picture, inside.crop, inside.found, skeleton, title)
    names, hidden = spelt(skeleton), inside.hidden
    correlation = matrix_panel(
        left, inside.correlation.numpy(), names, "Correlation of the heat maps, M M$^T$", hidden=hidden
    )
    weights = weights_panel(
        right, inside.weights.numpy(), names, "Weights W$_r$: softmax of each row", hidden=hidden
    )
    for axes, image in ((left, correlation), (right, weights)):
        figure.colorbar(image, ax=axes, shrink=0.75)


def before_and_after(inside: Inside, skeleton: Skeleton) -> Figure:
    """Every joint's map before the relation extractor and after it, over the frame (Fig. 8), as `map_panel` has it."""
    blocks, tiles = map_grid(skeleton)
    figure = Figure(figsize=(13, 28 / tiles * blocks), layout="constrained")
    map_rows(figure.subplots(2 * blocks, tiles, squeeze=False), inside, skeleton)
    return figure


def map_grid(skeleton: Skeleton) -> tuple[int, int]:
    """Pairs of rows that one frame's maps take, and joints in each."""
    joints = len(skeleton.joints)
    blocks = -(-joints // _MOST_TILES)
    return blocks, -(-joints // blocks)


def map_rows(grid: np.ndarray, inside: Inside, skeleton: Skeleton) -> None:
    """The panels [2 * blocks, tiles] (`map_grid`) of `before_and_after`, of one frame."""
    for axes in grid.flat:
        axes.axis("off")
    hidden, tiles = inside.hidden, grid.shape[1]
    for row, (maps, word) in enumerate(((inside.pseudo, "before"), (inside.heatmaps, "after"))):
        distance = peak_distance(maps, inside.truth, stride=inside.cell)
        for joint, name in enumerate(spelt(skeleton)):
            axes = grid[2 * (joint // tiles) + row, joint % tiles]
            axes.axis("on")
            map_panel(
                axes,
                inside.crop,
                maps[joint].numpy(),
                cell=inside.cell,
                truth=inside.truth[joint] if inside.labelled[joint] else None,
                distance=float(distance[joint]),
                framed=bool(hidden[joint]),
            )
            title = f"{name}{' (hidden)' if hidden[joint] else ''}" if row == 0 else None
            axes.set_title(title, fontsize=9)
            if joint % tiles == 0:
                axes.set_ylabel(word)
