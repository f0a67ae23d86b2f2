"""How many kernels of ours a call launches, and what of PyTorch's around them (cuda_on_cpu/count_launches.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sass import launches, resident_blocks

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "build" / "cuda_on_cpu" / "_C_cuda_on_cpu.so"

HALVES = ("float16", "bfloat16")
FLOATS = ("float32", *HALVES)
EVERY = ("float64", *FLOATS)

# On sm_90, where a relation's maps fit into a cluster: kernels of ours and operations of PyTorch, forward and backward.
LIMITS = {
    "joint_relation": {("float64",): ([3, {}], [3, {}]), FLOATS: ([1, {}], [2, {}])},
    "joint_relation_norm training": {EVERY: ([3, {}], [4, {}])},  # moving the running statistics is no launch
    "joint_relation_norm evaluation": {EVERY: ([3, {}], [4, {}])},
    "dynamic_conv2d": {("float64",): ([1, {}], [2, {}]), FLOATS: ([1, {}], [1, {}])},
    "dynamic_match": {("float64",): ([2, {}], [7, {}]), FLOATS: ([1, {}], [3, {}])},
}


@pytest.fixture(scope="module")
def counts() -> dict:
    command = [sys.executable, str(HERE / "cuda_on_cpu" / "count_launches.py"), str(LIBRARY)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RPSTN_CUDA_ON_CPU_ARCHITECTURE": "90"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


pytestmark = [
    pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY.name}; `make test` compiles it"),
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("operation", LIMITS)
def test_launches_and_copies(counts, operation):
    expected = {
        f"{operation} {dtype}": {"forward": forward, "backward": backward}
        for dtypes, (forward, backward) in LIMITS[operation].items()
        for dtype in dtypes
    }
    assert sorted(name.rpartition(" ")[2] for name in expected) == sorted(EVERY)
    assert {name: counts[name] for name in expected} == expected


def test_a_sample_of_bfloat16_is_one_block_of_which_two_share_a_multiprocessor():
    call = "joint_relation 5x13x64x64 bfloat16"
    [launch] = launches(call)[f"{call} forward"]
    assert (launch["blocks"], launch["cluster"]) == (5, 1)
    assert "one_read_forward_kernel" in launch["kernel"]
    assert resident_blocks(launch["threads"], registers=128, shared_bytes=launch["shared_bytes"]) == 2


@pytest.mark.parametrize(("multiprocessors", "steps"), [(8, 8), (132, 1)])
def test_large_kernels_of_a_single_sample_fill_the_device(multiprocessors, steps):
    """Matched in steps of channels: a convolution of so many planes that the device is full, and what adds them up."""
    call = "dynamic_match 1x256x64x64 9x9 13 float32"
    found = launches(call, "--single", multiprocessors)[f"{call} forward"]
    convolutions, sums = found[::2], found[1::2]
    assert [launch["blocks"] for launch in convolutions] == [256 // steps] * steps
    assert all(launch["blocks"] >= min(256, 2 * multiprocessors) for launch in convolutions)
    assert len(sums) == steps and all("mix_kernel" in launch["kernel"] for launch in sums)


def test_a_single_sample_is_one_launch_of_a_cluster():
    call = "joint_relation 1x13x64x64 float32"
    [launch] = launches(call, "--single", 132)[f"{call} forward"]
    assert launch["blocks"] == launch["cluster"] == 8
