"""What benchmarks.sass counts, in a disassembly written by hand and, where the tools are, in a compiled kernel."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report, sass, sass_work
from benchmarks.sass_work import Launch, Loop, Work

# Two kernels: one with a loop inside a loop and a copy, one that spills. Shaped as cuobjdump prints, not its output.
DISASSEMBLY = """
\t\tFunction : _ZN5rpstn10add_kernelIfLi3EEEvPf
        /*0000*/                   LDC R1, c[0x0][0x28] ;           /* 0x1 */
                                                                    /* 0x2 */
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ; /* 0x3 */
        /*0020*/                   LDS.128 R8, [R0] ;               /* 0x4 */
        /*0030*/                   FFMA R4, R4, R5, R6 ;            /* 0x5 */
        /*0040*/              @!P0 FFMA.FTZ R4, R4, R5, R6 ;        /* 0x6 */
        /*0050*/              @!P1 BRA 0x30 ;                       /* 0x7 */
        /*0060*/                   LDGSTS.E.BYPASS.128 [R4], desc[UR4][R2.64] ; /* 0x8 */
        /*0070*/               @P2 BRA 0x20 ;                       /* 0x9 */
        /*0080*/                   STG.E desc[UR4][R2.64], R4 ;     /* 0xa */
        /*0090*/                   EXIT ;                           /* 0xb */
        /*00a0*/                   BRA 0xa0;                        /* 0xc */
        /*00b0*/                   NOP;                             /* 0xd */
\t\tFunction : _ZN5rpstn12spill_kernelEPf
        /*0000*/                   STL [R1], R4 ;                   /* 0x1 */
        /*0010*/                   HMMA.16816.F32 R4, R4, R8, R4 ;  /* 0x2 */
        /*0020*/                   LDL R4, [R1] ;                   /* 0x3 */
        /*0030*/                   EXIT ;                           /* 0x4 */

 Function _ZN5rpstn10add_kernelIfLi3EEEvPf:
  REG:40 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:632 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZN5rpstn12spill_kernelEPf:
  REG:255 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:632 TEXTURE:0 SURFACE:0 SAMPLER:0
