"""The paper's networks and those of its ablations, at its sizes, whatever data they are for: what `rpstn summary --all`
counts beside the configurations.
"""

from ..config import ModelConfig
from ..counting import Counts
from .comparison import Counter

_SQUARE, _COCO = (256, 256), (192, 256)


def _sbl(depth: int) -> ModelConfig:
    return ModelConfig(name="sbl", options={"backbone": f"resnet{depth}"})


def _rpstn(initializer: int, extractor: int, **options: object) -> ModelConfig:
    parts = {"pose_initializer": f"resnet{initializer}", "feature_extractor": f"resnet{extractor}"}
    return ModelConfig(name="rpstn", options={**parts, **options})


_DISTILLATOR = {"num_convs": 3, "relation": "none"}

# Name: the network, its joints, the size of its input (width, height) and the frames of a clip.
NETWORKS: dict[str, tuple[ModelConfig, int, tuple[int, int], int]] = {
    "SBL-R18": (_sbl(18), 13, _SQUARE, 1),
    "SBL-R50": (_sbl(50), 13, _SQUARE, 1),
    "SBL-R101": (_sbl(101), 13, _SQUARE, 1),
    "SBL-R50, COCO": (_sbl(50), 17, _COCO, 1),
    "RPSTN-R18-R18": (_rpstn(18, 18), 13, _SQUARE, 5),
    "RPSTN-R50-R50": (_rpstn(50, 50), 13, _SQUARE, 5),
    "RPSTN-R50-R50, 7 frames": (_rpstn(50, 50), 13, _SQUARE, 7),
    "RPSTN-R50-R50, 10 frames": (_rpstn(50, 50), 13, _SQUARE, 10),
    "RPSTN-R50-R50, 14 joints": (_rpstn(50, 50), 14, _SQUARE, 5),
    "RPSTN-R50-R50, 15 joints": (_rpstn(50, 50), 15, _SQUARE, 5),
    "RPSTN-R50-R50, 17 joints": (_rpstn(50, 50), 17, _SQUARE, 5),
    "RPSTN-R50-R50, 5 convolutions": (_rpstn(50, 50, num_convs=5), 13, _SQUARE, 5),
    "RPSTN-R50-R50, without JRE": (_rpstn(50, 50, relation="none"), 13, _SQUARE, 5),
    "RPSTN-R101-R18": (_rpstn(101, 18), 13, _SQUARE, 5),
    "RPSTN-R101-R50": (_rpstn(101, 50), 13, _SQUARE, 5),
    "RPSTN-R101-R101": (_rpstn(101, 101), 13, _SQUARE, 5),
    "DKD-R18-R18": (_rpstn(18, 18, **_DISTILLATOR), 13, _SQUARE, 5),
    "DKD-R50-R50": (_rpstn(50, 50, **_DISTILLATOR), 13, _SQUARE, 5),
    "DKD-R101-R18": (_rpstn(101, 18, **_DISTILLATOR), 13, _SQUARE, 5),
    "DKD-R101-R50": (_rpstn(101, 50, **_DISTILLATOR), 13, _SQUARE, 5),
}


def count_networks(counter: Counter) -> dict[str, Counts]:
    return {name: counter.model(*described) for name, described in NETWORKS.items()}
