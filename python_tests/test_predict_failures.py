"""`rpstn predict` with bad sources and options, and what is left after a failure: nothing."""

import json
import os
import resource
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_videos import (
    decoded_frames,
    files_in,
    make_all,
    picture,
    run,
    write_picture,
    write_video,
    write_weights,
)
from tiny_clips import SMALL_MODEL

from rpstn_training import cli
from rpstn_training.errors import UserError
from rpstn_training.video import outputs
from rpstn_training.video import overlay as drawing
from rpstn_training.video.encoding import OverlayWriter
from rpstn_training.video.people import WholePicture
from rpstn_training.video.pipeline import predict
from rpstn_training.video.sources import Source
from rpstn_training.video.writers import CsvWriter


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    return make_all(tmp_path_factory.mktemp("predict"))


def huge_png(path: Path) -> Path:
    """A picture whose header says 2 billion times 2 billion pixels."""
    write_picture(path, picture(0))
    data = bytearray(path.read_bytes())
    data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    path.write_bytes(data)
    return path


def cut(path: Path, source: Path, share: float) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def with_broken_frame(folder: Path, frames: Path) -> Path:
    shutil.copytree(frames, folder)
    cut(folder / "f9.png", frames / "f9.png", 0.1)
    return folder


def damaged_webm(path: Path) -> Path:
    write_video(path, 40)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 5] = bytes(len(data) // 5)
    path.write_bytes(data)
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


BAD_SOURCES = {
    "nothing there": (
        lambda t, m: t / "no.mp4",
        r"no\.mp4: expected a video, a folder .* found nothing there",
    ),
    "empty file": (lambda t, m: text_file(t / "e.mp4", ""), r"e\.mp4: expected a video, the file is empty"),
    "text": (
        lambda t, m: text_file(t / "t.mp4", "hello " * 99),
        r"t\.mp4: expected a video, .*does not open as one",
    ),
    "cut mp4": (lambda t, m: cut(t / "c.mp4", m.video, 0.6), r"c\.mp4: expected a video, .* cut off"),
    "cut webm": (
        lambda t, m: cut(t / "c.webm", write_video(t.parent / "whole.webm", 40), 0.6),
        r"c\.webm: expected 3\.2 seconds as its header says, they end after \d\.\d, with frame \d+; it is cut off",
    ),
    "damaged webm": (
        lambda t, m: damaged_webm(t / "d.webm"),
        r"d\.webm: expected 3\.2 seconds as its header says, they end after \d\.\d, with frame \d+; it is",
    ),
    "empty folder": (
        lambda t, m: empty_folder(t / "f"),
        r"f: expected a folder of videos or of frames, it holds none; known are",
    ),
    "frame midway": (lambda t, m: with_broken_frame(t / "f", m.frames), r"f9\.png: expected a picture"),
    "huge header": (lambda t, m: huge_png(t / "h.png"), r"h\.png: expected a picture"),
    "not a picture": (lambda t, m: text_file(t / "n.jpg", "hello"), r"n\.jpg: expected a picture"),
    "picture and text": (
        lambda t, m: [m.frames / "f5.png", m.frames / "notes.txt"],
        r"notes\.txt: expected a picture .*got something else",
    ),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_gets_one_sentence_and_leaves_nothing(name, made, tmp_path, capfd):
    make, sentence = BAD_SOURCES[name]
    sources = tmp_path / "in"
    sources.mkdir()
    source = make(sources, made)
    out = tmp_path / "new" / "out"
    paths = source if isinstance(source, list) else [source]
    capfd.readouterr()
    arguments = ["predict", *paths, "--weights", made.weights, "--out", out, "--device", "cpu"]
    arguments.append("--whole-picture")  # no search, which takes longer
    assert cli.main([str(argument) for argument in arguments]) == 1
    error = capfd.readouterr().err.strip()
    assert error.startswith("rpstn: error: ") and "\n" not in error  # and nothing from FFmpeg
    with pytest.raises(UserError, match=sentence):
        raise UserError(error)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"device": "tpu"}, "--device: expected auto, cpu, cuda or cuda:N, got tpu"),
        ({"device": "cuda:99"}, "--device: expected a GPU for cuda:99, PyTorch finds \\d+ here"),
        ({"overlay": "gif"}, "--overlay: expected one of mp4, webm, both, none, got gif"),
        ({"fps": 0.0}, "--fps: expected between 0.1 and 1000"),
        ({"fps": float("nan")}, "--fps: expected between 0.1 and 1000"),
        ({"min_score": float("nan")}, "--min-score: expected a finite number"),
    ],
)
def test_bad_options(options, sentence, made, tmp_path):
    with pytest.raises(UserError, match=sentence):
        predict(made.video, made.weights, tmp_path / "out", show_progress=False, **options)
    assert not (tmp_path / "out").exists()


