"""Cases of joint_relation small enough to work out by hand; everything else is in test_ops.py."""

import os

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import rpstn_ext as rx

BACKENDS = [
    pytest.param(rx.joint_relation, id="public"),
    pytest.param(rx.reference.joint_relation, id="reference"),
]
IDENTITY, ZERO = torch.eye(2), torch.zeros(2)


@pytest.mark.parametrize("joint_relation", BACKENDS)
def test_uniform_weights_add_the_mean_of_the_joints(joint_relation):
    heatmaps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    out = joint_relation(heatmaps, IDENTITY, ZERO, IDENTITY, torch.tensor([10.0, 20.0]), scale=0.0)
    assert out.tolist() == [[[[13.0, 15.0]], [[25.0, 27.0]]]]


@pytest.mark.parametrize("joint_relation", BACKENDS)
def test_softmax_is_over_the_rows(joint_relation):
    """S = [[1, 2], [2, 4]] times a large scale: each row's largest is the second joint, so both hear the second.

    Over the columns (the released code) each joint would hear the sum of nothing and of both.
    """
    heatmaps = torch.tensor([[[[1.0, 0.0]], [[2.0, 0.0]]]])
    out = joint_relation(heatmaps, IDENTITY, ZERO, IDENTITY, ZERO, scale=1000.0)
    assert out.tolist() == [[[[3.0, 0.0]], [[4.0, 0.0]]]]


@pytest.mark.parametrize("joint_relation", BACKENDS)
def test_rows_of_the_weights_are_output_joints(joint_relation):
    """Messages G = Wg X + bg = [[x2 + 5], [0]]; each joint hears its own at a large scale; Wo swaps the joints."""
    heatmaps = torch.tensor([[[[2.0, 0.0]], [[0.0, 3.0]]]])
    weight_g = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    weight_o = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    out = joint_relation(heatmaps, weight_g, torch.tensor([5.0, 0.0]), weight_o, ZERO, scale=1000.0)
    assert out.tolist() == [[[[2.0, 0.0]], [[5.0, 11.0]]]]


@pytest.mark.parametrize("joint_relation", BACKENDS)
def test_half_types_do_not_overflow_in_the_relation(joint_relation):
    """Self-products of 4096 * 16: beyond float16's 65504, and the softmax stays one-hot on the joint itself."""
    heatmaps = torch.full((1, 2, 64, 64), 4.0, dtype=torch.float16)
    heatmaps[0, 1] = -4.0
    half = [tensor.half() for tensor in (IDENTITY, ZERO, IDENTITY, ZERO)]
    assert torch.equal(joint_relation(heatmaps, *half), 2 * heatmaps)


def test_large_common_offset_keeps_its_digits():
    """A constant of 1000 on all maps, without mixing: what comes out is what went in, to float32's last digits."""
    heatmaps = 1000 + torch.rand(2, 13, 32, 32)
    nothing, zero = torch.zeros(13, 13), torch.zeros(13)
    assert torch.equal(rx.joint_relation(heatmaps, nothing, zero, nothing, zero), heatmaps)


@pytest.mark.parametrize("joint_relation", BACKENDS)
def test_gradient_of_the_scale_of_two_joints(joint_relation):
    """G = [[1, 1], [1, 2]]; the first row's gradient is zero, the second's p (1 - p) [1, 1] . dP with p = sigmoid(s).

    With Wo = Wg = 1 and no biases joint 2 is p * [1, 1] + (1 - p) * [1, 0] plus itself, so that its second pixel is
    p + 1; d sigmoid(s) / ds = p (1 - p).
    """
    heatmaps = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]]]], dtype=torch.float64)
    identity, zero = IDENTITY.double(), ZERO.double()
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    out = joint_relation(heatmaps, identity, zero, identity, zero, scale=scale)
    share = torch.sigmoid(scale.detach())
    torch.testing.assert_close(out[0, 1, 0, 1].detach(), 1 + share)
    (first,) = torch.autograd.grad(out[0, 1, 0, 1], scale, create_graph=True)
    torch.testing.assert_close(first.detach(), share * (1 - share))
    (second,) = torch.autograd.grad(first, scale)
    torch.testing.assert_close(second, share * (1 - share) * (1 - 2 * share))


