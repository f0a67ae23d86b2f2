"""Files that are written whole or not at all."""

import errno
import json
import os
import pickle
import resource
import stat
import sys
from contextlib import contextmanager

import pytest
import torch

from rpstn_training.errors import UserError
from rpstn_training.files import atomic_write, write_json, write_text


@contextmanager
def largest_file(size):
    """A disk that is full after `size` bytes: writing further fails with an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_finished_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "runs" / "scores.json"
    write_json(path, {"score": None})
    write_json(path, {"score": 0.5})
    assert json.loads(path.read_text()) == {"score": 0.5}
    assert os.listdir(path.parent) == ["scores.json"]


def test_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), KeyboardInterrupt(), FileNotFoundError(2, "gone", "other.mat")]
)
def test_an_exception_keeps_the_old_file_and_stays_itself(tmp_path, error):
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_write(path) as file:
        file.write(b"half of the new")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_full_disk_under_torch_save_is_one_sentence_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with pytest.raises(UserError) as caught, largest_file(4096), atomic_write(path) as file:
        torch.save({"weights": torch.zeros(10_000)}, file)
    assert str(caught.value).startswith(f"{path}: could not be written ({os.strerror(errno.EFBIG)})")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_disk_that_fills_up_at_the_end_counts_too(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_text(tmp_path / "a.txt", "text")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        write_text(tmp_path / "file" / "below" / "a.txt", "text")


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert os.listdir(tmp_path) == []


def test_the_sentence_survives_pickling_and_the_workers_traceback():
    error = UserError("frames/000001.jpg: expected a picture")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    retold = 'Caught UserError in DataLoader worker process 0.\nOriginal Traceback:\n  File "x"\n'
    assert str(UserError(f"{retold}rpstn_training.errors.UserError: {error}\n")) == str(error)
