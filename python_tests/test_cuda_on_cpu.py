"""The CUDA kernels, compiled for the CPU, under the tests of the operations; and the emulation itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "build" / "cuda_on_cpu" / "_C_cuda_on_cpu.so"

# Not these: they ask for the CPU's threads, or go through PyTorch's compilers, which see the same schemas either way.
LEFT_OUT = "not threads and not compiles and not exports and not inductor and not test_bad_inputs"
ONCE = (
    "not opcheck and not gradcheck"  # slow, and the same whatever the order of threads and the architecture
)


FILES = ("ops", "joint_relation", "shared_norm", "dynamic_conv2d")
MORE = {(90, "forwards"): ("cuda", "tune_cuda")}  # large sizes, in the run that has time for them
RUNS = ((90, "forwards"), (90, "backwards"), (75, "backwards"))  # architecture, order of the threads


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs at once, each by one thread, and where each writes."""
    folder, started = tmp_path_factory.mktemp("runs"), {}
    for architecture, order in RUNS:
        chosen = LEFT_OUT if (architecture, order) == (90, "backwards") else f"{LEFT_OUT} and {ONCE}"
        log = folder / f"{architecture}_{order}.txt"
        with log.open("w") as output:
            started[architecture, order] = (
                log,
                subprocess.Popen(
                    [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", chosen]
                    + [
                        str(HERE / f"test_{name}.py")
                        for name in (*FILES, *MORE.get((architecture, order), ()))
                    ],
                    env={
                        **os.environ,
                        "OMP_NUM_THREADS": "1",
                        "RPSTN_CUDA_ON_CPU": str(LIBRARY),
                        "RPSTN_CUDA_ON_CPU_ORDER": order,
                        "RPSTN_CUDA_ON_CPU_ARCHITECTURE": str(architecture),
                    },
                    stdout=output,
                    stderr=subprocess.STDOUT,
                ),
            )
    yield started
    for _, process in started.values():
        process.kill()


@pytest.mark.timeout(1800)  # hundreds of tests, each of which has its own limit
@pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY.name}; `make test` compiles it")
@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"sm_{run[0]} {run[1]}")
def test_the_operations_pass_their_tests(run, runs):
    log, process = runs[run]
    status = process.wait()
    text = log.read_text()
    assert status == 0, text[-4000:]
    passed = re.search(r"(\d+) passed", text)
    assert passed and int(passed[1]) > 300


@pytest.fixture(scope="module")
def selftest(tmp_path_factory):
    program = tmp_path_factory.mktemp("selftest") / "selftest"
    emulation = HERE / "cuda_on_cpu"
    subprocess.run(
        ["c++", "-std=c++20", "-O1", "-x", "c++", f"-I{emulation}", f"-I{HERE.parent / 'csrc'}"]
        + [str(emulation / "selftest.cu"), "-o", str(program)],
        check=True,
    )

    def run(what: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [program, what], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.parametrize("what", ["sums", "float16", "bfloat16", "bulk copies"])
def test_the_emulation_computes(selftest, what, order):
    done = selftest(what, RPSTN_CUDA_ON_CPU_ORDER=order)
    assert (done.stdout, done.returncode) == ("right\n", 0)


def test_the_emulation_notices_a_forgotten_barrier(selftest):
    """In one of the two orders of turns a thread reads shared memory that nobody has written yet."""
    results = [
        selftest("forgotten barrier", RPSTN_CUDA_ON_CPU_ORDER=order).stdout
        for order in ("forwards", "backwards")
    ]
    assert "wrong\n" in results


def test_the_emulation_notices_a_barrier_that_some_threads_pass_by(selftest):
    done = selftest("diverging barrier")
    assert done.returncode != 0
    assert "a barrier that not all of them reach" in done.stderr


def test_the_emulation_refuses_clusters_where_the_device_has_none(selftest):
    done = selftest("sums", RPSTN_CUDA_ON_CPU_ARCHITECTURE="80")
    assert done.returncode != 0
    assert "sums failed" in done.stderr
