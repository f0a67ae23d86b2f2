"""Parts of a network that are described by themselves: which backbone, and the file its weights come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """The description of a part: a backbone by name, and a file of weights for it.

    Args:
        backbone (str): a name of `rpstn_ext.models.backbones`.
        weights (str | None): a file for `models.load`; None begins with random weights.

    Raises:
        ValueError: one of them is of another type.

    Example:
        >>> Part("resnet50", weights="pose_resnet_50_256x256.pth.tar").backbone
        'resnet50'
    """

    backbone: str
    weights: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, str):
            raise ValueError(f"backbone: expected a name, for example resnet50, got {self.backbone!r}")
        if self.weights is not None and not isinstance(self.weights, str):
            raise ValueError(f"weights: expected the name of a file or none, got {self.weights!r}")

    @classmethod
    def of(cls, value: Any, key: str = "part") -> "Part":
        """A part as users write it: a backbone's name, {"backbone": ..., "weights": ...}, or a `Part`.

        key (str): what error messages begin with.

        Raises:
            ValueError: it is none of these, a key is unknown, or the backbone is missing.

        Example:
            >>> Part.of("resnet18")
            Part(backbone='resnet18', weights=None)
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(value)
        form = "{backbone: NAME, weights: FILE}"
        if not isinstance(value, Mapping):
            raise ValueError(f"{key}: expected a backbone's name or {form}, got {value!r}")
        unknown = [str(name) for name in value if name not in ("backbone", "weights")]
        if unknown or "backbone" not in value:
            problem = f"the unknown key {unknown[0]}" if unknown else "no backbone"
            raise ValueError(f"{key}: expected {form}, got {problem}")
        try:
            return cls(**value)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from None
