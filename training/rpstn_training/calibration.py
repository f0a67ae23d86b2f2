"""What the scores of a network are worth, as held-out clips have shown: `Calibration`, which a checkpoint holds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RIGHT = 0.1  # of the person's size, the longer side of the box: so near a joint must be to be right
STATES = ("visible", "hidden", "outside")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """pose_threshold: of a pose's probability, the mean over its joints; with less nobody is there. joint_threshold: of
    a joint's probability; with less it is drawn hollow. fitted_on: the clips, in words. measured: by name, what came
    out on clips that were not fitted on.
    """

    pose_threshold: float
    joint_threshold: float
    fitted_on: str
    measured: dict[str, float | None]

    @property
    def summary(self) -> dict[str, Any]:
        """What a file of predictions says of it."""
        return {
            "probability": f"that a joint is within {RIGHT:g} of the person's size",
            "pose_threshold": self.pose_threshold,
            "joint_threshold": self.joint_threshold,
            "fitted_on": self.fitted_on,
            "measured": self.measured,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as checkpoints hold them; `from_dict` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> "Calibration | None":
        return None if plain is None else cls(**plain)
