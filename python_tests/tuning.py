"""The tuning module, for the tests that choose what kernels do: that of `make test`, or the file RPSTN_TUNED names."""

import os
from pathlib import Path

from benchmarks.tune import Tuner

__all__ = ["TUNE", "Tuner"]

TUNE = Path(__file__).resolve().parents[1] / os.environ.get("RPSTN_TUNED", "build/cuda_on_cpu/_tune.so")
