"""Fixtures shared by the tests."""

from pathlib import Path

import pytest
import torch

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
