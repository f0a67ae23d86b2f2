"""Commands for people to paste."""

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """What starts this installation's `rpstn` from a shell: its name where the shell finds this one by it, else its
    path, else Python with the module.
    """
    here = Path(sys.executable).with_name("rpstn")
    known = shutil.which("rpstn")
    if known is not None and here.exists() and Path(known).samefile(here):
        return "rpstn"
    if here.is_file():
        return shlex.quote(str(here))
    return f"{shlex.quote(sys.executable)} -m rpstn_training"


def pasted(*words: object) -> str:
    """`rpstn` with these arguments as a line that a shell takes from any folder: a Path among them is written absolute.

    >>> pasted("predict", "my video.mp4").endswith("rpstn predict 'my video.mp4'")
    True
    """
    spelt = [str(word.absolute()) if isinstance(word, Path) else str(word) for word in words]
    return " ".join([program(), *map(shlex.quote, spelt)])
