"""Batches of training clips."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_clips import tiny_config, with_data, write_penn

from rpstn_training.codec import Codec
from rpstn_training.data.clips import TrainClips
from rpstn_training.data.loader import Batches
from rpstn_training.data.sets import load_skeleton, load_tracks


class Signed(TrainClips):
    """Clips that tell which process made them."""

    def __getitem__(self, index):
        return {**super().__getitem__(index), "process": os.getpid(), "place": index}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"))


def batches(root: Path, **data: object) -> Batches:
    config = with_data(tiny_config(root, Path("unused")), **data)
    config = replace(config, train=replace(config.train, batch_size=4))
    tracks, skeleton = load_tracks(config.data, "train"), load_skeleton(config.data)
    codec = Codec(input_size=config.data.input_size, stride=4, sigma=2.0)
    clips = Signed(tracks, skeleton, config.data, codec, config.augmentation, config.seed)
    return Batches(clips, config, torch.device("cpu"))


def test_workers_live_on_and_make_what_is_made_without_them(root):
    alone, shared = batches(root, workers=0), batches(root, workers=2)
    assert len(alone) == len(shared) == 2  # 6 clips by 4
    made_by, orders = set(), set()
    for epoch in range(3):
        pairs = list(zip(alone.epoch(epoch), shared.epoch(epoch), strict=True))
        assert [len(batch["frames"]) for batch, _ in pairs] == [4, 2]
        for here, there in pairs:
            assert here["place"].tolist() == there["place"].tolist()
            assert torch.equal(here["frames"], there["frames"])
            assert torch.equal(here["joints"], there["joints"])
            made_by |= set(there["process"].tolist())
        places = [place for batch, _ in pairs for place in batch["place"].tolist()]
        assert sorted(places) == list(range(6))
        orders.add(tuple(places))
    assert len(made_by) == 2 and os.getpid() not in made_by
    assert len(orders) > 1


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_may_begin_in_its_middle(root, workers):
    whole = [batch["place"].tolist() for batch in batches(root, workers=workers).epoch(1)]
    rest = batches(root, workers=workers)
    assert [batch["place"].tolist() for batch in rest.epoch(1, done=1)] == whole[1:]
    assert list(rest.epoch(1, done=2)) == []
    assert len(list(rest.epoch(2))) == 2
