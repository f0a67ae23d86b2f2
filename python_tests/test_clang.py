"""The SIMD files by clang, for x86-64 and AArch64, and AArch64's self-tests where qemu runs them (make clang).

By the clang of the package ziglang, which compiles for other processors too; that it is a later one than the 16 that
CMakeLists.txt asks for has to do.
"""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "csrc" / "cpu").glob("*_simd.cpp"))
# -O0 and no sanitizers, which zig adds there: what is looked for is what clang does not take.
FLAGS = [
    "-std=c++20",
    "-O0",
    "-fno-sanitize=all",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-Werror",
]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="no ziglang; `make clang` installs it"
)


def _sets() -> list[tuple[str, str, tuple[str, ...]]]:
    """(target, name, flags) of each instruction set that the build compiles."""
    named = dict(re.findall(r"^ *rpstn_simd\((\w+)([^)]*)\)$", CMAKE, flags=re.MULTILINE))
    assert list(named) == ["baseline", "avx2", "avx512"], named
    return [
        *(("x86_64-linux-gnu", name, tuple(flags.split())) for name, flags in named.items()),
        ("aarch64-linux-gnu", "baseline", ()),
    ]


def clang(target: str, isa: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ziglang", "c++", "-target", target, f"-DRPSTN_ISA={isa}"]
    return subprocess.run([*command, f"-I{ROOT / 'csrc'}", *arguments], capture_output=True, text=True)


def test_the_build_compiles_these_files():
    assert [path.name for path in SOURCES] == sorted(set(re.findall(r"csrc/cpu/(\w+_simd\.cpp)", CMAKE)))


@pytest.mark.parametrize(("target", "isa", "flags"), _sets(), ids=lambda value: value if value else "")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_clang_takes_the_simd_files(source, target, isa, flags, tmp_path):
    done = clang(target, isa, *FLAGS, *flags, "-c", source, "-o", tmp_path / "out.o")
    assert (done.stderr, done.returncode) == ("", 0), done.stderr[-3000:]


# What g++ 12 takes without a warning, and clang's word of it.
FAULTS = {
    "a binding": (
        "struct Pair { int first, second; };\n"
        "int f(Pair p) { auto [a, b] = p; auto g = [a, b](int c) { return a + c; }; return g(b); }",
        "lambda capture 'b' is not used",
    ),
    "halves": (
        "typedef _Float16 Halves __attribute__((vector_size(16)));\n"
        "typedef short Lanes __attribute__((vector_size(16)));\n"
        "Halves f(Halves x, Lanes lanes) { return __builtin_shuffle(x, lanes); }",
        "undeclared identifier '__builtin_shuffle'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_only_gcc_takes_is_refused(fault, tmp_path):
    text, word = FAULTS[fault]
    planted = tmp_path / "planted_simd.cpp"
    planted.write_text(f'#include "cpu/rows.h"\n#include "cpu/vectors.h"\n{text}\n', encoding="utf-8")
    done = clang("x86_64-linux-gnu", "baseline", *FLAGS, "-c", planted, "-o", tmp_path / "out.o")
    assert done.returncode != 0 and word in done.stderr, done.stderr
    gcc = shutil.which("g++")
    if gcc and platform.machine() == "x86_64":
        flags = [flag for flag in FLAGS if "sanitize" not in flag]
        command = [gcc, *flags, "-DRPSTN_ISA=baseline", f"-I{ROOT / 'csrc'}", "-c", planted]
        subprocess.run([*command, "-o", tmp_path / "out.o"], check=True)


@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="no qemu-aarch64")
@pytest.mark.timeout(1200)  # zig compiles AArch64's C and C++ libraries first, once
@pytest.mark.parametrize("name", ["planes", "match"])
def test_selftests_of_aarch64(name, tmp_path):
    """The loops over planes, whole and in bands, against sums in double."""
    program = tmp_path / name
    built = clang(
        "aarch64-linux-musl",
        "baseline",
        *("-std=c++20", "-O2", "-fno-sanitize=all", "-ffp-contract=fast", "-static"),
        ROOT / "python_tests" / f"{name}_selftest.cpp",
        *("-o", program),
    )
    assert built.returncode == 0, built.stderr[-3000:]
    done = subprocess.run(["qemu-aarch64", program], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("right\n", 0), done.stdout + done.stderr[-3000:]
