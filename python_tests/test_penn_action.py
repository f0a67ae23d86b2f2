"""Penn Action's label files with their known defects, on small files written here and on the real ones."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from rpstn_training.data.sets import load_tracks, penn_action
from rpstn_training.errors import UserError


def label(frames=6, **changes):
    """Variables of a sound label file: joints on a diagonal about (60, 40), boxes 20 x 30."""
    x = np.tile(50.0 + np.arange(13), (frames, 1))
    variables = {
        "action": "bowl",
        "pose": "front",
        "x": x,
        "y": x - 20,
        "visibility": np.ones((frames, 13), dtype=np.uint8),
        "train": np.array([[1]], dtype=np.int32),
        "bbox": np.tile([45.0, 25.0, 65.0, 55.0], (frames, 1)),
        "dimensions": np.array([[1, 1, frames]], dtype=np.uint16),  # wrong, and never used
        "nframes": np.array([[frames]], dtype=np.uint8),
    }
    return {name: value for name, value in (variables | changes).items() if value is not None}


def write(root, variables, name="0001", pictures=None):
    """`labels/<name>.mat` and as many pictures of 100 x 80 as it has frames, or `pictures`."""
    (root / "labels").mkdir(parents=True, exist_ok=True)
    path = root / "labels" / f"{name}.mat"
    savemat(path, variables)
    folder = root / "frames" / name
    folder.mkdir(parents=True)
    for number in range(1, 1 + (len(variables["x"]) if pictures is None else pictures)):
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), np.zeros((80, 100, 3), np.uint8))
    return path


def test_a_sound_file(tmp_path):
    write(tmp_path, label())
    write(tmp_path, label(train=np.array([[-1]], dtype=np.int32), action="squat"), name="0002")
    (track,) = penn_action.read(tmp_path, "train")
    assert (track.name, track.split, track.action, len(track)) == ("0001", "train", "bowl", 6)
    assert track.frames[5] == tmp_path / "frames" / "0001" / "000006.jpg"
    assert track.joints[0, 0].tolist() == [49, 29]  # 1-based in the file
    assert track.boxes[0].tolist() == track.score_boxes[0].tolist() == [44, 24, 64, 54]
    assert track.visible.all() and track.labelled.all()
    assert [t.action for t in penn_action.read(tmp_path, "test")] == ["squat"]


def test_narrow_integers_are_cast_before_arithmetic(tmp_path):
    small = np.zeros((6, 13), dtype=np.uint8)
    boxes = np.tile(np.array([0, 0, 20, 30], dtype=np.uint8), (6, 1))
    path = write(tmp_path, label(x=small, y=small.astype(np.uint16), bbox=boxes))
    read = penn_action.read_label(path)
    assert read.joints.dtype == np.float64 and (read.joints == -1).all()  # not 255 or 65535
    assert read.boxes[0].tolist() == [-1, -1, 19, 29]


@pytest.mark.parametrize("corner", [0.0, 2 / 3, 1.0, 1.5208])
def test_placeholders_are_neither_visible_nor_labelled(tmp_path, corner):
    variables = label()
    visibility = variables["visibility"].copy()
    visibility[2, [3, 4]] = 0
    x, y = variables["x"].copy(), variables["y"].copy()
    x[2, 3] = y[2, 3] = corner
    read = penn_action.read_label(write(tmp_path, label(x=x, y=y, visibility=visibility)))
    assert read.visible[2].tolist() == [True] * 3 + [False] * 2 + [True] * 8
    assert read.labelled[2].tolist() == [True] * 3 + [False] + [True] * 9  # joint 4 carries a guess


def test_the_missing_last_box_is_the_one_before(tmp_path):
    boxes = np.tile([45.0, 25.0, 65.0, 55.0], (5, 1))
    boxes[4] += 7
    write(tmp_path, label(bbox=boxes))
    (track,) = penn_action.read(tmp_path, "train")
    assert track.boxes[5].tolist() == track.score_boxes[5].tolist() == (boxes[4] - 1).tolist()


def test_empty_boxes_are_mended_in_order(tmp_path):
    """Before the first usable box: visible joints, else the next usable box. Then: the last usable one."""
    boxes = np.tile([45.0, 25.0, 65.0, 55.0], (6, 1))
    boxes[0] = boxes[1] = 30.0  # no size
    boxes[4] = [60, 50, 40, 30]  # negative
    boxes[3] = [10, 20, 90, 70]
    visibility = np.ones((6, 13), dtype=np.uint8)
    visibility[1] = 0
    write(tmp_path, label(bbox=boxes, visibility=visibility))
    (track,) = penn_action.read(tmp_path, "train")
    assert track.boxes[0].tolist() == [49, 29, 61, 41]
    assert track.boxes[1].tolist() == track.boxes[2].tolist() == [44, 24, 64, 54]
    assert track.boxes[4].tolist() == track.boxes[3].tolist() == [9, 19, 89, 69]
    assert np.array_equal(track.boxes, track.score_boxes)


def test_without_any_box_or_joint_the_picture_is_the_box(tmp_path):
    nothing = np.zeros((6, 13), dtype=np.uint8)
    write(tmp_path, label(bbox=np.zeros((6, 4)), visibility=nothing))
    (track,) = penn_action.read(tmp_path, "train")
    assert track.boxes.tolist() == [[0, 0, 99, 79]] * 6  # from the picture, not from `dimensions`


def test_score_boxes_stay_as_annotated_where_they_have_a_size(tmp_path):
    boxes = np.tile([45.0, 25.0, 65.0, 55.0], (6, 1))
    boxes[2] = [45, 25, 45, 60]  # no width, but a person size of 35
    write(tmp_path, label(bbox=boxes))
    (track,) = penn_action.read(tmp_path, "train")
    assert track.boxes[2].tolist() == [44, 24, 64, 54]
    assert track.score_boxes[2].tolist() == [44, 24, 44, 59]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"visibility": None}, "expected variables .* visibility missing"),
        ({"y": np.zeros((5, 13))}, "expected y to be 6x13, got 5x13"),
        ({"x": np.zeros((6, 14))}, "expected x to be 6x13, got 6x14"),
        ({"x": np.full((6, 13), np.nan)}, "expected x to be finite, got 78 values that are not"),
        ({"bbox": np.full((6, 4), np.inf)}, "expected bbox to be finite"),
        ({"bbox": np.zeros((4, 4))}, "expected bbox to have 6 rows like nframes, got 4"),
        ({"bbox": np.zeros((7, 4))}, "expected bbox to have 6 rows like nframes, got 7"),
        ({"bbox": np.zeros((6, 3))}, "expected bbox to be nx4, got 6x3"),
        ({"x": np.array([["a", "b"]], dtype=object)}, "expected x to hold real numbers"),
        ({"visibility": np.full((6, 13), 2)}, r"expected visibility to hold 0 and 1 only, got \[2"),
        ({"train": np.array([[0]])}, r"expected train to be 1 \(train\) or -1 \(test\), got 0"),
        ({"nframes": np.array([[0]])}, "expected nframes to be a whole number above 0, got 0"),
        ({"nframes": np.array([[1e12]])}, "expected x to be 1000000000000x13, got 6x13"),
        ({"action": np.zeros((1, 1))}, "expected action to be one word"),
    ],
)
def test_a_defective_file_is_named_with_its_field(tmp_path, changes, text):
    variables = label(**changes)
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "0007.mat"
    savemat(path, variables)
    with pytest.raises(UserError, match=text) as caught:
        penn_action.read_label(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_one_sentence(tmp_path, share, compressed):
    path = tmp_path / "0001.mat"
    savemat(path, label(), do_compression=compressed)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as caught:
        penn_action.read_label(path)
    assert str(caught.value).startswith(f"{path}: expected ") and "\n" not in str(caught.value)


def test_something_else_named_mat(tmp_path):
    path = tmp_path / "0001.mat"
    path.write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 20)
    with pytest.raises(UserError, match="expected a whole MATLAB v5 file"):
        penn_action.read_label(path)
    with pytest.raises(UserError, match="expected a MATLAB label file, found none"):
        penn_action.read_label(tmp_path / "0002.mat")


def test_missing_pictures_are_named(tmp_path):
    write(tmp_path, label(), pictures=4)
    with pytest.raises(UserError, match=r"frames/0001/000005\.jpg: expected 6 frames"):
        penn_action.read(tmp_path, "train")
    (tmp_path / "frames" / "0001" / "000002.jpg").unlink()  # a gap would shift the labels
    with pytest.raises(UserError, match=r"frames/0001/000002\.jpg: expected a frame here"):
        penn_action.read(tmp_path, "train")


def test_more_pictures_than_labels_are_left_out_with_a_warning(tmp_path, caplog):
    write(tmp_path, label(), pictures=9)
    (track,) = penn_action.read(tmp_path, "train")
    assert len(track) == 6
    assert "9 frames but 6 labels" in caplog.text


def test_load_tracks_says_what_is_missing(tmp_path):
    data = SimpleNamespace(name="penn_action", root=str(tmp_path / "gone"), split=1, options={})
    with pytest.raises(UserError, match=r"data\.root: expected the folder of the data set penn_action"):
        load_tracks(data, "train")
    data.root = str(tmp_path)
    with pytest.raises(UserError, match=r"labels: expected the label files 0001\.mat \.\.\., found none"):
        load_tracks(data, "train")
    write(tmp_path, label())
    assert len(load_tracks(data, "train")) == 1
    with pytest.raises(UserError, match=r"expected clips of penn_action .*subset test.*, found none"):
        load_tracks(data, "test")
    data.name = "pen_action"
    with pytest.raises(UserError, match=r"data\.name: expected one of coco, .*sub_jhmdb, got pen_action"):
        load_tracks(data, "test")


def test_flip_order_exchanges_left_and_right():
    names = penn_action.SKELETON.joints
    swapped = [names[joint] for joint in penn_action.SKELETON.flip_order()]
    exchange = {"left": "right", "right": "left"}
    assert swapped == ["_".join(exchange.get(word, word) for word in name.split("_")) for name in names]
    assert penn_action.SKELETON.from_dict(penn_action.SKELETON.to_dict()) == penn_action.SKELETON


@pytest.fixture(scope="module")
def real_labels(shared):
    root = shared / "samples" / "penn_action"
    if len(list((root / "labels").glob("*.mat"))) != 2326:
        pytest.skip("not all 2,326 label files of Penn Action are there")
    return penn_action.read_labels(root)


def test_all_real_labels_give_the_published_counts(real_labels):
    counts = penn_action.count(real_labels)
    assert counts["train"] == penn_action.Counts(clips=1258, frames=87543, visible_joints=889216)
    assert counts["test"] == penn_action.Counts(clips=1068, frames=76298, visible_joints=771216)
    assert sum(int((~label.labelled).sum()) for label in real_labels) == 187352
    assert sum(int((label.labelled & ~label.visible).sum()) for label in real_labels) == 282149


def test_real_torso_ends_on_the_placeholder(real_labels):
    """Frames of the test set with one torso end, and with both, on the placeholder: code pair, paper pair."""
    missing = np.concatenate([~label.labelled for label in real_labels if label.subset == "test"])
    for pair, one, both in (((2, 7), 16476, 1855), ((1, 8), 15693, 1109)):
        ends = missing[:, list(pair)].sum(axis=1)
        assert ((ends == 1).sum(), (ends == 2).sum()) == (one, both)


def test_real_boxes_that_are_mended(real_labels):
    """All clips can be cropped and scored; only those with a known defect of their boxes are changed."""
    from rpstn_training.data import boxes

    changed = set()
    for label in real_labels:
        mended = boxes.mend(
            label.boxes, label.joints, label.visible, lambda: pytest.fail("no picture is needed")
        )
        scored = boxes.for_scoring(label.boxes, mended)
        assert boxes.usable(mended).all() and (boxes.person_size(scored) > 0).all()
        if not np.array_equal(scored, label.boxes):
            changed.add(label.name)
    empty = {"0038", "0374", "0525", "0541", "0600", "0623", "0645", "0700", "1825", "2173"}
    assert changed == {*empty, "1154", "1865"}
