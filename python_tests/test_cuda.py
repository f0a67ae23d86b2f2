"""What the CUDA kernels promise beyond values, at sizes that reach them: bulk copies, more blocks than fit at once.

On a GPU, and without streams, graphs and gigabytes on the kernels compiled for the CPU (cuda_on_cpu/README.md). The
values are in test_ops.py, on every device.
"""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from op_cases import MIDDLE, OPS, Op, conv_case, match_case, norm_case, relation_case, results
from op_cases import _misaligned as misaligned

import rpstn_ext as rx

ON_GPU = torch.cuda.is_available() and "cuda" in rx.backend()
DEVICE = "cuda" if ON_GPU else "cpu"
pytestmark = pytest.mark.skipif(
    not (ON_GPU or os.environ.get("RPSTN_CUDA_ON_CPU")), reason="no GPU, or no CUDA operations built"
)
on_gpu = pytest.mark.skipif(not ON_GPU, reason="no GPU")

# Rows of 64 are fetched by bulk copies, 300 samples are more than one wave of any card; 25 x 41 takes neither way.
SAMPLES = 300 if ON_GPU else 5
BULK = {
    "joint_relation": relation_case(SAMPLES, 13, 64, 64),
    "joint_relation, tensor scale": {**relation_case(SAMPLES, 13, 64, 64), "options": {}, "scale": 0.1},
    "joint_relation_norm": norm_case(SAMPLES, 13, 64, 64),
    "joint_relation_norm, tensor scale": {
        **norm_case(SAMPLES, 13, 64, 64),
        "options": {"training": True},
        "scale": 0.1,
    },
    "dynamic_conv2d": conv_case(SAMPLES, 9, 64, 64, (7, 7)),
    "dynamic_match": match_case(SAMPLES, 9, 64, 64, (7, 7), 13),
}
every_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)
every_size = pytest.mark.parametrize("size", ["bulk", "odd"])


def _inputs(op: Op, size: str, dtype: torch.dtype = torch.float32, device: str = DEVICE):
    case = BULK[op.name] if size == "bulk" else op.cases[MIDDLE[op.name]]
    tensors = [tensor.to(device, dtype) for tensor in op.inputs(case)]
    return case, tensors, torch.randn_like(op.call(case, tensors))


