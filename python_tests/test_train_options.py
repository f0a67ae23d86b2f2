"""What a training may do beside its plain loop: each against its formula, and resumed as if it had never stopped."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import image_network
from test_engine import on_step, press_ctrl_c, require_equal_runs, steady_metrics
from tiny_clips import tiny_config, with_data, write_penn
from torch import nn

from rpstn_training.config import ModelConfig, TrainConfig
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train import engine, optimisers
from rpstn_training.train.average import WeightAverage
from rpstn_training.train.optimisers import Guard, learning_rate
from rpstn_training.train.run_folder import keep_last

SMALL_SBL = ModelConfig(name="sbl", options={"backbone": "resnet18", "width": 8, "channels": 16})


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"))


def test_all_together_stopped_and_resumed_equals_never_stopped(root, tmp_path, monkeypatch):
    options = {"optimiser": "adamw", "weight_decay": 0.01, "warmup_steps": 4, "ema": 0.9, "log_every": 1}
    options |= {"accumulate": 2, "batch_size": 4, "keep_every": 1, "keep_last": 1, "epochs": 3}
    whole, run = tmp_path / "whole", tmp_path / "run"
    config = replace(tiny_config(root, run, **options), model=SMALL_SBL)
    config = with_data(config, clip_length=1)
    engine.train(replace(config, output=str(whole)))
    on_step(monkeypatch, 5, press_ctrl_c)  # the first part of the third of six steps
    with pytest.raises(KeyboardInterrupt):
        engine.train(config)
    monkeypatch.undo()
    with open(run / "steps.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "epoch": 2}\n{"step": 5, "ep')  # as of a process that was killed later
    engine.train(config, resume=run)
    require_equal_runs(whole, run)
    averages = [checkpoints.load(path / "last.pt").training["average"] for path in (whole, run)]
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])
    assert (run / "steps.jsonl").read_text() == (whole / "steps.jsonl").read_text()
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 3),
        (6, 3),
    ]
    assert [line["learning_rate"] for line in lines][:4] == [5e-4, 1e-3, 1.5e-3, 2e-3]
    by_epoch = [(4 * lines[n]["loss"] + 2 * lines[n + 1]["loss"]) / 6 for n in (0, 2, 4)]  # of 4 clips and 2
    assert by_epoch == pytest.approx([row["loss"] for row in steady_metrics(run)], rel=1e-6)
    # What is kept and evaluated is the average.
    assert [path.name for path in run.glob("epoch_*")] == ["epoch_0003.pt"]
    kept = checkpoints.load(run / "epoch_0003.pt")
    assert kept.training is None and kept.origin == "those after epoch 3 of their training"
    assert all(torch.equal(kept.model_state[name], averages[0][name]) for name in averages[0])
    raw = checkpoints.load(run / "last.pt").model_state
    assert not torch.equal(raw["final_layer.weight"], averages[0]["final_layer.weight"])


def test_the_average_follows_its_formula():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average, expected = WeightAverage(model, 0.3), model[0].weight.detach().clone()
    for step in (1, 2, 3):
        with torch.no_grad():
            model[0].weight.add_(torch.randn(3, 2))
        model[1].num_batches_tracked += 1
        average.add(model, step)
        decay = (2 / 11, 3 / 12, 0.3)[step - 1]
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.model[0].weight, expected)
    assert average.model[1].num_batches_tracked == 3


@pytest.mark.parametrize("scale", [None, 2.0**16])
def test_float16_leaves_a_step_out_and_halves_its_scale(scale):
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{"params": [weight], "share": 1.0}], lr=1.0, fused=True)
    guard = Guard(optimizer, torch.device("cpu"), scaled=scale is not None)

    def step(number: int, factor: float, *, overflow: bool = False) -> float:
        weight.grad = None
        loss = (factor * weight).sum()
        guard.scaled(loss).backward()
        if overflow:
            weight.grad[0] = math.inf
        guard.watch(number, loss, guard.norm_of([weight.grad]))
        optimizer.step()
        return weight[0].item()

    assert step(1, 0.25) == 0.75  # whatever the scale
    assert step(2, 0.25, overflow=True) == 0.75
    assert guard.state() == ({} if scale is None else {"scale": scale / 2, "good": 0.0})
    if scale is None:
        assert guard.found()[:2] == (2, "gradient")
        return
    assert guard.found() is None and step(3, 0.25) == 0.5
    again = Guard(optimizer, torch.device("cpu"), scaled=True)
    again.restore({"scale": 1.0, "good": 1999.0})
    guard = again
    assert step(4, 0.25) == 0.25 and guard.state() == {"scale": 2.0, "good": 0.0}
    guard.restore({"scale": 2.0**-8, "good": 0.0})  # it is not the scale's fault then
    assert step(5, 0.25, overflow=True) == 0.25 and guard.found()[:2] == (5, "gradient")
    guard = Guard(optimizer, torch.device("cpu"), scaled=True)
    assert step(6, math.nan) == 0.25 and guard.found()[:2] == (6, "loss")


def test_a_training_in_float16(root, tmp_path):
    config = tiny_config(root, tmp_path / "run", precision="float16", max_steps=2, grad_clip=1e-3)
    config = with_data(replace(config, model=SMALL_SBL), clip_length=1)
    engine.train(config)
    kept = checkpoints.load(tmp_path / "run" / "last.pt")
    assert kept.training["loss_scale"]["scale"] in (2.0**16, 2.0**15, 2.0**14)
    # Two clipped steps: gradients are those of the loss, not of the scaled loss.
    moments = [slots["exp_avg"] for slots in kept.training["optimizer"]["state"].values()]
    assert 0 < torch.cat([moment.flatten() for moment in moments]).norm() <= 0.19e-3 * 1.0001
    assert all(value.isfinite().all() for value in kept.model_state.values())


def test_adamw_leaves_norms_and_biases_alone():
    model = image_network("vitpose_s")
    config = TrainConfig(optimiser="adamw", weight_decay=0.1)
    groups = optimisers.optimiser(model, config).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        idle = parameter.ndim == 1 or "pos_embed" in name
        assert decays[id(parameter)] == (0.0 if idle else 0.1), name
    assert len(decays) == len(list(model.parameters()))
    plain = optimisers.optimiser(model, TrainConfig(weight_decay=0.1)).param_groups
    assert [group["weight_decay"] for group in plain] == [0.1]


def test_a_layer_of_a_transformer_has_a_share_of_the_next_ones_rate():
    model = image_network("vitpose_s")
    optimizer = optimisers.optimiser(model, TrainConfig(layer_decay=0.5))
    optimisers.set_rate(optimizer, 8.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates["backbone.last_norm.weight"] == rates["final_layer.weight"] == 8.0
    assert rates["backbone.blocks.11.mlp.fc1.weight"] == 4.0
    assert rates["backbone.blocks.0.norm1.bias"] == 8.0 * 0.5**12
    assert rates["backbone.patch_embed.proj.weight"] == rates["backbone.pos_embed"] == 8.0 * 0.5**13
    with pytest.raises(UserError, match=r"train\.layer_decay: expected 1\.0 .* without a vision transformer"):
        optimisers.optimiser(image_network(), TrainConfig(layer_decay=0.5))


def test_rates_of_other_batches_and_first_steps():
    values = {"batch_size": 32, "learning_rate": 1.0, "milestones": (2,), "gamma": 0.1}
    assert learning_rate(TrainConfig(**values), 0, 0) == 1.0
    linear = TrainConfig(**values, rate_rule="linear", base_batch=8, warmup_steps=4)
    assert [learning_rate(linear, 0, step) for step in (0, 1, 2, 3, 4)] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert learning_rate(linear, 2, 100) == pytest.approx(0.4)
    assert learning_rate(replace(linear, rate_rule="sqrt"), 0, 9) == 2.0
    for wrong in ({"rate_rule": "sqrt"}, {"base_batch": 8}):
        with pytest.raises(ValueError, match="base_batch: expected a number of clips with a rate_rule"):
            TrainConfig(**wrong)


def test_of_the_kept_files_the_newest_stay(tmp_path):
    for epoch in (2, 4, 9998, 10000):
        (tmp_path / f"epoch_{epoch:04d}.pt").touch()
    keep_last(tmp_path, None)
    assert len(list(tmp_path.iterdir())) == 4
    keep_last(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_10000.pt", "epoch_9998.pt"]


def test_a_killed_trainings_half_written_file_does_not_stand_in_the_way(root, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".last.pt.0a1b2c3d.tmp").write_bytes(b"half")
    engine.train(with_data(replace(tiny_config(root, run, max_steps=1), model=SMALL_SBL), clip_length=1))
    assert not list(run.glob(".*"))
