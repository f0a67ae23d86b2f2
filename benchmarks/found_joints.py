"""What benchmarks of the joints that weights find share: which weights, and how the numbers are reported."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rpstn_training.errors import UserError
from rpstn_training.packaged import packaged_weights
from rpstn_training.public_files import open_weights

from .common import provenance


def parser_of(description: str) -> argparse.ArgumentParser:
    """With `--weights`, those that come with the package unless given, and `--json`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="default: those that come with the package"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go")
    return parser


def chosen(weights: Path | None) -> Path:
    return weights or packaged_weights()


def facts_about(weights: Path, **more: Any) -> dict[str, Any]:
    """What numbers depend on: the weights in a sentence, what else is given, and the machine."""
    return {"weights": open_weights(weights).sentence, **more, **provenance()}


def report(facts: Mapping[str, Any], lines: str, results: Mapping[str, Any], json_file: Path | None) -> None:
    """Print the facts and the lines below them; facts and results also as JSON, where that is wanted."""
    for name, value in facts.items():
        print(f"{name}: {value}")
    print(f"\n{lines}")
    if json_file is not None:
        json_file.write_text(json.dumps({**facts, **results}, indent=1) + "\n", encoding="utf-8")


def run(main: Callable[[], int]) -> None:
    """The module as a program; what does not fit is one sentence."""
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(str(error))
