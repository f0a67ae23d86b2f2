"""Many videos by one call: what is broken is told, what is done is left, and side by side nothing mixes."""

import io
import json
import os
import signal
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_videos import (
    SIZE,
    SKELETON,
    boxes_csv,
    files_in,
    make_all,
    picture,
    run,
    write_picture,
    write_weights,
)
from video_files import cut, make, without_frames

from rpstn_training import cli
from rpstn_training.errors import UserError
from rpstn_training.video import pipeline, progress
from rpstn_training.video.inputs import inputs
from rpstn_training.video.many import predict_many
from rpstn_training.video.people import WholePicture
from rpstn_training.video.progress import Progress
from rpstn_training.video.recording import read_recording
from rpstn_training.video.writers import CocoWriter, CsvWriter, FoundPose, FrameInfo, Header


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("predict"))


def command(made, out: Path, *sources: object, **options: object) -> int:
    arguments = [
        "predict",
        *sources,
        "--weights",
        made.weights,
        "--out",
        out,
        "--device",
        "cpu",
        "--whole-picture",
    ]
    arguments += ["--overlay", options.pop("overlay", "none")]
    for name, value in options.items():
        arguments += [f"--{name}"] if value is True else [f"--{name}", value]
    return cli.main([str(argument) for argument in arguments])


def test_twenty_videos_of_all_kinds(made, tmp_path, capfd):
    """18 of them have results, with overlays that hold every frame; two are broken and told."""
    folder = tmp_path / "in"
    folder.mkdir()
    uneven = [0.0, 0.04, 0.5, 0.54]
    for turn in (90, 180, 270):
        make(folder / f"turned {turn}.mp4", 2, turn=turn)
    for suffix in (".mp4", ".webm", ".mkv"):
        make(folder / f"uneven{suffix}", uneven)
    for suffix in (".mp4", ".mov", ".webm"):
        make(folder / f"sound{suffix}", 3, sound=0.3)
    make(folder / "4k.mp4", 1, size=(3840, 2160))
    make(folder / "one frame.mp4", 1)
    make(folder / "odd.webm", 2, size=(81, 63))
    make(folder / "tiny.gif", 2, size=(16, 12))
    make(folder / "a.gif", 3)
    make(folder / "b.avi", 2)
    make(folder / "c.ts", 2)
    make(folder / "UPPER.MOV.mov", 2)
    make(folder / "10:30 ünder.mp4", 2)
    without_frames(folder / "no frame.mp4")
    cut(make(tmp_path / "whole.mp4", 20), folder / "cut.mp4", 0.6)
    write = (folder / "._cut.mp4").write_bytes
    write(b"a Mac's note")
    assert len(list(folder.iterdir())) == 21

    assert command(made, tmp_path / "out", folder, overlay="mp4") == 1
    printed = capfd.readouterr()
    assert printed.out.splitlines()[-1] == "18 of 20 sources done, 2 failed", printed.err
    assert "uneven.mp4, " in printed.out and "the rate of the frames varies" in printed.out
    errors = [line for line in printed.err.splitlines() if line.startswith("rpstn: error: ")]
    assert len(errors) == 2 and "no frame.mp4: expected a video" in "".join(errors)
    assert "cut.mp4: expected a video" in "".join(errors)
    done = {path.parent.name for path in (tmp_path / "out").glob("*/predictions.json")}
    assert len(done) == 18 and {"uneven.mp4", "uneven.webm", "turned_90", "4k", "10_30_ünder"} <= done
    for name, frames, size in (
        ("turned_90", 2, SIZE[::-1]),
        ("4k", 1, (3840, 2160)),
        ("uneven.mkv", 4, SIZE),
    ):
        found = read_recording(tmp_path / "out" / name / "predictions.json")
        assert {(info.width, info.height) for info in found.frames} == {size}
        assert len(found.frames) == len(found.persons[0].rows) == frames

    assert command(made, tmp_path / "out", folder, overlay="mp4") == 1  # nothing is done again
    again = capfd.readouterr().out
    assert again.splitlines()[-1] == (
        "18 of 20 sources done, 18 of them before (--overwrite does them again), 2 failed"
    )


