"""`rpstn doctor`: what it reports, and that it notices an operation that is wrong."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

import rpstn_ext as rx
from rpstn_ext import _library
from rpstn_training import cli
from rpstn_training.commands import doctor

OPS = {"joint_relation", "joint_relation_norm", "dynamic_conv2d", "dynamic_match"}


def test_healthy_and_complete(capsys):
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    for expected in (torch.__version__, rx.__version__, f"backend   {rx.backend()}", "opencv", *OPS):
        assert expected in text
    assert text.count("  ok\n") == 2 * len(OPS) * (1 + torch.cuda.is_available())


def test_json_says_the_same(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report["healthy"] and report["advice"] is None
    assert {check["op"] for check in report["checks"]} == OPS
    assert {check["dtype"] for check in report["checks"]} == {"float64", "float32"}
    assert all(0 <= check["backward_error"] < 1e-4 for check in report["checks"])
    if rx.backend() != "reference":
        assert report["built"]["torch"] == _library.build_info().TORCH
        assert report["running"]["instruction_set"] in report["built"]["instruction_sets"].split()
        assert report["checks"][0]["served_by"] == "compiled"


class _WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, grad):
        wrong = grad.clone()
        wrong.view(-1)[3] += 1e-3 * grad.abs().max()
        return wrong


def _one_wrong_value(out):
    wrong = out.clone()
    wrong.view(-1)[-1] += 1e-3 * out.detach().abs().max()
    return wrong


@pytest.mark.parametrize(
    "spoil, shown",
    [
        (_one_wrong_value, "DISAGREES"),
        (_WrongGradient.apply, "DISAGREES"),
        (lambda out: out * math.nan, "FAILED: values or gradients that are not finite"),
        (lambda out: out[..., 1:], "FAILED: values or gradients that are not finite or of another shape"),
        (
            lambda out: (_ for _ in ()).throw(RuntimeError("illegal instruction")),
            "FAILED: RuntimeError: illegal",
        ),
    ],
    ids=["value", "gradient", "nan", "shape", "exception"],
)
def test_a_wrong_operation_is_named(spoil, shown, monkeypatch, capsys):
    right = rx.dynamic_conv2d
    monkeypatch.setattr(rx, "dynamic_conv2d", lambda *inputs, **options: spoil(right(*inputs, **options)))
    assert cli.main(["doctor"]) == 1
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith(("joint", "dynamic")) and shown in line]
    assert len(rows) == 2 * (1 + torch.cuda.is_available())
    assert all(row.startswith("dynamic_conv2d ") for row in rows)
    assert text.splitlines()[-1].startswith("dynamic_conv2d on cpu")
    assert _library.MEND in text.splitlines()[-1]
    assert cli.main(["doctor", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["healthy"]


@pytest.mark.parametrize("strict", [False, True])
def test_strict_wants_the_compiled_operations(strict):
    arguments = ["doctor", *(["--strict"] if strict else [])]
    assert cli.main(arguments) == (0 if rx.backend() != "reference" else int(strict))
    with rx.use_backend("reference"):
        assert cli.main(arguments) == int(strict)


def test_a_convolution_that_hangs_is_told(monkeypatch, capsys):
    monkeypatch.setattr("rpstn_ext._onednn.hanging_convolution", lambda: "it never ends; set SOMETHING")
    assert cli.main(["doctor"]) == 0
    assert "caution   it never ends; set SOMETHING\n" in capsys.readouterr().out


def test_without_the_compiled_library_it_says_what_mends_it():
    code = (
        "import importlib.util as u, sys, torch\nfind, path = u.find_spec, list(sys.path)\n"
        "u.find_spec = lambda name, *a: None if name.startswith('rpstn_ext._') and name[11:] in ('C', 'build_info') "
        "else find(name, *a)\n"
        "sys.path[:] = [folder for folder in path if not folder.endswith('site-packages')]\n"  # and no other copy
        "import warnings\nwith warnings.catch_warnings(action='ignore'):\n    import rpstn_ext\n"
        "sys.path[:] = path\n"
        "from rpstn_training.cli import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "backend   reference" in done.stdout
    assert "no compiled library is installed" in done.stdout
    assert _library.MEND in done.stdout
    assert "built for nothing" in done.stdout
    assert "rpstn_ext" not in done.stderr  # said once


def test_in_a_program_that_already_warned_it_says_so_again(monkeypatch):
    with rx.use_backend("reference"):
        report = doctor.examine()
    assert report["healthy"]
    assert _library.MEND in report["problem"]
    assert {check["served_by"] for check in report["checks"]} == {"reference"}
