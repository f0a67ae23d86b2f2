"""benchmarks/on_gpu.sh, every step of it with tiny sizes, on a machine without a GPU and in a tree without .git."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EMULATION = ROOT / "build" / "cuda_on_cpu" / "_C_cuda_on_cpu.so"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """What the script needs of the checkout."""
    folder = tmp_path_factory.mktemp("tree")
    for part in ("benchmarks", "rpstn_ext", "python_tests", "csrc"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "build" / "cuda_on_cpu").mkdir(parents=True)
    if EMULATION.exists():
        shutil.copy(EMULATION, folder / "build" / "cuda_on_cpu")
    installed = subprocess.run(  # where an editable install keeps its library
        [sys.executable, "-c", "import importlib.util as u; print(u.find_spec('rpstn_ext._C').origin)"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    if installed:
        for file in ("_C.so", "_build_info.py"):
            shutil.copy(Path(installed).with_name(file), folder / "rpstn_ext")
    return folder


def run(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "benchmarks/on_gpu.sh", *arguments],
        cwd=tree,
        env={**os.environ, "PATH": path, "GIT_CEILING_DIRECTORIES": str(tree), **environment},
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.mark.timeout(1300)  # a minute on an idle machine
@pytest.mark.skipif(not EMULATION.exists(), reason=f"no {EMULATION.name}; `make test` compiles it")
def test_every_step_runs_and_leaves_few_files(tree, tmp_path):
    done = run(tree, "--self-test", str(tmp_path), RPSTN_COMMIT="0123abc")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    steps = [line.split(" (")[0] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert [step for step in steps if "left out" not in step][:-1] == [
        "== right or wrong, ceilings, ours alone",
        "== kernels",
        "== sweep",
        "== tests",
        "== rivals",
    ]
    assert len(list(tmp_path.iterdir())) <= 5
    lines = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]
    assert all(line["commit"] == "0123abc" for line in lines)
    checked = [line for line in lines if "check" in line]
    assert {line["choices"] for line in checked} == {"usual", "architecture 75", "architecture 80"}
    assert {line["memory"] for line in checked} == {"aligned", "misaligned"}
    assert all(line["right"] for line in checked)
    assert {line["direction"] for line in lines if "share_of_clone" in line} == {"forward", "backward"}
    assert "usual" in {line.get("variant") for line in lines}


def test_without_a_gpu_it_says_what_it_needs(tree, tmp_path):
    """And a failed step is named at the end."""
    done = run(tree, "tests", str(tmp_path), RPSTN_SECONDS="1")
    assert done.returncode == 1
    assert "on_gpu.sh: expected a CUDA build of torch and a GPU" in done.stdout
    assert run(tree, "what").returncode == 2
