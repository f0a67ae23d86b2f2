"""Training by two processes, over gloo: the same training as by one. In float64, where rounding hides nothing."""

import contextlib
import datetime
import importlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from teams import DIED, Team, end_session
from test_engine import require_equal_runs, state_of, steady_metrics
from tiny_clips import SMALL_MODEL, tiny_config, with_data, with_train, write_penn
from torch import nn

from rpstn_training import files
from rpstn_training.config import Config, ModelConfig, to_yaml
from rpstn_training.data.clips import TrainClips
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train import engine
from rpstn_training.train import ranks as rank_parts
from rpstn_training.train.losses import joint_loss
from rpstn_training.train.ranks import Ranks

LIMIT = 180  # seconds until a test gives up on processes
PATIENCE = datetime.timedelta(seconds=90)  # of processes with each other


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"), test=3)


@pytest.fixture(scope="module")
def pair():
    """Two processes, each of which does one thing after the other."""
    with Team(2, limit=LIMIT) as team:
        yield team


@pytest.fixture(scope="module")
def alone(pair, root, tmp_path_factory) -> Path:
    """The run of one process that others are measured against."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert train(pair, in_parts(root, run), world=1) == [f"{run / 'best.pt'}"]
    return run


@pytest.fixture(scope="module")
def short(pair, root, tmp_path_factory) -> Path:
    """Two steps of one process."""
    run = tmp_path_factory.mktemp("short") / "run"
    train(pair, uneven(root, run, max_steps=2), world=1)
    return run


def uneven(root: Path, output: Path, **changes: object) -> Config:
    """20 steps of 3, 3 and 1 clips: of the last clip one of two processes has nothing. JRE with its norm; some joints
    are hidden, or out of the crop.
    """
    config = tiny_config(
        root, output, **{"epochs": 7, "max_steps": 20, "batch_size": 3, "eval_every": 2, **changes}
    )
    options = {**SMALL_MODEL, "relation": "jre", "relation_start": "random", "num_convs": 3}
    return with_data(replace(config, model=ModelConfig(options=options)), clips_per_epoch=7)


def in_parts(root: Path, output: Path, **changes: object) -> Config:
    """20 steps of 5 and 2 clips in two parts each: of two processes the second has 1 and 1 clip, then none and none."""
    return uneven(
        root, output, **{"epochs": 10, "batch_size": 5, "accumulate": 2, "eval_every": 5, **changes}
    )


def train(
    pair: Team,
    config: Config,
    *,
    world: int = 2,
    resume: Path | None = None,
    double: bool = True,
    patch: str = "",
    victims: tuple[int, ...] = (),
    moment: int = 0,
) -> list[str]:
    """Train by so many processes; what each has to say: its best checkpoint, or what it ended with.

    victims: ranks that are killed at a moment, as `at_moment` counts them; several at the same loss.
    """
    store = meeting_place()
    deaths = [(moment, len(victims) == 1) if rank in victims else None for rank in range(world)]
    each = [(rank, world, store.port, config, resume, double, patch, deaths[rank]) for rank in range(world)]
    return pair.run(job, each, may_die=bool(victims))


def meeting_place() -> dist.TCPStore:
    """As torchrun has one."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@contextlib.contextmanager
def as_rank(rank: int, world: int, port: int) -> Iterator[pytest.MonkeyPatch]:
    """This process as torchrun starts it."""
    torch.set_num_threads(1)
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    environment |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in {**environment, "MASTER_ADDR": "127.0.0.1"}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(rank_parts, "_PATIENCE", PATIENCE)
        yield monkeypatch


def job(
    rank: int,
    world: int,
    port: int,
    config: Config,
    resume: Path | None,
    double: bool,
    patch: str,
    death: tuple[int, bool] | None,
) -> str:
    """In one of the processes."""
    with as_rank(rank, world, port) as monkeypatch:
        if double:
            make = TrainClips.__getitem__
            monkeypatch.setattr(TrainClips, "__getitem__", lambda clips, index: in_double(make(clips, index)))
            torch.set_default_dtype(torch.float64)
        if patch:
            PATCHES[patch](monkeypatch, rank)
        if death is not None:
            at_moment(monkeypatch, *death, lambda: os.kill(os.getpid(), signal.SIGKILL))
        try:
            return str(engine.train(config, resume, show_progress=False))
        except (UserError, KeyboardInterrupt, SystemExit) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            torch.set_default_dtype(torch.float32)


