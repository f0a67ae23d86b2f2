"""What every benchmark shares: where a number comes from, timing, the machine's own speed, tables and JSON lines."""

import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

import rpstn_ext as rx

Call = Callable[[], object]

ROUND_SECONDS = 0.02  # a call that is shorter is repeated within a round until it has lasted as long


def provenance(device: str = "cpu") -> dict[str, object]:
    """What a number needs to be quoted: machine, versions, commit (RPSTN_COMMIT, else git's) and date."""
    commit = os.environ.get("RPSTN_COMMIT") or _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    facts: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "changed_since": None if changed is None else bool(changed),
        "torch": torch.__version__,
        "backend": rx.backend(),
        "device": device,
        "cpu": _cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    if device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts


def _git(*arguments: str) -> str | None:
    """What git says of this tree; None where there is no git, or no repository (a tree that was carried elsewhere)."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).resolve().parents[1]), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def keep_memory() -> None:
    """Large blocks stay with the process: otherwise every fresh result costs page faults that hide the arithmetic.

    For every contender alike; glibc only, without effect elsewhere.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 2**30)
        libc.mallopt(m_trim_threshold, 2**30)


def limit_memory(share: float = 0.8) -> None:
    """Lets torch refuse a result that the machine has no room for, where the system would end the process instead.

    A share of what is available now; Linux only, without effect elsewhere.
    """
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return
    import resource

    available = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
    bytes_allowed = int(share * 1024 * int(available.split()[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (bytes_allowed, hard))


def alternate(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each round, on the CPU.

    Every round times every contender, so that a disturbance hits all of them.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(ROUND_SECONDS / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


def alternate_on_gpu(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each round, by CUDA events, with the second-level cache overwritten before every call.

    The overwriting also keeps the device busy while the host enqueues, so that a call's own launches, not the host,
    are timed, as far as they fit into that time.
    """
    cache = torch.cuda.get_device_properties("cuda").L2_cache_size
    flush = torch.empty(max(4 * cache, 256 * 2**20), dtype=torch.int8, device="cuda")
    for call in calls.values():
        for _ in range(3):
            call()
    events: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            start.record()
            call()
            end.record()
            events[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [s.elapsed_time(e) / 1e3 for s, e in pairs] for name, pairs in events.items()}


class Timing(NamedTuple):
    """Milliseconds per call."""

    median: float
    p20: float
    p80: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        tenths = statistics.quantiles(seconds, n=10, method="inclusive")
        return cls(statistics.median(seconds) * 1e3, tenths[1] * 1e3, tenths[7] * 1e3)


class Speed(NamedTuple):
    """What the machine reaches: bytes per second of a copy (read and written), multiply-adds per second in float32."""

    copy: float
    multiply_adds: float

    @classmethod
    def fastest(cls, speeds: Iterable["Speed"]) -> "Speed":
        """The fastest of each, whenever: others who use the machine only slow it down."""
        return cls(*map(max, zip(*speeds)))

    @classmethod
    def of_lines(cls, lines: Iterable[Mapping]) -> "Speed":
        """The fastest of the lines that have its facts."""
        return cls.fastest(
            cls(line["copy_gb_per_s"] * 1e9, line["multiply_adds_g_per_s"] * 1e9)
            for line in lines
            if "copy_gb_per_s" in line
        )

    def floor(self, moved_bytes: float, multiply_adds: float) -> float:
        """Seconds below which no program gets that moves so many bytes and computes so much."""
        return max(moved_bytes / self.copy, multiply_adds / self.multiply_adds)

    def facts(self) -> dict[str, float]:
        return {
            "copy_gb_per_s": round(self.copy / 1e9, 1),
            "multiply_adds_g_per_s": round(self.multiply_adds / 1e9, 1),
        }


def machine_speed(device: str = "cpu", rounds: int = 40) -> Speed:
    """The fastest of so many copies too large for the caches, and of matrix products of two sizes without TF32."""
    source = torch.ones((32 if device == "cpu" else 256) * 2**20, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Call] = {"copy": lambda: target.copy_(source)}
    sizes = (1024, 2048) if device == "cpu" else (4096, 8192)
    for size in sizes:
        square = torch.randn(size, size, device=device)
        calls[f"product {size}"] = partial(torch.mm, square, square, out=torch.empty_like(square))
    seconds = (alternate if device == "cpu" else alternate_on_gpu)(calls, rounds)
    products = max(size**3 / min(seconds[f"product {size}"]) for size in sizes)
    return Speed(2 * source.nbytes / min(seconds["copy"]), products)


def why_not_compiled(device: str = "cpu") -> str | None:
    """Why torch.compile cannot generate code on this machine, or None if it can."""
    if device == "cpu":
        found = any(shutil.which(name) for name in ("g++", "c++", "clang++"))
        return None if found else "no C++ compiler on PATH"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton is not installed"
    return None


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers to the right."""
    text = [[cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *text]) for i in range(len(header))]
    numeric = [bool(text) and all(_is_number(line[i]) for line in text) for i in range(len(header))]
    for line in [list(header), ["-" * width for width in widths], *text]:
        cells = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric))
        print("  ".join(cells).rstrip(), flush=True)


def cell(value: object) -> str:
    """A number, truth or text as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _is_number(cell: str) -> bool:
    return cell == "" or cell.lstrip("+-")[:1].isdigit()


def append_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """One JSON object per line, appended."""
    with path.open("a") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
