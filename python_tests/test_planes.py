"""The CPU's loops over planes under sanitizers, with shapes drawn at random (planes_ and match_selftest.cpp)."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def sanitized(source: str, program: Path, isa: str, *flags: str) -> subprocess.CompletedProcess[str]:
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    command = [
        "c++",
        "-std=c++20",
        "-O1",
        *sanitizers,
        *flags,
        f"-DRPSTN_ISA={isa}",
        f"-I{HERE.parent / 'csrc'}",
    ]
    return subprocess.run([*command, HERE / source, "-o", program], capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
@pytest.mark.parametrize("name", ["planes", "match"])
def test_planes_whole_and_in_bands_under_sanitizers(name, tmp_path):
    program = tmp_path / name
    built = sanitized(f"{name}_selftest.cpp", program, "baseline")
    if "cannot find" in built.stderr and "san" in built.stderr:
        pytest.skip("the compiler has no sanitizers' libraries")
    assert built.returncode == 0, built.stderr[-3000:]
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("right\n", 0), done.stdout + done.stderr[-3000:]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="vectors of x86-64")
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_sanitizers_see_what_vectors_touch(isa, tmp_path):
    """Masked parts and stores past the caches too, whose intrinsics g++'s sanitizer does not watch."""
    program = tmp_path / isa
    built = sanitized(
        "vectors_faults.cpp",
        program,
        isa,
        "-mavx2",
        *["-mavx512f", "-mavx512dq", "-mavx512vl"] * (isa == "avx512"),
    )
    assert built.returncode == 0, built.stderr[-3000:]
    said = {
        fault: subprocess.run([program, fault], capture_output=True, text=True, timeout=120)
        for fault in ("no fault", "load", "store", "past caches", "undefined")
        + ("part loaded", "part stored") * (isa == "avx512")
    }
    if said["no fault"].stdout == "left out\n":
        pytest.skip(f"no {isa} here")
    assert said.pop("no fault").returncode == 0
    assert "signed integer overflow" in said.pop("undefined").stderr
    for fault, done in said.items():
        assert "AddressSanitizer: heap-buffer-overflow" in done.stderr, fault
