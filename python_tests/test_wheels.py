"""What the built package asks for, and how `make wheels` judges it."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
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


INFO = "rpstn_ext-0.1.0.dist-info"


def wheel_for(folder: Path, needs: str, **content: bytes) -> Path:
    wheel = folder / "rpstn_ext-0.1.0-py3-none-linux_x86_64.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as target:
        library = zipfile.ZipInfo("rpstn_ext/_C.so")
        library.external_attr = 0o100755 << 16
        target.writestr(library, needs.encode())
        target.writestr("rpstn_ext/_build_info.py", f"TORCH = {needs!r}")
        target.writestr("rpstn_ext/__init__.py", content.get("package", b"# the same"))
        target.writestr(
            f"{INFO}/METADATA", f"Name: rpstn-ext\nRequires-Dist: {needs}\nRequires-Dist: numpy\n"
        )
        target.writestr(f"{INFO}/RECORD", "of one wheel,,\n")
    return wheel


def test_wheels_for_several_torches_become_one(wheels, tmp_path):
    """Its files are whole for pip: each stands in RECORD with its sum, libraries may be executed as before."""
    given = {minor: wheel_for(tmp_path / minor, f"torch=={minor}.*") for minor in ("2.11", "2.12", "2.14")}
    merged = wheels.merge(given, tmp_path / "dist")
    assert merged == tmp_path / "dist" / given["2.11"].name
    with zipfile.ZipFile(merged) as content:
        names = set(content.namelist())
        for minor in given:
            folder = f"rpstn_ext/torch_{minor.replace('.', '_')}"
            assert content.read(f"{folder}/_C.so") == f"torch=={minor}.*".encode()
            assert content.read(f"{folder}/_build_info.py") == f"TORCH = 'torch=={minor}.*'".encode()
            assert content.getinfo(f"{folder}/_C.so").external_attr >> 16 == 0o100755
        metadata = content.read(f"{INFO}/METADATA").decode()
        assert (
            metadata == "Name: rpstn-ext\nRequires-Dist: torch>=2.11,<2.15,!=2.13.*\nRequires-Dist: numpy\n"
        )
        record = [line.rsplit(",", 2) for line in content.read(f"{INFO}/RECORD").decode().splitlines()]
        assert [name for name, _, _ in record] == content.namelist()
        assert "rpstn_ext/_C.so" not in names and "rpstn_ext/__init__.py" in names
        for name, digest, size in record[:-1]:
            data = content.read(name)
            assert digest == "sha256=" + urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
            assert int(size) == len(data)
        assert record[-1] == [f"{INFO}/RECORD", "", ""]


def test_wheels_that_differ_in_more_than_what_is_compiled_are_refused(wheels, tmp_path):
    given = {minor: wheel_for(tmp_path / minor, f"torch=={minor}.*") for minor in ("2.11", "2.12")}
    with pytest.raises(SystemExit, match=r"expected metadata that ask for torch==2.13.\*"):
        wheels.merge({"2.11": given["2.11"], "2.13": given["2.12"]}, tmp_path / "dist")
    given["2.12"] = wheel_for(tmp_path / "2.12", "torch==2.12.*", package=b"# another")
    with pytest.raises(SystemExit, match=r"expected the rpstn_ext/__init__.py of the wheels before it"):
        wheels.merge(given, tmp_path / "dist")


@pytest.mark.parametrize(
    "minors, admitted, refused",
    [
        (["2.13"], ["2.13.0", "2.13.1+cpu", "2.13.0+cu130"], ["2.12.1", "2.14.0", "3.0.0"]),
        (
            ["2.14", "2.9", "2.11"],
            ["2.9.1", "2.11.0", "2.14.1"],
            ["2.8.0", "2.10.0", "2.12.1", "2.13.0", "2.15.0"],
        ),
    ],
)
def test_the_wheel_asks_for_the_torches_that_it_serves(wheels, minors, admitted, refused):
    asked = Requirement(wheels.asks_for(dict.fromkeys(minors)))
    assert asked.name == "torch"
    assert all(asked.specifier.contains(version) for version in admitted)
    assert not any(asked.specifier.contains(version) for version in refused)


def test_a_wheel_that_asks_for_another_torch_is_refused(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    wheel = wheel_for(tmp_path, "torch==2.13.*")
    line = wheels.row(wheel, "torch==2.13.*", "2.13 cpu")
    assert line.endswith(f"{wheel.name}: torch==2.13.*; 2.13 cpu")
    with pytest.raises(SystemExit, match=r"expected metadata that ask for torch==2.14.*, got .*torch==2.13"):
        wheels.row(wheel, "torch==2.14.*", "2.13 cpu")


@pytest.mark.parametrize(
    "status, served, configs, torch, wrong",
    [
        (0, "compiled", "penn_action", "2.13.0+cpu", None),
        (1, "compiled", "penn_action", "2.13.0+cpu", "expected operations that agree"),
        (0, "reference", "penn_action", "2.13.0+cpu", "expected operations that agree"),
        (0, "compiled", "", "2.13.0+cpu", "expected configurations in it, got none"),
        (0, "compiled", "penn_action", "2.14.1", "expected torch 2.13.0 to stay, found 2.14.1"),
    ],
    ids=["right", "disagrees", "the reference serves", "no configurations", "another torch"],
)
def test_a_wheel_that_does_not_serve_is_refused(
    wheels, tmp_path, monkeypatch, status, served, configs, torch, wrong
):
    """The environment's rpstn stands for itself: a script that prints what doctor and configs would."""
    report = json.dumps({"backend": "cpu", "running": {"torch": torch}, "checks": [{"served_by": served}]})

    def environment(folder: Path, **options: bool) -> None:
        rpstn = folder / "bin" / "rpstn"
        rpstn.parent.mkdir(parents=True)
        rpstn.write_text(
            f"#!/bin/sh\nif [ $1 = configs ]; then echo '{configs}'; else echo '{report}'; exit {status}; fi\n"
        )
        rpstn.chmod(0o755)

    monkeypatch.setattr(wheels, "BUILD", tmp_path)
    monkeypatch.setattr(wheels, "pip", lambda *arguments: None)
    monkeypatch.setattr(wheels.venv, "create", environment)
    wheel = tmp_path / "rpstn_ext-0.1.0-py3-none-linux_x86_64.whl"
    if wrong is None:
        assert wheels.attempt("2.13.0", wheel, "compiled") == "cpu"
    else:
        with pytest.raises(SystemExit, match=wrong):
            wheels.attempt("2.13.0", wheel, "compiled")
