"""A convolution of PyTorch that never ends on some processors, and how to tell."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch

FIRST_TORCH = (2, 13)  # where it was seen
SMALLEST_KERNEL = 15  # columns
WAY_OUT = "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"
# Values of ONEDNN_MAX_CPU_ISA below AVX512_CORE_FP16.
_WITHOUT_FLOAT16 = {
    "SSE41",
    "AVX",
    "AVX2",
    "AVX2_VNNI",
    "AVX2_VNNI_2",
    "AVX512_CORE",
    "AVX512_CORE_VNNI",
    "AVX512_CORE_BF16",
}


def hanging_convolution(
    version: str = torch.__version__,
    environment: Mapping[str, str] = os.environ,
    processor: Path = Path("/proc/cpuinfo"),
) -> str | None:
    """One sentence where a float16 convolution with a group per channel hangs in oneDNN on this CPU, else None.

    Seen with torch 2.13 on Intel processors with AVX512-FP16, for kernels of 15 columns or more; this package's own
    operations and its reference do not call it.
    """
    if tuple(int(part) for part in version.split(".")[:2]) < FIRST_TORCH:
        return None
    limit = environment.get("ONEDNN_MAX_CPU_ISA", environment.get("DNNL_MAX_CPU_ISA", ""))
    if limit.upper() in _WITHOUT_FLOAT16:
        return None
    if not processor.is_file() or "avx512_fp16" not in processor.read_text().split():
        return None
    return (
        f"torch {version} on this processor (AVX512-FP16): a float16 convolution with a group per channel and a kernel "
        f"of {SMALLEST_KERNEL} columns or more never ends on the CPU; set {WAY_OUT} before Python starts"
    )
