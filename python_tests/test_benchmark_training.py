"""The same training with our operations and without them, and that a fault of an operation would be seen."""

import pytest
import torch

import rpstn_ext as rx
from benchmarks import training

STEPS = 20


@pytest.fixture(scope="module")
def reference() -> dict:
    return training.train("reference", STEPS, torch.float64, "cpu")


@pytest.mark.skipif(rx.backend() == "reference", reason="there are no operations of ours to compare")
def test_a_training_is_the_same_with_our_operations(reference):
    ours = training.train("ours", STEPS, torch.float64, "cpu")
    differences = training.apart(ours, reference)
    assert training.too_far(differences, torch.float64) == []
    assert ours["losses"][-1] < 0.8 * ours["losses"][0]  # it was a training


def test_another_relation_is_another_training(reference):
    """A relation whose output is off by a millionth."""
    model = training.build(torch.float64, "cpu")
    model.relation.register_forward_hook(lambda _, inputs, output: output * (1 + 1e-6))
    other = training.train("reference", STEPS, torch.float64, "cpu", model)
    far = training.too_far(training.apart(other, reference), torch.float64)
    assert any(fault.startswith("loss") for fault in far)


def test_a_training_that_breaks_is_too_far():
    assert training.too_far({"loss": float("nan")}, torch.float32) == ["loss nan > 0.05"]
