import torch.nn.functional as F
from torch import Tensor

from rpstn_ext.ops.joint_relation import joint_relation


def joint_relation_norm(
    heatmaps: Tensor,
    weight_g: Tensor,
    bias_g: Tensor,
    weight_o: Tensor,
    bias_o: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    scale: float = 1.0,
) -> Tensor:
    """Batch normalisation of `joint_relation`: BN(R(M)), equation 4 of RPSTN.

    Args:
        heatmaps (Tensor[B, K, H, W]): one map per joint.
        weight_g, bias_g, weight_o, bias_o, scale: as in `joint_relation`.
        norm_weight, norm_bias (Tensor[K]): scale and shift of the normalised maps.
        running_mean, running_var (Tensor[K]): statistics of evaluation; **moved in place** when `training`, by
            `momentum` towards the batch's mean and unbiased variance, as `torch.nn.functional.batch_norm` does.
        training (bool): normalise by the batch's statistics (True) or the running ones (False).
        momentum (float): share of the batch in the running statistics, 0 to 1.
        eps (float): added to the variance.

    Returns:
        Tensor[B, K, H, W]

    Raises:
        As `joint_relation` and `torch.nn.functional.batch_norm`.

    Precision, repeatability and derivatives are those of the two operations it consists of. In training a sample's
    result depends on its batch, by definition.

    Example:
        >>> import torch
        >>> heatmaps, identity, zero, one = torch.rand(2, 13, 8, 8), torch.eye(13), torch.zeros(13), torch.ones(13)
        >>> out = joint_relation_norm(heatmaps, identity, zero, identity, zero, one, zero, zero.clone(), one.clone(),
        ...                           training=True)
        >>> bool(out.mean().abs() < 1e-5)
        True
    """
    related = joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale=scale)
    return F.batch_norm(related, running_mean, running_var, norm_weight, norm_bias, training, momentum, eps)
