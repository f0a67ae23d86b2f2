"""Arguments that several commands take."""

import argparse
import re


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """`--set KEY=VALUE`, gathered as `overrides` for `config.load_config`; `example` is one for the help."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=f"change one value, for example --set {example} (may be repeated)",
    )


def width_and_height(text: str) -> tuple[int, int] | None:
    """The two numbers of a text like 192x256; None where it is of another form.

    >>> width_and_height("192x256")
    (192, 256)
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))
