"""Pictures of measured lines: the share of the floor per shape, and the roofline."""

from collections.abc import Mapping, Sequence
from pathlib import Path

COLOURS = {
    "joint_relation": "#0072b2",
    "joint_relation_norm": "#56b4e9",
    "dynamic_conv2d": "#d55e00",
    "dynamic_match": "#e69f00",
}
MARKERS = {"forward": "o", "backward": "s"}


def draw(lines: Sequence[Mapping], facts: Mapping, path: Path) -> None:
    """One picture of our own times: left the share of the floor per shape, right speed over intensity."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ours = [line for line in lines if line["contender"] == "ours" and "floor_ms" in line]
    shapes = list(dict.fromkeys((line["op"], line["sizes"]) for line in ours))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(16, max(5.0, 1.6 + 0.21 * len(shapes))), width_ratios=(3, 2), layout="constrained"
    )
    _draw_shares(left, ours, shapes)
    _draw_roofline(right, ours, facts)
    machine = facts.get("gpu") or f"{facts['cpu']}, {facts['threads']} threads, {facts['instructions']}"
    figure.suptitle(
        f"Operations of rpstn_ext against the limits of the machine ({machine}; copy {facts['copy_gb_per_s']} GB/s, "
        f"{facts['multiply_adds_g_per_s']} G multiply-adds/s)"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_shares(axes, ours: Sequence[Mapping], shapes: Sequence[tuple[str, str]]) -> None:
    rows = {shape: index for index, shape in enumerate(shapes)}
    for line in ours:
        row = rows[line["op"], line["sizes"]] + (0.18 if line["direction"] == "backward" else -0.18)
        forward = line["direction"] == "forward"
        axes.barh(
            row,
            100 * line["share_of_floor"],
            height=0.34,
            color=COLOURS[line["op"]],
            alpha=1 if forward else 0.5,
        )
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shapes)), [f"{op}  {sizes}" for op, sizes in shapes], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("share of the floor, % (100: as fast as bytes can be copied or products computed)")
    axes.set_title("Per shape: forward (full colour), backward (pale)", fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def _draw_roofline(axes, ours: Sequence[Mapping], facts: Mapping) -> None:
    copy, peak = facts["copy_gb_per_s"], facts["multiply_adds_g_per_s"]
    intensities = [line["multiply_adds"] / line["bytes"] for line in ours]
    low, high = min([*intensities, peak / copy]) / 2, max([*intensities, peak / copy]) * 2
    axes.plot([low, peak / copy, high], [low * copy, peak, peak], color="black", label="limit of the machine")
    for op, colour in COLOURS.items():
        for direction, marker in MARKERS.items():
            of_this = [line for line in ours if (line["op"], line["direction"]) == (op, direction)]
            if of_this:
                axes.plot(
                    [line["multiply_adds"] / line["bytes"] for line in of_this],
                    [line["multiply_adds"] / line["median_ms"] / 1e6 for line in of_this],
                    marker,
                    color=colour,
                    markerfacecolor=colour if direction == "forward" else "none",
                    linestyle="none",
                    label=f"{op} {direction}",
                )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.set_xlabel("multiply-adds per byte that must move")
    axes.set_ylabel("G multiply-adds per second")
    axes.set_title("Roofline", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(which="both", alpha=0.2)
