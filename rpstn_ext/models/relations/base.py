"""What every relation of this package but the paper's own is built on."""

from torch import Tensor, nn

# Weight that the normalisation of output maps starts with: about the standard deviation of a target heat map. From the
# usual 1 the first thousand steps of Adam do little but shrink it.
OUTPUT_NORM_WEIGHT = 0.1


def output_norm(num_joints: int) -> nn.BatchNorm2d:
    """The batch normalisation that heat maps leave a network through; its weight starts at 0.1."""
    norm = nn.BatchNorm2d(num_joints)
    nn.init.constant_(norm.weight, OUTPUT_NORM_WEIGHT)
    return norm


class Relation(nn.Module):
    """Maps to maps of the same shape, followed by a normalisation; a subclass writes `related`.

    Args:
        num_joints (int): K, at least 1.
        norm (bool): whether a normalisation follows (`output_norm`); a call with `apply_norm=False` leaves it out, one
            with `norm=other` puts another in its place.

    Input and output: maps (Tensor[N, K, h, w]).

    Raises:
        ValueError: num_joints is below 1.

    Example:
        >>> import torch
        >>> class Doubled(Relation):
        ...     def related(self, maps):
        ...         return 2 * maps
        >>> maps = torch.rand(2, 5, 8, 8)
        >>> torch.equal(Doubled(5, norm=True)(maps, apply_norm=False), 2 * maps)
        True
    """

    def __init__(self, num_joints: int, *, norm: bool) -> None:
        super().__init__()
        if num_joints < 1:
            raise ValueError(f"{type(self).__name__}: expected num_joints of at least 1, got {num_joints}")
        self.num_joints = num_joints
        self.norm = output_norm(num_joints) if norm else None

    def related(self, maps: Tensor) -> Tensor:
        """The maps [N, K, h, w] before the normalisation."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method related(maps)")

    def forward(self, maps: Tensor, *, apply_norm: bool = True, norm: nn.Module | None = None) -> Tensor:
        related = self.related(maps)
        norm = (self.norm if norm is None else norm) if apply_norm else None
        return related if norm is None else norm(related)


def start_at_zero(conv: nn.Conv2d, start: str) -> None:
    """Zeros into the last convolution of what is added to the maps, where the relation starts as the identity."""
    if start == "identity":
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)


def convolution_before_relu(num_inputs: int, num_outputs: int, size: int) -> nn.Conv2d:
    """A convolution that keeps the size of maps, without a bias at the start: maps begin small, and a bias would hold
    the ReLU behind it open or shut whatever they are.
    """
    conv = nn.Conv2d(num_inputs, num_outputs, size, padding=size // 2)
    nn.init.zeros_(conv.bias)
    return conv
