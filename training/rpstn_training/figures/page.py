"""index.html of `rpstn demo`: every sentence that judges is made of the numbers beside it."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..words import listed, several
from .inside import Inside
from .measures import NAMED, Case, Change, Sides, at
from .panels import spaced

_STYLE = """
* { box-sizing: border-box; }
body { font: 17px/1.55 system-ui, sans-serif; color: #222; background: #fff; max-width: 64rem; margin: 2rem auto;
       padding: 0 1rem; overflow-wrap: break-word; }
h1 { line-height: 1.2; } h2 { margin-top: 2.6rem; } img, video { max-width: 100%; height: auto; display: block; }
figure { margin: 1rem 0; min-width: 0; } figcaption { color: #555; font-size: .93em; }
.big { display: flex; gap: 1rem 2.5rem; flex-wrap: wrap; margin: 1.2rem 0; }
.big div { flex: 1 1 13rem; } .big b { display: block; font-size: 2.2rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1.5rem; }
.flow { display: flex; align-items: stretch; gap: .35rem; flex-wrap: wrap; margin: 1rem 0; }
.flow div { flex: 1 1 7.5rem; border: 1px solid #bbb; border-radius: .5rem; padding: .6rem .8rem; font-size: .92em; }
.flow div.new { border: 2px solid #0072b2; } .flow span { align-self: center; color: #777; font-size: 1.4rem; }
.wide, .broad a { overflow-x: auto; } .broad a { display: block; } .broad img { min-width: 46rem; }
 table { border-collapse: collapse; font-size: .93em; }
th, td { padding: .25rem .7rem .25rem 0; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; min-width: 8rem; } th { font-weight: 600; vertical-align: bottom; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
pre.line { white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid #bbb; color: #555; font-size: .93em; }
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One frame of an action in `file`: truth and prediction, found by a rule that `kind` names."""

    action: str
    kind: str
    case: Case
    found: int
    labelled: int
    file: str


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """A network of the comparison: what its training was and what it found, in percent at the page's tolerance."""

    title: str
    minutes: float
    epochs: int
    parameters: int
    torso: float
    hidden_torso: float
    person: float


@dataclass(frozen=True, kw_only=True)
class Real:
    """A real clip: what was looked for in it, in sentences, and the files drawn."""

    sentences: Sequence[str]
    video: str
    picture: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page says. Scores are percent; a curve is one of `measures.curve`, by "visible joints" and "hidden
    joints". `torso_share` is the torso's size as a share of the person's. `before_after` has a curve before the
    relation step and one after it, by torso size.
    """

    gamma: float
    clips: int
    frames: int
    joints: int
    epochs: int
    minutes: float
    chosen_on: str
    person: Mapping[str, np.ndarray]
    torso: Mapping[str, np.ndarray]
    torso_ends: Sequence[str]
    torso_share: float
    sides: Sides
    middle: Case
    shown: Sequence[Shown]
    before_after: Mapping[str, tuple[np.ndarray, np.ndarray]]
    changes: Mapping[str, Change]
    inside: Inside
    names: Sequence[str]
    arms: Sequence[ArmScore]
    real: Real | None
    table: str
    settings: str
    versions: Mapping[str, str | None]
    predict_command: str
    compare_command: str
    real_command: str


def page(facts: Facts) -> str:
    """The page; pictures and videos lie beside it."""
    f = facts
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RPSTN: joints in videos, and the relations between them</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Finding a person's joints in a video</h1>
<p>This model looks at a video frame by frame and says where {
        f.joints
    } joints of a person are. It was trained here, from
nothing, in {f.minutes:.1f} minutes ({
        several(f.epochs, "round")
    } through drawn clips of people moving), and then tried
on {several(f.clips, "clip")} ({
        several(f.frames, "frame")
    }) that it had never seen. Which state of the training was
kept was decided on other clips, {
        _text(f.chosen_on)
    }. The people are drawn, so the truth is known exactly, behind
obstacles too; it has never seen a real person.</p>

<h2>How near are the joints?</h2>
{_nearness(f)}

<h2>What it sees</h2>
{
        _figure_of_video(
            "overlay.mp4",
            "Predictions on held-out clips, of each action the one whose error is in the middle. "
            "Left limbs are orange, right ones blue; a hollow joint is one the model is unsure of.",
        )
    }

<h2>Typical and worst</h2>
<p>Of each action two frames, chosen by a rule: the one whose mean error is the middle one of all its frames, and the
one with the largest. Truth left (hollow: hidden in the picture), prediction right. A red cross is a joint more than 0.1
of the person's size from its place; its line leads there.</p>
<div class="pair">
{_cases(f.shown)}
</div>

<h2>Part by part, action by action</h2>
<div class="pair">
{
        _figure(
            "parts.png",
            "Bars: share of joints found by part of the body, visible and hidden joints apart.",
            f"Found within {f.gamma:g} of the torso's size, head to ankles.",
        )
    }
{
        _figure(
            "actions.png",
            "Bars: share of joints found by action.",
            f"Found within {f.gamma:g}, every action of the held-out clips. Hidden joints where an action has some.",
        )
    }
</div>
<p>{_sides(f.sides)}</p>

<h2>How it works</h2>
{_FLOW}

<h2>Does the relation step help?</h2>
{_relation_step(f)}

<h2>The joints' relations in one frame</h2>
{_inside(f)}

<h2>Does the whole help? The same clips, as much training</h2>
{_comparison(f)}

<h2>A real clip</h2>
{_real(f)}

<h2>The training</h2>
{_figure("training.png", "Loss and share of joints found, by epoch.", "How the training went.")}
<details><summary>The full table, with its protocol</summary>
<pre>{_text(f.table)}</pre>
</details>

<h2>Now with your own video</h2>
<pre class="line">{_text(f.predict_command)}</pre>
<p>The drawn people of this page do not replace real ones: train on real clips with labels, or take public weights.</p>

<footer>
<p>{_foot(f.versions)}</p>
<details><summary>All settings</summary>
<pre>{_text(f.settings)}</pre>
</details>
</footer>
</body>
</html>
"""


_FLOW = """<p>For every joint the network draws a <em>heat map</em>: a picture that is bright where the joint may be.
The paper has two ideas about what to do with them.</p>
<div class="flow">
<div>Heat maps and features of <strong>this frame</strong></div><span>&rarr;</span>
<div class="new"><strong>1. Carry the pose on.</strong> They become small search patterns for this person</div>
<span>&rarr;</span>
<div>The patterns are looked for in the <strong>next frame</strong>: rough heat maps</div><span>&rarr;</span>
<div class="new"><strong>2. Relate the joints.</strong> A mixture of the maps that it agrees with is added to each
map</div>
<span>&rarr;</span>
<div>The peaks of these maps are the joints. On to the frame after</div>
</div>
<p>So a joint that disappears behind an obstacle is still looked for where the pose was a moment ago. Whether the two
ideas find more joints is asked of the numbers below.</p>"""


def _nearness(f: Facts) -> str:
    """What a tolerance is, and the scores at several."""
    kinds = list(f.person)
    rows = [
        [f"{kind}, {size}", *(f"{at(curve[kind], tolerance):.1f}" for tolerance in NAMED)]
        for curve, size in ((f.person, "person's size"), (f.torso, "torso's size"))
        for kind in kinds
    ]
    visible = f.person[kinds[0]]
    numbers = "\n".join(
        f"<div><b>{at(visible, tolerance):.1f} %</b>of the visible joints within {tolerance:g} of the person's "
        "size</div>"
        for tolerance in NAMED
    )
    return f"""<div class="big">
{numbers}
</div>
<p>A joint counts as found when it lies within a tolerance of its true place, so a score means nothing without it. The
person's size is the longer side of the box about the whole body; {
        NAMED[-1]:g} of it, the tolerance that is usually
quoted, is wide: the dashed circles of the picture. The torso, from {_text(" to ".join(f.torso_ends))}, is
{f.torso_share:.2f} of it here (median), and a score by it says more.</p>
<div class="pair">
{
        _figure(
            "tolerance.png",
            "A person with circles of two tolerances about the true joints, and the joints found.",
            f"Solid circles: {NAMED[0]:g} of the person's size, dashed: {NAMED[-1]:g}. Discs: joints found, lines to "
            f"where they belong. Of all frames this is the one in the middle by its mean error, {f.middle.error:.2f} "
            "of the person's size.",
        )
    }
{
        _figure(
            "curve.png",
            "Share of joints found over the tolerance, visible and hidden joints.",
            "The score at every tolerance. Hidden joints are those that something in the picture covers.",
        )
    }
</div>
<div class="wide">{
        _table(["joints found, %, within", *(f"{tolerance:g}" for tolerance in NAMED)], rows)
    }</div>"""


def _cases(shown: Sequence[Shown]) -> str:
    return "\n".join(
        _figure(
            one.file,
            f"{spaced(one.action)}, {one.kind} frame: truth left, prediction right.",
            f"{_text(spaced(one.action).capitalize())}, {one.kind}: mean error {one.case.error:.2f} of the person's "
            f"size, {one.found} of {several(one.labelled, 'joint')} within 0.1.",
        )
        for one in shown
    )


def _sides(sides: Sides) -> str:
    share = sides.found / sides.truth if sides.truth else math.nan
    verdict = (
        "they fall together, as where a network cannot tell the sides"
        if share < 0.75
        else "they are about as far apart as in truth"
    )
    return (
        f"Left and right: the two joints of a pair lie {sides.found:.2f} of the person's size apart in what was found, "
        f"{sides.truth:.2f} in truth, so {verdict}. {100 * sides.swapped:.1f} % of the pairs are exchanged."
    )


def _relation_step(f: Facts) -> str:
    """Before and after over all test frames, and what that says."""
    rows = []
    for kind, (before, after) in f.before_after.items():
        first, second, change = at(before, f.gamma), at(after, f.gamma), f.changes[kind]
        rows.append(
            [kind, f"{first:.2f}", f"{second:.2f}", f"{round(second, 2) - round(first, 2):+.2f}"]
            + [f"{number:,}" for number in (change.only_before, change.only_after, change.counted)]
        )
    head = [f"within {f.gamma:g} of the torso's size", "before, %", "after, %", "change"]
    head += ["right before only", "right after only", "joints"]
    kinds_of: dict[str, list[str]] = {}
    for kind, change in f.changes.items():
        kinds_of.setdefault(_verdict(change), []).append(kind)
    verdicts = [f"{verdict} for {listed(kinds)}" for verdict, kinds in kinds_of.items()]
    return f"""<p>The brightest points of the heat maps before the relation step and after it, over all
{several(f.frames, "frame")}: the network asked twice, scored the same way.</p>
<div class="pair">
{
        _figure(
            "before_after.png",
            "Share of joints found over the tolerance, before and after the relation step.",
            "Dashed: before the step, solid: after it.",
        )
    }
<p>In this network the step makes {
        _text(listed(verdicts))
    } (joints right on one side only, compared with what a coin would
do if they were independent of each other). The network was trained with the step in it; what one without it finds is
another question, below.</p>
</div>
<div class="wide">{_table(head, rows)}</div>"""


def _verdict(change: Change) -> str:
    """What joints that changed say: the difference against twice the spread of a fair coin."""
    won, lost = change.only_after, change.only_before
    if abs(won - lost) <= 2 * math.sqrt(won + lost):
        return "no difference that can be told from chance"
    return f"things {'better' if won > lost else 'worse'}"


def _inside(f: Facts) -> str:
    inside = f.inside
    hidden = [name for name, is_hidden in zip(f.names, inside.hidden) if is_hidden]
    why = f"{'of the frames with a hidden joint ' if hidden else ''}the one with the smallest mean error"
    covered = f"Hidden in this frame: {_text(listed(hidden))}. " if hidden else ""
    relation = _figure(
        "relation.png",
        "A frame, the correlation matrix of its joints' heat maps, and the weights made of it.",
        f'Left: a frame of "{_text(spaced(inside.action))}", {why}. Middle: how much the heat maps of two joints '
        "overlap: red where they are bright in the same places, blue where one is bright and the other dark. Right: "
        "each row as shares of 100&nbsp;% (numbers in per cent): which maps a joint listens to. Here "
        f"{_text(strongest_lean(inside, f.names))}. This is Fig. 7 of the paper.",
        broad=True,
    )
    maps = _figure(
        "heatmaps.png",
        "Heat maps of every joint before and after the relation extractor, over the frame.",
        f"The same frame. {covered}The white cross is the true place, the number the distance of the brightest point "
        "from it in pixels of the network's small input. Each map is scaled to its own brightest point. This is Fig. 8 "
        "of the paper; one frame proves nothing, the plot above counts all.",
        broad=True,
    )
    return f"{relation}\n{maps}"


def strongest_lean(inside: Inside, names: Sequence[str]) -> str:
    """The joint that takes most from another one, in words."""
    others = inside.weights.clone()
    others.fill_diagonal_(0)
    joint, source = divmod(int(others.argmax()), len(names))
    share = 100 * float(others[joint, source])
    if share < 0.5:
        return "every joint listens to itself alone"
    return f"the row of the {names[joint]} takes {share:.0f} % of its weight from the {names[source]}"


def _comparison(f: Facts) -> str:
    if len(f.arms) < 2:
        return f"""<p>Whether memory and relation earn their place is told by networks that lack them, trained on the
same clips for the same time. They have not been trained here: it takes three more trainings.</p>
<pre class="line">{_text(f.compare_command)}</pre>"""
    rows = [
        [_text(arm.title), f"{arm.torso:.1f}", f"{arm.hidden_torso:.1f}", f"{arm.person:.1f}"]
        + [f"{arm.minutes:.1f}", f"{arm.epochs}", f"{arm.parameters / 1e6:.1f}"]
        for arm in f.arms
    ]
    head = [
        "network",
        "visible, torso",
        "hidden, torso",
        "visible, person",
        "minutes of training",
        "rounds",
        "million parameters",
    ]
    return f"""<p>Networks that leave something out, trained on the same clips for about as many seconds of the
processor (the minutes are the clock's: what else the machine does makes them longer); percent within {f.gamma:g}.</p>
<div class="wide">{_table(head, rows)}</div>
<p>{_text(ahead(f.arms))} One training each: other random numbers move such scores by a point or two, so a smaller
difference says nothing.</p>"""


def ahead(arms: Sequence[ArmScore]) -> str:
    """Which network found most, in a sentence per kind of joints; the first arm is the demo's own."""
    own, sentences = arms[0], []
    for kind, score in (("visible", "torso"), ("hidden", "hidden_torso")):
        known = [arm for arm in arms if not math.isnan(getattr(arm, score))]
        if own not in known:
            continue
        best = max(known, key=lambda arm: getattr(arm, score))
        value, ours = (round(getattr(arm, score), 1) for arm in (best, own))  # as in the table
        second = max((round(getattr(arm, score), 1) for arm in known if arm is not own), default=math.nan)
        gap = ours - second if best is own else value - ours
        found = (
            "no network is ahead"
            if gap == 0
            else f"the page's own network is ahead, by {gap:.1f} points"
            if best is own
            else f"\u201c{best.title}\u201d is ahead of the page's own network by {gap:.1f} points"
        )
        sentences.append(f"For {kind} joints {found} ({value:.1f} %).")
    return " ".join(sentences)


def _real(f: Facts) -> str:
    if f.real is None:
        return f"""<p>None was given. A video, or a folder of its frames, is drawn here by:</p>
<pre class="line">{_text(f.real_command)}</pre>"""
    sentences = "".join(f"<p>{_text(sentence)}</p>\n" for sentence in f.real.sentences)
    still = _figure(
        f.real.picture, "Frames of the clip with the joints found.", "Four frames, evenly spread."
    )
    return f"{sentences}{_figure_of_video(f.real.video, 'The whole clip.')}\n{still}"


def _foot(versions: Mapping[str, str | None]) -> str:
    known = {name: version for name, version in versions.items() if name != "commit" and version is not None}
    text = ", ".join(f"{name} {version}" for name, version in known.items())
    commit = versions.get("commit") or "not known (no checkout)"
    return f"Made by rpstn demo with {_text(text)}; commit {_text(commit)}."


def _figure(file: str, alt: str, caption: str, *, broad: bool = False) -> str:
    """A picture that opens in its own size; a `broad` one is moved sideways on a telephone. `caption` is HTML."""
    return f"""<figure{' class="broad"' * broad}>
<a href="{_text(file)}"><img src="{_text(file)}" alt="{_text(alt)}" loading="lazy"></a>
<figcaption>{caption}</figcaption>
</figure>"""


def _figure_of_video(file: str, caption: str) -> str:
    return f"""<figure>
<video src="{_text(file)}" controls loop muted autoplay playsinline width="640"></video>
<figcaption>{caption} As a file: <a href="{_text(file)}">{_text(file)}</a>.</figcaption>
</figure>"""


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML; "nan" is a dash."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{_dash(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<tr>{top}</tr>\n{body}\n</table>"


def _dash(cell: str) -> str:
    return "&ndash;" if cell.strip("+-") == "nan" else cell


def _text(words: str) -> str:
    return html.escape(words)
