"""Fused operations, modules and networks of relation-based pose estimation in videos.

`joint_relation` and `dynamic_conv2d` are compiled where the library is built; `reference` holds the same operations
in plain PyTorch and serves every call where it is not.
"""

from rpstn_ext import models
from rpstn_ext._library import backend, use_backend
from rpstn_ext.modules import DynamicMatcher, JointRelationExtractor, PoseSemanticsPropagator
from rpstn_ext.ops import (
    dynamic_conv2d,
    dynamic_match,
    flops,
    joint_relation,
    joint_relation_norm,
    reference,
)

flops.register()  # torch's FlopCounterMode then counts the compiled operations too

__version__ = "0.1.0"

__all__ = [
    "DynamicMatcher",
    "JointRelationExtractor",
    "PoseSemanticsPropagator",
    "backend",
    "dynamic_conv2d",
    "dynamic_match",
    "joint_relation",
    "joint_relation_norm",
    "models",
    "reference",
    "use_backend",
]
