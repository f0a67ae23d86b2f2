"""Prints what a call of each operation would send to a GPU, as one object of JSON.

python count_launches.py LIBRARY [--bars [WORDS] | --single [WORDS]]

The emulated library says how many kernels it launched, the profiler which operations of PyTorch ran around them: those
that are no view and no allocation are a launch each as well. With --bars it says which kernels the shapes of DESIGN's
bars launch, for few samples or channels of them, and how; of those that have the words in their name. With --single
those of one sample, of which launchers make more the more multiprocessors there are.
"""

import ctypes
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent

import rpstn_ext as rx

# Neither of them runs anything on a GPU; the first are what they call.
WRAPPERS = {"to", "_to_copy", "clone", "contiguous", "reshape", "flatten", "zeros", "zeros_like", "ones_like"}
NOTHING = {
    *(
        "empty",
        "empty_strided",
        "empty_like",
        "view",
        "view_as",
        "narrow",
        "slice",
        "select",
        "as_strided",
        "detach",
    ),
    *("alias", "expand", "unsqueeze", "transpose", "t", "resolve_conj"),
}


def launching(event: FunctionEvent) -> Iterator[str]:
    """The operations of PyTorch that a GPU would run a kernel for."""
    name = event.name.removeprefix("aten::")
    if name == event.name or name in WRAPPERS:
        for child in event.cpu_children:
            yield from launching(child)
    elif name not in NOTHING:
        yield name


def count(library: ctypes.CDLL, call: Callable[[], object]) -> tuple[object, list[object]]:
    before = library.rpstn_emulated_launches()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        result = call()
    outermost = [event for event in profile.events() if event.cpu_parent is None]
    others = Counter(name for event in outermost for name in launching(event))
    return result, [library.rpstn_emulated_launches() - before, dict(sorted(others.items()))]


def parameters(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def calls(dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Tensor], list[Tensor]]]:
    joints, channels = 13, 8
    relation = parameters(
        dtype, (2, joints, 16, 16), (joints, joints), (joints,), (joints, joints), (joints,)
    )
    yield "joint_relation", lambda: rx.joint_relation(*relation), relation
    norm = [*relation, *parameters(dtype, (joints,), (joints,))]
    statistics = [torch.zeros(joints, dtype=dtype), torch.ones(joints, dtype=dtype)]
    for training in (True, False):
        name = "joint_relation_norm " + ("training" if training else "evaluation")
        yield name, lambda on=training: rx.joint_relation_norm(*norm, *statistics, training=on), norm
    planes = parameters(dtype, (2, channels, 16, 16), (2, channels, 7, 7))
    yield "dynamic_conv2d", lambda: rx.dynamic_conv2d(*planes), planes
    match = [*planes, *parameters(dtype, (joints, channels), (joints,))]
    yield "dynamic_match", lambda: rx.dynamic_match(*match), match


# So many samples that clusters are not enlarged to fill the emulated device.
def bars() -> Iterator[tuple[str, Callable[[], Tensor], list[Tensor]]]:
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        relation = parameters(dtype, (5, 13, 64, 64), (13, 13), (13,), (13, 13), (13,))
        yield f"joint_relation 5x13x64x64 {name}", partial(rx.joint_relation, *relation), relation
        norm = [*relation, *parameters(torch.float32, (13,), (13,))]
        call = partial(rx.joint_relation_norm, *norm, torch.zeros(13), torch.ones(13), training=True)
        yield f"joint_relation_norm 5x13x64x64 {name}", call, norm
        planes = parameters(dtype, (1, 16, 64, 64), (1, 16, 7, 7))
        yield f"dynamic_conv2d 1x16x64x64 7x7 {name}", partial(rx.dynamic_conv2d, *planes), planes
        match = [*planes, *parameters(dtype, (13, 16), (13,))]
        yield f"dynamic_match 1x16x64x64 7x7 13 {name}", partial(rx.dynamic_match, *match), match


def single() -> Iterator[tuple[str, Callable[[], Tensor], list[Tensor]]]:
    relation = parameters(torch.float32, (1, 13, 64, 64), (13, 13), (13,), (13, 13), (13,))
    yield "joint_relation 1x13x64x64 float32", partial(rx.joint_relation, *relation), relation
    for size in (9, 31):
        match = parameters(torch.float32, (1, 256, 64, 64), (1, 256, size, size), (13, 256), (13,))
        yield f"dynamic_match 1x256x64x64 {size}x{size} 13 float32", partial(rx.dynamic_match, *match), match


def launched(
    path: str, library: ctypes.CDLL, call: Callable[[], object]
) -> tuple[object, list[dict[str, object]]]:
    listed = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True)
    symbols = dict(line.split(" ", 2)[::2] for line in listed.stdout.splitlines())
    before = library.rpstn_emulated_launches()
    result, launches = call(), []
    for index in range(before, library.rpstn_emulated_launches()):
        numbers = (ctypes.c_uint64 * 5)()
        library.rpstn_emulated_launch(ctypes.c_uint64(index), numbers)
        names = ("blocks", "threads", "shared_bytes", "cluster")
        launches.append({"kernel": symbols[f"{numbers[0]:016x}"], **dict(zip(names, numbers[1:]))})
    return result, launches


def main(path: str, *options: str) -> None:
    words = " ".join(options[1:])
    torch.ops.load_library(path)
    library = ctypes.CDLL(path)
    library.rpstn_emulated_launches.restype = ctypes.c_uint64
    torch.manual_seed(0)
    found = {}
    shapes = {"--bars": bars, "--single": single}.get(options[0]) if options else None
    if shapes is not None:
        for name, call, inputs in shapes():
            if words not in name:
                continue
            out, found[f"{name} forward"] = launched(path, library, call)
            gradients = partial(torch.autograd.grad, out, inputs, torch.randn_like(out))
            _, found[f"{name} backward"] = launched(path, library, gradients)
    else:
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            for name, call, inputs in calls(dtype):
                out, forward = count(library, call)
                gradients = partial(torch.autograd.grad, out, inputs, torch.randn_like(out))
                _, backward = count(library, gradients)
                found[f"{name} {str(dtype).removeprefix('torch.')}"] = {
                    "forward": forward,
                    "backward": backward,
                }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
