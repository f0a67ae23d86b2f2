"""The modules against small cases worked by hand and literal versions of the equations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rpstn_ext import DynamicMatcher, JointRelationExtractor, PoseSemanticsPropagator, ops, use_backend


def set_identity(module: JointRelationExtractor) -> None:
    for conv in (module.conv_g, module.conv_o):
        nn.init.eye_(conv.weight.data[:, :, 0, 0])
        nn.init.zeros_(conv.bias)


def test_relation_of_two_joints_by_hand():
    # One joint sees cell 0, the other both: S = [[1, 1], [1, 2]], softmax rows [1/2, 1/2] and [1/(1+e), e/(1+e)].
    module = JointRelationExtractor(2).double()
    set_identity(module)
    heatmaps = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]]]], dtype=torch.float64)
    correlation, weights = module.relation(heatmaps)
    share = torch.e / (1 + torch.e)
    expected = torch.tensor([[[0.5, 0.5], [1 - share, share]]], dtype=torch.float64)
    assert torch.equal(correlation, torch.tensor([[[1.0, 1.0], [1.0, 2.0]]], dtype=torch.float64))
    torch.testing.assert_close(weights, expected)
    mixed = torch.tensor([[[[2.0, 0.5]], [[2.0, 1 + share]]]], dtype=torch.float64)
    torch.testing.assert_close(module(heatmaps), mixed)


def test_rows_of_the_weights_sum_to_one_and_columns_do_not():
    _, weights = JointRelationExtractor(5).relation(torch.rand(3, 5, 4, 6))
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 5))
    assert not torch.allclose(weights.sum(1), torch.ones(3, 5), atol=1e-2)


def test_norm_is_batch_norm_of_the_plain_module():
    module = JointRelationExtractor(4, norm=True).double()
    plain = JointRelationExtractor(4).double()
    plain.load_state_dict({k: v for k, v in module.state_dict().items() if not k.startswith("norm.")})
    norm = nn.BatchNorm2d(4).double()
    for _ in range(2):
        heatmaps = torch.rand(3, 4, 5, 5, dtype=torch.float64)
        torch.testing.assert_close(module(heatmaps), norm(plain(heatmaps)))
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(module.norm.state_dict()[name], value)
    module.eval(), norm.eval()
    torch.testing.assert_close(module(heatmaps), norm(plain(heatmaps)))
    torch.testing.assert_close(module(heatmaps, apply_norm=False), plain(heatmaps))


def test_learnable_scale_starts_as_the_paper_and_has_the_right_gradient():
    module = JointRelationExtractor(3, scale="learnable").double()
    heatmaps = torch.rand(2, 3, 4, 4, dtype=torch.float64) * 0.3
    convs = [p for c in (module.conv_g, module.conv_o) for p in (c.weight[:, :, 0, 0], c.bias)]
    torch.testing.assert_close(module(heatmaps), ops.joint_relation(heatmaps, *convs))
    with torch.no_grad():
        module.log_scale.fill_(0.7)

    def literal(log_scale):
        values = heatmaps.flatten(2)
        weights = (log_scale.exp() * values @ values.mT).softmax(-1)
        messages = weights @ (convs[0] @ values + convs[1][:, None])
        return (convs[2] @ messages + convs[3][:, None] + values).view_as(heatmaps)

    target = torch.rand_like(heatmaps)
    value = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(((literal(value) - target) ** 2).sum(), value)
    (got,) = torch.autograd.grad(((module(heatmaps) - target) ** 2).sum(), module.log_scale)
    torch.testing.assert_close(got, expected)
    assert abs(expected) > 1e-6


def test_release_layout_is_the_released_code_line_by_line():
    module = JointRelationExtractor(3, layout="release").eval()
    nn.init.normal_(module.norm.weight)
    maps = torch.rand(2, 3, 4, 5)
    x = maps.view(2, 3, -1)
    f = F.softmax(torch.matmul(x, x.permute(0, 2, 1)), dim=1)
    g = module.conv_g(maps).view(2, 3, -1)
    y = torch.matmul(f, g).permute(0, 2, 1).contiguous().view(2, 3, 4, 5)
    expected = module.norm(module.conv_o(y)) + maps
    torch.testing.assert_close(module(maps), expected)
    paper = JointRelationExtractor(3)
    paper.load_state_dict({k: v for k, v in module.state_dict().items() if not k.startswith("norm.")})
    assert not torch.allclose(paper(maps), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "num_convs", "kernel"),
    [
        ((64, 64), 4, (7, 7)),
        ((64, 48), 4, (7, 5)),
        ((96, 72), 4, (11, 8)),
        ((24, 32), 4, (2, 3)),
        ((10, 10), 4, (1, 1)),
    ]
    + [((64, 64), 3, (15, 15)), ((64, 64), 5, (3, 3))],
)
def test_kernel_sizes_of_the_propagator(size, num_convs, kernel):
    module = PoseSemanticsPropagator(2, num_convs=num_convs)
    assert module(torch.rand(2, 2, *size)).shape == (2, 2, *kernel)


def test_kernels_have_signs():
    assert (PoseSemanticsPropagator(4)(torch.rand(2, 4, 32, 32)) < 0).any()


def test_too_small_a_map_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"at least 10 x 10 cells for 4 convolutions, got \[1, 2, 9, 64\]"):
        PoseSemanticsPropagator(2)(torch.rand(1, 2, 9, 64))


def test_matcher_is_a_1x1_convolution_of_the_dynamic_convolution():
    module = DynamicMatcher(4, 3).double()
    features = torch.rand(2, 4, 6, 7, dtype=torch.float64)
    kernels = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    with use_backend("reference"):
        expected = F.conv2d(
            ops.reference.dynamic_conv2d(features, kernels), module.conv_d.weight, module.conv_d.bias
        )
    torch.testing.assert_close(module(features, kernels), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_joints": 0}, "num_joints of at least 1, got 0"),
        ({"num_joints": 3, "layout": "papre"}, 'layout "paper" or "release", got \'papre\''),
        ({"num_joints": 3, "scale": 0.0}, 'scale > 0 or "learnable", got 0.0'),
        ({"num_joints": 3, "layout": "release", "norm": True}, "neither norm nor scale"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        JointRelationExtractor(**options)
