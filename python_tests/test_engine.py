"""Training: what a run leaves behind, and that stopping, failing and resuming lose nothing."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_clips import tiny_config, with_data, with_train, write_penn

from rpstn_training import files
from rpstn_training.config import HeatmapConfig, LossConfig, ModelConfig, TargetsConfig, load_config, to_yaml
from rpstn_training.data.clips import TrainClips
from rpstn_training.device import precision_of
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train import engine
from rpstn_training.train.losses import joint_loss


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"))


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory) -> Path:
    """A run of two epochs of three steps that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    engine.train(tiny_config(root, run))
    return run


def state_of(run: Path) -> dict[str, torch.Tensor]:
    """Every tensor that a continued training depends on, by name."""
    checkpoint = checkpoints.load(run / "last.pt")
    tensors = {f"model {name}": value for name, value in checkpoint.model_state.items()}
    for number, slots in checkpoint.training["optimizer"]["state"].items():
        tensors |= {f"optimizer {number} {name}": value for name, value in slots.items()}
    tensors["random"] = checkpoint.training["random"]["cpu"]
    return tensors


def require_equal_runs(first: Path, second: Path) -> None:
    a, b = state_of(first), state_of(second)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert steady_metrics(first) == steady_metrics(second)


def steady_metrics(run: Path) -> list[dict]:
    """The lines of metrics.jsonl without what a clock measured."""
    clocks = ("seconds", "clips_per_second", "data_share")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in clocks} for row in rows]


def on_step(monkeypatch, number: int, action) -> None:
    """Let `action(loss)` take the place of the loss in step `number`, counted from 1 over all epochs."""
    steps = 0

    def patched(*args, **options):
        nonlocal steps
        steps += 1
        loss = joint_loss(*args, **options)
        return action(loss) if steps == number else loss

    monkeypatch.setattr(engine, "joint_loss", patched)


def press_ctrl_c(loss):
    signal.raise_signal(signal.SIGINT)
    return loss


def die_at_once(loss):
    raise KeyboardInterrupt


def test_run_leaves_its_files_and_learns(root, tmp_path):
    run = tmp_path / "run"
    best = engine.train(tiny_config(root, run, epochs=6, milestones=(), learning_rate=5e-3))
    assert best == run / "best.pt"
    assert sorted(p.name for p in run.iterdir()) == [
        "best.pt",
        "config.yaml",
        "eval.json",
        "last.pt",
        "metrics.jsonl",
    ]
    rows = steady_metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows] == [3, 6, 9, 12, 15, 18]
    assert rows[-1]["loss"] < 0.85 * rows[0]["loss"]
    assert max(row["score"] for row in rows) == checkpoints.load(best).best_score
    assert json.loads((run / "eval.json").read_text())["score"] == checkpoints.load(best).best_score


def test_another_seed_gives_other_weights(root, whole, tmp_path):
    """The comparison of runs below can fail."""
    engine.train(replace(tiny_config(root, tmp_path / "run"), seed=4))
    with pytest.raises(AssertionError):
        require_equal_runs(whole, tmp_path / "run")


@pytest.mark.parametrize(
    ("step", "action", "saved_step"),
    [
        (2, press_ctrl_c, 2),  # in the middle of the first epoch
        (3, press_ctrl_c, 3),  # in its last step: the epoch is not scored yet
        (4, press_ctrl_c, 4),
        (5, die_at_once, 3),  # nothing could be saved: the end of the first epoch is
        (2, die_at_once, 0),
    ],
)
def test_interrupted_and_resumed_equals_never_stopped(
    root, whole, tmp_path, monkeypatch, step, action, saved_step
):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    on_step(monkeypatch, step, action)
    with pytest.raises(KeyboardInterrupt):
        engine.train(config)
    assert checkpoints.load(run / "last.pt").step == saved_step
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    engine.train(config, resume=run)
    require_equal_runs(whole, run)


