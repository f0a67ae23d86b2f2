"""Videos as they come: times, turning, trimming, sound; and what an overlay keeps of them."""

import csv
import http.server
import threading
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from picture_files import with_orientation
from small_videos import SIZE, boxes_csv, make_all, picture, run, write_picture
from video_files import (
    begun_late,
    cut,
    heard,
    in_tiles,
    make,
    of_jpegs,
    shown,
    trimmed,
    with_cover,
    without_frames,
)

from rpstn_training import cli
from rpstn_training.data import decoding, exif
from rpstn_training.errors import UserError
from rpstn_training.video import encoding
from rpstn_training.video.encoding import OverlayWriter, Sound
from rpstn_training.video.sources import Window, open_source

UNEVEN = [0.0, 0.04, 0.08, 0.52, 0.56, 1.3, 1.34]


def read(source, **options) -> list:
    return list(open_source(source, **options).frames())


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".gif"])
def test_times_are_the_containers(suffix, tmp_path):
    """The fourth frame of seven is shown at 0.52 s; number / rate would say 0.57 s."""
    frames = read(make(tmp_path / f"a{suffix}", UNEVEN))
    assert [frame.number for frame in frames] == list(range(7))
    np.testing.assert_allclose([frame.time for frame in frames], UNEVEN, atol=1e-9)
    assert abs(frames[3].image.astype(int) - picture(3)).mean() < 25  # of GIF's colours too


def test_times_count_from_the_beginning_of_the_video(tmp_path):
    """A transport stream begins at 1.4 s or so, where players say 0."""
    frames = read(make(tmp_path / "a.ts", 5))
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.2, 0.3, 0.4], atol=1e-4)
    again = read(tmp_path / "a.ts", fps=5)
    assert [frame.time for frame in again] == [0, 0.2, 0.4, 0.6, 0.8]


def test_what_an_edit_list_hides_is_not_missed(tmp_path):
    path = trimmed(tmp_path / "a.mp4", 0.8)
    frames = read(path)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(16) / 10, atol=1e-3)
    assert abs(frames[0].image.astype(int) - picture(8)).mean() < 12


def test_a_cover_is_no_video(tmp_path):
    frames = read(with_cover(tmp_path / "a.mp4", frames=7))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(7) / 10, atol=1e-3)


def test_a_video_that_begins_late_is_whole(tmp_path):
    """Matroska states its end, not how long it is from its first frame."""
    path = begun_late(tmp_path / "b.mkv", make(tmp_path / "a.mp4", 20, options={"bf": "0"}), 5)
    np.testing.assert_allclose([frame.time for frame in read(path)], np.arange(20) / 10, atol=1e-3)
    with pytest.raises(
        UserError, match=r"c\.mkv: expected 7\.0 seconds as its header says, they end after 5\.\d"
    ):
        read(cut(path, tmp_path / "c.mkv", 0.6))


def corners(number: int) -> np.ndarray:
    """Red above left, green above right, blue below left."""
    image = np.zeros((48, 80, 3), np.uint8)
    image[:24, :40], image[:24, 40:], image[24:, :40] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return image