def in_double(sample: dict) -> dict:
    return {
        name: value.double() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value
        for name, value in sample.items()
    }


def on_step_of_rank_1(monkeypatch, rank: int, number: int, action) -> None:
    steps = 0

    def patched(*args, **options):
        nonlocal steps
        steps += 1
        loss = joint_loss(*args, **options)
        return action(loss) if rank == 1 and steps == number else loss

    monkeypatch.setattr(engine, "joint_loss", patched)


def at_moment(monkeypatch, number: int, with_files: bool, action) -> None:
    """Moments, counted from 1: each part's loss, and each file that is written but not yet in its place."""
    passed = 0

    def counted(call):
        def patched(*args, **options):
            nonlocal passed
            passed += 1
            if passed == number:
                action()
            return call(*args, **options)

        return patched

    monkeypatch.setattr(engine, "joint_loss", counted(joint_loss))
    if with_files:
        monkeypatch.setattr(files.os, "replace", counted(os.replace))


def press_ctrl_c(loss):
    signal.raise_signal(signal.SIGINT)
    return loss


def own_normaliser(monkeypatch, rank: int) -> None:
    def patched(heatmaps, joints, weights, *, codec, visible, normaliser):
        return joint_loss(heatmaps, joints, weights, codec=codec)

    monkeypatch.setattr(engine, "joint_loss", patched)


def same_part(monkeypatch, rank: int) -> None:
    batches = engine.Batches
    monkeypatch.setattr(engine, "Batches", lambda *args, part: batches(*args, part=(0, part[1])))


def frozen(monkeypatch, rank: int) -> None:
    """Normalisations by their running statistics, in training as well: then a part of a batch is like the whole."""
    monkeypatch.setattr(nn.BatchNorm2d, "train", lambda norm, mode=True: nn.Module.train(norm, False))


# Faults, and what a user may do, that a process begins with; each must be there in a process of its own.
PATCHES = {
    "gradients averaged": lambda patch, rank: patch.setattr(Ranks, "summed", lambda ranks, loss: loss),
    "norms of each rank": lambda patch, rank: patch.setattr(rank_parts, "_synchronise", lambda model: None),
    "normaliser of each rank": own_normaliser,
    "clips left out": same_part,
    "norms frozen": frozen,
    "ctrl-c": lambda patch, rank: on_step_of_rank_1(patch, rank, 4, press_ctrl_c),
    "not finite": lambda patch, rank: on_step_of_rank_1(patch, rank, 5, lambda loss: loss * float("nan")),
}


FAULTS = ("gradients averaged", "norms of each rank", "normaliser of each rank", "clips left out")


def difference(first: Path, second: Path) -> float:
    """The largest between weights, statistics and moments of two runs, as a share of each tensor's largest number."""
    a, b = state_of(first), state_of(second)
    assert a.keys() == b.keys()
    shares = [
        float((a[name] - b[name]).abs().max() / a[name].abs().max().clamp(min=1e-8))
        for name in a
        if a[name].is_floating_point()
    ]
    assert all(
        torch.equal(a[name], b[name]) for name in a if not a[name].is_floating_point() and name != "random"
    )
    return max(shares)


def require_same_training(run: Path, alone: Path) -> None:
    assert difference(run, alone) < 1e-6
    rows, expected = steady_metrics(run), steady_metrics(alone)
    assert [row.pop("loss") for row in rows] == pytest.approx([row.pop("loss") for row in expected], rel=1e-9)
    assert rows == expected  # scores, and hits of every epoch, exactly
    kept = [json.loads((path / "eval.json").read_text()) for path in (run, alone)]
    assert kept[0]["chosen_score"] == kept[1]["chosen_score"] and kept[0]["pck"] == kept[1]["pck"]


