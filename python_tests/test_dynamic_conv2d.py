"""Cases of dynamic_conv2d small enough to work out by hand; everything else is in test_ops.py."""

import math

import numpy
import pytest
import torch

import rpstn_ext as rx

BACKENDS = [
    pytest.param(rx.dynamic_conv2d, id="public"),
    pytest.param(rx.reference.dynamic_conv2d, id="reference"),
]
COUNT = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
SUMS = torch.tensor([[12.0, 21, 16], [27, 45, 33], [24, 39, 28]]).reshape(1, 1, 3, 3)  # of 3 x 3 windows


@pytest.mark.parametrize("dynamic_conv2d", BACKENDS)
def test_is_a_correlation_not_a_convolution(dynamic_conv2d):
    """A kernel that is 1 at its top left reads the pixel up and to the left: the features move down and right."""
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[..., 0, 0] = 1
    assert dynamic_conv2d(COUNT, kernel).squeeze().tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]


@pytest.mark.parametrize("dynamic_conv2d", BACKENDS)
def test_even_kernels_have_the_extra_padding_at_the_bottom_and_right(dynamic_conv2d):
    out = dynamic_conv2d(COUNT, torch.ones(1, 1, 2, 2))
    assert out.squeeze().tolist() == [[12, 16, 9], [24, 28, 15], [15, 17, 9]]


@pytest.mark.parametrize("dynamic_conv2d", BACKENDS)
@pytest.mark.parametrize(
    "padding, expected",
    [("valid", [[45.0]]), (0, [[45.0]]), ((0, 1), [[27.0, 45.0, 33.0]]), ((1, 0), [[21.0], [45.0], [39.0]])],
)
def test_padding(dynamic_conv2d, padding, expected):
    """Sums of 3 x 3 windows; of (rows, columns) the first counts rows of zeros above and below."""
    assert dynamic_conv2d(COUNT, torch.ones(1, 1, 3, 3), padding=padding).squeeze(1)[0].tolist() == expected


@pytest.mark.parametrize("dynamic_conv2d", BACKENDS)
@pytest.mark.parametrize("padding", [numpy.int64(1), (numpy.int32(1), 1), [1, numpy.uint8(1)]], ids=repr)
def test_padding_may_be_of_numpy(dynamic_conv2d, padding):
    assert torch.equal(dynamic_conv2d(COUNT, torch.ones(1, 1, 3, 3), padding=padding), SUMS)


@pytest.mark.parametrize("dynamic_conv2d", BACKENDS)
def test_every_sample_and_channel_has_its_own_kernel(dynamic_conv2d):
    factors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    out = dynamic_conv2d(torch.ones(2, 2, 2, 2), factors[:, :, None, None])
    assert torch.equal(out, factors[:, :, None, None].expand(2, 2, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "planes, sizes, kernel, padding",
    [(1, (70, 64), (15, 15), "same"), (1, (130, 61), (16, 9), (20, 3)), (2, (190, 66), (21, 5), "valid")],
)
def test_fewer_planes_than_threads_are_shared_out_with_the_same_bits(planes, sizes, kernel, padding, dtype):
    torch.manual_seed(0)
    before = torch.get_num_threads()
    features = torch.randn(1, planes, *sizes).to(dtype).requires_grad_()
    kernels = torch.randn(1, planes, *kernel).to(dtype).requires_grad_()
    by_threads = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            out = rx.dynamic_conv2d(features, kernels, padding=padding)
            grad = torch.arange(out.numel()).view_as(out).sin().to(dtype)
            by_threads.append((out, *torch.autograd.grad(out, (features, kernels), grad)))
    finally:
        torch.set_num_threads(before)
    for found in by_threads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, by_threads[0], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sizes, kernel, padding",
    [
        ((13, 48), (3, 3), "same"),
        ((4, 16), (5, 5), "same"),
        ((6, 80), (7, 5), (5, 1)),
        ((9, 32), (5, 7), "valid"),
        ((2, 64), (7, 7), "same"),
        ((131, 96), (3, 3), "same"),  # more sums than stay in their type
        ((100, 48), (3, 3), "same"),  # and bands that would end elsewhere
    ],
)
def test_both_gradients_at_once_are_right_and_have_the_bits_of_each_alone(sizes, kernel, padding, dtype):
    """Planes of whole vectors and kernels of 3, 5 and 7 rows are done in one pass."""
    torch.manual_seed(0)
    leaves = [torch.randn(2, 3, *size, dtype=dtype).requires_grad_() for size in (sizes, kernel)]
    out = rx.dynamic_conv2d(*leaves, padding=padding)
    grad = torch.randn_like(out)
    both = torch.autograd.grad(out, leaves, grad, retain_graph=True)
    for leaf, of_both in zip(leaves, both):
        assert torch.equal(torch.autograd.grad(out, leaf, grad, retain_graph=True)[0], of_both)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    exact_grads = torch.autograd.grad(
        rx.reference.dynamic_conv2d(*exact, padding=padding), exact, grad.double()
    )
    for found, right in zip(both, exact_grads):
        torch.testing.assert_close(
            found.double(), right, rtol=0, atol=20 * torch.finfo(dtype).eps * right.abs().max()
        )


