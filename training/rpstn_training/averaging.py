"""One network's maps averaged over several looks at a picture: mirrored, and at several sizes (`eval.flip`,
`eval.flip_shift`, `eval.scales`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rpstn_ext.models import last_stage
from rpstn_ext.models.network import Network

from .codec import MEAN, STD, Codec
from .config import EvalConfig
from .data.records import Skeleton
from .errors import UserError


@dataclass(frozen=True)
class _Look:
    scale: float
    mirrored: bool


class Averaged(Network):
    """A network whose maps are the mean of those that another one makes of several looks at the same picture.

        maps = mean over looks of  back_look(network(look(picture)))

    Looks are the picture at every scale, and with `flip` each of them mirrored. Maps of a mirrored picture are mirrored
    back and exchange left and right joints. In the codec's geometry "plain" they then stand (stride - 1) pixels too far
    left, because cell 0 is the first pixel and the last cell is not the last one; `flip_shift` moves them one cell to
    the right, as SimpleBaseline and HRNet do, which leaves one pixel.

    A scale enlarges the person so many times about the centre of the crop. It resamples the crop (bilinear; outside it
    is black, as outside the image), so that a scale below 1 shows no more of the surroundings. A cell's mean is taken
    over the looks that show its place.

    Args:
        network: takes clips, or a video frame by frame. In `start` and `step` every look has a state of its own; the
            state is theirs, Tensor[B, looks, ...]. The looks go through it one after the other, so that they need
            no more memory than one.
        skeleton: whose joints the maps are.
        codec: what the maps' cells stand for.
        flip, flip_shift, scales: as `EvalConfig` has them.

    Input and output are those of the network; of several stages the last one. Channels from the fourth on are maps of
    the K joints (of drawn poses), of which a mirrored picture exchanges left and right too.

    Raises:
        UserError: `flip` with a skeleton that has no left/right pairs.

    Example:
        >>> from rpstn_ext import models
        >>> from rpstn_training.data.sets import penn_action
        >>> network = models.build("sbl", num_joints=13, backbone="resnet18").eval()
        >>> codec = Codec(input_size=(64, 64), stride=4, sigma=2.0)
        >>> averaged = Averaged(network, penn_action.SKELETON, codec, flip=True, scales=(0.9, 1.0, 1.1))
        >>> averaged(torch.rand(1, 2, 3, 64, 64)).shape
        torch.Size([1, 2, 13, 16, 16])
    """

    def __init__(
        self,
        network: nn.Module,
        skeleton: Skeleton,
        codec: Codec,
        *,
        flip: bool = False,
        flip_shift: bool = True,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        if flip and not skeleton.flip_pairs:
            raise UserError(
                f"flip test: expected a skeleton with pairs of left and right joints, {skeleton.name} has none; leave "
                "eval.flip or --flip out"
            )
        self.temporal, self.num_joints = network.temporal, network.num_joints
        self.stride, self.multiple = network.stride, network.multiple
        self.network, self.codec = network, codec
        self.shift = flip_shift and codec.geometry == "plain"
        self.looks = [_Look(scale, mirrored) for scale in scales for mirrored in (False, True)[: 1 + flip]]
        self.register_buffer("order", torch.from_numpy(skeleton.flip_order()), persistent=False)

    def forward(self, clip: Tensor) -> Tensor:
        return self._mean([last_stage(self.network(self._shown(clip, look))) for look in self.looks])

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        found = [self.network.start(self._shown(frame, look)) for look in self.looks]
        return self._mean([maps for maps, _ in found]), torch.stack([state for _, state in found], dim=1)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        found = [
            self.network.step(self._shown(frame, look), before)
            for look, before in zip(self.looks, state.unbind(dim=1), strict=True)
        ]
        return self._mean([maps for maps, _ in found]), torch.stack([after for _, after in found], dim=1)

    def _shown(self, images: Tensor, look: _Look) -> Tensor:
        """What the network sees of images [..., C, H, W]."""
        if look.scale != 1:
            black = images.new_zeros(images.shape[-3], 1, 1)
            black[:3, 0, 0] = -images.new_tensor(MEAN) / images.new_tensor(STD)
            images = _zoomed(images - black, 1 / look.scale, (0.0, 0.0)) + black
        if look.mirrored:
            images = images.flip(-1)
            if images.shape[-3] > 3:
                drawn = images[..., 3:, :, :].index_select(-3, self.order)
                images = torch.cat([images[..., :3, :, :], drawn], dim=-3)
        return images

    def _mean(self, looks: Sequence[Tensor]) -> Tensor:
        """Of the maps [..., K, h, w] of all looks, each as the network gave it."""
        total, seen = torch.zeros_like(looks[0]), looks[0].new_zeros(looks[0].shape[-2:])
        for maps, look in zip(looks, self.looks, strict=True):
            here = torch.ones_like(maps[..., :1, :, :].flatten(0, -4)[:1])
            if look.mirrored:
                maps = maps.flip(-1).index_select(-3, self.order)
                if self.shift:
                    maps = torch.cat([maps[..., :1], maps[..., :-1]], dim=-1)
            if look.scale != 1:
                # Cell j shows x = j * cell, which the look has at c + scale * (x - c), c the centre of the crop.
                sides = zip(self.codec.input_size, self.codec.cell, reversed(maps.shape[-2:]))
                centre = tuple((pixels - 1) / cell / (cells - 1) - 1 for pixels, cell, cells in sides)
                here = (_zoomed(here, look.scale, centre) > 0.999).to(maps.dtype)
                maps = here * _zoomed(maps, look.scale, centre, mode="bicubic", beyond="border")
            total, seen = total + maps, seen + here[0, 0]
        return total / seen.clamp_min(1e-6)


def _zoomed(
    images: Tensor,
    factor: float,
    centre: tuple[float, float],
    *,
    mode: str = "bilinear",
    beyond: str = "zeros",
) -> Tensor:
    """Images [..., H, W] whose value at p is that of `images` at centre + factor * (p - centre).

    Places go from -1, the first pixel centre, to 1, the last; `centre` is x, y. `mode` and what is `beyond` the edge
    are those of `F.grid_sample`. Bilinear, a peak comes out up to half a cell from where it is.
    """
    flat = images.flatten(0, -4)
    rest = [(1 - factor) * place for place in centre]
    matrix = flat.new_tensor([[factor, 0, rest[0]], [0, factor, rest[1]]]).expand(len(flat), 2, 3)
    grid = F.affine_grid(matrix, list(flat.shape), align_corners=True)
    return F.grid_sample(flat, grid, mode=mode, padding_mode=beyond, align_corners=True).view_as(images)


def averaged(network: nn.Module, options: EvalConfig, skeleton: Skeleton, codec: Codec) -> nn.Module:
    """The network with the averages that the options ask for; itself where they ask for none."""
    if not options.flip and options.scales == (1.0,):
        return network
    return Averaged(
        network,
        skeleton,
        codec,
        flip=options.flip,
        flip_shift=options.flip_shift,
        scales=options.scales,
    )


def in_words(options: EvalConfig) -> str:
    """What is averaged, for a protocol."""
    shift = "moved by one cell" if options.flip_shift else "not moved"
    text = f"flip test, mirrored maps {shift}" if options.flip else "no flip"
    if options.scales != (1.0,):
        text += f"; crop resampled at {', '.join(f'{scale:g}' for scale in options.scales)} and averaged"
    return text
