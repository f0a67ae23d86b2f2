"""The paper's Fig. 11: PCK over its threshold, several runs in one plot.

Read from the files that `rpstn eval` and `rpstn train` write (eval.json), whose sweep holds both normalisers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..data.forms import jsonfiles
from ..errors import UserError
from ..scores.pck import GAMMAS
from .panels import entitle
from .subject import commit

NORMALISERS = ("torso", "person")
# Okabe and Ito's colours, without the yellow that white paper swallows, and a mark for each.
_LOOKS = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#e69f00", "v"),
    ("#56b4e9", "P"),
    ("#000000", "X"),
)
# Panel: its lines, column of the table, how the line is drawn.
_PANELS = {
    "Elbows and wrists": (("elbows", "Elb", "-"), ("wrists", "Wri", ":")),
    "Knees and ankles": (("knees", "Knee", "-"), ("ankles", "Ank", ":")),
    "Mean over all joints": (("mean", "Mean", "-"),),
}
_COLUMNS = [column for lines in _PANELS.values() for _, column, _ in lines]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluation: PCK in percent at the thresholds `GAMMAS` by column of its table, NaN where nothing was counted;
    `protocol` its lines on data and way, `rule` what the normaliser is, and `weights`, each in words.
    """

    name: str
    curves: dict[str, np.ndarray]
    protocol: tuple[str, ...]
    rule: str
    weights: str
    commit: str


def read_runs(given: Sequence[str], normaliser: str) -> list[Run]:
    """Runs named as on the command line: a folder with eval.json, or such a file, with NAME= before it or not.

    Raises UserError naming the file that is missing or is no evaluation of PCK.
    """
    if len(given) > len(_LOOKS):
        raise UserError(
            f"--runs: expected {len(_LOOKS)} runs at most, which colours can tell apart, got {len(given)}"
        )
    named = [_named(text) for text in given]
    for name, count in Counter(name for name, _ in named).items():
        if count > 1:
            raise UserError(
                f"--runs: expected a name of its own for each run, got {count} called {name}; give them as NAME=PATH"
            )
    return [_read(name, path, normaliser) for name, path in named]


def _named(text: str) -> tuple[str, Path]:
    name, equals, rest = text.partition("=")
    path = Path(rest if equals and not Path(text).exists() else text)
    file = path / "eval.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file}: expected the scores that rpstn eval writes, found no file; evaluate the run first"
        )
    stem = file.parent.name if file.name == "eval.json" else file.stem
    return (name if equals and path == Path(rest) else stem), file


def _read(name: str, path: Path, normaliser: str) -> Run:
    content = jsonfiles.load(path)
    try:
        rows = content["sweep"]["rows"]
        curves = {column: _curve(rows, normaliser, column) for column in _COLUMNS}
        rules = [line for line in content["sweep"]["protocol"] if line.startswith(f"{normaliser}, ")]
        return Run(
            name=name,
            curves=curves,
            protocol=tuple(content["protocol"][:2]),
            rule=rules[0].partition(": ")[2],
            weights=str(content.get("weights", path.parent)),
            commit=commit(content["versions"]),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: expected the scores that rpstn eval writes, with PCK of {', '.join(_COLUMNS)} by {normaliser} "
            f"size at the thresholds 0.1 to 1, got something else ({error!r}); evaluate the run again"
        ) from error


def _curve(rows: dict[str, Any], normaliser: str, column: str) -> np.ndarray:
    values = [rows[f"{normaliser}, {gamma:g}"][column] for gamma in GAMMAS]
    return np.array([np.nan if value is None else float(value) for value in values])


def thresholds(runs: Sequence[Run], normaliser: str) -> Figure:
    """Fig. 11: upper limbs, lower limbs, the mean."""
    figure = Figure(figsize=(13, 5.2 + 0.25 * len(runs)), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (title, lines) in zip(panels, _PANELS.items()):
        for run, (color, mark) in zip(runs, _LOOKS):
            for _, column, style in lines:
                label = f"{run.name} ({run.curves[column][GAMMAS.index(0.2)]:.1f} at 0.2)"
                axes.plot(
                    GAMMAS, run.curves[column], style, color=color, marker=mark, markersize=5, label=label
                )
        axes.set(
            title=title, xlabel=f"threshold, share of the {normaliser} size", xticks=GAMMAS, ylim=(0, 102)
        )
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            styles = [Line2D([], [], color="black", linestyle=style, label=word) for word, _, style in lines]
            axes.legend(handles=styles, loc="lower right", fontsize=9)
        else:
            axes.legend(loc="lower right", fontsize=9)
    panels[0].set_ylabel("joints found (PCK, %)")
    rules = list(dict.fromkeys(run.rule for run in runs))
    entitle(
        figure,
        f"PCK over its threshold, by {normaliser} size (Fig. 11)",
        "Each colour and mark is one run, named in the right panel with its mean at 0.2. A joint is found when it "
        f"lies within the threshold times the {normaliser} size from its label. Size: {'; '.join(rules)}.",
        *_sources(runs),
        f"Drawn at commit {commit()}.",
    )
    return figure


def _sources(runs: Sequence[Run]) -> list[str]:
    """Protocol and weights of the runs; a protocol that all share stands once."""
    where = [f"{run.name}: weights {run.weights}, scored at commit {run.commit}." for run in runs]
    if len({run.protocol for run in runs}) == 1:
        return [f"{line}." for line in runs[0].protocol] + where
    return [
        "The runs were not scored alike, so their lines cannot be compared as they stand:",
        *(f"{text} {'. '.join(run.protocol)}." for text, run in zip(where, runs)),
    ]
