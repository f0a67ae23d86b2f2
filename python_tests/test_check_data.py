"""`rpstn check-data`: counts, defects, contact sheets and the exit status; pictures and headers that do not fit."""

import argparse
import csv
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
import yaml
from label_files import HEIGHT, WIDTH, body, dump, picture
from tiny_clips import write_penn

from rpstn_training.commands import check_data
from rpstn_training.data import images as frames
from rpstn_training.data.findings import frame_ranges
from rpstn_training.data.sets import DATASETS, coco, penn_action
from rpstn_training.errors import UserError


def command(tmp_path, data, *more):
    """Exit status of check-data on a small configuration; findings go to tmp_path / out."""
    config = {"output": str(tmp_path / "run"), "data": {"input_size": [64, 64], "workers": 0} | data}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    parser = argparse.ArgumentParser()
    check_data.add_arguments(parser)
    return check_data.run(parser.parse_args([str(path), "--out", str(tmp_path / "out"), *more]))


def coco_set(root, people=3, part="val", **changes):
    """Pictures of noise, one person each, with a disc on every joint."""
    rng = np.random.default_rng(1)
    images, annotations = [], []
    for number in range(1, people + 1):
        keypoints = body(17, 30 + 5 * number, 20)
        image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for x, y in zip(keypoints[::3], keypoints[1::3]):
            cv2.circle(image, (round(x), round(y)), 2, (255, 255, 255), -1)
        path = root / f"{part}2017" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        images.append({"id": number, "file_name": path.name, "width": WIDTH, "height": HEIGHT})
        box = [20 + 5 * number, 10, 60, 70]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints, "bbox": box}
        )
    category = {"id": 1, "name": "person", "keypoints": list(coco.SKELETON.joints)}
    values = {"images": images, "annotations": annotations, "categories": [category]} | changes
    return dump(root / "annotations" / f"person_keypoints_{part}2017.json", values)


@pytest.fixture
def coco_root(tmp_path):
    root = tmp_path / "coco"
    coco_set(root, 3, "train")
    coco_set(root, 2, "val")
    return root


def coco_data(root):
    return {"name": "coco", "root": str(root), "clip_length": 1}


def test_a_sound_set_ends_with_zero(tmp_path, coco_root, capsys):
    assert command(tmp_path, coco_data(coco_root)) == 0
    text = capsys.readouterr().out
    assert "Nothing found that would stop a training." in text and "Known defects" not in text
    row = next(line for line in text.splitlines() if line.startswith("people"))
    assert row.split() == ["people", "3", "150,000", "2"]
    found = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert found["train"]["counts"] == {
        "images": 3,
        "people": 3,
        "joints": 51,
        "images with people": 3,
        "tracks": 3,
        "clips of 1": 3,
        "pictures read": 3,
    }
    assert (tmp_path / "out" / "train.png").is_file() and (tmp_path / "out" / "test.png").is_file()


def test_heat_maps_of_the_sheet_stand_on_the_joints(tmp_path, coco_root):
    """The right half of a strip is bright where the crop has a disc, and dark elsewhere."""
    command(tmp_path, coco_data(coco_root), "--set", "data.input_size=[192, 256]")
    sheet = cv2.imread(str(tmp_path / "out" / "test.png"))
    assert sheet.shape[0] == 256 + 18 + 4
    maps = sheet[18:274, 196:388].astype(int)  # second cell of the first strip
    factor = 192 / (59 * 1.25)  # the box is wider than the crop
    for joint in range(17):
        x = (35 + 2 * joint - (25 + 59 / 2)) * factor + 95.5
        y = (20 + 3 * joint - (10 + 69 / 2)) * factor + 127.5
        assert maps[round(y), round(x)].sum() > 550
    assert np.median(maps.sum(axis=2)) < 150


def test_known_defects_are_listed_and_end_with_zero(tmp_path, coco_root, capsys):
    values = json.loads((coco_root / "annotations" / "person_keypoints_train2017.json").read_text())
    values["annotations"][0]["iscrowd"] = 1
    values["annotations"][1]["bbox"] = [-50, 10, 90, 70]
    values["annotations"][2]["keypoints"][0] = WIDTH + 20
    path = dump(coco_root / "annotations" / "person_keypoints_train2017.json", values)
    assert command(tmp_path, coco_data(coco_root)) == 0
    assert f"first: {path}, annotations[0] in 1.png" in capsys.readouterr().out
    with (tmp_path / "out" / "defects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["subset"], row["what"], row["done"]) for row in rows] == [
        ("train", "a crowd instead of one person", "left out"),
        ("train", "a box partly outside the picture", "cut at the border"),
        ("train", "joints outside the picture", "kept; without weight where outside the crop"),
    ]


def test_everything_that_would_stop_a_training_is_listed_at_once(tmp_path, coco_root, capsys):
    picture(coco_root / "train2017" / "1.png", (WIDTH + 1, HEIGHT))
    (coco_root / "train2017" / "2.png").write_bytes(b"no picture")
    (coco_root / "val2017" / "2.png").unlink()
    assert command(tmp_path, coco_data(coco_root)) == 1
    lines = capsys.readouterr().out.split("This would stop a training:\n")[1].splitlines()
    assert [line.split(": expected")[0].strip() for line in lines[:3]] == [
        str(coco_root / "train2017" / "1.png"),
        str(coco_root / "train2017" / "2.png"),
        str(coco_root / "val2017" / "2.png"),
    ]
    assert "expected 120x90 pixels" in lines[0] and "does not decode" in lines[1]
    assert (tmp_path / "out" / "train.png").is_file()  # of what can be read
    assert (
        command(tmp_path, coco_data(coco_root), "--labels-only") == 1
    )  # the sheet and the missing one remain


