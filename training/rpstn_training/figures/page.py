"""index.html of `rpstn demo`."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..data.records import Skeleton, Track
from ..evaluation import Evaluation
from .inside import Inside

_STYLE = """
body { font: 17px/1.55 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.6rem; } img, video { max-width: 100%; height: auto; }
figure { margin: 1rem 0; } figcaption { color: #555; font-size: .93em; }
.big { display: flex; gap: 2.5rem; flex-wrap: wrap; margin: 1.2rem 0; } .big b { display: block; font-size: 2.3rem; }
.flow { display: flex; align-items: stretch; gap: .35rem; flex-wrap: wrap; margin: 1rem 0; }
.flow div { flex: 1 1 7.5rem; border: 1px solid #bbb; border-radius: .5rem; padding: .6rem .8rem; font-size: .92em; }
.flow div.new { border: 2px solid #0072b2; } .flow span { align-self: center; color: #777; font-size: 1.4rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page says, out of the evaluation and the training; `score` and `occluded` in percent."""

    score: float
    occluded: float | None
    gamma: float
    clips: int
    frames: int
    joints: int
    epochs: int
    minutes: float
    chosen_on: str
    action: str
    hidden: Sequence[str]
    leans: str
    table: str

    @classmethod
    def of(
        cls,
        evaluation: Evaluation,
        config: Config,
        rows: Sequence[Mapping[str, Any]],
        inside: Inside,
        skeleton: Skeleton,
        tracks: Sequence[Track],
        chosen_on: str,
    ) -> "Facts":
        pck = evaluation.table.rows
        hidden = inside.labelled & ~inside.visible
        names = [name.replace("_", " ") for name in skeleton.joints]
        return cls(
            score=pck["person"]["Mean"],
            occluded=pck["occluded, person"]["Mean"] if "occluded, person" in pck else None,
            gamma=config.eval.gamma,
            clips=len(tracks),
            frames=sum(int(found.predicted.sum()) for found in evaluation.predictions),
            joints=len(names),
            epochs=len(rows),
            minutes=sum(row["seconds"] for row in rows) / 60,
            chosen_on=chosen_on,
            action=inside.action.replace("_", " "),
            hidden=[name for name, is_hidden in zip(names, hidden) if is_hidden],
            leans=_strongest_lean(inside, names),
            table=evaluation.text,
        )


def _strongest_lean(inside: Inside, names: Sequence[str]) -> str:
    """The joint that takes most from another one, in words."""
    others = inside.weights.clone()
    others.fill_diagonal_(0)
    joint, source = divmod(int(others.argmax()), len(names))
    share = 100 * float(others[joint, source])
    return f"the row of the {names[joint]} takes {share:.0f} % of its weight from the {names[source]}"


def page(facts: Facts) -> str:
    """The page; pictures and videos lie beside it."""
    f = facts
    occluded = "" if f.occluded is None else f"<div><b>{f.occluded:.1f} %</b>of the hidden joints</div>"
    why = "chosen because a joint is hidden and most are found" if f.hidden else "where most joints are found"
    hidden = f"Hidden in this frame: {html.escape(', '.join(f.hidden))}. " if f.hidden else ""
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
<p>This model looks at a video frame by frame and says where {f.joints} joints of a person are. It was trained
here, from nothing, in {f.minutes:.1f} minutes ({f.epochs} rounds through drawn clips of people moving), and
then tried on {f.clips} clips ({f.frames:,} frames) that it had never seen. Which state of the training was kept was
decided on other clips, {html.escape(f.chosen_on)}.</p>
<div class="big">
<div><b>{f.score:.1f} %</b>of the visible joints found</div>
{occluded}
</div>
<p>A joint counts as found when it lies within {f.gamma:g} of the person's size from its true place
(PCK@{f.gamma:g}, averaged over the kinds of joints). The people are synthetic, so the truth is known exactly,
behind obstacles too.</p>

<h2>What it sees</h2>
<figure>
<video controls loop muted autoplay playsinline width="640">
<source src="overlay.webm" type="video/webm">
Your browser does not play this video; <a href="overlay.mp4">overlay.mp4</a> opens in a video player.
</video>
<figcaption>Predictions on held-out clips. Left limbs are orange, right ones blue; a hollow joint is one the
model is unsure of. For a video player: <a href="overlay.mp4">overlay.mp4</a>.</figcaption>
</figure>
<figure>
<img src="predictions.png" alt="Pairs of pictures: the true skeleton on the left, the predicted one on the right.">
<figcaption>The middle frame of one clip of each action: truth left (hollow: hidden in the picture), prediction
right. A red cross is a joint that does not count as found, its line leads to where it belongs.</figcaption>
</figure>

<h2>How it works</h2>
<p>For every joint the network draws a <em>heat map</em>: a picture that is bright where the joint may be. The
paper has two ideas about what to do with them.</p>
<div class="flow">
<div>Heat maps and features of <strong>this frame</strong></div><span>&rarr;</span>
<div class="new"><strong>1. Carry the pose on.</strong> They become small search patterns for this
person</div>
<span>&rarr;</span>
<div>The patterns are looked for in the <strong>next frame</strong>: rough heat maps</div><span>&rarr;</span>
<div class="new"><strong>2. Relate the joints.</strong> A mixture of the maps that it agrees with is added to each
map</div>
<span>&rarr;</span>
<div>The peaks of these maps are the joints. On to the frame after</div>
</div>
<p>So a joint that disappears behind an obstacle is still looked for where the pose was a moment ago. Whether the second
idea finds more joints is open: no number here shows it, as this network was not trained without it.</p>

<h2>The joints' relations in one frame</h2>
<figure>
<img src="relation.png" alt="A frame, the correlation matrix of its joints' heat maps, and the weights made of it.">
<figcaption>Left: a frame of "{html.escape(f.action)}", {why}. Middle: how much
the heat maps of two joints overlap: red where they are bright in the same places, blue where one is bright and
the other dark. Right: each row as shares of 100&nbsp;% (numbers in per cent): which maps a
joint listens to. Here {html.escape(f.leans)}. This is Fig. 7 of the paper.</figcaption>
</figure>

<h2>Heat maps before and after the relation step</h2>
<figure>
<img src="heatmaps.png" alt="Heat maps of every joint before and after the relation extractor, over the frame.">
<figcaption>The same frame. {hidden}The white cross is the true place, the number the distance of the brightest
point from it in pixels of the network's small input. Each map is scaled to its own brightest point. This is
Fig. 8 of the paper.</figcaption>
</figure>

<h2>Scores</h2>
<figure>
<img src="scores.png" alt="Bars: share of joints found by part of the body, visible and occluded joints apart.">
<figcaption>Head to ankles, and the mean over all joints. Wrists move fastest and are the hardest.</figcaption>
</figure>
<figure>
<img src="training.png" alt="Loss and share of joints found, by epoch.">
<figcaption>How the training went.</figcaption>
</figure>
<details><summary>The full table, with its protocol</summary>
<pre>{html.escape(f.table)}</pre>
</details>

<h2>Now with your own video</h2>
<pre>rpstn predict VIDEO.mp4 --weights run/best.pt --out poses</pre>
<p>The drawn people of this page do not replace real ones: train on Penn Action or on your own labels for that
(<code>rpstn train --help</code>).</p>
</body>
</html>
"""
