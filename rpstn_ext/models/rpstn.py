"""Relation-based pose semantics transfer network (RPSTN)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rpstn_ext.models import relations
from rpstn_ext.models.network import Network, last_stage
from rpstn_ext.modules import DynamicMatcher, PoseSemanticsPropagator


class Trace(NamedTuple):
    """What happens inside, for looking at: maps before and after the relation extractor, and its matrices.

    pseudo, heatmaps (Tensor[B, T, K, h, w]); correlation, weights (Tensor[B, T, K, K]).
    """

    pseudo: Tensor
    heatmaps: Tensor
    correlation: Tensor
    weights: Tensor


class RPSTN(Network):
    """Pose estimation in videos: each frame is searched with kernels made of the pose in the frame before.

    With P the pose initialiser, F the feature extractor, R the joint relation extractor, S the propagator, [,] the
    concatenation of channels and (x) the dynamic convolution (equations 1 to 4 and Fig. 2 of the paper)::

        M'_1     = BN(R(P(I_1)))
        X_t      = Conv_a([F(I_t), M'_t])
        M'_{t+1} = BN(R(Conv_d(S(X_t) (x) F(I_{t+1}))))

    P and F have their own weights; R and BN are one module for all frames. Equation 1 has no BN, Fig. 2 draws one:
    `norm_first`. The released code has a further convolution on the features and concatenates in the other order.
    BN's weight starts at 0.1, about the standard deviation of a target heat map.

    Args:
        pose_initializer (Network): a network for images without a relation (`PoseNetwork`); its `num_joints` is K.
        feature_extractor (nn.Module): images [N, 3, H, W] to features (`rpstn_ext.models.backbones`), at the stride of
            the pose initialiser.
        channels (int): C of the propagator; an extractor with another number is bridged by a 1x1 convolution.
        num_convs (int): convolutions of the propagator.
        relation (str): what R is, "jre" or "none" (the paper's ablation "w/o JRE"; `rpstn_ext.models.relations`).
        relation_start (str): "identity" or "random": whether BN(R) begins as BN alone.
        scale: of R, a number > 0 or "learnable".
        norm_first (bool): BN on the first frame too.

    Input: clip (Tensor[B, T, 3, H, W]), T >= 1, RGB normalised by ImageNet's mean and deviation, H and W multiples of
    `multiple`. Output: heat maps (Tensor[B, T, K, H/stride, W/stride]). `start` and `step` go through a video frame by
    frame, without an end, and give in evaluation the same maps as `forward`.

    Raises:
        ValueError: an option is not known, or the parts differ in stride; in a call, another shape, a height or width
            that does not divide by `multiple`, or maps too small for the propagator.

    Example:
        >>> from rpstn_ext import models
        >>> model = models.build("rpstn", num_joints=13, pose_initializer="resnet18", feature_extractor="resnet18")
        >>> model(torch.rand(1, 2, 3, 128, 128)).shape
        torch.Size([1, 2, 13, 32, 32])
    """

    temporal = True
    parts = ("pose_initializer", "feature_extractor")

    def __init__(
        self,
        pose_initializer: Network,
        feature_extractor: nn.Module,
        *,
        channels: int = 256,
        num_convs: int = 4,
        relation: str = "jre",
        relation_start: str = "identity",
        scale: float | str = 1.0,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        if pose_initializer.stride != feature_extractor.stride:
            raise ValueError(
                "RPSTN: expected a pose initialiser and a feature extractor of the same stride, got "
                f"{pose_initializer.stride} and {feature_extractor.stride}; choose backbones that agree"
            )
        self.num_joints, self.stride = pose_initializer.num_joints, pose_initializer.stride
        self.multiple = math.lcm(pose_initializer.multiple, feature_extractor.multiple)
        self.norm_first = norm_first
        self.pose_initializer = pose_initializer
        self.feature_extractor = feature_extractor
        extracted = feature_extractor.channels
        self.bridge = nn.Identity() if extracted == channels else nn.Conv2d(extracted, channels, 1)
        self.conv_a = nn.Conv2d(channels + self.num_joints, channels, 1)
        self.propagator = PoseSemanticsPropagator(channels, num_convs=num_convs)
        self.matcher = DynamicMatcher(channels, self.num_joints)
        nn.init.normal_(self.matcher.conv_d.weight, std=0.001)  # maps begin small, as SimpleBaseline's do
        nn.init.zeros_(self.matcher.conv_d.bias)
        self.relation = relations.build(relation, self.num_joints, start=relation_start, scale=scale)
        self.norm = relations.output_norm(self.num_joints) if self.relation is None else None

    def forward(self, clip: Tensor) -> Tensor:
        self.check_clip(clip)
        return torch.stack([heatmaps for _, heatmaps in self._unroll(clip)], dim=1)

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The first frame (Tensor[B, 3, H, W]): its heat maps [B, K, h, w], and the state for `step`.

        The state is a Tensor[B, C, kh, kw]: the kernels the next frame is searched with.
        """
        self.check_frame(frame)
        heatmaps = self._relate(last_stage(self.pose_initializer(frame)), first=True)
        return heatmaps, self._kernels(self._features(frame), heatmaps)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next frame (Tensor[B, 3, H, W]) and the state before it: its heat maps, and the state after it."""
        self.check_frame(frame)
        features = self._features(frame)
        heatmaps = self._relate(self.matcher(features, state))
        return heatmaps, self._kernels(features, heatmaps)

    @torch.no_grad()
    def trace(self, clip: Tensor) -> Trace:
        """`forward` with what it passes through; without gradients.

        Raises:
            ValueError: the shape, as in a call; or the network has no relation whose matrices could be shown.
        """
        if not hasattr(self.relation, "relation"):
            raise ValueError(
                "RPSTN.trace: expected a model with a relation extractor, this one was built without; build it with "
                "relation jre"
            )
        self.check_clip(clip)
        pseudo, heatmaps = (torch.stack(maps, dim=1) for maps in zip(*self._unroll(clip)))
        correlation, weights = self.relation.relation(pseudo.flatten(0, 1))
        frames = clip.shape[:2]
        return Trace(pseudo, heatmaps, correlation.unflatten(0, frames), weights.unflatten(0, frames))

    def _unroll(self, clip: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per frame the maps before and after the relation extractor. One call of F serves all frames."""
        features = self._features(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])
        pseudo = last_stage(self.pose_initializer(clip[:, 0]))
        heatmaps = self._relate(pseudo, first=True)
        maps = [(pseudo, heatmaps)]
        for t in range(1, clip.shape[1]):
            pseudo = self.matcher(features[:, t], self._kernels(features[:, t - 1], heatmaps))
            heatmaps = self._relate(pseudo)
            maps.append((pseudo, heatmaps))
        return maps

    def _features(self, images: Tensor) -> Tensor:
        return self.bridge(self.feature_extractor(images))

    def _kernels(self, features: Tensor, heatmaps: Tensor) -> Tensor:
        return self.propagator(self.conv_a(torch.cat([features, heatmaps], dim=1)))

    def _relate(self, pseudo: Tensor, *, first: bool = False) -> Tensor:
        apply_norm = self.norm_first or not first
        if self.relation is not None:
            return self.relation(pseudo, apply_norm=apply_norm)
        return self.norm(pseudo) if apply_norm else pseudo
