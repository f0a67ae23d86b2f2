"""The benchmark of loading: that its checks notice what is wrong, and that it runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rpstn_training.config import DataConfig
from rpstn_training.data.sets.penn_action import SKELETON

data = pytest.importorskip("benchmarks.data", reason="started outside the repository root")

CONFIG = DataConfig(name="penn_action", root=".", clips_per_epoch=8)
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", list(data.CONTENDERS))
def test_pictures_and_joints_of_every_contender_agree(name):
    assert data.largest_error(data.CONTENDERS[name], SKELETON, CONFIG, clips=6) < data.LARGEST_ERROR[name]


@pytest.mark.parametrize("name", ["plain", "ours"])
@pytest.mark.parametrize("moved", [(3.0, 0.0), (0.0, -3.0)])
def test_joints_that_are_moved_are_noticed(name, moved):
    class Moved(torch.utils.data.Dataset):
        def __init__(self, *arguments):
            self.clips = data.CONTENDERS[name](*arguments)

        def __getitem__(self, index):
            sample = self.clips[index]
            return {**sample, "joints": sample["joints"] + torch.tensor(moved)}

    assert data.largest_error(Moved, SKELETON, CONFIG, clips=2) > data.LARGEST_ERROR[name]


def test_a_run_prints_and_writes_its_numbers(tmp_path):
    out = tmp_path / "data.jsonl"
    command = [sys.executable, "-m", "benchmarks.data", "--rounds", "2", "--device", "cpu", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["contender"] for line in lines] == [
        "plain",
        "ours, maps sent",
        "ours, frames kept",
        "ours",
        "maps sent",
        "from joints",
    ]
    assert all(line["clips_per_second"] > 0 and line["commit"] and line["date"] for line in lines)
    assert "times the plain pipeline's, bar 3" in done.stdout
