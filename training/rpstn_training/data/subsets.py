"""Which tracks a training sees, and on which its weights are chosen and scored."""

from dataclasses import dataclass, replace

import numpy as np

from ..config import Config
from ..errors import UserError
from .records import Track
from .sets import DATASETS, load_tracks

_STREAM = 1  # of random numbers, apart from the training's own


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Tracks, what they are in words, and the configuration by whose `data` and `eval.subset` they are read as a
    whole (its `eval.subset` is "test" or "train", as readers and official labels know them).
    """

    tracks: list[Track]
    words: str
    config: Config


def load_subset(config: Config, name: str) -> Subset:
    """The tracks of "test", "train" or "validation" (see `config.EvalConfig`)."""
    if name != "validation":
        return _whole(config, name, f"the {name} subset")
    official = official_validation(config)
    if official is not None:
        return official
    tracks = load_tracks(config.data, "train")
    return _held_out(config, tracks)[1]


def for_training(config: Config) -> tuple[list[Track], Subset]:
    """The tracks to train on, and those on which the weights are chosen."""
    tracks = load_tracks(config.data, "train")
    if config.eval.select == "train":
        return tracks, Subset(tracks=tracks, words="the train subset", config=_as_read(config, "train"))
    if config.eval.select == "test":
        return tracks, load_subset(config, "test")
    official = official_validation(config)
    return (tracks, official) if official is not None else _held_out(config, tracks)


def official_validation(config: Config) -> Subset | None:
    """The validation part that a set's owners publish; its reader's `VALIDATION` holds the options by which the subset
    "test" is that part. None where there is none.
    """
    options = getattr(DATASETS.get(config.data.name), "VALIDATION", None)
    if options is None:
        return None
    data = replace(config.data, options={**config.data.options, **options})
    return _whole(replace(config, data=data), "test", f"{config.data.name}'s own validation part")


def _whole(config: Config, name: str, words: str) -> Subset:
    return Subset(tracks=load_tracks(config.data, name), words=words, config=_as_read(config, name))


def _as_read(config: Config, name: str) -> Config:
    return replace(config, eval=replace(config.eval, subset=name))


def _held_out(config: Config, tracks: list[Track]) -> tuple[list[Track], Subset]:
    """Whole videos, chosen by the seed; the order of the tracks stays."""
    videos = sorted({track.video or track.name for track in tracks})
    if len(videos) < 2:
        raise UserError(
            f"eval.select: expected at least two training videos to hold one out, got {len(videos)}; choose the "
            "weights on other clips with eval.select=test or eval.select=train"
        )
    share = config.eval.held_out
    number = min(max(round(share * len(videos)), 1), len(videos) - 1)
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(_STREAM,)))
    chosen = {videos[place] for place in rng.permutation(len(videos))[:number].tolist()}
    kept = [track for track in tracks if (track.video or track.name) not in chosen]
    held_out = [track for track in tracks if (track.video or track.name) in chosen]
    words = f"{number} of {len(videos)} training videos, held out (seed {config.seed})"
    return kept, Subset(tracks=held_out, words=words, config=_as_read(config, "train"))
