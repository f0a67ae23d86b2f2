"""What runs here have scored, for the rows of the paper's tables: read from the eval.json of run folders, never made
up. A run is that of a row where its folder is the `output` of the row's configuration.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import Config, differences, from_dict
from ..data.sets import has_splits
from ..errors import UserError
from .rows import Column

RUNS = Path("runs")  # what the outputs of the configurations begin with
SPLITS = (1, 2, 3)

# What may differ between a row's configuration and the run without a word: where and how fast it ran.
_WITHOUT_A_WORD = ("output", "data.root", "data.split", "data.workers", "eval.batch_size", "train.device")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the runs of a row have scored.

    scores (tuple[float | None, ...] | None): in percent, by the columns asked for; None where a run is missing.
    remark (str): on what the weights were chosen and what the run had otherwise than the configuration. missing (str):
    the command that makes the next missing result.
    """

    scores: tuple[float | None, ...] | None
    remark: str = ""
    missing: str = ""


def result(config: Config, path: Path, runs: Path, columns: Sequence[Column]) -> Result:
    """The scores of the row that the configuration at `path` makes, from the folders under `runs`; of a data set with
    splits the means over them.
    """
    found = []
    for each in _by_split(config):
        run = runs / Path(each.output).relative_to(RUNS)
        if not (run / "best.pt").is_file() and not (run / "eval.json").is_file():
            resume = f"rpstn train {run / 'config.yaml'} --resume {run}"
            begun = (run / "last.pt").is_file()
            return Result(scores=None, missing=resume if begun else _train(config, each, path))
        content = _read(run / "eval.json")
        scores = None if content is None else _scores(content, columns)
        if scores is None:
            return Result(
                scores=None, missing=f"rpstn eval {run / 'config.yaml'} --weights {run / 'best.pt'}"
            )
        found.append((scores, _remark(content, each, run)))
    means = [_mean(values) for values in zip(*(scores for scores, _ in found))]
    return Result(scores=tuple(means), remark="; ".join(dict.fromkeys(remark for _, remark in found)))


def _by_split(config: Config) -> list[Config]:
    if not has_splits(config.data.name):
        return [config]
    return [
        replace(
            config,
            output=config.output.replace(f"split{config.data.split}", f"split{split}"),
            data=replace(config.data, split=split),
        )
        for split in SPLITS
    ]


def _train(config: Config, wanted: Config, path: Path) -> str:
    changes = [
        f"--set {key}={new}"
        for key, old, new in (
            ("data.split", config.data.split, wanted.data.split),
            ("output", config.output, wanted.output),
        )
        if old != new
    ]
    return " ".join([f"rpstn train {path} --set data.root=FOLDER", *changes])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "subset" in content["config"]["eval"]:
            return content
    except (ValueError, KeyError, TypeError):
        pass  # something else, as without the key
    raise UserError(
        f"{path}: expected the scores that rpstn eval writes, got something else; score the run again"
    )


def _scores(content: dict[str, Any], columns: Sequence[Column]) -> tuple[float | None, ...] | None:
    """None where the scores are not of the test part, or not these: those that a training chose its weights by."""
    if content["config"]["eval"]["subset"] != "test":
        return None
    tables = [content.get(column.table) for column in columns]
    if not all(
        table and column.column in table["rows"].get(column.row, ()) for column, table in zip(columns, tables)
    ):
        return None
    return tuple(table["rows"][column.row][column.column] for column, table in zip(columns, tables))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(values) if len(known) == len(values) else None


def _remark(content: dict[str, Any], config: Config, run: Path) -> str:
    ran = from_dict(content["config"], str(run / "eval.json"))
    changed = [text for text in differences(config, ran) if text.partition(":")[0] not in _WITHOUT_A_WORD]
    chosen = content.get("weights_chosen_on")
    parts = [f"weights chosen on {chosen}"] if chosen else []
    return "; ".join([*parts, *changed])
