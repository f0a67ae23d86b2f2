"""A pytest plugin: the compiled library is the file that RPSTN_LIBRARY names, not the installed one (make sanitize)."""

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec

FILE = os.path.realpath(os.environ["RPSTN_LIBRARY"])


class _Finder:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, FILE) if name == "rpstn_ext._C" else None


sys.meta_path.insert(0, _Finder)


def pytest_sessionstart() -> None:
    import torch

    import rpstn_ext

    assert rpstn_ext.backend() != "reference" and FILE in torch.ops.loaded_libraries