def test_many_errors_are_counted_by_kind_and_the_first_are_printed(tmp_path, coco_root, capsys):
    path = coco_set(coco_root, 30, "train")
    values = json.loads(path.read_text())
    for number, annotation in enumerate(values["annotations"][2:]):
        annotation["bbox" if number < 20 else "keypoints"] = [1, 2]
    dump(path, values)
    assert command(tmp_path, coco_data(coco_root)) == 1
    kinds, errors = (
        capsys.readouterr().out.split("What would stop a training, train, by kind:\n")[1].split("\n\n")
    )
    assert [line.strip() for line in kinds.splitlines()] == [
        "8  annotations[].keypoints: expected 51 numbers",
        "20  annotations[].bbox: expected a list of 4 finite numbers",
    ]
    assert errors.count(str(path)) == 20 and "... and 8 more, see" in errors
    with (tmp_path / "out" / "defects.csv").open() as file:
        assert sum(row["done"] == "stops a training" for row in csv.DictReader(file)) == 28


def test_the_conventions_in_use_are_shown(tmp_path, coco_root, capsys):
    assert command(tmp_path, coco_data(coco_root)) == 0
    text = capsys.readouterr().out
    assert (
        "Flip pairs: left_eye/right_eye, " in text and "by themselves: nose" in text and "Warning" not in text
    )
    assert "Torso of PCK: left_shoulder to right_hip" in text and "Tolerances of AP: nose 0.026" in text


def test_a_picture_that_is_not_there_is_one_line(tmp_path, coco_root, capsys):
    (coco_root / "val2017" / "2.png").unlink()
    assert command(tmp_path, coco_data(coco_root)) == 1
    assert capsys.readouterr().out.count(str(coco_root / "val2017" / "2.png")) == 1


@pytest.mark.parametrize("broken", ["{", "[]", '{"images": [], "annotations": [], "categories": []}'])
def test_a_broken_label_file_ends_with_one(tmp_path, coco_root, capsys, broken):
    path = coco_root / "annotations" / "person_keypoints_train2017.json"
    path.write_text(broken)
    assert command(tmp_path, coco_data(coco_root)) == 1
    assert str(path) in capsys.readouterr().out.split("This would stop a training:")[1]


def test_clips_of_a_video_set(tmp_path, capsys):
    root = write_penn(tmp_path / "penn", train=3, test=2, frames=6)
    (root / "frames" / "0002" / "000003.jpg").write_bytes(b"")
    assert command(tmp_path, {"name": "penn_action", "root": str(root)}) == 1
    text = capsys.readouterr().out
    assert f"{root / 'frames' / '0002' / '000003.jpg'}: expected a picture" in text
    frames_row = next(line for line in text.splitlines() if line.startswith("frames"))
    assert frames_row.split() == ["frames", "18", "87,543", "12", "76,298"]
    found = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert found["train"]["counts"]["clips of 5"] == 3 and found["test"]["counts"]["clips of 5"] == 4
    assert found["train"]["counts"]["pictures read"] == 17


def test_an_unknown_set_and_an_unknown_option(tmp_path, coco_root):
    with pytest.raises(UserError, match=r"data\.name: expected one of coco, .*, got cocoa"):
        command(tmp_path, {"name": "cocoa", "root": str(coco_root)})
    assert command(tmp_path, coco_data(coco_root) | {"options": {"image": "val"}}) == 1


def test_a_data_set_is_found_without_being_entered_anywhere():
    assert set(DATASETS) >= {"penn_action", "sub_jhmdb", "posetrack2018", "hieve", "coco", "mpii", "custom"}
    assert all(hasattr(module, "SKELETON") or hasattr(module, "skeleton") for module in DATASETS.values())


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "frame 3"), ([9, 4, 3, 5], "frames 3-5, 9"), ([0, 2], "frames 0, 2")]
)
def test_frame_ranges(numbers, text):
    assert frame_ranges(numbers) == text


def png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )


def test_a_header_that_claims_gigabytes_is_not_believed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(30_000, 24_000))  # 2 GB of pixels
    with pytest.raises(
        UserError, match=r"a\.png: expected a picture of at most .* its header claims 30000x24000"
    ):
        frames.read_image(path)
    _, data = cv2.imencode(".jpg", np.zeros((40, 30, 3), np.uint8))
    data = data.tobytes()
    assert frames.header_size(data) == (30, 40)
    path.write_bytes(data.replace(struct.pack(">HH", 40, 30), struct.pack(">HH", 60_000, 12_000)))
    with pytest.raises(UserError, match="its header claims 12000x60000"):
        frames.read_image(path)


def test_all_real_penn_labels_and_their_known_defects(shared):
    """The defects that FORMATS.md counts in the 2,326 files."""
    root = shared / "samples" / "penn_action"
    if len(list((root / "labels").glob("*.mat"))) != 2326:
        pytest.skip("not all 2,326 label files of Penn Action are there")
    found = {}
    for label in penn_action.read_labels(root):
        for _, what, _ in penn_action.label_defects(label):
            found.setdefault(what, set()).add(label.name)
    assert found["no row of bbox"] == {"1154", "1865"}
    empty = {"0038", "0374", "0525", "0541", "0600", "0623", "0645", "0700", "1825", "2173"}
    assert found["a box without width or height"] == empty
    assert found["wrong dimensions"] == {"0979", "1021", "1024", "1032"}
    assert len(found["a box narrower or lower than 20 pixels"]) == 89
    assert len(found["numbers in narrow integers"]) == 131
    assert len(found["no visible joint"]) == 15
