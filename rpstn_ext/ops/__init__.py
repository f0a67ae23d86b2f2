"""The operations: one documented function per file; `reference` holds all of them in plain
PyTorch, `flops` what they count as."""

from rpstn_ext.ops import flops, reference
from rpstn_ext.ops.dynamic_conv2d import dynamic_conv2d
from rpstn_ext.ops.dynamic_match import dynamic_match
from rpstn_ext.ops.joint_relation import joint_relation
from rpstn_ext.ops.joint_relation_norm import joint_relation_norm

__all__ = ["dynamic_conv2d", "dynamic_match", "flops", "joint_relation", "joint_relation_norm", "reference"]
