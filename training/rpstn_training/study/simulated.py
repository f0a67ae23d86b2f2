"""Noisy maps of true poses: what a relation could gain if the network in front of it failed as one imagines it."""

import torch
from torch import Tensor

from ..codec import Codec
from ..data.records import Skeleton

SPOILT = 1.9  # joints of a frame whose map is spoilt, on average
# How, and how often: as in the first test of relations on given maps, of the labels of Penn Action.
_SHARES = {"missing": 0.3, "weak": 0.3, "swapped": 0.2, "elsewhere": 0.1, "background": 0.1}
_WEAK, _NOISE = 0.2, 0.05


def spoilt_maps(
    joints: Tensor, skeleton: Skeleton, codec: Codec, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Target maps [N, K, h, w] of joints [N, K, 2] of which some are spoilt, with noise, and which [N, K] those are.

    A spoilt joint's peak is missing, a fifth as high, at the joint of the other side, at any other joint, or anywhere
    in the crop.
    """
    frames, count = joints.shape[:2]
    clean = codec.encode(joints)
    spoilt = torch.rand(frames, count, generator=random) < SPOILT / count
    place = torch.rand(frames, count, generator=random)
    every = torch.arange(frames)[:, None]
    anywhere = torch.rand(frames, count, 2, generator=random) * torch.tensor(codec.input_size)
    instead = {
        "missing": torch.zeros_like(clean),
        "weak": _WEAK * clean,
        "swapped": clean[:, skeleton.flip_order()],
        "elsewhere": clean[every, torch.randint(count, (frames, count), generator=random)],
        "background": codec.encode(anywhere),
    }
    maps, low = clean, 0.0
    for kind, share in _SHARES.items():
        chosen = spoilt & (place >= low) & (place < low + share)
        maps = torch.where(chosen[..., None, None], instead[kind], maps)
        low += share
    return maps + _NOISE * torch.randn(maps.shape, generator=random), spoilt
