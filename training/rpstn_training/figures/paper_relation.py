"""The paper's Fig. 6, 7 and 8: what the joint relation extractor sees and makes of it.

    Fig. 6   correlation matrices M M^T by action
    Fig. 7   a frame, its correlation matrix and the relational weights W_r
    Fig. 8   every joint's map before the relation extractor and after it

What each figure shows, and the numbers below it, come from the functions that return dataclasses.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ..words import several
from . import plots
from .inside import Inside, peak_distance
from .panels import crop_panel, entitle, heading, matrix_panel, percent, spelt
from .subject import GAMMA, Subject, best_of_each, hidden_joints, spread, telling, torso_sizes

_ONE_HOT = 0.95  # of a row of W_r
_PER_LINE = 6  # crops side by side in Fig. 6
_HIDDEN = "An orange triangle points at the row of a joint that the label calls hidden."


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Mean correlation coefficient, over pairs of frames of different videos, of their scaled matrices without the
    diagonal.
    """

    same_action: float
    other_action: float
    frames: int


def scaled(correlation: np.ndarray) -> np.ndarray:
    """M M^T [..., K, K] divided by the lengths of both maps: 1 on the diagonal, the cosine of two maps elsewhere."""
    length = np.sqrt(np.diagonal(correlation, axis1=-2, axis2=-1).clip(1e-12))
    return correlation / (length[..., :, None] * length[..., None, :])


def likeness(frames: list[Inside]) -> Likeness:
    """Whether matrices of one action are more alike than those of different ones."""
    joints = len(frames[0].visible)
    above = np.triu_indices(joints, 1)
    rows = np.stack([scaled(inside.correlation.double().numpy())[above] for inside in frames])
    varied = rows.std(axis=1) > 0
    pairs = np.full((len(frames), len(frames)), np.nan)
    if varied.sum() > 1:
        pairs[np.ix_(varied, varied)] = np.corrcoef(rows[varied])
    actions = np.array([inside.action for inside in frames])
    videos = np.array([inside.name for inside in frames])
    same = actions[:, None] == actions
    once = np.triu(videos[:, None] != videos)  # each pair

    def mean(chosen: np.ndarray) -> float:
        values = pairs[chosen & once & ~np.isnan(pairs)]
        return float(values.mean()) if len(values) else float("nan")

    return Likeness(same_action=mean(same), other_action=mean(~same), frames=len(frames))


def frames_by_action(subject: Subject, number: int) -> list[tuple[int, int]]:
    """Track and clip of `number` frames, two of each action: of two videos where it has them, else of one."""
    by_action: dict[str, list[int]] = {}
    for index, track in enumerate(subject.tracks):
        by_action.setdefault(track.action, []).append(index)
    chosen: list[tuple[int, int]] = []
    for tracks in by_action.values():
        middles = [(track, subject.middle_clip(track)) for track in tracks[:2]]
        if len(middles) == 1 and len(by_action) > 1:
            others = sorted({0, len(subject.clips_of(tracks[0])) - 1} - {middles[0][1]})
            middles += [(tracks[0], clip) for clip in others[:1]]
        chosen += middles
    if len(chosen) < number and len(by_action) == 1:  # a single action: more of its frames
        clips = [
            (track, clip)
            for track in range(len(subject.tracks))
            for clip in range(len(subject.clips_of(track)))
        ]
        chosen = [clips[place] for place in spread(len(clips), number)]
    return chosen[:number]