def test_a_scale_of_zero_has_a_gradient():
    heatmaps = torch.rand(2, 2, 3, 4, dtype=torch.float64)
    weights = torch.randn(2, 2, 2, dtype=torch.float64)
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    inputs = (heatmaps, weights[0], ZERO.double(), weights[1], ZERO.double())
    assert torch.autograd.gradcheck(lambda s: rx.joint_relation(*inputs, scale=s), scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [None, True, False], ids=["no norm", "training", "evaluation"])
def test_a_tensor_as_scale_gives_the_bits_of_the_number(training, dtype):
    heatmaps = torch.rand(3, 13, 16, 12) * 0.3
    parameters = [torch.randn(13, 13) * 0.3, torch.randn(13), torch.randn(13, 13) * 0.3, *torch.randn(3, 13)]
    found = []
    for scale in (0.75, torch.tensor(0.75, requires_grad=True)):
        leaves = [t.to(dtype).requires_grad_() for t in (heatmaps, *parameters[:4])]
        if training is None:
            out = rx.joint_relation(*leaves, scale=scale)
        else:
            statistics = (torch.zeros(13), torch.ones(13))
            out = rx.joint_relation_norm(
                *leaves, *parameters[4:], *statistics, training=training, scale=scale
            )
        out.square().sum().backward()
        found.append([out.detach(), *(leaf.grad for leaf in leaves)])
    assert all(map(torch.equal, *found))
    assert scale.grad.dtype == torch.float32 and scale.grad != 0


def test_norm_is_the_composition_and_moves_the_running_statistics():
    joints = 5
    heatmaps = torch.randn(3, joints, 6, 7)
    parameters = [torch.randn(size) for size in ((joints, joints), joints, (joints, joints), joints)]
    norm = torch.nn.BatchNorm2d(joints)
    mean, var = torch.zeros(joints), torch.ones(joints)
    out = rx.joint_relation_norm(heatmaps, *parameters, norm.weight, norm.bias, mean, var, training=True)
    torch.testing.assert_close(out, norm(rx.joint_relation(heatmaps, *parameters)))
    torch.testing.assert_close((mean, var), (norm.running_mean, norm.running_var))
    plain = rx.reference.joint_relation_norm(
        heatmaps, *parameters, norm.weight, norm.bias, mean, var, training=False
    )
    out = rx.joint_relation_norm(heatmaps, *parameters, norm.weight, norm.bias, mean, var, training=False)
    torch.testing.assert_close(out, plain)


@pytest.mark.skipif(
    rx.backend() == "reference" or "RPSTN_CUDA_ON_CPU" in os.environ, reason="of the CPU's library"
)
def test_training_with_the_norm_makes_no_small_operations_around_the_kernel():
    """Copies, conversions and five operations on K numbers took longer than the kernel on a small sample."""
    heatmaps, weight, vector = torch.rand(2, 5, 4, 4), torch.eye(5), torch.zeros(5)
    statistics = torch.zeros(5), torch.ones(5)
    norm = torch.ones(5), vector
    with torch.autograd.profiler.profile() as profile:
        rx.joint_relation_norm(heatmaps, weight, vector, weight, vector, *norm, *statistics, training=True)
    names = {event.name() for event in profile.kineto_results.events()}
    assert {name for name in names if name.startswith("aten::")} == {"aten::empty"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_running_statistics_of_any_dtype_and_stride_are_moved_in_place(dtype):
    heatmaps = torch.randn(2, 5, 4, 6)
    parameters = [torch.randn(size) for size in ((5, 5), 5, (5, 5), 5, 5, 5)]
    statistics = [torch.rand(10).to(dtype)[::2] for _ in range(2)]
    expected = [tensor.double().clone() for tensor in statistics]
    related = rx.joint_relation(heatmaps, *parameters[:4]).double()
    torch.nn.functional.batch_norm(related, *expected, training=True, momentum=0.3)
    versions = [tensor._version for tensor in statistics]
    rx.joint_relation_norm(heatmaps, *parameters, *statistics, training=True, momentum=0.3)
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    for found, wanted in zip(statistics, expected):
        torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)
    assert all(tensor._version > version for tensor, version in zip(statistics, versions))


def test_running_statistics_under_fake_tensors():
    """As torch.export and what counts operations call it."""
    with FakeTensorMode():
        vector = torch.zeros(5)
        relation = (torch.eye(5), vector, torch.eye(5), vector)
        out = rx.joint_relation_norm(
            torch.rand(2, 5, 4, 4), *relation, vector, vector, vector.clone(), vector.clone(), training=True
        )
    assert out.shape == (2, 5, 4, 4)


