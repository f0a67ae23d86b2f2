"""What only a GPU can show: streams, graphs, several devices, sizes. The values are in test_ops.py, on every device."""

import pytest
import torch
from op_cases import MIDDLE, OPS, results

import rpstn_ext as rx

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and "cuda" in rx.backend()), reason="no GPU, or no CUDA operations built"
)
every_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


def _inputs(op, dtype=torch.float32, device="cuda"):
    case = op.cases[MIDDLE[op.name]]
    tensors = [tensor.to(device, dtype) for tensor in op.inputs(case)]
    return case, tensors, torch.randn_like(op.call(case, tensors))


@every_op
def test_works_on_the_callers_stream(op):
    """A side stream is busy before its inputs are written: on any other stream the kernels would read too early."""
    case, tensors, grad = _inputs(op)
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
    assert all(map(torch.equal, found, wanted))


@every_op
def test_is_captured_into_a_graph(op):
    case, tensors, grad = _inputs(op)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    for _ in range(3):  # the allocator and the device's limits are asked before the capture
        torch.autograd.grad(op.call(case, leaves), leaves, grad)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = op.call(case, leaves)
        gradients = torch.autograd.grad(out, leaves, grad)
    with torch.no_grad():
        for leaf in leaves:
            leaf.mul_(0.5)
    for tensor in (out, *gradients):
        tensor.fill_(torch.nan)
    graph.replay()
    torch.cuda.synchronize()
    wanted = results(op, case, leaves, grad, op.call)
    assert all(map(torch.equal, [out.detach(), *gradients], wanted))


@every_op
def test_waits_for_nothing(op):
    """No call synchronises the host with the device."""
    case, tensors, grad = _inputs(op)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results(op, case, tensors, grad, op.call)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_op
def test_other_devices_keep_their_turn(op):
    """Tensors of the second GPU while the first is current, and the first is current afterwards."""
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    case, tensors, grad = _inputs(op)
    wanted = results(op, case, tensors, grad, op.call)
    found = results(op, case, [tensor.to("cuda:1") for tensor in tensors], grad.to("cuda:1"), op.call)
    assert torch.cuda.current_device() == 0
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(found, wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_op
def test_thirty_runs_give_the_same_bits(op, dtype):
    case, tensors, grad = _inputs(op, dtype)
    first = results(op, case, tensors, grad, op.call)
    for _ in range(30):
        assert all(map(torch.equal, results(op, case, tensors, grad, op.call), first))


def test_more_than_two_to_the_31_elements():
    samples = 2**31 // (13 * 64 * 64) + 2
    if torch.cuda.get_device_properties(0).total_memory < 4 * samples * 13 * 64 * 64 * 2:
        pytest.skip("less memory than the heat maps, their copy and two results need")
    heatmaps = torch.empty(samples, 13, 64, 64, device="cuda", dtype=torch.bfloat16)
    heatmaps.zero_()[-1] = torch.randn(13, 64, 64, device="cuda", dtype=torch.bfloat16)
    weights = torch.randn(2, 13, 13, device="cuda", dtype=torch.bfloat16) * 0.2
    biases = torch.randn(2, 13, device="cuda", dtype=torch.bfloat16)
    arguments = (weights[0], biases[0], weights[1], biases[1])
    with torch.no_grad():
        last = rx.joint_relation(heatmaps, *arguments)[-1:]
        assert torch.equal(last, rx.joint_relation(heatmaps[-1:], *arguments))
    del last, heatmaps
    planes = 2**31 // (64 * 64) + 3
    features = torch.zeros(1, planes, 64, 64, device="cuda", dtype=torch.bfloat16)
    features[0, -1] = torch.randn(64, 64, device="cuda", dtype=torch.bfloat16)
    kernels = torch.zeros(1, planes, 3, 3, device="cuda", dtype=torch.bfloat16)
    kernels[0, -1] = torch.randn(3, 3, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        last = rx.dynamic_conv2d(features, kernels)[:, -1:]
        assert torch.equal(last, rx.dynamic_conv2d(features[:, -1:], kernels[:, -1:]))
