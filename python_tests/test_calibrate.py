"""`rpstn calibrate`: which boxes the network is shown, what its checkpoint says afterwards, and what is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_videos import write_weights
from tiny_clips import SMALL_MODEL, tiny_config, write_penn

from rpstn_training import cli
from rpstn_training.calibrating import first_frames, hear, moved, of_nobody
from rpstn_training.calibration import STATES
from rpstn_training.config import to_yaml
from rpstn_training.data.records import Track
from rpstn_training.data.sets import load_tracks
from rpstn_training.errors import UserError
from rpstn_training.predictions import predict_tracks
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train import engine
from rpstn_training.video import overlay
from rpstn_training.video.pipeline import predict


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """Clips, weights, a configuration, and what the command prints of them."""
    folder = tmp_path_factory.mktemp("calibrate")
    root = write_penn(folder / "penn", train=8, test=8, frames=6)  # a joint is hidden in half of the frames
    weights = write_weights(folder / "plain.pt", **SMALL_MODEL)
    config = tiny_config(root, folder / "run")
    path = folder / "config.yaml"
    path.write_text(to_yaml(config))
    out = folder / "calibrated.pt"
    arguments = ["calibrate", path, "--weights", weights, "--out", out]
    assert cli.main(list(map(str, arguments))) == 0
    return SimpleNamespace(root=root, weights=weights, config=config, path=path, out=out)


def track(box: list[float], frames: int = 3, name: str = "a") -> Track:
    return Track(
        name=name,
        split="test",
        action="",
        frames=tuple(Path(f"{number}.png") for number in range(frames)),
        joints=np.zeros((frames, 2, 2)),
        visible=np.ones((frames, 2), dtype=bool),
        labelled=np.ones((frames, 2), dtype=bool),
        boxes=np.tile(np.array(box), (frames, 1)),
        score_boxes=np.tile(np.array(box), (frames, 1)),
        size=(200, 100),
    )


def test_boxes_of_nobody_hold_nobody():
    tracks = [track([10, 10, 50, 90], frames=9), track([120, 20, 160, 80], name="b")]
    found = [each for seed in range(20) for each in of_nobody(tracks, np.random.default_rng(seed), tracks)]
    assert len(found) > 30
    for each in found:
        assert len(each) == 3
        box = each.boxes[0]
        assert (each.boxes == box).all() and (box >= 0).all() and (box[2:] <= [200, 100]).all()
        for person in tracks:
            low, high = np.maximum(box[:2], person.boxes[0, :2]), np.minimum(box[2:], person.boxes[0, 2:])
            assert (high - low).clip(0).prod() <= 0.1 * (box[2:] - box[:2]).prod()
    full = [track([0, 0, 199, 99])]
    assert of_nobody(full, np.random.default_rng(0), full) == []


def test_boxes_are_moved_a_little_and_the_truth_is_not():
    tracks = [track([10, 10, 50, 90])] * 300
    found = moved(tracks, np.random.default_rng(0))
    centres = np.stack([(each.boxes[0, :2] + each.boxes[0, 2:]) / 2 for each in found])
    sides = np.stack([each.boxes[0, 2:] - each.boxes[0, :2] for each in found])
    np.testing.assert_allclose((centres - [30, 50]).std(axis=0), [2, 4], rtol=0.15)  # 0.05 of 40, 80
    np.testing.assert_allclose(np.log(sides / [40, 80]).std(axis=0), [0.1, 0.1], rtol=0.15)
    assert (found[0].score_boxes == tracks[0].score_boxes).all()
    assert (found[0].boxes == found[0].boxes[0]).all()


def test_what_is_heard_is_what_an_evaluation_finds(made):
    tracks = [first_frames(each, 4) for each in load_tracks(made.config.data, "test")[:2]]
    checkpoint = checkpoints.load(made.weights)
    arguments = (checkpoint.skeleton, checkpoint.codec)
    model = checkpoint.build_model()
    heard = hear(model, made.config, tracks, [5, 3], *arguments, show_progress=False)
    predictions = predict_tracks(model, made.config, tracks, *arguments, show_progress=False)
    assert heard.numbers.shape[:2] == (8, 13) and heard.videos.tolist() == [5] * 4 + [3] * 4
    for number, (one, found) in enumerate(zip(tracks, predictions)):
        rows = slice(4 * number, 4 * number + 4)
        size = (one.score_boxes[:, 2:] - one.score_boxes[:, :2]).max(axis=1, keepdims=True)
        away = np.linalg.norm(found.joints - one.joints, axis=-1) / size
        np.testing.assert_allclose(heard.distances[rows], away, atol=1e-9)
        np.testing.assert_allclose(heard.numbers[rows, :, 0], found.scores, atol=1e-6)
        np.testing.assert_array_equal(heard.visible[rows], one.visible)
        scale = 64 / (1.25 * (one.boxes[:, 2:] - one.boxes[:, :2]).max())  # of the clip's one box, nearly
        beyond = np.maximum(-found.joints, found.joints - 63).max(axis=-1)
        np.testing.assert_allclose(
            heard.numbers[rows, :, -1], beyond * scale / (64 / 1.25), rtol=0.2, atol=0.02
        )


def test_the_checkpoint_says_what_its_scores_are_worth(made):
    before, after = checkpoints.load(made.weights), checkpoints.load(made.out)
    assert before.calibration is None and after.calibration is not None
    assert after.calibration.fitted_on == "the test subset (8 videos, 48 frames; no flip)"
    assert set(after.calibration.measured) >= {"calibration_error", "visible_auroc", "right"}
    assert {name: value.tolist() for name, value in after.model_state.items()} == (
        {name: value.tolist() for name, value in before.model_state.items()}
    )


def test_predictions_tell_probabilities_and_states(made, tmp_path, capsys, monkeypatch):
    faded_from, strength_of = set(), overlay.strength_of
    monkeypatch.setattr(
        overlay,
        "strength_of",
        lambda said, sure_from: faded_from.add(sure_from) or strength_of(said, sure_from),
    )
    frames = load_tracks(made.config.data, "test")[0].frames[0].parent
    arguments = ["predict", frames, "--weights", made.out, "--out", tmp_path / "out", "--whole-picture"]
    assert cli.main(list(map(str, arguments))) == 0
    printed = capsys.readouterr().out
    assert "(calibrated on the test subset (8 videos, 48 frames; no flip))" in printed
    assert "about 1" not in printed
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert content["info"]["calibration"]["fitted_on"].startswith("the test subset")
    assert faded_from == {content["info"]["calibration"]["joint_threshold"]} and None not in faded_from
    notes = content["annotations"]
    assert "visible" in notes[0]["states"]
    assert all(0 <= value <= 1 for note in notes for value in note["probabilities"])
    assert {state for note in notes for state in note["states"]} <= set(STATES)
    mean = np.mean([note["probabilities"] for note in notes])
    assert f"with a probability of {mean:.2f} on the mean" in printed
    assert notes[0]["probability"] == pytest.approx(np.mean(notes[0]["probabilities"]), abs=1e-4)
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert [row["state"] for row in rows[:13]] == notes[0]["states"]
    assert [float(row["probability"]) for row in rows[:13]] == notes[0]["probabilities"]


def test_a_video_and_the_labels_frames_are_judged_alike(made, tmp_path):
    """The same picture, box and network: the probabilities of a prediction are those of the calibration."""
    config = replace(made.config, eval=replace(made.config.eval, protocol="streaming"))
    one = load_tracks(config.data, "test")[1]
    one = first_frames(replace(one, boxes=np.tile([0.0, 0.0, 63.0, 63.0], (len(one), 1))), 6)
    checkpoint = checkpoints.load(made.out)
    heard = hear(
        checkpoint.build_model(),
        config,
        [one],
        [0],
        checkpoint.skeleton,
        checkpoint.codec,
        show_progress=False,
    )
    said, states = checkpoint.calibration.judge(heard.numbers)
    found = predict(
        one.frames[0].parent,
        made.out,
        tmp_path,
        whole_picture=True,
        device="cpu",
        overlay="none",
        show_progress=False,
    ).poses
    np.testing.assert_allclose([pose.probabilities for pose in found], said, atol=1e-4)
    assert [pose.states for pose in found] == states


def test_weights_without_calibration_say_so(made, tmp_path, capsys):
    frames = load_tracks(made.config.data, "test")[0].frames[0].parent
    arguments = ["predict", frames, "--weights", made.weights, "--out", tmp_path, "--whole-picture"]
    assert cli.main(list(map(str, arguments))) == 0
    assert "nobody has measured what they are worth (rpstn calibrate does)" in capsys.readouterr().out
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert content["info"]["calibration"] is None and content["annotations"][0]["probabilities"] is None


def test_too_few_clips_and_no_labels(made, tmp_path, capsys):
    root = write_penn(tmp_path / "penn", train=1, test=2, frames=3)
    arguments = ["calibrate", made.path, "--weights", made.weights, "--out", tmp_path / "none.pt"]
    assert cli.main([*map(str, arguments), "--set", f"data.root={root}"]) == 1
    error = capsys.readouterr().err
    assert "expected at least 4 videos to calibrate the scores on, got 2 in the test subset" in error
    assert not (tmp_path / "none.pt").exists()


def test_weights_of_another_network_are_refused(made, tmp_path, capsys):
    arguments = ["calibrate", made.path, "--weights", made.weights, "--set", "data.input_size=[96, 96]"]
    assert cli.main(list(map(str, arguments))) == 1
    assert "expected weights trained with data.input_size [96, 96]" in capsys.readouterr().err


def test_a_training_calibrates_what_it_has_chosen(made, tmp_path, capsys):
    config = replace(made.config, output=str(tmp_path / "run"))
    config = replace(config, train=replace(config.train, epochs=1, max_steps=1))
    best = engine.train(config, show_progress=False)
    calibration = checkpoints.load(best).calibration
    assert calibration.fitted_on == "the test subset (8 videos, 48 frames; no flip)"
    assert "calibrated on the test subset" in capsys.readouterr().out
    small = replace(config, output=str(tmp_path / "small"), eval=replace(config.eval, select="validation"))
    best = engine.train(small, show_progress=False)
    assert checkpoints.load(best).calibration is None
    assert "not calibrated: expected at least 4 videos" in capsys.readouterr().out


def test_a_training_stopped_while_it_calibrates_does_it_when_resumed(made, tmp_path, capsys, monkeypatch):
    config = replace(made.config, output=str(tmp_path / "run"))
    config = replace(config, train=replace(config.train, epochs=1, max_steps=1))

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "calibrate_file", stopped)
        with pytest.raises(KeyboardInterrupt, match=r"continue with: .* --resume "):
            engine.train(config, show_progress=False)
    best = tmp_path / "run" / "best.pt"
    assert checkpoints.load(best).calibration is None
    capsys.readouterr()
    engine.train(config, resume=best.parent, show_progress=False)
    printed = capsys.readouterr().out
    assert "nothing left to train, 1 of 1 steps are done (train.max_steps); its scores are not" in printed
    assert "calibrated on the test subset" in printed
    calibrated = best.read_bytes()
    assert checkpoints.load(best).calibration is not None
    engine.train(config, resume=best.parent, show_progress=False)
    assert "nothing left to do, 1 of 1" in capsys.readouterr().out
    assert best.read_bytes() == calibrated


def test_drawn_people_are_called_so(made, tmp_path):
    from rpstn_training.calibrating import calibrated
    from rpstn_training.data.subsets import load_subset

    checkpoint, subset = checkpoints.load(made.weights), load_subset(made.config, "test")
    (Path(made.config.data.root) / "synth.json").write_text("{}")
    try:
        found = calibrated(
            checkpoint, checkpoint.build_model(), subset, subset.tracks[:2], show_progress=False
        )
    finally:
        (Path(made.config.data.root) / "synth.json").unlink()
    assert found.calibration.fitted_on.startswith("drawn people, the test subset")
    blank = [
        replace(each, labelled=0 * each.labelled > 0, visible=0 * each.visible > 0) for each in subset.tracks
    ]
    with pytest.raises(UserError, match="expected labelled joints to calibrate the scores on, got none in"):
        calibrated(
            checkpoint, checkpoint.build_model(), replace(subset, tracks=blank), blank, show_progress=False
        )
