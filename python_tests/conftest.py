"""Fixtures shared by the tests.

With RPSTN_CUDA_ON_CPU=FILE in the environment the CUDA kernels, compiled for the CPU (cuda_on_cpu/README.md), serve
the operations in place of the CPU's own.
"""

import os
import signal
from pathlib import Path

import pytest
import torch

import rpstn_ext  # noqa: F401  registers the operations that the library below then serves

# A shell starts what runs in its background with Ctrl-C ignored, and every process of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

CUDA_ON_CPU = os.environ.get("RPSTN_CUDA_ON_CPU")
if CUDA_ON_CPU:
    torch.ops.load_library(CUDA_ON_CPU)

torch.backends.cudnn.allow_tf32 = False  # of the plain convolutions that the kernels are measured against

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real sample files and reference scores, beside the checkout where somebody put one."""
    if not SHARED.is_dir():
        pytest.skip("no folder with real samples and reference scores beside this checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
