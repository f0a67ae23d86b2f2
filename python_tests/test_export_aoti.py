"""Networks as AOTInductor's packages, made by the lines of docs/export.md: the program there and another Python process
find with them what the network finds.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
from test_export import checkpoint, pictures

import rpstn_ext
from rpstn_training.codec import normalise
from rpstn_training.train import checkpoint as checkpoints

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 3
pytestmark = [
    pytest.mark.timeout(1800),  # compilers
    pytest.mark.skipif(rpstn_ext.backend() == "reference", reason="no compiled operations"),
    pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler"),
]


@dataclass(frozen=True)
class Followed:
    """The folder where the page's lines were followed, its frames, and what the last line printed."""

    folder: Path
    frames: torch.Tensor
    printed: str


def lines_of_the_page() -> str:
    section = (ROOT / "docs" / "export.md").read_text(encoding="utf-8").partition("## From C++\n")[2]
    return "\n".join(re.findall(r"^    (.+)$", section, re.MULTILINE))


def library() -> str:
    return find_spec("rpstn_ext._C").origin


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a script with this environment's programs."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Followed:
    folder = tmp_path_factory.mktemp("page")
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / "frames").mkdir()
    (folder / "runs" / "small").mkdir(parents=True)
    checkpoints.save(folder / "runs" / "small" / "best.pt", checkpoint("rpstn"))
    frames = pictures(FRAMES)
    for number, frame in enumerate(frames, start=1):
        rgb = frame.permute(1, 2, 0).numpy()
        assert cv2.imwrite(str(folder / "frames" / f"{number:06}.ppm"), rgb[..., ::-1])
    done = shell(lines_of_the_page(), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return Followed(folder, frames, done.stdout)


@torch.no_grad()
def test_the_program_finds_what_the_network_finds(followed):
    pattern = r"^frames/(\d+).ppm joint (\d+): x (\d+), y (\d+), peak (\S+)$"
    found = re.findall(pattern, followed.printed, re.MULTILINE)
    (maps,) = checkpoint("rpstn").build_model()(normalise(followed.frames[None]))
    assert len(found) == FRAMES * maps.shape[1]
    for frame, joint, x, y, peak in found:
        values = maps[int(frame) - 1, int(joint)]
        at = float(values[int(y) // 4, int(x) // 4])
        assert at == pytest.approx(float(values.max()), rel=1e-4, abs=1e-4)
        assert float(peak) == pytest.approx(at, rel=1e-4, abs=1e-4)
    assert len({line[2:4] for line in found}) > 10  # all over the picture


@torch.no_grad()
def test_in_another_process(followed):
    """One without this package, and of more threads than the packages were made by."""
    videos = [pictures(FRAMES, batch, seed=batch) for batch in (1, 3, 8)]  # frames first
    torch.save(videos, followed.folder / "videos.pt")
    program = """
import sys; sys.modules.update(dict.fromkeys(('rpstn_ext', 'rpstn_training')))  # None: no import of it
import torch
try: torch._inductor.aoti_load_package('step.pt2')
except RuntimeError as error: print(error)
torch.ops.load_library(sys.argv[1])
start, step = (torch._inductor.aoti_load_package(f'{name}.pt2') for name in ('start', 'step'))
print(step.loader.get_metadata()['rpstn.json'])
found = []
for video in torch.load('videos.pt'):
    for t, frame in enumerate(video):
        maps, state = step(frame, state) if t else start(frame)
        found.append(maps)
torch.save(found, 'found.pt')
try: step(frame.mT.contiguous().mT, state)
except RuntimeError as error: print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, library()],
        cwd=followed.folder,
        env=os.environ | {"AOTI_RUNTIME_CHECK_INPUTS": "1", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Could not find schema for rpstn_ext::dynamic_match" in done.stdout
    assert "unmatched stride value" in done.stdout
    assert '"inputs": ["frame", "state"]' in done.stdout
    model = checkpoint("rpstn").build_model()
    expected = [maps for video in videos for maps in model(normalise(video.transpose(0, 1))).unbind(1)]
    for maps, truth in zip(torch.load(followed.folder / "found.pt"), expected, strict=True):
        assert (maps - truth).abs().max() <= 1e-4 * truth.abs().max().clamp(min=1)


def test_a_package_has_the_compiled_operations_and_threads_of_where_it_runs(followed):
    with zipfile.ZipFile(followed.folder / "step.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"rpstn_ext::dynamic_match" in content and b"rpstn_ext::joint_relation_norm" in content
    assert b"#pragma omp parallel" in content and b"num_threads(" not in content


def test_the_program_refuses_wrong_files_in_a_sentence(followed):
    cv2.imwrite(str(followed.folder / "large.ppm"), followed.frames[0].permute(1, 2, 0).numpy().repeat(2, 0))

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [followed.folder / "pose" / "pose", *arguments],
            cwd=followed.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    frame, packages = "frames/000001.ppm", ("start.pt2", "step.pt2")
    assert said(library()) == "pose: expected LIBRARY START STEP FRAME.ppm...\n"
    assert "missing.so: cannot open shared object file" in said("missing.so", *packages, frame)
    assert "missing.pt2: expected a package of rpstn export" in said(
        library(), "missing.pt2", "step.pt2", frame
    )
    assert "best.pt: expected a package of rpstn export" in said(
        library(), "start.pt2", "runs/small/best.pt", frame
    )
    assert "missing.ppm: expected a binary PPM of 64 x 96 pixels" in said(library(), *packages, "missing.ppm")
    assert "large.ppm: expected a binary PPM of 64 x 96 pixels" in said(library(), *packages, "large.ppm")
    assert "expected inputs vector size to be 2, but got 1" in said(library(), "step.pt2", "start.pt2", frame)
