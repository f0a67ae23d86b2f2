"""What somebody names to go through, as sources with a folder of results for each."""

import glob
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .sources import PICTURES, files_of, is_live

VIDEOS = (
    *(
        ".3gp",
        ".avi",
        ".flv",
        ".gif",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
    ),
    *(".ogv", ".ts", ".webm", ".wmv", ".y4m"),
)
_PATTERN = re.compile(r"[*?[]")


@dataclass(frozen=True, kw_only=True)
class Input:
    """A source as `sources.open_source` takes it, and the folder for its results."""

    source: str | Path | tuple[Path, ...]
    out: Path


def inputs(named: str | Path | Sequence[str | Path], out: Path) -> list[Input]:
    """The sources behind what is named.

    Args:
        named: videos, folders of frames, folders of videos, patterns (`*`, `?`, `[]`, and `**` for folders in folders),
            `@FILE` with one of these on each line, relative to the file, addresses of streams, numbers of cameras; or
            pictures alone, which are one source.
        out: the folder for a single source's results. Of several each has a folder in it, named like the source without
            its suffix; with it where two would be one, and with the folder before it where that does not help.

    Raises:
        UserError: nothing fits a pattern, or a folder holds videos and pictures.
    """
    given = [named] if isinstance(named, str | Path) else list(named)
    places: list[str | Path] = []
    for one in given:
        places += _places(one)
    if not places:
        raise UserError("expected a video, a folder or pictures, got none")
    pictures = [place for place in places if Path(place).suffix.lower() in PICTURES]
    if len(pictures) == len(places):
        return [Input(source=tuple(map(Path, places)), out=out)]
    if pictures:
        raise UserError(
            f"{next(place for place in places if place not in pictures)}: expected a picture "
            f"({', '.join(PICTURES)}) beside {pictures[0]}, got something else; give videos and folders only, or "
            "pictures only"
        )
    if places == [str(given[0])] or places == [Path(given[0])]:
        return [Input(source=places[0], out=out)]
    return [Input(source=place, out=out / name) for place, name in zip(places, _folder_names(places))]


def _places(named: str | Path) -> list[str | Path]:
    text = str(named)
    if is_live(text):
        return [text]
    path = Path(text)
    if path.is_dir():
        videos, pictures = files_of(path, VIDEOS), files_of(path, PICTURES)
        if videos and pictures:
            raise UserError(
                f"{path}: expected a folder of videos or one of frames, it holds {len(videos)} videos and "
                f"{len(pictures)} pictures; name those that are meant, as {path}/*{videos[0].suffix}"
            )
        if not videos and not pictures:
            raise UserError(
                f"{path}: expected a folder of videos or of frames, it holds none; known are {_known()}; "
                f"folders in it are named by a pattern, as '{path}/**/*.mp4'"
            )
        return list(videos) or [path]
    if path.exists():
        return [path]
    if text.startswith("@"):
        return _listed(Path(text[1:]))
    if _PATTERN.search(text):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        if not found:
            raise UserError(f"{text}: expected a pattern that something fits, nothing does")
        return found
    return [path]


def _known() -> str:
    return ", ".join(suffix[1:] for suffix in (*VIDEOS, *PICTURES))


def _listed(path: Path) -> list[str | Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: expected a text file that names a source on each line ({why})") from error
    places: list[str | Path] = []
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            places += _places(line if is_live(line) else path.parent / line)
    if not places:
        raise UserError(f"{path}: expected a source on each line, found none")
    return places


def _folder_names(places: Sequence[str | Path]) -> list[str]:
    """A name for each place: the shortest of its forms that no other place has."""
    forms = [(_safe(Path(place).stem), _safe(Path(place).name), _with_folder(place)) for place in places]
    counts = [Counter(form) for form in zip(*forms)]
    names = []
    for place, candidates in zip(places, forms):
        name = next((name for name, count in zip(candidates, counts) if count[name] == 1), None)
        if name is None or name in names:
            raise UserError(
                f"{place}: expected each source once, and those of one name in folders of different names"
            )
        names.append(name)
    return names


def _with_folder(place: str | Path) -> str:
    path = Path(place)
    return f"{_safe(path.absolute().parent.name)}_{_safe(path.name)}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "source"
