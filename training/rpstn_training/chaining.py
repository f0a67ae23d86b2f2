"""A network that refines poses, behind one that finds them.

PoseFix (Moon et al., "PoseFix: Model-agnostic General Human Pose Refinement Network") sees the image and, in K further
channels, a Gaussian about each joint of a pose. In training these poses are true ones with errors
(`data.pose_errors`), afterwards those of any other network here.
"""

import torch
from torch import Tensor, nn

from rpstn_ext.models import ImageNetwork, Network, last_stage

from .codec import STD, Codec, encode
from .data.records import Skeleton
from .errors import UserError
from .train import checkpoint as checkpoints

_SIGMA = 7 / 256  # of a Gaussian, in heights of the input: 7 pixels at 256x192, as the authors have it
_PEAK = 3 / sum(STD)  # the whole range of a pixel, as the authors draw 255 beside images of 0 to 255


def pose_channels(joints: Tensor, given: Tensor, codec: Codec) -> Tensor:
    """Gaussians at the input's size, Tensor[..., K, H, W], about joints [..., K, 2] in pixels of the crop; zeros for
    those that are not `given`, [..., K].
    """
    width, height = codec.input_size
    maps = encode(joints, (height, width), sigma=_SIGMA * height, stride=1)
    return _PEAK * given.to(maps.dtype)[..., None, None] * maps


def with_poses(images: Tensor, joints: Tensor, given: Tensor, codec: Codec) -> Tensor:
    """What a network that refines poses is called with: images [..., 3, H, W] and the poses as further channels."""
    return torch.cat([images, pose_channels(joints, given, codec).to(images.dtype)], dim=-3)


class Chain(Network):
    """A network that finds poses and one that refines them, as one network: images in, refined maps out.

    Args:
        finder (Network): finds poses in clips or frames.
        found_by (Codec): of the finder's maps; its input is that of the refiner.
        refiner (ImageNetwork): takes 3 + K channels.
        codec (Codec): of the refiner.
    """

    def __init__(self, finder: Network, found_by: Codec, refiner: ImageNetwork, codec: Codec) -> None:
        super().__init__()
        self.finder, self.found_by, self.refiner, self.codec = finder, found_by, refiner, codec
        self.temporal, self.num_joints, self.stride = finder.temporal, refiner.num_joints, refiner.stride
        self.multiple = refiner.multiple
        self.parts = ("finder", "refiner")

    def forward(self, clip: Tensor) -> Tensor:
        return last_stage(self.refiner(self._posed(clip, last_stage(self.finder(clip)))))

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        maps, state = self.finder.start(frame)
        return self.refiner.start(self._posed(frame, maps))[0], state

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        maps, state = self.finder.step(frame, state)
        return self.refiner.start(self._posed(frame, maps))[0], state

    def _posed(self, images: Tensor, maps: Tensor) -> Tensor:
        joints, _ = self.found_by.decode(maps)
        return with_poses(images, joints, torch.ones_like(joints[..., 0]), self.codec)


def chained(network: nn.Module, poses: str | None, skeleton: Skeleton, codec: Codec, key: str) -> nn.Module:
    """The network itself, or, where it refines poses, behind the one in the checkpoint `poses` that finds them.

    key (str): the option or configuration key that named the file. Raises UserError where a network that refines has no
    file, another one has, or the file's network finds other joints or in another crop.
    """
    if getattr(network, "in_channels", 3) == 3:
        if poses is not None:
            raise UserError(f"{key}: expected none for a network that finds poses by itself, got {poses}")
        return network
    if poses is None:
        raise UserError(
            f"{key}: expected a checkpoint of a network that finds the poses which this one refines, got none; name "
            "one, for example best.pt of a training of sbl"
        )
    checkpoint = checkpoints.load(poses)
    for what, wanted, found in (
        ("joints", list(skeleton.joints), list(checkpoint.skeleton.joints)),
        ("an input of", list(codec.input_size), list(checkpoint.codec.input_size)),
        ("boxes enlarged", codec.box_scale, checkpoint.codec.box_scale),
        ("geometry", codec.geometry, checkpoint.codec.geometry),
    ):
        if wanted != found:
            raise UserError(
                f"{key}: expected a network with {what} {wanted} like the one that refines, {poses} has {found}"
            )
    finder = checkpoint.build_model()
    if finder.in_channels != 3:
        raise UserError(f"{key}: expected a network that finds poses, {poses} is of one that refines them")
    return Chain(finder, checkpoint.codec, network, codec)
