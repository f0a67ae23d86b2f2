"""Batches of training clips."""

import os
from collections.abc import Iterable
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


def batches(root: Path, *, part: tuple[int, int] = (0, 1), accumulate: int = 1, **data: object) -> Batches:
    config = with_data(tiny_config(root, Path("unused")), **data)
    config = replace(config, train=replace(config.train, batch_size=4, accumulate=accumulate))
    tracks, skeleton = load_tracks(config.data, "train"), load_skeleton(config.data)
    codec = Codec(input_size=config.data.input_size, stride=4, sigma=2.0)
    clips = Signed(tracks, skeleton, config.data, codec, config.augmentation, config.seed)
    return Batches(clips, config, torch.device("cpu"), part=part)


def whole(batches: Iterable[list[dict]]) -> list[dict]:
    """Batches of one part each."""
    return [one for (one,) in batches]


def test_workers_live_on_and_make_what_is_made_without_them(root):
    alone, shared = batches(root, workers=0), batches(root, workers=2)
    assert len(alone) == len(shared) == 2  # 6 clips by 4
    made_by, orders = set(), set()
    for epoch in range(3):
        pairs = list(zip(whole(alone.epoch(epoch)), whole(shared.epoch(epoch)), strict=True))
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
    places = [batch["place"].tolist() for batch in whole(batches(root, workers=workers).epoch(1))]
    rest = batches(root, workers=workers)
    assert [batch["place"].tolist() for batch in whole(rest.epoch(1, done=1))] == places[1:]
    assert list(rest.epoch(1, done=2)) == []
    assert len(list(rest.epoch(2))) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_processes_and_parts_share_a_batch_out(root, workers):
    """Batches of 4 and 2 clips in two parts for two processes: where one gets no clip, it gets an empty part."""
    places = [batch["place"].tolist() for batch in whole(batches(root, workers=0).epoch(1))]
    ranks = [batches(root, workers=workers, part=(rank, 2), accumulate=2) for rank in range(2)]
    found = [[[part["place"].tolist() for part in parts] for parts in one.epoch(1)] for one in ranks]
    first, second = places
    assert found[0] == [[[first[0]], [first[1]]], [[second[0]], [second[1]]]]
    assert found[1] == [[[first[2]], [first[3]]], [[], []]]
    assert [ranks[0].clips_in(number) for number in (0, 1)] == [4, 2]
