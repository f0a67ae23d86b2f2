"""The paper's networks and those of its ablations, at its sizes, whatever data they are for: what `rpstn summary --all`
counts beside the configurations.
"""

from dataclasses import replace

from ..config import ModelConfig
from ..counting import Counts
from ..data.records import Skeleton
from ..data.sets import coco, hieve, penn_action, sub_jhmdb
from .comparison import Counter

_SQUARE, _UPRIGHT = (256, 256), (192, 256)
_PENN, _HIEVE, _JHMDB, _COCO = (module.SKELETON for module in (penn_action, hieve, sub_jhmdb, coco))


def _image(backbone: str) -> ModelConfig:
    return ModelConfig(name="sbl", options={"backbone": backbone})


def _rpstn(initializer: int, extractor: int, **options: object) -> ModelConfig:
    parts = {"pose_initializer": f"resnet{initializer}", "feature_extractor": f"resnet{extractor}"}
    return ModelConfig(name="rpstn", options={**parts, **options})


def _dkd(initializer: int, extractor: int) -> ModelConfig:
    return replace(_rpstn(initializer, extractor), name="dkd")


# Name: the network, whose joints, the size of its input (width, height) and the frames of a clip.
NETWORKS: dict[str, tuple[ModelConfig, Skeleton, tuple[int, int], int]] = {
    "SBL-R18": (_image("resnet18"), _PENN, _SQUARE, 1),
    "SBL-R50": (_image("resnet50"), _PENN, _SQUARE, 1),
    "SBL-R101": (_image("resnet101"), _PENN, _SQUARE, 1),
    "SBL-R50, COCO": (_image("resnet50"), _COCO, _UPRIGHT, 1),
    "HRNet-W32, COCO": (_image("hrnet_w32"), _COCO, _UPRIGHT, 1),
    "HRNet-W48, COCO": (_image("hrnet_w48"), _COCO, _UPRIGHT, 1),
    "S-ViPNAS, COCO": (_image("vipnas_res50"), _COCO, _UPRIGHT, 1),
    "Hourglass, 2 stacks": (_image("hourglass2"), _PENN, _SQUARE, 1),
    "Hourglass, 8 stacks": (_image("hourglass8"), _PENN, _SQUARE, 1),
    "ViTPose-S, COCO": (_image("vitpose_s"), _COCO, _UPRIGHT, 1),
    "ViTPose-B, COCO": (_image("vitpose_b"), _COCO, _UPRIGHT, 1),
    "RPSTN-R18-R18": (_rpstn(18, 18), _PENN, _SQUARE, 5),
    "RPSTN-R50-R50": (_rpstn(50, 50), _PENN, _SQUARE, 5),
    "RPSTN-R50-R50, 7 frames": (_rpstn(50, 50), _PENN, _SQUARE, 7),
    "RPSTN-R50-R50, 10 frames": (_rpstn(50, 50), _PENN, _SQUARE, 10),
    "RPSTN-R50-R50, 14 joints": (_rpstn(50, 50), _HIEVE, _SQUARE, 5),
    "RPSTN-R50-R50, 15 joints": (_rpstn(50, 50), _JHMDB, _SQUARE, 5),
    "RPSTN-R50-R50, 17 joints": (_rpstn(50, 50), _COCO, _SQUARE, 5),
    "RPSTN-R50-R50, 5 convolutions": (_rpstn(50, 50, num_convs=5), _PENN, _SQUARE, 5),
    "RPSTN-R50-R50, without JRE": (_rpstn(50, 50, relation="none"), _PENN, _SQUARE, 5),
    "RPSTN-R101-R18": (_rpstn(101, 18), _PENN, _SQUARE, 5),
    "RPSTN-R101-R50": (_rpstn(101, 50), _PENN, _SQUARE, 5),
    "RPSTN-R101-R101": (_rpstn(101, 101), _PENN, _SQUARE, 5),
    "DKD-R18-R18": (_dkd(18, 18), _PENN, _SQUARE, 5),
    "DKD-R50-R50": (_dkd(50, 50), _PENN, _SQUARE, 5),
    "DKD-R101-R18": (_dkd(101, 18), _PENN, _SQUARE, 5),
    "DKD-R101-R50": (_dkd(101, 50), _PENN, _SQUARE, 5),
}


def count_networks(counter: Counter) -> dict[str, Counts]:
    return {name: counter.model(*described) for name, described in NETWORKS.items()}
