"""Counts what nvcc makes of the CUDA kernels for sm_90, without running them.

python -m benchmarks.sass [--cubin FILE ...] [--kernel WORD] [--loops] [--out FILE.md]

Needs nvcc, unless cubins are given, and cuobjdump (python -m pip install nvidia-cuda-cuobjdump). With the emulation
(`make test` compiles it) it also says with how much shared memory the operations launch which kernel on the shapes of
DESIGN's bars, and how many blocks then share a multiprocessor.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from benchmarks.report import table
from benchmarks.sass_work import MULTIPROCESSORS, per_work

ROOT = Path(__file__).resolve().parents[1]
KERNELS = sorted(path.stem for path in (ROOT / "csrc" / "cuda").glob("*.cu"))
LIBRARY = ROOT / "build" / "cuda_on_cpu" / "_C_cuda_on_cpu.so"
EMULATION = ROOT / "python_tests" / "cuda_on_cpu" / "count_launches.py"

# What is counted: instructions by their first word.
CLASSES = {
    "FFMA": ("FFMA",),
    "HMMA": ("HMMA",),
    "LDS": ("LDS", "LDSM"),
    "STS": ("STS",),
    "LDG": ("LDG",),
    "STG": ("STG",),
    "copies": ("LDGSTS", "UBLKCP", "UTMALDG"),  # asynchronous ones, to shared memory
    "SHFL": ("SHFL",),
}
SPILLS = ("LDL", "STL")

# Of a multiprocessor of sm_90.
REGISTERS, THREADS, BLOCKS, SHARED, RESERVED = 65536, 2048, 32, 228 * 1024, 1024


@dataclass(frozen=True)
class Instruction:
    address: int
    opcode: str
    target: int | None  # of a jump
    sometimes: bool = False  # under a predicate

    @property
    def word(self) -> str:
        return self.opcode.split(".")[0]


@dataclass
class Kernel:
    signature: str
    registers: int = 0
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def name(self) -> str:
        return short(self.signature)

    @cached_property
    def nexts(self) -> list[list[int]]:
        """Of each instruction those that may come next."""
        places = {instruction.address: i for i, instruction in enumerate(self.instructions)}
        found = []
        for i, instruction in enumerate(self.instructions):
            jump = instruction.word == "BRA" and instruction.target is not None
            ends = instruction.word in ("BRA", "EXIT", "RET") and not instruction.sometimes
            after = [] if ends or i + 1 == len(self.instructions) else [i + 1]
            # A jump to what is not listed is one to the padding, where nothing comes after.
            found.append(
                after + ([places[instruction.target]] if jump and instruction.target in places else [])
            )
        return found

    def shortest(self, first: int, last: int) -> int:
        """Instructions of the shortest way from one to the other, without the first."""
        reached, front, steps = {first}, [first], 0
        while front:
            steps += 1
            after = {n for i in front for n in self.nexts[i]}
            if last in after:
                return steps
            front = list(after - reached)
            reached |= after
        raise ValueError(f"{self.name}: no way from instruction {first} to {last}")

    def way(self, marks: Sequence[int]) -> int:
        return sum(self.shortest(first, last) for first, last in pairwise(marks))

    def round(self, marks: Sequence[int]) -> int:
        """The shortest way through the marks and back to the first."""
        return self.way([*marks, marks[0]])

    def places(self, opcode: str) -> list[int]:
        return [i for i, instruction in enumerate(self.instructions) if instruction.opcode.startswith(opcode)]

    def count(self, words: Sequence[str]) -> int:
        return sum(instruction.word in words for instruction in self.instructions)

    def loops(self) -> Iterator[list[Instruction]]:
        """The bodies of the innermost loops, from where a jump back arrives to that jump."""
        jumps = [
            (i.target, i.address)
            for i in self.instructions
            if i.target is not None and i.word == "BRA" and i.target < i.address
        ]
        for first, last in jumps:
            if not any(
                first <= inner and end <= last and (inner, end) != (first, last) for inner, end in jumps
            ):
                yield [i for i in self.instructions if first <= i.address <= last]


def resident_blocks(threads: int, registers: int, shared_bytes: int) -> int:
    """Blocks that share a multiprocessor: a warp takes registers by 256, a block some shared memory besides its own."""
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // 256) * 256
    return min(
        BLOCKS, THREADS // (32 * warps), REGISTERS // (of_warp * warps), SHARED // (shared_bytes + RESERVED)
    )


def signature(name: str) -> str:
    """`void rpstn::(anonymous namespace)::f<float, (int)13>(rpstn::Maps)` is f<float, 13>(Maps), of either compiler."""
    name = re.sub(r"\(anonymous namespace\)::|rpstn::|_GLOBAL__N__\w+::|^void ", "", name)
    name = re.sub(r"\((?:int|bool)\)", "", name)
    return name.replace("true", "1").replace("false", "0").replace("__nv_", "").replace("__half", "half")


def short(signature: str) -> str:
    """Without the arguments."""
    depth = 0
    for at, letter in enumerate(signature):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return signature[:at]
    return signature


def demangled(names: Sequence[str]) -> list[str]:
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return [signature(name) for name in done.stdout.splitlines()]


LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;")
FUNCTION = re.compile(r"^\s*Function\s*:\s*(\S+)")
USAGE = re.compile(r"^\s*Function (\S+):\s*$")


def parse(text: str) -> list[Kernel]:
    """Kernels of what cuobjdump -sass -res-usage prints."""
    kernels: dict[str, Kernel] = {}
    current, used = None, None
    for line in text.splitlines():
        if match := FUNCTION.match(line):
            current = kernels.setdefault(match[1], Kernel(match[1]))
        elif match := USAGE.match(line):
            used = kernels.setdefault(match[1], Kernel(match[1]))
        elif used is not None and (match := re.search(r"\bREG:(\d+)", line)):
            used.registers, used = int(match[1]), None
        elif current is not None and (match := LINE.match(line)):
            address, opcode, operands = int(match[1], 16), match[3], match[4]
            if opcode == "NOP":
                continue
            target = re.search(r"(?:^|\s)(?:`\(.*\)|0x([0-9a-f]+))$", operands)
            jumps = opcode.split(".")[0] in ("BRA", "BSSY", "CALL")
            current.instructions.append(
                Instruction(
                    address,
                    opcode,
                    int(target[1], 16) if jumps and target and target[1] else None,
                    match[2] is not None or (opcode.startswith("BRA") and "," in operands),
                )
            )
    found = [kernel for kernel in kernels.values() if kernel.instructions]
    for kernel, name in zip(found, demangled([kernel.signature for kernel in found]) if found else []):
        kernel.signature = name
    return sorted(found, key=lambda kernel: kernel.signature)


def tool(name: str) -> str:
    """A program of the CUDA toolkit, from PATH or from packages."""
    packaged = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin"
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), str(packaged))))
    if found is None:
        package = "nvidia-cuda-cuobjdump" if name == "cuobjdump" else "-r requirements-cuda.txt"
        raise SystemExit(f"benchmarks.sass: expected {name} on PATH; python -m pip install {package}")
    return found


def compiled(folder: Path) -> list[Path]:
    """A cubin for each file of kernels, by the flags of the build."""
    nvcc, running = tool("nvcc"), []
    for name in KERNELS:
        source, cubin = ROOT / "csrc" / "cuda" / f"{name}.cu", folder / f"{name}.cubin"
        flags = ("-arch=sm_90", "-cubin", "-std=c++17", "-O3", "-DNDEBUG", "-lineinfo", f"-I{ROOT / 'csrc'}")
        running.append((cubin, subprocess.Popen([nvcc, *flags, str(source), "-o", str(cubin)])))
    for cubin, process in running:
        if process.wait() != 0:
            raise SystemExit(f"benchmarks.sass: nvcc did not compile {cubin.stem}.cu")
    return [cubin for cubin, _ in running]


def disassembled(cubin: Path) -> list[Kernel]:
    command = [tool("cuobjdump"), "-sass", "-res-usage", str(cubin)]
    return parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def per_kernel(kernels: Sequence[Kernel]) -> list[str]:
    rows = []
    for kernel in kernels:
        longest = max(kernel.loops(), key=len, default=[])
        rows.append(
            (
                f"`{kernel.name}`",
                kernel.registers,
                kernel.count(SPILLS),
                len(kernel.instructions),
                *(kernel.count(words) for words in CLASSES.values()),
                f"{len(longest)} / {sum(i.word == 'FFMA' for i in longest)}",
            )
        )
    return table(
        ("kernel", "registers", "spills", "instructions", *CLASSES, "longest inner loop / FFMA"), rows
    )


def launches(words: str = "", shapes: str = "--bars", multiprocessors: int = 8) -> dict[str, list[dict]]:
    """What the operations launch on the shapes of the bars, from the emulation: of calls named with these words.

    With "--single" on those of one sample, which depends on the multiprocessors.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RPSTN_CUDA_ON_CPU_ARCHITECTURE": "90",
        "RPSTN_CUDA_ON_CPU_MULTIPROCESSORS": str(multiprocessors),
    }
    command = [sys.executable, str(EMULATION), str(LIBRARY), shapes, words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"benchmarks.sass: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def per_case(cases: dict[str, list[dict]], kernels: Sequence[Kernel]) -> list[str]:
    known = {kernel.signature: kernel for kernel in kernels}
    rows = []
    for case, of_case in cases.items():
        for launch in of_case:
            name = signature(launch["kernel"])
            kernel = known.get(name)
            blocks = kernel and resident_blocks(launch["threads"], kernel.registers, launch["shared_bytes"])
            shared = f"{launch['shared_bytes'] / 1024:.1f}"
            registers = kernel and kernel.registers
            rows.append(
                (
                    case,
                    f"`{short(name)}`",
                    launch["blocks"],
                    launch["cluster"],
                    launch["threads"],
                    shared,
                    registers,
                    blocks,
                )
            )
    header = ("case", "kernel", "blocks", "cluster", "threads", "shared KB", "registers", "resident blocks")
    return table(header, rows)


def page(kernels: Sequence[Kernel], cases: dict[str, list[dict]]) -> str:
    text = [
        "# Counted, not measured",
        "",
        "Written by `python -m benchmarks.sass --out FILE`: what nvcc made of the CUDA kernels for sm_90. Nothing here",
        "ran on a GPU. Instructions are counted where they stand, however often a loop runs them. *Copies* are",
        "asynchronous ones into shared memory, *spills* registers that go through memory.",
        "",
    ]
    if cases:
        text += [
            "## Launches",
            "",
            "Of one call, in their order, with the blocks of the whole grid; *resident*: how many of them share a",
            "multiprocessor, by threads, registers and shared memory. Calls of one sample are those for",
            f"{MULTIPROCESSORS} multiprocessors, the others for so few that they are filled.",
            "",
            *per_case(cases, kernels),
        ]
    work = per_work({kernel.name: kernel for kernel in kernels})
    if len(work) > 3:  # more than the table's head
        text += [
            "## Work",
            "",
            "Of a warp, counted along the shortest way through its main loops, as often as it goes round them, times",
            f"all warps; *begun*: the time in which {MULTIPROCESSORS} multiprocessors at 1.98 GHz begin them, "
            "four in a cycle.",
            "*Floor*: of bytes at 3.0 (H100) and 4.3 TB/s (H200), or of multiply-adds; of the norm, the relation's.",
            "The share is what would be reached if every cycle began an instruction or moved bytes: no more, and less",
            "with waiting, in waves of blocks and between launches. Folding of 13x13 matrices is counted once through",
            "in the relation and not at all between the norm's passes, whose second read of the maps is taken to find",
            "50 MB of them in the cache.",
            "",
            *work,
        ]
    return "\n".join([*text, "## Kernels", "", *per_kernel(kernels)]).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sass", description=__doc__.splitlines()[0])
    parser.add_argument("--cubin", type=Path, nargs="+", help="compiled kernels; without, nvcc compiles them")
    parser.add_argument("--kernel", default="", help="only those with this word in their name")
    parser.add_argument(
        "--loops", action="store_true", help="print the innermost loops of each kernel as well"
    )
    parser.add_argument("--out", type=Path, help="write the page there instead of printing the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cubins = options.cubin or compiled(Path(folder))
        kernels = [kernel for cubin in cubins for kernel in disassembled(cubin)]
    kernels = [kernel for kernel in kernels if options.kernel in kernel.name]
    if options.out is not None:
        cases = launches() | launches("", "--single", MULTIPROCESSORS) if LIBRARY.exists() else {}
        options.out.write_text(page(kernels, cases))
        print(f"{options.out}: {len(kernels)} kernels")
        return
    print("\n".join(per_kernel(kernels)))
    for kernel in kernels if options.loops else ():
        print(kernel.name)
        for loop in sorted(kernel.loops(), key=len, reverse=True):
            words = Counter(instruction.word for instruction in loop)
            print(f"  {len(loop)}:", ", ".join(f"{count} {word}" for word, count in words.most_common(8)))


if __name__ == "__main__":
    main()
