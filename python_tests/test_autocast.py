"""Modules and training under autocast, on a GPU where there is one: as exact as plain PyTorch in the same dtype."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from op_cases import assert_as_exact
from tiny_clips import tiny_config, write_penn

import rpstn_ext as rx
from rpstn_ext.modules import DynamicMatcher, JointRelationExtractor, PoseSemanticsPropagator
from rpstn_training.train import engine

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.bfloat16, torch.float16)

MODULES = {
    "relation": (lambda: JointRelationExtractor(13, start="random"), [(3, 13, 64, 64)], 0.02),
    "relation and norm": (
        lambda: JointRelationExtractor(13, start="random", norm=True),
        [(3, 13, 64, 64)],
        0.02,
    ),
    "relation and norm, evaluation": (
        lambda: JointRelationExtractor(13, start="random", norm=True).eval(),
        [(3, 13, 64, 64)],
        0.02,
    ),
    "propagator": (lambda: PoseSemanticsPropagator(8, num_convs=2), [(3, 8, 28, 28)], 1.0),
    "matcher": (lambda: DynamicMatcher(8, 5), [(3, 8, 64, 64), (3, 8, 7, 7)], 0.3),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_as_exact_as_plain_pytorch(name, dtype):
    build, sizes, size = MODULES[name]
    module = build().to(DEVICE)
    inputs = [torch.randn(shape, device=DEVICE) * size for shape in sizes]

    def run(module, inputs, *, half: bool):
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        module = copy.deepcopy(module)
        with torch.autocast(DEVICE, dtype, enabled=half):
            out = module(*leaves)
        grad = torch.linspace(-1, 1, out.numel(), device=DEVICE).view(out.shape)
        (out.float() if half else out).backward(grad if half else grad.double())
        grads = [leaf.grad for leaf in leaves] + [p.grad for p in module.parameters()]
        return [out.detach(), *grads]

    found = run(module, inputs, half=True)
    with rx.use_backend("reference"):
        plain = run(module, inputs, half=True)
        exact = run(module.double(), [tensor.double() for tensor in inputs], half=False)
    assert found[0].dtype == plain[0].dtype
    for index, (actual, expected, truth) in enumerate(zip(found, plain, exact, strict=True)):
        # Gradients are those of what was rounded to `dtype` on the way, kept in float32.
        floor = 8 * torch.finfo(dtype).eps * max(tensor.abs().max() for tensor in exact[1:])
        terms = floor / (4 * torch.finfo(actual.dtype).eps) if index else None
        assert_as_exact(f"{name} {index}", actual, expected, truth, factor=3 if index else 2, terms=terms)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_penn(tmp_path_factory.mktemp("penn"))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_training_follows_that_of_plain_pytorch(precision, root, tmp_path):
    """The losses of the first epochs, and every weight finite."""
    losses = {}
    for name, of, backend in (
        ("float32", "float32", rx.backend()),
        ("ours", precision, rx.backend()),
        ("plain", precision, "reference"),
    ):
        config = tiny_config(root, tmp_path / name, precision=of, device=DEVICE)
        config = replace(
            config, augmentation=replace(config.augmentation, rotation=0.0, scale=(1.0, 1.0), flip=0.0)
        )
        with rx.use_backend(backend):
            engine.train(config)
        rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses[name] = [json.loads(row)["loss"] for row in rows]
    off = {
        name: max(abs(a - b) / b for a, b in zip(losses[name], losses["float32"]))
        for name in ("ours", "plain")
    }
    assert len(losses["ours"]) == 2
    assert 0 < off["ours"] < max(3 * off["plain"], 0.02)
