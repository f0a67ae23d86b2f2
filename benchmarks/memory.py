"""Peak memory of a case's contenders, above what is there before the call.

On the CPU the system's own high-water mark of resident pages is read, in a process of its own whose allocator gives
every block of 64 KiB or more back at once: results, buffers of libraries and our own scratch all count.
"""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.contenders import Case, Contender, contenders, inputs

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peaks(case: Case, device: str, threads: int) -> dict[str, dict[str, int]] | str:
    """Per contender bytes: forward's peak, what it keeps for backward, the peak of both; of inputs and result.

    Or a sentence that says why not. Compiled contenders are left out.
    """
    if device != "cpu":
        return _measure_all(case, device)
    if not CLEAR.exists():
        return "the system keeps no high-water mark of resident pages"
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        json.dumps({"case": asdict(case), "threads": threads}),
    ]
    root = Path(__file__).resolve().parents[1]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root)
    if result.returncode != 0:
        return "the measuring process failed: " + (result.stderr.strip().splitlines() or ["no message"])[-1]
    return json.loads(result.stdout)


def _measure_all(case: Case, device: str) -> dict[str, dict[str, int]]:
    torch.manual_seed(0)
    tensors = inputs(case, device)
    return {
        name: _measure(contender, tensors, device)
        for name, contender in contenders(case, device, compiled=False).items()
    }


def _measure(contender: Contender, tensors: list[torch.Tensor], device: str) -> dict[str, int]:
    layout = torch.channels_last if contender.channels_last else torch.contiguous_format
    leaves = [
        tensor.clone(memory_format=layout if tensor.dim() == 4 else torch.contiguous_format).requires_grad_()
        for tensor in tensors
    ]

    def without_gradients() -> torch.Tensor:
        with torch.no_grad():
            return contender.function(*leaves)

    out, forward = _watch(without_gradients, device)
    grad, out_bytes = torch.ones_like(out), out.nbytes
    del out

    def step() -> tuple[torch.Tensor, ...]:
        out = contender.function(*leaves)
        return torch.autograd.grad(out, leaves, grad, allow_unused=True)

    _, both = _watch(step, device)
    return {
        "forward_peak": forward,
        "kept": _kept(contender, leaves),
        "step_peak": both,
        "inputs": sum(leaf.nbytes for leaf in leaves),
        "result": out_bytes,
    }


def _kept(contender: Contender, leaves: list[torch.Tensor]) -> int:
    """Bytes that autograd keeps for backward besides the inputs and the result."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = contender.function(*leaves)
    for tensor in (*leaves, out):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storages.values())


def _watch(call: Callable[[], object], device: str) -> tuple[object, int]:
    """The result and the peak above the start; the second of two calls counts."""
    call()
    gc.collect()
    before = _reset(device)
    result = call()
    return result, _peak_and_present(device)[0] - before


def _reset(device: str) -> int:
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    CLEAR.write_text("5")
    return _peak_and_present(device)[1]


def _peak_and_present(device: str) -> tuple[int, int]:
    if device != "cpu":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    values = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if line.startswith("Vm"))
    return tuple(int(values[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))


def main() -> None:
    request = json.loads(sys.argv[1])
    torch.set_num_threads(request["threads"])
    m_mmap_threshold = -3
    ctypes.CDLL("libc.so.6").mallopt(m_mmap_threshold, 64 * 1024)
    print(json.dumps(_measure_all(Case(**request["case"]), "cpu")))


if __name__ == "__main__":
    main()
