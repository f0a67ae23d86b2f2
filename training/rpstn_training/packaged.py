"""What comes with this package: weights of a small network trained on drawn people, and the configurations."""

from pathlib import Path

from .errors import UserError

_DRAWN_PEOPLE = Path(__file__).parent / "weights" / "drawn_people.pt"


def packaged_weights() -> Path:
    """The file, which `training/configs/drawn_people.yaml` makes again; its `Checkpoint.notice` says what it never saw.

    Raises UserError where this copy of the package has none.

    >>> packaged_weights().name
    'drawn_people.pt'
    """
    if not _DRAWN_PEOPLE.is_file():
        raise UserError(
            f"{_DRAWN_PEOPLE}: expected the weights that come with the package, found none; give others with "
            "--weights FILE, or install the package again"
        )
    return _DRAWN_PEOPLE


def packaged_configs() -> Path:
    """The folder of the configurations, in an installed package or beside it in the checkout."""
    inside, beside = Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs"
    folder = next((folder for folder in (inside, beside) if (folder / "tables").is_dir()), None)
    if folder is None:
        raise UserError(f"{inside}: expected the configurations that come with the package; install it again")
    return folder
