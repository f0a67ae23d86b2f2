"""The modules against small cases worked by hand and literal versions of the equations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import update_bn

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
    module = JointRelationExtractor(4, norm=True, start="random").double()
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


def _norm_and_relation(norm: nn.Module, **options) -> tuple[JointRelationExtractor, JointRelationExtractor]:
    """A module with `norm` in its place, and the same without one."""
    module = JointRelationExtractor(4, norm=True, start="random", **options).double()
    plain = JointRelationExtractor(4, **options).double()
    plain.load_state_dict({k: v for k, v in module.state_dict().items() if not k.startswith("norm.")})
    module.norm = norm.double()
    return module, plain


class _Halved(nn.BatchNorm2d):
    def forward(self, values):
        return super().forward(values) / 2


def _frozen() -> nn.Module:
    norm = nn.BatchNorm2d(4)
    norm.running_mean += 0.5
    return norm.eval()


def _of_another_forward() -> nn.Module:
    norm = nn.BatchNorm2d(4)
    norm.forward = lambda values: nn.BatchNorm2d.forward(norm, values) + 1
    return norm


def _hooked(register: str, hook) -> nn.Module:
    norm = nn.BatchNorm2d(4)
    getattr(norm, register)(hook)
    return norm


NORMS = {
    "plain": lambda: nn.BatchNorm2d(4, momentum=0.3, eps=0.01),
    "frozen": _frozen,
    "cumulative average": lambda: nn.BatchNorm2d(4, momentum=None),
    "not affine": lambda: nn.BatchNorm2d(4, affine=False),
    "no running statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "groups": lambda: nn.GroupNorm(2, 4),
    "identity": nn.Identity,
    "subclass": lambda: _Halved(4),
    "another forward": _of_another_forward,
    "forward hook": lambda: _hooked("register_forward_hook", lambda module, args, out: 2 * out),
    "forward pre-hook": lambda: _hooked(
        "register_forward_pre_hook", lambda module, args: (args[0].square(),)
    ),
    "backward hook": lambda: _hooked(
        "register_full_backward_hook", lambda module, grad_in, grad_out: (3 * grad_in[0],)
    ),
    "backward pre-hook": lambda: _hooked(
        "register_full_backward_pre_hook", lambda module, grad_out: (3 * grad_out[0],)
    ),
}


@pytest.mark.parametrize("scale", [1.0, "learnable"])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_any_norm_does_what_it_does_behind_the_plain_relation(norm, scale):
    module, plain = _norm_and_relation(norm(), scale=scale)
    expected_norm = norm().double()
    for _ in range(3):
        heatmaps = torch.rand(3, 4, 5, 5, dtype=torch.float64)
        ours, theirs = heatmaps.clone().requires_grad_(), heatmaps.clone().requires_grad_()
        got, expected = module(ours), expected_norm(plain(theirs))
        torch.testing.assert_close(got, expected)
        (got**3).sum().backward()
        (expected**3).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert expected_norm.state_dict().keys() == module.norm.state_dict().keys()
    for name, value in expected_norm.state_dict().items():
        torch.testing.assert_close(module.norm.state_dict()[name], value)


def test_the_norm_has_a_training_mode_of_its_own():
    module, _ = _norm_and_relation(nn.BatchNorm2d(4))
    module.eval()
    module.norm.train()
    module(torch.rand(3, 4, 5, 5, dtype=torch.float64))
    assert module.norm.num_batches_tracked == 1 and (module.norm.running_mean != 0).all()


def test_a_synchronised_norm_is_called(monkeypatch):
    """It is what reduces the statistics over the ranks."""
    calls, forward = [], nn.SyncBatchNorm.forward
    monkeypatch.setattr(
        nn.SyncBatchNorm, "forward", lambda self, values: calls.append(self) or forward(self, values)
    )
    module, plain = _norm_and_relation(nn.BatchNorm2d(4))
    module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    heatmaps = torch.rand(3, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(module(heatmaps), nn.BatchNorm2d(4).double()(plain(heatmaps)))
    assert calls == [module.norm]


def test_update_bn_finds_the_statistics_of_all_batches():
    module, plain = _norm_and_relation(nn.BatchNorm2d(4))
    batches = [torch.rand(3, 4, 5, 5, dtype=torch.float64) for _ in range(4)]
    update_bn(batches, module)
    means = torch.stack([plain(batch).mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(module.norm.running_mean, means)
    assert module.norm.num_batches_tracked == 4 and module.norm.momentum == 0.1


@pytest.mark.parametrize("norm", ["plain", "groups"])
def test_the_module_compiles_as_one_graph_and_exports(norm):
    module, _ = _norm_and_relation(NORMS[norm](), scale="learnable")
    heatmaps = torch.rand(3, 4, 5, 5, dtype=torch.float64)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(heatmaps), module(heatmaps))
    if norm == "plain":
        assert module.norm.num_batches_tracked == 2
    module.eval()
    exported = torch.export.export(module, (heatmaps,)).module()
    torch.testing.assert_close(exported(heatmaps), module(heatmaps))


def test_a_new_relation_is_the_identity_and_learns():
    module = JointRelationExtractor(4)
    heatmaps = torch.rand(2, 4, 5, 6)
    assert torch.equal(module(heatmaps), heatmaps)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module.conv_g.weight.clone()
    for _ in range(2):
        optimizer.zero_grad()
        module(heatmaps).square().mean().backward()
        optimizer.step()
    assert module.conv_o.weight.abs().min() > 0 and not torch.equal(module.conv_g.weight, before)
    assert not torch.equal(JointRelationExtractor(4, start="random")(heatmaps), heatmaps)
    released = JointRelationExtractor(4, layout="release")
    assert released.conv_o.weight.abs().min() > 0  # its norm is what starts at zero


class _Adapted(nn.Conv2d):
    """A convolution with something added, as LoRA does."""

    def forward(self, values):
        return super().forward(values) + 0.5 * values


def _adapt(module: nn.Module, name: str) -> None:
    conv = getattr(module, name)
    adapted = _Adapted(conv.in_channels, conv.out_channels, 1).to(conv.weight)
    adapted.load_state_dict(conv.state_dict())
    setattr(module, name, adapted)


def _without_bias(module: nn.Module, name: str) -> None:
    conv = getattr(module, name)
    setattr(module, name, nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False).to(conv.weight))


CHANGES = {
    "subclass": _adapt,
    "no bias": _without_bias,
    "three by three": lambda module, name: setattr(
        module, name, nn.Conv2d(4, 4, 3, padding=1).to(getattr(module, name).weight)
    ),
    "sequence": lambda module, name: setattr(module, name, nn.Sequential(getattr(module, name), nn.Tanh())),
    "pruned": lambda module, name: prune.random_unstructured(getattr(module, name), "weight", amount=0.5),
    "hook": lambda module, name: getattr(module, name).register_forward_hook(lambda m, args, out: out + 1),
    "old spectral norm": lambda module, name: nn.utils.spectral_norm(getattr(module, name)),
    "weight norm": lambda module, name: parametrizations.weight_norm(getattr(module, name)),
}


@pytest.mark.parametrize("name", ["conv_g", "conv_o"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_stands_in_a_convolutions_place_is_called(change, name):
    module = JointRelationExtractor(4, start="random").double()
    change(module, name)
    module.eval()  # old spectral norm iterates in training
    for _ in range(2):
        heatmaps = torch.rand(2, 4, 5, 6, dtype=torch.float64)
        _, weights = module.relation(heatmaps)
        messages = (weights @ module.conv_g(heatmaps).flatten(2)).view_as(heatmaps)
        got = module(heatmaps)
        torch.testing.assert_close(got, module.conv_o(messages) + heatmaps)
        got.sum().backward()


@pytest.mark.parametrize("change", ["pruned", "old spectral norm"])
def test_a_weight_that_is_computed_before_each_call_trains(change):
    module = JointRelationExtractor(4, start="random")
    for name in ("conv_g", "conv_o"):
        CHANGES[change](module, name)
    grads = []
    for _ in range(2):
        module(torch.rand(2, 4, 5, 6)).square().sum().backward()
        grads.append(module.conv_g.weight_orig.grad.clone())
    assert grads[0].abs().max() > 0 and not torch.equal(*grads)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_stands_in_the_matchers_convolutions_place_is_called(change):
    module = DynamicMatcher(4, 4).double().eval()
    change(module, "conv_d")
    features = torch.rand(2, 4, 6, 7, dtype=torch.float64)
    for kernels in torch.randn(2, 2, 4, 3, 3, dtype=torch.float64):
        got = module(features, kernels)
        torch.testing.assert_close(got, module.conv_d(ops.dynamic_conv2d(features, kernels)))
        got.sum().backward()


@pytest.mark.parametrize("changed", [False, True], ids=["fused", "called"])
def test_the_relation_is_float32_under_autocast(changed):
    """Self-products near 65,000 that differ by a few: bfloat16 takes them for equal."""
    module = JointRelationExtractor(2)
    set_identity(module)
    if changed:
        module.conv_g.register_forward_hook(lambda *args: None)
    heatmaps = torch.full((1, 2, 64, 64), 4.0)
    heatmaps[0, 1, 0, :32] = 3.75
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(heatmaps)
    torch.testing.assert_close(out[0, 1, 0, 0], torch.tensor(7.75, dtype=out.dtype), rtol=0, atol=0.01)


def test_learnable_scale_starts_as_the_paper_and_has_the_right_gradient():
    module = JointRelationExtractor(3, scale="learnable", start="random").double()
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


@pytest.mark.parametrize("norm", [False, True])
def test_a_learnable_scale_costs_no_digits_of_bfloat16(norm):
    """Values and gradients err no more than those of the same fixed scale, both against float64."""
    scale = 0.3
    fixed = JointRelationExtractor(13, norm=norm, start="random", scale=scale)
    learnable = JointRelationExtractor(13, norm=norm, start="random", scale="learnable")
    learnable.load_state_dict({**fixed.state_dict(), "log_scale": torch.tensor(scale).log()})
    exact = JointRelationExtractor(13, norm=norm, scale="learnable")
    exact.load_state_dict(learnable.state_dict())
    heatmaps, grad = (0.2 * torch.rand(4, 13, 32, 24)).bfloat16(), torch.randn(4, 13, 32, 24).bfloat16()
    results = []
    for module, dtype in ((fixed, torch.bfloat16), (learnable, torch.bfloat16), (exact, torch.float64)):
        values = heatmaps.to(dtype).detach().requires_grad_()
        # The parameters are rounded, the scale is not: a fixed one is a number.
        for parameter in (*module.conv_g.parameters(), *module.conv_o.parameters()):
            parameter.data = parameter.data.bfloat16().to(dtype)
        if dtype == torch.float64:
            module.double()
        out = module(values)
        out.backward(grad.to(dtype))
        results.append([out.detach(), values.grad, module.conv_g.weight.grad, module.conv_o.weight.grad])
    for of_fixed, of_learnable, truth in zip(*results):
        error = (of_learnable.double() - truth).abs().max()
        assert error <= 1.0001 * (of_fixed.double() - truth).abs().max()
    got, expected = learnable.log_scale.grad.double(), exact.log_scale.grad
    assert (got - expected).abs() <= 1e-2 * expected.abs() and expected.abs() > 1e-3


def test_names_of_the_parameters_stay():
    module = JointRelationExtractor(3, norm=True, scale="learnable")
    convolutions = [f"conv_{which}.{what}" for which in "go" for what in ("weight", "bias")]
    assert [name for name, _ in module.named_parameters()] == [
        "log_scale",
        *convolutions,
        "norm.weight",
        "norm.bias",
    ]


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
    + [((64, 64), 3, (7, 7)), ((64, 64), 2, (15, 15)), ((64, 64), 5, (7, 7)), ((10, 12), 5, (1, 1))],
)
def test_kernel_sizes_of_the_propagator(size, num_convs, kernel):
    module = PoseSemanticsPropagator(2, num_convs=num_convs)
    assert module(torch.rand(2, 2, *size)).shape == (2, 2, *kernel)


@pytest.mark.parametrize(("num_convs", "cells"), [(3, 22), (4, 38), (5, 54)])
def test_receptive_field_of_the_propagator(num_convs, cells):
    """As the paper has it: so many cells in a row have a part in the kernels' middle one."""
    torch.manual_seed(0)
    module = PoseSemanticsPropagator(1, num_convs=num_convs).double().eval()
    seen = torch.zeros(64, dtype=torch.bool)
    for _ in range(30):  # a maximum lets one of its cells through
        semantics = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
        for layer in module.tower:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.uniform_(layer.weight, 0.1, 1.0)
        module(semantics)[0, 0, 3, 3].backward()
        seen |= semantics.grad[0, 0].any(dim=0)
    assert seen.sum() == cells


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
        ({"num_joints": 3, "start": "zero"}, 'start "identity" or "random", got \'zero\''),
        ({"num_joints": 3, "scale": 0.0}, 'scale > 0 or "learnable", got 0.0'),
        ({"num_joints": 3, "layout": "release", "norm": True}, "neither norm nor scale"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        JointRelationExtractor(**options)
