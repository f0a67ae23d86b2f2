"""Sub-JHMDB's files and splits, on small files written here and on the real clip."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from rpstn_training.data.sets import sub_jhmdb
from rpstn_training.errors import UserError

CLIP = "Goalkeeper_Training_Day_@_7_&_(catch)_f_cm_np1_ri_med_0"


def write(
    root, clip=CLIP, *, frames=4, pictures=None, positions=None, mask=None, lines=None, folder="sub_splits"
):
    """One clip of 32 x 24 pixels: a person that fills columns 5..14, rows 3..19."""
    if mask is None:
        mask = np.zeros((24, 32, frames), dtype=np.uint8)
        mask[3:20, 5:15] = 1
    if positions is None:
        positions = np.tile(np.arange(1.0, 16.0)[:, None], (2, 1, frames))
    for kind, variables in (
        ("joint_positions", {"pos_img": positions}),
        ("puppet_mask", {"part_mask": mask}),
    ):
        place = root / kind / "catch" / clip
        place.mkdir(parents=True)
        savemat(place / f"{kind}.mat", variables)
    place = root / "Rename_Images" / "catch" / clip
    place.mkdir(parents=True)
    for number in range(1, 1 + (frames if pictures is None else pictures)):
        cv2.imwrite(str(place / f"{number:05d}.png"), np.zeros((24, 32, 3), np.uint8))
    (root / folder).mkdir(exist_ok=True)
    for split, flag in ((1, 2), (2, 1), (3, 2)):
        text = f"{clip}.avi {flag}\n" if lines is None else lines
        (root / folder / f"catch_test_split_{split}.txt").write_text(text)


@pytest.mark.parametrize("folder", ["sub_splits", "sub-splits"])
def test_a_clip_with_an_odd_name(tmp_path, folder):
    write(tmp_path, folder=folder)
    (track,) = sub_jhmdb.read(tmp_path, "test", split=1)
    assert (track.name, track.action, track.split, len(track)) == (CLIP, "catch", "test", 4)
    assert track.joints.shape == (4, 15, 2) and track.joints[0, 4].tolist() == [4, 4]  # 1-based in the file
    assert track.visible.all() and track.labelled.all()
    assert track.boxes.tolist() == track.score_boxes.tolist() == [[5, 3, 14, 19]] * 4
    assert track.frames[3].name == "00004.png" and track.frames[3].is_file()


def test_splits_are_never_pooled(tmp_path):
    write(tmp_path)
    found = {
        (s, subset): len(sub_jhmdb.read(tmp_path, subset, split=s))
        for s in (1, 2, 3)
        for subset in ("train", "test")
    }
    assert found == {
        (1, "train"): 0,
        (1, "test"): 1,
        (2, "train"): 1,
        (2, "test"): 0,
        (3, "train"): 0,
        (3, "test"): 1,
    }
    with pytest.raises(UserError, match="expected split 1, 2 or 3, got 0"):
        sub_jhmdb.read(tmp_path, "train", split=0)


def test_x_and_y_and_the_joint_axis_are_not_mixed_up(tmp_path):
    positions = np.zeros((2, 15, 4))
    positions[0, 2, 1], positions[1, 2, 1] = 21.0, 9.0
    write(tmp_path, positions=positions)
    (track,) = sub_jhmdb.read(tmp_path, "test")
    assert track.joints[1, 2].tolist() == [20, 8]
    assert (np.delete(track.joints.reshape(-1, 2), 17, axis=0) == -1).all()


def test_an_empty_mask_takes_the_last_box_or_the_joints(tmp_path):
    mask = np.zeros((24, 32, 4), dtype=np.uint8)
    mask[3:20, 5:15, 1:3] = 1
    mask[3:20, 6:15, 2] = 2  # another body part is the person too
    mask[0, 0, 2] = 1
    write(tmp_path, mask=mask)
    (track,) = sub_jhmdb.read(tmp_path, "test")
    assert track.boxes.tolist() == [[0, 0, 14, 14], [5, 3, 14, 19], [0, 0, 14, 19], [0, 0, 14, 19]]


def test_the_mask_at_the_border(tmp_path):
    write(tmp_path, mask=np.ones((24, 32, 4), dtype=np.uint8))
    (track,) = sub_jhmdb.read(tmp_path, "test")
    assert track.boxes[0].tolist() == [0, 0, 31, 23]


@pytest.mark.parametrize(("pictures", "labels", "masks", "used"), [(6, 4, 4, 4), (3, 4, 4, 3), (4, 4, 2, 4)])
def test_different_numbers_of_files_use_the_smaller_and_warn(tmp_path, caplog, pictures, labels, masks, used):
    mask = np.zeros((24, 32, masks), dtype=np.uint8)
    mask[3:20, 5:15] = 1
    write(tmp_path, frames=labels, pictures=pictures, mask=mask)
    (track,) = sub_jhmdb.read(tmp_path, "test")
    assert len(track) == used and (track.boxes == [5, 3, 14, 19]).all()
    assert f"{pictures} frames, {labels} labels, {masks} masks" in caplog.text


def test_one_frame_without_its_last_axis(tmp_path):
    write(tmp_path, frames=1, positions=np.ones((2, 15)), mask=np.ones((24, 32), dtype=np.uint8))
    (track,) = sub_jhmdb.read(tmp_path, "test")
    assert len(track) == 1 and track.boxes[0].tolist() == [0, 0, 31, 23]


@pytest.mark.parametrize(
    "line",
    [
        "../../catch/x.avi 1",
        "x/y.avi 1",
        "..\\x.avi 1",
        ".. 2",
        "/etc/x.avi 1",
        "clip.avi 3",
        "clip.avi",
        " 1",
        "clip.avi,1",
    ],
)
def test_a_split_line_that_cannot_be_meant_is_named(tmp_path, line):
    write(tmp_path, lines=f"{CLIP}.avi 1\n{line}\n")
    with pytest.raises(UserError, match=r"catch_test_split_1\.txt, line 2: expected '<clip>\.avi 1'"):
        sub_jhmdb.read(tmp_path, "train")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="sub_splits: expected the folder of the split files"):
        sub_jhmdb.read(tmp_path, "train")
    (tmp_path / "sub_splits").mkdir()
    with pytest.raises(UserError, match=r"expected files <action>_test_split_1\.txt, found none"):
        sub_jhmdb.read(tmp_path, "train")
    write(tmp_path)
    gap = tmp_path / "Rename_Images" / "catch" / CLIP / "00002.png"
    gap.unlink()
    with pytest.raises(UserError, match=r"00002\.png: expected a frame here"):
        sub_jhmdb.read(tmp_path, "test")
    joints = tmp_path / "joint_positions" / "catch" / CLIP / "joint_positions.mat"
    joints.write_bytes(joints.read_bytes()[:300])
    with pytest.raises(UserError, match=r"joint_positions\.mat: expected"):
        sub_jhmdb.read(tmp_path, "test")


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        (np.zeros((2, 13, 4)), "expected pos_img to be 2x15xn, got 2x13x4"),
        (np.zeros((15, 2, 4)), "expected pos_img to be 2x15xn, got 15x2x4"),
        (np.full((2, 15, 4), np.nan), "expected pos_img to be finite, got 120 values"),
    ],
)
def test_wrong_labels_are_named_with_their_field(tmp_path, positions, text):
    write(tmp_path, positions=positions)
    with pytest.raises(UserError, match=text):
        sub_jhmdb.read(tmp_path, "test")


def test_the_real_clip(shared):
    root = shared / "samples" / "jhmdb"
    assert [len(sub_jhmdb.read(root, "train", split=split)) for split in (1, 2, 3)] == [0, 1, 0]
    (track,) = sub_jhmdb.read(root, "train", split=2)
    assert len(track) == 40 and track.action == "catch"
    assert track.boxes[0].tolist() == [245, 85, 315, 199]


def test_boxes_equal_the_published_ones_of_real_frames(shared):
    """mmpose's x, y, x2 - x1, y2 - y1 of the same clips, which are 1-based."""
    tracks = sub_jhmdb.read(shared / "samples" / "jhmdb_mmpose_1frame", "test")
    boxes = sorted(
        [x1 + 1, y1 + 1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (t.boxes[0].tolist() for t in tracks)
    )
    assert boxes == [[79, 62, 54, 159], [84, 123, 51, 94], [114, 68, 38, 115]]
