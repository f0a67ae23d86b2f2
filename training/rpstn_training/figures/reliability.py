"""What was said of joints beside what came true: the reliability diagram of a calibration."""

from matplotlib.figure import Figure

from ..calibration import RIGHT, Calibration
from ..fitting import BINS
from .panels import BLUE, ORANGE


def draw(calibration: Calibration) -> Figure:
    """Above, for joints of a like probability, how often they were right; on the line, as often as was said. Below, how
    many they are. Each half of the clips was judged by the fit of the other one.

        write_figure(Path("reliability.png"), draw(load("best.pt").calibration))
    """
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    said = [each.said for each in calibration.bins]
    above.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as often as was said")
    above.plot(said, [each.came for each in calibration.bins], color=BLUE, marker="o", label="found")
    if calibration.joint_threshold is not None:
        above.axvline(
            calibration.joint_threshold, color=ORANGE, linewidth=1, label="taken for right from here"
        )
    error = calibration.measured["calibration_error"]
    above.set(
        title="Probabilities" if error is None else f"Probabilities, off by {error:.3f} on the mean",
        ylabel=f"joints within {RIGHT:g} of the person's size",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    above.legend(loc="upper left", frameon=False, fontsize=9)
    below.bar(said, [each.count for each in calibration.bins], 0.9 / BINS, color=BLUE)
    below.set(xlabel="probability that was said", ylabel="joints")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
