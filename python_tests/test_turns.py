"""How the relation's samples are shared out among threads of which one is slow (turns_selftest.cpp)."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_a_thread_that_is_done_takes_pieces_of_one_that_is_not(tmp_path):
    program, libraries = tmp_path / "turns", Path(torch.__file__).parent / "lib"
    command = ["c++", "-std=c++20", "-O1", "-fopenmp", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
    folders = [f"-I{HERE.parent / 'csrc'}", *(f"-isystem{path}" for path in cpp_extension.include_paths())]
    linked = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-ltorch_cpu", "-lc10"]
    built = subprocess.run(
        [*command, *folders, HERE / "turns_selftest.cpp", "-o", program, *linked],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("right\n", 0), done.stdout + done.stderr[-3000:]
