"""What the built package asks for: pyproject.toml's dependencies, torch in the minor version that was compiled against.

The library stands on torch's C++ autograd, of which every minor version has one of its own: beside another torch it
would not be loaded. A wheel that says so is refused there or brings its torch along; one that asks for any torch would
install and compute with plain PyTorch. An sdist, and a wheel without a library (RPSTN_BUILD=OFF), fit every torch that
pyproject.toml names.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import find_torch

_state = "wheel"


def build_state(state: str) -> None:
    """What is being built, told by scikit-build-core: "sdist", "wheel", "editable" or the metadata of one of these."""
    global _state
    _state = state


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    compiled = _state != "sdist" and not re.fullmatch("OFF|off|0", os.environ.get("RPSTN_BUILD", ""))
    root = find_torch.find() if compiled else None
    if root is None:  # also where CMake then says that torch is missing
        return {"dependencies": settings["dependencies"]}
    minor = ".".join(find_torch.version(root)["__version__"].split(".")[:2])
    others = [needed for needed in settings["dependencies"] if not needed.startswith("torch>")]
    return {"dependencies": [f"torch=={minor}.*", *others]}


def dynamic_wheel(settings: Mapping[str, Any]) -> dict[str, bool]:
    """The sdist says that its wheels' dependencies may be others than its own."""
    return {"dependencies": True}
