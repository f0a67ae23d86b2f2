"""Say what is installed, what the compiled library was built for and what runs, and try every operation once.

Every operation runs forward and backward on each device, in float64 and float32, and is compared with the plain
PyTorch version in float64. Ends with exit status 1 if one of them disagrees; with --strict also where plain PyTorch
serves in place of the compiled operations.
"""

import argparse
import importlib
import json
import math
import os
import platform
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_INSTRUCTION_SETS = {
    "AVX512": "avx512",
    "AVX2": "avx2",
}  # torch's word: ours, see csrc/cpu/instruction_set.cpp
_FLOOR = {torch.float64: 1e-12, torch.float32: 1e-5}
_FORWARD, _BACKWARD = 2, 3  # times plain PyTorch's own error in the same dtype


@dataclass(frozen=True, kw_only=True)
class Check:
    """One operation on one device in one dtype; errors are relative to the largest value of the truth, None where
    `failure` says what came instead of values.
    """

    op: str
    device: str
    dtype: str
    served_by: str
    forward_error: float | None
    backward_error: float | None
    agrees: bool
    failure: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 also where the compiled operations do not serve"
    )


def run(args: argparse.Namespace) -> int:
    report = examine()
    print(json.dumps(report, indent=2) if args.json else format_report(report))
    served = all(check["served_by"] == "compiled" for check in report["checks"])
    return 0 if report["healthy"] and (served or not args.strict) else 1


def examine() -> dict[str, Any]:
    """Everything the command prints, in plain types. `healthy` is False if an operation disagrees."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says stands in the report
        rx = importlib.import_module("rpstn_ext")
    library = importlib.import_module("rpstn_ext._library")
    problem = library.problem
    if rx.backend() == "reference" and problem is None:
        problem = (
            "no compiled library is in use; plain PyTorch serves every call, more slowly. "
            f"To mend it, run in the source folder: {library.MEND}"
        )
    checks = [check for device in _devices() for check in _check_device(rx, library, device)]
    wrong = [check for check in checks if not check.agrees]
    advice = None
    if wrong:
        names = ", ".join(sorted({f"{check.op} on {check.device}" for check in wrong}))
        advice = (
            f"{names}: expected the values of plain PyTorch, got others; build the library again for the installed "
            f'torch ({library.MEND}), and until then compute with rpstn_ext.use_backend("reference")'
        )
    return {
        "healthy": not wrong,
        "advice": advice,
        "problem": problem,
        "caution": importlib.import_module("rpstn_ext._onednn").hanging_convolution(),
        "versions": _versions(rx),
        "backend": rx.backend(),
        "built": _built(library.build_info()),
        "running": _running(library.build_info()),
        "memory": _memory(),
        "gpus": _gpus(),
        "checks": [asdict(check) for check in checks],
    }


def format_report(report: dict[str, Any]) -> str:
    """`examine`'s report for people."""
    built, running, memory = report["built"], report["running"], report["memory"]
    lines = [f"{name:<10}{value}" for name, value in report["versions"].items()]
    lines += ["", f"backend   {report['backend']}"]
    if report["problem"]:
        lines += [f"          {report['problem']}"]
    if report["caution"]:
        lines += [f"caution   {report['caution']}"]
    if built is None:
        lines += ["built for nothing (no compiled library)"]
    else:
        cuda = f"CUDA {built['cuda']}, architectures {built['cuda_architectures']}"
        lines += [
            f"built for torch {built['torch']}, {built['system']}, {built['compiler']}",
            f"          instruction sets {built['instruction_sets']}",
            f"          {cuda if built['cuda'] else 'CPU only: ' + built['without_cuda_because']}",
        ]
    lines += [
        f"running   torch {running['torch']}, {running['system']}",
        f"          threads {running['threads']}, processors {running['processors']}",
        f"          instruction set {running['instruction_set']}",
        f"          torch's CUDA {running['torch_cuda'] or 'none (a CPU build)'}",
    ]
    lines += [
        f"memory    allocator {memory['allocator']}",
        f"          huge pages {_huge_pages_in_words(memory)}",
    ]
    for gpu in report["gpus"]:
        lines += [
            f"GPU       {gpu['name']}, compute capability {gpu['capability']}, {gpu['memory_gib']:.0f} GiB"
        ]
    if not report["gpus"]:
        lines += ["GPU       none found"]
    lines += [
        "",
        f"{'operation':<21}{'device':<8}{'dtype':<9}{'served by':<11}{'forward':>9}{'backward':>10}",
    ]
    for check in report["checks"]:
        row = f"{check['op']:<21}{check['device']:<8}{check['dtype']:<9}{check['served_by']:<11}"
        if check["failure"]:
            lines += [f"{row}  FAILED: {check['failure']}"]
            continue
        row += f"{check['forward_error']:>9.1e}{check['backward_error']:>10.1e}"
        lines += [f"{row}  {'ok' if check['agrees'] else 'DISAGREES'}"]
    lines += ["          errors relative to the largest value; truth is plain PyTorch in float64"]
    if report["advice"]:
        lines += ["", report["advice"]]
    return "\n".join(lines)


def _versions(rx: Any) -> dict[str, str]:
    import cv2
    import numpy

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "rpstn_ext": rx.__version__,
    }


def _built(info: Any) -> dict[str, str] | None:
    if info is None:
        return None
    names = (
        "TORCH",
        "SYSTEM",
        "COMPILER",
        "INSTRUCTION_SETS",
        "CUDA",
        "CUDA_ARCHITECTURES",
        "WITHOUT_CUDA_BECAUSE",
    )
    return {name.lower(): getattr(info, name) for name in names}


