"""Whether a row's configuration works: one step of the real training, scored, of a reduced network on synthetic clips
of the row's own data set.
"""

import contextlib
import inspect
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rpstn_ext import models
from rpstn_synth.synthesis import synthesise

from ..building import outline
from ..config import Config
from ..data.sets import load_skeleton
from ..train.engine import train

SHORT_SIDE = 96  # pixels of the reduced input
_SMALL = {"width": 8, "channels": 16}  # in place of 64 and 256
_CLIPS, _SIZE = 4, (128, 96)


class SyntheticData:
    """One folder of drawn clips for each data set, made when it is first asked for."""

    def __init__(self, folder: Path, frames: int) -> None:
        self.folder, self.frames = folder, frames

    def root(self, dataset: str) -> Path:
        root = self.folder / dataset
        if not root.is_dir():
            with _quiet():
                synthesise(root, dataset=dataset, clips=_CLIPS, frames=self.frames, size=_SIZE, workers=1)
        return root


def reduced(config: Config, root: Path, folder: Path) -> Config:
    """The same experiment in small: all its layers with fewer channels and pixels, one step of two clips on the CPU.
    What it writes, and what it reads of other runs, is in `folder` instead of the working directory.
    """
    taken = inspect.signature(models.BUILDERS[config.model.name]).parameters
    small = {name: value for name, value in _SMALL.items() if name in taken}
    model = replace(config.model, options={**config.model.options, **small}, weights=None)
    multiple = outline(model, load_skeleton(config.data)).multiple
    shorter = min(config.data.input_size)
    size = tuple(
        multiple * max(1, round(side * SHORT_SIDE / shorter / multiple)) for side in config.data.input_size
    )
    return replace(
        config,
        output=str(folder / config.output),
        data=replace(config.data, root=str(root), input_size=size, workers=0, clips_per_epoch=2),
        model=model,
        train=replace(
            config.train,
            epochs=1,
            batch_size=2,
            milestones=(1,),
            max_steps=1,
            device="cpu",
            tensorboard=False,
        ),
        eval=replace(
            config.eval,
            batch_size=2,
            poses=None if config.eval.poses is None else str(folder / config.eval.poses),
        ),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither progress nor what readers note of the drawn clips."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def step(config: Config, data: SyntheticData, folder: Path) -> None:
    """Forward, backward, the optimiser's step and the scoring after it, as `rpstn train` does them.

    Raises what the training raises.
    """
    root = data.root(config.data.name)
    small = reduced(replace(config, data=replace(config.data, root=str(root))), root, folder)
    with _quiet():
        train(small, show_progress=False)