@pytest.mark.skipif(rx.backend() == "reference", reason="no compiled library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_moves_as_the_operation_without_side_effects_and_a_step_after_it(dtype):
    tensors = [torch.randn(size, dtype=dtype) for size in ((2, 5, 4, 6), (5, 5), 5, (5, 5), 5, 5, 5)]
    statistics = [torch.rand(5, dtype=dtype) for _ in range(2)]
    moved = [tensor.clone() for tensor in statistics]
    ops, how = torch.ops.rpstn_ext, (1e-5, 1.0, None)
    wanted = ops.joint_relation_norm_forward(*tensors, *statistics, True, *how)
    found = ops.joint_relation_norm_training(*tensors, *moved, 1e-5, 0.25, *how[1:])
    assert all(torch.equal(*pair) for pair in zip(found, wanted))
    rx.reference.move_statistics(*statistics, wanted[2], wanted[3], tensors[0], 0.25)
    torch.testing.assert_close(moved, statistics, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)


@pytest.mark.skipif(rx.backend() == "reference", reason="no compiled library")
@pytest.mark.parametrize("with_gradient", [False, True])
def test_moving_statistics_that_a_derivative_needs_is_noticed(with_gradient):
    heatmaps, weight, vector = torch.randn(2, 5, 4, 6), torch.eye(5), torch.zeros(5)
    leaf = torch.ones(5, requires_grad=True)
    statistics = torch.rand(5), torch.rand(5)
    kept = leaf * statistics[0]
    heatmaps.requires_grad_(with_gradient)
    rx.joint_relation_norm(
        heatmaps, weight, vector, weight, vector, vector, vector, *statistics, training=True
    )
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()
    with torch.inference_mode():
        version = statistics[0]._version
        rx.joint_relation_norm(
            heatmaps, weight, vector, weight, vector, vector, vector, *statistics, training=True
        )
    assert statistics[0]._version > version


def test_norm_of_a_batch_larger_than_the_caches():
    """Results above 8 MiB are written past the caches."""
    torch.manual_seed(0)
    heatmaps = torch.rand(48, 13, 64, 64)
    parameters = [torch.randn(13, 13) * 0.2, torch.randn(13), torch.randn(13, 13) * 0.2, *torch.randn(3, 13)]
    leaves = [tensor.requires_grad_() for tensor in (heatmaps, *parameters)]
    exact_leaves = [tensor.detach().double().requires_grad_() for tensor in leaves]
    out = rx.joint_relation_norm(*leaves, torch.zeros(13), torch.ones(13), training=True)
    statistics = torch.zeros(13, dtype=torch.float64), torch.ones(13, dtype=torch.float64)
    exact = rx.reference.joint_relation_norm(*exact_leaves, *statistics, training=True)
    grad = torch.randn_like(out)
    (grad_heatmaps,) = torch.autograd.grad(out, leaves[:1], grad)
    (exact_grad,) = torch.autograd.grad(exact, exact_leaves[:1], grad.double())
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        grad_heatmaps.double(), exact_grad, rtol=0, atol=1e-5 * float(exact_grad.abs().max())
    )


@pytest.mark.skipif("RPSTN_CUDA_ON_CPU" in os.environ, reason="promised of the CPU")
@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_gradients_of_the_norms_weights_keep_their_digits_at_a_large_offset(scale):
    """Maps of 1000 and a little: terms of 1000 cancel between samples and within each."""
    heatmaps = 1000 + torch.rand(4, 13, 32, 32)
    parameters = [torch.randn(13, 13) * 0.3, torch.randn(13), torch.randn(13, 13) * 0.3, *torch.randn(3, 13)]
    grad = torch.randn(4, 13, 32, 32)
    found = []
    for call, dtype in (
        (rx.joint_relation_norm, torch.float32),
        (rx.reference.joint_relation_norm, torch.float64),
    ):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (heatmaps, *parameters)]
        statistics = torch.zeros(13, dtype=dtype), torch.ones(13, dtype=dtype)
        out = call(*leaves, *statistics, training=True, scale=scale)
        found.append(torch.autograd.grad(out, [leaves[1], leaves[3]], grad.to(dtype)))
    for name, actual, exact in zip(("weight_g", "weight_o"), *found):
        error = ((actual - exact).abs().max() / exact.abs().max()).item()
        assert error < 1e-3, f"{name}: {error:.1e}"
