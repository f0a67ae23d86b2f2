"""What the built package asks for, and how `make wheels` judges it."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("scikit_build_core.build.metadata", reason="no scikit-build-core")


def project(state: str, **environment: str) -> list[str]:
    """pyproject.toml's dependencies as the build backend tells them, in a build of this kind."""
    done = subprocess.run(
        [sys.executable, "-m", "scikit_build_core.build", "project-table", "--state", state],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["dependencies"]


def test_a_wheel_asks_for_the_torch_that_it_was_compiled_against():
    any_torch = project("sdist")
    assert any_torch[0].startswith("torch>=2.")
    wheel = project("wheel")
    assert wheel[1:] == any_torch[1:]
    asked = Requirement(wheel[0])
    assert asked.name == "torch"
    assert asked.specifier.contains(torch.__version__, prereleases=True)
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    for other in (f"{major}.{minor - 1}.1", f"{major}.{minor + 1}.0", f"{major + 1}.0.0"):
        assert not asked.specifier.contains(other)
    assert project("metadata_editable") == wheel
    assert project("metadata_wheel", RPSTN_BUILD="OFF") == any_torch
    assert project("metadata_wheel", RPSTN_BUILD="ON") == wheel


def test_the_sdist_says_that_its_wheels_ask_for_others(tmp_path):
    code = (
        "from scikit_build_core.build import build_sdist\n"
        f"import tarfile\nname = build_sdist({str(tmp_path)!r})\n"
        f"content = tarfile.open({str(tmp_path)!r} + '/' + name)\n"
        "print(content.extractfile(name.removesuffix('.tar.gz') + '/PKG-INFO').read().decode())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Dynamic: Requires-Dist" in done.stdout.splitlines()


@pytest.fixture
def wheels():
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "cmake" / "wheels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel_that_asks(folder: Path, needs: str) -> Path:
    wheel = folder / "rpstn_ext-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("rpstn_ext/_C.so", b"library")
        content.writestr("rpstn_ext-0.1.0.dist-info/METADATA", f"Name: rpstn-ext\nRequires-Dist: {needs}\n")
    return wheel


def test_a_wheel_that_asks_for_another_torch_is_refused(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    wheel = wheel_that_asks(tmp_path, "torch==2.13.*")
    assert wheels.row(wheel, needs="torch==2.13.*", backend="cpu").endswith(
        "torch==2.13.* cpu        " + wheel.name
    )
    with pytest.raises(SystemExit, match=r"expected metadata that ask for torch==2.14.*, got .*torch==2.13"):
        wheels.row(wheel, needs="torch==2.14.*", backend="cpu")


@pytest.mark.parametrize(
    "status, served, right",
    [(0, "compiled", True), (1, "compiled", False), (0, "reference", False)],
    ids=["right", "disagrees", "the reference serves"],
)
def test_a_wheel_that_does_not_serve_is_refused(wheels, tmp_path, monkeypatch, status, served, right):
    """The environment's rpstn stands for itself: a script that prints what `rpstn doctor --json` would."""
    report = json.dumps({"backend": "cpu", "checks": [{"served_by": served}]})
    rpstn = tmp_path / "rpstn"
    rpstn.write_text(f"#!/bin/sh\necho '{report}'\nexit {status}\n")
    rpstn.chmod(0o755)
    monkeypatch.setattr(wheels, "pip", lambda *arguments: None)
    wheel = tmp_path / "rpstn_ext-0.1.0-py3-none-linux_x86_64.whl"
    if right:
        assert wheels.attempt(tmp_path / "python", wheel) == "cpu"
    else:
        with pytest.raises(SystemExit, match="expected operations that agree"):
            wheels.attempt(tmp_path / "python", wheel)
