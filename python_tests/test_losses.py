"""The training loss: by hand, and from joints alone what explicit targets give."""

import pytest
import torch

from rpstn_training.codec import encode
from rpstn_training.train.losses import heatmap_loss, joint_loss

SIZE = (24, 16)


def test_loss_by_hand():
    heatmaps = torch.zeros(1, 1, 3, 2, 2, requires_grad=True)
    targets = torch.zeros(1, 1, 3, 2, 2)
    targets[0, 0, 0, 0, 0] = 2.0  # squared error 4, mean over the cells 1
    targets[0, 0, 1] = 3.0  # 9
    targets[0, 0, 2] = 100.0  # does not count
    loss = heatmap_loss(heatmaps, targets, torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert loss.item() == pytest.approx((1 + 9) / 2)
    loss.backward()
    assert heatmaps.grad[0, 0, 2].abs().max() == 0
    assert heatmaps.grad[0, 0, 1].tolist() == [
        [-0.75, -0.75],
        [-0.75, -0.75],
    ]  # 2 * -3 / (2 joints * 4 cells)


def test_loss_without_any_visible_joint_is_zero():
    heatmaps = torch.rand(2, 1, 3, 4, 4, requires_grad=True)
    loss = heatmap_loss(heatmaps, torch.rand(2, 1, 3, 4, 4), torch.zeros(2, 1, 3))
    loss.backward()
    assert loss.item() == 0
    assert heatmaps.grad.abs().max() == 0


def case(*, noise: float, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heat maps, joints and weights; some joints outside the crop, some that do not count."""
    generator = torch.Generator().manual_seed(5)
    joints = torch.rand(2, 3, 13, 2, generator=generator, dtype=torch.float64) * 110 - 20
    weights = (torch.rand(2, 3, 13, generator=generator) > 0.2).to(dtype)
    errors = torch.randn(2, 3, 13, *SIZE, generator=generator, dtype=torch.float64)
    heatmaps = encode(joints, SIZE, sigma=2.0) + noise * errors
    return heatmaps.to(dtype).requires_grad_(), joints.to(dtype), weights


def loss_and_gradient(loss: torch.Tensor, heatmaps: torch.Tensor) -> tuple[float, torch.Tensor]:
    (gradient,) = torch.autograd.grad(loss, heatmaps)
    return loss.item(), gradient


def require_equal_losses(joints, weights, heatmaps, *, sigma=2.0, seen=None) -> None:
    """`joint_loss` about `seen` (as a rule the joints) against explicit targets about the joints in float64."""
    exact_maps = heatmaps.detach().double().requires_grad_()
    targets = encode(joints.double(), SIZE, sigma=sigma)
    exact, exact_gradient = loss_and_gradient(heatmap_loss(exact_maps, targets, weights.double()), exact_maps)
    loss, gradient = loss_and_gradient(
        joint_loss(heatmaps, joints if seen is None else seen, weights, sigma=sigma), heatmaps
    )
    assert abs(loss - exact) <= 1e-6 * exact + 1e-12
    of_an_error_of_one = 2 / (
        weights.sum() * SIZE[0] * SIZE[1]
    )  # targets are rounded to 1e-7 of their peak of 1
    assert (gradient - exact_gradient).abs().max() <= 1e-6 * of_an_error_of_one


@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-3])
@pytest.mark.parametrize("sigma", [0.8, 2.0])
def test_joints_give_what_explicit_targets_give(noise, sigma):
    """Also near the end of a training, where little is left of the difference."""
    heatmaps, joints, weights = case(noise=noise)
    require_equal_losses(joints, weights, heatmaps, sigma=sigma)


def test_that_comparison_notices_one_joint_and_exchanged_axes():
    heatmaps, joints, weights = case(noise=0.01)
    moved = joints.clone()
    place = tuple(weights.nonzero()[20])
    moved[place] += 0.05
    for wrong in (moved, joints.flip(-1)):
        with pytest.raises(AssertionError):
            require_equal_losses(joints, weights, heatmaps, seen=wrong)


def test_joint_loss_passes_a_numerical_gradient_check():
    heatmaps, joints, weights = case(noise=0.3, dtype=torch.float64)
    heatmaps, joints = heatmaps.detach()[:1, :2, :3, :7, :5].clone().requires_grad_(), joints[:1, :2, :3] / 4
    assert torch.autograd.gradcheck(
        lambda maps: joint_loss(maps, joints, weights[:1, :2, :3] * 0.7, sigma=1.5), heatmaps
    )


def test_joint_loss_takes_half_precision_and_strided_maps():
    heatmaps, joints, weights = case(noise=0.1)
    half = heatmaps.detach().bfloat16().requires_grad_()
    loss, gradient = loss_and_gradient(joint_loss(half, joints, weights, sigma=2.0), half)
    assert gradient.dtype == torch.bfloat16
    assert loss == pytest.approx(joint_loss(half.float(), joints, weights, sigma=2.0).item(), rel=1e-6)
    strided = heatmaps.detach().mT.contiguous().mT.requires_grad_()
    require_equal_losses(joints, weights, strided)


def test_joint_loss_without_any_joint_that_counts_is_zero():
    heatmaps, joints, weights = case(noise=0.1)
    loss, gradient = loss_and_gradient(joint_loss(heatmaps, joints, 0 * weights, sigma=2.0), heatmaps)
    assert loss == 0 and gradient.abs().max() == 0
    assert joint_loss(heatmaps[:0], joints[:0], weights[:0], sigma=2.0) == 0


def test_joint_loss_names_shapes_that_do_not_fit():
    heatmaps, joints, weights = case(noise=0.1)
    with pytest.raises(ValueError, match=r"expected joints \[2, 3, 13, 2\] .* got \[2, 3, 12, 2\]"):
        joint_loss(heatmaps, joints[:, :, 1:], weights, sigma=2.0)
    with pytest.raises(ValueError, match="sigma > 0"):
        joint_loss(heatmaps, joints, weights, sigma=0.0)
