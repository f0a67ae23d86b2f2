"""`rpstn predict`: every kind of source, boxes, files, and what is left after a failure: nothing."""

import csv
import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny_clips import SMALL_MODEL, codec_for, tiny_config, write_penn

from rpstn_ext import models
from rpstn_training import cli
from rpstn_training.codec import crop_matrix, decode, normalise
from rpstn_training.config import to_dict
from rpstn_training.data.crops import apply, invert, warp
from rpstn_training.data.images import read_image
from rpstn_training.data.sets import load_tracks, penn_action
from rpstn_training.errors import UserError
from rpstn_training.predictions import predict_tracks
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.video import overlay as drawing
from rpstn_training.video import pipeline as predicting
from rpstn_training.video.pipeline import predict
from rpstn_training.video.sources import natural_key, open_source
from rpstn_training.video.streams import PersonStreams

FRAMES = 7
SIZE = (80, 64)  # width, height
SKELETON = penn_action.SKELETON


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth picture, uint8 [H, W, 3] RGB, that moves with its number."""
    coarse = np.random.default_rng(5).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(np.roll(coarse, number, axis=1), size, interpolation=cv2.INTER_CUBIC)


def write_picture(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def write_video(path: Path, frames: int = FRAMES, fps: float = 12.5, size: tuple[int, int] = SIZE) -> Path:
    with drawing.OverlayWriter(path, fps, size) as video:
        for number in range(frames):
            video.write(picture(number, size))
    return path


def write_weights(path: Path, name: str = "rpstn", **options: object) -> Path:
    """A network of random weights whose output depends on picture and state: its normalisations fit the pictures."""
    torch.manual_seed(3)
    model = models.build(name, num_joints=13, **options).train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    clip = torch.stack([torch.from_numpy(picture(number, (64, 64)).copy()) for number in range(12)])
    clip = normalise(clip.permute(0, 3, 1, 2)).unflatten(0, (4, 3))
    with torch.no_grad():
        if name == "rpstn":
            model.matcher.conv_d.weight.normal_(std=0.3)
            model.relation.norm.weight.fill_(1.0)
        model(clip if name == "rpstn" else clip[0])
    config = tiny_config(path.parent / "none", path.parent / "run")
    checkpoints.save(
        path,
        checkpoints.Checkpoint(
            config=to_dict(config),
            skeleton=SKELETON,
            model_name=name,
            model_options=options,
            codec=codec_for(config),
            selected_on=None,
            model_state=model.state_dict(),
            epoch=1,
            step=1,
            best_score=None,
            metrics=[],
        ),
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """Weights, a folder of lossless frames whose natural order is not the alphabet's, and a video."""
    folder = tmp_path_factory.mktemp("predict")
    frames = folder / "frames"
    frames.mkdir()
    for number in range(FRAMES):
        write_picture(frames / f"f{number + 5}.png", picture(number))
    (frames / "notes.txt").write_text("no picture")
    return SimpleNamespace(
        folder=folder,
        weights=write_weights(folder / "best.pt", **SMALL_MODEL),
        frames=frames,
        video=write_video(folder / "clip.mp4"),
    )


def run(made, source, out, **options):
    return predict(source, made.weights, out, device="cpu", show_progress=False, **options)


def boxes_csv(path: Path, rows: list, header: str = "frame,person,x1,y1,x2,y2") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def decoded_frames(path: Path) -> list[np.ndarray]:
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = video.read()
        if not ok:
            return frames
        frames.append(frame)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- what is found -------------------------------------------------------------------------------------------


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
    np.testing.assert_allclose([pose.joints for pose in result.poses], expected.joints, atol=1e-6)
    np.testing.assert_allclose([pose.scores for pose in result.poses], expected.scores, atol=1e-7)


def test_every_person_has_a_state_of_its_own_and_keeps_it_while_away(made, tmp_path):
    """Person 2 begins in frame 1 and is away in frames 3 and 4; person 0 is there from 2 to 6."""
    moving = {number: (10 + number, 5, 40 + number, 60) for number in (1, 2, 5, 6)}
    rows = [(number, 2, *box) for number, box in moving.items()]
    rows += [(number, 0, 30, 2, 75, 60) for number in range(2, 7)]
    boxes = boxes_csv(tmp_path / "b.csv", rows)
    result = run(made, made.frames, tmp_path / "out", boxes=boxes, overlay="none")
    assert [(pose.frame, pose.person) for pose in result.poses] == (
        [(1, 2), (2, 0), (2, 2), (3, 0), (4, 0), (5, 0), (5, 2), (6, 0), (6, 2)]
    )
    assert result.persons == (0, 2)

    for person in (0, 2):
        alone = boxes_csv(tmp_path / "alone.csv", [row for row in rows if row[1] == person])
        again = run(made, made.frames, tmp_path / "again", boxes=alone, overlay="none")
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


