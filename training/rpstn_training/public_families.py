"""Families of public files of weights in one literal table: the names and shapes that tell them, and the crops, colours
and targets that their networks were trained with.

Geometry. These repositories crop as we do, the box widened to the crop's aspect and enlarged 1.25 times, but put its
centre at (W/2, H/2) where ours is at ((W-1)/2, (H-1)/2). Their cell i stands for pixel i * stride, as ours does, so the
picture and the maps move together by half a pixel and the joints come out in the same place. ViTPose has UDP's
geometry, which is ours too. The released RPSTN stretches boxes, which is not done here, and rounds joints down to
cells, so what it finds lies up to three pixels of the crop too far left and up.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rpstn_ext import models

from .codec import MEAN, STD

_PUBLISHED = {"width": 64, "channels": 256}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Public files of one origin.

    title: what they are, for people. marks: names that each file has, without "module.", and of mmpose's files without
    "backbone." and "head."; of several families that fit, one whose marks are a part of another's does not count.
    mmpose: whether the names stand under "backbone." and "head.". describe: tensors to the name and options of the
    network, for `rpstn_ext.models.build`. joints: the name of the last convolution, whose first axis is K. images:
    convolutions that see the image. bgr: they were trained on blue, green, red; `mean` and `std` are in the file's
    order. translate: the tensors by names that `rpstn_ext.models.load` knows. sigma, geometry, box_scale,
    shared_frames, decoding: of the targets, the crops and the authors' own test (`Codec`). input_size: width and height
    where the file's name does not tell; with `positions` whatever it tells, because the network has positions for this
    size. source: where these facts stand.
    """

    title: str
    marks: tuple[str, ...]
    describe: Callable[[Mapping[str, Tensor]], tuple[str, dict[str, Any]]]
    source: str
    mmpose: bool = False
    joints: Callable[[Mapping[str, Tensor]], str] = lambda tensors: "final_layer.weight"
    images: tuple[str, ...] = ("conv1.weight",)
    bgr: bool = False
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    translate: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    sigma: float = 2.0
    decoding: str = "quarter"
    geometry: str = "plain"
    box_scale: float = 1.25
    shared_frames: int = 1
    input_size: tuple[int, int] | None = None
    positions: bool = False

    @property
    def colours(self) -> str:
        """In words what the network was trained on."""
        if not self.images:
            return "trained on BGR of 0 to 255, which the network makes of its images itself"
        if self.bgr:
            return "trained on BGR: the first convolution's channels change places, so that it takes RGB"
        return "trained on RGB"


# By blocks per stage, and whether they are bottlenecks (`rpstn_ext.models.backbones.resnet.DEPTHS`).
_RESNETS = {
    (2, 2, 2, 2, False): "resnet18",
    (3, 4, 6, 3, False): "resnet34",
    (3, 4, 6, 3, True): "resnet50",
    (3, 4, 23, 3, True): "resnet101",
    (3, 8, 36, 3, True): "resnet152",
}


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers stand where the pattern has its group."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})


def _image_network(backbone: str, width: int, channels: int | None) -> tuple[str, dict[str, Any]]:
    """The description of a network for images; what is as published is left out."""
    given = {"width": width} | ({} if channels is None else {"channels": channels})
    changed = {name: value for name, value in given.items() if value != _PUBLISHED[name]}
    return "sbl", {"backbone": backbone, **changed}


