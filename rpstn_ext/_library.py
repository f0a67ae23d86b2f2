"""Loads the compiled operations once, or says in one warning why the reference serves instead and what mends it."""

import importlib
import importlib.util
import os
import platform
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

import torch

MEND = "python -m pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall ."

EVERY_CALL, CUDA_TENSORS = "every call", "CUDA tensors"


def build_info() -> ModuleType | None:
    """`rpstn_ext._build_info`, written by the build: versions of torch, compiler and CUDA; None without a build."""
    if importlib.util.find_spec("rpstn_ext._build_info") is None:
        return None
    return importlib.import_module("rpstn_ext._build_info")


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split("+")[0].split(".")[:2])


def _folders_of_torch(package: Path) -> dict[tuple[str, ...], Path]:
    """A wheel for several versions of torch has its compiled files in a folder for each, such as torch_2_14."""
    found = (library.parent for library in package.glob("torch_*/_C.so"))
    return {tuple(folder.name.split("_")[1:]): folder for folder in found}


def _hidden_copy() -> Path | None:
    """Another rpstn_ext on the path that has a compiled library; the folder Python was started in comes first."""
    here = Path(__file__).resolve().parent
    copies = (Path(entry or ".", "rpstn_ext").resolve() for entry in sys.path)
    compiled = (copy for copy in copies if (copy / "_C.so").is_file() or _folders_of_torch(copy))
    return next((copy for copy in compiled if copy != here), None)


def _load() -> str:
    """Registers `torch.ops.rpstn_ext.*`; returns what serves, after a warning where that is less than it could be."""
    several = _folders_of_torch(Path(__file__).parent)
    if _minor(torch.__version__) in several:  # from now on rpstn_ext._C and its like are this folder's
        sys.modules["rpstn_ext"].__path__.insert(0, str(several[_minor(torch.__version__)]))
    info = build_info()
    spec = importlib.util.find_spec("rpstn_ext._C")
    if info is None or spec is None:
        installed = _hidden_copy()
        if several:
            versions = ", ".join(".".join(minor) for minor in sorted(several, key=lambda m: [*map(int, m)]))
            _warn(
                "the compiled libraries belong to other versions of torch",
                EVERY_CALL,
                f"torch {versions}",
                mend=f"To mend it, install one of these, or run in the source folder: {MEND}",
            )
        elif installed is not None:
            _warn(
                "this folder's rpstn_ext, without a compiled library, stands before the installed one",
                EVERY_CALL,
                f"nothing here, see {installed}",
                mend="To mend it, start Python in another folder, or install with -e",
            )
        else:
            _warn("no compiled library is installed", EVERY_CALL, "nothing")
        return "reference"
    built_for = f"torch {info.TORCH}, {info.SYSTEM}, {info.COMPILER}"
    if _minor(info.TORCH) != _minor(torch.__version__):
        _warn("the compiled library belongs to another torch", EVERY_CALL, built_for)
        return "reference"
    if os.path.realpath(spec.origin) not in torch.ops.loaded_libraries and hasattr(
        torch.ops.rpstn_ext, "joint_relation"
    ):
        _warn("another copy of the compiled library was loaded before this one", EVERY_CALL, built_for)
        return "reference"
    try:
        torch.ops.load_library(spec.origin)
    except OSError as error:
        _warn(f"the compiled library does not load ({error})", EVERY_CALL, built_for)
        return "reference"
    if not torch.version.cuda:
        return "cpu"
    cuda = importlib.util.find_spec("rpstn_ext._C_cuda")
    if cuda is None:
        _warn(
            f"the compiled library serves the CPU only ({info.WITHOUT_CUDA_BECAUSE})", CUDA_TENSORS, built_for
        )
        return "cpu"
    try:
        torch.ops.load_library(cuda.origin)
    except OSError as error:
        _warn(f"the compiled CUDA library does not load ({error})", CUDA_TENSORS, built_for)
        return "cpu"
    return "cuda+cpu"


def _warn(
    reason: str, served: str, built_for: str, mend: str = f"To mend it, run in the source folder: {MEND}"
) -> None:
    global problem
    found = f"torch {torch.__version__}, {platform.system()}-{platform.machine()}, Python {platform.python_version()}"
    problem = (
        f"rpstn_ext: {reason}; plain PyTorch serves {served}, more slowly. "
        f"Built for: {built_for}. Found: {found}. {mend}"
    )
    warnings.warn(problem, RuntimeWarning, stacklevel=2)


problem: str | None = None  # what the warning at import said
_LOADED = _load()
_choice: ContextVar[str] = ContextVar("rpstn_ext.backend", default=_LOADED)
_open: tuple[
    str, ...
] = ()  # what the blocks of use_backend that are open in this process ask for, newest last
_open_lock = threading.Lock()


def backend() -> str:
    """What serves the calls now: "cuda+cpu" or "cpu" (compiled operations), or "reference" (plain PyTorch)."""
    if not _open:
        return _LOADED
    if torch.compiler.is_dynamo_compiling():  # it cannot read a context variable; it does watch _open
        return _open[-1]
    return _choice.get()


def compiled(device_type: str) -> bool:
    """Whether the compiled operations serve tensors of this type of device; the reference serves the others, and
    `torch.onnx.export`, whose graphs hold none of our operations.
    """
    if torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export():
        return False
    active = backend()
    return active != "reference" and (device_type in ("cpu", "meta") or device_type in active.split("+"))


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Serves the calls inside the block by `name`: "reference", or what `backend()` said at import.

    The choice is this thread's, or this asyncio task's; other threads keep their own, and one that is started inside
    the block begins with what `backend()` said at import. Use "reference" to export without custom operations (by
    `torch.onnx.export` it is in use anyway) or for `torch.func` transforms.

    Raises:
        ValueError: `name` is not available.

    Example:
        >>> from rpstn_ext import backend, use_backend
        >>> with use_backend("reference"):
        ...     backend()
        'reference'
    """
    global _open
    available = dict.fromkeys(("reference", _LOADED))
    if name not in available:
        raise ValueError(f"use_backend: expected one of {', '.join(available)}, got {name}")
    before = _choice.set(name)
    with _open_lock:
        _open += (name,)
    try:
        yield
    finally:
        with _open_lock:
            last = len(_open) - 1 - _open[::-1].index(name)
            _open = _open[:last] + _open[last + 1 :]
        _choice.reset(before)
