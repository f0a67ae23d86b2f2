"""The building blocks of RPSTN as plain `nn.Module`s. The functions in `rpstn_ext.ops` hold the equations' details.

A part that is no longer as it was built (hooks, a subclass as LoRA has, pruning, another kind of normalisation) is
called, and what surrounds it is then not fused with it. `torch.compile` and `torch.export` take the modules as one
graph; `torch.fx.symbolic_trace` and `torch.jit.script` refuse them, as they refuse `if` and keyword-only arguments.
"""

import math

import torch
from torch import Tensor, nn

from rpstn_ext.ops import dynamic_conv2d, dynamic_match, joint_relation, joint_relation_norm, reference

LEARNABLE = "learnable"


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a call of `module` does what its class does and nothing else. A parametrised module has another class."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return type(module) is kind and not any(hooks) and "forward" not in module.__dict__


def _is_plain_1x1(conv: nn.Module) -> bool:
    """Whether the convolution is weight[:, :, 0, 0] and bias."""
    return (
        _is_plain(conv, nn.Conv2d)
        and conv.kernel_size == conv.stride == conv.dilation == (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
        and conv.bias is not None
    )


def _is_plain_norm(norm: nn.Module) -> bool:
    """Whether the normalisation is what `joint_relation_norm` fuses, in training and in evaluation: a plain one, or one
    that does the same for a batch that several `processes` share.
    """
    return (
        _is_plain(norm, type(norm) if hasattr(norm, "processes") else nn.BatchNorm2d)
        and norm.affine
        and norm.running_mean is not None
        and norm.running_var is not None
        and norm.num_batches_tracked is not None
        and isinstance(norm.momentum, int | float)
    )


def relational_weights(
    heatmaps: Tensor, *, scale: float | Tensor = 1.0, dim: int = 2
) -> tuple[Tensor, Tensor]:
    """The correlation scale * M M^T and W_r, its softmax along `dim` (equation 6), of heatmaps (Tensor[B, K, H, W]).

    Two Tensor[B, K, K], in float32 at least, also under autocast: the correlation of maps of unit peak is in the
    hundreds, where half types leave no fraction.

    Example:
        >>> correlation, weights = relational_weights(torch.ones(1, 2, 4, 4))
        >>> correlation.tolist(), weights.tolist()
        ([[[16.0, 16.0], [16.0, 16.0]]], [[[0.5, 0.5], [0.5, 0.5]]])
    """
    values = heatmaps.flatten(2)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    with reference.without_autocast(values):
        correlation = scale * (values @ values.mT)
        return correlation, correlation.softmax(dim=dim)


class JointRelationExtractor(nn.Module):
    """Joint relation extractor, JRE (RPSTN, equations 6 to 9; with `norm` equation 4).

        Z = Conv_o(W_r Conv_g(M)) + M,      W_r = softmax of the rows of scale * M M^T,      norm: BN(Z)

    A new relation is the identity: Conv_o starts at zero. What W_r becomes is up to the layers before, which scale
    their maps: in the demo's network after 24 epochs the maps peak at 4.6 and M M^T has a median of 380 on its
    diagonal, so that 7 of 10 rows of W_r have all their weight at one joint, and in two thirds of these that is not the
    row's own. The released code differs (see `layout`).

    Args:
        num_joints (int): K.
        norm (bool): follow with batch normalisation (`norm.weight` starts at 1, as `nn.BatchNorm2d`). It is fused where
            `norm` is a plain affine `nn.BatchNorm2d` with running statistics and a number as momentum, in the training
            mode of `norm` itself; whatever else is put in its place is called.
        layout: "paper", or "release" for weights of the released code and nothing else: softmax over the columns,
            the product's pixels scrambled by its view, a normalisation `norm` after Conv_o inside the residual.
        scale: factor of the relation, > 0; or "learnable", which starts at 1 and is kept as its logarithm.
        start: "identity", or "random" for Conv_o as `nn.Conv2d` starts it; the release's always does.

    Input and output: heatmaps (Tensor[B, K, H, W]). `forward(heatmaps, apply_norm=False)` leaves the normalisation out
    for this call (the paper's first frame), `forward(heatmaps, norm=other)` puts another in its place, fused likewise.

    Raises:
        ValueError: an option is not one of these.

    Example:
        >>> relation, heatmaps = JointRelationExtractor(13), torch.rand(2, 13, 64, 64)
        >>> torch.equal(relation(heatmaps), heatmaps)
        True
    """

    def __init__(
        self,
        num_joints: int,
        *,
        norm: bool = False,
        layout: str = "paper",
        scale: float | str = 1.0,
        start: str = "identity",
    ) -> None:
        super().__init__()
        if num_joints < 1:
            raise ValueError(f"JointRelationExtractor: expected num_joints of at least 1, got {num_joints}")
        if layout not in ("paper", "release"):
            raise ValueError(f'JointRelationExtractor: expected layout "paper" or "release", got {layout!r}')
        if scale != LEARNABLE and not (isinstance(scale, int | float) and 0 < scale < math.inf):
            raise ValueError(f'JointRelationExtractor: expected scale > 0 or "learnable", got {scale!r}')
        if start not in ("identity", "random"):
            raise ValueError(f'JointRelationExtractor: expected start "identity" or "random", got {start!r}')
        if layout == "release" and (norm or scale != 1.0):
            raise ValueError(
                "JointRelationExtractor: the release has neither norm nor scale, expected norm=False, scale=1.0"
            )
        self.num_joints, self.layout, self.scale = num_joints, layout, scale
        self.conv_g = nn.Conv2d(num_joints, num_joints, 1)
        self.conv_o = nn.Conv2d(num_joints, num_joints, 1)
        if start == "identity" and layout == "paper":
            nn.init.zeros_(self.conv_o.weight)
            nn.init.zeros_(self.conv_o.bias)
        self.norm = nn.BatchNorm2d(num_joints) if norm or layout == "release" else None
        if scale == LEARNABLE:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, heatmaps: Tensor, *, apply_norm: bool = True, norm: nn.Module | None = None) -> Tensor:
        if self.layout == "release":
            return self._released(heatmaps)
        norm = (self.norm if norm is None else norm) if apply_norm else None
        if not (_is_plain_1x1(self.conv_g) and _is_plain_1x1(self.conv_o)):
            related = self.conv_o(self._messages(heatmaps).view_as(heatmaps)) + heatmaps
            return related if norm is None else norm(related)
        inputs = (
            heatmaps,
            self.conv_g.weight[:, :, 0, 0],
            self.conv_g.bias,
            self.conv_o.weight[:, :, 0, 0],
            self.conv_o.bias,
        )
        if norm is None or not _is_plain_norm(norm):
            related = joint_relation(*inputs, scale=self._factor())
            return related if norm is None else norm(related)
        if norm.training:
            norm.num_batches_tracked.add_(1)
        return joint_relation_norm(
            *inputs,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
            training=norm.training,
            momentum=norm.momentum,
            eps=norm.eps,
            scale=self._factor(),
            processes=getattr(norm, "processes", None),
        )

    def relation(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """The correlation scale * M M^T and the relational weights W_r (softmax of its rows), for looking at.

        heatmaps (Tensor[B, K, H, W]); returns two Tensor[B, K, K], in float32 at least, also under autocast. The
        release's softmax runs over the columns.
        """
        return relational_weights(heatmaps, scale=self._factor(), dim=1 if self.layout == "release" else 2)

    def _factor(self) -> float | Tensor:
        """The scale; a learnable one in float32 at least, whatever its logarithm is kept in."""
        if self.scale != LEARNABLE:
            return self.scale
        return torch.exp(self.log_scale.to(torch.promote_types(self.log_scale.dtype, torch.float32)))

    def _messages(self, heatmaps: Tensor) -> Tensor:
        """W_r Conv_g(M), [B, K, H*W]."""
        _, weights = self.relation(heatmaps)
        values = self.conv_g(heatmaps).flatten(2)
        return weights.to(values.dtype) @ values

    def _released(self, heatmaps: Tensor) -> Tensor:
        scrambled = self._messages(heatmaps).mT.contiguous().view_as(heatmaps)
        return self.norm(self.conv_o(scrambled)) + heatmaps

    def extra_repr(self) -> str:
        return f"{self.num_joints}, layout={self.layout!r}, scale={self.scale!r}"


class PoseSemanticsPropagator(nn.Module):
    """Joint relation guided pose semantics propagator, JRPSP (RPSTN, Fig. 5): one kernel per channel of a frame.

    num_convs times [3x3 convolution, batch normalisation, ReLU, 2x2 max pooling], the last one without ReLU, so that
    kernels have signs, and from the fourth on without pooling. The first convolution has no padding, the others one
    cell. A 64x64 map becomes a 7x7 kernel, 64x48 becomes 7x5.

    Args:
        channels (int): C.
        num_convs (int): 4 in the paper, with a receptive field of 38 cells; 3 is DKD's distillator (22), 5 the paper's
            larger variant (54).

    Input: semantics (Tensor[B, C, H, W]) with H and W of at least 10, less for fewer than 3 convolutions. Output:
    Tensor[B, C, kh, kw].

    Example:
        >>> PoseSemanticsPropagator(16)(torch.rand(2, 16, 64, 48)).shape
        torch.Size([2, 16, 7, 5])
    """

    def __init__(self, channels: int = 256, *, num_convs: int = 4) -> None:
        super().__init__()
        if num_convs < 1:
            raise ValueError(f"PoseSemanticsPropagator: expected num_convs of at least 1, got {num_convs}")
        self.channels, self.num_convs = channels, num_convs
        poolings = min(num_convs, 3)
        self.smallest = 2 + 2**poolings
        layers: list[nn.Module] = []
        for number in range(num_convs):
            layers += [nn.Conv2d(channels, channels, 3, padding=min(number, 1)), nn.BatchNorm2d(channels)]
            if number < num_convs - 1:
                layers.append(nn.ReLU(inplace=True))
            if number < poolings:
                layers.append(nn.MaxPool2d(2))
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
        if not _is_plain_1x1(self.conv_d):
            return self.conv_d(dynamic_conv2d(features, kernels))
        return dynamic_match(features, kernels, self.conv_d.weight[:, :, 0, 0], self.conv_d.bias)