def test_bad_weights_leave_nothing(made, tmp_path):
    with pytest.raises(UserError, match=r"cut\.pt: expected a file that torch.save wrote, .* truncated"):
        predict(
            made.video, cut(tmp_path / "cut.pt", made.weights, 0.5), tmp_path / "out", show_progress=False
        )
    assert files_in(tmp_path) == ["cut.pt"]


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), ValueError("bug"), OSError(28, "No space left on device")]
)
@pytest.mark.parametrize("place", ["draw_pose", "end"])
def test_a_failure_midway_leaves_the_results_of_before(place, failure, made, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(made, made.frames, out, overlay="both")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        if place == "end" or len(calls) == 4:
            raise failure

    monkeypatch.setattr(drawing if place == "draw_pose" else CsvWriter, place, fail)
    for target in (out, tmp_path / "fresh" / "out"):
        calls.clear()
        with pytest.raises((type(failure), UserError)):
            run(made, made.video, target, overlay="both")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert files_in(tmp_path) == ["out"]


@pytest.mark.parametrize("during", ["a frame", "the wait for one"])
def test_ctrl_c_keeps_what_is_finished(during, made, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run(made, made.frames, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    frames, done = Source.frames, threading.Event()

    def interrupted(source):
        for frame in frames(source):
            if frame.number == 5 and during == "the wait for one":
                done.wait()
                time.sleep(0.1)  # until somebody waits
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.3)
            yield frame

    def seen(people, frame, poses):
        if frame.number == 4:
            done.set()
            if during == "a frame":
                os.kill(os.getpid(), signal.SIGINT)
        return []

    monkeypatch.setattr(Source, "frames", interrupted)
    monkeypatch.setattr(WholePicture, "seen", seen)
    arguments = ["predict", made.video, "--weights", made.weights, "--out", out, "--overwrite"]
    assert cli.main([*map(str, arguments), "--whole-picture", "--device", "cpu"]) == 130
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("rpstn: stopped after 5 frames of clip.mp4; what was found is in ")
    kept = ["overlay.mp4.partial", "predictions.csv.partial", "predictions.json.partial"]
    assert files_in(out) == sorted([*before, *kept])
    assert {name: (out / name).read_bytes() for name in before} == before
    assert len(json.loads((out / "predictions.json.partial").read_text())["annotations"]) == 5
    assert len((out / "predictions.csv.partial").read_text().splitlines()) == 1 + 5 * 13
    assert len(decoded_frames(out / "overlay.mp4.partial")) == 5

    monkeypatch.undo()
    run(made, made.video, out)
    assert files_in(out) == sorted(before)  # no longer of use


def test_what_a_killed_process_left_goes_and_what_another_one_writes_stays(made, tmp_path):
    out = tmp_path / "out"
    (out / ".predict.0badcafe.tmp" / "trc").mkdir(parents=True)
    (out / ".predict.0badcafe.tmp" / "predictions.json").write_text("{")
    with outputs.staged(out, ["a"]) as other:
        assert files_in(out) == [other.folder.name]
        run(made, made.video, out, overlay="none")
        assert other.folder.is_dir()
    assert files_in(out) == ["made_with.json", "predictions.csv", "predictions.json"]


def test_results_are_kept_and_not_made_again(made, tmp_path, capsys):
    out = tmp_path / "out"
    first = run(made, made.video, out, overlay="none")
    again = run(made, made.video, out, overlay="none", overwrite=False)
    assert again.skipped and not first.skipped
    assert (again.frame_count, again.pose_count, again.persons) == (7, 7, (0,))
    assert again.skeleton == first.skeleton and again.files == first.files
    np.testing.assert_array_equal(again.poses[3].joints, first.poses[3].joints)
    arguments = ["predict", made.video, "--weights", made.weights, "--out", out, "--whole-picture"]
    assert cli.main([*map(str, arguments), "--overlay", "none"]) == 0
    assert "clip.mp4: done before with the same weights and options" in capsys.readouterr().out

    other = tmp_path / "other" / "clip.mp4"
    other.parent.mkdir()
    write_video(other, 6)
    weights = SimpleNamespace(weights=write_weights(tmp_path / "other.pt", **SMALL_MODEL, seed=4))
    for changed in (
        lambda: run(made, made.video, out, overlay="none", flip=True, overwrite=False),
        lambda: run(made, other, out, overlay="none", overwrite=False),
        lambda: run(weights, made.video, out, overlay="none", overwrite=False),
    ):
        with pytest.raises(
            UserError, match=r"predictions\.json: expected no results here, found those of another"
        ):
            changed()
    (out / "predictions.csv").unlink()  # half of it is nothing
    with pytest.raises(UserError, match="expected no results here"):
        run(made, made.video, out, overlay="none", overwrite=False)
    assert not run(made, made.video, out, overlay="none").skipped


@contextmanager
def full_disk(size: int):
    """No file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_full_disk_is_noticed_at_the_first_frame_that_does_not_go_there(suffix, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with (
        full_disk(60_000),
        pytest.raises(OSError, match="File too large"),
        OverlayWriter(tmp_path / f"a{suffix}", 25, (64, 64)) as video,
    ):
        for number in range(300):
            video.write(np.roll(noise, 17 * number, axis=(0, 1)) ^ (number % 200))
    assert 5 < number < 200
    assert files_in(tmp_path) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(made, tmp_path, capsys):
    """The table is the first file that no longer goes there, after some frames."""
    arguments = [
        "predict",
        made.video,
        "--weights",
        made.weights,
        "--out",
        tmp_path / "out",
        "--whole-picture",
    ]
    with full_disk(2_000):
        assert cli.main([*map(str, arguments), "--device", "cpu", "--overlay", "none"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith(
        f"rpstn: error: {tmp_path / 'out'}: the results could not be written (File too large)"
    )
    assert len(error.splitlines()) == 1
    assert files_in(tmp_path) == []


def test_what_is_read_is_not_overwritten(made, tmp_path):
    out = tmp_path / "out"
    run(made, made.frames, out)
    before = (out / "overlay.mp4").read_bytes()
    with pytest.raises(
        UserError, match=r"overlay\.mp4: expected another --out, this would overwrite what is read"
    ):
        run(made, out / "overlay.mp4", out)
    assert (out / "overlay.mp4").read_bytes() == before
    with pytest.raises(UserError, match=r"f5\.png: expected a folder for the results"):
        run(made, made.video, made.frames / "f5.png")
    (tmp_path / "taken" / "predictions.csv").mkdir(parents=True)
    with pytest.raises(UserError, match=r"predictions\.csv: expected a place for a file, it is a folder"):
        run(made, made.video, tmp_path / "taken")
    assert files_in(tmp_path / "taken") == ["predictions.csv"]