def _resnet(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    stages = tuple(_count(tensors, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    name = _RESNETS.get((*stages, "layer1.0.conv3.weight" in tensors))
    if name is None:
        raise ValueError(
            f"expected blocks of a ResNet-18, 34, 50, 101 or 152 in its four stages, got {stages}"
        )
    return _image_network(name, len(tensors["conv1.weight"]), tensors["final_layer.weight"].shape[1])


def _hrnet(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    width, channels = len(tensors["conv1.weight"]), tensors["final_layer.weight"].shape[1]
    published = channels * _PUBLISHED["width"] // width
    if published not in (32, 48):
        raise ValueError(f"expected 32 or 48 channels at stride 4, got {channels}")
    return _image_network(f"hrnet_w{published}", width, None)


def _hourglass(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    stacks = _count(tensors, r"hg\.(\d+)\.")
    if stacks not in (2, 8):
        raise ValueError(f"expected 2 or 8 hourglasses, got {stacks}")
    channels = tensors["score.0.weight"].shape[1]
    return _image_network(f"hourglass{stacks}", len(tensors["conv1.weight"]), channels)


def _vipnas(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    return _image_network("vipnas_res50", len(tensors["conv1.weight"]) * 64 // 48, None)


def _vitpose(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Twelve heads of 64 channels are the base network, of 32 the small one; of others its `width` gives the number."""
    inner, channels = tensors["pos_embed"].shape[2], tensors["final_layer.weight"].shape[1]
    if inner == 768:
        return _image_network("vitpose_b", 64, channels)
    return _image_network("vitpose_s", 2 * inner // 12, channels)


def _released(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """15 joints are those of Sub-JHMDB, for which the release has another network with the same names."""
    options, _, _ = models.released_state(tensors)
    joints = options.pop("num_joints")
    changed = {name: value for name, value in options.items() if value != _PUBLISHED.get(name)}
    return "released_rpstn", changed | ({"matched_norm": True} if joints == 15 else {})


_RESNET_MARKS = ("conv1.weight", "layer4.0.conv1.weight", "deconv_layers.0.weight", "final_layer.weight")
_HRNET_MARKS = ("conv1.weight", "stage4.0.branches.3.0.conv1.weight", "final_layer.weight")
_MMPOSE = (
    "mmpose (open-mmlab/mmpose: LoadImageFromFile gives RGB; its configurations' NormalizeTensor, sigma 2)"
)

FAMILIES: dict[str, Family] = {
    "simplebaseline": Family(
        title="SimpleBaseline",
        marks=_RESNET_MARKS,
        describe=_resnet,
        bgr=True,
        source="microsoft/human-pose-estimation.pytorch (lib/dataset/JointsDataset.py reads by cv2.imread and does not "
        "convert, pose_estimation/valid.py normalises that by ImageNet's mean of R, G, B), and the pose_resnet files "
        "of leoxiaobin/deep-high-resolution-net.pytorch (COLOR_RGB: false)",
    ),
    "hrnet": Family(
        title="HRNet",
        marks=_HRNET_MARKS,
        describe=_hrnet,
        source="leoxiaobin/deep-high-resolution-net.pytorch (experiments/*/hrnet/*.yaml: COLOR_RGB: true, SIGMA 2, at "
        "384x288 3)",
    ),
    "hourglass": Family(
        title="stacked hourglass of pytorch-pose",
        marks=(
            "conv1.weight",
            "hg.0.hg.0.0.0.conv1.weight",
            "fc.0.0.weight",
            "score.0.weight",
            "fc_.0.weight",
        ),
        describe=_hourglass,
        joints=lambda tensors: f"score.{_count(tensors, r'score.([0-9]+).weight') - 1}.weight",
        mean=(0.4404, 0.4440, 0.4327),
        std=(1.0, 1.0, 1.0),
        sigma=1.0,
        input_size=(256, 256),
        source="bearpaw/pytorch-pose (pose/utils/imutils.py reads RGB on [0, 1], pose/utils/transforms.py takes away "
        "MPII's mean and does not divide; sigma 1)",
    ),
    "vipnas": Family(
        title="S-ViPNAS-Res50 of mmpose",
        marks=(*_RESNET_MARKS, "layer1.0.attention.conv_mask.weight"),
        describe=_vipnas,
        mmpose=True,
        input_size=(192, 256),
        source=_MMPOSE,
    ),
    "vitpose": Family(
        title="ViTPose with its simple head",
        marks=("pos_embed", "blocks.0.attn.qkv.weight", "deconv_layers.0.weight", "final_layer.weight"),
        describe=_vitpose,
        mmpose=True,
        images=("patch_embed.proj.weight",),
        input_size=(192, 256),
        positions=True,
        decoding="dark",
        geometry="udp",
        source="ViTAE-Transformer/ViTPose (configs/.../ViTPose_*_simple_coco_256x192.py: RGB, use_udp in crops and "
        "targets and test, sigma 2)",
    ),
    "released_rpstn": Family(
        title="released RPSTN",
        marks=(
            "pose_net.conv1.weight",
            "fea_ext.0.weight",
            "dkd_param_adapter.0.weight",
            "pose_conv1x1_V.weight",
        ),
        describe=_released,
        joints=lambda tensors: "pose_net.final_layer.weight",
        images=(),
        translate=lambda tensors: models.released_state(tensors)[1],
        decoding="argmax",
        box_scale=1.0,
        shared_frames=5,
        input_size=(256, 256),
        source="YHDang/pose-estimation (BGR of 0 to 255, which the network here makes of its images itself; the box "
        "fills the crop, targets of sigma 2 at cells rounded down)",
    ),
    "mmpose_resnet": Family(
        title="SimpleBaseline of mmpose",
        marks=_RESNET_MARKS,
        describe=_resnet,
        mmpose=True,
        source=_MMPOSE,
    ),
    "mmpose_hrnet": Family(
        title="HRNet of mmpose", marks=_HRNET_MARKS, describe=_hrnet, mmpose=True, source=_MMPOSE
    ),
}

# Networks without maps of joints: where their files are of use.
CLASSIFIERS = {
    ("layer4.0.conv1.weight", "fc.weight"): "a ResNet classifier",
    ("stage4.0.branches.3.0.conv1.weight", "classifier.weight"): "an HRNet classifier",
}
