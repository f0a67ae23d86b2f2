"""Networks that refine the poses of others: trained on poses with errors, used behind a network that finds poses."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tiny_clips import tiny_config, with_train, write_penn

from rpstn_ext import models
from rpstn_training.chaining import Chain, pose_channels, with_poses
from rpstn_training.cli import main
from rpstn_training.codec import Codec, encode
from rpstn_training.config import (
    EvalConfig,
    HeatmapConfig,
    LossConfig,
    ModelConfig,
    from_dict,
    to_dict,
    to_yaml,
)
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train.engine import train

SMALL = {"backbone": "resnet18", "width": 8, "channels": 16}
SIZE = Codec(input_size=(64, 64), stride=4, sigma=2.0)


def config_for(root, output, name="posefix", **evaluation):
    config = with_train(tiny_config(root, output), epochs=1)
    refines = name == "posefix"
    return dataclasses.replace(
        config,
        model=ModelConfig(name=name, options=dict(SMALL)),
        loss=LossConfig(kind="integral" if refines else "squared"),
        heatmap=HeatmapConfig(decode="integral" if refines else "subpixel"),
        eval=EvalConfig(batch_size=4, select="test", **evaluation),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with clips, and a training of each kind."""
    folder = tmp_path_factory.mktemp("posefix")
    root = write_penn(folder / "penn")
    finder = train(config_for(root, folder / "finder", name="sbl"), show_progress=False)
    refiner = config_for(root, folder / "refiner", poses=str(finder))
    (folder / "refiner.yaml").write_text(to_yaml(refiner), encoding="utf-8")
    return folder, finder, train(refiner, show_progress=False)


def test_poses_are_drawn_about_the_joints_that_there_are():
    joints = torch.tensor([[[10.0, 20.0], [30.0, 5.0]]])
    drawn = pose_channels(joints, torch.tensor([[1.0, 0.0]]), SIZE)
    assert drawn.shape == (1, 2, 64, 64) and drawn[0, 1].abs().sum() == 0
    assert divmod(drawn[0, 0].argmax().item(), 64) == (20, 10)
    assert drawn.max() == pytest.approx(1 / 0.226, rel=1e-3)
    expected = drawn.max() * encode(joints[:, :1], (64, 64), sigma=7 / 4, stride=1)
    torch.testing.assert_close(drawn[:, :1], expected)


@pytest.mark.parametrize("finder", ["sbl", "rpstn"])
def test_a_chain_takes_clips_and_frames_alike(finder):
    torch.manual_seed(0)
    options = SMALL if finder == "sbl" else {"pose_initializer": "resnet18", "feature_extractor": "resnet18"}
    finds = models.build(finder, num_joints=5, **{"width": 8, "channels": 16, **options}).eval()
    refines = models.build("posefix", num_joints=5, **SMALL).eval()
    chain = Chain(finds, SIZE, refines, SIZE).eval()
    assert chain.temporal == finds.temporal and chain.stride == 4 and chain.in_channels == 3
    clip = torch.randn(2, 3, 3, 64, 64)
    with torch.inference_mode():
        maps = chain(clip)
        found, state = chain.start(clip[:, 0])
        frames = [found]
        for t in (1, 2):
            found, state = chain.step(clip[:, t], state)
            frames.append(found)
        poses, _ = SIZE.decode(models.last_stage(finds(clip)))
        by_hand = refines(with_poses(clip, poses, torch.ones(2, 3, 5), SIZE))
    torch.testing.assert_close(torch.stack(frames, dim=1), maps, atol=1e-5, rtol=0)
    torch.testing.assert_close(by_hand, maps, atol=1e-5, rtol=0)


def test_training_takes_errors_back(tmp_path):
    root = write_penn(tmp_path / "penn", train=2, test=1)
    finder = train(config_for(root, tmp_path / "finder", name="sbl"), show_progress=False)
    config = config_for(root, tmp_path / "run", poses=str(finder))
    best = train(with_train(config, epochs=8, milestones=(), eval_every=8), show_progress=False)
    rows = [json.loads(line) for line in (best.parent / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.92 * rows[0]["loss"] and rows[-1]["pck"] > rows[0]["pck"]


def test_a_training_is_scored_and_used_behind_the_network_that_finds(trained, capsys, tmp_path):
    folder, finder, refiner = trained
    scored = json.loads((refiner.parent / "eval.json").read_text())
    assert f"poses of {finder} refined" in scored["text"]
    out = tmp_path / "scores.json"
    command = ["eval", str(folder / "refiner.yaml"), "--weights", str(refiner), "--out", str(out)]
    assert main([*command, "--set", "eval.flip=true"]) == 0
    assert json.loads(out.read_text())["score"] is not None
    frames, joints = str(folder / "penn" / "frames" / "0004"), tmp_path / "joints"
    predict = ["predict", frames, "--weights", str(refiner), "--overlay", "none", "--out", str(joints)]
    predict += ["--whole-picture"]
    assert main([*predict, "--poses", str(finder)]) == 0
    info = json.loads((joints / "predictions.json").read_text())["info"]
    assert info["refined_poses_of"] == finder.name and info["model"] == "posefix"
    capsys.readouterr()
    assert main(predict) == 2
    assert "--poses: expected a checkpoint of a network that finds the poses" in capsys.readouterr().err


def test_a_stopped_training_goes_on_as_if_it_had_not(trained, tmp_path):
    folder, finder, _ = trained
    config = config_for(folder / "penn", tmp_path / "whole", poses=str(finder))
    whole = train(config, show_progress=False)
    part = dataclasses.replace(with_train(config, max_steps=2), output=str(tmp_path / "part"))
    train(part, show_progress=False)
    resumed = train(with_train(part, max_steps=None), resume=part.output, show_progress=False)
    first, second = (checkpoints.load(path.with_name("last.pt")).model_state for path in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_errors(trained, tmp_path):
    folder, finder, refiner = trained
    root = folder / "penn"
    cases = [
        (
            config_for(root, tmp_path / "a"),
            r"eval\.poses: expected a checkpoint of a network that finds .*, got none",
        ),
        (
            config_for(root, tmp_path / "b", poses="absent.pt"),
            "absent.pt: expected a file with weights, found none",
        ),
        (config_for(root, tmp_path / "c", poses=str(refiner)), "is of one that refines them"),
        (
            config_for(root, tmp_path / "d", name="sbl", poses=str(finder)),
            "expected none for a network that finds",
        ),
    ]
    wide = config_for(root, tmp_path / "e", poses=str(finder))
    wide = dataclasses.replace(wide, data=dataclasses.replace(wide.data, input_size=(96, 64)))
    cases.append((wide, r"an input of \[96, 64\] like the one that refines, .* has \[64, 64\]"))
    for config, words in cases:
        with pytest.raises(UserError, match=words):
            train(config, show_progress=False)
    for key, value in (("decode", "subpixel"), ("on_device", False)):
        plain = to_dict(config_for(root, tmp_path / "f"))
        plain["heatmap" if key == "decode" else "targets"][key] = value
        with pytest.raises(UserError, match=f"{key}: expected .* with loss.kind integral"):
            from_dict(plain, "here")
    assert np.isfinite(checkpoints.load(refiner).best_score)