@pytest.mark.parametrize("turn, names", [(None, "rgb"), (90, "g r"), (180, " bg"), (270, "br ")], ids=str)
def test_videos_are_turned_as_players_turn_them(turn, names, tmp_path):
    """Quarter turns against the clock; which corner is where, line by line."""
    path = make(tmp_path / "a.mp4", 2, size=(80, 48), turn=turn, image=corners)
    image = read(path)[1].image
    height, width = image.shape[:2]
    assert (width, height) == ((80, 48) if turn in (None, 180) else (48, 80))
    found = [image[y * height // 4, x * width // 4] for y, x in ((1, 1), (1, 3), (3, 1))]
    for color, name in zip(found, names):
        expected = [0, 0, 0] if name == " " else [255 * (name == channel) for channel in "rgb"]
        assert abs(color.astype(int) - expected).max() < 40, (name, color)


@pytest.mark.parametrize("number", [1, 3, 6, 8])
def test_a_video_of_pictures_with_exif_is_turned_by_it(number, tmp_path):
    """FFmpeg tells of EXIF beside the frames, as of the eyes in a spatial video, what PyAV has no name for."""
    image = cv2.resize(corners(0), SIZE)
    data = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    (_, frame) = read(of_jpegs(tmp_path / "a.mov", [with_orientation(data, number)] * 2))
    upright = exif.turned(image, number)
    assert frame.image.shape == upright.shape
    assert abs(frame.image.astype(int) - upright).mean() < 5


def test_a_mirrored_video_is_mirrored_back():
    image = np.arange(6).reshape(2, 3, 1)
    mirror = np.array([-1, 0, 0, 0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(decoding.turned(image, mirror), image[:, ::-1])
    transposed = np.array([0, 1, 0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(decoding.turned(image, transposed), image.transpose(1, 0, 2))


def test_pixels_that_are_no_squares_are_shown_as_squares(tmp_path):
    path = make(tmp_path / "a.mp4", 2, options={"x264-params": "sar=3/2"})
    assert read(path)[0].image.shape == (SIZE[1], 120, 3)


@pytest.mark.parametrize(
    "window, numbers",
    [
        ({"start": 0.2}, [2, 3, 4, 5, 6]),
        ({"end": 0.3}, [0, 1, 2]),
        ({"start": 0.1, "end": 0.5, "every": 2}, [2, 4]),
        ({"every": 3}, [0, 3, 6]),
    ],
)
def test_a_window_of_a_video_or_of_pictures(window, numbers, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(7):
        write_picture(pictures / f"{number}.png", picture(number))
    for source in (make(tmp_path / "a.mp4"), pictures):
        options = {} if source.suffix else {"fps": 10.0}
        frames = read(source, window=Window(**window), **options)
        assert [frame.number for frame in frames] == numbers
        np.testing.assert_allclose([frame.time for frame in frames], np.array(numbers) / 10)
    opened = open_source(tmp_path / "a.mp4", window=Window(**window))
    assert opened.expected == len(numbers)
    assert opened.fps == pytest.approx(10 / window.get("every", 1))


@pytest.mark.parametrize(
    "window, sentence",
    [
        ({"start": -1.0}, "--start: expected seconds from 0 on, got -1"),
        ({"start": 2.0, "end": 1.0}, r"--end: expected a time after --start \(2 seconds\), got 1"),
        ({"every": 0}, "--every: expected a number from 1 on, got 0"),
        ({"start": 7.0}, r"a\.mp4: expected frames from 7 seconds on, there is none"),
    ],
)
def test_a_window_without_frames(window, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        read(make(tmp_path / "a.mp4"), window=Window(**window))


@pytest.mark.parametrize("name", ["10:30 walk.mp4", "http:a.mp4", "a%03d.mp4", "-i.mp4"])
def test_names_are_no_addresses(name, tmp_path, monkeypatch):
    make(tmp_path / "a.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(name)) == 7 and len(read(f"./{name}")) == 7


def test_files_that_are_no_videos(tmp_path):
    (tmp_path / "a.txt").write_text("hello " * 99)  # FFmpeg would play it
    make(tmp_path / "sound.mkv", 1, sound=0.2)
    for path, sentence in (
        (tmp_path / "a.txt", r"a\.txt: expected a video, got text"),
        (cut(make(tmp_path / "b.mp4", 40), tmp_path / "c.mp4", 0.5), r"c\.mp4: .* does not open as one"),
        (without_frames(tmp_path / "d.mp4"), r"d\.mp4: expected a video, "),
        (
            with_cover(tmp_path / "e.m4a", frames=0),
            r"e\.m4a: expected a video, got sound with a picture of its",
        ),
        (in_tiles(tmp_path / "f.heic"), r"f\.heic: expected a video, got a picture in tiles, .* convert it"),
    ):
        with pytest.raises(UserError, match=sentence):
            read(path)


def test_an_address_is_read_to_its_end(tmp_path):
    make(tmp_path / "a.mp4")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        assert [frame.number for frame in read(f"{place}/a.mp4")] == list(range(7))
        with pytest.raises(UserError, match=r"none\.mp4: expected the address of a stream, it does not open"):
            read(f"{place}/none.mp4")
        server.shutdown()
    with pytest.raises(UserError, match=r"^97: expected a camera of this number, none opens"):
        read("97")


# ---- overlays ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("predict"))


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_predictions_and_overlay_keep_the_times_and_the_sound(suffix, made, tmp_path):
    source = make(tmp_path / f"a{suffix}", UNEVEN, turn=90 if suffix == ".mp4" else None, sound=1.5)
    result = run(made, source, tmp_path / "out", overlay="both")
    assert result.varying_rate
    np.testing.assert_allclose([frame.time for frame in result.frames], UNEVEN, atol=1e-6)
    width, height = SIZE[::-1] if suffix == ".mp4" else SIZE
    assert {(frame.width, frame.height) for frame in result.frames} == {(width, height)}
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        assert {float(row["time"]) for row in csv.DictReader(file) if row["frame"] == "3"} == {0.52}
    for name, codec in (("overlay.mp4", ("aac", "opus")), ("overlay.webm", ("opus",))):
        frames = shown(tmp_path / "out" / name)
        np.testing.assert_allclose([time for time, _ in frames], UNEVEN, atol=2e-3)
        assert frames[0][1].shape[1] == 4 * width
        sound, begin, end = heard(tmp_path / "out" / name)
        assert sound in codec and abs(begin) < 0.03 and abs(end - 1.5) < 0.06


def test_a_window_is_what_is_seen_and_heard(made, tmp_path):
    source = make(tmp_path / "a.mp4", 20, sound=2.0)
    result = run(made, source, tmp_path / "out", start=0.5, end=1.5, every=2, overlay="mp4")
    assert [frame.number for frame in result.frames] == [6, 8, 10, 12, 14]
    assert [frame.time for frame in result.frames] == [0.6, 0.8, 1.0, 1.2, 1.4]
    times = [time for time, _ in shown(tmp_path / "out" / "overlay.mp4")]
    np.testing.assert_allclose(times, [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-3)
    _, begin, end = heard(tmp_path / "out" / "overlay.mp4")
    assert begin < 0.03 and abs(end - 1.0) < 0.05


def test_boxes_keep_the_numbers_of_the_frames(made, tmp_path):
    rows = [(number, 1, 5 + number, 4, 50 + number, 60) for number in range(6)]  # ends between two frames
    rows += [(number, 2, 5, 4, 50, 60) for number in range(20)]
    boxes = boxes_csv(tmp_path / "b.csv", rows)
    result = run(made, make(tmp_path / "a.mp4", 20), tmp_path / "out", boxes=boxes, every=3, overlay="none")
    there = [(pose.frame, pose.person, pose.box[0]) for pose in result.poses if pose.person == 1]
    assert there == [(0, 1, 5), (3, 1, 8)]  # and is not followed beyond
    assert max(pose.frame for pose in result.poses) == 18
    with pytest.raises(UserError, match=r"expected a frame between 0 and \d+, got frame 40"):
        run(
            made,
            tmp_path / "a.mp4",
            tmp_path / "out",
            boxes=boxes_csv(tmp_path / "b.csv", [*rows, (40, 1, *rows[0][2:])]),
        )


def test_without_an_encoder_of_h264_the_overlay_is_webm(made, tmp_path, monkeypatch, capsys):
    """FFmpeg is built without libx264 where its licence does not fit, and sound may have no encoder either."""
    _, *others = encoding.FORMATS[".mp4"]
    monkeypatch.setitem(encoding.FORMATS, ".mp4", ("libx264_of_nobody", *others))
    source = make(tmp_path / "a.mp4", 3)
    words = [
        "predict",
        source,
        "--weights",
        made.weights,
        "--whole-picture",
        "--device",
        "cpu",
        "--out",
        tmp_path,
    ]
    assert cli.main(list(map(str, words))) == 0
    assert len(shown(tmp_path / "overlay.webm")) == 3 and not (tmp_path / "overlay.mp4").exists()
    assert cli.main(list(map(str, [*words, "--overlay", "mp4", "--overwrite"]))) == 1
    said = capsys.readouterr().err
    assert (
        "expected an FFmpeg with the encoder libx264_of_nobody, this one lacks it; write .webm (--overlay"
        in said
    )


def test_a_sound_without_an_encoder_is_left_out(tmp_path, monkeypatch):
    *video, _ = encoding.FORMATS[".webm"]
    monkeypatch.setitem(encoding.FORMATS, ".webm", (*video, "opus_of_nobody"))
    source = make(tmp_path / "a.mp4", 3, sound=0.3)
    with OverlayWriter(tmp_path / "o.webm", 10, SIZE, sound=Sound(place=source)) as overlay:
        overlay.write(picture(0))
    with av.open(str(tmp_path / "o.webm")) as file:
        assert len(file.streams.video) == 1 and not file.streams.audio


def test_an_overlay_is_what_browsers_play(tmp_path):
    """H.264 of 4:2:0 in .mp4, whose index comes with no B-frames that would end it early."""
    with OverlayWriter(tmp_path / "a.mp4", 25, (81, 63)) as video:
        for number, time in enumerate(UNEVEN):
            video.write(picture(number, (81, 63)), time, 0.4)
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 82, 64)
        assert file.duration / av.time_base == pytest.approx(UNEVEN[-1] + 0.4, abs=2e-3)


def test_a_sound_that_cannot_be_read_is_left_out(tmp_path):
    source = make(tmp_path / "a.mkv", 5, sound=0.5)
    data = bytearray(source.read_bytes())
    data[data.index(b"A_AAC") : data.index(b"A_AAC") + 5] = b"A_XYZ"
    source.write_bytes(data)
    with OverlayWriter(tmp_path / "o.webm", 10, SIZE, sound=Sound(place=source)) as video:
        for number in range(5):
            video.write(picture(number))
    assert len(shown(tmp_path / "o.webm")) == 5


@pytest.mark.parametrize(
    "name, frames", [("08*/in/vfr.mp4", 36), ("09*/in/vfr.webm", 36), ("10*/in/*.mp4", 12)]
)
def test_files_of_bug_reports(name, frames, shared):
    (path,) = Path(shared, "trials").glob(name)
    found = read(path)
    assert len(found) == frames
    np.testing.assert_allclose([frame.time for frame in found], [time for time, _ in shown(path)], atol=1e-9)
