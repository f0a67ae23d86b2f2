"""Where the configurations of the tables' rows are."""

import argparse
from pathlib import Path

from ..errors import UserError
from .rows import Row

CONFIGS = Path("training", "configs")  # they are no part of the installed package


def add_configs(parser: argparse.ArgumentParser, when: str = "") -> None:
    """`--configs`, for `require_configs`; `when` it counts is said in the help."""
    parser.add_argument(
        "--configs",
        type=Path,
        default=CONFIGS,
        metavar="FOLDER",
        help=f"the project's configurations{when} (default: {CONFIGS})",
    )


def require_configs(folder: Path) -> None:
    """Raise UserError where `folder` is not that of this project's configurations."""
    if not (folder / "tables").is_dir():
        raise UserError(
            f"{folder}: expected the folder of this project's configurations, training/configs in its checkout, found "
            f"no {folder / 'tables'}; run this in the checkout, or name the folder with --configs FOLDER"
        )


def config_path(folder: Path, row: Row) -> Path:
    return folder / "tables" / f"{row.config}.yaml"