def test_two_processes_train_as_one(pair, root, alone, tmp_path):
    run = tmp_path / "run"
    assert train(pair, in_parts(root, run)) == [f"{run / 'best.pt'}"] * 2
    assert checkpoints.load(run / "last.pt").step == 20
    assert len(steady_metrics(run)) == 10 and sum("score" in row for row in steady_metrics(run)) == 2
    require_same_training(run, alone)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in alone.iterdir())


def test_parts_make_the_step_of_the_whole_batch(pair, root, tmp_path):
    """But for the statistics of normalisations, which are those of a part."""
    ways = {"whole": (1, 1), "parts": (1, 3), "parts of two": (2, 2)}
    for name, (world, parts) in ways.items():
        config = in_parts(root, tmp_path / name, max_steps=4, accumulate=parts)
        train(pair, config, world=world, patch="norms frozen")
    for name in ("parts", "parts of two"):
        require_same_training(tmp_path / name, tmp_path / "whole")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_would_be_seen(pair, root, short, tmp_path, fault):
    run = tmp_path / "run"
    train(pair, uneven(root, run, max_steps=2), patch=fault)
    assert difference(run, short) > 1e-3


def test_a_run_goes_on_with_another_number_of_processes(pair, root, alone, tmp_path):
    run = tmp_path / "run"
    config, best = in_parts(root, run), f"{run / 'best.pt'}"
    assert train(pair, with_train(config, max_steps=11)) == [best] * 2
    assert train(pair, with_train(config, max_steps=13), world=1, resume=run) == [best]
    assert train(pair, config, resume=run) == [best] * 2
    require_same_training(run, alone)


TRIES = int(os.environ.get("RPSTN_KILLED", "3"))  # docs/many_gpus.md tells of more


