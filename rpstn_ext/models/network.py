"""What every network here can do, and how a network for single images comes to do it."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

# Maps, or those of each stage of a network that is supervised at several depths; the last stage is the result.
Stages = Tensor | tuple[Tensor, ...]


def last_stage(maps: Stages) -> Tensor:
    """Of maps by stages those that count as the result."""
    return maps if isinstance(maps, Tensor) else maps[-1]


def alike(pairs: Mapping[str, str], state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """What a state dict lacks of modules that are then like others in it: none of a module's names, never some.

    Args:
        pairs: names of modules, and of those they are like (`Network.alike_in_files`).
        prefix (str): of all names.

    Example:
        >>> import torch
        >>> state = {"norm.weight": torch.ones(2), "conv.weight": torch.zeros(2)}
        >>> alike({"first_norm": "norm"}, state)
        {'first_norm.weight': tensor([1., 1.])}
        >>> alike({"first_norm": "norm"}, state | {"first_norm.bias": torch.ones(2)})
        {}
    """
    return {
        f"{prefix}{lacking}.{name.removeprefix(f'{prefix}{other}.')}": value
        for lacking, other in pairs.items()
        if not any(name.startswith(f"{prefix}{lacking}.") for name in state)
        for name, value in state.items()
        if name.startswith(f"{prefix}{other}.")
    }


class Network(nn.Module):
    """A network that takes clips, or a video frame by frame, whatever it is inside.

        network(clip [B, T, 3, H, W]) -> maps [B, T, K, H/stride, W/stride]
        network.start(frame [B, 3, H, W]) -> (maps [B, K, H/stride, W/stride], state)
        network.step(frame [B, 3, H, W], state) -> (maps, state)

    The images are RGB normalised by ImageNet's mean and deviation; a map's cell is stride x stride pixels of the
    input. In evaluation `start` and `step` give the maps of `forward`. The state is a Tensor whose first axis is the
    batch, so states of several persons can be concatenated and split. A network may return several stages: `forward`
    then gives a tuple of maps, of which the last is the result; `start` and `step` give the result alone.

    Attributes:
        temporal (bool): whether a frame's maps depend on the frames before it.
        num_joints (int): K.
        in_channels (int): channels of a frame: 3, or 3 + K where drawn poses follow the image (`models.build`,
            "posefix"); above and below it is written as 3.
        stride (int): pixels of the input per cell.
        multiple (int): what H and W must divide by.
        parts (tuple[str, ...]): children that take weights of their own (`models.load`).
        optional_in_files, ignored_in_files (tuple[str, ...]): children that a file of weights may lack, in the order
            in which it may, and names of a file's that are no child here and may be left over.
        renamed_in_files (tuple[tuple[str, str], ...]): how names begin in public files, and here without "backbone.".
        per_joint (tuple[str, ...]): children within the backbone that a file for another number of joints leaves alone.
        alike_in_files (Mapping[str, str]): children that older files lack, and the modules whose values in the file are
            then theirs (`alike`).
    """

    temporal: bool
    num_joints: int
    in_channels: int = 3
    stride: int
    multiple: int
    parts: tuple[str, ...] = ()
    optional_in_files: tuple[str, ...] = ()
    ignored_in_files: tuple[str, ...] = ()
    renamed_in_files: tuple[tuple[str, str], ...] = ()
    per_joint: tuple[str, ...] = ()
    alike_in_files: Mapping[str, str] = {}

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The first frame (Tensor[B, 3, H, W]): its maps [B, K, H/stride, W/stride], and the state for `step`."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method start(frame)")

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next frame (Tensor[B, 3, H, W]) and the state before it: its maps, and the state after it."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method step(frame, state)")

    def check_clip(self, clip: Tensor) -> None:
        """Raises ValueError where `clip` is not a Tensor[B, T, 3, H, W] with T >= 1 and H, W that divide."""
        if clip.dim() != 5 or clip.shape[1] < 1 or clip.shape[2] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: expected clip to have shape [B, T, {self.in_channels}, H, W], T >= 1, got "
                f"{list(clip.shape)}{self._hint(clip.shape[2:3])}"
            )
        self._check_size(clip)

    def check_frame(self, frame: Tensor) -> None:
        """Raises ValueError where `frame` is not a Tensor[B, 3, H, W] with H and W that divide by `multiple`."""
        if frame.dim() != 4 or frame.shape[1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: expected frame to have shape [B, {self.in_channels}, H, W], got "
                f"{list(frame.shape)}{self._hint(frame.shape[1:2])}"
            )
        self._check_size(frame)

    def _hint(self, channels: Sequence[int]) -> str:
        if self.in_channels > 3 and list(channels) == [3]:
            return f"; this network refines poses, {self.in_channels - 3} maps of them follow the image's channels"
        return ""

    def _check_size(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if height < 1 or width < 1 or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"{type(self).__name__}: expected images whose height and width divide by {self.multiple}, got height "
                f"{height} and width {width}; resize or pad them"
            )


class ImageNetwork(Network):
    """A network that sees each frame by itself; a subclass writes `frames` and sets the attributes.

    Its state is empty, Tensor[B, 0]. `forward` also takes a batch of images (Tensor[N, 3, H, W]) and gives their maps
    [N, K, H/stride, W/stride].

    Raises:
        ValueError: another shape, or a height or width that does not divide by `multiple`.

    Example:
        >>> import torch
        >>> class Brightness(ImageNetwork):
        ...     num_joints, stride, multiple = 1, 4, 4
        ...     def frames(self, images):
        ...         return nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)
        >>> maps = Brightness()(torch.rand(2, 5, 3, 64, 48))
        >>> maps.shape
        torch.Size([2, 5, 1, 16, 12])
        >>> maps, state = Brightness().start(torch.rand(2, 3, 64, 48))
        >>> maps.shape, state.shape
        (torch.Size([2, 1, 16, 12]), torch.Size([2, 0]))
    """

    temporal = False

    def frames(self, images: Tensor) -> Stages:
        """The maps [N, K, H/stride, W/stride], or those of each stage, of images (Tensor[N, 3, H, W]) whose shape has
        been checked.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method frames(images)")

    def forward(self, clip: Tensor) -> Stages:
        if clip.dim() == 4:
            self.check_frame(clip)
            return self.frames(clip)
        self.check_clip(clip)
        maps, shape = self.frames(clip.flatten(0, 1)), clip.shape[:2]
        if isinstance(maps, Tensor):
            return maps.unflatten(0, shape)
        return tuple(stage.unflatten(0, shape) for stage in maps)

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        self.check_frame(frame)
        return last_stage(self.frames(frame)), frame.new_empty(frame.shape[0], 0)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.check_frame(frame)
        return last_stage(self.frames(frame)), state
