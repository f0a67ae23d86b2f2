"""Builds dist/: a wheel for each torch, one without a library for every torch, and tries each in a fresh environment.

    python cmake/wheels.py [TORCH ...]        versions of torch, such as 2.13.0 2.14.1; none: that of constraints.txt

A wheel serves the minor version of torch that it was compiled against, and every Python. Each lies in a folder of its
torch, because their names are the same; what it asks for is in its metadata. It is tried from outside of this folder:
`rpstn doctor` compares every operation with plain PyTorch.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST, BUILD = ROOT / "dist", ROOT / "build" / "wheels"
BUILD_TOOLS = ("scikit-build-core", "cmake", "ninja")


def main() -> None:
    pinned = dict(line.split("==") for line in _constraints() if "==" in line)
    shutil.rmtree(DIST, ignore_errors=True)
    rows = []
    for version in sys.argv[1:] or [pinned["torch"]]:
        minor = ".".join(version.split(".")[:2])
        python = fresh_environment(f"torch-{minor}", version)
        if not rows:
            pure = build(python, "any-torch", RPSTN_BUILD="OFF")
            rows.append(row(pure, needs="torch>=2.11", backend=attempt(python, pure)))
        wheel = build(python, f"torch-{minor}")
        rows.append(row(wheel, needs=f"torch=={minor}.*", backend=attempt(python, wheel)))
    print(f"{'MB':>5} {'library':>8}  {'asks for':<14}{'backend':<11}wheel", *rows, sep="\n")


def fresh_environment(name: str, torch: str) -> Path:
    """The Python of a new environment with this torch and what building takes."""
    folder = BUILD / name
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    pip(python, "install", f"torch=={torch}", *BUILD_TOOLS)
    return python


def build(python: Path, name: str, **environment: str) -> Path:
    folder = DIST / name
    objects = f"build-dir={BUILD / name / 'objects'}"
    pip(
        python, "wheel", "--no-build-isolation", "--no-deps", "-w", folder, "-C", objects, ROOT, **environment
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def attempt(python: Path, wheel: Path) -> str:
    """Installs it with all that it asks for and returns what serves the calls; ends where an operation is wrong."""
    pip(python, "install", "--force-reinstall", "--no-deps", wheel)
    pip(python, "install", wheel)
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [python.with_name("rpstn"), "doctor", "--json"], cwd=elsewhere, stdout=subprocess.PIPE, text=True
        )
    report = json.loads(done.stdout)
    compiled = "none-any" not in wheel.name
    served = {check["served_by"] for check in report["checks"]}
    if done.returncode != 0 or served != {"compiled" if compiled else "reference"}:
        sys.exit(f"{wheel}: expected operations that agree, got {json.dumps(report, indent=2)}")
    return report["backend"]


def row(wheel: Path, needs: str, backend: str) -> str:
    """A line about the wheel; ends where its metadata ask for another torch."""
    with zipfile.ZipFile(wheel) as content:
        metadata = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        asked = [
            line
            for line in content.read(metadata).decode().splitlines()
            if line.startswith("Requires-Dist: torch")
        ]
        library = sum(file.compress_size for file in content.infolist() if file.filename.endswith(".so"))
    if f"Requires-Dist: {needs}" not in asked:
        sys.exit(f"{wheel}: expected metadata that ask for {needs}, got {asked}")
    name = wheel.relative_to(ROOT)
    return f"{wheel.stat().st_size / 1e6:>5.1f} {library / 1e6:>8.1f}  {needs:<14}{backend:<11}{name}"


def pip(python: Path, *arguments: str | Path, **environment: str) -> None:
    """pip of that environment, with the pinned versions but torch's."""
    constraints = BUILD / "constraints.txt"
    constraints.write_text("\n".join(line for line in _constraints() if not line.startswith("torch=")) + "\n")
    command = [python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env={**os.environ, "PIP_CONSTRAINT": str(constraints), **environment})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: ended with {done.returncode}")


def _constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()


if __name__ == "__main__":
    main()