def test_ctrl_c_during_evaluation_keeps_the_epoch(root, whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    monkeypatch.setattr(engine, "evaluate", lambda *args, **options: die_at_once(None))
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        engine.train(config)
    assert checkpoints.load(run / "last.pt").step == 3
    monkeypatch.undo()
    engine.train(config, resume=run)
    require_equal_runs(whole, run)


def test_max_steps_stops_in_the_epoch_and_more_steps_continue_it(root, whole, tmp_path):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    assert engine.train(with_train(config, max_steps=4)) == run / "best.pt"  # of the first epoch
    assert checkpoints.load(run / "last.pt").step == 4
    engine.train(config, resume=run)
    require_equal_runs(whole, run)


def test_a_run_that_stops_within_its_first_epoch_has_a_score(root, whole, tmp_path):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    assert engine.train(with_train(config, max_steps=2)) == run / "best.pt"
    assert checkpoints.load(run / "best.pt").step == 2
    found = json.loads((run / "eval.json").read_text())
    assert 0 <= found["score"] <= 1 and (run / "metrics.jsonl").read_text() == ""
    engine.train(config, resume=run)
    require_equal_runs(whole, run)


def test_a_run_in_use_is_refused(root, whole, tmp_path, monkeypatch):
    """A second training finds the folder while the first one is in its second step."""
    run, refused = tmp_path / "run", []
    config = tiny_config(root, run)

    def intrude(loss):
        for resume in (None, run):
            command = [sys.executable, "-c", INTRUDER, str(tmp_path / "config.yaml"), str(resume or "")]
            refused.append(subprocess.run(command, capture_output=True, text=True).stderr)
        return loss

    (tmp_path / "config.yaml").write_text(to_yaml(config))
    on_step(monkeypatch, 2, intrude)
    engine.train(config)
    new, resumed = refused
    assert "expected a new or empty run folder, found" in new
    assert "expected a folder that no other process uses, another rpstn train holds it" in resumed
    assert files.LOCK not in {path.name for path in run.iterdir()}
    require_equal_runs(whole, run)


INTRUDER = """
import sys
from rpstn_training.cli import main
sys.exit(main(["train", sys.argv[1], *(["--resume", sys.argv[2]] if sys.argv[2] else [])]))
"""


def test_a_lock_of_a_process_that_died_holds_nobody(tmp_path):
    (tmp_path / files.LOCK).write_text("")
    with files.locked(tmp_path):
        assert (tmp_path / files.LOCK).exists()
        with pytest.raises(UserError, match="another rpstn train holds it"), files.locked(tmp_path):
            pass
    assert not (tmp_path / files.LOCK).exists()


def test_a_gpu_is_waited_for_once_per_refresh(root, whole, tmp_path, monkeypatch):
    """With looks at the sums as rare as on a GPU: one at the end of each epoch, and the run is the same."""
    looks = []
    found = engine.Guard.found
    monkeypatch.setattr(engine.Guard, "found", lambda guard: looks.append(1) or found(guard))
    monkeypatch.setattr(engine, "_is_due", lambda device, seconds: False)
    engine.train(tiny_config(root, tmp_path / "run"))
    assert len(looks) == 2
    require_equal_runs(whole, tmp_path / "run")


def test_a_bad_step_that_is_noticed_late_has_moved_nothing(root, tmp_path, monkeypatch):
    run, kept, built = tmp_path / "run", {}, []
    build = engine.build_network
    monkeypatch.setattr(engine, "build_network", lambda *args: built.append(build(*args)) or built[0])
    monkeypatch.setattr(engine, "_is_due", lambda device, seconds: False)

    def spoil(loss):
        kept.update({name: value.clone() for name, value in built[0].named_parameters()})
        return loss * math.nan

    on_step(monkeypatch, 4, spoil)  # the first step of the second epoch, noticed after its third
    with pytest.raises(UserError, match=r"finite loss, got nan in epoch 2, step 4, with 000\d frames"):
        engine.train(tiny_config(root, run))
    assert all(torch.equal(value, kept[name]) for name, value in built[0].named_parameters())


def test_tf32_is_off_unless_it_is_asked_for(root, tmp_path, monkeypatch):
    seen = []

    def look(loss):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return loss

    for wanted in (False, True):
        on_step(monkeypatch, 1, look)
        config = tiny_config(root, tmp_path / str(wanted), epochs=1, tf32=wanted)
        engine.train(config)
        assert (
            json.loads((tmp_path / str(wanted) / "eval.json").read_text())["config"]["train"]["tf32"]
            is wanted
        )
    assert seen == [(False, False), (True, True)]
    assert precision_of("float32", True, torch.device("cuda")) == "float32, float32 products in TF32"
    assert precision_of("float32", False, torch.device("cuda")) == "float32"


def test_keys_of_the_evaluation_may_change_and_the_best_is_looked_for_anew(root, tmp_path, capsys):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    engine.train(with_train(config, epochs=1))
    first = checkpoints.load(run / "best.pt").best_score
    capsys.readouterr()
    averages = {"flip": True, "flip_shift": False, "scales": (0.9, 1.0)}
    strict = replace(config, eval=replace(config.eval, gamma=0.01, **averages))
    engine.train(strict, resume=run)
    said = capsys.readouterr().out
    for change in (
        "gamma: 0.2 -> 0.01",
        "flip: False -> True",
        "flip_shift: True -> False",
        "scales: [1.0] -> [0.",
    ):
        assert f"eval.{change}" in said
    assert "scores so far went by other rules" in said
    best = checkpoints.load(run / "best.pt")
    assert best.epoch == 2 and best.best_score < first


def test_resume_adds_epochs_and_says_when_nothing_is_left(root, whole, tmp_path, capsys):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    engine.train(with_train(config, epochs=1))
    engine.train(config, resume=run)
    require_equal_runs(whole, run)
    before = (run / "last.pt").read_bytes()
    capsys.readouterr()
    engine.train(config, resume=run)
    assert "nothing left to train, 2 of 2 epochs are done (train.epochs)" in capsys.readouterr().out
    assert (run / "last.pt").read_bytes() == before


def test_patience_ends_a_run_that_gets_no_better(root, tmp_path, capsys):
    run = tmp_path / "run"
    config = tiny_config(root, run, epochs=9, learning_rate=1e-12, patience=2)
    engine.train(config)
    rows = steady_metrics(run)
    assert len(rows) < 9
    assert "2 evaluations brought no better score" in capsys.readouterr().out


def test_workers_do_not_change_the_result(root, whole, tmp_path):
    engine.train(with_data(tiny_config(root, tmp_path / "run"), workers=2))
    require_equal_runs(whole, tmp_path / "run")


@pytest.mark.parametrize(
    ("what", "action"),
    [("loss", lambda loss: loss * math.nan), ("gradient", lambda loss: (loss * 0).sqrt())],
)
def test_non_finite_step_stops_before_the_optimiser_moves(root, tmp_path, monkeypatch, what, action):
    run = tmp_path / "run"
    built = []
    build = engine.build_network
    monkeypatch.setattr(engine, "build_network", lambda *args: built.append(build(*args)) or built[0])
    kept = {}

    def spoil(loss):
        kept.update({name: value.clone() for name, value in built[0].named_parameters()})
        return action(loss)

    on_step(monkeypatch, 5, spoil)
    with pytest.raises(
        UserError, match=rf"finite {what}, got nan in epoch 2, step 5, with 000\d frames"
    ) as caught:
        engine.train(tiny_config(root, run))
    assert str(caught.value).count("frames") == 3  # two clips, and how they are counted
    assert kept
    assert all(torch.equal(value, kept[name]) for name, value in built[0].named_parameters())
    assert checkpoints.load(run / "last.pt").step == 3


def test_full_disk_keeps_the_checkpoint_before(root, whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = tiny_config(root, run)
    engine.train(with_train(config, epochs=1))
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    on_step(monkeypatch, 2, press_ctrl_c)  # the checkpoint of Ctrl-C is the one that does not fit
    with pytest.raises(UserError, match="No space left on device"):
        engine.train(config, resume=run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    monkeypatch.undo()
    engine.train(config, resume=run)
    require_equal_runs(whole, run)


def test_a_run_is_not_overwritten(root, whole):
    with pytest.raises(UserError, match=r"expected a new or empty run folder, found best\.pt.*--resume"):
        engine.train(tiny_config(root, whole))


def test_resume_with_another_configuration_names_the_key(root, whole):
    config = tiny_config(root, whole)
    changed = replace(config, heatmap=HeatmapConfig(sigma=1.0))
    with pytest.raises(UserError, match=r"heatmap\.sigma: 2\.0 -> 1\.0"):
        engine.train(changed, resume=whole)
    with pytest.raises(UserError, match="expected a run folder to resume, found none"):
        engine.train(config, resume=whole / "absent")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelConfig(name="rpstm"), "model.name: expected one of rpstn, dkd, sbl, .*, got rpstm"),
        (
            ModelConfig(options={"bad": 1}),
            r"model\.options\.bad: expected an option of the model rpstn, it has pose",
        ),
        (ModelConfig(options={"width": "8"}), r"model\.options\.width: expected a whole number, got '8'"),
        (
            ModelConfig(options={"relation": True}),
            r"model\.options\.relation: expected one of jre, none, .*, got True",
        ),
        (
            ModelConfig(options={"relation": "displacment"}),
            r"model\.options\.relation: expected one of .*, got 'displacment'; did you mean displacement\?",
        ),
        (
            ModelConfig(options={"pose_initializer": {"backbone": "resnet18", "weight": "a.pth"}}),
            r"model\.options\.pose_initializer: expected a word, or a section with backbone and weights or null, got",
        ),
    ],
)
def test_model_that_cannot_be_built(root, tmp_path, model, message):
    with pytest.raises(UserError, match=message):
        engine.train(replace(tiny_config(root, tmp_path / "run"), model=model))
    assert not (tmp_path / "run").exists()


