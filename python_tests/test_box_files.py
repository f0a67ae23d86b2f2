"""Persons' boxes from files: one set of rules for detections of a set and for --boxes of rpstn predict."""

import json

import pytest
from label_files import expect_error, kinds

from rpstn_training.data.findings import Report
from rpstn_training.data.forms import box_files
from rpstn_training.errors import UserError


def write(path, content):
    if path.suffix == ".csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in content))
    else:
        path.write_text(json.dumps(content))
    return path


def entry(image=0, **more):
    return {"image_id": image, "bbox": [10, 20, 30, 40], "score": 0.5} | more


PERSON = box_files.Category(id=2, name="person", source="val.json")


def test_boxes_of_the_labels_category_are_taken_and_others_counted(tmp_path):
    boxes = [entry(category_id=1), entry(category_id=2), entry(category_id="person"), entry()]
    report = Report()
    path = write(tmp_path / "b.json", boxes)
    found = box_files.read(path, report, category=PERSON, threshold=0.0)
    assert [box.where for box in found] == [f"{path}, entry {number}" for number in (1, 2, 3)]
    assert kinds(report) == {"boxes of category 1 instead of 2 or person": 1}
    assert report.defects[0].place == "1 boxes, first entry 0"
    header = ("frame", "x1", "y1", "x2", "y2", "category_id")
    path = write(tmp_path / "b.csv", [header, (0, 1, 2, 30, 40, 1), (0, 1, 2, 30, 40, 2)])
    assert [box.where for box in box_files.read(path, Report(), category=PERSON)] == [f"{path}, line 3"]


def test_no_box_left_says_why(tmp_path):
    path = write(tmp_path / "b.json", [entry(category_id=1), entry(category_id=1), entry(category_id="cat")])
    text = "expected boxes of category 2 or person as in val.json, got 2 of category 1, 1 of category cat"
    expect_error(lambda: box_files.read(path, Report(), category=PERSON), path, text)
    path = write(tmp_path / "b.json", [entry(score=0.1), entry(score=0.3)])
    text = "a score of 0.5 or more (data.options.detection_threshold), the highest of 2 has 0.3"
    expect_error(lambda: box_files.read(path, Report(), threshold=0.5), path, text)


def test_a_file_numbers_its_categories_its_own_way(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [entry(7, category_id=2), entry(7, category_id=5)],
        "categories": [{"id": 2, "name": "ball"}, {"id": 5, "name": "person"}],
    }
    path = write(tmp_path / "b.json", content)
    for category in (PERSON, None):
        (box,) = box_files.read(path, Report(), category=category)
        assert (box.category, box.image) == (5, "a.png")
    content["categories"] = [{"id": 2, "name": "hand", "keypoints": ["tip"]}, {"id": 5, "name": "face"}]
    (box,) = box_files.read(write(path, content), Report())
    assert box.category == 2


def test_without_labels_the_one_category_is_taken_or_cocos_person(tmp_path):
    path = write(tmp_path / "b.json", [entry(category_id=3), entry(category_id=3)])
    assert len(box_files.read(path, Report())) == 2
    path = write(tmp_path / "b.json", [entry(category_id=3), entry(category_id=1)])
    (box,) = box_files.read(path, Report())
    assert box.category == 1


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        (
            "b.csv",
            [("frame", "x1", "y1", "x2", "y2"), (0, 0.1, 0.1, 0.6, 0.7)],
            "line 2: expected a box in pixels, got x1,y1,x2,y2 = 0.1,0.1,0.6,0.7; these are shares",
        ),
        (
            "b.json",
            [entry(bbox=[0.1, 0.1, 0.5, 0.6])],
            "entry 0: expected a box in pixels, got x,y,width,height = 0.1,0.1,0.5,0.6; these are shares",
        ),
    ],
)
def test_shares_of_the_picture_are_refused_in_every_form(tmp_path, name, content, got):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match="multiply x by its width") as caught:
        box_files.read(path, Report())
    assert str(caught.value).startswith(f"{path}, {got}")