def test_killed_and_resumed_equals_never_killed(pair, root, tmp_path):
    """SIGKILL at one process, or both, at random moments; resumed by two with data workers or by one."""
    whole, draw = tmp_path / "whole", random.Random(5)
    options = {"epochs": 2, "max_steps": 4, "eval_every": 1, "log_every": 1}
    train(pair, with_data(in_parts(root, whole, **options), clip_length=2))
    for attempt in range(TRIES):
        run, victims = tmp_path / str(attempt), ((0,), (1,), (0, 1))[attempt % 3]
        last = 18 if victims == (0,) else 8  # losses, and files, which the first process alone writes
        config = with_data(in_parts(root, run, **options), clip_length=2)
        said = train(pair, config, victims=victims, moment=draw.randint(1, last))
        assert DIED in said
        for rank, ended in enumerate(said):  # of two victims one may see the other die first
            told = ended.startswith(
                "UserError: train: expected 2 processes until the end, one of them is gone"
            )
            assert ended == DIED if victims == (rank,) else told or (rank in victims and ended == DIED), said
        world = 1 + draw.randrange(2)
        config = with_data(config, workers=draw.randrange(2))
        train(pair, config, world=world, resume=run if (run / "last.pt").exists() else None)
        print(
            attempt,
            victims,
            said.count(DIED),
            "died; resumed by",
            world,
            "difference",
            difference(run, whole),
        )
        if world == 2:
            require_equal_runs(whole, run)
        else:
            require_same_training(run, whole)
        assert len((run / "steps.jsonl").read_text().splitlines()) == 4
        assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_stopped_and_resumed_by_two_equals_never_stopped(pair, root, tmp_path):
    """Ctrl-C at one process stops both after the same step; one of them says so. In float32, bit for bit."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    config = uneven(root, run, max_steps=7)
    train(pair, replace(config, output=str(whole)), double=False)
    said = sorted(train(pair, config, double=False, patch="ctrl-c"))
    assert said[0].startswith("KeyboardInterrupt: stopped after step 4; continue with: ")
    assert said[0].endswith(f"rpstn train {run / 'config.yaml'} --resume {run}")
    assert said[1] == "SystemExit: 130"
    assert checkpoints.load(run / "last.pt").step == 4
    train(pair, config, resume=run, double=False)
    require_equal_runs(whole, run)


def test_a_step_that_is_not_finite_stops_all_before_they_move(pair, root, tmp_path):
    """It is met by the second process, in the second step of the second epoch."""
    run = tmp_path / "run"
    said = sorted(train(pair, uneven(root, run), patch="not finite"))
    assert said[0] == "SystemExit: 1"
    assert "expected a finite loss, got nan in epoch 2, step 5, with 000" in said[1]
    assert said[1].count(" frames ") == 3  # the clips of both
    assert checkpoints.load(run / "last.pt").step == 3


def test_single_frames_leave_the_propagation_without_gradient(pair, root, tmp_path):
    runs = [tmp_path / "one", tmp_path / "two"]
    for world, run in enumerate(runs, start=1):
        train(pair, with_data(uneven(root, run, max_steps=4), clip_length=1), world=world)
    assert difference(*runs) < 1e-6
    moments = checkpoints.load(runs[1] / "last.pt").training["optimizer"]["state"]
    weights = checkpoints.load(runs[1] / "last.pt").model_state
    assert 0 < len(moments) < sum("running" not in name and "num_batches" not in name for name in weights)


@pytest.mark.parametrize("fails", (False, True))
def test_a_group_ends_before_what_was_trained_with_it(pair, fails):
    """Its threads are gone while the parallel network still lives: nobody can wait for them later, as happened, with
    the lock of Python held that one of them needed.
    """
    store = meeting_place()
    assert pair.run(threads_left, [(rank, store.port, fails) for rank in range(2)]) == [[], []]


def threads_left(rank: int, port: int, fails: bool) -> list[str]:
    importlib.import_module("torch._dynamo")  # later, it would take the group as a default for ever
    before = threads()
    with as_rank(rank, 2, port), contextlib.suppress(UserError, SystemExit), Ranks() as ranks:
        parallel = ranks.parallel(nn.Linear(3, 3))
        parallel(torch.ones(2, 3)).sum().backward()
        assert len(threads() - before) > 1
        if fails:
            raise UserError("as a training says it")
    return sorted(threads() - before)


def threads() -> set[str]:
    """Those of gloo in this process."""
    names = {path.parent.name: path.read_text() for path in Path("/proc/self/task").glob("*/comm")}
    return {f"{number} {name.strip()}" for number, name in names.items() if "gloo" in name}


def test_a_process_that_dies_ends_the_training_with_one_sentence(pair, root, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "config.yaml").write_text(to_yaml(uneven(root, run, max_steps=5)))
    (tmp_path / "dying.py").write_text(DYING)
    ended = torchrun(str(tmp_path / "dying.py"), "train", str(tmp_path / "config.yaml"))
    assert ended.returncode != 0
    assert ended.stderr.count("rpstn: error:") == 1
    assert "rpstn: error: train: expected 2 processes until the end, " in ended.stderr
    assert "continue with --resume" in ended.stderr
    assert checkpoints.load(run / "last.pt").step == 3
    config = uneven(root, run, max_steps=5)
    assert train(pair, config, resume=run, double=False) == [f"{run / 'best.pt'}"] * 2
    assert checkpoints.load(run / "last.pt").step == 5
    assert not (run / ".lock").exists()


DYING = """
import os, signal, sys
from teams import die_with_parent
from rpstn_training import cli
from rpstn_training.train import engine

die_with_parent()
joint_loss, steps = engine.joint_loss, []

def die(*args, **options):
    steps.append(1)
    if os.environ["RANK"] == "1" and len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return joint_loss(*args, **options)

engine.joint_loss = die
sys.exit(cli.main(sys.argv[1:]))
"""


def torchrun(*arguments: str) -> subprocess.CompletedProcess:
    """Two processes of one machine. They are in sessions of their own, and end with torchrun where `DYING` is run."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *arguments]
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        end_session(process.pid)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_what_must_be_said_before_processes_meet(root, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(
        UserError, match="expected RANK, MASTER_ADDR, MASTER_PORT in the environment beside WORLD_SIZE=2"
    ):
        engine.train(tiny_config(root, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_batch_has_a_clip_for_each_process(pair, root, tmp_path):
    said = sorted(train(pair, uneven(root, tmp_path / "run", batch_size=1)))
    assert said[0] == "SystemExit: 1"
    assert "train.batch_size: expected at least 2 clips, one for each process that trains, got 1" in said[1]
