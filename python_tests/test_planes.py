"""The CPU's loops over planes under sanitizers, with shapes drawn at random (planes_ and match_selftest.cpp)."""

import platform
import re
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


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_compilers_leave_in_what_is_asked_for_ahead():
    """In a function that does nothing else, too long to be inlined at once: mixing asks for its next block so."""
    source = """
        #include "cpu/vectors.h"
        using namespace rpstn::baseline;
        template <typename Ask>
        __attribute__((noinline)) void double_all(float* values, int count, const Ask& ask) {
          for (int n = 0; n < count; ++n) { ask(n); values[n] *= 2; }
        }
        void double_asking(float* values, int count, const float* next, int stride) {
          const auto ask_rows = [&](const float* first) {
            for (int row = 0; row < 5; ++row)
              Ahead{first + row * stride, 64}.ask<Lines::kReadSecondLevel>(0, 1);
          };
          double_all(values, count, [&](int n) {
            if (next == nullptr) return;
            ask_rows(next + n);
            ask_rows(next + 5 * stride + n);
          });
        }
    """
    command = ["c++", "-std=c++20", "-O3", "-DRPSTN_ISA=baseline", f"-I{HERE.parent / 'csrc'}"]
    compiled = subprocess.run(
        [*command, "-xc++", "-", "-S", "-o", "-"], input=source, capture_output=True, text=True
    )
    assert compiled.returncode == 0, compiled.stderr[-3000:]
    assert re.search(r"\bprefetch|\bprfm", compiled.stdout)
