"""Diagrams: the training curve, scores, the relation of joints (Fig. 7), maps before and after it (Fig. 8)."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..data.records import Skeleton
from ..files import atomic_write
from ..scores.table import Table
from ..video.overlay import draw_pose
from .inside import Inside, peak_distance
from .pictures import heat_over

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#777777"  # Okabe and Ito's colours
_DPI = 110
_TILES = 7  # joints side by side


def write_figure(path: Path, figure: Figure) -> None:
    """Write a PNG, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    with atomic_write(path) as file:
        file.write(data.getvalue())


def training_curve(rows: Sequence[Mapping[str, Any]], *, gamma: float) -> Figure:
    """Loss and PCK by epoch, from the rows of metrics.jsonl."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
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


def score_bars(table: Table, skeleton: Skeleton) -> Figure:
    """PCK by part of the body, visible and occluded joints side by side."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    columns = [*skeleton.groups, "Mean"]
    shown = (("visible joints", "person", BLUE), ("occluded joints", "occluded, person", ORANGE))
    rows = [(label, table.rows[name], color) for label, name, color in shown if name in table.rows]
    width = 0.8 / len(rows)
    for number, (label, row, color) in enumerate(rows):
        places = np.arange(len(columns)) + (number - (len(rows) - 1) / 2) * width
        bars = axes.bar(places, [row[name] for name in columns], width * 0.92, color=color, label=label)
        axes.bar_label(bars, fmt="%.0f", fontsize=9, padding=2)
    axes.set_xticks(range(len(columns)), [*skeleton.groups, "all joints"])
    axes.set(ylabel=f"{table.title} (%)", ylim=(0, 112), yticks=range(0, 101, 20))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def relation(inside: Inside, skeleton: Skeleton) -> Figure:
    """A frame with the joints found in it, the correlation of its heat maps and the weights W_r (Fig. 7)."""
    figure = Figure(figsize=(13, 4.7), layout="constrained")
    picture, left, right = figure.subplots(1, 3, width_ratios=(0.8, 1, 1))
    crop = np.ascontiguousarray(inside.crop.repeat(4, axis=0).repeat(4, axis=1))
    draw_pose(crop, inside.found * 4 + 1.5, None, skeleton)
    picture.imshow(crop)
    picture.set_title(f"{inside.action.replace('_', ' ')}, frame {inside.frame + 1}")
    picture.axis("off")
    names = [name.replace("_", " ") for name in skeleton.joints]
    correlation, weights = inside.correlation.numpy(), inside.weights.numpy()
    most = float(np.abs(correlation).max()) or 1.0
    for axes, matrix, title, options in (
        (
            left,
            correlation,
            "Correlation of the heat maps, M M$^T$",
            dict(cmap="RdBu_r", vmin=-most, vmax=most),
        ),
        (right, weights, "Weights W$_r$: softmax of each row", dict(cmap="Blues", vmin=0, vmax=1)),
    ):
        image = axes.imshow(matrix, **options)
        axes.set_title(title)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        figure.colorbar(image, ax=axes, shrink=0.75)
    for row, column in np.argwhere(weights >= 0.095):
        value = weights[row, column]
        shade = "white" if value > 0.55 else "black"
        right.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=shade)
    return figure


def before_and_after(inside: Inside, skeleton: Skeleton) -> Figure:
    """Every joint's map before the relation extractor and after it, over the frame (Fig. 8).

    Each map is scaled to its own peak, negative values are black; a cross marks the label, the number is the
    distance from it to the peak in pixels of the crop.
    """
    joints = len(skeleton.joints)
    blocks = -(-joints // _TILES)
    figure = Figure(figsize=(13, 4.0 * blocks), layout="constrained")
    grid = figure.subplots(2 * blocks, _TILES, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, maps in enumerate((inside.pseudo, inside.heatmaps)):
        distance = peak_distance(maps, inside.truth, stride=inside.cell)
        for joint, name in enumerate(skeleton.joints):
            axes = grid[2 * (joint // _TILES) + row, joint % _TILES]
            heatmap = maps[joint].numpy()
            axes.imshow(heat_over(inside.crop, heatmap / max(float(heatmap.max()), 1e-6), inside.cell))
            if inside.labelled[joint]:
                axes.plot(*inside.truth[joint], "+", color="white", markersize=11, markeredgewidth=1.5)
                axes.text(3, inside.crop.shape[0] - 5, f"{distance[joint]:.1f} px", color="white", fontsize=9)
            hidden = inside.labelled[joint] and not inside.visible[joint]
            title = f"{name.replace('_', ' ')}{' (hidden)' if hidden else ''}" if row == 0 else None
            axes.set_title(title, fontsize=10, color=ORANGE if hidden else "black")
    for block in range(blocks):
        for row, text in enumerate(("before", "after")):
            grid[2 * block + row, 0].text(
                -0.08,
                0.5,
                text,
                rotation=90,
                va="center",
                ha="center",
                transform=grid[2 * block + row, 0].transAxes,
            )
    return figure