def test_match_is_the_composition():
    features, kernels = torch.randn(2, 6, 9, 8), torch.randn(2, 6, 3, 3)
    weight, bias = torch.randn(4, 6), torch.randn(4)
    expected = (
        torch.einsum("kc,bchw->bkhw", weight, rx.dynamic_conv2d(features, kernels)) + bias[:, None, None]
    )
    torch.testing.assert_close(rx.dynamic_match(features, kernels, weight, bias), expected)
    torch.testing.assert_close(rx.reference.dynamic_match(features, kernels, weight, bias), expected)


@pytest.mark.parametrize("dynamic_match", [rx.dynamic_match, rx.reference.dynamic_match])
def test_match_refuses_weights_of_other_channels(dynamic_match):
    features, kernels = torch.randn(2, 6, 9, 8), torch.randn(2, 6, 3, 3)
    with pytest.raises(
        ValueError, match=r"dynamic_match: expected weight to have shape \[K, 6\], got \[4, 5\]"
    ):
        dynamic_match(features, kernels, torch.randn(4, 5), torch.randn(4))
    with pytest.raises(ValueError, match=r"dynamic_match: expected bias to have shape \[4\], got \[3\]"):
        dynamic_match(features, kernels, torch.randn(4, 6), torch.randn(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_reference_of_half_types_is_the_float32_result_rounded_once(dtype):
    """As the compiled operations are; and PyTorch's float16 convolution never ends on some processors."""
    features, kernels = torch.randn(2, 3, 17, 19).to(dtype), torch.randn(2, 3, 15, 15).to(dtype)
    weight, bias = torch.randn(4, 3).to(dtype), torch.randn(4).to(dtype)
    half = [features, kernels, weight, bias]
    wide = [tensor.float() for tensor in half]
    for call, count in ((rx.reference.dynamic_conv2d, 2), (rx.reference.dynamic_match, 4)):
        leaves, wide_leaves = ([t.clone().requires_grad_() for t in ts[:count]] for ts in (half, wide))
        out, wide_out = call(*leaves), call(*wide_leaves)
        assert out.dtype == dtype and torch.equal(out, wide_out.to(dtype))
        grad = torch.randn_like(wide_out).to(dtype)
        out.backward(grad)
        wide_out.backward(grad.float())
        for leaf, wide_leaf in zip(leaves, wide_leaves):
            assert torch.equal(leaf.grad, wide_leaf.grad.to(dtype))


def _matched(features, kernels, padding):
    """dynamic_match for two joints, whose first has what dynamic_conv2d gives."""
    weight = torch.tensor([[1.0], [0.5]], dtype=kernels.dtype)
    return rx.dynamic_match(features, kernels, weight, weight.new_zeros(2), padding=padding)


def _convolved(features, kernels, padding):
    return rx.dynamic_conv2d(features, kernels, padding=padding)


@pytest.mark.parametrize("op", [_convolved, _matched])
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "sizes, kernel, padding, pixel",
    [
        ((5, 6), (3, 3), 1, (0, 0)),
        ((9, 21), (7, 7), 3, (8, 20)),
        ((9, 21), (5, 3), 0, (0, 20)),
        ((9, 21), (2, 9), (0, 7), (4, 0)),
        ((8, 8), (3, 3), 5, (7, 0)),
        ((800, 90), (3, 3), 1, (0, 89)),  # a plane in bands
    ],
    ids=str,
)
def test_a_nan_reaches_only_the_taps_that_meet_its_pixel(sizes, kernel, padding, pixel, dtype, value, op):
    """One pixel of the features, or of the incoming gradient, is not finite; so are the taps that meet it."""
    rows, columns = padding if isinstance(padding, tuple) else (padding, padding)
    features, kernels = torch.rand(2, 1, *sizes), torch.rand(2, 1, *kernel)
    out = op(features, kernels, padding)
    for of_features in (True, False):
        grad, given = torch.rand_like(out), features.clone()
        y, x = pixel if of_features else (min(pixel[0], out.shape[2] - 1), min(pixel[1], out.shape[3] - 1))
        (given if of_features else grad)[0, 0, y, x] = value
        met = torch.zeros(kernel, dtype=torch.bool)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                if of_features:  # the output whose tap (i, j) is the pixel
                    there, size = (y - i + rows, x - j + columns), out.shape[2:]
                else:  # the pixel of the features that tap (i, j) of the output multiplies
                    there, size = (y + i - rows, x + j - columns), sizes
                met[i, j] = 0 <= there[0] < size[0] and 0 <= there[1] < size[1]
        leaf = kernels.to(dtype).requires_grad_()
        result = op(given.to(dtype), leaf, padding)
        (found,) = torch.autograd.grad(result, leaf, grad.to(dtype))
        assert torch.equal(~found[0, 0].isfinite(), met)
        assert found[1].isfinite().all()
        clean = [tensor.to(dtype).nan_to_num(0, 0, 0).float() for tensor in (grad, given)]
        leaf = kernels.clone().requires_grad_()
        (expected,) = torch.autograd.grad(op(clean[1], leaf, padding), leaf, clean[0])
        torch.testing.assert_close(found[0, 0][~met].float(), expected[0, 0][~met], rtol=1e-2, atol=1e-2)
