"""Where the configurations of the tables' rows are."""

import argparse
from pathlib import Path

from ..errors import UserError
from ..packaged import packaged_configs
from .rows import Row

CONFIGS = Path("training", "configs")


def add_configs(parser: argparse.ArgumentParser, when: str = "") -> None:
    """`--configs`, for `require_configs`; `when` it counts is said in the help."""
    parser.add_argument(
        "--configs",
        type=Path,
        default=CONFIGS if CONFIGS.is_dir() else packaged_configs(),
        metavar="FOLDER",
        help=f"the project's configurations{when} (default: {CONFIGS}, elsewhere those that come with the package)",
    )


def require_configs(folder: Path) -> None:
    """Raise UserError where `folder` is not that of this project's configurations."""
    if not (folder / "tables").is_dir():
        raise UserError(
            f"--configs {folder}: expected the folder of this project's configurations, training/configs in its "
            f"checkout, found no {folder / 'tables'}"
        )


def config_path(folder: Path, row: Row) -> Path:
    return folder / "tables" / f"{row.config}.yaml"
