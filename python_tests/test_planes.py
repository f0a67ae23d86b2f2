"""The CPU's loops over planes under sanitizers, with shapes drawn at random (planes_ and match_selftest.cpp)."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
@pytest.mark.parametrize("name", ["planes", "match"])
def test_planes_whole_and_in_bands_under_sanitizers(name, tmp_path):
    program = tmp_path / name
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    built = subprocess.run(
        ["c++", "-std=c++20", "-O1", *sanitizers, "-DRPSTN_ISA=baseline", f"-I{HERE.parent / 'csrc'}"]
        + [str(HERE / f"{name}_selftest.cpp"), "-o", str(program)],
        capture_output=True,
        text=True,
    )
    if "cannot find" in built.stderr and "san" in built.stderr:
        pytest.skip("the compiler has no sanitizers' libraries")
    assert built.returncode == 0, built.stderr[-3000:]
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("right\n", 0), done.stdout + done.stderr[-3000:]
