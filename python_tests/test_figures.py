"""The pictures and the page of `rpstn demo`."""

import argparse
import copy
import html
import importlib
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from small_models import shaken
from small_videos import decoded_frames
from tiny_clips import codec_for, tiny_config, write_penn

from rpstn_training.building import build_network
from rpstn_training.cli import COMMANDS
from rpstn_training.codec import crop_matrix, encode, normalise
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.evaluation import evaluate
from rpstn_training.figures import build_report, for_docs, gallery, measures, page, score_plots
from rpstn_training.figures.inside import errors, look_inside, peak_distance, telling_clip
from rpstn_training.figures.page import ArmScore
from rpstn_training.figures.pictures import MISS, case_picture
from rpstn_training.figures.plots import before_and_after, relation, training_curve
from rpstn_training.predictions import Prediction, predict_tracks

ROWS = (
    '{"epoch": 1, "loss": 0.02, "pck": 0.1, "seconds": 30.0}\n'
    '{"epoch": 2, "loss": 0.01, "pck": 0.2, "seconds": 30.0, "score": 0.15}\n'
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Tracks, an untrained model and its evaluation."""
    folder = tmp_path_factory.mktemp("figures")
    config = tiny_config(write_penn(folder / "penn"), folder / "run")
    tracks = [replace(track, action="run <b> & jump") for track in load_tracks(config.data, "test")]
    skeleton = load_skeleton(config.data)
    torch.manual_seed(0)
    model = build_network(config.model, skeleton).eval()
    codec = codec_for(config)
    evaluation = evaluate(model, config, tracks, skeleton, codec, show_progress=False)
    return SimpleNamespace(
        codec=codec,
        config=config,
        tracks=tracks,
        skeleton=skeleton,
        model=model,
        evaluation=evaluation,
        folder=folder,
    )


def exact(track):
    """The truth as a prediction."""
    shape = track.joints.shape[:2]
    return Prediction(
        name=track.name,
        joints=track.joints.copy(),
        scores=np.ones(shape),
        predicted=np.ones(shape[0], dtype=bool),
    )


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.files, self.unnamed, self.open = set(), [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.files |= {given[key] for key in ("src", "href") if key in given}
        if tag == "img" and not given.get("alt"):
            self.unnamed.append(given)
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def report(scene, out, **more):
    metrics = scene.folder / "metrics.jsonl"
    metrics.write_text(ROWS)
    return build_report(
        out,
        model=scene.model,
        skeleton=scene.skeleton,
        codec=scene.codec,
        config=scene.config,
        tracks=scene.tracks,
        evaluation=scene.evaluation,
        metrics=metrics,
        chosen_on="1 of 4 training videos, held out (seed 3)",
        **more,
    )


@pytest.fixture(scope="module")
def built(scene):
    out = scene.folder / "out"
    return SimpleNamespace(out=out, text=report(scene, out).read_text())


def cells(text, row):
    """The cells of the table's row that begins so."""
    return re.findall(r"<td>(.*?)</td>", re.search(rf"<tr><td>{re.escape(row)}</td>.*</tr>", text)[0])[1:]


def test_the_report_is_complete_and_shows_what_lies_beside_it(scene, built):
    text, out = built.text, built.out
    links = Links()
    links.feed(text)
    made = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert links.files == made - {"index.html"} and not links.unnamed and not links.open
    assert "decided on other clips, 1 of 4 training videos, held out (seed 3)." in text
    assert "Run &lt;b&gt; &amp; jump, typical" in text and "<b> &" not in text
    assert "in 1.0 minutes (2 rounds" in text and "2 clips (12 frames)" in text and "left wrist" in text
    assert "{" not in re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", text, flags=re.S)
    for path in out.rglob("*.png"):
        image = cv2.imread(str(path))
        assert min(image.shape[:2]) > 150 and image.std() > 5, path
    assert len(decoded_frames(out / "overlay.mp4")) == 6  # one track: both are of one action


def test_the_gallery_shows_what_the_demo_made(built, tmp_path):
    text = for_docs.gallery(built.out, tmp_path / "pictures")
    shown = set(re.findall(r"\]\(pictures/demo_(.*?)\)", text))
    assert shown == {path.name.removeprefix("demo_") for path in (tmp_path / "pictures").iterdir()}
    assert len(shown) == len(for_docs._FROM_DEMO) + 2  # the typical and the worst frame of one action
    assert "in 1.0 minutes (2 rounds" in text and "commit " in text and str(built.out) not in text
    for name in for_docs._FROM_DEMO:
        image = cv2.imread(str(tmp_path / "pictures" / f"demo_{Path(name).stem}.jpg"))
        assert image.shape == cv2.imread(str(built.out / name)).shape


def test_tolerances_of_the_pages_are_drawn_to_scale():
    axes = Figure().subplots()
    truth = np.array([[5.0, 6.0], [np.nan, np.nan], [20.0, 9.0]])
    box = np.array([1.0, 2.0, 30.0, 40.0])
    for_docs._panel(axes, np.zeros((50, 40, 3), np.uint8), truth, np.array([3.0, 4.0, 5.0]), "", box)
    assert [(*circle.center, circle.radius) for circle in axes.patches] == [(5, 6, 3), (20, 9, 5)]
    assert axes.lines[-1].get_xydata().tolist()[:3] == [[1, 2], [30, 2], [30, 40]]


def test_the_page_has_the_numbers_of_the_evaluation(scene, built):
    rows = scene.evaluation.table.rows
    shown = {
        "visible joints, person's size": "person",
        "hidden joints, person's size": "occluded, person",
        "visible joints, torso's size": "torso",
        "hidden joints, torso's size": "occluded, torso",
    }
    for words, row in shown.items():
        assert cells(built.text, words)[-1] == f"{rows[row]['Mean']:.1f}"
    assert f"<b>{rows['person']['Mean']:.1f} %</b>of the visible joints within 0.2" in built.text
    for kind, row in (("visible joints", "torso"), ("hidden joints", "occluded, torso")):
        before, after, change, *_, counted = cells(built.text, kind)
        assert after == f"{rows[row]['Mean']:.2f}" and int(counted.replace(",", "")) == rows[row]["Joints"]
        assert float(change) == pytest.approx(float(after) - float(before), abs=1e-9)


def test_the_page_says_how_it_was_made(scene, built):
    text = built.text
    assert 'name="viewport"' in text and "commit " in text and f"torch {torch.__version__}" in text
    assert f"seed: {scene.config.seed}" in text and "learning_rate: " in text
    lines = [html.unescape(line) for line in re.findall(r'<pre class="line">(.*?)</pre>', text)]
    assert len(lines) == 3
    for line in lines:
        program, command, *arguments = shlex.split(line)
        assert shutil.which(program)
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
        args = parser.parse_args(arguments)
        assert Path(args.out).is_absolute() or command == "predict"
    assert sum("--compare" in line for line in lines) == sum("--real" in line for line in lines) == 1
    (predict,) = (line for line in lines if " predict " in line)
    assert str((Path(scene.config.output) / "best.pt").absolute()) in predict


def test_the_page_compares_the_arms_that_there_are(scene, monkeypatch):
    monkeypatch.setattr(gallery, "_draw", lambda *parts: None)
    monkeypatch.setattr(gallery, "_shown", lambda *parts: [])
    arms = {"the image network alone": (scene.folder / "metrics.jsonl", 1_200_000, scene.evaluation)}
    text = report(scene, scene.folder / "arms", arms=arms).read_text()
    rows = scene.evaluation.table.rows
    own, other = cells(text, html.escape("the page's own network")), cells(text, "the image network alone")
    assert own[:5] == other[:5]
    assert own[:3] == [f"{rows[name]['Mean']:.1f}" for name in ("torso", "occluded, torso", "person")]
    assert other[3:] == ["1.0", "2", "1.2"] and "have not been trained here" not in text


def arm(title, torso, hidden):
    return ArmScore(
        title=title, minutes=1, epochs=1, parameters=1, torso=torso, hidden_torso=hidden, person=50.0
    )


def test_who_is_ahead_is_said_by_the_numbers():
    own, better, worse = arm("own", 50.0, 40.0), arm("the other", 60.0, 30.0), arm("a third", 10.0, 38.5)
    said = page.ahead([own, better, worse])
    assert (
        "For visible joints \u201cthe other\u201d is ahead of the page's own network by 10.0 points (60.0 %)"
        in said
    )
    assert "For hidden joints the page's own network is ahead, by 1.5 points (40.0 %)" in said
    assert "hidden" not in page.ahead([replace(own, hidden_torso=float("nan")), worse])
    # By what the table shows, 71.2 and 72.0, not by more digits: 0.87 there.
    close = page.ahead([arm("own", 71.17, 65.42), arm("the other", 72.04, 65.38)])
    assert "by 0.8 points (72.0 %)" in close and "For hidden joints no network is ahead (65.4 %)" in close


@pytest.mark.parametrize(
    ("lost", "won", "words"),
    [(23, 15, "no difference"), (12, 2, "things worse"), (2, 12, "things better"), (0, 0, "no difference")],
)
def test_chance_is_not_called_a_gain(lost, won, words):
    change = measures.Change(only_before=lost, only_after=won, counted=99)
    assert page._verdict(change).startswith(words)


def test_curves_are_those_of_the_scores(scene):
    predictions = scene.evaluation.predictions
    rows = scene.evaluation.table.rows
    for row, options in (
        ("person", {"joints": "visible"}),
        ("occluded, torso", {"joints": "occluded", "normaliser": "torso"}),
    ):
        values = measures.curve(scene.tracks, predictions, scene.skeleton, **options)
        assert measures.at(values, 0.2) == rows[row]["Mean"] and (np.diff(values) >= 0).all()
    perfect = [exact(track) for track in scene.tracks]
    assert (measures.curve(scene.tracks, perfect, scene.skeleton, joints="visible") == 100).all()
    actions = measures.by_action(scene.tracks, predictions, scene.skeleton, gamma=0.2)
    assert actions == {
        "run <b> & jump": {
            "person": rows["person"]["Mean"],
            "torso": rows["torso"]["Mean"],
            "hidden, torso": rows["occluded, torso"]["Mean"],
        }
    }


def test_typical_and_worst_frames_are_found_by_their_error(scene):
    track, other = scene.tracks[0], replace(scene.tracks[1], action="bow")
    moved = exact(track)
    for frame, pixels in enumerate((4, 1, 5, 3, 2, 9)):
        moved.joints[frame] += pixels
    found = measures.typical_and_worst([track, other], [moved, exact(other)])
    assert list(found) == ["bow", "run <b> & jump"]
    typical, worst = found["run <b> & jump"]
    assert (typical.track, typical.frame, worst.frame) == (0, 3, 5)
    assert worst.error == pytest.approx(float(np.nanmean(errors(track, moved)[5])))
    second = replace(track, name="second")
    assert gallery.typical_tracks([track, second, track], [moved, exact(track), exact(track)]) == [2]
    nothing = replace(moved, predicted=np.zeros(6, dtype=bool))
    assert measures.typical_and_worst([track], [nothing]) == {}


def test_sides_that_fall_together_and_sides_that_are_exchanged(scene):
    track, skeleton = scene.tracks[0], scene.skeleton
    right = measures.sides([track], [exact(track)], skeleton)
    assert right.found == right.truth > 0.05 and right.swapped == 0
    mirrored = exact(track)
    mirrored.joints[:] = mirrored.joints[:, skeleton.flip_order()]
    other = measures.sides([track], [mirrored], skeleton)
    assert (other.found, other.swapped) == (pytest.approx(right.truth), 1)
    fallen = exact(track)
    for pair in skeleton.flip_pairs:
        fallen.joints[:, list(pair)] = fallen.joints[:, list(pair)].mean(axis=1, keepdims=True)
    together = measures.sides([track], [fallen], skeleton)
    assert together.found == 0 and "fall together" in page._sides(together)
    assert "as far apart as in truth" in page._sides(right)


@pytest.mark.parametrize("protocol", ["streaming", "tiled"])
def test_maps_before_the_relation_are_scored_like_those_after_it(scene, protocol):
    config = replace(scene.config, eval=replace(scene.config.eval, protocol=protocol))
    model = shaken(copy.deepcopy(scene.model))
    arguments = (config, scene.tracks[:1], scene.skeleton, scene.codec)
    (before,) = predict_tracks(measures.BeforeRelation(model).eval(), *arguments, show_progress=False)
    (after,) = predict_tracks(model, *arguments, show_progress=False)
    inside = look_inside(model, config, scene.tracks[0], scene.skeleton, scene.codec, 0)
    for found, maps in ((before, inside.pseudo), (after, inside.heatmaps)):
        heights = maps.flatten(1).max(dim=1).values.numpy()
        np.testing.assert_allclose(found.scores[inside.frame], heights, rtol=1e-3)
        assert found.predicted.all() and found.name == scene.tracks[0].name
    assert not np.allclose(before.scores, after.scores, rtol=0.1)


def test_joints_that_change_are_counted(scene):
    track, skeleton = scene.tracks[0], scene.skeleton
    before, after = exact(track), exact(track)
    before.joints[0, 3] += 99
    after.joints[1:3, 4] += 99
    after.joints[0, 5] += 99  # hidden
    options = {"gamma": 0.2, "joints": "visible"}
    found = measures.change([track], [before], [after], skeleton, **options)
    assert (found.only_after, found.only_before) == (1, 2) and found.counted == track.visible.sum()
    hidden = measures.change([track], [before], [after], skeleton, gamma=0.2, joints="occluded")
    assert (hidden.only_after, hidden.only_before, hidden.counted) == (0, 1, 3)


def test_errors_are_shares_of_the_person_and_only_of_labels(scene):
    track = scene.tracks[0]
    moved = exact(track)
    size = max(track.score_boxes[3][2:] - track.score_boxes[3][:2])
    moved.joints[3, 4] += [0.3 * size, 0.4 * size]
    found = errors(track, moved)
    assert found[3, 4] == pytest.approx(0.5) and np.nansum(found) == pytest.approx(0.5)
    unlabelled = replace(track, labelled=np.zeros_like(track.labelled), visible=np.zeros_like(track.visible))
    assert np.isnan(errors(unlabelled, moved)).all()


def test_the_telling_clip_has_a_hidden_joint_and_a_good_prediction(scene):
    """Clips of 2 frames end on frames 1, 3, 5; the left wrist is hidden on even frames only."""
    track = scene.tracks[0]
    hidden = track.visible.copy()
    hidden[[1, 3], 7] = False
    better, worse = exact(track), exact(track)
    worse.joints[1] += 9.0
    hiding = replace(track, visible=hidden)
    assert telling_clip([track, hiding], [exact(track), worse], 2) == (1, 1)
    assert telling_clip([track, hiding], [better, exact(track)], 2) == (1, 0)
    none = replace(track, labelled=np.zeros_like(track.labelled), visible=np.zeros_like(track.visible))
    with pytest.raises(ValueError, match="expected a predicted frame with labels"):
        telling_clip([none], [better], 2)


def test_what_is_inside_is_what_the_model_does(scene):
    track = scene.tracks[0]
    inside = look_inside(scene.model, scene.config, track, scene.skeleton, scene.codec, 0)
    last = scene.config.data.clip_length - 1
    assert inside.frame == last and np.array_equal(inside.visible, track.visible[last])
    image = normalise(torch.from_numpy(inside.crop).permute(2, 0, 1))
    pseudo, after = inside.pseudo, inside.heatmaps
    assert image.shape[-1] == 4 * after.shape[-1] and not torch.equal(pseudo, after)
    with torch.inference_mode():
        assert torch.allclose(scene.model.relation(pseudo[None])[0], after, atol=1e-5)
    assert torch.allclose(inside.weights, inside.correlation.softmax(dim=-1), atol=1e-5)


def test_peak_distance_of_planted_peaks():
    truth = np.array([[20.0, 12.0], [30.0, 40.0]])
    maps = encode(torch.tensor([[23.0, 16.0], [30.0, 40.0]]), (16, 16), sigma=1.5, stride=4)
    assert peak_distance(maps, truth, stride=4) == pytest.approx([5.0, 0.0], abs=0.05)


def test_a_case_marks_a_miss_and_nothing_else(scene):
    track = scene.tracks[0]
    right, wrong = exact(track), exact(track)
    wrong.joints[:, 3] += 60

    def red(prediction):
        picture = case_picture(track, prediction, 2, scene.skeleton, gamma=0.2)
        return int((picture == MISS).all(axis=-1).sum())

    assert red(right) == 0 and red(wrong) > 10


def test_tolerances_are_drawn_to_scale(scene):
    track = scene.tracks[0]
    case = measures.Case(track=0, frame=2, error=0.0)
    (axes,) = score_plots.tolerance_picture(track, exact(track), case, scene.skeleton).axes
    matrix = crop_matrix(track.boxes[2], (480, 480))
    size = (track.score_boxes[2][2:] - track.score_boxes[2][:2]).max() * matrix[0, 0]
    radii = {round(circle.radius / size, 6) for circle in axes.patches}
    assert radii == {0.05, 0.2} and len(axes.patches) == 2 * track.labelled[2].sum()


def test_the_diagrams_hold_the_numbers(scene):
    table = scene.evaluation.table
    rows = {"visible joints": table.rows["torso"], "hidden joints": table.rows["occluded, torso"]}
    (axes,) = score_plots.score_bars(rows, scene.skeleton, "%").axes
    widths = [bar.get_width() for bar in axes.patches]
    assert len(widths) == 2 * 8 and widths[1] == table.rows["torso"]["Sho"]
    assert widths[15] == table.rows["occluded, torso"]["Mean"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["head", "shoulders", "elbows", "wrists", "hips", "knees", "ankles"] + ["all joints"]
    assert (
        len(score_plots.score_bars({"a": rows["visible joints"]}, scene.skeleton, "%").axes[0].patches) == 8
    )
    actions = {"long_jump": {"torso": 12.0}, "bow": {"torso": float("nan")}}
    (axes,) = score_plots.action_bars(actions, {"torso": "visible"}, "%").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["long jump", "bow"]
    assert [bar.get_width() for bar in axes.patches] == [12.0, 0.0]
    values = np.linspace(0, 100, len(measures.TOLERANCES))
    (axes,) = score_plots.before_after_curves({"visible joints": (values / 2, values)}, "torso").axes
    assert [line.get_ydata()[-1] for line in axes.lines[:2]] == [50, 100]
    (axes,) = score_plots.tolerance_curve({"visible joints": values}, "torso").axes
    assert [text.get_text() for text in axes.texts] == ["10 %", "20 %", "40 %"]

    rows = [{"epoch": 1, "loss": 0.5, "pck": 0.25}, {"epoch": 2, "loss": 0.1, "pck": 0.5, "score": 0.4}]
    loss, score = training_curve(rows, gamma=0.2).axes
    assert loss.lines[0].get_ydata() == pytest.approx([0.5, 0.1])
    assert [list(line.get_ydata()) for line in score.lines] == [[25, 50], [40]]

    inside = look_inside(scene.model, scene.config, scene.tracks[0], scene.skeleton, scene.codec, 0)
    shown = relation(inside, scene.skeleton).axes[1].images[0].get_array()
    assert np.array_equal(shown, inside.correlation.numpy())
    titles = [axes.get_title() for axes in before_and_after(inside, scene.skeleton).axes]
    hidden = {title for title in titles if "(hidden)" in title}
    assert hidden == ({"left wrist (hidden)"} if not inside.visible[5] else set())


def test_the_strongest_lean_is_off_the_diagonal():
    weights = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.3, 0.6, 0.1]])
    text = page.strongest_lean(SimpleNamespace(weights=weights), ["head", "hip", "knee"])
    assert text == "the row of the knee takes 60 % of its weight from the hip"
    text = page.strongest_lean(SimpleNamespace(weights=torch.eye(3)), ["head", "hip", "knee"])
    assert text == "every joint listens to itself alone"