def test_a_box_of_no_size_is_left_out_and_counted(tmp_path):
    report = Report()
    path = write(tmp_path / "b.json", [entry(), entry(bbox=[5, 5, 0, 9])])
    assert len(box_files.read(path, report)) == 1 and kinds(report) == {"a box of no size": 1}


def test_all_rows_that_cannot_be_meant_are_listed(tmp_path):
    report = Report(keep_going=True)
    boxes = [entry(), entry(bbox=[1, 2]), 5, entry(bbox=[1, 2, 3, None]), entry(category_id=[1])]
    assert len(box_files.read(write(tmp_path / "b.json", boxes), report)) == 1
    assert [error.partition(": ")[0][-7:] for error in report.errors] == [f"entry {n}" for n in (1, 2, 3, 4)]


def box(image, person=None):
    return box_files.Box(
        image=image,
        person=person,
        sides=None,
        score=1.0,
        category=None,
        where="b.json, entry 0",
        with_size=True,
    )


def test_pictures_are_found_by_id_name_or_the_end_of_a_name():
    find = box_files.finder([(3, "a/1.png", "A"), ("x7", "b/1.png", "B"), (5, "c/2.png", "C")])
    given = {3: "A", "3": "A", "x7": "B", "a/1.png": "A", "data/b/1.png": "B", "2.png": "C"}
    assert {image: find(box(image)) for image in given} == given
    assert find(box("d/2.png")) is None and find(box(9)) is None and find(box(None)) is None
    with pytest.raises(UserError, match=r"entry 0: expected the picture's id or whole name, 2 pictures"):
        find(box("1.png"))


def people(boxes, frames, stills):
    return [one.person for one in box_files.numbered(boxes, frames, stills=stills)]


def test_people_of_stills_are_numbered_and_in_videos_all_have_numbers_or_none():
    nobody = [box(0), box(0), box(1)]
    assert people(nobody, [0, 0, 1], True) == [0, 1, 0]
    assert people([box(0, 4), box(0, 9), box(1, 4)], [0, 0, 1], True) == [4, 9, 4]
    assert people([box(0, 4), box(0, 4), box(1)], [0, 0, 1], True) == [0, 1, 0]
    assert people([box(0), box(1)], [0, 1], False) == [0, 0]
    with pytest.raises(
        UserError, match=r"a track_id that says who this is, as other rows have one.*--stills"
    ):
        people([box(0), box(0, 4)], [0, 0], False)


# What spreadsheets and data frames write, byte for byte; each means frame 3, person 2, and the same box.
TABLES = {
    "plain": b"frame,person,x1,y1,x2,y2\n3,2,1.5,4,50,60\n",
    "semicolons": b"frame;person;x1;y1;x2;y2\r\n3;2;1.5;4;50;60\r\n",
    "a mark and capitals": b"\xef\xbb\xbfFrame;Person;X1;Y1;X2;Y2\r\n3;2;1.5;4;50;60\r\n",
    "quotes and tabs": b'"frame"\t"person"\t"x1"\t"y1"\t"x2"\t"y2"\n3\t2\t1.5\t4\t50\t60',
    "numbers that pandas made floats": b"frame,person,x1,y1,x2,y2\n3.0,2.0,1.5,4.0,50.0,60.0\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_spreadsheets_mean_the_same(name, tmp_path):
    (tmp_path / "b.csv").write_bytes(TABLES[name])
    (found,) = box_files.read(tmp_path / "b.csv", Report())
    assert (float(found.image), found.person, found.sides.tolist()) == (3, 2, [1.5, 4, 50, 60])


@pytest.mark.parametrize(
    "rows", ["frame;x1;y1;x2;y2\n3;1,5;4;50;60\n", 'frame,x1,y1,x2,y2\n3,"1,5",4,50,60\n']
)
def test_decimal_commas_are_refused(rows, tmp_path):
    (tmp_path / "b.csv").write_text(rows)
    text = "x1: expected a number with a decimal point, got '1,5' with a comma"
    expect_error(lambda: box_files.read(tmp_path / "b.csv", Report()), f"{tmp_path / 'b.csv'}, line 2", text)
