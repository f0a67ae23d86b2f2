"""Builds dist/: one wheel for several versions of torch, one without a library for all others, and tries both.

    python cmake/wheels.py [TORCH ...]        versions of torch, such as 2.13.0 2.14.1; none: that of constraints.txt

The libraries stand on torch's C++ autograd, of which every minor version has one of its own; the wheel holds those of
each in a folder, of which rpstn_ext/_library.py looks into the right one, and serves every Python. Its metadata ask for
these versions of torch. It is tried with each in a fresh environment, from outside of this folder: `rpstn doctor`
compares every operation with plain PyTorch.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST, BUILD = ROOT / "dist", ROOT / "build" / "wheels"
COMPILED = re.compile(r"rpstn_ext/(_C\.so|_C_cuda\.so|_build_info\.py)")


def main() -> None:
    pinned = dict(line.split("==") for line in _constraints() if "==" in line)
    versions = {_minor(version): version for version in sys.argv[1:] or [pinned["torch"]]}
    shutil.rmtree(DIST, ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    pure = build(DIST, RPSTN_BUILD="OFF")
    wheel = merge({minor: build_for(version) for minor, version in versions.items()}, DIST)
    backends = {minor: attempt(version, wheel, "compiled") for minor, version in versions.items()}
    rows = [row(wheel, asks_for(versions), ", ".join(f"{m} {served}" for m, served in backends.items()))]
    minor, version = versions.popitem()
    rows += [row(pure, "torch>=2.11", f"{minor} {attempt(version, pure, 'reference')}")]
    print(
        f"{'MB':>5} {'libraries':>9}  wheel, what it asks for, and what serves with which torch",
        *rows,
        sep="\n",
    )


def build_for(version: str) -> Path:
    """The wheel for one torch. What does not see torch is compiled once: build's folder is the same for all."""
    torch = BUILD / f"torch-{version}"
    shutil.rmtree(torch, ignore_errors=True)
    pip(sys.executable, "install", "--no-deps", "--target", torch, f"torch=={version}")
    wheel = build(BUILD / f"for-{version}", PYTHONPATH=str(torch))  # where cmake/find_torch.py looks first
    shutil.rmtree(torch)
    return wheel


def build(folder: Path, **environment: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    objects = f"build-dir={BUILD / 'objects'}"
    command = ["wheel", "--no-build-isolation", "--no-deps", "-w", folder, "-C", objects, ROOT]
    pip(sys.executable, *command, **environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


def merge(wheels: Mapping[str, Path], folder: Path) -> Path:
    """One wheel out of those for each minor version of torch, which are the same but for what is compiled."""
    needs = asks_for(wheels)
    content: dict[str, tuple[zipfile.ZipInfo, bytes]] = {}
    for minor, wheel in wheels.items():
        with zipfile.ZipFile(wheel) as source:
            for file in source.infolist():
                name, data = file.filename, source.read(file)
                if name.endswith(".dist-info/RECORD"):
                    record = name
                    continue
                if COMPILED.fullmatch(name):
                    name = name.replace("/", f"/torch_{minor.replace('.', '_')}/")
                elif name.endswith(".dist-info/METADATA"):
                    asked = f"\nRequires-Dist: torch=={minor}.*\n".encode()
                    if asked not in data:
                        sys.exit(f"{wheel}: expected metadata that ask for torch=={minor}.*")
                    data = data.replace(asked, f"\nRequires-Dist: {needs}\n".encode())
                if content.setdefault(name, (file, data))[1] != data:
                    sys.exit(f"{wheel}: expected the {name} of the wheels before it, found another")
    lines = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, (_, data) in content.items())
    folder.mkdir(parents=True, exist_ok=True)
    merged = folder / wheel.name
    with zipfile.ZipFile(merged, "w", zipfile.ZIP_DEFLATED) as target:
        for name, (file, data) in content.items():
            file.filename = name  # the rest, permissions too, stays
            target.writestr(file, data, zipfile.ZIP_DEFLATED)
        target.writestr(record, f"{lines}{record},,\n")
    return merged


def asks_for(minors: Mapping[str, object]) -> str:
    """These versions of torch and none between or beyond them, as metadata say it."""
    numbers = sorted(int(minor.removeprefix("2.")) for minor in minors)
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    return f"torch>=2.{numbers[0]},<2.{numbers[-1] + 1}" + "".join(f",!=2.{number}.*" for number in missing)


def attempt(version: str, wheel: Path, served_by: str) -> str:
    """Installs the wheel beside this torch in a fresh environment and returns what serves the calls; ends where an
    operation is wrong or something else serves.
    """
    environment = BUILD / "environment"
    venv.create(environment, clear=True, with_pip=True)
    python = environment / "bin" / "python"
    pip(python, "install", f"torch=={version}")
    pip(python, "install", wheel)
    report = examined(python, wheel, served_by)
    if _minor(report["running"]["torch"]) != _minor(version):
        sys.exit(f"{wheel}: expected torch {version} to stay, found {report['running']['torch']}")
    shutil.rmtree(environment)
    return report["backend"]


def examined(python: Path, wheel: Path, served_by: str) -> dict:
    """The report of that environment's `rpstn doctor`, and a look at what else comes with the package."""
    with tempfile.TemporaryDirectory() as elsewhere:
        rpstn = python.with_name("rpstn")
        done = subprocess.run([rpstn, "doctor", "--json"], cwd=elsewhere, stdout=subprocess.PIPE, text=True)
        configs = subprocess.run([rpstn, "configs"], cwd=elsewhere, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    if done.returncode != 0 or {check["served_by"] for check in report["checks"]} != {served_by}:
        sys.exit(f"{wheel}: expected operations that agree, got {json.dumps(report, indent=2)}")
    if configs.returncode != 0 or "penn_action" not in configs.stdout:
        sys.exit(f"{wheel}: expected configurations in it, got {configs.stdout.strip() or 'none'}")
    return report


def row(wheel: Path, needs: str, backends: str) -> str:
    """A line about the wheel; ends where its metadata ask for another torch."""
    with zipfile.ZipFile(wheel) as content:
        metadata = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        asked = [
            line
            for line in content.read(metadata).decode().splitlines()
            if line.startswith("Requires-Dist: torch")
        ]
        libraries = sum(file.compress_size for file in content.infolist() if file.filename.endswith(".so"))
    if f"Requires-Dist: {needs}" not in asked:
        sys.exit(f"{wheel}: expected metadata that ask for {needs}, got {asked}")
    size = wheel.stat().st_size
    return f"{size / 1e6:>5.1f} {libraries / 1e6:>9.1f}  {wheel.relative_to(ROOT)}: {needs}; {backends}"


def pip(python: str | Path, *arguments: str | Path, **environment: str) -> None:
    """pip of that environment, with the pinned versions but torch's."""
    constraints = BUILD / "constraints.txt"
    constraints.write_text("\n".join(line for line in _constraints() if not line.startswith("torch=")) + "\n")
    command = [python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env={**os.environ, "PIP_CONSTRAINT": str(constraints), **environment})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: ended with {done.returncode}")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()


if __name__ == "__main__":
    main()
