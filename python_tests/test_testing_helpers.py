"""The comparison of the operations' tests rejects what it must."""

import pytest
import torch
from op_cases import LAYOUTS, assert_as_exact

TRUTH = torch.linspace(-1, 2, 64, dtype=torch.float64).reshape(8, 8)
PLAIN = TRUTH.float()


def test_accepts_a_rounding():
    assert_as_exact("x", torch.nextafter(PLAIN, torch.tensor(9.0)), PLAIN, TRUTH, factor=2)


@pytest.mark.parametrize("index", [0, 27, 63])
def test_rejects_one_wrong_element(index):
    wrong = PLAIN.clone()
    wrong.view(-1)[index] += 1e-4
    with pytest.raises(AssertionError, match=r"x: error .*, allowed"):
        assert_as_exact("x", wrong, PLAIN, TRUTH, factor=3)


def test_rejects_swapped_axes():
    with pytest.raises(AssertionError, match="error"):
        assert_as_exact("x", PLAIN.T, PLAIN, TRUTH, factor=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rejects_a_gradient_of_zeros(dtype):
    with pytest.raises(AssertionError, match="error"):
        assert_as_exact("x", torch.zeros_like(PLAIN, dtype=dtype), PLAIN.to(dtype), TRUTH, factor=3)


def test_rejects_another_shape_dtype_and_nan():
    with pytest.raises(AssertionError, match="shape"):
        assert_as_exact("x", PLAIN[None], PLAIN, TRUTH, factor=3)
    with pytest.raises(AssertionError, match="float64"):
        assert_as_exact("x", TRUTH, PLAIN, TRUTH, factor=3)
    with pytest.raises(AssertionError, match="not finite"):
        assert_as_exact("x", torch.where(PLAIN.max() == PLAIN, torch.nan, PLAIN), PLAIN, TRUTH, factor=3)


def test_layouts_keep_values_and_differ_in_strides_or_alignment():
    tensor = torch.randn(2, 3, 4, 5)
    layouts = {name: change(tensor) for name, change in LAYOUTS.items()}
    for changed in layouts.values():
        assert torch.equal(changed, tensor)
    assert len({(changed.stride(), changed.storage_offset() % 2) for changed in layouts.values()}) == len(
        layouts
    )
