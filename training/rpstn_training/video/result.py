"""What `rpstn predict` found in a source, and says of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.records import Skeleton
from .recording import Recording, read_recording
from .writers import FoundPose, FrameInfo


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `predict` found and wrote. The poses themselves are in the files, and read when they are asked for.

    source: its name. frame_count, pose_count: frames gone through, and poses in them, one per frame and person with a
    box there. persons: their numbers, rising. mean_score: of the poses, None without any. mean_probability: of their
    joints, None without any and where the weights are not calibrated. calibrated: on which clips, None where they are
    not. skeleton: names and limbs of the joints. weights: what found them, in a sentence. files: the files written, by
    name. fps: the source's frames per second. speed: frames gone through per second of work. boxes: where the people's
    boxes came from, in words. varying_rate: whether the frames are not evenly spaced in time. skipped: whether all
    this was there already, made with the same weights and options.
    """

    source: str
    frame_count: int
    pose_count: int
    persons: tuple[int, ...]
    mean_score: float | None
    mean_probability: float | None
    calibrated: str | None
    skeleton: Skeleton
    weights: str
    files: dict[str, Path]
    fps: float
    speed: float
    boxes: str
    varying_rate: bool
    skipped: bool = False

    @property
    def frames(self) -> tuple[FrameInfo, ...]:
        """Every frame that was gone through, in order, read from predictions.json."""
        return self.recording.frames

    @cached_property
    def poses(self) -> tuple[FoundPose, ...]:
        """All poses, in order of frames, then persons, with the digits of predictions.json, where they are read."""
        return tuple(pose for _, poses in self.recording.by_frame() for pose in poses)

    @cached_property
    def recording(self) -> Recording:
        """The same by persons, as arrays, for filters, angles and other files; read from predictions.json."""
        return read_recording(self.files["predictions.json"])

    def to_dict(self) -> dict[str, Any]:
        """In plain types, for `of_record`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "skipped"}
        names = list(self.files)
        return values | {"skeleton": self.skeleton.to_dict(), "files": names, "persons": list(self.persons)}

    @classmethod
    def of_record(cls, values: dict[str, Any], out: Path) -> "Result":
        """The result that was written to `out` before."""
        return cls(
            **values
            | {
                "skeleton": Skeleton.from_dict(values["skeleton"]),
                "files": {name: out / name for name in values["files"]},
                "persons": tuple(values["persons"]),
                "skipped": True,
            }
        )
