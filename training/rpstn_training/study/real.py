"""What a study's networks and fitted relations find on real frames, of a data set that they were not trained on.

Joints that cannot be seen have no true places there. So patches are pasted over visible ones, as in the paper's Fig. 9,
and the joints under them are counted, with the patches and without.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..config import DataConfig
from ..data.records import Skeleton, Track
from ..data.sets import load_skeleton, load_tracks
from ..files import write_json
from ..words import several
from . import REAL_SETS
from .arms import GIVEN, Arm, Runner, apply_head, arms
from .frames import Frames, before_norm, count, last_norm, read_frames, stream, with_patches
from .plan import GAMMA

VIDEOS = 60  # at most, spread over the set


def measure(runner: Runner, name: str, root: Path) -> None:
    """Count what every arm that has been run finds on the test clips of a set, into the study's folder.

    Raises UserError as the set's reader does, and where a head was fitted and has not been kept.
    """
    tracks = tracks_of(name, root, runner)
    plain = read_frames(tracks, runner.skeleton, runner.base, runner.codec)
    patched = with_patches(plain, 0)
    maps, counts = _Maps(runner, (plain, patched)), {}
    for arm in arms(runner.study):
        if arm.place != GIVEN and runner.read(arm) is not None:
            on_plain, on_patched = maps.of(arm)
            found = count(on_patched, patched, runner.codec, GAMMA)
            counts[arm.key] = {
                "patches": found["hidden"],
                "without": count(on_plain, patched, runner.codec, GAMMA)["hidden"],
                "visible": found["visible"],
            }
    frames = f"{several(len(plain), 'frame')} of {several(len(tracks), 'video')} of {REAL_SETS[name]}"
    write_json(path_of(runner.folder, name), {"frames": frames, "counts": counts})


def path_of(folder: Path, name: str) -> Path:
    return folder / f"real_{name}.json"


def tracks_of(name: str, root: Path, runner: Runner) -> list[Track]:
    """Test clips of a set, with the joints of the study's skeleton."""
    data = DataConfig(name=name, root=str(root), split=runner.study.data.split)
    found = load_tracks(data, "test")
    chosen = found[:: -(-len(found) // VIDEOS)]
    return [with_joints(track, load_skeleton(data), runner.skeleton) for track in chosen]


def with_joints(track: Track, own: Skeleton, wanted: Skeleton) -> Track:
    """The track with the joints of another skeleton by their names; one that it does not have is not labelled."""
    has = [joint in own.joints for joint in wanted.joints]
    order = [own.joints.index(joint) if joint in own.joints else 0 for joint in wanted.joints]
    return replace(
        track,
        joints=track.joints[:, order],
        visible=track.visible[:, order] & has,
        labelled=track.labelled[:, order] & has,
    )


class _Maps:
    """What arms make of frames."""

    def __init__(self, runner: Runner, frames: Sequence[Frames]) -> None:
        self.runner, self.frames = runner, frames
        self._of_trunk: tuple[tuple[str, int], list[Tensor]] | None = None

    def of(self, arm: Arm) -> list[Tensor]:
        if arm.part != "heads":
            network = self.runner.network(arm)
            return [stream(network, some) for some in self.frames]
        trunk = self.runner.trunk(*self.runner.trunk_of(arm))
        norm = last_norm(trunk).cpu()
        if self._of_trunk is None or self._of_trunk[0] != self.runner.trunk_of(arm):
            maps = [before_norm(norm, stream(trunk, some)) for some in self.frames]
            self._of_trunk = (self.runner.trunk_of(arm), maps)  # one at a time: they are large
        head = self.runner.head(arm, norm)
        return [apply_head(head, maps) for maps in self._of_trunk[1]]
