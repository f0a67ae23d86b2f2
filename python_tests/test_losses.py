"""The training loss: by hand, and from joints alone what explicit targets give."""

import dataclasses

import pytest
import torch

from rpstn_training.codec import Codec
from rpstn_training.train.losses import heatmap_loss, integral_loss, joint_loss

SIZE = (24, 16)


def codec(sigma: float = 2.0, size: tuple[int, int] = SIZE, geometry: str = "plain") -> Codec:
    return Codec(input_size=(4 * size[1], 4 * size[0]), stride=4, sigma=sigma, geometry=geometry)


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


def case(
    *, noise: float, dtype=torch.float32, geometry: str = "plain"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heat maps, joints and weights; some joints outside the crop, some that do not count."""
    generator = torch.Generator().manual_seed(5)
    joints = torch.rand(2, 3, 13, 2, generator=generator, dtype=torch.float64) * 110 - 20
    weights = (torch.rand(2, 3, 13, generator=generator) > 0.2).to(dtype)
    errors = torch.randn(2, 3, 13, *SIZE, generator=generator, dtype=torch.float64)
    heatmaps = codec(2.0, geometry=geometry).encode(joints) + noise * errors
    return heatmaps.to(dtype).requires_grad_(), joints.to(dtype), weights


def loss_and_gradient(loss: torch.Tensor, heatmaps: torch.Tensor) -> tuple[float, torch.Tensor]:
    (gradient,) = torch.autograd.grad(loss, heatmaps)
    return loss.item(), gradient


def require_equal_losses(joints, weights, heatmaps, *, sigma=2.0, seen=None, geometry="plain") -> None:
    """`joint_loss` about `seen` (as a rule the joints) against explicit targets about the joints in float64."""
    given = codec(sigma, geometry=geometry)
    exact_maps = heatmaps.detach().double().requires_grad_()
    targets = given.encode(joints.double())
    exact, exact_gradient = loss_and_gradient(heatmap_loss(exact_maps, targets, weights.double()), exact_maps)
    loss, gradient = loss_and_gradient(
        joint_loss(heatmaps, joints if seen is None else seen, weights, codec=given), heatmaps
    )
    assert abs(loss - exact) <= 1e-6 * exact + 1e-12
    of_an_error_of_one = 2 / (
        weights.sum() * SIZE[0] * SIZE[1]
    )  # targets are rounded to 1e-7 of their peak of 1, and places in cells of no whole number of pixels too
    rounding = {"plain": 1e-6, "udp": 2e-6}[geometry]
    assert (gradient - exact_gradient).abs().max() <= rounding * of_an_error_of_one


@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-3])
@pytest.mark.parametrize("sigma", [0.8, 2.0])
@pytest.mark.parametrize("geometry", ["plain", "udp"])
def test_joints_give_what_explicit_targets_give(noise, sigma, geometry):
    """Also near the end of a training, where little is left of the difference."""
    heatmaps, joints, weights = case(noise=noise, geometry=geometry)
    require_equal_losses(joints, weights, heatmaps, sigma=sigma, geometry=geometry)


def test_that_comparison_notices_one_joint_and_exchanged_axes():
    heatmaps, joints, weights = case(noise=0.01)
    moved = joints.clone()
    place = tuple(weights.nonzero()[20])
    moved[place] += 0.05
    for wrong in (moved, joints.flip(-1)):
        with pytest.raises(AssertionError):
            require_equal_losses(joints, weights, heatmaps, seen=wrong)


def test_targets_of_hidden_joints_are_as_high_as_the_codec_says():
    heatmaps, joints, weights = case(noise=0.1)
    lower, everyone = dataclasses.replace(codec(2.0), hidden=0.4), torch.ones_like(weights)
    targets = codec(2.0).encode(joints) * torch.where(weights > 0, 1.0, 0.4)[..., None, None]
    torch.testing.assert_close(lower.encode(joints, weights), targets, rtol=0, atol=1e-6)
    torch.testing.assert_close(lower.encode(joints), codec(2.0).encode(joints), rtol=0, atol=0)
    wanted, gradient = loss_and_gradient(heatmap_loss(heatmaps, targets, everyone), heatmaps)
    loss, found = loss_and_gradient(
        joint_loss(heatmaps, joints, everyone, codec=lower, visible=weights), heatmaps
    )
    assert loss == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(found, gradient, rtol=0, atol=1e-6 * gradient.abs().max().item())


def test_joint_loss_passes_a_numerical_gradient_check():
    heatmaps, joints, weights = case(noise=0.3, dtype=torch.float64)
    heatmaps, joints = heatmaps.detach()[:1, :2, :3, :7, :5].clone().requires_grad_(), joints[:1, :2, :3] / 4
    assert torch.autograd.gradcheck(
        lambda maps: joint_loss(maps, joints, weights[:1, :2, :3] * 0.7, codec=codec(1.5, (7, 5))), heatmaps
    )


def test_joint_loss_takes_half_precision_and_strided_maps():
    heatmaps, joints, weights = case(noise=0.1)
    half = heatmaps.detach().bfloat16().requires_grad_()
    loss, gradient = loss_and_gradient(joint_loss(half, joints, weights, codec=codec(2.0)), half)
    assert gradient.dtype == torch.bfloat16
    assert loss == pytest.approx(joint_loss(half.float(), joints, weights, codec=codec(2.0)).item(), rel=1e-6)
    strided = heatmaps.detach().mT.contiguous().mT.requires_grad_()
    require_equal_losses(joints, weights, strided)


def test_joint_loss_without_any_joint_that_counts_is_zero():
    heatmaps, joints, weights = case(noise=0.1)
    loss, gradient = loss_and_gradient(joint_loss(heatmaps, joints, 0 * weights, codec=codec(2.0)), heatmaps)
    assert loss == 0 and gradient.abs().max() == 0
    assert joint_loss(heatmaps[:0], joints[:0], weights[:0], codec=codec(2.0)) == 0


def test_joint_loss_names_shapes_that_do_not_fit():
    heatmaps, joints, weights = case(noise=0.1)
    with pytest.raises(ValueError, match=r"expected joints \[2, 3, 13, 2\] .* got \[2, 3, 12, 2\]"):
        joint_loss(heatmaps, joints[:, :, 1:], weights, codec=codec(2.0))
    with pytest.raises(ValueError, match="sigma > 0"):
        joint_loss(heatmaps, joints, weights, codec=codec(0.0))


def test_parts_of_a_batch_add_up_to_the_whole():
    """Accumulation and several ranks: with the whole's normaliser the halves give its loss and its gradient."""
    heatmaps, joints, weights = case(noise=0.3, dtype=torch.float64)
    weights[0, :, 3:] = 0  # uneven halves
    whole, gradient = loss_and_gradient(joint_loss(heatmaps, joints, weights, codec=codec()), heatmaps)
    targets = codec().encode(joints)
    for lossy in (
        lambda part, normaliser: joint_loss(
            heatmaps[part], joints[part], weights[part], codec=codec(), normaliser=normaliser
        ),
        lambda part, normaliser: heatmap_loss(
            heatmaps[part], targets[part], weights[part], normaliser=normaliser
        ),
    ):
        halves = [loss_and_gradient(lossy(part, weights.sum()), heatmaps) for part in (slice(1), slice(1, 2))]
        assert sum(loss for loss, _ in halves) == pytest.approx(whole, rel=1e-12)
        torch.testing.assert_close(sum(gradient for _, gradient in halves), gradient, rtol=1e-10, atol=1e-14)
        alone = [loss_and_gradient(lossy(part, None), heatmaps)[0] / 2 for part in (slice(1), slice(1, 2))]
        assert abs(sum(alone) - whole) > 1e-3 * whole  # without it they do not


def test_stages_are_summed_and_each_gets_its_gradient():
    first, joints, weights = case(noise=0.3)
    second = (first.detach() * 0.5).requires_grad_()
    together = joint_loss([first, second], joints, weights, codec=codec())
    apart = [joint_loss(maps, joints, weights, codec=codec()) for maps in (first, second)]
    assert together.item() == pytest.approx(sum(loss.item() for loss in apart))
    torch.testing.assert_close(
        torch.autograd.grad(together, second)[0], torch.autograd.grad(apart[1], second)[0]
    )
    targets = codec().encode(joints)
    assert heatmap_loss((first, second), targets, weights).item() == pytest.approx(together.item(), rel=1e-5)


def test_maps_of_another_size_than_the_codec_has_are_refused():
    heatmaps, joints, weights = case(noise=0.1)
    with pytest.raises(ValueError, match=r"expected heatmaps of \[24, 16\] cells"):
        joint_loss(heatmaps[..., :-1], joints, weights, codec=codec())


def test_the_integral_loss_is_its_equation():
    small = Codec(input_size=(32, 24), stride=4, sigma=1.0)
    torch.manual_seed(0)
    maps = torch.randn(2, 1, 3, 6, 8, dtype=torch.float64, requires_grad=True)
    joints = torch.rand(2, 1, 3, 2, dtype=torch.float64) * torch.tensor([28.0, 20.0])
    joints[0, 0, 0] = torch.tensor([28.0, 20.0])  # the last cell
    weights = torch.tensor([[[1.0, 0.0, 1.0]], [[1.0, 1.0, 0.0]]], dtype=torch.float64)
    total = 0
    for b in range(2):
        for k in range(3):
            p = maps[b, 0, k].flatten().softmax(0).view(6, 8)
            x, y = (joints[b, 0, k] / 4).tolist()
            rows, columns = torch.arange(6.0)[:, None], torch.arange(8.0)
            tents = (1 - (rows - y).abs()).clamp(min=0) * (1 - (columns - x).abs()).clamp(min=0)
            assert tents.sum() == pytest.approx(1)
            entropy = -(tents * p.log()).sum()
            distance = ((p * columns).sum() - x).abs() + ((p * rows).sum() - y).abs()
            total = total + weights[b, 0, k] * (entropy + distance / 2)
    loss = integral_loss(maps, joints, weights, codec=small)
    torch.testing.assert_close(loss, total / 4)
    torch.testing.assert_close(integral_loss((maps, maps), joints, weights, codec=small), 2 * loss)
    half = integral_loss(maps, joints, weights, codec=small, normaliser=torch.tensor(8.0))
    torch.testing.assert_close(half, loss / 2)
    assert torch.autograd.gradcheck(lambda m: integral_loss(m, joints, weights, codec=small), (maps,))
    peaked = torch.full((1, 1, 1, 6, 8), -30.0)
    peaked[0, 0, 0, 2:4, 5] = torch.tensor([0.75, 0.25]).log()
    points, scores = dataclasses.replace(small, decoding="integral").decode(peaked)
    torch.testing.assert_close(points[0, 0, 0], torch.tensor([20.0, 9.0]))
    assert scores.item() == pytest.approx(0.75)
    with pytest.raises(ValueError, match="integral_loss: expected heatmaps of"):
        integral_loss(maps[..., 1:], joints, weights, codec=small)


def test_offsets_count_within_their_disc():
    """By hand: a disc map all wrong, and offsets wrong by 0.5 everywhere, which counts in the cells of the disc."""
    chosen = Codec(input_size=(20, 16), stride=4, sigma=1.0, maps="offset", radius=1.5)
    joints = torch.tensor([[[[9.0, 4.0], [2.0, 3.0]]]])
    targets = chosen.encode(joints)
    assert targets.shape == (1, 1, 6, 4, 5)
    wrong = targets.clone()
    wrong[..., 0, :, :] = 1 - targets[..., 0, :, :]  # 20 cells
    wrong[..., 1:3, :, :] += 0.5  # two offsets in the 7 cells of the disc
    wrong[..., 3:, :, :] += 9.0  # a joint that does not count
    weights = torch.tensor([[[1.0, 0.0]]])
    wrong.requires_grad_()
    loss = heatmap_loss(wrong, targets, weights)
    assert targets[0, 0, 0].sum() == 7 and loss.item() == pytest.approx((20 + 7 * 2 * 0.25) / 20)
    (gradient,) = torch.autograd.grad(loss, wrong)
    assert gradient[..., 3:, :, :].abs().max() == 0
    assert gradient[0, 0, 1][targets[0, 0, 0] == 0].abs().max() == 0
    assert torch.allclose(gradient[0, 0, 1][targets[0, 0, 0] == 1], torch.tensor(2 * 0.5 / 20))
    again, _ = loss_and_gradient(joint_loss(wrong, joints, weights, codec=chosen), wrong)
    assert again == pytest.approx(loss.item(), rel=1e-6)
    normaliser = torch.tensor(4.0)
    assert joint_loss(
        wrong, joints, weights, codec=chosen, normaliser=normaliser
    ).item() * 4 == pytest.approx(again)
    with pytest.raises(ValueError, match="heatmap_loss: expected targets like heatmaps"):
        heatmap_loss(wrong, targets, torch.ones(1, 1, 3))
