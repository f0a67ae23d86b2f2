"""`rpstn score`: table on the screen, JSON whole or not at all, options by name, one sentence per mistake."""

import json

import pytest
from label_files import dump
from test_cli import fails
from test_hieve import label
from test_hieve import person as hieve_person
from test_score_posetrack import POSE, form17, form18, person

from rpstn_training import cli
from rpstn_training.options import options_of
from rpstn_training.scores.sets import SCORERS, score
from rpstn_training.scores.table import Table


@pytest.fixture
def files(tmp_path):
    truth = [[person()], [person()]]
    dump(tmp_path / "gt" / "a.json", form18(truth))
    dump(tmp_path / "pred" / "a.json", form17([[person(pose=POSE + 1000)], [person()]]))
    return tmp_path


def command(files, *more, dataset="posetrack2018"):
    return ["score", "--dataset", dataset, "--gt", files / "gt", "--pred", files / "pred", *more]


def test_table_on_the_screen_and_everything_as_json(files, capsys):
    out = files / "new" / "scores.json"
    assert cli.main([str(word) for word in command(files, "--out", out)]) == 0
    text = capsys.readouterr().out
    assert "PoseTrack2018" in text and "MOTA" in text and "Rule: poseval" in text
    content = json.loads(out.read_text())
    table = score("posetrack2018", files / "gt", files / "pred", {})
    assert content["main"] == table.main == 0.5
    assert content["details"]["AP"]["total"] == 50 and content["versions"]["torch"]
    assert content["dataset"] == "posetrack2018" and content["protocol"] == list(table.protocol)
    assert table.text in text


def test_options_have_the_types_of_their_annotations(files, capsys):
    assert cli.main([str(word) for word in command(files, "--set", "tracking_scores=false")]) == 0
    assert "MOTA" not in capsys.readouterr().out
    message = fails(capsys, *command(files, "--set", "tracking_scores=7"), status=2)
    assert message == "--set tracking_scores: expected true or false, got 7"
    message = fails(capsys, *command(files, "--set", "thresh=7"), status=2)
    assert message.startswith("--set thresh: expected an option of the posetrack2018 score, it has tracking")
    assert "expected KEY=VALUE" in fails(capsys, *command(files, "--set", "thresh"), status=2)


def test_hieve_options(tmp_path, capsys):
    for side in ("gt", "pred"):
        dump(tmp_path / side / "3.json", label({0: [hieve_person(1)]}))
    more = ["--set", "criterion=oks", "--set", "alphas=[0.5]", "--set", "weight=none"]
    assert cli.main([str(word) for word in command(tmp_path, *more, dataset="hieve")]) == 0
    text = capsys.readouterr().out
    assert "unofficial" in text and "Criterion oks" in text and "w-AP" not in text
    message = fails(capsys, *command(tmp_path, "--set", "criterion=iou", dataset="hieve"), status=2)
    assert message.startswith("--set criterion: expected one of pckh_fraction, oks, poseval_distance")
    assert "alphas above 0" in fails(
        capsys, *command(tmp_path, "--set", "alphas=[2]", dataset="hieve"), status=2
    )


def test_nothing_is_written_where_something_is_wrong(files, capsys):
    out = files / "scores.json"
    (files / "pred" / "a.json").write_text("{")
    message = fails(capsys, *command(files, "--out", out))
    assert message.startswith(f"{files / 'pred' / 'a.json'}: expected a whole JSON file")
    assert not out.exists()
    (files / "pred" / "a.json").unlink()
    assert "expected the predictions of sequence a" in fails(capsys, *command(files, "--out", out))
    (files / "pred").rmdir()
    assert "expected the predictions of posetrack2018, found nothing" in fails(capsys, *command(files))


def test_a_file_alone_can_be_scored_and_nan_is_null(files, capsys):
    dump(files / "gt" / "a.json", form18([[person()]]))
    dump(files / "other.json", form17([[person()]]))
    out = files / "scores.json"
    words = ["--gt", files / "gt" / "a.json", "--pred", files / "other.json", "--out", out]
    assert cli.main(["score", "--dataset", "posetrack2018", *map(str, words)]) == 0
    assert "1 sequences of one frame add nothing" in capsys.readouterr().out
    content = json.loads(out.read_text())
    assert content["main"] == 1 and content["rows"]["MOTA"]["Total"] is None


def test_help_and_unknown_names(capsys):
    with pytest.raises(SystemExit):
        cli.main(["score", "--help"])
    text = capsys.readouterr().out
    assert "hieve: criterion, weight, alphas" in text
    with pytest.raises(SystemExit):
        cli.main(["score", "--dataset", "penn", "--gt", ".", "--pred", "."])
    assert "posetrack2018" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCORERS)
def test_every_score_has_what_the_package_asks_for(name):
    assert callable(SCORERS[name].write)
    assert all(annotation is not None for annotation in options_of(SCORERS[name].score).values())


def test_a_table_of_text_and_of_plain_types():
    nan = float("nan")
    rows = {"x": {"A": 12.34, "Longer column": nan, "Joints": 1234567}}
    table = Table(title="T", rows=rows, protocol=("p",), main=nan, main_name="A of x")
    assert table.text.splitlines() == [
        "T",
        "        A  Longer column   Joints",
        "x    12.3              -  1234567",
        "p",
    ]
    plain = table.to_dict()
    assert plain["rows"] == {"x": {"A": 12.34, "Longer column": None, "Joints": 1234567}}
    assert plain["columns"] == ["A", "Longer column", "Joints"]
    assert plain["main"] is None and plain["main_name"] == "A of x"
    with pytest.raises(ValueError, match="expected the columns A, B in row y, got B, A"):
        Table(
            title="T",
            rows={"x": {"A": 1.0, "B": 2.0}, "y": {"B": 1.0, "A": 2.0}},
            protocol=(),
            main=0.0,
            main_name="",
        )
