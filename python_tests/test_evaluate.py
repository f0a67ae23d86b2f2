"""Evaluation: scores equal a count by hand, and each protocol shows the model what it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import JOINTS, SMALL_MODEL, codec_for, tiny_config, with_data, write_penn
from torch import nn

from rpstn_ext import models
from rpstn_training.codec import encode
from rpstn_training.data.sets import load_tracks, penn_action
from rpstn_training.data.subsets import load_subset
from rpstn_training.errors import UserError
from rpstn_training.evaluation import evaluate, rehearse
from rpstn_training.predictions import predict_tracks

SKELETON = penn_action.SKELETON
FRAMES = 7  # clips of 3 tile this as 0-2, 3-5, 4-6


class AlwaysTheMiddle(nn.Module):
    """Finds every joint in the middle of the crop, and keeps what it was shown: (call, mean of each frame)."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.calls: list[tuple[str, list[float]]] = []
        self.before: dict[float, float] = {}  # a frame's mean: that of the frame before it

    def start(self, frame, call="start"):
        means = frame.flatten(1).mean(dim=1)
        self.calls.append((call, means.tolist()))
        middle = torch.full((len(frame), JOINTS, 2), 31.5)  # (64 - 1) / 2
        return encode(middle, (16, 16), sigma=2.0, stride=4), means[:, None]

    def step(self, frame, state):
        maps, means = self.start(frame, "step")
        self.before |= dict(zip(means.flatten().tolist(), state.flatten().tolist(), strict=True))
        return maps, means

    def forward(self, clip):
        return torch.stack([self.start(frame, "forward")[0] for frame in clip.unbind(dim=1)], dim=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"), train=1, test=3, frames=FRAMES)


def config_for(root: Path, protocol: str, **data: object):
    config = tiny_config(root, root / "unused")
    return with_data(replace(config, eval=replace(config.eval, protocol=protocol)), **data)


def middle_of_boxes(track, box: str) -> np.ndarray:
    """Where AlwaysTheMiddle finds everything: the middle of a frame's own box, or of the box of a clip."""
    boxes = track.boxes.copy()
    if box == "clip":
        for first, scored in ((0, [0, 1, 2]), (3, [3, 4, 5]), (4, [6])):
            clip = track.boxes[first : first + 3]
            boxes[scored] = [*clip[:, :2].min(axis=0), *clip[:, 2:].max(axis=0)]
    return (boxes[:, :2] + boxes[:, 2:]) / 2


@pytest.mark.parametrize("protocol", ["tiled", "streaming"])
@pytest.mark.parametrize("box", ["clip", "frame"])
def test_scores_equal_a_count_by_hand(root, protocol, box):
    config = config_for(root, protocol, box=box)
    tracks = load_tracks(config.data, "test")
    model = AlwaysTheMiddle()
    evaluation = evaluate(model, config, tracks, SKELETON, codec_for(config), show_progress=False)

    hits, counted = np.zeros((2, 2, JOINTS)), np.zeros((2, JOINTS))  # [visible, occluded], [person, torso]
    for track, prediction in zip(tracks, evaluation.predictions):
        middle = middle_of_boxes(track, box)
        assert prediction.predicted.all()
        np.testing.assert_allclose(prediction.joints, np.repeat(middle[:, None], JOINTS, 1), atol=1e-3)
        for t in range(FRAMES):
            x1, y1, x2, y2 = track.score_boxes[t]
            sizes = (max(x2 - x1, y2 - y1), np.linalg.norm(track.joints[t, 2] - track.joints[t, 7]))
            for j in range(JOINTS):
                hidden = 0 if track.visible[t, j] else 1
                counted[hidden, j] += 1
                for rule, size in enumerate(sizes):
                    hits[hidden, rule, j] += np.linalg.norm(track.joints[t, j] - middle[t]) <= 0.2 * size
    for rule, name in enumerate(("person", "torso")):
        for hidden, row in enumerate((name, f"occluded, {name}")):
            found = evaluation.table.details[row]
            assert list(found["detected"].values()) == hits[hidden, rule].tolist()
            assert list(found["counted"].values()) == counted[hidden].tolist()
            assert evaluation.table.rows[row]["Joints"] == counted[hidden].sum()
    assert 0 < evaluation.score < 1
    assert evaluation.score == pytest.approx((hits[0, 0] / counted[0]).mean(), abs=1e-12)
    assert counted[1].tolist() == [0] * 5 + [3 * 4] + [0] * 7  # the left wrist, hidden in every second frame


@pytest.mark.parametrize("videos", [1, 2, 8])
def test_streaming_shows_each_frame_once_and_starts_once_per_video(root, videos):
    """`eval.batch_size` videos at once; each is a chain of frames, the state always that of the frame before."""
    config = config_for(root, "streaming")
    config = replace(config, eval=replace(config.eval, batch_size=videos))
    model = AlwaysTheMiddle()
    tracks = load_tracks(config.data, "test")
    predict_tracks(model, config, tracks, SKELETON, codec_for(config), show_progress=False)
    sizes = [min(videos, 3 - first) for first in range(0, 3, videos)]
    assert [call for call, _ in model.calls] == (["start"] + ["step"] * (FRAMES - 1)) * len(sizes)
    assert [len(shown) for _, shown in model.calls] == [size for size in sizes for _ in range(FRAMES)]
    starts = {mean for call, shown in model.calls if call == "start" for mean in shown}
    assert len({mean for _, shown in model.calls for mean in shown}) == 3 * FRAMES
    assert len(model.before) == 3 * (FRAMES - 1)
    for mean in set(model.before) - set(model.before.values()):  # the last frame of each video
        length = 1
        while mean in model.before:
            mean, length = model.before[mean], length + 1
        assert mean in starts and length == FRAMES


def test_videos_of_uneven_lengths_stream_as_if_alone(root):
    torch.manual_seed(0)
    model = models.build("rpstn", num_joints=JOINTS, **SMALL_MODEL).eval()
    config = config_for(root, "streaming")
    tracks = [cut(track, length) for track, length in zip(load_tracks(config.data, "test"), (7, 2, 5))]
    both = []
    for videos in (1, 8):
        changed = replace(config, eval=replace(config.eval, batch_size=videos))
        codec = codec_for(config)
        both.append(predict_tracks(model, changed, tracks, SKELETON, codec, show_progress=False))
    for alone, together in zip(*both):
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-5)


