"""joint_relation_norm of a batch that several processes share: together they do what one does with the whole of it.

The processes are threads here; test_ranks.py has real ones.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rpstn_ext as rx
from rpstn_ext.ops import reference

WAYS = sorted({"reference", rx.backend()})
JOINTS = 5
compiled = pytest.mark.skipif(rx.backend() == "reference", reason="no compiled operations")


class Threads:
    """What one of several threads sees of all, in place of processes. Whoever computes has the turn: emulated kernels
    (cuda_on_cpu) come one after the other.
    """

    def __init__(
        self, number: int, turn: threading.Lock, meeting: threading.Barrier, told: list[Tensor | None]
    ) -> None:
        self._number, self._turn, self._meeting, self._told = number, turn, meeting, told
        self.sizes: list[int] = []

    def gather(self, own: Tensor) -> Tensor:
        self.sizes.append(own.numel())
        self._told[self._number] = own
        self._turn.release()
        try:
            self._meeting.wait(timeout=60)
            all_of_them = torch.stack(self._told)
            self._meeting.wait(timeout=60)
        finally:
            self._turn.acquire()
        return all_of_them

    def add_up(self, own: Tensor) -> Tensor:
        return self.gather(own).sum(dim=0)


def inputs(samples: int, *, offset: float = 0.0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Heat maps, the relation's and the norm's parameters, what the running statistics begin with, a gradient."""
    draw = torch.Generator().manual_seed(1)
    maps = torch.rand(samples, JOINTS, 6, 7, generator=draw, dtype=torch.float64) + offset
    shapes = [(JOINTS, JOINTS), (JOINTS,), (JOINTS, JOINTS), (JOINTS,)] + [(JOINTS,)] * 2
    parameters = [torch.randn(shape, generator=draw, dtype=torch.float64) / 2 for shape in shapes]
    running = [torch.linspace(-1, 1, JOINTS), torch.linspace(1, 2, JOINTS)]
    grad = torch.randn(maps.shape, generator=draw, dtype=torch.float64)
    return [tensor.to(dtype) for tensor in (maps, *parameters, *running, grad)]


def call(tensors: Sequence[Tensor], scale: float | Tensor, processes: Any = None) -> list[Tensor]:
    """Result, running statistics, and gradients of heat maps, parameters and, where it is one, the scale tensor."""
    *leaves, mean, var, grad = tensors
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    running = [mean.clone(), var.clone()]
    if isinstance(scale, Tensor):
        scale = scale.clone().requires_grad_()
    out = rx.joint_relation_norm(*leaves, *running, training=True, scale=scale, processes=processes)
    asked = [*leaves, scale] if isinstance(scale, Tensor) else leaves
    return [out.detach(), *running, *torch.autograd.grad(out, asked, grad)]


def shared(
    tensors: Sequence[Tensor], parts: Sequence[int], scale: float | Tensor = 0.05, way: str = "reference"
) -> list[Tensor]:
    """The same by threads with so many samples each, put together."""
    turn, meeting, told = threading.Lock(), threading.Barrier(len(parts)), [None] * len(parts)
    maps, *parameters, grad = tensors

    def one(number: int) -> list[Tensor]:
        own = [t.split(list(parts))[number] for t in (maps, grad)]
        seen = Threads(number, turn, meeting, told)
        with turn, rx.use_backend(way):
            found = call([own[0], *parameters, own[1]], scale, seen)
        assert seen.sizes == [2 * JOINTS + 1, 2 * JOINTS]  # numbers, not maps
        return found

    with ThreadPoolExecutor(len(parts)) as pool:
        outs, means, variances, of_maps, *of_parameters = zip(*pool.map(one, range(len(parts))))
    assert all(torch.equal(mean, means[0]) for mean in means)
    together = [torch.stack(of).sum(dim=0) for of in of_parameters]
    return [torch.cat(outs), means[0], variances[0], torch.cat(of_maps), *together]


def errors(found: Sequence[Tensor], exact: Sequence[Tensor]) -> list[float]:
    """Of each the largest, as a share of the largest number, or of 1: the norm leaves no gradient to bias_o."""
    assert len(found) == len(exact)
    return [
        float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1.0))
        for a, b in zip(found, exact)
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [0.05, torch.tensor(0.05, dtype=torch.float64)], ids=["number", "tensor"])
@pytest.mark.parametrize("parts", [(4, 3), (0, 7), (1, 4, 0, 2), (7,)], ids=str)
def test_parts_make_the_whole(way, scale, parts):
    tensors = inputs(7)
    with rx.use_backend("reference"):
        exact = call(tensors, scale)
    assert max(errors(shared(tensors, parts, scale, way), exact)) < 1e-12


@pytest.mark.parametrize("way", WAYS)
def test_maps_with_a_large_offset_lose_no_more_than_by_one_process(way):
    """A bias of the relation that all joints share is told by the output alone: its gradients are nearly nothing."""
    tensors = inputs(7, offset=30.0)
    plain = [tensor.float() for tensor in tensors]
    with rx.use_backend("reference"):
        exact, alone = call(tensors, 1e-4), call(plain, 1e-4)
    kept = [0, 1, 2, 3, 8, 9]  # result, statistics, gradients of maps and of the norm's parameters
    found = errors(shared(plain, (4, 3), 1e-4, way), exact)
    by_one = errors(alone, exact)
    assert all(found[number] <= 3 * by_one[number] + 1e-5 for number in kept)