def test_single_frames_half_precision_and_clipped_gradients(root, tmp_path):
    config = tiny_config(root, tmp_path / "run", max_steps=2, precision="bfloat16", grad_clip=1e-3)
    config = with_data(config, clip_length=1)
    model = ModelConfig(name="sbl", options={"backbone": "resnet18", "width": 8, "channels": 16})
    assert engine.train(replace(config, model=model)) == tmp_path / "run" / "best.pt"
    checkpoint = checkpoints.load(tmp_path / "run" / "last.pt")
    assert checkpoint.step == 2
    # Adam's first moment after two clipped steps: below 1 - 0.9^2 times the largest gradient allowed.
    moments = [slots["exp_avg"] for slots in checkpoint.training["optimizer"]["state"].values()]
    assert 0 < torch.cat([moment.flatten() for moment in moments]).norm() <= 0.19e-3 * 1.0001


def test_learning_rate_is_multi_step_lr(root, tmp_path):
    config = tiny_config(root, tmp_path, milestones=(2, 3, 7), epochs=9)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=config.train.learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, config.train.milestones, config.train.gamma)
    for epoch in range(config.train.epochs):
        assert engine.learning_rate(config.train, epoch, 0) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-12
        )
        optimizer.step()
        schedule.step()


def test_tensorboard_missing_is_said_plainly(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        engine.train(tiny_config(root, tmp_path / "run", tensorboard=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_targets_from_workers_train_alike(root, whole, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(engine, "joint_loss", None)  # the targets that arrive are the ones that are used
    config = with_data(tiny_config(root, tmp_path / "run"), workers=workers)
    engine.train(replace(config, targets=TargetsConfig(on_device=False)))
    sent, built = ([row["loss"] for row in steady_metrics(run)] for run in (tmp_path / "run", whole))
    assert sent[0] == pytest.approx(built[0], rel=1e-4)
    assert sent[1] == pytest.approx(built[1], rel=1e-2)  # Adam makes much of last bits


def test_the_share_of_waiting_for_data_is_measured_and_printed(root, tmp_path, monkeypatch, capsys):
    make = TrainClips.__getitem__

    def slowly(clips, index):
        time.sleep(0.6)
        return make(clips, index)

    monkeypatch.setattr(TrainClips, "__getitem__", slowly)
    engine.train(tiny_config(root, tmp_path / "run", epochs=1))
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    waited = row["data_share"] * row["seconds"]
    assert 6 * 0.6 < waited < row["seconds"]
    assert f"  waiting for data {100 * row['data_share']:.0f}%  " in capsys.readouterr().out


def test_the_real_clip_takes_a_few_steps(shared, tmp_path):
    path = Path(__file__).parents[1] / "training" / "configs" / "sub_jhmdb_one_clip.yaml"
    changes = ["train.max_steps=3", "data.clips_per_epoch=6", "train.batch_size=2", "data.workers=0"]
    changes += [f"data.root={shared / 'samples' / 'jhmdb'}", f"output={tmp_path / 'run'}"]
    best = engine.train(load_config(path, changes))
    row = steady_metrics(tmp_path / "run")[0]
    assert best == tmp_path / "run" / "best.pt"
    assert row["step"] == 3
    assert 0 <= row["score"] <= 1


@pytest.mark.parametrize("visibility", [True, False])
def test_occluded_joints_are_trained_on_where_asked(root, tmp_path, monkeypatch, visibility):
    seen = []

    def patched(heatmaps, joints, weights, **options):
        seen.append(weights)
        return joint_loss(heatmaps, joints, weights, **options)

    monkeypatch.setattr(engine, "joint_loss", patched)
    config = replace(tiny_config(root, tmp_path / "run", epochs=1), loss=LossConfig(visibility=visibility))
    engine.train(config)
    wrists = torch.cat(
        [weights[..., 5:7].flatten() for weights in seen]
    )  # one is hidden in every second frame
    assert bool((wrists == 0).any()) == visibility


def test_a_batch_that_no_network_can_be_trained_on_is_said(root, tmp_path):
    """Four halvings of 16 cells leave one; a batch of one clip then has nothing to normalise by."""
    config = tiny_config(root, tmp_path / "run", batch_size=1)
    config = replace(config, model=replace(config.model, options={**config.model.options, "num_convs": 4}))
    with pytest.raises(
        UserError, match=r"clips that rpstn can be trained on, got 1 of 64x64 pixels \(Expected more"
    ):
        engine.train(config)