def _running(info: Any) -> dict[str, Any]:
    chosen = _INSTRUCTION_SETS.get(torch.backends.cpu.get_cpu_capability(), "baseline")
    return {
        "torch": str(torch.__version__),
        "system": f"{platform.system()}-{platform.machine()}",
        "threads": torch.get_num_threads(),
        "processors": _processors(),
        "instruction_set": chosen
        if info is not None and chosen in info.INSTRUCTION_SETS.split()
        else "baseline",
        "torch_cuda": torch.version.cuda,
    }


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory(
    policy: Path = Path("/sys/kernel/mm/transparent_hugepage/enabled"),
    loaded: Path = Path("/proc/self/maps"),
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Who allocates results on the CPU, and the system's policy of huge pages, None where there is none.

    Half of the time of an operation on 32 MiB or more is page faults of its new result; huge pages save most of them.
    """
    files = (
        {Path(line.split()[-1]).name for line in loaded.read_text().splitlines()}
        if loaded.is_file()
        else set()
    )
    others = [
        name for name in ("tcmalloc", "jemalloc", "mimalloc") if any(f"lib{name}" in file for file in files)
    ]
    chosen = re.search(r"\[(\w+)\]", policy.read_text()) if policy.is_file() else None
    return {
        "allocator": others[0] if others else " ".join(platform.libc_ver()).strip() or "the system's",
        "huge_pages": chosen[1] if chosen else None,
        "huge_pages_asked_for": environment.get("THP_MEM_ALLOC_ENABLE") == "1",  # by torch, for 2 MiB or more
    }


def _huge_pages_in_words(memory: dict[str, Any]) -> str:
    match memory["huge_pages"], memory["huge_pages_asked_for"]:
        case "always", _:
            return "always"
        case "madvise", True:
            return "madvise: for large results, by THP_MEM_ALLOC_ENABLE=1"
        case "madvise", False:
            return "madvise: for none; THP_MEM_ALLOC_ENABLE=1 asks for them, and large results fault less"
        case policy, _:
            return policy or "unknown"


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    properties = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [
        {"name": p.name, "capability": f"{p.major}.{p.minor}", "memory_gib": p.total_memory / 2**30}
        for p in properties
    ]


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _cases() -> dict[str, tuple[list[Tensor], Callable[..., Tensor]]]:
    """Per operation float64 inputs, and how it is called with them; `ops` is rpstn_ext or its reference."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    maps, parameters = (
        random(2, 13, 24, 17) * 0.2,
        [random(13, 13) * 0.3, random(13), random(13, 13) * 0.3, random(13)],
    )
    norm = [random(13), random(13)]
    features, kernels = random(2, 19, 24, 17), random(2, 19, 7, 5)
    mean, var = random(13), random(13) ** 2 + 0.5

    def relation_norm(ops: Any, *tensors: Tensor) -> Tensor:
        # With the batch's statistics the gradient of bias_o would be zero but for rounding.
        running = mean.to(tensors[0]), var.to(tensors[0])
        return ops.joint_relation_norm(*tensors, *running, training=False)

    return {
        "joint_relation": ([maps, *parameters], lambda ops, *tensors: ops.joint_relation(*tensors)),
        "joint_relation_norm": ([maps, *parameters, *norm], relation_norm),
        "dynamic_conv2d": ([features, kernels], lambda ops, *tensors: ops.dynamic_conv2d(*tensors)),
        "dynamic_match": (
            [features, kernels, random(13, 19), random(13)],
            lambda ops, *tensors: ops.dynamic_match(*tensors),
        ),
    }


def _check_device(rx: Any, library: Any, device: str) -> list[Check]:
    served_by = "compiled" if library.compiled(device) else "reference"
    checks = []
    for op, (inputs, call) in _cases().items():
        for dtype in (torch.float64, torch.float32):
            exact = [tensor.to(dtype).to(device, torch.float64) for tensor in inputs]
            rounded = [tensor.to(device, dtype) for tensor in inputs]
            truth = _outcome(call, rx.reference, exact)
            plain = _errors(_outcome(call, rx.reference, rounded), truth)
            label = {
                "op": op,
                "device": device,
                "dtype": str(dtype).removeprefix("torch."),
                "served_by": served_by,
            }
            failure = None
            try:
                forward, backward = _errors(_outcome(call, rx, rounded), truth)
                if not (math.isfinite(forward) and math.isfinite(backward)):
                    failure = "values or gradients that are not finite or of another shape"
            except Exception as error:  # whatever a call does wrong is printed
                failure = f"{type(error).__name__}: {error}".splitlines()[0]
            if failure is not None:
                empty = {"forward_error": None, "backward_error": None}
                checks.append(Check(**label, **empty, agrees=False, failure=failure))
                continue
            floor = _FLOOR[dtype]
            agrees = forward <= _FORWARD * plain[0] + floor and backward <= _BACKWARD * plain[1] + floor
            checks.append(Check(**label, forward_error=forward, backward_error=backward, agrees=agrees))
    return checks


def _outcome(call: Callable[..., Tensor], ops: Any, inputs: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of all inputs, for an upstream gradient that differs everywhere."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    out = call(ops, *leaves)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = torch.autograd.grad(out, leaves, upstream.to(out))
    return [out.detach(), *grads]


def _errors(found: list[Tensor], truth: list[Tensor]) -> tuple[float, float]:
    """Largest error of the result and of any gradient, relative to the largest value of that tensor."""
    errors = []
    for got, right in zip(found, truth):
        if got.shape != right.shape:
            return math.inf, math.inf
        scale = right.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
        error = ((got.double() - right).abs().max() / scale).item()
        errors.append(math.inf if math.isnan(error) else error)
    return errors[0], max(errors[1:])