"""


def counts(kernel: sass.Kernel) -> dict[str, int]:
    return {name: kernel.count(words) for name, words in sass.CLASSES.items() if kernel.count(words)}


def test_instructions_are_counted_by_their_first_word():
    add, spill = sass.parse(DISASSEMBLY)
    assert (add.name, add.registers, len(add.instructions)) == ("add_kernel<float, 3>", 40, 11)
    assert counts(add) == {"FFMA": 2, "LDS": 1, "LDG": 1, "STG": 1, "copies": 1}
    assert (spill.name, spill.registers, counts(spill)) == ("spill_kernel", 255, {"HMMA": 1})
    assert (add.count(sass.SPILLS), spill.count(sass.SPILLS)) == (0, 2)


def test_loops_are_the_innermost_ones():
    loops = list(sass.parse(DISASSEMBLY)[0].loops())
    assert [[i.address for i in loop] for loop in loops] == [[0x30, 0x40, 0x50]]


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "blocks"),
    [
        (128, 111, 0, 4),  # 65536 registers
        (128, 32, 0, 16),  # 2048 threads
        (128, 64, 113 * 1024, 2),  # 228 KB, of which every block takes one besides
        (128, 64, 114 * 1024, 1),
        (32, 16, 0, 32),
    ],
)
def test_resident_blocks(threads, registers, shared_bytes, blocks):
    assert sass.resident_blocks(threads, registers, shared_bytes) == blocks


def test_names_are_those_of_both_compilers():
    theirs = sass.signature(
        "void rpstn::_GLOBAL__N__5cdb_joint_cu_0a::f<__nv_bfloat16, (int)7, true>(rpstn::Maps, bool)"
    )
    ours = sass.signature("void rpstn::(anonymous namespace)::f<__nv_bfloat16, 7, true>(rpstn::Maps, bool)")
    assert theirs == ours == "f<bfloat16, 7, 1>(Maps, bool)"
    assert sass.short(ours) == "f<bfloat16, 7, 1>"


def test_rounds_of_loops_in_loops_are_counted():
    """Twice round the loop with the copy, each time thrice round the one in it; without the first instruction."""
    add, _ = sass.parse(DISASSEMBLY)
    loops = Loop((("LDS", 0),), 2, (Loop((("FFMA", 0),), 3),))
    launch = Launch("add_kernel<float, 3>", 4, (loops,), (("STG", 0),))
    assert launch.instructions(add) == 1 + 2 * (1 + 3 * 3 + 2) + 1
    assert Launch("", 4, (replace(loops, rounds=1.5),), (("STG", 0),)).instructions(add) == 1 + 1.5 * 12 + 1


def test_a_case_is_held_against_what_it_has_to_move():
    add, spill = sass.parse(DISASSEMBLY)
    launch = Launch("add_kernel<float, 3>", 132 * 4, (Loop((("FFMA", 0),), 990),))
    work = Work(
        "a call", "50 %", 132, least=3e6, multiplied=0, launches=(launch, Launch(spill.name)), moved=6e6
    )
    counted = 3 + 989 * 3
    known = {kernel.name: kernel for kernel in (add, spill)}
    assert work.row(known) == ("a call", 2, f"{4 * counted}", "1.5", "1.0 / 0.7", "50% / 47%", "50 %")
    assert work.known(known) and not work.known({add.name: add})


def test_jumps_that_a_predicate_among_the_operands_decides_may_go_on():
    lines = DISASSEMBLY.replace("@!P1 BRA 0x30 ", "     BRA.DIV UR4, 0x30 ")
    add, _ = sass.parse(lines)
    assert add.shortest(3, 6) == 3


def test_the_page_names_every_kernel():
    kernels = sass.parse(DISASSEMBLY)
    launch = {"kernel": "void rpstn::add_kernel<float, 3>(float*)", "blocks": 8, "threads": 128, "cluster": 1}
    page = sass.page(kernels, {"a call": [{**launch, "shared_bytes": 0}]})
    assert "| a call | `add_kernel<float, 3>` | 8 | 1 | 128 | 0.0 | 40 | 12 |" in page
    assert "| `spill_kernel` | 255 | 2 | 4 |" in page


def test_the_report_repeats_what_was_counted(monkeypatch):
    add, spill = sass.parse(DISASSEMBLY)
    launch = Launch(add.name, 4, (Loop((("FFMA", 0),), 2),))
    work = Work("a call", "50 %", 13, least=3e6, multiplied=0, launches=(launch,))
    monkeypatch.setattr(sass_work, "works", lambda: [work])
    page = sass.page([add, spill], {})
    assert "| a call | 1 | 2 | 0.0 | 1.0 / 0.7 | 100% / 100% | 50 % |" in page
    assert report.counted(page)[-3:] == [
        "| --- | --- | --- | --- |",
        "| a call | 1 | 100% / 100% | 50 % |",
        "",
    ]
    assert report.counted(sass.page([spill], {})) == []


def test_a_compiled_kernel(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    try:
        sass.tool("cuobjdump")
    except SystemExit:
        pytest.skip("no cuobjdump")
    source, cubin = tmp_path / "scale.cu", tmp_path / "scale.cubin"
    source.write_text(
        "__global__ void scale_kernel(const float* x, float* y, int count) {\n"
        "  const int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
        "  if (i < count) y[i] = fmaf(x[i], 3.0f, y[i]);\n}\n"
    )
    subprocess.run(["nvcc", "-arch=sm_90", "-cubin", str(source), "-o", str(cubin)], check=True)
    [kernel] = sass.disassembled(Path(cubin))
    assert kernel.name == "scale_kernel" and 4 <= kernel.registers < 32
    assert counts(kernel) == {"FFMA": 1, "LDG": 2, "STG": 1} and kernel.count(sass.SPILLS) == 0