def _equal(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> bool:
    return len(found) == len(wanted) and all(map(torch.equal, found, wanted))


# --- the same bits ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_large_kernels_match_does_not_depend_on_how_many_channels_are_a_step(dtype):
    """They are as many as fill the device: of one sample nearly all, of forty two."""
    op, case = OPS["dynamic_match"], match_case(40, 40, 9, 9, (9, 9), 5)
    tensors = [tensor.to(DEVICE, dtype) for tensor in op.inputs(case)]
    grad = torch.randn_like(op.call(case, tensors))
    features, kernels, *weights = tensors
    out, of_features, of_kernels, *_ = results(op, case, tensors, grad, op.call)
    for b in (0, 39):
        one = [features[b : b + 1], kernels[b : b + 1], *weights]
        found = results(op, case, one, grad[b : b + 1], op.call)[:3]
        assert _equal(found, [out[b : b + 1], of_features[b : b + 1], of_kernels[b : b + 1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_size
@every_op
def test_many_runs_give_the_same_bits(op, size, dtype):
    case, tensors, grad = _inputs(op, size, dtype)
    first = results(op, case, tensors, grad, op.call)
    for _ in range(30 if ON_GPU else 1):
        assert _equal(results(op, case, tensors, grad, op.call), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_op
def test_a_sample_does_not_depend_on_its_batch(op, dtype):
    """Few samples are divided among more blocks than many."""
    case, tensors, grad = _inputs(op, "bulk", dtype)
    if "training" in case["options"]:  # where it does
        case = {**case, "options": {**case["options"], "training": False}}
    of_samples = [0] + [i + 1 for i, tensor in enumerate(tensors) if tensor.dim() == 4]
    whole = results(op, case, tensors, grad, op.call)
    for first, count in ((0, 1), (SAMPLES - 1, 1), (1, 3)):
        which = slice(first, first + count)
        part = [tensor[which] if tensor.dim() == 4 else tensor for tensor in tensors]
        found = results(op, case, part, grad[which], op.call)
        for index in of_samples:
            assert torch.equal(found[index], whole[index][which])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_op
def test_memory_that_bulk_copies_cannot_read_gives_the_same_bits(op, dtype):
    """Of the norm in half types the same to a rounding: its second pass has matrix instructions, for whole vectors."""
    case, tensors, grad = _inputs(op, "bulk", dtype)
    wanted = results(op, case, tensors, grad, op.call)
    found = results(op, case, [misaligned(t) for t in tensors], misaligned(grad), op.call)
    if "norm" in op.name and dtype == torch.bfloat16:
        torch.testing.assert_close(found, wanted, rtol=2**-7, atol=2**-7)
        return
    assert _equal(found, wanted)
    for index in range(len(tensors)) if ON_GPU else [0]:
        mixed = [misaligned(t) if i == index else t for i, t in enumerate(tensors)]
        assert _equal(results(op, case, mixed, grad, op.call), wanted)


# --- streams, graphs, threads, devices ---


@on_gpu
@every_size
@every_op
def test_works_on_the_callers_stream(op, size):
    """A side stream is busy before its inputs are written: on any other stream the kernels would read too early."""
    case, tensors, grad = _inputs(op, size)
    wanted = results(op, case, tensors, grad, op.call)
    stream = torch.cuda.Stream()
    late = [torch.full_like(tensor, torch.nan) for tensor in tensors]
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # about a tenth of a second
        for target, source in zip(late, tensors):
            target.copy_(source, non_blocking=True)
        found = results(op, case, late, grad, op.call)
    stream.synchronize()
    assert _equal(found, wanted)


@on_gpu
@pytest.mark.parametrize("sizes", [["bulk"], ["odd"], ["bulk", "odd"], ["odd", "bulk"]], ids="-".join)
@every_op
def test_is_captured_into_a_graph(op, sizes):
    """Also two shapes in one graph, whose launches may need different shares of shared memory."""
    calls = []
    for size in sizes:
        case, tensors, grad = _inputs(op, size)
        calls.append((case, [tensor.requires_grad_() for tensor in tensors], grad))

    def run() -> list[torch.Tensor]:
        found = []
        for case, leaves, grad in calls:
            out = op.call(case, leaves)
            found += [out, *torch.autograd.grad(out, leaves, grad)]
        return found

    for _ in range(3):  # the allocator and the device's limits are asked before the capture
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    with torch.no_grad():
        for _, leaves, _ in calls:
            for leaf in leaves:
                leaf.mul_(0.5)
    for tensor in captured:
        tensor.detach().fill_(torch.nan)
    graph.replay()
    torch.cuda.synchronize()
    assert _equal([tensor.detach() for tensor in captured], [tensor.detach() for tensor in run()])


@on_gpu
@every_size
@every_op
def test_waits_for_nothing(op, size):
    """A call behind a queued sleep returns long before the sleep ends."""
    case, tensors, grad = _inputs(op, size)
    results(op, case, tensors, grad, op.call)  # what is asked once has been asked
    torch.cuda.synchronize()
    began = time.perf_counter()
    torch.cuda._sleep(600_000_000)  # about three tenths of a second
    results(op, case, tensors, grad, op.call)
    returned = time.perf_counter() - began
    torch.cuda.synchronize()
    finished = time.perf_counter() - began
    assert finished > 0.15
    assert returned < finished / 3


@on_gpu
@every_op
def test_two_host_threads_with_different_shapes(op):
    """Each on a stream of its own, at the same time, again and again."""
    given = [_inputs(op, size) for size in ("bulk", "odd")]
    wanted = [results(op, case, tensors, grad, op.call) for case, tensors, grad in given]
    torch.cuda.synchronize()
    meet = threading.Barrier(2)

    def run(which: int) -> None:
        case, tensors, grad = given[which]
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(20):
                meet.wait(timeout=60)
                found = results(op, case, tensors, grad, op.call)
                stream.synchronize()
                assert _equal(found, wanted[which])

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run, which) for which in (0, 1)]:
            done.result()


@on_gpu
@every_size
@every_op
def test_other_devices_keep_their_turn(op, size):
    """Tensors of the second GPU while the first is current, and the first is current afterwards."""
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    case, tensors, grad = _inputs(op, size)
    wanted = results(op, case, tensors, grad, op.call)
    found = results(op, case, [tensor.to("cuda:1") for tensor in tensors], grad.to("cuda:1"), op.call)
    assert torch.cuda.current_device() == 0
    assert _equal([tensor.cpu() for tensor in found], [tensor.cpu() for tensor in wanted])


# --- more than 2^31 elements ---


def _needs(gigabytes: float) -> None:
    there = torch.cuda.get_device_properties(0).total_memory / 1e9
    if there < gigabytes:
        pytest.skip(f"needs {gigabytes} GB of the GPU, there are {there:.0f}")


HALF = partial(torch.randn, device="cuda", dtype=torch.bfloat16)


def _zeros_but_the_last(count: int, *rest: int) -> torch.Tensor:
    tensor = torch.zeros(count, *rest, device="cuda", dtype=torch.bfloat16)
    tensor[-1] = HALF(*rest) * 0.1
    return tensor


def _relation_parameters() -> list[torch.Tensor]:
    weights, biases = HALF(2, 13, 13) * 0.2, HALF(2, 13)
    return [weights[0], biases[0], weights[1], biases[1]]


MANY_SAMPLES = 2**31 // (13 * 64 * 64) + 2
MANY_PLANES = 2**31 // (64 * 64) + 3


@on_gpu
@pytest.mark.parametrize("norm", [False, True], ids=["relation", "norm"])
def test_relation_of_more_than_two_to_the_31_elements(norm):
    """Of zeros but the last sample, whose result and gradients are those of it alone; with the norm in evaluation."""
    _needs(30)
    parameters = _relation_parameters()
    if norm:
        parameters += [HALF(13), HALF(13)]
    statistics = [torch.rand(13, device="cuda") + 0.5 for _ in range(2)]

    def run(heatmaps: torch.Tensor, grad: torch.Tensor) -> list[torch.Tensor]:
        leaves = [tensor.requires_grad_() for tensor in (heatmaps, *parameters)]
        out = (
            rx.joint_relation_norm(*leaves, *statistics, training=False)
            if norm
            else rx.joint_relation(*leaves)
        )
        grads = torch.autograd.grad(out, leaves, grad)
        return [out.detach()[-1:].clone(), grads[0][-1:].clone(), *grads[1:]]

    heatmaps = _zeros_but_the_last(MANY_SAMPLES, 13, 64, 64)
    grad = _zeros_but_the_last(MANY_SAMPLES, 13, 64, 64)
    found = run(heatmaps, grad)
    assert _equal(found, run(heatmaps.detach()[-1:].clone(), grad[-1:].clone()))


@on_gpu
def test_norm_in_training_of_more_than_two_to_the_31_elements():
    """The statistics of zeros but the last sample, worked out from one sample of zeros and the last one."""
    _needs(20)
    parameters, norm = _relation_parameters(), [HALF(13), HALF(13)]
    heatmaps = _zeros_but_the_last(MANY_SAMPLES, 13, 64, 64)
    running = [torch.zeros(13, device="cuda"), torch.ones(13, device="cuda")]
    with torch.no_grad():
        last = rx.joint_relation_norm(heatmaps, *parameters, *norm, *running, training=True)[-1:].double()
    few = torch.cat([heatmaps[:1], heatmaps[-1:]]).double()
    related = rx.reference.joint_relation(few, *(tensor.double() for tensor in parameters))
    share = torch.tensor([MANY_SAMPLES - 1, 1], device="cuda", dtype=torch.float64) / MANY_SAMPLES
    mean = (related.mean(dim=(2, 3)) * share[:, None]).sum(dim=0)
    var = (((related - mean[:, None, None]) ** 2).mean(dim=(2, 3)) * share[:, None]).sum(dim=0)
    expected = F.batch_norm(related[1:], mean, var, norm[0].double(), norm[1].double())
    torch.testing.assert_close(last, expected, rtol=2e-2, atol=2e-2)


@on_gpu
@pytest.mark.parametrize("op", ["dynamic_conv2d", "dynamic_match"])
def test_convolutions_of_more_than_two_to_the_31_elements(op):
    """Of zeros but the last channel, which decides the result and has gradients as if alone."""
    _needs(30)
    features = _zeros_but_the_last(MANY_PLANES, 64, 64)[None]
    kernels = _zeros_but_the_last(MANY_PLANES, 3, 3)[None]
    weight = _zeros_but_the_last(MANY_PLANES, 2).T.contiguous()
    bias = HALF(2)

    def run(features: torch.Tensor, kernels: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in (features, kernels)]
        if op == "dynamic_match":
            leaves.append(weight.detach().requires_grad_())
            out = rx.dynamic_match(*leaves, bias)
            grad = torch.ones_like(out)
        else:
            out = rx.dynamic_conv2d(*leaves)
            grad = torch.zeros_like(out)
            grad[:, -1] = 1
        grads = torch.autograd.grad(out, leaves, grad)
        out = out.detach() if op == "dynamic_match" else out.detach()[:, -1:].clone()
        return [out, *(tensor[:, -1:].clone() for tensor in grads)]

    found = run(features, kernels, weight)
    expected = run(features[:, -1:].clone(), kernels[:, -1:].clone(), weight[:, -1:].clone())
    if op == "dynamic_conv2d":
        assert _equal(found, expected)
    else:
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
