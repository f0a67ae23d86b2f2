"""The paper's Tables I to IX, with what runs here have scored beside each row.

  rpstn tables
  rpstn tables --table III --runs runs
  rpstn tables --check

A row that nothing has scored yet is a dash, with the command that makes it. Only scores of the test part stand here,
as rpstn eval writes them into a run's folder. --check builds every row's network and counts it, as the paper does and
plainly, and takes one step of its training in small on synthetic clips.
"""

import argparse
import tempfile
import time
import traceback
from pathlib import Path

from ..config import Config, differences, load_config
from ..errors import UserError
from ..tables import TABLES, Block, PaperTable, Row
from ..tables.check import SyntheticData, step
from ..tables.comparison import Counter, compare
from ..tables.files import add_configs, config_path, require_configs
from ..tables.runs import RUNS, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table", choices=TABLES, metavar="N", help=f"one of {', '.join(TABLES)} (default: all)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=RUNS,
        metavar="FOLDER",
        help=f"where the runs are that the configurations put in {RUNS} (default: {RUNS})",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="try every row's configuration; the exit status is 1 if one fails",
    )
    add_configs(parser)


def run(args: argparse.Namespace) -> int:
    require_configs(args.configs)
    tables = [table for name, table in TABLES.items() if args.table in (None, name)]
    if args.check:
        return _check(tables, args.configs)
    print("\n\n".join(_text(table, args.configs, args.runs) for table in tables))
    return 0


def _text(table: PaperTable, configs: Path, runs: Path) -> str:
    lines = [f"Table {table.number}. {table.title}"]
    if table.remark:
        lines.append(table.remark)
    for block in table.blocks:
        lines += ["", *_block(block, configs, runs)]
    return "\n".join(lines)


def _block(block: Block, configs: Path, runs: Path) -> list[str]:
    width = 2 + max(len(row.method) for row in block.rows)
    lines = [block.metric, " " * width + "".join(f"{column.name:>8}" for column in block.columns)]
    for row in block.rows:
        lines.append(f"{row.method:<{width}}" + "".join(f"{score:>8}" for score in row.scores))
        if row.config is not None:
            lines.append(_ours(row, block, width, configs, runs))
    return lines


def _ours(row: Row, block: Block, width: int, configs: Path, runs: Path) -> str:
    label = f"{'  here':<{width}}"
    dashes = f"{'-':>8}" * len(block.columns)
    path = config_path(configs, row)
    found = result(load_config(path), path, runs, block.columns)
    if found.scores is None:
        return f"{label}{dashes}  {found.missing}"
    digits = len(row.scores[0].partition(".")[2])
    cells = (f"{'-' if score is None else f'{score:.{digits}f}':>8}" for score in found.scores)
    return f"{label}{''.join(cells)}  {found.remark}".rstrip()


def _check(tables: list[PaperTable], configs: Path) -> int:
    rows = {
        row.config: (table, row) for table in tables for row in table.rows if row.config is not None
    }  # a row of Table V stands in both of its blocks
    loaded = {name: load_config(config_path(configs, row)) for name, (_, row) in rows.items()}
    counter, failed = Counter(), []
    tried: dict[str, str] = {}  # the output of an experiment, and which row's configuration was tried first
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rpstn-tables-") as folder:
        frames = max((config.data.clip_length for config in loaded.values()), default=1)
        data = SyntheticData(Path(folder) / "data", frames)
        for name, config in loaded.items():
            started = time.monotonic()
            table, row = rows[name]
            try:
                first = tried.setdefault(config.output, name)
                if first == name or differences(loaded[first], config):
                    step(config, data, Path(folder))
                counts = _counts(table, row, config, counter)
            except Exception as error:  # whatever it is, the other rows are tried too
                failed.append(name)
                print(f"{name}: FAILED, {_reason(error)}", flush=True)
                continue
            if first == name:
                verdict = f"trains, {time.monotonic() - started:.1f} s"
            else:
                verdict = f"the same experiment as {first}"
            print("\n  ".join([f"{name}: {verdict}", *counts]), flush=True)
    print(
        f"{len(loaded) - len(failed)} of {len(loaded)} configurations work, {time.monotonic() - began:.0f} s"
    )
    if failed:
        raise UserError(f"expected every configuration to train a step, got failures of {', '.join(failed)}")
    return 0


def _counts(table: PaperTable, row: Row, config: Config, counter: Counter) -> list[str]:
    counts = counter.config(config)
    lines = [f"{counts.parameters:,} parameters, {counts.multiply_adds:,} multiply-adds a clip"]
    for each in compare(table, row, counts):
        verdict = "" if each.agrees else f" ({each.reason})"
        lines.append(f"{each.column}: paper {each.printed}, here by its rule {each.counted or '-'}{verdict}")
    return lines


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}: {error}"
