"""Batches of training clips."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_clips import tiny_config, with_data, write_penn

from rpstn_training.codec import Codec
from rpstn_training.data import loader
from rpstn_training.data.clips import TrainClips
from rpstn_training.data.loader import Batches
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.errors import UserError


class Signed(TrainClips):
    """Clips that tell which process made them."""

    def __getitem__(self, index):
        return {**super().__getitem__(index), "process": os.getpid(), "place": index}


class Placed(TrainClips):
    """Clips that tell on which cores they may be made."""

    def __getitem__(self, index):
        cores = os.sched_getaffinity(0)
        return {"process": os.getpid(), "cores": len(cores), "first": min(cores)}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"))


def batches(
    root: Path,
    *,
    kind: type[TrainClips] = Signed,
    part: tuple[int, int] = (0, 1),
    accumulate: int = 1,
    **data: object,
) -> Batches:
    config = with_data(tiny_config(root, Path("unused")), **data)
    config = replace(config, train=replace(config.train, batch_size=4, accumulate=accumulate))
    tracks, skeleton = load_tracks(config.data, "train"), load_skeleton(config.data)
    codec = Codec(input_size=config.data.input_size, stride=4, sigma=2.0)
    clips = kind(tracks, skeleton, config.data, codec, config.augmentation, config.seed)
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


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="the system does not bind processes to cores"
)
def test_workers_are_pinned_within_the_share_of_their_process(root, monkeypatch):
    there = sorted(os.sched_getaffinity(0))
    for rank in range(2):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        pinned = batches(root, kind=Placed, workers=2, pin_workers=True)
        made = {
            int(p): (int(n), int(first)) for (one,) in pinned.epoch(0) for p, n, first in zip(*one.values())
        }
        half = len(there) // 2
        share = (there[:half] if rank == 0 else there[half:]) or there
        assert sorted(made.values()) == sorted((1, share[worker % len(share)]) for worker in range(2))
    assert sorted(os.sched_getaffinity(0)) == there  # this process stays where it was


def test_more_processes_than_cores_have_one_each(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {4, 7, 9}, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    shares = []
    for rank in range(5):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        shares.append(loader._own_cores())
    assert shares == [[4], [4], [7], [7], [9]]
    monkeypatch.delattr(os, "sched_getaffinity")
    with pytest.raises(UserError, match=r"data\.pin_workers: expected false on a system that does not bind"):
        loader._own_cores()