def cut(track, length):
    return replace(
        track,
        frames=track.frames[:length],
        **{
            name: getattr(track, name)[:length]
            for name in ("joints", "visible", "labelled", "boxes", "score_boxes", "image_ids")
        },
    )


def test_streaming_goes_through_frames_without_labels(root):
    """Labels decide what is counted, not what the network sees."""
    config = config_for(root, "streaming")
    tracks = load_tracks(config.data, "test")
    some = np.arange(FRAMES) % 3 == 1
    gaps = [replace(track, scored=some) for track in tracks]
    found, models_seen = [], []
    for chosen in (tracks, gaps):
        model = AlwaysTheMiddle()
        found.append(predict_tracks(model, config, chosen, SKELETON, codec_for(config), show_progress=False))
        models_seen.append(model.calls)
    assert models_seen[0] == models_seen[1]
    for whole, part in zip(*found):
        assert part.predicted.tolist() == some.tolist() and whole.predicted.all()
        np.testing.assert_array_equal(part.joints[some], whole.joints[some])


def test_released_protocol_scores_one_clip_per_video(root):
    config = config_for(root, "released")
    evaluation = evaluate(
        AlwaysTheMiddle(),
        config,
        load_tracks(config.data, "test"),
        SKELETON,
        codec_for(config),
        show_progress=False,
    )
    assert [int(p.predicted.sum()) for p in evaluation.predictions] == [3, 3, 3]
    assert all(np.isnan(p.joints[~p.predicted]).all() for p in evaluation.predictions)
    assert evaluation.table.rows["person"]["Joints"] < 3 * 3 * JOINTS
    assert "9 of 21 frames scored" in evaluation.text


def test_one_clip_streams_like_forward(root):
    """A video as long as one clip: the same frames, the same crops, the same heat maps by both ways."""
    torch.manual_seed(0)
    model = models.build("rpstn", num_joints=JOINTS, **SMALL_MODEL).eval()
    both = []
    for protocol in ("tiled", "streaming"):
        config = config_for(root, protocol, clip_length=FRAMES)
        both.append(
            predict_tracks(
                model,
                config,
                load_tracks(config.data, "test"),
                SKELETON,
                codec_for(config),
                show_progress=False,
            )
        )
    for tiled, streamed in zip(*both):
        np.testing.assert_allclose(tiled.scores, streamed.scores, atol=1e-5)
        np.testing.assert_allclose(tiled.joints, streamed.joints, atol=1e-2)


@pytest.mark.parametrize("protocol", ["tiled", "streaming"])
def test_single_image_network(root, protocol):
    model = models.build("sbl", num_joints=JOINTS, backbone="resnet18", width=8, channels=16).train()
    config = config_for(root, protocol)
    tracks = load_tracks(config.data, "test")
    evaluation = evaluate(model, config, tracks, SKELETON, codec_for(config), show_progress=False)
    assert model.training
    assert all(np.isfinite(p.joints).all() for p in evaluation.predictions)


