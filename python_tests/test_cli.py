"""The command line: exit statuses, one sentence per failure, and the way from a data set to a score."""

import argparse
import doctest
import errno
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_clips import tiny_config, write_penn

from rpstn_training import arguments, cli, shell, words
from rpstn_training.config import to_yaml


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> SimpleNamespace:
    """A data set, its configuration file and a finished run, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("cli")
    root = write_penn(folder / "penn")
    config = folder / "exp.yaml"
    config.write_text(to_yaml(tiny_config(root, folder / "run", epochs=1)))
    assert cli.main(["train", str(config)]) == 0
    return SimpleNamespace(folder=folder, root=root, config=config, run=folder / "run")


def fails(capsys, *arguments: object, status: int = 1) -> str:
    """The sentence of a command that must exit with this status."""
    capsys.readouterr()
    assert cli.main([str(argument) for argument in arguments]) == status
    answer = capsys.readouterr()
    assert answer.err.startswith("rpstn: error: ")
    assert answer.err.count("\n") == 1
    return answer.err.removeprefix("rpstn: error: ").strip()


def test_train_then_eval(experiment, capsys):
    out = experiment.folder / "scores.json"
    status = cli.main(
        ["eval", str(experiment.config), "--weights", str(experiment.run / "best.pt"), "--out", str(out)]
        + ["--set", "eval.protocol=streaming"]
    )
    assert status == 0
    text = capsys.readouterr().out
    assert "Protocol streaming" in text
    assert "occluded joints" in text
    scores = json.loads(out.read_text())
    assert scores["weights"].endswith("best.pt")
    assert scores["config"]["eval"]["protocol"] == "streaming"
    assert scores["text"] in text


def test_eval_writes_next_to_the_weights(experiment, capsys):
    trained = json.loads((experiment.run / "eval.json").read_text())
    assert cli.main(["eval", str(experiment.config), "--weights", str(experiment.run / "best.pt")]) == 0
    again = json.loads((experiment.run / "eval.json").read_text())
    assert again["pck"] == trained["pck"]  # the score of the training is the score of its weights


def test_resume_of_a_finished_run_says_so(experiment, capsys):
    assert cli.main(["train", "--resume", str(experiment.run)]) == 0
    assert "nothing left to train, 1 of 1 epochs are done" in capsys.readouterr().out


def test_resume_of_no_run_says_so(tmp_path, capsys):
    assert cli.main(["train", "--resume", str(tmp_path / "none")]) == 1
    assert f"{tmp_path / 'none'}: expected a run folder to resume, found none" in capsys.readouterr().err


def test_each_bad_input_gets_one_sentence(experiment, capsys, tmp_path):
    config, weights = experiment.config, experiment.run / "best.pt"
    new = f"output={tmp_path / 'new'}"
    assert "could not read it" in fails(capsys, "train", tmp_path / "absent.yaml")
    assert "expected a configuration file" in fails(capsys, "train", status=2)
    assert "did you mean epochs?" in fails(capsys, "train", config, "--set", "train.epoch=1", status=2)
    assert "expected a new or empty run folder" in fails(capsys, "train", config)
    absent = f"data.root={tmp_path / 'absent'}"
    assert "data.root: expected the folder" in fails(capsys, "train", config, "--set", new, "--set", absent)
    assert "expected weights trained with data.input_size [96, 96], got [64, 64]" in fails(
        capsys, "eval", config, "--weights", weights, "--set", "data.input_size=[96, 96]"
    )
    other = ("--set", "model.name=sbl", "--set", "model.options={backbone: resnet18}")
    assert "expected weights trained with model sbl(backbone=resnet18, " in fails(
        capsys, "eval", config, "--weights", weights, *other
    )
    cut = tmp_path / "cut.pt"
    cut.write_bytes(weights.read_bytes()[:1000])
    assert "truncated" in fails(capsys, "eval", config, "--weights", cut)
    assert not (tmp_path / "new").exists()


def test_defective_data_names_the_file(tmp_path, capsys):
    root = write_penn(tmp_path / "penn")
    config = tmp_path / "exp.yaml"
    config.write_text(to_yaml(tiny_config(root, tmp_path / "run")))
    whole = {path: path.read_bytes() for path in (root / "frames").rglob("*.jpg")}
    for picture, data in whole.items():
        picture.write_bytes(data[:200])
    assert ".jpg: expected a picture" in fails(capsys, "train", config)
    assert not (tmp_path / "run").exists()  # found before the first step
    for picture, data in whole.items():
        if picture.parent.name not in ("0001", "0002", "0003"):  # those of the evaluation are whole again
            picture.write_bytes(data)
    assert ".jpg: expected a picture" in fails(capsys, "train", config)
    command = [sys.executable, "-m", "rpstn_training", "train", "--resume", str(tmp_path / "run")]
    answer = subprocess.run([*command, "--set", "data.workers=1"], capture_output=True, text=True)
    assert answer.returncode == 1
    assert ".jpg: expected a picture" in answer.stderr.splitlines()[-1]
    assert "Traceback" not in answer.stderr
    label = root / "labels" / "0001.mat"
    label.write_bytes(label.read_bytes()[:300])
    assert str(label) in fails(capsys, "train", config, "--set", f"output={tmp_path / 'other'}")
    assert not (tmp_path / "other").exists()


def test_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("demo", "synth", "train", "eval", "predict", "doctor"))
    assert text.count("demo ") == 1 and "exit status: 0 done, 1 failed, 2 " in text
    assert cli.main([]) == 2 and capsys.readouterr().out == text
    for name in ("train", "eval"):
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
        assert f"usage: rpstn {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("tarin a.yaml", "tarin: expected a command, did you mean train? (rpstn --help lists them)"),
        ("evaluate", "evaluate: expected a command, did you mean eval? (rpstn --help lists them)"),
        ("qqq", "qqq: expected a command (rpstn --help lists them)"),
        ("--versoin", "unrecognized arguments: --versoin, did you mean --version? (rpstn --help lists them)"),
        (
            "train a.yaml --ste x=1",
            "train: unrecognized arguments: --ste x=1, did you mean --set? (rpstn train --help lists them)",
        ),
        (
            "synth",
            "synth: the following arguments are required: --out (rpstn synth --help lists them)",
        ),
        (
            "predict a.mp4 --ot b",
            "predict: unrecognized arguments: --ot, did you mean --out? (rpstn predict --help lists them)",
        ),
        (
            "configs pen_action",
            "configs: expected a name that rpstn configs lists, got pen_action, did you mean penn_action?",
        ),
        (
            "study",
            "study: the following arguments are required: QUESTION (rpstn study --help lists them)",
        ),
        ("synth --out a --size 3", "--size: expected WIDTHxHEIGHT such as 320x240, got 3"),
    ],
)
def test_what_is_not_understood_ends_with_2_and_one_sentence(words, sentence, capsys):
    try:
        status = cli.main(words.split())
    except SystemExit as error:
        status = error.code
    assert (status, capsys.readouterr()) == (2, ("", f"rpstn: error: {sentence}\n"))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_page_of_help_says_what_a_command_does_and_what_its_arguments_are(name):
    module = importlib.import_module(cli.COMMANDS[name][0])
    first = module.__doc__.partition("\n\n")[0]
    assert not first.startswith("`") and first.endswith((".", "?"))
    parser = argparse.ArgumentParser(add_help=False)
    module.add_arguments(parser)
    assert all(action.help.partition("(default")[0].strip() for action in parser._actions)


def test_a_pasted_command_is_this_installation(monkeypatch, tmp_path):
    """The shell's own rpstn where it is this one, else a path, whatever the folder and the letters in it."""
    scripts = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(scripts))
    assert shell.pasted("predict", "a b.mp4") == "rpstn predict 'a b.mp4'"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    line = shell.pasted("--version", Path("x y"))
    assert shlex.split(line) == [str(scripts / "rpstn"), "--version", str(tmp_path / "x y")]
    other = tmp_path / "rpstn"
    other.write_text("#!/bin/sh")
    other.chmod(0o755)
    assert shell.program() == str(scripts / "rpstn")  # another one of that name comes first
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my python"))
    other.unlink()
    assert shlex.split(shell.pasted("train")) == [
        str(tmp_path / "my python"),
        "-m",
        "rpstn_training",
        "train",
    ]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "rpstn: stopped"),
        (KeyboardInterrupt("continue with: this"), 130, "rpstn: continue with: this"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.json"),
            1,
            "rpstn: error: a.json: No space left on device",
        ),
    ],
)
def test_failures_that_are_not_ours(monkeypatch, capsys, error, status, message):
    def run(args):
        raise error

    module = SimpleNamespace(__doc__="Doc.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    assert cli.main(["train"]) == status
    assert capsys.readouterr().err.strip() == message


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def run(args):
        raise ValueError("a bug")

    module = SimpleNamespace(__doc__="Doc.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["train"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_terminal_stops_and_resumes(number, experiment, tmp_path):
    """The real thing: a process with data workers gets SIGINT, as does its group, and resumes; or SIGTERM, as `timeout`
    sends it.
    """
    run = tmp_path / "run"
    arguments = [str(experiment.config), "--set", "data.workers=1", "--set", "train.epochs=2000"]
    arguments += ["--set", f"output={run}", "--set", "train.eval_every=1000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rpstn_training", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while "epoch 1/" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    line = re.search("continue with: (.*)", err)[1]
    assert line.endswith(f" train {run / 'config.yaml'} --resume {run}")
    assert shutil.which(shlex.split(line)[0])  # a shell finds it
    assert "Traceback" not in err
    rows = len((run / "metrics.jsonl").read_text().splitlines())
    assert cli.main(["train", "--resume", str(run), "--set", f"train.epochs={rows + 1}"]) == 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == rows + 1


def test_sigterm_ends_a_command_even_where_ctrl_c_is_ignored(monkeypatch, capsys):
    """As it is by a shell's background jobs."""

    def run(args):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not ended")

    module = SimpleNamespace(__doc__="Doc.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for ignored in (signal.default_int_handler, signal.SIG_IGN):
        signal.signal(signal.SIGINT, ignored)
        try:
            assert cli.main(["train"]) == 130
        finally:
            signal.signal(signal.SIGINT, before[0])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "rpstn: stopped" in capsys.readouterr().err


def test_module_is_the_command():
    answer = subprocess.run(
        [sys.executable, "-m", "rpstn_training", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("rpstn")


def test_help_does_not_load_torch():
    code = "import sys; from rpstn_training import cli; cli._parser(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("given", "turns"),
    [({}, "2000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_waiting_threads_go_to_sleep_unless_the_user_says_otherwise(given, turns, monkeypatch):
    """By the command alone, and before torch can read it."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = []

    def run(args):
        seen.append(os.environ.get("GOMP_SPINCOUNT"))
        return 0

    module = SimpleNamespace(__doc__="Doc.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    assert cli.main(["doctor"]) == 0  # called from Python: the process is not ours
    monkeypatch.setattr(sys, "argv", ["rpstn", "doctor"])
    try:
        assert cli.main() == 0
    finally:
        if not given:
            os.environ.pop("GOMP_SPINCOUNT", None)
    assert seen == [given.get("GOMP_SPINCOUNT"), turns]


def test_documented_examples_of_arguments_run():
    for module in (arguments, shell, words):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0
