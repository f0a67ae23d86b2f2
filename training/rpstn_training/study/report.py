"""What a study found: differences with intervals, tables in words, and plots."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..figures.plots import write_figure
from ..files import write_json, write_text
from ..versions import versions
from . import REAL_SETS, real
from .arms import GIVEN, PLACES, VISIBLE, Arm, Runner, arms, memory_names
from .heads import CONTROL
from .plan import GAMMA, IMAGE, VIDEO, StudyConfig
from .statistics import Counts, Difference, paired_difference

_RESAMPLING_SEED = 0
PART_NAMES = {
    GIVEN: "Heads on given maps: true poses, spoilt at random",
    IMAGE: "Heads on the maps of the image network, every frame by itself",
    VISIBLE: "Heads on the maps of the image network, by the loss of visible joints alone",
    VIDEO: "Heads on the maps of the video network, with the propagator",
    "fine-tuning": "Relations in the image network, all of it trained on",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """An arm over its seeds, by kind of joints: shares between 0 and 1, and differences to its control."""

    name: str
    counts: Mapping[str, Counts]
    differences: Mapping[str, Difference]


def write(runner: Runner) -> tuple[Path, str]:
    """study.md, results.json, memory.png and relation.png in the study's folder; the text's path, and the text.

    Of the arms that have been run: one that lacks a seed is left out, and the text says how many there are.
    Raises UserError where there is none, not even the image network of the first budget.
    """
    from .plots import memory_curves, relation_bars

    listed = arms(runner.study)
    results = {arm: found for arm in listed if (found := runner.read(arm)) is not None}
    if not memory_shares(results, runner.study).get(IMAGE):
        raise UserError(
            f"{runner.folder}: expected the results of a study, got {len(results)} of {len(listed)} arms; run it first"
        )
    rows = {part: rows_of(results, part, runner.study) for part in PART_NAMES}
    text = _text(runner, results, rows)
    write_json(runner.folder / "results.json", _plain(results, rows, runner.study))
    write_text(runner.folder / "study.md", text)
    write_figure(runner.folder / "relation.png", relation_bars(rows))
    write_figure(runner.folder / "memory.png", memory_curves(memory_shares(results, runner.study)))
    return runner.folder / "study.md", text


def rows_of(results: Mapping[Arm, Any], part: str, study: StudyConfig) -> list[Row]:
    """The arms of heads at a place, or of "fine-tuning", each with its difference to the control of the same seeds."""
    chosen = [
        arm
        for arm in results
        if (arm.part == "fine-tuning" if part == "fine-tuning" else (arm.part, arm.place) == ("heads", part))
    ]
    seeds = study.fine_tuning.seeds if part == "fine-tuning" else study.heads.seeds
    names = [name for name, number in Counter(arm.name for arm in chosen).items() if number == seeds]
    counts = {name: _counts([results[arm] for arm in chosen if arm.name == name]) for name in names}
    control = counts.get(CONTROL)
    return [
        Row(
            name=name,
            counts=of_arm,
            differences={}
            if control is None or name == CONTROL
            else {joints: difference(of_arm[joints], control[joints], study) for joints in of_arm},
        )
        for name, of_arm in counts.items()
    ]


def _counts(found: Sequence[Mapping[str, Any]]) -> dict[str, Counts]:
    """By kind of joints the counts of several seeds."""
    return {
        joints: Counts(
            hits=np.array([one["counts"][joints]["hits"] for one in found]),
            counted=np.array([one["counts"][joints]["counted"] for one in found]),
        )
        for joints in found[0]["counts"]
    }


def difference(arm: Counts, control: Counts, study: StudyConfig) -> Difference:
    return paired_difference(arm, control, resamples=study.score.resamples, seed=_RESAMPLING_SEED)


def primary(rows: Mapping[str, Sequence[Row]], study: StudyConfig) -> list[tuple[str, str, Difference]]:
    """The comparisons that the configuration fixes, wherever both arms stand: comparison, part, difference."""
    found = []
    for pair in study.score.primary:
        first, second = pair.split(" - ")
        for part, listed in rows.items():
            of_arm = {row.name: row.counts for row in listed}
            joints = study.score.joints if part != GIVEN else "hidden"
            if first in of_arm and second in of_arm:
                found.append((pair, part, difference(of_arm[first][joints], of_arm[second][joints], study)))
    return found


def memory_shares(results: Mapping[Arm, Any], study: StudyConfig) -> dict[str, dict[int, dict[str, Counts]]]:
    """By network and budget of epochs the counts, where all seeds are there."""
    shares: dict[str, dict[int, dict[str, Counts]]] = {}
    for name in memory_names(study):
        for budget in study.memory.budgets:
            seeds = [Arm("memory", name, str(budget), seed) for seed in range(study.memory.seeds)]
            if all(arm in results for arm in seeds):
                shares.setdefault(name, {})[budget] = _counts([results[arm] for arm in seeds])
    return shares


def points(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def in_words(found: Difference) -> str:
    """A difference in points with its interval where there is one, bold where the interval leaves zero out."""
    if np.isnan(found.low):
        return f"{100 * found.value:+.1f}"
    text = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"**{text}**" if found.clear else text


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(line) + " |" for line in lines),
    ]


_COLUMNS = {"hidden": "hidden joints", "visible": "visible joints", "patches": "joints under patches"}
_OF_GIVEN = {"hidden": "spoilt joints", "visible": "other joints"}
_OF_REAL = {
    "patches": "joints under patches",
    "without": "the same without patches",
    "visible": "other visible joints",
}


def _cell(row: Row, joints: str) -> str:
    if joints not in row.counts:
        return "-"
    shift = f" ({in_words(row.differences[joints])})" if joints in row.differences else ""
    return f"{points(row.counts[joints].share)}{shift}"


def _relation_tables(rows: Mapping[str, Sequence[Row]], study: StudyConfig) -> list[str]:
    lines: list[str] = []
    for part, listed in rows.items():
        if not listed:
            continue
        seeds = study.fine_tuning.seeds if part == "fine-tuning" else study.heads.seeds
        columns = _OF_GIVEN if part == GIVEN else _COLUMNS
        lines += [f"### {PART_NAMES[part]}", "", f"{seeds} seeds.", "", *_rows_table(listed, columns), ""]
    return lines


def _rows_table(listed: Sequence[Row], columns: Mapping[str, str]) -> list[str]:
    return _table(
        ["arm", *columns.values()],
        [[row.name, *(_cell(row, joints) for joints in columns)] for row in listed],
    )


def _real_tables(runner: Runner) -> list[str]:
    """What the arms find on the sets that have been named."""
    study, lines = runner.study, []
    for name in REAL_SETS:
        path = real.path_of(runner.folder, name)
        if not path.is_file():
            continue
        kept = json.loads(path.read_text(encoding="utf-8"))
        results = {
            arm: {"counts": kept["counts"][arm.key]} for arm in arms(study) if arm.key in kept["counts"]
        }
        lines += [f"### Joints under patches of {kept['frames']}", ""]
        for part, title in PART_NAMES.items():
            if listed := rows_of(results, part, study):
                lines += [f"{title}:", "", *_rows_table(listed, _OF_REAL), ""]
        lines += ["Networks with and without a memory:", "", *_memory_table(results, study, _OF_REAL), ""]
    return lines


def _memory_table(results: Mapping[Arm, Any], study: StudyConfig, columns: Mapping[str, str]) -> list[str]:
    shares = memory_shares(results, study)
    lines = []
    for name, by_budget in shares.items():
        for budget, counts in by_budget.items():
            image = shares[IMAGE].get(budget)
            cells = []
            for joints in columns:
                text = points(counts[joints].share)
                if name != IMAGE and image is not None:
                    text += f" ({in_words(difference(counts[joints], image[joints], study))})"
                cells.append(text)
            spent = [
                results[Arm("memory", name, str(budget), seed)].get("processor_seconds")
                for seed in range(study.memory.seeds)
            ]
            lines.append([name, str(budget), *cells, *([] if None in spent else [f"{np.mean(spent):.0f}"])])
    head = ["network", "epochs", *columns.values(), "processor seconds"]
    return _table(head[: len(lines[0])], lines)


def _controls_table(results: Mapping[Arm, Any]) -> list[str]:
    """Trained JREs with other matrices than their own."""
    lines = []
    for place in PLACES:
        for name in ("jre", "jre_random"):
            found = [
                one
                for arm, one in results.items()
                if (arm.part, arm.place, arm.name) == ("heads", place, name)
            ]
            if not found:
                continue
            own = _counts(found)["hidden"].share
            controls = [
                _counts([{"counts": one["controls"][control]} for one in found])["hidden"].share
                for control in found[0]["controls"]
            ]
            lines.append([place, name, points(own), *map(points, controls)])
    if not lines:
        return []
    head = ["maps", "arm", "its own W_r", "another frame's W_r", "W_r = identity", "relation left out"]
    return ["### Trained relations with other matrices", "", *_table(head, lines), ""]


def _text(runner: Runner, results: Mapping[Arm, Any], rows: Mapping[str, Sequence[Row]]) -> str:
    study = runner.study
    seconds = sum(one["seconds"] for one in results.values())
    busy = sum(one["processor_seconds"] for one in results.values())
    test = runner.test
    found = [[pair, PART_NAMES[part], in_words(shift)] for pair, part, shift in primary(rows, study)]
    head = ["comparison", "where", f"difference in points, {study.score.joints} joints"]
    lines = [
        f"PCK@{GAMMA:g} of the torso size in percent: joints found of all joints of all {len(test)} frames of "
        f"{test.tracks} test videos. In brackets differences to the first arm in points with 95 % intervals, by "
        "bootstrap over videos and seeds; bold where zero is outside.",
        "",
        f"{len(results)} of {len(arms(study))} arms, which took {seconds / 60:.1f} minutes, {busy / 60:.1f} of them "
        f"processor time, at commit {_commits(results)}, PyTorch {versions()['torch']}, on {runner.device}.",
        "",
        "### Primary comparisons",
        "",
        *_table(head, found),
        "",
        *_relation_tables(rows, study),
        *_controls_table(results),
        "### Memory: networks with and without one",
        "",
        *_memory_table(results, study, _COLUMNS),
        "",
        *_real_tables(runner),
    ]
    return "\n".join(lines)


def _commits(results: Mapping[Arm, Any]) -> str:
    return ", ".join(sorted({str(one.get("commit")) for one in results.values()}))


def _plain(
    results: Mapping[Arm, Any], rows: Mapping[str, Sequence[Row]], study: StudyConfig
) -> dict[str, Any]:
    return {
        "versions": versions(),
        "primary": [
            {
                "comparison": pair,
                "where": part,
                "difference": shift.value,
                "interval": [shift.low, shift.high],
            }
            for pair, part, shift in primary(rows, study)
        ],
        "arms": {arm.key: one for arm, one in results.items()},
    }
