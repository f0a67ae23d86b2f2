"""The training loss."""

from torch import Tensor


def heatmap_loss(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error of heat maps over the joints that count (equation 5 of the paper).

        loss = sum_btk weights[b,t,k] * sum_yx (heatmaps - targets)^2  /  (h * w * sum_btk weights[b,t,k])

    With all weights 1 it is the per-element mean over frames, joints and cells. Dividing by the sum of the
    weights, not by the number of joints, keeps the size of a step independent of how many joints are hidden
    in a batch.

    heatmaps, targets (Tensor[B, T, K, h, w]): predicted and wanted maps.
    weights (Tensor[B, T, K]): 1 for joints that count (visible ones), 0 for others.
    Returns a scalar in float32 at least; exactly 0, with a gradient of zeros, when all weights are 0.
    """
    if heatmaps.shape != targets.shape or weights.shape != heatmaps.shape[:-2]:
        raise ValueError(
            f"heatmap_loss: expected targets like heatmaps {list(heatmaps.shape)} and weights "
            f"{list(heatmaps.shape[:-2])}, got {list(targets.shape)} and {list(weights.shape)}"
        )
    errors = (heatmaps.to(targets.dtype) - targets).square().mean(dim=(-2, -1))
    return (weights * errors).sum() / weights.sum().clamp(min=1e-6)
