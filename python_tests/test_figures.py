"""The pictures and the page of `rpstn demo`."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny_clips import codec_for, tiny_config, write_penn

from rpstn_training.building import build_network
from rpstn_training.codec import encode, normalise
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.evaluation import evaluate
from rpstn_training.figures import build_report, page
from rpstn_training.figures.inside import errors, look_inside, peak_distance, telling_clip
from rpstn_training.figures.pictures import MISS, prediction_sheet
from rpstn_training.figures.plots import before_and_after, relation, score_bars, training_curve
from rpstn_training.predictions import Prediction

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
        self.files, self.unnamed = set(), []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.files |= {given[key] for key in ("src", "href") if key in given}
        if tag == "img" and not given.get("alt"):
            self.unnamed.append(given)


def test_the_report_is_complete_and_shows_what_lies_beside_it(scene):
    metrics = scene.folder / "metrics.jsonl"
    metrics.write_text(ROWS)
    out = scene.folder / "out"
    found = build_report(
        out,
        model=scene.model,
        skeleton=scene.skeleton,
        codec=scene.codec,
        config=scene.config,
        tracks=scene.tracks,
        evaluation=scene.evaluation,
        metrics=metrics,
        chosen_on="1 of 4 training videos, held out (seed 3)",
    )
    text = found.read_text()
    links = Links()
    links.feed(text)
    assert links.files == {path.name for path in out.iterdir()} - {"index.html"} and not links.unnamed
    assert "decided on other clips, 1 of 4 training videos, held out (seed 3)." in text
    assert "run &lt;b&gt; &amp; jump" in text and "<b> &" not in text
    assert f"<b>{scene.evaluation.table.rows['person']['Mean']:.1f} %</b>of the visible" in text
    assert f"<b>{scene.evaluation.table.rows['occluded, person']['Mean']:.1f} %</b>of the hidden" in text
    assert "in 1.0 minutes (2 rounds" in text and "2 clips (12 frames)" in text and "left wrist" in text
    assert "{" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    for path in out.glob("*.png"):
        image = cv2.imread(str(path))
        assert min(image.shape[:2]) > 200 and image.std() > 5, path
    for name in ("overlay.webm", "overlay.mp4"):
        video = cv2.VideoCapture(str(out / name))
        frames = 0
        while video.read()[0]:
            frames += 1
        assert frames == 6, name  # one track: both are of one action


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


def test_the_sheet_marks_a_miss_and_nothing_else(scene):
    track = scene.tracks[0]
    right, wrong = exact(track), exact(track)
    wrong.joints[:, 3] += 60

    def red(prediction):
        sheet = prediction_sheet([track], [prediction], scene.skeleton, gamma=0.2)
        return int((sheet == MISS).all(axis=-1).sum())

    assert red(right) == 0 and red(wrong) > 10


def test_the_diagrams_hold_the_numbers(scene):
    table = scene.evaluation.table
    bars = score_bars(table, scene.skeleton).axes[0].patches
    assert len(bars) == 2 * 8
    assert bars[1].get_height() == table.rows["person"]["Sho"]
    assert bars[15].get_height() == table.rows["occluded, person"]["Mean"]
    visible = replace(table, rows={"person": table.rows["person"]})
    assert len(score_bars(visible, scene.skeleton).axes[0].patches) == 8

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
    text = page._strongest_lean(SimpleNamespace(weights=weights), ["head", "hip", "knee"])
    assert text == "the row of the knee takes 60 % of its weight from the hip"