def test_side_by_side_nothing_mixes(made, tmp_path):
    """Videos of different lengths: each has the poses that it has alone."""
    videos = []
    for number, frames in enumerate((3, 9, 1, 5, 6, 2)):
        image = lambda frame, start=10 * number: picture(start + frame)  # noqa: E731
        videos.append(make(tmp_path / f"{number}.mp4", frames, image=image))
    options = {"whole_picture": True, "device": "cpu", "overlay": "none", "show_progress": False}
    found = predict_many(videos, made.weights, tmp_path / "out", **options)
    assert [outcome.source for outcome in found] == [str(video) for video in videos]
    for video, outcome in zip(videos, found):
        alone = run(made, video, tmp_path / "alone", overlay="none")
        assert outcome.result.frame_count == alone.frame_count
        for one, other in zip(outcome.result.poses, alone.poses, strict=True):
            np.testing.assert_allclose(one.joints, other.joints, atol=0.02)
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_half_done_folder_goes_on_after_ctrl_c(number, made, tmp_path, capsys, monkeypatch):
    for video in range(6):
        make(tmp_path / "in" / f"{video}.mp4", 2 + video) if video else (tmp_path / "in").mkdir()
    seen = WholePicture.seen

    def interrupted(people, frame, poses):
        if frame.number == 3 and not told:
            told.append(frame)
            os.kill(os.getpid(), number)
        return seen(people, frame, poses)

    told = []
    with monkeypatch.context() as patched:
        patched.setattr(WholePicture, "seen", interrupted)
        assert command(made, tmp_path / "out", tmp_path / "in") == 130
    error = capsys.readouterr().err
    assert "stopped after 4 frames of 3.mp4; what was found is in " in error
    whole = {path.parent.name for path in (tmp_path / "out").glob("*/predictions.json")}
    begun = {path.parent.name for path in (tmp_path / "out").glob("*/predictions.json.partial")}
    assert whole and begun and not whole & begun
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert command(made, tmp_path / "out", tmp_path / "in") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"5 of 5 sources done, {len(whole)} of them before (--overwrite does them again)"
    assert not list((tmp_path / "out").glob("*/*.partial"))


def test_what_is_named_and_where_its_results_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.mp4", "a/x.webm", "a/y.mp4", "b/x.mp4", "b/deep/z.MP4", "frames/1.png", "frames/2.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")

    def named(*sources: str) -> dict[str, str]:
        return {str(one.source): str(one.out.relative_to("out")) for one in inputs(sources, Path("out"))}

    assert named("a/x.mp4") == {"a/x.mp4": "."}
    assert named("frames") == {"frames": "."}
    assert inputs(["frames/1.png", "frames/2.png"], Path("out"))[0].out == Path("out")
    assert named("a") == {"a/x.mp4": "x.mp4", "a/x.webm": "x.webm", "a/y.mp4": "y"}
    assert named("a/y.mp4", "frames") == {"a/y.mp4": "y", "frames": "frames"}
    assert named("a/x.mp4", "b/x.mp4") == {"a/x.mp4": "a_x.mp4", "b/x.mp4": "b_x.mp4"}
    assert named("b/**/*.[mM][pP]4") == {"b/deep/z.MP4": "z", "b/x.mp4": "x"}
    Path("b/list.txt").write_text("# mine\nx.mp4\n\n../a/y.mp4\nrtsp://host/way\n")
    assert named("@b/list.txt") == {"b/x.mp4": "x", "b/../a/y.mp4": "y", "rtsp://host/way": "way"}
    assert named("0") == {"0": "."}
    Path("0").write_bytes(b"")
    Path("nothing").mkdir()
    assert [one.source for one in inputs(["0"], Path("out"))] == [Path("0")]  # a file is meant
    for sources, sentence in (
        (["*.avi"], r"\*\.avi: expected a pattern that something fits, nothing does"),
        (["a/x.mp4", "a/x.mp4"], "expected each source once"),
        (["a/x.mp4", "frames/1.png"], r"a/x\.mp4: expected a picture .* beside frames/1\.png"),
        (["@none.txt"], r"none\.txt: expected a text file that names a source on each line \(No such file"),
        (
            ["nothing"],
            r"nothing: expected a folder of videos or of frames, it holds none; known are 3gp, .*, webp;",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            inputs(sources, Path("out"))
    Path("a/1.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"a: expected a folder of videos or one of frames, it holds 3 videos and 1"
    ):
        inputs(["a"], Path("out"))


def test_boxes_are_of_one_source(made, tmp_path, capsys):
    videos = [make(tmp_path / f"{number}.mp4", 2) for number in range(2)]
    boxes = boxes_csv(tmp_path / "b.csv", [(0, 0, 1, 1, 50, 50)])
    arguments = ["predict", *videos, "--weights", made.weights, "--out", tmp_path / "out", "--boxes", boxes]
    assert cli.main([str(argument) for argument in arguments]) == 2
    assert "--boxes: expected one source, whose boxes these are, got 2" in capsys.readouterr().err


def test_a_full_disk_ends_all(made, tmp_path, monkeypatch):
    videos = [make(tmp_path / f"{number}.mp4", 3) for number in range(5)]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsvWriter, "add", full)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\); check the space"):
        predict_many(videos, made.weights, tmp_path / "out", whole_picture=True, show_progress=False)
    assert not (tmp_path / "out").exists()