def correlations(subject: Subject, number: int) -> Figure:
    """Fig. 6: crops, their M M^T, and the same scaled to the lengths of the maps."""
    frames = [subject.look(*place) for place in frames_by_action(subject, number)]
    numbers = likeness(subject.counted)
    columns, lines = min(len(frames), _PER_LINE), -(-len(frames) // _PER_LINE)
    figure = Figure(figsize=(max(3.3 * columns + 1.2, 9.5), 9.3 * lines + 0.6), layout="constrained")
    grid = figure.subplots(3 * lines, columns, squeeze=False, height_ratios=(0.85, 1, 1) * lines)
    names = spelt(subject.skeleton)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, inside in enumerate(frames):
        line, column = divmod(place, columns)
        picture, plain, cosine = grid[3 * line : 3 * line + 3, column]
        crop_panel(picture, inside.crop, inside.found, subject.skeleton, _title(inside))
        matrix = inside.correlation.numpy()
        for axes, values, most, title in (
            (plain, matrix, None, "M M$^T$"),
            (cosine, scaled(matrix), 1.0, "scaled: cosine of two maps"),
        ):
            axes.set_axis_on()
            image = matrix_panel(axes, values, names, title, most=most, hidden=inside.hidden)
            axes.tick_params(labelsize=8)
            if column > 0:
                axes.set_yticklabels([])
            if axes is plain:
                axes.set_xticklabels([])
            if axes is plain or column == columns - 1:
                figure.colorbar(image, ax=axes, shrink=0.75)
    entitle(
        figure,
        "Correlation of the joints' heat maps, by action (Fig. 6)",
        "Top: the network's input with the joints it finds. Middle: M Mᵀ, the products of every two maps before the "
        "relation extractor; red where both are high (or low) in the same places, blue where one is high and the other "
        f"low; each matrix has its own scale. Bottom: the same divided by the lengths of both maps.{_marked(subject)} "
        f"Each frame is the last of a clip of {subject.config.data.clip_length}; two videos of an action stand side by "
        "side where there are two.",
        _likeness_in_words(numbers),
        subject.source,
    )
    return figure


def _likeness_in_words(numbers: Likeness) -> str:
    if np.isnan(numbers.same_action) or np.isnan(numbers.other_action):
        return "Whether matrices of one action are alike takes two videos of one action, and two actions, to tell."
    return (
        "Are matrices of one action alike? Mean correlation coefficient of two scaled matrices without their "
        f"diagonal, over {several(numbers.frames, 'frame')}: {numbers.same_action:.2f} for two videos of one action, "
        f"{numbers.other_action:.2f} for two of different actions."
    )


@dataclass(frozen=True, kw_only=True)
class Leaning:
    """Of all rows of W_r: those with more than 0.95 of their weight at one joint, and among these those where it is
    not the row's own joint, as shares of 1; the mean weight that joints give themselves, visible and hidden ones.
    """

    one_hot: float
    to_another: float
    own_visible: float
    own_hidden: float
    frames: int


def leaning(frames: list[Inside]) -> Leaning:
    """Where the rows of W_r lean."""
    weights = np.stack([inside.weights.double().numpy() for inside in frames])
    own = np.diagonal(weights, axis1=1, axis2=2)
    one_hot = weights.max(axis=2) > _ONE_HOT
    another = weights.argmax(axis=2) != np.arange(weights.shape[1])
    visible, hidden = np.stack([i.visible for i in frames]), np.stack([i.hidden for i in frames])

    def mean(values: np.ndarray, chosen: np.ndarray) -> float:
        return float(values[chosen].mean()) if chosen.any() else float("nan")

    return Leaning(
        one_hot=float(one_hot.mean()),
        to_another=mean(another, one_hot),
        own_visible=mean(own, visible),
        own_hidden=mean(own, hidden),
        frames=len(frames),
    )


def frames_with_hidden(subject: Subject, number: int) -> list[tuple[int, int]]:
    """Track and clip of the frames, each the last of its clip, that `_CHOSEN` describes."""
    places = [(t, c) for t in range(len(subject.tracks)) for c in range(len(subject.clips_of(t)))]
    counts = [int(hidden_joints(subject.tracks[t])[subject.clips_of(t)[c]].sum()) for t, c in places]
    actions = [subject.tracks[track].action for track, _ in places]
    marks = telling(counts, len(subject.skeleton.joints))
    return [places[place] for place in best_of_each(marks, actions, number)]


def relations(subject: Subject, number: int) -> Figure:
    """Fig. 7: one row per frame."""
    frames = [subject.look(*place) for place in frames_with_hidden(subject, number)]
    figure = Figure(figsize=(13, 4.7 * len(frames) + 1.3), layout="constrained")
    grid = figure.subplots(len(frames), 3, squeeze=False, width_ratios=(0.8, 1, 1))
    for panels, inside in zip(grid, frames):
        plots.relation_row(figure, panels, inside, subject.skeleton, _title(inside))
    numbers = leaning(subject.counted)
    hidden = "" if np.isnan(numbers.own_hidden) else f", {percent(numbers.own_hidden)} where it is hidden"
    entitle(
        figure,
        "Correlation matrix and relational weights W$_r$ (Fig. 7)",
        "Left: the network's input with the joints it finds. Middle: the products of every two maps, red where both "
        "are high (or low) in the same places. Right: each row of the middle as shares of 100 %, which say how much "
        f"of each joint's map is mixed into the row's; numbers are per cent.{_marked(subject)} {subject.choice}",
        f"Over {several(numbers.frames, 'frame')}: {percent(numbers.one_hot)} of the rows have more than "
        f"{_ONE_HOT:g} of their weight at one joint, and in {percent(numbers.to_another)} of these it is not the "
        f"row's own. A joint gives itself {percent(numbers.own_visible)} on average where it is visible{hidden}. "
        "Whether the weights help to find joints is another question, which this figure cannot answer.",
        subject.source,
    )
    return figure


@dataclass(frozen=True, kw_only=True)
class BeforeAfter:
    """PCK (torso, pooled over joints) of the maps' peaks before the relation extractor and after it, as shares of 1;
    `joints` that were counted.
    """

    before: float
    after: float
    joints: int


def before_after(frames: list[Inside], subject: Subject) -> dict[str, BeforeAfter]:
    """By "visible" and "hidden"; frames whose torso is not labelled are left out."""
    found: dict[str, list[np.ndarray]] = {"visible": [], "hidden": []}
    for inside in frames:
        size = torso_sizes(inside.truth[None], inside.labelled[None], subject.skeleton)[0]
        if np.isnan(size):
            continue
        hits = np.stack(
            [
                peak_distance(maps, inside.truth, stride=inside.cell) <= GAMMA * size
                for maps in (inside.pseudo, inside.heatmaps)
            ]
        )
        for name, chosen in (("visible", inside.visible), ("hidden", inside.hidden)):
            found[name].append(hits[:, chosen])
    shares = {}
    for name, parts in found.items():
        hits = np.concatenate([np.zeros((2, 0), dtype=bool), *parts], axis=1)
        before, after = hits.mean(axis=1).tolist() if hits.size else (float("nan"), float("nan"))
        shares[name] = BeforeAfter(before=before, after=after, joints=hits.shape[1])
    return shares


def maps_before_and_after(subject: Subject, number: int) -> Figure:
    """Fig. 8: every joint's map, frame below frame."""
    frames = [subject.look(*place) for place in frames_with_hidden(subject, number)]
    blocks, tiles = plots.map_grid(subject.skeleton)
    figure = Figure(figsize=(13, (27.5 / tiles * blocks + 0.3) * len(frames) + 1.2), layout="constrained")
    parts = figure.subfigures(len(frames), 1, squeeze=False)[:, 0]
    for part, inside in zip(parts, frames):
        part.suptitle(_title(inside), fontsize=11, x=0.01, ha="left")
        plots.map_rows(part.subplots(2 * blocks, tiles, squeeze=False), inside, subject.skeleton)
    width, height = subject.codec.input_size
    framed = " A joint that the label calls hidden has a dashed orange frame." if subject.hides else ""
    numbers = before_after(subject.counted, subject)
    shares = "; ".join(
        f"{name} joints ({found.joints}): {percent(found.before)} before, {percent(found.after)} after"
        for name, found in numbers.items()
        if found.joints
    )
    entitle(
        figure,
        "Heat maps before and after the relation extractor (Fig. 8)",
        "Bright: the joint may be there. Each map is scaled to its own brightest point and lies over the network's "
        "input. The white cross is the true place, the number the distance of the brightest point from it in pixels of "
        f"this {width}x{height} input.{framed} {subject.choice}",
        f"Peaks within {GAMMA:g} torso sizes of the truth, over {several(len(subject.counted), 'frame')}: {shares}. "
        "After the extractor comes its normalisation; what the network would find without both is not known from this.",
        subject.source,
    )
    return figure


def _title(inside: Inside) -> str:
    return f"{heading(inside.action, inside.name)}, frame {inside.frame + 1}"


def _marked(subject: Subject) -> str:
    """What the triangles beside matrices mean, where there are any."""
    return f" {_HIDDEN}" if subject.hides else ""