def test_text_and_json_name_the_protocol(root):
    config = config_for(root, "tiled")
    evaluation = evaluate(
        AlwaysTheMiddle(),
        config,
        load_tracks(config.data, "test"),
        SKELETON,
        codec_for(config),
        show_progress=False,
    )
    for part in (
        "penn_action, test subset, 3 videos, 21 of 21 frames scored",
        "Protocol tiled",
        "ground-truth boxes x 1.25, one box for 3 frames; input 64x64; no flip; subpixel decoding",
        "PCK@0.2",
        "Head    Sho    Elb    Wri    Hip   Knee    Ank",
        "right shoulder to left hip",
        "left shoulder to right hip",
        "invisible end left out",
        "occluded joints (position known",
    ):
        assert part in evaluation.text
    plain = evaluation.to_dict()
    assert plain["config"]["eval"]["protocol"] == "tiled"
    assert set(plain["versions"]) == {"python", "torch", "numpy", "commit"}
    assert plain["pck"]["details"]["person"]["mean_of_joints"] == plain["pck"]["main"] == plain["score"]
    assert (
        evaluation.summary["occluded, person"]
        == plain["pck"]["details"]["occluded, person"]["mean_of_joints"]
    )


def test_nothing_to_score_is_said_before_a_training_needs_it(root):
    config = config_for(root, "tiled")
    subset = load_subset(config, "test")
    rehearse(AlwaysTheMiddle(), subset, SKELETON, codec_for(config))
    hidden = [replace(track, visible=np.zeros_like(track.visible)) for track in subset.tracks]
    with pytest.raises(
        UserError, match="expected something to choose weights by in the test subset, found nothing"
    ):
        rehearse(AlwaysTheMiddle(), replace(subset, tracks=hidden), SKELETON, codec_for(config))


def test_the_sweep_holds_both_normalisers_at_ten_thresholds(root):
    config = config_for(root, "tiled")
    evaluation = evaluate(
        AlwaysTheMiddle(),
        config,
        load_tracks(config.data, "test"),
        SKELETON,
        codec_for(config),
        show_progress=False,
    )
    rows = evaluation.to_dict()["sweep"]["rows"]
    assert list(rows) == [f"{name}, {tenth / 10:g}" for name in ("person", "torso") for tenth in range(1, 11)]
    for name in ("person", "torso"):
        assert rows[f"{name}, 0.2"] == evaluation.table.rows[name]
        curve = [rows[f"{name}, {tenth / 10:g}"]["Mean"] for tenth in range(1, 11)]
        assert curve == sorted(curve) and curve[0] < curve[-1]


def test_the_released_protocol_shows_the_released_figure_apart(root):
    by = {}
    for protocol in ("tiled", "released"):
        config = config_for(root, protocol)
        tracks = load_tracks(config.data, "test")
        by[protocol] = evaluate(
            AlwaysTheMiddle(), config, tracks, SKELETON, codec_for(config), show_progress=False
        )
    assert "pck_released" not in by["tiled"].text
    table = by["released"].table
    assert {name for name in table.rows if "released" in name} == {
        "pck_released, person",
        "pck_released, torso",
    }
    assert table.columns == by["tiled"].table.columns and np.isnan(
        table.rows["pck_released, person"]["Joints"]
    )
    lines = [line for line in by["released"].text.splitlines() if "released evaluator" in line]
    assert len(lines) == 2 and all("not a PCK" in line and "PCK@" not in line for line in lines)
    # Everything in the middle of the crop is wrong for most joints, and right for the released evaluator.
    assert table.main == by["released"].score < 0.5
    assert table.rows["pck_released, person"]["Mean"] > 90


def test_boxes_of_a_detector_have_no_score_unless_it_is_needed(root):
    config = config_for(root, "tiled")
    hidden = [
        replace(track, visible=np.zeros_like(track.visible), labelled=np.zeros_like(track.labelled))
        for track in load_tracks(config.data, "test")
    ]
    evaluation = evaluate(AlwaysTheMiddle(), config, hidden, SKELETON, codec_for(config), show_progress=False)
    assert np.isnan(evaluation.score) and evaluation.to_dict()["score"] is None
    assert "No joint is labelled in these boxes" in evaluation.text and "Head" not in evaluation.text
    json.dumps(evaluation.to_dict(), allow_nan=False)
