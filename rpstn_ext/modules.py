"""The building blocks of RPSTN as plain `nn.Module`s. The functions in `rpstn_ext.ops` hold the equations' details."""

import math

import torch
from torch import Tensor, nn

from rpstn_ext.ops import dynamic_match, joint_relation, joint_relation_norm

LEARNABLE = "learnable"


class JointRelationExtractor(nn.Module):
    """Joint relation extractor, JRE (RPSTN, equations 6 to 9; with `norm` equation 4).

        Z = Conv_o(softmax(scale * M M^T) Conv_g(M)) + M,      norm: BN(Z)

    The relation of unit-peak Gaussians is so large on its diagonal that W_r is almost the identity for joints that
    are found with confidence, and joints mix where their maps are weak. `scale` moves that point. The released code
    differs (see `layout`).

    Args:
        num_joints (int): K.
        norm (bool): follow with batch normalisation (`norm.weight` starts at 1, as `nn.BatchNorm2d`).
        layout: "paper", or "release" for weights of the released code and nothing else: softmax over the columns,
            the product's pixels scrambled by its view, a normalisation `norm` after Conv_o inside the residual.
        scale: factor of the relation, > 0; or "learnable", which starts at 1 and is kept as its logarithm.

    Input and output: heatmaps (Tensor[B, K, H, W]). `forward(heatmaps, apply_norm=False)` leaves the normalisation out
    for this call (the paper's first frame).

    Example:
        >>> JointRelationExtractor(13)(torch.rand(2, 13, 64, 64)).shape
        torch.Size([2, 13, 64, 64])
    """

    def __init__(
        self, num_joints: int, *, norm: bool = False, layout: str = "paper", scale: float | str = 1.0
    ) -> None:
        super().__init__()
        if num_joints < 1:
            raise ValueError(f"JointRelationExtractor: expected num_joints of at least 1, got {num_joints}")
        if layout not in ("paper", "release"):
            raise ValueError(f'JointRelationExtractor: expected layout "paper" or "release", got {layout!r}')
        if scale != LEARNABLE and not (isinstance(scale, int | float) and 0 < scale < math.inf):
            raise ValueError(f'JointRelationExtractor: expected scale > 0 or "learnable", got {scale!r}')
        if layout == "release" and (norm or scale != 1.0):
            raise ValueError(
                "JointRelationExtractor: the release has neither norm nor scale, expected norm=False, scale=1.0"
            )
        self.num_joints, self.layout, self.scale = num_joints, layout, scale
        self.conv_g = nn.Conv2d(num_joints, num_joints, 1)
        self.conv_o = nn.Conv2d(num_joints, num_joints, 1)
        self.norm = nn.BatchNorm2d(num_joints) if norm or layout == "release" else None
        if scale == LEARNABLE:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, heatmaps: Tensor, *, apply_norm: bool = True) -> Tensor:
        if self.layout == "release":
            return self._released(heatmaps)
        norm = self.norm if apply_norm else None
        weight_g, weight_o = self.conv_g.weight[:, :, 0, 0], self.conv_o.weight[:, :, 0, 0]
        bias_g, bias_o = self.conv_g.bias, self.conv_o.bias
        if self.scale == LEARNABLE:
            # R_s(M; bg, bo) = R_1(sqrt(s) M; sqrt(s) bg, sqrt(s) bo) / sqrt(s), exactly; so s gets its gradient.
            root = torch.exp(self.log_scale / 2)
            related = joint_relation(root * heatmaps, weight_g, root * bias_g, weight_o, root * bias_o) / root
            return related if norm is None else norm(related)
        if norm is None:
            return joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale=self.scale)
        if self.training:
            norm.num_batches_tracked.add_(1)
        return joint_relation_norm(
            heatmaps,
            weight_g,
            bias_g,
            weight_o,
            bias_o,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
            training=self.training,
            momentum=norm.momentum,
            eps=norm.eps,
            scale=self.scale,
        )

    def relation(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """The correlation scale * M M^T and the relational weights W_r (softmax of its rows), for looking at.

        heatmaps (Tensor[B, K, H, W]); returns two Tensor[B, K, K], in float32 at least. The release's softmax runs
        over the columns.
        """
        values = heatmaps.flatten(2)
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        scale = torch.exp(self.log_scale) if self.scale == LEARNABLE else self.scale
        correlation = scale * values @ values.mT
        return correlation, correlation.softmax(dim=1 if self.layout == "release" else 2)

    def _released(self, heatmaps: Tensor) -> Tensor:
        samples, joints, height, width = heatmaps.shape
        _, weights = self.relation(heatmaps)
        messages = weights.to(heatmaps.dtype) @ self.conv_g(heatmaps).flatten(2)
        scrambled = messages.mT.contiguous().view(samples, joints, height, width)
        return self.norm(self.conv_o(scrambled)) + heatmaps

    def extra_repr(self) -> str:
        return f"{self.num_joints}, layout={self.layout!r}, scale={self.scale!r}"


class PoseSemanticsPropagator(nn.Module):
    """Joint relation guided pose semantics propagator, JRPSP (RPSTN, Fig. 5): one kernel per channel of a frame.

    num_convs times [3x3 convolution, batch normalisation, ReLU, 2x2 max pooling], the last one without ReLU and
    pooling, so that kernels have signs. The first convolution has no padding, the others one cell. A 64x64 map
    becomes a 7x7 kernel, 64x48 becomes 7x5.

    Args:
        channels (int): C.
        num_convs (int): 4 in the paper; 3 is DKD's distillator, 5 the paper's larger variant.

    Input: semantics (Tensor[B, C, H, W]) with H and W of at least 2 + 2^(num_convs - 1). Output: Tensor[B, C, kh, kw].

    Example:
        >>> PoseSemanticsPropagator(16)(torch.rand(2, 16, 64, 48)).shape
        torch.Size([2, 16, 7, 5])
    """

    def __init__(self, channels: int = 256, *, num_convs: int = 4) -> None:
        super().__init__()
        if num_convs < 1:
            raise ValueError(f"PoseSemanticsPropagator: expected num_convs of at least 1, got {num_convs}")
        self.channels, self.num_convs = channels, num_convs
        self.smallest = 2 + 2 ** (num_convs - 1)
        layers: list[nn.Module] = []
        for number in range(num_convs):
            layers += [nn.Conv2d(channels, channels, 3, padding=min(number, 1)), nn.BatchNorm2d(channels)]
            if number < num_convs - 1:
                layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.tower = nn.Sequential(*layers)

    def forward(self, semantics: Tensor) -> Tensor:
        if min(semantics.shape[-2:]) < self.smallest:
            raise ValueError(
                f"PoseSemanticsPropagator: expected semantics of at least {self.smallest} x {self.smallest} cells for "
                f"{self.num_convs} convolutions, got {list(semantics.shape)}; use a larger input or fewer num_convs"
            )
        return self.tower(semantics)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_convs={self.num_convs}"


class DynamicMatcher(nn.Module):
    """Global matching (RPSTN, equation 3): features searched with per-sample kernels, then a 1x1 convolution.

        M = Conv_d(S (x) f)

    Args:
        channels (int): C.
        num_joints (int): K.

    Input: features (Tensor[B, C, H, W]) and kernels (Tensor[B, C, kh, kw]); zeros outside, the size stays; of an even
    kernel's zeros the extra row or column is at the bottom or right. Output: Tensor[B, K, H, W].

    Example:
        >>> DynamicMatcher(16, 13)(torch.rand(2, 16, 64, 64), torch.rand(2, 16, 7, 7)).shape
        torch.Size([2, 13, 64, 64])
    """

    def __init__(self, channels: int, num_joints: int) -> None:
        super().__init__()
        self.conv_d = nn.Conv2d(channels, num_joints, 1)

    def forward(self, features: Tensor, kernels: Tensor) -> Tensor:
        return dynamic_match(features, kernels, self.conv_d.weight[:, :, 0, 0], self.conv_d.bias)
