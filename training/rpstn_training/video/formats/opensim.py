"""What OpenSim's formats, trc and mot, share: a folder with a file for each person."""

from collections.abc import Callable
from pathlib import Path

from ..recording import Person, Recording


def write_each(
    recording: Recording, path: Path, suffix: str, write: Callable[[Recording, Person, Path], None]
) -> None:
    """Write the files of all persons into a new folder. Raises UserError where times do not rise."""
    recording.require_rising_times(f"{suffix.upper()} files")
    path.mkdir()
    for person in recording.persons:
        write(recording, person, path / f"person{person.number}.{suffix}")
