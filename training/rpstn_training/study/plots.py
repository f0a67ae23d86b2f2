"""The plots of a study."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ..figures.panels import BLUE, GREY, ORANGE
from .plan import IMAGE

_COLOURS = (GREY, BLUE, ORANGE, "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


def relation_bars(rows: Mapping[str, Sequence[Any]]) -> Figure:
    """Differences to the control with their intervals, a panel for each part."""
    from .report import PART_NAMES

    parts = [part for part, listed in rows.items() if any(row.differences for row in listed)]
    most = max((len(rows[part]) for part in parts), default=1)
    figure = Figure(figsize=(3.2 * max(len(parts), 1) + 1.5, 0.36 * most + 1.6), layout="constrained")
    panels = figure.subplots(1, max(len(parts), 1), squeeze=False)[0]
    for axes, part in zip(panels, parts):
        shown = [row for row in rows[part] if row.differences]
        for joints, color, shift in (("hidden", ORANGE, 0.12), ("visible", BLUE, -0.12)):
            for place, row in enumerate(reversed(shown)):
                found = row.differences[joints]
                axes.plot([100 * found.low, 100 * found.high], [place + shift] * 2, color=color, linewidth=2)
                axes.plot(100 * found.value, place + shift, "o", color=color, markersize=5)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [row.name for row in reversed(shown)], fontsize=8)
        axes.set_title(PART_NAMES[part].replace(": ", ":\n").replace(", ", ",\n"), fontsize=8)
        axes.set_xlabel("points of PCK to the control", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        "Orange: hidden joints (spoilt ones of given maps), blue: the others; lines are 95 % intervals",
        fontsize=9,
    )
    return figure


def memory_curves(shares: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Figure:
    """Hidden and visible joints found over the budget, a line for each network."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, joints in zip(figure.subplots(1, 2), ("hidden", "visible")):
        for (name, by_budget), color in zip(shares.items(), _COLOURS):
            budgets = list(by_budget)
            values = [100 * by_budget[budget][joints].share for budget in budgets]
            axes.plot(budgets, values, marker="o", color="black" if name == IMAGE else color, label=name)
        axes.set_xscale("log", base=2)
        every = sorted({budget for by_budget in shares.values() for budget in by_budget})
        axes.set_xticks(every, [str(budget) for budget in every])
        axes.minorticks_off()
        axes.set(title=f"{joints} joints", xlabel="epochs of training", ylabel="PCK@0.2 of the torso size, %")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure
