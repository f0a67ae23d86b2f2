"""Parameters and multiply-adds of networks, part by part, in whole numbers; nothing is trained and no data is read.

  rpstn summary --config training/configs/penn_action.yaml
  rpstn summary --all --json > counts.json

Parameters count once. Multiply-adds are those of one clip: convolutions (transposed ones: weights times pixels of the
input), the dynamic convolution, matrix products, linear layers. --all counts every configuration of --configs, the
networks of the paper, and sets the parameters and FLOPs that its tables print beside the same here, counted its way.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arguments import width_and_height
from ..building import describe_network
from ..config import Config, load_config
from ..counting import Counts
from ..errors import UserError
from ..files import listed
from ..tables.comparison import Comparison, Counter, compare_all
from ..tables.files import add_configs, require_configs
from ..tables.networks import count_networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--config", type=Path, metavar="CONFIG.yaml", help="count the network of this configuration"
    )
    which.add_argument(
        "--all",
        action="store_true",
        help="count those of all configurations and of the paper, and compare with the paper's tables",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--size", metavar="WxH", help="another input than data.input_size, with --config")
    parser.add_argument(
        "--frames", type=int, metavar="T", help="another length than data.clip_length, with --config"
    )
    add_configs(parser, ", with --all")


def run(args: argparse.Namespace) -> int:
    if args.all:
        return _all(args)
    config = _resized(load_config(args.config), args.size, args.frames)
    counts = Counter().config(config)
    if args.json:
        print(json.dumps({"network": describe_network(config.model), **counts.to_dict()}, indent=2))
    else:
        print(f"{args.config}: {describe_network(config.model)}\n{_clip(counts)}\n\n{_parts(counts)}")
    return 0


def _all(args: argparse.Namespace) -> int:
    if args.size is not None or args.frames is not None:
        raise UserError("--size and --frames: expected with --config, got them with --all; leave them out")
    require_configs(args.configs)
    counter = Counter()
    configurations: dict[str, Counts | str] = {}
    for path in [*listed(args.configs, "*.yaml"), *listed(args.configs / "tables", "*.yaml")]:
        name = path.relative_to(args.configs).as_posix()
        try:
            configurations[name] = counter.config(load_config(path))
        except UserError as error:  # the joints of custom are those of its files
            configurations[name] = str(error)
    networks = count_networks(counter)
    paper = compare_all(args.configs, counter)
    if args.json:
        content = {
            "configurations": {name: _plain(counts) for name, counts in configurations.items()},
            "networks": {name: counts.to_dict() for name, counts in networks.items()},
            "paper": [_plain_comparison(each) for each in paper],
        }
        print(json.dumps(content, indent=2))
    else:
        print(f"{_overview(configurations)}\n\n{_overview(networks)}\n\n{_comparisons(paper)}")
    return 0


def _resized(config: Config, size: str | None, frames: int | None) -> Config:
    data = config.data
    try:
        if size is not None:
            input_size = width_and_height(size)
            if input_size is None:
                raise UserError(f"--size: expected WIDTHxHEIGHT such as 192x256, got {size}")
            data = replace(data, input_size=input_size)
        if frames is not None:
            data = replace(data, clip_length=frames)
    except ValueError as error:
        raise UserError(f"--size and --frames: {error}") from error
    return replace(config, data=data)


def _clip(counts: Counts) -> str:
    width, height = counts.size
    frames = "one frame" if counts.frames == 1 else f"{counts.frames} frames"
    return f"{counts.joints} joints, {frames} of {width}x{height}"


def _parts(counts: Counts) -> str:
    rows = [(name, f"{part.parameters:,}", f"{part.multiply_adds:,}") for name, part in counts.parts.items()]
    total = ("all", f"{counts.parameters:,}", f"{counts.multiply_adds:,}")
    return _aligned([("", "parameters", "multiply-adds"), *rows, total])


def _overview(counted: dict[str, Counts] | dict[str, Counts | str]) -> str:
    rows = [("", "joints", "frames", "input", "parameters", "multiply-adds")]
    remarks = []
    for name, counts in counted.items():
        if isinstance(counts, str):
            remarks.append(f"{name}: not counted. {counts}")
            continue
        width, height = counts.size
        numbers = (f"{counts.parameters:,}", f"{counts.multiply_adds:,}")
        rows.append((name, str(counts.joints), str(counts.frames), f"{width}x{height}", *numbers))
    return "\n".join([_aligned(rows), *remarks])


def _comparisons(paper: Sequence[Comparison]) -> str:
    rows = [("The paper's counts", "", "printed", "here", "")]
    for each in paper:
        verdict = "the same" if each.agrees else each.reason
        name = f"{each.table}  {each.method}"
        rows.append((name, each.column, each.printed, each.counted or "-", verdict))
    return _aligned(rows, left=(0, 1, 4))


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _plain(counts: Counts | str) -> dict[str, Any]:
    return {"not_counted": counts} if isinstance(counts, str) else counts.to_dict()


def _plain_comparison(each: Comparison) -> dict[str, Any]:
    return {
        "table": each.table,
        "row": each.method,
        "column": each.column,
        "printed": each.printed,
        "counted": each.counted,
        "agrees": each.agrees,
        "reason": "" if each.agrees else each.reason,
    }