@pytest.mark.parametrize("way", WAYS)
def test_half_types_are_as_exact_as_by_one_process(way):
    tensors = [*inputs(6, dtype=torch.bfloat16)]
    tensors[5:9] = [tensor.float() for tensor in tensors[5:9]]
    with rx.use_backend("reference"):
        exact = call([tensor.double() for tensor in tensors], 0.05)
    found = shared(tensors, (5, 1), 0.05, way)
    assert found[0].dtype == torch.bfloat16 and found[8].dtype == torch.float32
    assert max(errors(found, exact)) < 0.1  # parts, rounded, cancel in part


@pytest.mark.parametrize("way", WAYS)
def test_samples_that_are_left_out_are_noticed(way):
    tensors = inputs(7)
    with rx.use_backend("reference"):
        exact = call(tensors, 0.05)

    class Alone:
        def gather(self, own):
            return own[None]

        def add_up(self, own):
            return own

    first = [tensors[0][:4], *tensors[1:-1], tensors[-1][:4]]
    with rx.use_backend(way):
        found = call(first, 0.05, Alone())
    assert errors([found[0]], [exact[0][:4]])[0] > 1e-3 and errors([found[3]], [exact[3][:4]])[0] > 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_one_value_in_all_is_refused(way):
    tensors = inputs(1)
    tensors[0], tensors[-1] = tensors[0][:, :, :1, :1], tensors[-1][:, :, :1, :1]
    with pytest.raises(ValueError, match="expected more than one value per joint in training"):
        shared(tensors, (1, 0), 0.05, way)


def test_a_norm_of_several_processes_is_fused_as_a_plain_one_is(monkeypatch):
    class Norm(nn.BatchNorm2d):
        processes = "all"

    seen = []
    monkeypatch.setattr(
        "rpstn_ext.modules.joint_relation_norm", lambda *tensors, **options: seen.append(options)
    )
    relation = rx.JointRelationExtractor(JOINTS, norm=True)
    relation(torch.rand(2, JOINTS, 4, 4))
    relation.norm = Norm(JOINTS)
    relation(torch.rand(2, JOINTS, 4, 4))
    assert [options["processes"] for options in seen] == [None, "all"]


@compiled
def test_opcheck_of_the_steps():
    maps, *parameters, grad = inputs(3)
    relation, norm_weight, mean = parameters[:4], parameters[4], parameters[6]
    ops = torch.ops.rpstn_ext
    for scale in ((0.5, None), (1.0, torch.tensor([0.5], dtype=torch.float64))):
        torch.library.opcheck(ops.joint_relation_norm_sums.default, (maps, *relation, *scale))
        moments, statistics = ops.joint_relation_norm_sums(maps, *relation, *scale)
        sums = (grad, maps, moments, statistics[0], *relation, *scale)
        torch.library.opcheck(ops.joint_relation_norm_gradient_sums.default, sums)
        totals = torch.rand(2 * JOINTS + 1, dtype=torch.float64)
        backward = (
            grad,
            maps,
            moments,
            *statistics,
            *relation,
            norm_weight,
            True,
            1e-5,
            *scale,
            True,
            True,
            totals,
        )
        torch.library.opcheck(ops.joint_relation_norm_backward.default, backward)
    statistics_of_maps = torch.var_mean(reference._relate(maps, *relation, 0.5), dim=(0, 2, 3), correction=0)
    assert max(errors(statistics.flip(0), statistics_of_maps)) < 1e-12
    assert mean.shape == statistics[0].shape


@compiled
def test_wrong_totals_are_refused():
    maps, *parameters, grad = inputs(3)
    relation, norm_weight = parameters[:4], parameters[4]
    ops = torch.ops.rpstn_ext
    moments, statistics = ops.joint_relation_norm_sums(maps, *relation, 1.0, None)
    kept = (grad, maps, moments, *statistics, *relation, norm_weight)

    def backward(training: bool, totals: Tensor) -> None:
        ops.joint_relation_norm_backward(*kept, training, 1e-5, 1.0, None, True, True, totals)

    totals = torch.ones(2 * JOINTS + 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"expected totals to have shape \[11\], got \[10\]"):
        backward(True, totals[1:])
    with pytest.raises(ValueError, match="expected totals in training only"):
        backward(False, totals)
    norm_weight.requires_grad_()
    with pytest.raises(
        NotImplementedError, match="expected no gradient of the gradients where totals are given"
    ):
        backward(True, totals)
    with pytest.raises(
        ValueError, match=r"joint_relation_norm_gradient_sums: expected mean to have shape \[5\]"
    ):
        ops.joint_relation_norm_gradient_sums(grad, maps, moments, statistics, *relation, 1.0, None)


@compiled
def test_gradcheck():
    tensors = inputs(2)
    tensors[0] = tensors[0][:, :, :2, :3]
    leaves = [tensor.requires_grad_() for tensor in (*tensors[:7], torch.tensor(0.1, dtype=torch.float64))]

    class Alone:
        def gather(self, own):
            return own[None]

        def add_up(self, own):
            return own

    def apply(*inputs):
        running = [tensor.clone() for tensor in tensors[7:9]]
        return rx.joint_relation_norm(
            *inputs[:7], *running, training=True, scale=inputs[7], processes=Alone()
        )

    torch.autograd.gradcheck(apply, leaves)
