"""MATLAB files of which every field is checked before use: a file may be cut off, or hold something else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from ...errors import UserError


def load(path: Path, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The variables `keys` of the MATLAB file `path`, and those of `optional` that it has; UserError if it cannot
    be read or lacks one of `keys`.
    """
    if not path.is_file():
        raise UserError(f"{path}: expected a MATLAB label file, found none")
    try:
        variables = loadmat(path, variable_names=(*keys, *optional))
    except Exception as error:  # scipy raises many kinds for damaged files, MemoryError for a damaged size
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{path}: expected a whole MATLAB v5 file, it cannot be read ({reason}); copy it again"
        ) from error
    missing = [key for key in keys if key not in variables]
    if missing:
        raise UserError(f"{path}: expected variables {', '.join(keys)}, {', '.join(missing)} missing")
    return variables


def numbers(
    path: Path,
    variables: Mapping[str, Any],
    key: str,
    shape: tuple[int | None, ...],
    *,
    missing: bool = False,
) -> np.ndarray:
    """Variable `key` as float64, whatever number type the file holds; None in `shape` leaves that axis free, and
    with `missing` a number may be NaN.

    The cast comes first because the same variable is float64 in one label file and uint8 in the next, where
    differences would wrap around.
    """
    array = np.asarray(variables[key])
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: expected {key} to hold real numbers, got {array.dtype}")
    wanted = "x".join("n" if size is None else str(size) for size in shape)
    if array.ndim != len(shape) or any(size not in (None, have) for size, have in zip(shape, array.shape)):
        raise UserError(f"{path}: expected {key} to be {wanted}, got {'x'.join(map(str, array.shape))}")
    array = array.astype(np.float64)
    bad = int((np.isinf(array) if missing else ~np.isfinite(array)).sum())
    if bad:
        raise UserError(f"{path}: expected {key} to be finite, got {bad} values that are not")
    return array


def word(path: Path, variables: Mapping[str, Any], key: str) -> str:
    """Variable `key` as text."""
    array = np.asarray(variables[key])
    if array.dtype.kind != "U" or array.size != 1:
        raise UserError(f"{path}: expected {key} to be one word, got {array.dtype} of {array.size} elements")
    return str(array.item())
