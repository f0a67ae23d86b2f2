"""What every operation promises, from the tables in op_cases.py."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from op_bad_inputs import BAD_INPUTS, GOOD_CASES, BadInput, good_inputs
from op_cases import CASES, DTYPES, LAYOUTS, MIDDLE, OPS, Op, assert_as_exact, results
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

import rpstn_ext as rx

pytestmark = pytest.mark.skipif(rx.backend() == "reference", reason="no compiled library")

SMALL = {
    "joint_relation": {"sizes": (2, 3, 2, 4), "options": {"scale": 0.7}},
    "joint_relation, tensor scale": {"sizes": (2, 3, 2, 4), "options": {}, "scale": 0.7},
    "joint_relation_norm": {
        "sizes": (2, 3, 2, 4),
        "offset": 0.5,
        "options": {"training": True, "scale": 0.7},
    },
    "joint_relation_norm, tensor scale": {
        "sizes": (2, 3, 2, 4),
        "offset": 0.5,
        "options": {"training": True},
        "scale": 0.7,
    },
    "dynamic_conv2d": {"sizes": (2, 2, 4, 5), "kernel": (3, 2), "options": {"padding": "same"}},
    "dynamic_match": {"sizes": (2, 2, 4, 3), "kernel": (3, 2), "joints": 3, "options": {"padding": "same"}},
}
ALONE = {
    name: "many samples, evaluation" if name.startswith("joint_relation_norm") else case
    for name, case in MIDDLE.items()
}  # a sample's result is its own

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and "cuda" in rx.backend() else [])]

every_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


@pytest.fixture(params=DEVICES, autouse=True)
def device(request):
    """Every tensor that a test makes lies there."""
    if request.param == "cpu":  # as it is without being asked for
        yield request.param
    else:
        with torch.device(request.param):
            yield request.param


def _case_id(value: object) -> str | None:
    return value.name if isinstance(value, Op) else None


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# --- values ---


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("op, name", CASES, ids=_case_id)
def test_matches_reference(op, name, dtype):
    """Error budget of HOUSE_STYLE: twice that of plain PyTorch, three times for gradients, against float64."""
    case = op.cases[name]
    tensors = [tensor.to(dtype) for tensor in op.inputs(case)]
    exact = [tensor.double() for tensor in tensors]
    grad = torch.randn_like(op.call_reference(case, exact)).to(dtype)
    actual = results(op, case, tensors, grad, op.call)
    plain = results(op, case, tensors, grad, op.call_reference)
    truth = results(op, case, exact, grad.double(), op.call_reference)
    for index, (a, p, t) in enumerate(zip(actual, plain, truth)):
        terms = op.terms(case, exact, grad.double(), truth, index)
        factor = 3 if index else 2
        assert_as_exact(f"result {index}", a, p, t, factor=factor, terms=terms, exact_to=op.exact_to)


@pytest.mark.parametrize("layout", LAYOUTS)
@every_op
def test_any_strides_of_inputs_and_incoming_gradients(op, layout):
    case = op.cases["portrait"]
    tensors = [tensor.float() for tensor in op.inputs(case)]
    grad = torch.randn_like(op.call(case, tensors))
    expected = results(op, case, tensors, grad, op.call)
    change = LAYOUTS[layout]
    for actual, wanted in zip(
        results(op, case, [change(t) for t in tensors], change(grad), op.call), expected
    ):
        assert torch.equal(actual, wanted)
        assert actual.is_contiguous()


@every_op
def test_expanded_incoming_gradient(op):
    case = op.cases["portrait"]
    leaves = [tensor.float().requires_grad_() for tensor in op.inputs(case)]
    summed = torch.autograd.grad(op.call(case, leaves).sum(), leaves)  # a gradient of strides 0
    out = op.call(case, leaves)
    for actual, wanted in zip(summed, torch.autograd.grad(out, leaves, torch.ones_like(out))):
        assert torch.equal(actual, wanted)


@every_op
def test_mixed_dtypes_give_the_widest(op):
    case = op.cases["portrait"]
    tensors = [tensor.float() for tensor in op.inputs(case)]
    mixed = [tensors[0].bfloat16(), *tensors[1:]]
    leaves = [tensor.requires_grad_() for tensor in mixed]
    out = op.call(case, leaves)
    assert out.dtype == torch.float32
    assert torch.equal(out, op.call(case, [tensor.float() for tensor in mixed]))
    with torch.inference_mode():
        assert torch.equal(out, op.call(case, mixed))
    out.sum().backward()
    assert [leaf.grad.dtype for leaf in leaves] == [leaf.dtype for leaf in leaves]


# --- derivatives ---


@every_op
def test_gradcheck_and_gradgradcheck(op):
    case = SMALL[op.name]
    leaves = [tensor.requires_grad_() for tensor in op.inputs(case)]
    assert gradcheck(lambda *tensors: op.call(case, tensors), leaves)
    assert gradgradcheck(lambda *tensors: op.call(case, tensors), leaves)


@every_op
def test_each_input_alone_has_the_same_first_and_second_derivative(op):
    """The derivatives do not need the other inputs to require a gradient."""
    case = SMALL[op.name]
    tensors = op.inputs(case)
    weights = [torch.randn_like(tensor) for tensor in tensors]
    for index, weight in enumerate(weights):
        seconds = []
        for call in (op.call, op.call_reference):
            leaves = [t.detach().requires_grad_(i == index) for i, t in enumerate(tensors)]
            leaf = leaves[index]
            (first,) = torch.autograd.grad((call(case, leaves) ** 2).sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad((first * weight).sum(), leaf)
            seconds.append((first.detach(), second))
        torch.testing.assert_close(seconds[0], seconds[1], rtol=1e-9, atol=1e-9)


@every_op
def test_third_derivative(op):
    case = SMALL[op.name]
    tensors = op.inputs(case)
    thirds = []
    for call in (op.call, op.call_reference):
        leaf = tensors[0].detach().requires_grad_()
        value = (call(case, [leaf, *tensors[1:]]) ** 4).sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
            value = (gradient**2).sum()
        thirds.append(gradient.detach())
    torch.testing.assert_close(thirds[0], thirds[1], rtol=1e-8, atol=1e-8)


def _calls(function: Callable[[], object]) -> tuple[list[tuple[str, object]], object]:
    """The operations below autograd that `function` calls, each with its result, and what it returns."""
    calls = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, called, types, args=(), kwargs=None):
            result = called(*args, **(kwargs or {}))
            calls.append((str(called), result))
            return result

    with Recorder():
        returned = function()
    return calls, returned


@every_op
def test_a_gradient_nobody_asked_for_is_not_computed(op):
    """Neither that of frozen inputs nor that of frozen parameters: it comes back from the kernel with shape [0]."""
    case = op.cases["portrait"]
    tensors = [tensor.float() for tensor in op.inputs(case)]

    def computed(trained: Sequence[int], asked: Sequence[int]) -> tuple[set[int], tuple[torch.Tensor, ...]]:
        """Which gradients the kernel gave, and those that were asked for."""
        leaves = [tensor.clone().requires_grad_(i in trained) for i, tensor in enumerate(tensors)]
        value = op.call(case, leaves).sum()
        calls, grads = _calls(lambda: torch.autograd.grad(value, [leaves[i] for i in asked]))
        (returned,) = (result for name, result in calls if name.endswith("_backward.default"))
        return {i for i, result in enumerate(returned) if result.numel() > 0}, grads

    everything = range(len(tensors))
    for asked in op.gradient_groups(len(tensors)):
        given, grads = computed(trained=asked, asked=asked)
        assert given == set(asked)
        given, same = computed(trained=everything, asked=asked)
        assert given == set(asked)
        assert all(map(torch.equal, grads, same))
        given, all_grads = computed(trained=everything, asked=everything)
        assert given == set(everything)
        # On CUDA another kernel may serve, which does not need to write the gradient of the heat maps.
        torch.testing.assert_close(grads, tuple(all_grads[i] for i in asked), rtol=1e-4, atol=1e-3)


@every_op
def test_a_second_derivative_nobody_asked_for_is_not_computed(op):
    """What one gradient depends on is less work than what all of them depend on."""
    case = op.cases["portrait"]
    tensors = [tensor.float() for tensor in op.inputs(case)]
    leaves = [tensor.requires_grad_() for tensor in tensors]

    def multiplications(of: Sequence[int], by: Sequence[int]) -> int:
        out = op.call(case, leaves)
        firsts = torch.autograd.grad((out**2).sum(), leaves, create_graph=True)
        value = sum((firsts[i] ** 2).sum() for i in of)
        calls, _ = _calls(lambda: torch.autograd.grad(value, [leaves[i] for i in by]))
        made_of = ("mm.default", "dynamic_conv2d")  # second derivatives are
        return sum(
            sum(part.numel() > 0 for part in (result if isinstance(result, tuple) else (result,)))
            for name, result in calls
            if any(word in name for word in made_of)
        )

    everything = multiplications(range(len(leaves)), range(len(leaves)))
    last = len(leaves) - 1 if not op.with_scale else len(leaves) - 2
    assert 3 * multiplications([last], [0]) <= 2 * everything


@pytest.mark.parametrize(
    "of, by, calls", [(0, "grad", ["conv"]), (1, "grad", ["conv"]), (0, 1, ["backward"])]
)
def test_second_derivatives_of_the_convolution_are_single_calls(of, by, calls):
    features, kernels = torch.rand(2, 3, 9, 8), torch.rand(2, 3, 3, 3)
    leaves = [features.requires_grad_(), kernels.requires_grad_()]
    grad = torch.rand(2, 3, 9, 8, requires_grad=True)
    first = torch.autograd.grad(rx.dynamic_conv2d(*leaves), leaves, grad, create_graph=True)[of]
    weight = torch.rand_like(first)
    made, _ = _calls(lambda: torch.autograd.grad(first, grad if by == "grad" else leaves[by], weight))
    names = [name.removeprefix("rpstn_ext.dynamic_") for name, _ in made if name.startswith("rpstn_ext")]
    assert names == [
        {"conv": "conv2d.default", "backward": "conv2d_backward.default"}[call] for call in calls
    ]


@every_op
def test_backward_steps_refuse_what_the_forward_call_did_not_give(op, device):
    """Before any memory is read; as real tensors and as shapes alone."""
    if op.with_scale:
        return
    case = GOOD_CASES[op.name]
    tensors = good_inputs(op)
    step = getattr(torch.ops.rpstn_ext, f"{op.name}_backward")
    grad = torch.ones_like(op.call(case, tensors))
    x, joints = tensors[0], tensors[0].shape[1]
    match op.name:
        case "joint_relation":
            kept, rest = [torch.zeros(2, joints, joints)], [*tensors[1:4], 1.0, None, True, True]
        case "joint_relation_norm":
            kept = [torch.zeros(2, joints, joints + 2), torch.zeros(joints), torch.ones(joints)]
            rest = [*tensors[1:6], True, 1e-5, 1.0, None, True, True]
        case "dynamic_conv2d":
            kept, rest = [tensors[1]], [1, 1, 1, 1, True, True]
        case "dynamic_match":
            kept, rest = [tensors[1]], [tensors[2], 1, 1, 1, 1, True, True, True, True]
    shape = list(grad.shape)
    bad = [
        (
            ValueError,
            "grad_out",
            f"to have shape {shape}, got {[shape[0], shape[1], 1, 1]}",
            grad[:, :, :1, :1],
            kept,
        ),
        (TypeError, "grad_out", "to be float64, float32, float16 or bfloat16, got int64", grad.long(), kept),
    ]
    if op.name.startswith("joint_relation"):
        name, shape = ("gram" if op.name == "joint_relation" else "moments"), list(kept[0].shape)
        less = [kept[0][:1], *kept[1:]]
        bad.append((ValueError, name, f"to have shape {shape}, got {[1, *shape[1:]]}", grad, less))
    for where in (device, "meta"):
        for error, name, rule, given, stored in bad:
            arguments = [
                t.to(where) if isinstance(t, torch.Tensor) else t for t in (given, x, *stored, *rest)
            ]
            with pytest.raises(error) as raised:
                step(*arguments)
            assert str(raised.value).splitlines()[0] == f"{op.name}_backward: expected {name} {rule}"


@every_op
def test_a_call_without_derivative_is_one_dispatch(op):
    case = GOOD_CASES[op.name]
    tensors = good_inputs(op)
    with torch.autograd.profiler.profile() as profile:
        op.call(case, tensors)
    # Not function_events, which leave out a call that calls itself.
    names = [event.name() for event in profile.kineto_results.events()]
    events = [name for name in names if name.startswith("rpstn_ext::")]
    # In training the running statistics are moved by the same call.
    moves = "_training" if op.function == "joint_relation_norm" else ""
    assert events == [f"rpstn_ext::{op.function}{moves}"]


@every_op
def test_functional_transforms_are_refused_and_the_reference_serves_them(op):
    case = SMALL[op.name]
    tensors = tuple(op.inputs(case))
    tangents = tuple(torch.ones_like(tensor) for tensor in tensors)
    with pytest.raises(RuntimeError, match=r"cannot use C\+\+ torch::autograd::Function"):
        torch.func.jvp(lambda *t: op.call(case, t), tensors, tangents)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp is not implemented"):
        op.call(case, [torch.autograd.forward_ad.make_dual(*pair) for pair in zip(tensors, tangents)])
    with rx.use_backend("reference"):
        torch.func.jvp(lambda *t: op.call(case, t), tensors, tangents)


# --- errors ---


@pytest.mark.parametrize("backend", ["compiled", "inference", "reference", "meta", "fake"])
@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.message)
def test_bad_inputs(bad: BadInput, backend):
    tensors = bad.change(good_inputs(bad.op))
    case = {"options": bad.options}
    call = bad.op.call_reference if backend == "reference" else bad.op.call
    with pytest.raises(bad.error) as raised:
        if backend == "meta":
            call(case, [tensor.to("meta") for tensor in tensors])
        elif backend == "fake":
            with FakeTensorMode() as mode:
                call(case, [mode.from_tensor(tensor) for tensor in tensors])
        else:
            with torch.inference_mode(backend == "inference"):
                call(case, tensors)
    assert type(raised.value) is bad.error
    assert str(raised.value) == bad.message


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "reference"])
@every_op
def test_devices_must_agree(op, plain, device):
    tensors = good_inputs(op)
    tensors[1] = tensors[1].to("meta")
    names = ("weight_g", "heatmaps") if op.name.startswith("joint_relation") else ("kernels", "features")
    with pytest.raises(RuntimeError) as raised:
        (op.call_reference if plain else op.call)(GOOD_CASES[op.name], tensors)
    there = "cpu" if device == "cpu" else f"{device}:{torch.cuda.current_device()}"
    assert str(raised.value) == f"{op.function}: expected {names[0]} on {there} like {names[1]}, got meta"


# --- registration, compilers, autocast ---


@every_op
def test_opcheck(op):
    case = SMALL[op.name]
    leaves = [tensor.float().requires_grad_() for tensor in op.inputs(case)]
    out = op.call(case, leaves)
    grad = torch.randn_like(out).requires_grad_()
    ops = torch.ops.rpstn_ext
    scale = (0.5, leaves.pop() if op.with_scale else None)
    plain_scale = (0.5, None if scale[1] is None else scale[1].detach())
    if op.function == "joint_relation":
        torch.library.opcheck(ops.joint_relation.default, (*leaves, *scale))
        plain = [leaf.detach() for leaf in leaves]
        _, gram = ops.joint_relation_forward(*plain, *plain_scale)
        torch.library.opcheck(ops.joint_relation_forward.default, (*plain, *plain_scale))
        for needs in ((True, True), (True, False), (False, True)):
            torch.library.opcheck(
                ops.joint_relation_backward.default, (grad, leaves[0], gram, *leaves[1:4], *scale, *needs)
            )
    elif op.function == "joint_relation_norm":
        plain = [leaf.detach() for leaf in leaves]
        statistics = op.constants(leaves)
        for training in (True, False):
            torch.library.opcheck(
                ops.joint_relation_norm.default, (*leaves, *statistics, training, 1e-5, *scale)
            )
            forward = (*plain, *statistics, training, 1e-5, *plain_scale)
            torch.library.opcheck(ops.joint_relation_norm_forward.default, forward)
            if training:
                moving = (*leaves, *statistics, 1e-5, 0.1, *scale)
                torch.library.opcheck(ops.joint_relation_norm_training.default, moving)
            _, *kept = ops.joint_relation_norm_forward(*forward)
            for needs in ((True, True), (False, True)) if training else ((True, False),):
                torch.library.opcheck(
                    ops.joint_relation_norm_backward.default,
                    (grad, leaves[0], *kept, *leaves[1:6], training, 1e-5, *scale, *needs),
                )
    elif op.name == "dynamic_match":
        torch.library.opcheck(ops.dynamic_match.default, (*leaves, 1, 0, 1, 1))
        for needs in (
            (True,) * 4,
            (True, False, False, False),
            (False, True, False, True),
            (False, False, True, False),
        ):
            torch.library.opcheck(ops.dynamic_match_backward.default, (grad, *leaves[:3], 1, 0, 1, 1, *needs))
    else:
        torch.library.opcheck(ops.dynamic_conv2d.default, (*leaves, 1, 0, 1, 1))
        for needs in ((True, True), (True, False), (False, True)):
            arguments = (grad, *leaves, 1, 0, 1, 1, *needs)
            torch.library.opcheck(ops.dynamic_conv2d_backward.default, arguments)


def _compiled_agrees(op: Op, **options: object) -> None:
    torch.compiler.reset()  # the recompilations of other operations do not count
    case = op.cases["scaled" if op.name.startswith("joint_relation") else "3 x 3"]
    tensors = [tensor.float() for tensor in op.inputs(case)]
    compiled = torch.compile(lambda *t: op.call(case, t).sin(), fullgraph=True, **options)
    for samples in (2, 5, 3):
        grown = [t.repeat(samples, 1, 1, 1) if t.dim() == 4 else t for t in tensors]
        grad = torch.randn_like(op.call(case, grown))
        actual = results(op, case, grown, grad, lambda _, leaves: compiled(*leaves))
        wanted = results(op, case, grown, grad, lambda c, leaves: op.call(c, leaves).sin())
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-4)


@every_op
def test_compiles_as_one_graph_with_dynamic_batch(op):
    _compiled_agrees(op, backend="aot_eager", dynamic=True)


@every_op
def test_compiles_with_inductor(op):
    _compiled_agrees(op, dynamic=True)


@every_op
def test_exports_with_dynamic_batch(op):
    case = op.cases["portrait"]
    tensors = [tensor.float() for tensor in op.inputs(case)]

    class Call(torch.nn.Module):
        def forward(self, *tensors):
            return op.call(case, tensors)

    batch = torch.export.Dim("batch")
    dynamic = (tuple({0: batch} if tensor.dim() == 4 else None for tensor in tensors),)
    exported = torch.export.export(Call(), tuple(tensors), dynamic_shapes=dynamic)
    assert any(op.function in str(node.target) for node in exported.graph.nodes)
    grown = [t.repeat(3, 1, 1, 1) if t.dim() == 4 else t for t in tensors]
    assert torch.equal(exported.module()(*grown), op.call(case, grown))


@every_op
def test_the_reference_exports_with_dynamic_batch_in_plain_operations(op):
    case = op.cases["portrait"]
    tensors = op.inputs(case)

    class Call(torch.nn.Module):
        def forward(self, *tensors):
            return op.call_reference(case, tensors)

    batch = torch.export.Dim("batch")
    dynamic = (tuple({0: batch} if tensor.dim() == 4 else None for tensor in tensors),)
    exported = torch.export.export(Call(), tuple(tensors), dynamic_shapes=dynamic)
    for node in exported.graph.nodes:  # nor a convolution with groups = B * C, which ONNX cannot hold
        assert "rpstn" not in str(node.target) and "conv" not in str(node.target)
    for size in (1, 3 * len(tensors[0])):
        other = [t.repeat(3, 1, 1, 1)[:size] if t.dim() == 4 else t for t in tensors]
        torch.testing.assert_close(exported.module()(*other), op.call_reference(case, other))


@pytest.mark.parametrize(
    ("op", "name"),
    [(op, name) for op, name in CASES if op.function.startswith("dynamic")],
    ids=_case_id,
)
def test_what_the_reference_exports_is_the_same_operation(op, name, monkeypatch):
    tensors = op.inputs(op.cases[name])
    expected = op.call_reference(op.cases[name], tensors)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = op.call_reference(op.cases[name], tensors)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_op
def test_autocast_computes_in_its_dtype(op, dtype, device):
    case = op.cases["portrait"]
    tensors = [tensor.float().requires_grad_() for tensor in op.inputs(case)]
    with torch.autocast(device, dtype=dtype):
        out = op.call(case, tensors)
        plain = op.call_reference(case, tensors)
    assert out.dtype == plain.dtype == dtype
    cast = [tensor.to(dtype) for tensor in tensors[: op.autocast]]
    assert torch.equal(out, op.call(case, [*cast, *tensors[len(cast) :]]))
    torch.testing.assert_close(out, plain)
    out.sum().backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in tensors)


# --- repeatability ---


@every_op
def test_repeated_runs_give_the_same_bits(op, two_threads):
    case = op.cases[MIDDLE[op.name]]
    tensors = [tensor.float() for tensor in op.inputs(case)]
    grad = torch.randn_like(op.call(case, tensors))
    first = results(op, case, tensors, grad, op.call)
    for _ in range(30):
        assert all(map(torch.equal, results(op, case, tensors, grad, op.call), first))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_op
def test_a_sample_does_not_depend_on_its_batch_or_on_threads(op, dtype, two_threads):
    case = op.cases[ALONE[op.name]]
    shared = [tensor.to(dtype) for tensor in op.inputs(case)]
    large = [t.repeat(4, 1, 1, 1) * torch.rand(1) if t.dim() == 4 else t for t in shared]
    grad = torch.randn_like(op.call(case, large))
    samples = grad.shape[0]
    per_sample = [0] + [i + 1 for i, t in enumerate(large) if t.dim() == 4]  # results that have a sample axis

    def run(which: slice) -> list[torch.Tensor]:
        part = [t[which] if t.dim() == 4 else t for t in large]
        return results(op, case, part, grad[which], op.call)

    whole = run(slice(None))
    torch.set_num_threads(1)
    assert all(map(torch.equal, run(slice(None)), whole))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for first, count in ((0, 1), (samples - 1, 1), (1, 3)):
            part = run(slice(first, first + count))
            for index in per_sample:
                assert torch.equal(part[index], whole[index][first : first + count])


@every_op
def test_two_threads_that_call_at_once_with_other_shapes(op):
    names = [MIDDLE[op.name], "portrait"]
    inputs = [[tensor.float() for tensor in op.inputs(op.cases[name])] for name in names]
    grads = [torch.randn_like(op.call(op.cases[name], given)) for name, given in zip(names, inputs)]

    def run(which: int) -> list[torch.Tensor]:
        return results(op, op.cases[names[which]], inputs[which], grads[which], op.call)

    expected = [run(0), run(1)]
    with ThreadPoolExecutor(2) as pool:
        for i, found in enumerate(pool.map(run, [0, 1] * 10)):
            assert all(map(torch.equal, found, expected[i % 2]))
