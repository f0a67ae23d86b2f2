"""The same training with our operations and without them, and that a fault of an operation would be seen."""

import pytest
import torch

import rpstn_ext as rx
from benchmarks import report, training

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


def test_the_record_of_a_training():
    facts = {"cpu": "A processor", "threads": 1, "instructions": "AVX2", "torch": "2.13.0", "date": "today"}
    facts |= {"commit": "0123456789abcdef", "changed_since": False}
    trained = {"dtype": "float64", "steps": 100, "first_loss": 0.02, "last_loss": 0.01}
    trained |= {
        "loss_apart": 2e-14,
        "loss_tolerance": 1e-8,
        "weights_apart": 8e-12,
        "weights_tolerance": 1e-6,
    }
    trained |= {"score_ours": 0.5, "score_reference": 0.25}
    timed = {"operations": "ours", "step_ms": 40.0, "operations_ms": 4.0, "operations_share": 0.1}
    text = report.training_run([trained | facts, timed | facts])
    assert text[0].endswith("on A processor") and "commit 0123456789ab;" in text[2]
    assert "| float64 | 2e-14 | 1e-08 | 8e-12 | 1e-06 | 0.5 | 0.25 | 0.02 | 0.01 |" in text
    assert "| ours | 40 | 4 | 10.0% |" in text
