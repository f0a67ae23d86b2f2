"""`rpstn predict --boxes`: every form of them means the same, and a bad row is named."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from small_videos import (
    FRAMES,
    boxes_csv,
    files_in,
    make_all,
    run,
)

from rpstn_training.errors import UserError
from rpstn_training.video import whose


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    return make_all(tmp_path_factory.mktemp("predict"))


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
    forms["mot.txt"] = tmp_path / "mot.txt"
    forms["mot.txt"].write_text(
        "".join(
            f"{n + 1},{person},{x1 + 1},{y1 + 1},{x2 - x1 + 1},{y2 - y1 + 1},0.9,-1,-1,-1\n"
            for n, person, x1, y1, x2, y2 in ROWS
        )
    )
    for file in forms.values():
        result = run(made, made.frames, tmp_path / "again", boxes=file, overlay="none")
        assert result.persons == (3,)
        np.testing.assert_allclose(
            [pose.joints for pose in result.poses], [pose.joints for pose in expected.poses], atol=1e-6
        )


VIDEO_FORMS = {
    "frame_id": {
        "images": [{"id": 7, "frame_id": 2, "file_name": "some/where/clip.mp4"}],
        "annotations": [{"image_id": 7, "bbox": [5, 4, 46, 57]}],
    },
    "image_id": {
        "images": [{"id": 1, "file_name": "clip.mp4"}, {"id": 2, "file_name": "clip.mp4"}],
        "annotations": [{"image_id": 2, "bbox": [5, 4, 46, 57]}],
    },
    "frame_id alone": {
        "images": [{"id": 7, "frame_id": 2}],
        "annotations": [{"image_id": 7, "bbox": [5, 4, 46, 57]}],
    },
    "a list": [{"image_name": "clip.mp4", "frame_id": 2, "bbox": [5, 4, 46, 57]}],
    "a table": "file_name,frame_id,x1,y1,x2,y2\nclip.mp4,2.0,5,4,50,60\n",
}


@pytest.mark.parametrize("form", VIDEO_FORMS)
def test_boxes_of_a_video_by_its_name_and_a_frames_number(form, made, tmp_path):
    content = VIDEO_FORMS[form]
    path = tmp_path / ("b.csv" if isinstance(content, str) else "b.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    result = run(made, made.video, tmp_path / "out", boxes=path, follow=False, overlay="none")
    assert [(pose.frame, pose.box.tolist()) for pose in result.poses] == [(2, [5, 4, 50, 60])]


def test_boxes_of_another_video_are_refused(made, tmp_path):
    (tmp_path / "b.json").write_text('[{"image_name": "other.mp4", "frame_id": 2, "bbox": [5, 4, 46, 57]}]')
    sentence = r"entry 0: expected the number of a frame, or clip\.mp4 and a frame_id, got 'other\.mp4'"
    with pytest.raises(UserError, match=sentence):
        run(made, made.video, tmp_path / "out", boxes=tmp_path / "b.json")


@pytest.mark.parametrize("form", ["b.csv", "list.json", "mot.txt"])
def test_boxes_come_from_standard_input_too(form, made, tmp_path, monkeypatch):
    contents = {
        "b.csv": "frame,person,x1,y1,x2,y2\n0,3,5,4,50,60.5\n",
        "list.json": '[{"frame": 0, "track_id": 3, "bbox": [5, 4, 46, 57.5]}]',
        "mot.txt": "1,3,6,5,46,57.5\n",
    }
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(contents[form].encode())))
    result = run(made, made.frames, tmp_path / "out", boxes="-", follow=False, overlay="none")
    assert [(pose.frame, pose.person) for pose in result.poses] == [(0, 3)]
    np.testing.assert_allclose(result.poses[0].box, [5, 4, 50, 60.5])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"frame\n")))
    with pytest.raises(UserError, match="standard input: expected the header"):
        run(made, made.frames, tmp_path / "out", boxes="-")


def test_labels_of_motchallenge_say_which_boxes_count(made, tmp_path):
    """Nine values: conf 0 is not to be considered, and of several classes 1 is the pedestrian."""
    lines = ["1,7,6,5,40,50,1,1,0.8", "1,8,6,5,40,50,0,1,1", "1,9,6,5,40,50,1,3,1", "2,7,6,5,40,50,1,1,0.9"]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    result = run(made, made.frames, tmp_path / "out", boxes=tmp_path / "gt.txt", follow=False, overlay="none")
    assert [(pose.frame, pose.person) for pose in result.poses] == [(0, 7), (1, 7)]


@pytest.mark.parametrize("form", ["b.json", "b.txt"])
def test_boxes_of_a_detector_are_linked(form, made, tmp_path, monkeypatch):
    """Two people, in changing order; one is missed in two frames, and the box between is interpolated."""
    # Whose poses these are is no question to a network of hardly any training.
    monkeypatch.setattr(whose.Whose, "tell", lambda *_, **__: (set(), {}))
    rows = []
    for number in range(FRAMES):
        both = [(number, 2 + number, 4, 30 + number, 60), (number, 45 - number, 4, 75 - number, 60)]
        rows += (both if number % 2 else both[::-1]) if number not in (3, 4) else both[:1]
    if form == "b.json":
        entries = [
            {"image_id": n, "bbox": [x, y, r - x + 1, b - y + 1], "score": 0.9} for n, x, y, r, b in rows
        ]
        (tmp_path / form).write_text(json.dumps(entries))
    else:
        lines = [f"{n + 1},-1,{x + 1},{y + 1},{r - x + 1},{b - y + 1},0.9" for n, x, y, r, b in rows]
        (tmp_path / form).write_text("\n".join(lines))
    result = run(made, made.frames, tmp_path / "out", boxes=tmp_path / form, overlay="none")
    first = {pose.person: pose.box[0] for pose in result.poses if pose.frame == 0}
    assert sorted(first.values()) == [2, 45]
    for pose in result.poses:
        assert pose.box[0] == first[pose.person] + (pose.frame if first[pose.person] == 2 else -pose.frame)
    assert len(result.poses) == 2 * FRAMES


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
            r"b\.csv, line 2: expected a box with a width and a height above 1 pixel, got x1,y1,x2,y2 = 7,4,7,60\.5$",
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
            '[{"frame": 0, "bbox": [1, 2, 9, 9]}, {"frame": 1, "bbox": [1, 2, 9, 9], "track_id": 4}]',
            r"entry 0: expected a track_id that says who this is, as other rows have one, got none; pictures",
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
        ("b.xml", b"0", r"expected boxes in a file that ends in \.csv, \.json or \.txt"),
        ("b.txt", b"1,2,3\n", r"b\.txt, line 1: expected frame,id,left,top,width,height and.*got '1,2,3'"),
        (
            "b.txt",
            b"0,1,5,5,9,9\n",
            r"b\.txt, line 1: frame: expected a number from 1 on, as MOTChallenge.*got 0",
        ),
        ("b.txt", b"1,x,5,5,9,9\n", r"b\.txt, line 1: id: expected a whole number from 0 on, got 'x'"),
        ("b.txt", b"1,1,5,?,9,9\n", r"b\.txt, line 1: top: expected a number of pixels, got '\?'"),
        ("b.txt", b"\n", r"b\.txt: expected at least one box, got none"),
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