def test_a_network_for_single_images_works_too(made, tmp_path):
    weights = write_weights(tmp_path / "sbl.pt", "sbl", backbone="resnet18", width=8, channels=16)
    result = predict(
        made.frames, weights, tmp_path / "out", device="cpu", overlay="none", show_progress=False
    )
    alone = predict(
        made.frames / "f9.png", weights, tmp_path / "one", device="cpu", overlay="none", show_progress=False
    )
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


# ---- the files -----------------------------------------------------------------------------------------------


def test_the_command_writes_json_table_and_video(made, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    arguments = ["predict", made.video, "--weights", made.weights, "--out", out, "--overlay", "both"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert f"{FRAMES} frames, 1 person, {FRAMES} poses of 13 joints" in capsys.readouterr().out
    assert files_in(out) == ["overlay.mp4", "overlay.webm", "predictions.csv", "predictions.json"]

    content = json.loads((out / "predictions.json").read_text())
    assert [image["time"] for image in content["images"]] == [number / 12.5 for number in range(FRAMES)]
    assert {(image["width"], image["height"]) for image in content["images"]} == {SIZE}
    assert content["annotations"][0]["bbox"] == [0, 0, *SIZE]
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "time", "person", "joint", "x", "y", "score"]
    from_json = [
        (str(note["image_id"]), str(content["images"][note["image_id"]]["time"]), str(note["track_id"]), name)
        + tuple(map(str, note["keypoints"][3 * joint : 3 * joint + 3]))
        for note in content["annotations"]
        for joint, name in enumerate(content["categories"][0]["keypoints"])
    ]
    assert [tuple(row.values()) for row in rows] == from_json
    assert len(rows) == FRAMES * 13

    for name in ("overlay.mp4", "overlay.webm"):
        frames = decoded_frames(out / name)
        assert len(frames) == FRAMES
        assert frames[0].shape == (4 * SIZE[1], 4 * SIZE[0], 3)  # few pixels are enlarged
        assert cv2.VideoCapture(str(out / name)).get(cv2.CAP_PROP_FPS) == 12.5
        plain = cv2.resize(picture(3)[..., ::-1], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        drawn = (abs(frames[3].astype(int) - plain).max(axis=2) > 60).mean()
        assert 0.01 < drawn < 0.5  # something is drawn over a picture that is still there


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
    assert files_in(tmp_path / "out") == ["overlay.png", "predictions.csv", "predictions.json"]
    assert read_image(tmp_path / "out" / "overlay.png").shape == (4 * SIZE[1], 4 * SIZE[0], 3)


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


# ---- boxes ---------------------------------------------------------------------------------------------------

ROWS = [(number, 3, 5 + number, 4, 50 + number, 60.5) for number in range(FRAMES)]


def as_coco(rows: list, name: str) -> dict:
    notes = [
        {
            "image_id": 100 + row[0],
            "track_id": row[1],
            "bbox": [row[2], row[3], row[4] - row[2] + 1, row[5] - row[3] + 1],
        }
        for row in rows
    ]
    values = {"frame": lambda number: number, "file_name": lambda number: f"some/where/f{number + 5}.png"}
    images = [{"id": 100 + number, name: values[name](number)} for number in range(FRAMES)]
    return {"images": images, "annotations": notes}


def test_every_form_of_the_boxes_means_the_same(made, tmp_path):
    plain = boxes_csv(tmp_path / "b.csv", ROWS)
    expected = run(made, made.frames, tmp_path / "out", boxes=plain, overlay="none")
    forms = {
        "names.csv": boxes_csv(
            tmp_path / "names.csv", [(f"f{row[0] + 5}.png", *row[1:]) for row in ROWS[::-1]]
        ),
        "columns.csv": boxes_csv(
            tmp_path / "columns.csv",
            [(0.9, *row[2:], row[1], row[0]) for row in ROWS],
            "score, x1, y1, x2, y2, person, frame",
        ),
        "own.json": tmp_path / "out" / "predictions.json",
    }
    notes = as_coco(ROWS, "frame")["annotations"]
    contents = {
        "coco.json": as_coco(ROWS, "file_name"),
        "list.json": [{**note, "image_id": note["image_id"] - 100, "score": 1.0} for note in notes],
        "frame.json": [
            {"frame": n["image_id"] - 100, "person": n["track_id"], "bbox": n["bbox"]} for n in notes
        ],
    }
    for name, content in contents.items():
        forms[name] = tmp_path / name
        forms[name].write_text(json.dumps(content))
    for file in forms.values():
        result = run(made, made.frames, tmp_path / "again", boxes=file, overlay="none")
        assert result.persons == (3,)
        np.testing.assert_allclose(
            [pose.joints for pose in result.poses], [pose.joints for pose in expected.poses], atol=1e-6
        )


def bad_rows(field: int, value: object) -> list:
    rows = [list(row) for row in ROWS]
    rows[2][field] = value
    return rows


@pytest.mark.parametrize(
    "content, sentence",
    [
        (bad_rows(2, "nan"), r"b\.csv, line 4: x1: expected a number of pixels, got 'nan'"),
        (bad_rows(3, "inf"), r"b\.csv, line 4: y1: expected a number of pixels, got 'inf'"),
        (bad_rows(5, "1e300"), r"b\.csv, line 4: y2: expected a number of pixels, got '1e300'"),
        (bad_rows(4, ""), r"b\.csv, line 4: x2: expected a number of pixels, got ''"),
        (
            bad_rows(4, 7)[2:3],
            r"b\.csv, line 2: expected a box with a width and a height above 1 pixel, got x1,y1,x2,y2 = 7,4,7,60\.5",
        ),
        (
            bad_rows(2, -9) and [[2, 3, 90, 4, 99, 60]],
            r"b\.csv, line 2: expected a box in the 80x64 picture.*outside",
        ),
        (bad_rows(0, 7), r"b\.csv, line 4: expected a frame between 0 and 6, got frame 7"),
        (bad_rows(0, -1), r"b\.csv, line 4: frame: expected a whole number from 0 on, got '-1'"),
        (bad_rows(0, "9" * 5000), r"b\.csv, line 4: frame: expected a whole number from 0 on, got '999"),
        (
            bad_rows(0, "../f5.jpg"),
            r"b\.csv, line 4: expected one of the pictures as frame, got '\.\./f5\.jpg'",
        ),
        (bad_rows(1, 1.5), r"b\.csv, line 4: person: expected a whole number from 0 on, got '1\.5'"),
        (bad_rows(0, 1), r"b\.csv, line 4: expected one box for person 3 in frame 1, got another.*line 3"),
        ([*ROWS, (1, 2, 3)], r"b\.csv, line 9: expected 6 values as in the header"),
        ([], r"b\.csv: expected at least one box, got none"),
    ],
)
def test_a_bad_row_of_a_table_is_named(content, sentence, made, tmp_path):
    with pytest.raises(UserError, match=sentence):
        run(made, made.frames, tmp_path / "out", boxes=boxes_csv(tmp_path / "b.csv", content))
    assert files_in(tmp_path) == ["b.csv"]


@pytest.mark.parametrize(
    "content, sentence",
    [
        (
            '[{"frame": 0, "bbox": [1, 2, NaN, 4]}]',
            r"b\.json, entry 0: bbox\[2\]: expected a number of pixels, got nan",
        ),
        (
            '[{"frame": 0, "bbox": [1, 2, 0, 4]}]',
            r"entry 0: expected a box with a width and a height above 1 pixel, got x,y,width,height = 1,2,0,4",
        ),
        (
            '[{"frame": 0, "bbox": [1, 2, 3]}]',
            r"entry 0: expected bbox \[x, y, width, height\], got \[1, 2, 3\]",
        ),
        (
            '[{"frame": 0, "bbox": [1, 2, 3, true]}]',
            r"entry 0: bbox\[3\]: expected a number of pixels, got True",
        ),
        ('[{"bbox": [1, 2, 3, 4]}]', r"entry 0: frame: expected a whole number from 0 on, got nothing"),
        (
            '[{"frame": 0, "bbox": [1, 2, 9, 9]}, 5]',
            r"entry 1: expected an object with image_id and bbox, got int",
        ),
        (
            '[{"frame": 0, "bbox": [1, 2, 9, 9]}, {"frame": 0, "bbox": [1, 2, 9, 9]}]',
            r"entry 1: expected a track_id that says who this is, frame 0 has several boxes \(entry 0\)",
        ),
        (
            '{"images": [{"id": 1, "file_name": "f5.png"}], "annotations": [{"image_id": 2, "bbox": [1, 2, 3, 4]}]}',
            r'entry 0: expected an image_id that is in "images", got 2',
        ),
        (
            '{"images": [{"id": 1, "file_name": "/etc/pwd"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
            r"entry 0: expected one of the pic",
        ),
        ('{"annotations": []}', r'b\.json: expected "images" with id and file_name or frame, got nothing'),
        ("5", r"b\.json: expected a list of boxes, or a COCO file"),
        ('[{"frame": 0,\n', r"b\.json: expected a whole JSON file, it does not parse .*line 2"),
        ("[" * 100_000, r"b\.json: expected a whole JSON file, it does not parse"),
    ],
)
def test_a_bad_entry_of_a_json_file_is_named(content, sentence, made, tmp_path):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        run(made, made.frames, tmp_path / "out", boxes=tmp_path / "b.json")
    assert files_in(tmp_path) == ["b.json"]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("b.csv", None, "expected a file with boxes .* found none"),
        ("b.csv", b"\xff\xfe\x00", "it is not UTF-8 text"),
        ("b.csv", b"x,y\n1,2\n", r"expected the header .* got x,y \(without frame, x1, y1, x2, y2\)"),
        ("b.csv", b"", "expected the header .* got nothing"),
        ("b.txt", b"0", r"expected boxes in a file that ends in \.csv or \.json"),
    ],
)
def test_a_bad_file_of_boxes_is_named(name, content, sentence, made, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        run(made, made.frames, tmp_path / "out", boxes=tmp_path / name)


def test_a_box_beyond_the_end_of_a_video_is_named(made, tmp_path):
    """The header's length is not trusted, so this is known at the end; nothing stays."""
    boxes = boxes_csv(tmp_path / "b.csv", [*ROWS, (FRAMES, 3, 5, 4, 50, 60)])
    with pytest.raises(
        UserError, match=rf"b\.csv, line 9: expected a frame between 0 and 6, got frame {FRAMES}"
    ):
        run(made, made.video, tmp_path / "out", boxes=boxes)
    assert files_in(tmp_path) == ["b.csv"]


# ---- bad sources ---------------------------------------------------------------------------------------------


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
        r"c\.webm: expected 40 frames as its header says, (\d+) decode \(frame \1 does not\)",
    ),
    "damaged webm": (
        lambda t, m: damaged_webm(t / "d.webm"),
        r"d\.webm: expected 40 frames as its header says, \d+ decode \(frame \d+ does not\)",
    ),
    "empty folder": (
        lambda t, m: empty_folder(t / "f"),
        r"f: expected a folder of frames .* found no picture",
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
    with pytest.raises(UserError, match=r"cut\.pt: expected a whole file with weights"):
        predict(
            made.video, cut(tmp_path / "cut.pt", made.weights, 0.5), tmp_path / "out", show_progress=False
        )
    assert files_in(tmp_path) == ["cut.pt"]


# ---- whole or not at all -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), ValueError("bug"), OSError(28, "No space left on device")]
)
@pytest.mark.parametrize("place", ["draw_pose", "write_csv"])
def test_a_failure_midway_leaves_the_results_of_before(place, failure, made, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(made, made.frames, out, overlay="both")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        if place == "write_csv" or len(calls) == 4:
            raise failure

    monkeypatch.setattr(drawing if place == "draw_pose" else predicting, place, fail)
    for target in (out, tmp_path / "fresh" / "out"):
        calls.clear()
        with pytest.raises((type(failure), UserError)):
            run(made, made.video, target, overlay="both")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert files_in(tmp_path) == ["out"]


def test_a_full_disk_while_the_video_is_written(tmp_path):
    """cv2 does not say that a write failed; the limit on a file's size is our full disk."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        for name in ("a.mp4", "a.webm"):
            with (
                pytest.raises(UserError, match=rf"{name}: could not be written whole .*space left"),
                drawing.OverlayWriter(tmp_path / name, 25, (64, 64)) as video,
            ):
                for _ in range(60):
                    noise = np.roll(noise, 17, axis=(0, 1)) ^ 85
                    video.write(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
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


# ---- parts ---------------------------------------------------------------------------------------------------


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
