"""Where the configurations of the tables' rows are."""

from pathlib import Path

from ..errors import UserError
from .rows import Row

CONFIGS = Path("training", "configs")  # they are no part of the installed package


def require_configs(folder: Path) -> None:
    """Raise UserError where `folder` is not that of this project's configurations."""
    if not (folder / "tables").is_dir():
        raise UserError(
            f"{folder}: expected the folder of this project's configurations, training/configs in its checkout, found "
            f"no {folder / 'tables'}; run this in the checkout, or name the folder with --configs FOLDER"
        )


def config_path(folder: Path, row: Row) -> Path:
    return folder / "tables" / f"{row.config}.yaml"
