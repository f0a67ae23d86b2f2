"""The tuning module that `make test` compiles, for the tests that choose what kernels do."""

from pathlib import Path

from benchmarks.tune import Tuner

__all__ = ["TUNE", "Tuner"]

TUNE = Path(__file__).resolve().parents[1] / "build" / "cuda_on_cpu" / "_tune.so"
