"""The one place that chooses a device and how exact its products are."""

import re

import torch

from .config import DEVICES
from .errors import UserError


def choose_device(name: str, key: str) -> torch.device:
    """The device that `name` means: auto (a GPU where there is one), cpu, cuda or cuda:N.

    key (str): what messages begin with, the option or configuration key that named it. Raises UserError for other
    names and for a GPU that is not there.
    """
    if re.fullmatch(DEVICES, name) is None:
        raise UserError(f"{key}: expected auto, cpu, cuda or cuda:N, got {name}")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if there else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= there:
        raise UserError(f"{key}: expected a GPU for {name}, PyTorch finds {there} here; use cpu or auto")
    return device


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round float32 factors to TF32. PyTorch's own start value is yes for convolutions."""
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # words of `train.precision` beside float32


def precision_of(precision: str, tf32: bool, device: torch.device) -> str:
    """What products are computed in, for people."""
    if device.type == "cuda" and tf32:
        return f"{precision}, float32 products in TF32"
    return precision
