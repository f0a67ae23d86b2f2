"""`rpstn predict`: what is found, and the files that it leaves."""

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from small_videos import (
    FRAMES,
    SIZE,
    SKELETON,
    boxes_csv,
    decoded_frames,
    files_in,
    make_all,
    picture,
    run,
    with_strip,
    write_picture,
    write_poses,
    write_video,
    write_weights,
)
from tiny_clips import SMALL_MODEL, tiny_config, write_penn

from rpstn_training import cli
from rpstn_training.codec import Codec, crop_matrix, decode, normalise
from rpstn_training.data.crops import apply, invert, warp
from rpstn_training.data.images import read_image
from rpstn_training.data.sets import load_tracks
from rpstn_training.errors import UserError
from rpstn_training.packaged import packaged_weights
from rpstn_training.predictions import predict_tracks
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.video.pipeline import predict
from rpstn_training.video.sources import natural_key, open_source
from rpstn_training.video.streams import PersonStreams, Pose
from rpstn_training.video.writers import CocoWriter, CsvWriter, FoundPose, FrameInfo


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    return make_all(tmp_path_factory.mktemp("predict"))


def test_a_stream_of_whole_pictures_equals_the_network_over_the_clip(made, tmp_path):
    """Seven frames with weights of clips of three: the clip's border is no reset."""
    result = run(made, made.frames, tmp_path / "out", overlay="none")
    checkpoint = checkpoints.load(made.weights)
    box = np.array([0, 0, SIZE[0] - 1, SIZE[1] - 1])
    matrix = crop_matrix(box, (64, 64), box_scale=checkpoint.codec.box_scale)
    crops = np.stack([warp(picture(number), matrix, (64, 64)) for number in range(FRAMES)])
    with torch.no_grad():
        clip = normalise(torch.from_numpy(crops).permute(0, 3, 1, 2))[None]
        points, scores = decode(checkpoint.build_model()(clip)[0], stride=4, method="subpixel")
    joints = np.stack([pose.joints for pose in result.poses])
    np.testing.assert_allclose(joints, apply(invert(matrix), points.double().numpy()), atol=0.02)
    found = np.stack([pose.scores for pose in result.poses])
    np.testing.assert_allclose(found, scores.numpy(), rtol=1e-3, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-3  # the frames do differ


@pytest.mark.parametrize(
    "other", [{"box_scale": 1.7}, {"decoding": "argmax"}, {"decoding": "quarter"}, {"input_size": (96, 64)}]
)
def test_crops_and_decoding_are_those_of_the_checkpoint(made, tmp_path, other):
    checkpoint = checkpoints.load(made.weights)
    codec = replace(checkpoint.codec, **other)
    checkpoints.save(tmp_path / "other.pt", replace(checkpoint, codec=codec))
    box = np.array([9.0, 4.0, 50.0, 60.0])
    found = PersonStreams(checkpoints.load(tmp_path / "other.pt")).next_frame(picture(0), {0: box})[0]
    matrix = crop_matrix(box, codec.input_size, box_scale=codec.box_scale)
    crop = torch.from_numpy(warp(picture(0), matrix, codec.input_size)).permute(2, 0, 1)
    with torch.no_grad():
        maps, _ = checkpoint.build_model().start(normalise(crop[None]))
    points, _ = decode(maps[0], stride=4, method=codec.decoding)
    np.testing.assert_allclose(found.joints, apply(invert(matrix), points.double().numpy()), atol=1e-3)
    as_before = PersonStreams(checkpoint).next_frame(picture(0), {0: box})[0]
    assert np.abs(found.joints - as_before.joints).max() > 0.05


def test_keys_of_the_training_that_nobody_knows_stop_no_prediction(made, tmp_path):
    content = torch.load(made.weights, weights_only=True)
    content["config"]["train"]["warm_up_of_2030"] = 3
    content["config"]["data"]["name"] = "a set that is not there"
    content["config"].pop("heatmap")
    torch.save(content, tmp_path / "newer.pt")
    newer = predict(
        made.frames,
        tmp_path / "newer.pt",
        tmp_path / "out",
        whole_picture=True,
        device="cpu",
        overlay="none",
        show_progress=False,
    )
    as_ever = run(made, made.frames, tmp_path / "ever", overlay="none")
    np.testing.assert_array_equal(newer.poses[-1].joints, as_ever.poses[-1].joints)


def test_boxes_are_cut_out_as_in_training(tmp_path):
    """With the boxes of the labels: the joints of `rpstn eval` with protocol streaming."""
    root = write_penn(tmp_path / "penn", train=1, test=1, frames=7)
    weights = write_weights(tmp_path / "best.pt", **SMALL_MODEL)
    config = tiny_config(root, tmp_path / "run")
    config = replace(config, eval=replace(config.eval, protocol="streaming"))
    (track,) = load_tracks(config.data, "test")
    checkpoint = checkpoints.load(weights)
    (expected,) = predict_tracks(
        checkpoint.build_model(), config, [track], SKELETON, checkpoint.codec, show_progress=False
    )
    assert np.ptp(track.boxes, axis=0).min() > 0.5  # the boxes move
    rows = [(number, 0, *box) for number, box in enumerate(track.boxes.tolist())]
    result = predict(
        track.frames[0].parent,
        weights,
        tmp_path / "out",
        boxes=boxes_csv(tmp_path / "b.csv", rows),
        device="cpu",
        overlay="none",
        show_progress=False,
    )
    # Folded normalisations err by 1e-5, and the file has three digits.
    np.testing.assert_allclose([pose.joints for pose in result.poses], expected.joints, atol=5e-3)
    np.testing.assert_allclose(
        [pose.scores for pose in result.poses], expected.scores, rtol=1e-4, atol=5.1e-6
    )


def test_every_person_has_a_state_of_its_own_and_keeps_it_while_away(made, tmp_path):
    """Person 2 begins in frame 1 and is away in frames 3 and 4; person 0 is there from 2 to 6."""
    moving = {number: (10 + number, 5, 40 + number, 60) for number in (1, 2, 5, 6)}
    rows = [(number, 2, *box) for number, box in moving.items()]
    rows += [(number, 0, 30, 2, 75, 60) for number in range(2, 7)]
    boxes = boxes_csv(tmp_path / "b.csv", rows)
    result = run(made, made.frames, tmp_path / "out", boxes=boxes, follow=False, overlay="none")
    assert [(pose.frame, pose.person) for pose in result.poses] == (
        [(1, 2), (2, 0), (2, 2), (3, 0), (4, 0), (5, 0), (5, 2), (6, 0), (6, 2)]
    )
    assert result.persons == (0, 2)

    for person in (0, 2):
        alone = boxes_csv(tmp_path / "alone.csv", [row for row in rows if row[1] == person])
        again = run(made, made.frames, tmp_path / "again", boxes=alone, follow=False, overlay="none")
        together = [pose.joints for pose in result.poses if pose.person == person]
        np.testing.assert_allclose(together, [pose.joints for pose in again.poses], atol=0.02)

    # By hand: the frames without a box are left out, nothing else happens.
    checkpoint = checkpoints.load(made.weights)
    model, state, scores = checkpoint.build_model(), None, []
    around = {1: (1, 2), 2: (1, 2), 5: (5, 6), 6: (5, 6)}  # frames without a gap are cut out by one box
    for number in moving:
        first, last = (moving[n] for n in around[number])
        box = np.array([*first[:2], *last[2:]])
        crop = warp(picture(number), crop_matrix(box, (64, 64)), (64, 64))
        image = normalise(torch.from_numpy(crop).permute(2, 0, 1)[None])
        with torch.no_grad():
            heatmaps, state = model.start(image) if state is None else model.step(image, state)
        scores.append(decode(heatmaps, stride=4)[1][0].numpy())
    found = [pose.scores for pose in result.poses if pose.person == 2]
    np.testing.assert_allclose(found, scores, rtol=2e-3, atol=2e-3)


def test_a_person_can_be_forgotten(made):
    streams = PersonStreams(checkpoints.load(made.weights))
    box = {4: np.array([5.0, 5.0, 60.0, 60.0])}
    first = streams.next_frame(picture(0), box)[4]
    second = streams.next_frame(picture(0), box)[4]
    assert abs(second.scores - first.scores).max() > 1e-3
    streams.forget(4)
    np.testing.assert_array_equal(streams.next_frame(picture(0), box)[4].scores, first.scores)
    assert streams.next_frame(picture(0), {}) == {}


@pytest.mark.parametrize(("precision", "off"), [("bfloat16", 0.05), ("float16", 0.01)])
@pytest.mark.parametrize("name", ["packaged rpstn", "sbl"])
def test_products_in_16_bits_make_nearly_the_same_maps(name, precision, off, tmp_path, monkeypatch):
    """Off by so much of the largest value, in first frames and in later ones, which see what the first ones left."""
    if name == "sbl":
        weights = write_weights(tmp_path / "sbl.pt", name, backbone="resnet18", width=8, channels=16)
    else:
        weights = packaged_weights()
    decode, seen = Codec.decode, []
    monkeypatch.setattr(Codec, "decode", lambda codec, maps: seen.append(maps) or decode(codec, maps))
    for kind in ("float32", precision):
        streams = PersonStreams(checkpoints.load(weights), precision=kind)
        box = np.array([5.0, 5.0, 60.0, 60.0])
        for number in range(3):
            streams.next_frame(picture(number), {0: box, 1: box + 3})
        streams.look(picture(0), [box])
    assert len(seen) == 8
    for exact, found in zip(seen[:4], seen[4:]):
        assert found.dtype == torch.float32
        error = float((found - exact).abs().max() / exact.abs().max())
        assert 1e-6 < error < off


def test_the_precision_is_told_and_results_depend_on_it(made, tmp_path):
    exact = run(made, made.frames, tmp_path / "exact", overlay="none", whole_picture=True)
    half = run(made, made.frames, tmp_path / "half", overlay="none", precision="bfloat16")
    assert not np.array_equal(exact.poses[3].scores, half.poses[3].scores)
    for folder, word in (("exact", "float32"), ("half", "bfloat16")):
        content = json.loads((tmp_path / folder / "predictions.json").read_text())
        assert content["info"]["precision"] == word
    with pytest.raises(UserError, match=r"expected no results here, found those of .* other options"):
        run(made, made.frames, tmp_path / "half", overlay="none", overwrite=False)
    with pytest.raises(UserError, match="--precision: expected one of float32, bfloat16, float16, got half"):
        run(made, made.frames, tmp_path / "none", precision="half")


def test_a_network_for_single_images_works_too(made, tmp_path):
    weights = write_weights(tmp_path / "sbl.pt", "sbl", backbone="resnet18", width=8, channels=16)
    single = SimpleNamespace(weights=weights)
    result = run(single, made.frames, tmp_path / "out", overlay="none")
    alone = run(single, made.frames / "f9.png", tmp_path / "one", overlay="none")
    np.testing.assert_array_equal(result.poses[4].joints, alone.poses[0].joints)


def test_stills_have_no_past_and_sizes_of_their_own(made, tmp_path):
    files = [
        write_picture(tmp_path / "a.png", picture(0)),
        write_picture(tmp_path / "b.png", picture(3, (50, 90))),
        write_picture(tmp_path / "c.png", picture(3)),
    ]
    with pytest.raises(UserError, match=r"b\.png: expected 80x64 pixels like the first.*got 50x90.*--stills"):
        run(made, files, tmp_path / "out")
    result = run(made, files, tmp_path / "out", stills=True)
    assert [(frame.file_name, frame.width, frame.height) for frame in result.frames] == (
        [("a.png", 80, 64), ("b.png", 50, 90), ("c.png", 80, 64)]
    )
    for file, pose in zip(files, result.poses):
        np.testing.assert_array_equal(pose.scores, run(made, file, tmp_path / "one").poses[0].scores)
    assert len(decoded_frames(tmp_path / "out" / "overlay.mp4")) == 3


def test_the_command_writes_json_table_and_video(made, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    arguments = ["predict", made.video, "--weights", made.weights, "--out", out, "--overlay", "both"]
    assert cli.main([*map(str, arguments), "--whole-picture"]) == 0
    printed = capsys.readouterr().out
    assert f"{FRAMES} frames, 1 person, {FRAMES} poses of 13 joints" in printed
    assert "people: the whole picture is the box of one person\n" in printed
    assert files_in(out) == [
        "made_with.json",
        "overlay.mp4",
        "overlay.webm",
        "predictions.csv",
        "predictions.json",
    ]

    content = json.loads((out / "predictions.json").read_text())
    assert content["info"]["boxes"] == "the whole picture is the box of one person"
    assert [image["time"] for image in content["images"]] == [number / 12.5 for number in range(FRAMES)]
    assert {(image["width"], image["height"]) for image in content["images"]} == {SIZE}
    assert content["annotations"][0]["bbox"] == [0, 0, *SIZE]
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "time", "person", "joint", "x", "y", "score", "probability", "state"]
    from_json = [
        (str(note["image_id"]), str(content["images"][note["image_id"]]["time"]), str(note["track_id"]), name)
        + tuple(map(str, note["keypoints"][3 * joint : 3 * joint + 3]))
        + ("", "")  # weights of which nobody has measured what their scores are worth
        for note in content["annotations"]
        for joint, name in enumerate(content["categories"][0]["keypoints"])
    ]
    assert [tuple(row.values()) for row in rows] == from_json
    assert len(rows) == FRAMES * 13

    for name in ("overlay.mp4", "overlay.webm"):
        frames = decoded_frames(out / name)
        assert len(frames) == FRAMES
        assert frames[0].shape == with_strip(SIZE)  # few pixels are enlarged
        assert cv2.VideoCapture(str(out / name)).get(cv2.CAP_PROP_FPS) == 12.5
        plain = cv2.resize(picture(3)[..., ::-1], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        drawn = (abs(frames[3][: 4 * SIZE[1]].astype(int) - plain).max(axis=2) > 60).mean()
        assert 0.01 < drawn < 0.5  # something is drawn over a picture that is still there


def test_files_tell_probabilities_and_states(tmp_path):
    """Of two people one comes from weights that are calibrated."""
    joints = np.arange(26, dtype=np.float64).reshape(13, 2)
    known = {"probabilities": np.arange(13) / 13, "states": ("hidden", "outside", *["visible"] * 11)}
    box = np.array([0.0, 0.0, 9.0, 9.0])
    poses = [
        FoundPose.of(0, person, box, Pose(joints=joints, scores=np.ones(13), **worth))
        for person, worth in enumerate((known, {}))
    ]
    frame = FrameInfo(number=0, time=0.0, file_name="a.png", width=90, height=90)
    write_poses(CocoWriter(tmp_path), [(frame, poses)])
    first, second = json.loads((tmp_path / "predictions.json").read_text())["annotations"]
    assert first["probabilities"][:3] == [0.0, 0.07692, 0.15385]
    assert first["states"][:3] == ["hidden", "outside", "visible"]
    assert first["probability"] == 0.46154  # 6/13, the mean
    assert {second[key] for key in ("probabilities", "states", "probability")} == {None}
    write_poses(CsvWriter(tmp_path), [(frame, poses)])
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [(row["probability"], row["state"]) for row in rows[:2]] == [
        ("0.0", "hidden"),
        ("0.07692", "outside"),
    ]
    assert {(row["probability"], row["state"]) for row in rows[13:]} == {("", "")}


def test_pycocotools_reads_the_json(made, tmp_path, capsys):
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    run(made, made.frames, tmp_path / "out", overlay="none")
    coco = coco_module.COCO(str(tmp_path / "out" / "predictions.json"))
    assert [coco.imgs[number]["file_name"] for number in coco.getImgIds()] == (
        [f"f{number}.png" for number in range(5, 5 + FRAMES)]
    )
    notes = coco.loadAnns(coco.getAnnIds(imgIds=[4]))
    assert [len(note["keypoints"]) for note in notes] == [3 * 13]
    category = coco.loadCats([1])[0]
    assert tuple(category["keypoints"]) == SKELETON.joints
    assert [category["keypoints"][joint - 1] for joint in category["skeleton"][0]] == [
        "head",
        "left_shoulder",
    ]
    results = coco.loadRes(coco.loadAnns(coco.getAnnIds()))
    assert len(results.anns) == FRAMES


def test_one_picture_gives_one_picture(made, tmp_path):
    run(made, made.frames / "f7.png", tmp_path / "out")
    names = ["made_with.json", "overlay.png", "predictions.csv", "predictions.json"]
    assert files_in(tmp_path / "out") == names
    assert read_image(tmp_path / "out" / "overlay.png").shape == with_strip(SIZE)


def test_pictures_can_have_another_rate(made, tmp_path):
    result = run(made, made.frames, tmp_path / "out", fps=5, overlay="none")
    assert [frame.time for frame in result.frames[:3]] == [0.0, 0.2, 0.4]
    assert run(made, made.frames, tmp_path / "out", overlay="none").frames[1].time == 1 / 25


def test_real_video(made, shared, tmp_path):
    source = next((shared / "samples" / "posetrack18" / "videos").rglob("*.mp4"))
    result = run(made, source, tmp_path)
    assert [(frame.width, frame.height) for frame in result.frames] == [(1280, 720)] * 5
    assert result.fps == 30
    assert len(decoded_frames(tmp_path / "overlay.mp4")) == 5


def test_natural_order():
    names = ["f10.png", "f9.png", "F2.png", "f1b.png", "f1a.png", "10.png", "9.png"]
    assert sorted(names, key=natural_key) == (
        ["9.png", "10.png", "f1a.png", "f1b.png", "F2.png", "f9.png", "f10.png"]
    )


def test_frames_come_one_at_a_time(made):
    source = open_source(made.video)
    frames = source.frames()
    assert next(frames).number == 0
    assert next(frames).time == pytest.approx(0.08)
    assert (source.expected, source.fps) == (FRAMES, 12.5)
    frames.close()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_of_odd_size_is_whole(suffix, tmp_path):
    path = write_video(tmp_path / f"odd{suffix}", 5, size=(81, 63))
    frames = decoded_frames(path)
    assert len(frames) == 5
    assert frames[0].shape == (64, 82, 3)
    inner = frames[2][:63, :81, ::-1].astype(int)
    assert abs(inner - picture(2, (81, 63))).mean() < 12


@pytest.mark.parametrize("fps", [0.1, 29.97, 123.4567, 1000])
def test_any_rate_can_be_written(fps, tmp_path):
    path = write_video(tmp_path / "rate.mp4", 3, fps=fps)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-4)
