"""The weights that come with this package, for who has none: a small network trained on drawn people."""

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
