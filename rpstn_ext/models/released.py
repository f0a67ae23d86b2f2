"""The network of the authors' released code (YHDang/pose-estimation), to load its weights and for nothing else."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rpstn_ext.models.network import Network, last_stage
from rpstn_ext.modules import DynamicMatcher, JointRelationExtractor, PoseSemanticsPropagator
from rpstn_ext.ops import dynamic_conv2d

# The released code reads 8-bit BGR images as they are; networks here get RGB normalised by these.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class ReleasedRPSTN(Network):
    """The released RPSTN, which is not the paper's (`RPSTN`). With the letters there, V a 1x1 convolution, N and N_u
    one batch normalisation each, R the released relation (`JointRelationExtractor`, layout "release")::

        f_1      = F(I_1),      f_t = N(V(F(I_t)))  for t >= 2
        M'_1     = N_u(R(P(I_1)))
        X_t      = N(Conv_a([M'_t, f_t]))
        M'_{t+1} = N_u(R(N_u(Conv_d(S(X_t) (x) f_{t+1}))))

    N serves two places and N_u three; in `matched_norm`, the release's network for Sub-JHMDB, N also stands before
    Conv_d. The state dicts of both have the same names, so that a file does not say which it is of.

    Args:
        pose_initializer, feature_extractor: as `RPSTN`; the extractor has as many channels as the propagator.
        matched_norm (bool): true for weights of Sub-JHMDB.

    Input and output: as `RPSTN`. The images are turned back into BGR of 0 to 255 inside, which is what the weights
    know.

    Raises:
        ValueError: the parts differ in stride; in a call as `RPSTN`.

    Example:
        >>> from rpstn_ext import models
        >>> part = {"pose_initializer": "resnet18", "feature_extractor": "resnet18", "width": 8, "channels": 16}
        >>> model = models.build("released_rpstn", num_joints=13, **part)
        >>> model(torch.rand(1, 2, 3, 128, 128)).shape
        torch.Size([1, 2, 13, 32, 32])
    """

    temporal = True
    parts = ("pose_initializer", "feature_extractor")

    def __init__(
        self, pose_initializer: Network, feature_extractor: nn.Module, *, matched_norm: bool = False
    ) -> None:
        super().__init__()
        if pose_initializer.stride != feature_extractor.stride:
            raise ValueError(
                "ReleasedRPSTN: expected a pose initialiser and a feature extractor of the same stride, got "
                f"{pose_initializer.stride} and {feature_extractor.stride}; choose the release's ResNets"
            )
        self.num_joints, self.stride = pose_initializer.num_joints, pose_initializer.stride
        self.multiple = math.lcm(pose_initializer.multiple, feature_extractor.multiple)
        self.matched_norm = matched_norm
        channels = feature_extractor.channels
        self.pose_initializer = pose_initializer
        self.feature_extractor = feature_extractor
        self.conv_v = nn.Conv2d(channels, channels, 1)
        self.conv_a = nn.Conv2d(channels + self.num_joints, channels, 1)
        self.propagator = PoseSemanticsPropagator(channels, num_convs=4)
        self.matcher = DynamicMatcher(channels, self.num_joints)
        self.relation = JointRelationExtractor(self.num_joints, layout="release")
        self.feature_norm = nn.BatchNorm2d(channels)
        self.map_norm = nn.BatchNorm2d(self.num_joints)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, clip: Tensor) -> Tensor:
        self.check_clip(clip)
        maps, state = self.start(clip[:, 0])
        frames = [maps]
        for t in range(1, clip.shape[1]):
            maps, state = self.step(clip[:, t], state)
            frames.append(maps)
        return torch.stack(frames, dim=1)

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The first frame (Tensor[B, 3, H, W]): its maps [B, K, h, w], and the kernels of the next, [B, C, kh, kw]."""
        self.check_frame(frame)
        images = self._images(frame)
        maps = self.map_norm(self.relation(last_stage(self.pose_initializer(images))))
        return maps, self._kernels(self.feature_extractor(images), maps)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next frame (Tensor[B, 3, H, W]) and the state before it: its maps, and the state after it."""
        self.check_frame(frame)
        features = self.feature_norm(self.conv_v(self.feature_extractor(self._images(frame))))
        if self.matched_norm:
            pseudo = self.matcher.conv_d(self.feature_norm(dynamic_conv2d(features, state)))
        else:
            pseudo = self.matcher(features, state)
        maps = self.map_norm(self.relation(self.map_norm(pseudo)))
        return maps, self._kernels(features, maps)

    def _kernels(self, features: Tensor, maps: Tensor) -> Tensor:
        return self.propagator(self.feature_norm(self.conv_a(torch.cat([maps, features], dim=1))))

    def _images(self, frame: Tensor) -> Tensor:
        return ((frame * self.std + self.mean) * 255).flip(1)


# The release's names by the front, and ours.
_NAMES = {
    "pose_net.final_layer.": "pose_initializer.final_layer.",
    "pose_net.": "pose_initializer.backbone.",
    "fea_ext.0.": "feature_extractor.conv1.",
    "fea_ext.1.": "feature_extractor.bn1.",
    "fea_ext.4.": "feature_extractor.layer1.",
    "fea_ext.5.": "feature_extractor.layer2.",
    "fea_ext.6.": "feature_extractor.layer3.",
    "fea_ext.7.": "feature_extractor.layer4.",
    "fea_ext.8.": "feature_extractor.deconv_layers.",
    "pose_conv1x1_V.": "conv_v.",
    "conv1x1_reduce_dim.": "conv_a.",
    "dkd_param_adapter.": "propagator.tower.",
    "pose_conv1x1_U.": "matcher.conv_d.",
    "non_local_conv2d.g.": "relation.conv_g.",
    "non_local_conv2d.W.0.": "relation.conv_o.",
    "non_local_conv2d.W.1.": "relation.norm.",
    "bn.": "feature_norm.",
    "bn_u.": "map_norm.",
}
_NEVER_USED = ("non_local_conv2d.theta.", "non_local_conv2d.phi.")  # convolutions that no image reaches
# Blocks of layer3, and whether they are bottlenecks.
_RESNETS = {
    (2, False): "resnet18",
    (6, False): "resnet34",
    (6, True): "resnet50",
    (23, True): "resnet101",
    (36, True): "resnet152",
}


def released_state(
    state: Mapping[str, Tensor],
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """A state dict of the released code as what `models.build` and `load_state_dict` take.

    Args:
        state: names to tensors, with or without "module." before each name.

    Returns:
        the options of the model "released_rpstn" with num_joints, all but `matched_norm`, which the file does not say;
        the tensors by our names; the names that are left over, of convolutions that the released code never uses.

    Raises:
        ValueError: a name is not one of the release's, or what tells the architecture is missing.

    Example:
        >>> released_state({"conv9.weight": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: released_state: expected names of the released RPSTN, got conv9.weight; give its state dict
    """
    ours: dict[str, Tensor] = {}
    left_over: list[str] = []
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name.startswith(_NEVER_USED):
            left_over.append(name)
            continue
        front = next((front for front in _NAMES if name.startswith(front)), None)
        if front is None:
            raise ValueError(
                f"released_state: expected names of the released RPSTN, got {name}; give its state dict"
            )
        ours[_NAMES[front] + name.removeprefix(front)] = value
    try:
        options = {
            "num_joints": ours["map_norm.weight"].shape[0],
            "pose_initializer": _resnet(ours, "pose_initializer.backbone."),
            "feature_extractor": _resnet(ours, "feature_extractor."),
            "width": ours["feature_extractor.conv1.weight"].shape[0],
            "channels": ours["conv_v.weight"].shape[0],
        }
    except KeyError as error:
        raise ValueError(
            f"released_state: expected the whole state dict of the released RPSTN, {error.args[0]} is missing "
            "or another"
        ) from None
    return options, ours, tuple(left_over)


def _resnet(ours: Mapping[str, Tensor], front: str) -> str:
    """The ResNet whose names begin with `front`; KeyError where there is none such."""
    layer = f"{front}layer3."
    blocks = {name.removeprefix(layer).partition(".")[0] for name in ours if name.startswith(layer)}
    kind = len(blocks), f"{layer}0.conv3.weight" in ours
    if kind not in _RESNETS:
        raise KeyError(f"{layer}*")
    return _RESNETS[kind]
