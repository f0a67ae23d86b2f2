"""The CUDA half of the tuning module: choices reach launches, and every way through the hardware gives the same values.

On a GPU, and on the kernels compiled for the CPU (cuda_on_cpu/README.md).
"""

import os
from pathlib import Path

import pytest
import torch
from op_cases import OPS, relation_case, results

import rpstn_ext as rx
from benchmarks import tune
from benchmarks.common import Speed
from benchmarks.contenders import Case

ON_GPU = torch.cuda.is_available() and "cuda" in rx.backend()
DEVICE = "cuda" if ON_GPU else "cpu"
CARRIED = Path(__file__).resolve().parents[1] / "build" / "on_gpu" / "_tune_cuda.so"
MODULE = CARRIED if ON_GPU else Path(os.environ.get("RPSTN_CUDA_ON_CPU", "none"))
pytestmark = pytest.mark.skipif(not MODULE.is_file(), reason="no GPU, or no tuning module built")


@pytest.fixture(scope="module")
def tuner():
    try:
        return tune.Tuner(MODULE)
    except ImportError as problem:
        pytest.skip(f"built without RPSTN_TUNE ({problem})")


@pytest.fixture
def relation(tuner):
    """A call of joint_relation: its results, and the kernels that it launched."""
    op = OPS["joint_relation"]
    case = relation_case(2, 13, 64, 64)
    tensors = [tensor.to(DEVICE, torch.float32) for tensor in op.inputs(case)]
    grad = torch.randn(2, 13, 64, 64, device=DEVICE)

    def run(**choices: int) -> tuple[list[torch.Tensor], list[dict]]:
        with tuner.choosing(**choices):
            tuner.module.kernels()
            found = results(op, case, tensors, grad, op.call)
            return found, tuner.module.kernels()

    return run


def test_clusters_of_every_size_give_the_same_bits(relation):
    usual, kernels = relation()
    if all(kernel["cluster"] == 1 for kernel in kernels):
        pytest.skip("a device without clusters")
    for size in (1, 2, 4, 8):
        try:
            found, kernels = relation(relation_cluster=size, multiprocessors=1)
        except ValueError:
            continue
        clusters = [kernel["cluster"] for kernel in kernels if kernel["cluster"] > 1]
        assert all(cluster >= size for cluster in clusters)
        assert clusters or size == 1
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-4)


def test_more_multiprocessors_make_larger_clusters(relation):
    def largest(**choices: int) -> int:
        return max(kernel["cluster"] for kernel in relation(**choices)[1])

    if largest() == 1:
        pytest.skip("a device without clusters")
    assert largest(multiprocessors=2) < largest(multiprocessors=132) == 8


@pytest.mark.parametrize("architecture", [75, 80])
def test_the_ways_of_older_devices(relation, architecture, tuner):
    usual, kernels = relation()
    found, older = relation(architecture=architecture)
    assert all(kernel["cluster"] == 1 for kernel in older)
    if any(kernel["cluster"] > 1 for kernel in kernels):
        assert len(older) > len(kernels)
    torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-4)


def test_what_is_known_of_launched_kernels(relation, tuner):
    _, kernels = relation()
    for kernel in kernels:
        assert kernel["launch"].startswith(("joint_relation", "adding"))
        assert kernel["blocks"] % kernel["cluster"] == 0
        assert 0 < kernel["threads"] <= 1024 and kernel["count"] == 1
        if ON_GPU:
            assert "rpstn" in kernel["kernel"]
            assert kernel["spilled_bytes"] == 0 and kernel["resident_blocks"] >= 1
    assert tuner.module.kernels() == []  # each is told once


@pytest.mark.skipif(not ON_GPU, reason="in emulation the module is the library")
def test_the_librarys_own_kernels_serve_afterwards(relation, tuner):
    relation()
    op = OPS["dynamic_conv2d"]
    tensors = [tensor.to(DEVICE) for tensor in op.inputs(op.cases["3 x 3"])]
    op.call(op.cases["3 x 3"], tensors)
    assert tuner.module.asked() == {}


@pytest.mark.parametrize(
    "case",
    [
        Case("joint_relation", 2, 5, 16, 32),
        Case("joint_relation_norm", 2, 5, 16, 32),
        Case("dynamic_conv2d", 1, 3, 40, 48, 7),
        Case("dynamic_match", 1, 5, 40, 48, 5),
    ],
    ids=lambda case: case.op,
)
def test_every_value_of_every_choice_is_right(case, tuner, monkeypatch):
    monkeypatch.setattr("benchmarks.turns.ROUND_SECONDS", 1e-3)
    lines = tune.sweep(tuner, case, DEVICE, Speed(1e12, 1e12), rounds=1, seconds=0.01)
    variants = {line["variant"] for line in lines}
    assert {"usual", "shared_memory 100000"} <= variants
    assert any(name.startswith("plane_units") for name in variants) == (case.kernel > 0)
