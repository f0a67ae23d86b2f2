"""The cache of decoded frames: it changes no sample, keeps to its bound, and believes nothing it finds."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_clips import SIZE, codec_for, tiny_config, with_data, write_penn

from rpstn_training.config import AugmentationConfig, DataConfig
from rpstn_training.data import cache
from rpstn_training.data.cache import FrameCache, kept_frames
from rpstn_training.data.clips import TrainClips, read_frame
from rpstn_training.data.loader import Batches
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.errors import UserError
from rpstn_training.files import LOCK

ENTRY = 40 + 3 * SIZE * SIZE  # bytes of a picture's
PICTURES = 3 * 6  # of the training videos
STRONG = AugmentationConfig(rotation=40.0, scale=(0.6, 1.4), color=0.3, occlusion=0.5, shift=0.2, noise=9.0)


@pytest.fixture
def root(tmp_path) -> Path:
    return write_penn(tmp_path / "penn")


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The pictures that are decoded, in order."""
    seen: list[Path] = []

    def counted(track, index):
        seen.append(track.frames[index])
        return read_frame(track, index)

    monkeypatch.setattr(cache, "read_frame", counted)
    return seen


@pytest.fixture
def memory(monkeypatch, tmp_path) -> Path:
    """In the place of /dev/shm."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(cache, "_MEMORY", folder)
    return folder


def tracks_of(root: Path):
    return load_tracks(DataConfig(name="penn_action", root=str(root)), "train")


def clips(root: Path, read=read_frame) -> TrainClips:
    config = replace(tiny_config(root, Path("unused")), augmentation=STRONG)
    config = with_data(config, clips_per_epoch=40)
    parts = (load_skeleton(config.data), config.data, codec_for(config), STRONG, config.seed)
    return TrainClips(tracks_of(root), *parts, read=read)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != LOCK)


def alike(first: dict, second: dict) -> bool:
    return all(
        torch.equal(first[name], second[name])
        if torch.is_tensor(first[name])
        else first[name] == second[name]
        for name in first
    )


def test_samples_are_the_same_bits_and_each_picture_is_decoded_once(root, folder, decoded):
    frames = FrameCache(tracks_of(root), folder, 1e9)
    plain, kept = clips(root), clips(root, frames.read)
    for _ in range(2):
        assert all(alike(plain[number], kept[number]) for number in range(len(plain)))
    assert len(decoded) == len(set(decoded)) == len(entries(folder)) == PICTURES
    fresh = clips(root, FrameCache(tracks_of(root), folder, 1e9).read)  # of another process, or another day
    assert alike(plain[0], fresh[0]) and len(decoded) == PICTURES


def test_data_workers_share_it(root, folder):
    config = with_data(tiny_config(root, Path("unused")), workers=2)
    skeleton, codec = load_skeleton(config.data), codec_for(config)
    parts = (tracks_of(root), skeleton, config.data, codec, config.augmentation, config.seed)
    with kept_frames(tracks_of(root), replace(config.data, cache=str(folder)), Path("run")) as frames:
        plain = Batches(TrainClips(*parts), config, torch.device("cpu"))
        kept = Batches(TrainClips(*parts, read=frames.read), config, torch.device("cpu"))
        for epoch in range(2):
            for (one,), (other,) in zip(plain.epoch(epoch), kept.epoch(epoch), strict=True):
                assert alike(one, other)
    assert entries(folder)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: ENTRY // 2])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def unmarked(path: Path) -> None:
    path.write_bytes(bytes(40) + path.read_bytes()[40:])


@pytest.mark.parametrize(
    "spoil",
    [half, longer, unmarked, lambda path: path.write_bytes(b"")],
    ids=["half", "longer", "mark", "empty"],
)
def test_a_damaged_entry_is_made_anew(root, folder, decoded, spoil):
    frames = FrameCache(tracks_of(root), folder, 1e9)
    track = tracks_of(root)[0]
    image = frames.read(track, 0)
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    spoil(entry)
    assert np.array_equal(frames.read(track, 0), image)
    assert len(decoded) == 2 and entry.read_bytes() == whole
    frames.read(track, 0)
    assert len(decoded) == 2


def test_a_picture_that_changed_is_decoded_again(root, folder, decoded):
    frames = FrameCache(tracks_of(root), folder, 1e9)
    track = tracks_of(root)[0]
    frames.read(track, 0)
    cv2.imwrite(str(track.frames[0]), np.full((SIZE, SIZE, 3), 77, np.uint8))
    assert np.array_equal(frames.read(track, 0), read_frame(track, 0))
    assert len(decoded) == 2 and len(entries(folder)) == 1
    os.utime(track.frames[0], ns=(0, 0))
    frames.read(track, 0)
    assert len(decoded) == 3


def test_it_keeps_to_its_bound_and_says_so_before(root, folder, decoded):
    limit = 5.5 * ENTRY
    frames = FrameCache(tracks_of(root), folder, limit)
    (said,) = frames.in_words()
    some, all_of_them = (f"{number * ENTRY / 1e9:.3g} GB" for number in (5, PICTURES))
    assert said.startswith(f"data.cache: {some} of {all_of_them} of decoded frames are kept in {folder}, ")
    assert "data.cache_gb is 6.7" in said
    for track in tracks_of(root):
        for number in range(len(track)):
            frames.read(track, number)
    assert [path.stat().st_size for path in entries(folder)] == [ENTRY] * 5
    assert frames.in_words() == [said] == FrameCache(tracks_of(root), folder, limit).in_words()
    whole = FrameCache(tracks_of(root), folder, 1e9).in_words()[0]
    assert whole == f"data.cache: {all_of_them} of decoded frames are kept in {folder}"


def test_what_others_have_there_and_what_is_free_count(root, folder, monkeypatch):
    (folder / "other").write_bytes(bytes(3 * ENTRY))
    frames = FrameCache(tracks_of(root), folder, 5.5 * ENTRY)
    said = frames.in_words()[0]
    assert f"{2 * ENTRY / 1e9:.3g} GB of " in said and said.endswith("there are not of this training")
    usage = cache.shutil.disk_usage(folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage._replace(free=11 * ENTRY))
    assert f"{4 * ENTRY / 1e9:.3g} GB of " in FrameCache(tracks_of(root), folder, 1e9).in_words()[0]


def test_a_picture_that_is_larger_than_was_planned_is_not_kept(root, folder):
    """Frames of one video have one size; the bound holds where they have not."""
    track = tracks_of(root)[0]
    cv2.imwrite(str(track.frames[1]), np.zeros((2 * SIZE, SIZE, 3), np.uint8))
    frames = FrameCache(tracks_of(root), folder, 1e9)
    assert frames.read(track, 1).shape == (2 * SIZE, SIZE, 3)
    assert entries(folder) == []


def test_a_full_disk_is_told_once_and_ends_nothing(root, folder, monkeypatch, caplog):
    def full(path):
        raise UserError(f"{folder}: could not be written (No space left on device)")

    monkeypatch.setattr(cache, "atomic_write", full)
    cache._tell_once.cache_clear()
    frames = FrameCache(tracks_of(root), folder, 1e9)
    track = tracks_of(root)[0]
    for number in range(3):
        assert np.array_equal(frames.read(track, number), read_frame(track, number))
    assert [record.getMessage() for record in caplog.records] == [
        f"data.cache: {folder}: could not be written (No space left on device); the frame is decoded each time"
    ]


def test_a_missing_picture_is_told_as_without_cache(root, folder):
    frames = FrameCache(tracks_of(root), folder, 1e9)
    track = tracks_of(root)[0]
    track.frames[2].unlink()
    with pytest.raises(UserError, match="expected a picture, it cannot be read"):
        frames.read(track, 2)


def test_memory_is_shared_and_the_last_one_clears_it(root, memory):
    data = DataConfig(name="penn_action", root=str(root), cache="ram")
    tracks = tracks_of(root)
    with kept_frames(tracks, data, Path("run")) as one:
        one.read(tracks[0], 0)
        with kept_frames(tracks, data, Path("run")) as two:
            (folder,) = memory.iterdir()
            assert len(entries(folder)) == 1 and folder.stat().st_mode & 0o777 == 0o700
            assert one.in_words() == two.in_words()
            with kept_frames(tracks, data, Path("other")):
                assert len(list(memory.iterdir())) == 2
            assert list(memory.iterdir()) == [folder]
        assert len(entries(folder)) == 1  # the first is still there
        assert np.array_equal(one.read(tracks[0], 0), read_frame(tracks[0], 0))
    assert list(memory.iterdir()) == []


def test_memory_of_a_killed_training_is_cleared_or_used(root, memory):
    data = DataConfig(name="penn_action", root=str(root), cache="ram")
    tracks = tracks_of(root)
    names = []
    for run in ("run", "other"):
        with kept_frames(tracks, data, Path(run)) as frames:
            frames.read(tracks[0], 0)
            (folder,) = memory.iterdir()
            names.append(folder.name)
            kept = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name in names:  # as it was while it ran
            (memory / name).mkdir(exist_ok=True)
            for file, content in kept.items():
                (memory / name / file).write_bytes(content)
    with kept_frames(tracks, data, Path("run")) as frames:
        assert [path.name for path in memory.iterdir()] == [names[0]]
        assert len(entries(memory / names[0])) == 1
    assert list(memory.iterdir()) == []


def test_what_the_key_may_be(root, tmp_path):
    tracks = tracks_of(root)
    (tmp_path / "file").write_text("")
    data = DataConfig(name="penn_action", root=str(root), cache=str(tmp_path / "file"))
    with (
        pytest.raises(UserError, match=r"data\.cache: expected none, ram or a folder, .*file cannot be made"),
        kept_frames(tracks, data, Path("run")),
    ):
        pass
    with kept_frames(tracks, replace(data, cache="none"), Path("run")) as frames:
        assert frames.in_words() == [] and np.array_equal(frames.read(tracks[0], 0), read_frame(tracks[0], 0))
    with pytest.raises(ValueError, match="cache_gb: expected more than 0, got 0"):
        DataConfig(name="penn_action", root=".", cache_gb=0.0)
