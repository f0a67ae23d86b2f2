"""What a result depends on besides its configuration."""

import functools
import platform
import subprocess
from pathlib import Path

import numpy
import torch


def versions() -> dict[str, str | None]:
    """What a result depends on besides its configuration; commit is None outside a git checkout."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "commit": _commit(),
    }


@functools.cache  # the code that runs is the code that was there when it started
def _commit() -> str | None:
    """The commit this file is tracked in, with "-dirty" when the checkout differs from it."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        for command in (
            [*git, "ls-files", "--error-unmatch", here.name],
            [*git, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        ):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or an installed wheel: there is no commit to name
    return answer.stdout.strip()
