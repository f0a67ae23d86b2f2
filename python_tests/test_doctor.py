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


def test_threads_instruction_set_and_memory_are_told(monkeypatch, capsys):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(193), raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    memory = {"allocator": "jemalloc", "huge_pages": "madvise", "huge_pages_asked_for": True}
    monkeypatch.setattr(doctor, "_memory", lambda: memory)
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "threads 97, processors 193\n" in text
    assert f"instruction set {'avx2' if rx.backend() != 'reference' else 'baseline'}\n" in text
    assert "memory    allocator jemalloc\n" in text
    assert "huge pages madvise: for large results, by THP_MEM_ALLOC_ENABLE=1\n" in text


@pytest.mark.parametrize(
    "policy, environment, words",
    [
        ("[always] madvise never\n", {}, "always"),
        ("always [madvise] never\n", {"THP_MEM_ALLOC_ENABLE": "1"}, "madvise: for large results"),
        (
            "always [madvise] never\n",
            {"THP_MEM_ALLOC_ENABLE": "0"},
            "madvise: for none; THP_MEM_ALLOC_ENABLE=1",
        ),
        ("always madvise [never]\n", {"THP_MEM_ALLOC_ENABLE": "1"}, "never"),
        (None, {}, "unknown"),
    ],
)
def test_the_policy_of_huge_pages(policy, environment, words, tmp_path):
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    memory = doctor._memory(tmp_path / "enabled", tmp_path / "maps", environment)
    assert doctor._huge_pages_in_words(memory).startswith(words)


def test_an_allocator_that_was_loaded_is_named(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r--p 0000 fe:00 12 /usr/lib/libtcmalloc.so.4\n7f02-7f03 rw-p 0000 00:00 0\n")
    assert doctor._memory(tmp_path / "enabled", maps, {})["allocator"] == "tcmalloc"
    maps.write_text("7f00-7f01 r--p 0000 fe:00 12 /usr/lib/libc.so.6\n")
    assert "malloc" not in doctor._memory(tmp_path / "enabled", maps, {})["allocator"]


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


@pytest.mark.parametrize("module, package", [("cv2", "opencv-python"), ("numpy", "numpy")])
def test_a_package_that_is_missing_is_one_sentence(module, package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        f"rpstn: error: expected the package {package}, found none: python -m pip install {package}\n"
    )


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
