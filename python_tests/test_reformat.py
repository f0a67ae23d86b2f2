"""Files of other forms from `rpstn predict` and from `rpstn reformat`: the same ones."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_recordings import person, recording, two_persons, written
from small_videos import boxes_csv, files_in, make_all, run

from rpstn_training import cli
from rpstn_training.errors import UserError
from rpstn_training.video import formats
from rpstn_training.video.filters import Butterworth, Filtering
from rpstn_training.video.recording import read_recording
from rpstn_training.video.reformatting import reformat

EVERY = tuple(formats.FORMATS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    return make_all(tmp_path_factory.mktemp("reformat"))


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file in the folder and in those in it, by its path there; an HDF5 file holds times of its making."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".h5"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_predict_writes_what_reformat_writes(made, tmp_path, capsys):
    """Two persons, of whom one is away for two frames of a clip of 12.5 frames/s."""
    rows = [(number, 0, 5, 5, 60, 60) for number in range(7)]
    rows += [(number, 1, 30, 2, 75, 60) for number in (0, 1, 4, 5, 6)]
    options = ["--smooth", "butterworth=3", "--fill-gaps", "0.25"]
    command = [
        "predict",
        made.video,
        "--weights",
        made.weights,
        "--boxes",
        boxes_csv(tmp_path / "b.csv", rows),
    ]
    command += ["--no-follow", "--overlay", "none", "--device", "cpu", "--formats", *EVERY]
    assert cli.main([*map(str, command), *options, "--out", str(tmp_path / "one")]) == 0
    predicted = contents(tmp_path / "one")
    names = formats.file_names(EVERY, filtered=True)
    assert files_in(tmp_path / "one") == sorted([*names, "made_with.json"])

    again = [*map(str, ["reformat", tmp_path / "one" / "predictions.json", "--formats", *EVERY]), *options]
    capsys.readouterr()
    assert cli.main([*again, "--out", str(tmp_path / "two")]) == 0
    assert {Path(line).name for line in capsys.readouterr().out.splitlines() if os.path.exists(line)} == set(
        names
    )
    del predicted["made_with.json"]
    assert contents(tmp_path / "two") == predicted

    raw = read_recording(tmp_path / "one" / "predictions.json")
    filtered = read_recording(tmp_path / "one" / "predictions_filtered.json")
    assert len(raw.persons[1].rows) == 5 and len(filtered.persons[1].rows) == 7
    expected = Filtering(smooth=Butterworth(cutoff=3.0), fill_gaps=0.25)(raw)
    np.testing.assert_allclose(filtered.persons[1].joints, expected.persons[1].joints, atol=6e-4)
    assert np.abs(filtered.persons[0].joints - raw.persons[0].joints).max() > 0.01
    assert filtered.info["filtered"].startswith("gaps up to 0.25 s interpolated; Butterworth")
    assert raw.info["commit"] is None or len(raw.info["commit"]) >= 40

    # Nothing that is there is replaced, unless one asks, and what is read never.
    assert cli.main([*again, "--out", str(tmp_path / "two")]) == 1
    assert "expected no file here, found one of before" in capsys.readouterr().err
    other = [*again[:-4], "--smooth", "one-euro=3,0.5", "--overwrite", "--out", str(tmp_path / "one")]
    assert cli.main(other) == 0
    changed = contents(tmp_path / "one")
    assert changed["predictions.json"] == predicted["predictions.json"]
    assert changed["predictions_filtered.csv"] != predicted["predictions_filtered.csv"]
    assert changed["predictions_wide.csv"] == predicted["predictions_wide.csv"]


def test_formats_are_the_ones_that_are_asked_for(made, tmp_path):
    first = run(made, made.frames, tmp_path / "out", overlay="none", formats=["wide"])
    assert list(first.files) == ["predictions.json", "predictions_wide.csv"]
    assert run(made, made.frames, tmp_path / "out", overlay="none", formats=["wide"], overwrite=False).skipped
    with pytest.raises(UserError, match="--overwrite"):
        run(made, made.frames, tmp_path / "out", overlay="none", overwrite=False)
    more = run(made, made.frames, tmp_path / "out", overlay="none", formats=["trc"], fill_gaps=1.0)
    assert list(more.files) == ["predictions.json", "trc", "trc_filtered"]
    assert files_in(tmp_path / "out" / "trc") == ["person0.trc"]
    np.testing.assert_array_equal(more.poses[3].joints, more.recording.persons[0].joints[3])


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"formats": ["cocoo"]}, "--formats: expected some of coco csv .*, got cocoo, did you mean coco"),
        ({"smooth": "median"}, "--smooth: expected butterworth"),
        ({"smooth": "butterworth=12.5"}, r"--smooth: expected a cut-off above 0 and below 12\.5 Hz"),
        ({"fill_gaps": -1.0}, "--fill-gaps: expected seconds, 0 or more, got -1"),
        ({"smooth": "one-euro", "stills": True}, r"pictures by themselves \(--stills\)"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_looked_at(
    options, sentence, made, tmp_path, monkeypatch
):
    monkeypatch.setattr("rpstn_training.video.streams.PersonStreams.next_frame", None)
    with pytest.raises(UserError, match=sentence):
        run(made, made.frames, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch, capsys):
    path = written(tmp_path, two_persons())
    monkeypatch.setattr(
        formats.trc, "_write", lambda *arguments: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    out = tmp_path / "out"
    assert cli.main(["reformat", str(path), "--formats", "wide", "trc", "--out", str(out)]) == 1
    assert "could not be written (No space left)" in capsys.readouterr().err
    assert not out.exists()


def test_what_reformat_cannot_read(tmp_path, capsys):
    assert cli.main(["reformat", str(tmp_path / "no.json"), "--formats", "wide"]) == 1
    assert "no.json: expected the predictions.json of rpstn predict, found nothing" in capsys.readouterr().err
    made = recording(person(0, [0, 1, 2]), times=np.array([0, 0.04, 0.04]))
    path = written(tmp_path, made)
    with pytest.raises(UserError, match="times that rise"):
        reformat(path, ["trc"])
    with pytest.raises(SystemExit):
        cli.main(["reformat", str(path)])
    assert files_in(tmp_path) == ["predictions.json"]
    assert list(reformat(path, ["coco", "wide"])) == ["predictions_wide.csv"]
    assert json.loads(path.read_text())["annotations"]


def test_packages_that_would_make_more_are_named(monkeypatch):
    monkeypatch.setattr(formats.deeplabcut, "find_spec", lambda name: None)
    monkeypatch.setattr(formats.tidy, "find_spec", lambda name: None)
    assert [line.rpartition(": ")[2] for line in formats.advice(["wide", "deeplabcut", "tidy"])] == [
        "pip install pandas tables",
        "pip install pyarrow",
    ]
    monkeypatch.setattr(formats.deeplabcut, "find_spec", lambda name: object())
    assert formats.advice(["deeplabcut"]) == []


def test_what_was_found_is_kept_where_another_file_cannot_be_made(made, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise UserError("times do not rise")

    monkeypatch.setattr(formats.trc, "write", refuse)
    out = tmp_path / "out"
    with pytest.raises(
        UserError, match=r"times do not rise; what was found is in .*predictions\.json\.partial"
    ):
        run(made, made.frames, out, overlay="none", formats=["trc"])
    assert files_in(out) == ["predictions.json.partial"]
    assert list(reformat(out / "predictions.json.partial", ["wide"])) == ["predictions_wide.csv"]