def test_times_of_the_command_are_read_as_people_write_them(made, tmp_path, capsys):
    source = make(tmp_path / "a.mp4", 20)
    assert command(made, tmp_path / "out", source, start="0:00.5", end="0:01:01", every=5) == 0
    found = read_recording(tmp_path / "out" / "predictions.json")
    assert [info.number for info in found.frames] == [5, 10, 15]
    for text in ("1:2:3:4", "soon", "-1"):
        with pytest.raises(SystemExit):
            command(made, tmp_path / "out", source, start=text)
    assert "expected seconds or h:mm:ss, got soon" in capsys.readouterr().err
    for window, words in (
        ({"start": "9"}, "from 9 seconds on, there is none"),
        (
            {"start": "0.05", "end": "0.3", "every": 9},
            "from 0.05 seconds to before 0.3, of them every one whose",
        ),
    ):
        assert command(made, tmp_path / "none", source, **window) == 1
        assert f"a.mp4: expected frames {words}" in capsys.readouterr().err


def test_a_log_gets_a_line_a_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with Progress("clip.mp4", 400, True, log) as bar:
        for _ in range(250):
            now[0] += 0.5
            bar.step()
    assert log.getvalue().splitlines() == [
        "clip.mp4: 120 of 400 frames, 2.0 frames/s",
        "clip.mp4: 240 of 400 frames, 2.0 frames/s",
    ]
    with Progress("clip.mp4", None, False, log) as bar:
        bar.step()
    assert len(log.getvalue().splitlines()) == 2
    with Progress("slow.mp4", None, True, log) as bar:
        now[0] += 100.0
        bar.step()
    assert log.getvalue().splitlines()[2] == "slow.mp4: 1 frame, 0.0 frames/s"


def test_ten_thousand_frames_need_no_more_memory_than_a_few(tmp_path):
    """What is written as it comes is not kept; the annotations wait in a file."""
    joints, box = np.zeros((13, 2)), np.zeros(4)
    pose = FoundPose(frame=0, person=0, box=box, joints=joints, scores=np.ones(13))
    frame = FrameInfo(number=0, time=0.0, file_name="a.mp4", width=9, height=9)
    writers = [CocoWriter(tmp_path), CsvWriter(tmp_path)]
    for writer in writers:
        writer.begin(Header(skeleton=SKELETON, fps=25.0, info={}))
    tracemalloc.start()
    try:
        for number in range(2000):
            for writer in writers:
                writer.add(frame, [pose])
            if number == 100:
                early = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0] - early
    finally:
        tracemalloc.stop()
    for writer in writers:
        writer.end()
    assert len(json.loads((tmp_path / "predictions.json").read_text())["annotations"]) == 2000
    assert grown < 50_000, grown


def test_a_long_video_of_pictures_is_gone_through_flat(tmp_path):
    """From the tenth frame to the last the memory that Python holds does not grow."""
    single = SimpleNamespace(
        weights=write_weights(tmp_path / "sbl.pt", "sbl", backbone="resnet18", width=8, channels=16)
    )
    frames = tmp_path / "frames"
    frames.mkdir()
    write_picture(frames / "0.png", picture(0, (16, 12)))
    for number in range(1, 150):
        (frames / f"{number}.png").symlink_to("0.png")
    held = []
    seen = WholePicture.seen

    class Watched(WholePicture):
        def seen(self, frame, poses):
            if frame.number in (30, 149):
                held.append(tracemalloc.get_traced_memory()[0])
            return seen(self, frame, poses)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "WholePicture", Watched)
        tracemalloc.start()
        try:
            run(single, frames, tmp_path / "out", overlay="none")
        finally:
            tracemalloc.stop()
    assert held[1] - held[0] < 60_000, held
    assert files_in(tmp_path / "out") == ["made_with.json", "predictions.csv", "predictions.json"]
