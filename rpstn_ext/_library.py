"""Loads the compiled operations once, or says in one warning why the reference serves instead and what mends it."""

import importlib
import importlib.util
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

MEND = "python -m pip install --no-build-isolation --no-deps --force-reinstall ."


def build_info() -> ModuleType | None:
    """`rpstn_ext._build_info`, written by the build: versions of torch, compiler and CUDA; None without a build."""
    if importlib.util.find_spec("rpstn_ext._build_info") is None:
        return None
    return importlib.import_module("rpstn_ext._build_info")


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split("+")[0].split(".")[:2])


def _load() -> str:
    """Registers `torch.ops.rpstn_ext.*`; "cuda+cpu" or "cpu", or "reference" after a warning."""
    info = build_info()
    spec = importlib.util.find_spec("rpstn_ext._C")
    if info is None or spec is None:
        _warn("no compiled library is installed", "nothing")
        return "reference"
    built_for = f"torch {info.TORCH}, {info.SYSTEM}, {info.COMPILER}"
    if _minor(info.TORCH) != _minor(torch.__version__):
        _warn("the compiled library belongs to another torch", built_for)
        return "reference"
    cuda = importlib.util.find_spec("rpstn_ext._C_cuda") if torch.version.cuda else None
    try:
        torch.ops.load_library(spec.origin)
        if cuda is not None:
            torch.ops.load_library(cuda.origin)
    except OSError as error:
        _warn(f"the compiled library does not load ({error})", built_for)
        return "reference"
    return "cpu" if cuda is None else "cuda+cpu"


def _warn(reason: str, built_for: str) -> None:
    found = f"torch {torch.__version__}, {platform.system()}-{platform.machine()}, Python {platform.python_version()}"
    warnings.warn(
        f"rpstn_ext: {reason}; plain PyTorch serves every call, more slowly. "
        f"Built for: {built_for}. Found: {found}. To mend it, run in the source folder: {MEND}",
        RuntimeWarning,
        stacklevel=2,
    )


_LOADED = _load()
_active = _LOADED


def backend() -> str:
    """What serves the calls now: "cuda+cpu" or "cpu" (compiled operations), or "reference" (plain PyTorch)."""
    return _active


def compiled(device_type: str) -> bool:
    """Whether the compiled operations serve tensors of this type of device; the reference serves the others."""
    return _active != "reference" and (device_type in ("cpu", "meta") or device_type in _active.split("+"))


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Serves the calls inside the block by `name`: "reference", or what `backend()` said at import.

    The choice holds for the whole process, not for one thread. Use "reference" to export without custom operations
    or for `torch.func` transforms.

    Raises:
        ValueError: `name` is not available.

    Example:
        >>> from rpstn_ext import backend, use_backend
        >>> with use_backend("reference"):
        ...     backend()
        'reference'
    """
    global _active
    available = dict.fromkeys(("reference", _LOADED))
    if name not in available:
        raise ValueError(f"use_backend: expected one of {', '.join(available)}, got {name}")
    before = _active
    _active = name
    try:
        yield
    finally:
        _active = before
