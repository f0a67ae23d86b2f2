"""Synthetic sets in the files of six data sets, read back by the readers of the real ones: nothing but the truth."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import scipy.io

from rpstn_synth import synthesise
from rpstn_synth.clip import Clip, Frame
from rpstn_synth.coco_labels import run_lengths
from rpstn_synth.hieve_layout import VALIDATION, video_number
from rpstn_synth.layout import is_test, rank
from rpstn_synth.mesh import Mesh
from rpstn_synth.person import HEAD
from rpstn_synth.points import POINTS, columns
from rpstn_synth.posetrack2018_layout import labelled_frames
from rpstn_synth.synthesis import LAYOUTS
from rpstn_training.data import boxes as box_rules
from rpstn_training.data.findings import Report
from rpstn_training.data.records import Track
from rpstn_training.data.sets import coco, custom, hieve, mpii, posetrack2018, sub_jhmdb

SIZE = (160, 120)
CLIPS, FRAMES = 4, 6
WRITTEN = 0.0051  # pixels: two decimals in the file

Drawn = list[tuple[Clip, list[Frame]]]


def drawn(dataset: str, *, clips: int = CLIPS, frames: int = FRAMES) -> Drawn:
    """All clips of the set and their frames, drawn anew."""
    layout = LAYOUTS[dataset]
    number, length = (clips * frames, 1) if layout.stills else (clips, frames)
    made = [layout.make(0, each, frames=length, size=SIZE) for each in range(number)]
    return [(clip, list(clip.frames())) for clip in made]


class Roots:
    """The folder of each set, written when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        root = self._folder / name
        if not root.exists():
            synthesise(root, dataset=name, clips=CLIPS, frames=FRAMES, size=SIZE, workers=1)
        return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    return Roots(tmp_path_factory.mktemp("synthetic"))


def both(module: ModuleType, root: Path, **options: object) -> dict[str, list[Track]]:
    return {subset: module.read(root, subset, **options) for subset in ("train", "test")}


def alone(clip: Clip, person: int) -> Clip:
    """The clip without the other people, but with their shadows."""
    keep, mesh = clip.owner == person, clip.mesh
    kept = Mesh(
        vertices=mesh.vertices, quads=mesh.quads[keep], part=mesh.part[keep], colour=mesh.colour[keep]
    )
    return replace(clip, mesh=kept, owner=clip.owner[keep])


def test_the_face_is_on_the_drawn_head_and_the_trunk_is_in_order() -> None:
    for number in range(4):
        clip = LAYOUTS["penn_action"].make(2, number, frames=3, size=SIZE)
        vertices = clip.mesh.vertices[:, np.unique(clip.mesh.quads[clip.mesh.part == HEAD])]
        flat, distance = clip.camera.project(vertices)
        flat = clip.camera.shaken(flat)
        person = clip.people[0]
        tall = person.height * clip.camera.focal / person.depth.mean()
        for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top"):
            point = POINTS.index(name)
            near = np.linalg.norm(flat - person.joints[:, point, None], axis=-1) / tall
            near = np.maximum(near, np.abs(distance - person.depth[:, point, None]) / person.height)
            assert near.min(axis=1).max() < 0.0095, name
    clip = LAYOUTS["penn_action"].make(2, 0, frames=1, size=SIZE)
    upright = LAYOUTS["sub_jhmdb"].make(0, 6, frames=1, size=SIZE)  # somebody walking
    assert upright.people[0].action == "walk"
    order = columns(("head_top", "nose", "neck", "thorax", "belly", "pelvis", "left_knee", "left_ankle"))
    assert (np.diff(upright.people[0].joints[0, order, 1]) > 0).all()


def test_the_face_is_seen_from_the_front_only() -> None:
    for view, nose in (("front", True), ("back", False)):
        clip = LAYOUTS["penn_action"].make(
            3, 1, frames=2, size=SIZE, action="jumping_jacks", view=view, occluders=0
        )
        for frame in clip.frames():
            seen = frame.visible[0, columns(("nose", "left_eye", "right_eye"))]
            assert (seen == nose).all(), view


def test_people_hide_each_other_as_the_picture_says() -> None:
    """A joint that only another person hides is where the picture changes when the others go away."""
    hidden, kept = [], []
    for number in range(3):
        clip = replace(LAYOUTS["hieve"].make(1, number, frames=1, size=(240, 180)), occluders=())
        (together,) = clip.frames()
        for person, truth in enumerate(clip.people):
            (single,) = alone(clip, person).frames()
            seen, seen_alone = together.visible[person], single.visible[person]
            assert not (seen & ~seen_alone).any()
            difference = np.abs(together.image.astype(float) - single.image).max(axis=2)
            difference = cv2.blur(difference, (3, 3))
            x, y = np.clip(np.round(truth.joints[0]).astype(int), 0, np.array(clip.size) - 1).T
            hidden.extend(difference[y, x][seen_alone & ~seen])
            kept.extend(difference[y, x][seen])
    assert len(hidden) > 30
    assert len(kept) > 200
    assert np.mean(np.array(hidden) > 8) > 0.9
    assert np.mean(np.array(kept) > 8) < 0.1


def test_masks_part_the_picture_among_the_people() -> None:
    clip = LAYOUTS["hieve"].make(1, 0, frames=1, size=(240, 180))
    (frame,) = clip.frames()
    masks = np.stack([frame.mask(person) for person in range(len(clip.people))])
    assert masks.sum(0).max() == 1
    for mask, truth in zip(masks, clip.people):
        y, x = np.nonzero(mask)
        if len(x):
            assert (x >= truth.boxes[0, 0] - 1).all() and (x <= truth.boxes[0, 2] + 1).all()
            assert (y >= truth.boxes[0, 1] - 1).all() and (y <= truth.boxes[0, 3] + 1).all()


@pytest.mark.parametrize("clips", [2, 3, 4, 9, 60])
def test_each_fourth_is_held_out_and_at_least_one(clips: int) -> None:
    held_out = [number for number in range(clips) if is_test(number, clips)]
    assert len(held_out) == max(clips // 4, 1)
    assert [rank(number, clips) for number in held_out] == list(range(len(held_out)))
    others = [number for number in range(clips) if not is_test(number, clips)]
    assert [rank(number, clips) for number in others] == list(range(len(others)))
    names = [video_number(number, clips) for number in range(clips)]
    assert len(set(names)) == clips
    assert [names[number] for number in held_out[:4]] == list(VALIDATION)[: len(held_out)]
    assert not set(VALIDATION) & {names[number] for number in others}


def test_sub_jhmdb(roots: Roots) -> None:
    root, truth = roots["sub_jhmdb"], drawn("sub_jhmdb")
    held_out = []
    for split in (1, 2, 3):
        report = Report()
        subsets = {name: sub_jhmdb.read(root, name, split=split, report=report) for name in ("train", "test")}
        assert not report.defects
        assert [len(tracks) for tracks in subsets.values()] == [3, 1]
        held_out.append(subsets["test"][0].name)
        for track in subsets["train"] + subsets["test"]:
            clip, frames = truth[int(track.name[-4:]) - 1]
            joints = clip.people[0].joints[:, columns(sub_jhmdb.SKELETON.joints)]
            np.testing.assert_allclose(track.joints, joints, atol=1e-9)
            outline = clip.people[0].boxes
            assert (
                np.abs(track.boxes - outline).max() < 2.5
            )  # the outline of what shows, against that of the body
            picture = cv2.imread(str(track.frames[2]))
            np.testing.assert_array_equal(picture, frames[2].image)
    assert len(set(held_out)) == 3, "the splits hold out the same clip"
    path = next(root.glob("joint_positions/*/*/joint_positions.mat"))
    label = scipy.io.loadmat(path)
    x, y = label["pos_img"]
    width, height = SIZE
    expected = [(x / width - 0.5) * width / height / label["scale"], (y / height - 0.5) / label["scale"]]
    np.testing.assert_allclose(label["pos_world"], expected)


def test_posetrack2018(roots: Roots) -> None:
    root, truth = roots["posetrack2018"], drawn("posetrack2018")
    joints = posetrack2018.SKELETON.joints
    chosen, ears = columns(joints), np.isin(joints, ("left_ear", "right_ear"))
    report = Report()
    read = both(posetrack2018, root, report=report)
    assert not report.defects
    assert {track.video for track in read["test"]} == {"000004_synthetic"}
    found = set()
    for subset, tracks in read.items():
        for track in tracks:
            number = int(track.video[:6]) - 1
            clip, frames = truth[number]
            assert is_test(number, CLIPS) == (subset == "test")
            for row, image_id in enumerate(track.image_ids):
                frame = image_id % 10000
                assert image_id == int(f"1{number + 1:06d}{frame:04d}")
                if track.scored is not None and not track.scored[row]:
                    assert not track.visible[row].any()
                    continue
                assert labelled_frames(FRAMES, subset == "test")[frame]
                seen = frames[frame].visible[track.person, chosen] & ~ears
                np.testing.assert_array_equal(track.visible[row], seen)
                person = clip.people[track.person]
                error = np.abs(track.joints[row] - person.joints[frame, chosen])[seen]
                assert error.max() <= WRITTEN
                np.testing.assert_allclose(track.boxes[row], person.boxes[frame], atol=2 * WRITTEN)
                found.add((number, track.person, frame))
    expected = {
        (number, person, frame)
        for number, (clip, frames) in enumerate(truth)
        for person in range(len(clip.people) - (len(clip.people) >= 3))  # the farthest is ignored
        for frame in np.flatnonzero(labelled_frames(FRAMES, is_test(number, CLIPS)))
        if (frames[frame].visible[person, chosen] & ~ears).any() and frames[frame].mask(person).any()
    }
    assert found == expected


def test_posetrack2018_heads_and_regions(roots: Roots) -> None:
    regions = 0
    for number, (clip, frames) in enumerate(drawn("posetrack2018")):
        part = "val" if is_test(number, CLIPS) else "train"
        path = roots["posetrack2018"] / "annotations" / part / f"{number + 1:06d}_synthetic.json"
        labels = json.loads(path.read_text())
        frame_of = {image["id"]: frame for frame, image in enumerate(labels["images"])}
        for entry in labels["annotations"]:
            x, y, w, h = entry["bbox_head"]
            head = clip.people[entry["track_id"]].heads[frame_of[entry["image_id"]]]
            np.testing.assert_allclose([x, y, x + w, y + h], head, atol=2 * WRITTEN)
            points = np.array(entry["keypoints"]).reshape(-1, 3)
            assert set(points[:, 2]) <= {0, 1}
            assert (points[points[:, 2] == 0] == 0).all()
        for frame, image in enumerate(labels["images"]):
            assert image["is_labeled"] == labelled_frames(FRAMES, part == "val")[frame]
            for xs, ys in zip(image.get("ignore_regions_x", ()), image.get("ignore_regions_y", ())):
                polygon = np.column_stack([xs, ys]).astype(np.float32)
                inside = [
                    cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0
                    for y, x in np.argwhere(frames[frame].mask(len(clip.people) - 1))
                ]
                assert all(inside)
                regions += 1
    assert regions > 4


def test_hieve(roots: Roots) -> None:
    root, truth = roots["hieve"], drawn("hieve")
    chosen, clip_of = (
        columns(hieve.SKELETON.joints),
        {str(video_number(number, CLIPS)): number for number in range(CLIPS)},
    )
    assert sorted(clip_of) == ["1", "2", "3", "4"]
    read = both(hieve, root)
    assert {track.video for track in read["test"]} == {"3"}
    crowded, without_points = 0, 0
    for tracks in read.values():
        poses: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        for track in tracks:
            clip, frames = truth[clip_of[track.video]]
            person = clip.people[track.person]
            for row, frame in enumerate(track.image_ids):
                position = person.joints[frame, chosen]
                inside = ((position >= -0.5) & (position <= np.array(SIZE) - 0.5)).all(axis=1)
                labelled = track.labelled[row]
                if labelled.any():
                    np.testing.assert_array_equal(labelled, inside)
                    assert np.abs(track.joints[row] - position)[inside].max() <= WRITTEN
                    np.testing.assert_array_equal(
                        track.visible[row], frames[frame].visible[track.person, chosen] & inside
                    )
                else:
                    without_points += 1
                assert np.abs(track.boxes[row] - person.boxes[frame]).max() <= 0.5
                poses.setdefault((track.video, frame), []).append(
                    (track.joints[row], labelled, track.boxes[row])
                )
                picture = cv2.imread(str(track.frames[row])).astype(float)
                assert np.abs(picture - frames[frame].image).mean() < 12  # video and JPEG lose a little
        crowded += sum(crowd_index(people) > 0 for people in poses.values())
    assert crowded > 12
    assert without_points > 0


def crowd_index(people: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """The mean over people of others' joints in their box, for each of their own."""
    shares = []
    for i, (_, labelled, box) in enumerate(people):
        others = [j[known] for k, (j, known, _) in enumerate(people) if k != i]
        points = np.concatenate([np.empty((0, 2)), *others])
        inside = ((points >= box[:2]) & (points <= box[2:])).all(axis=1).sum()
        if labelled.any():
            shares.append(inside / labelled.sum())
    return float(np.mean(shares)) if shares else 0.0


def test_hieve_detections_and_hidden_positions(roots: Roots) -> None:
    tracks = hieve.read(roots["hieve"], "test", detections="detections", detection_threshold=0.5)
    clip, _ = drawn("hieve")[3]
    assert len(tracks) > 5 * FRAMES * 0.8
    for track in tracks:
        boxes = np.array([person.boxes[track.image_ids[-1]] for person in clip.people])
        assert np.abs(boxes - track.boxes[-1]).max(axis=1).min() < 12


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools 2.0
def test_coco(roots: Roots) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    root, truth = roots["coco"], drawn("coco")
    chosen = columns(coco.SKELETON.joints)
    crowds, without, hidden = 0, 0, 0
    for part, name in enumerate(("train2017", "val2017")):
        labels = json.loads((root / "annotations" / f"person_keypoints_{name}.json").read_text())
        assert [image["id"] for image in labels["images"]] == [
            number + 1 for number in range(CLIPS * FRAMES) if is_test(number, CLIPS * FRAMES) == bool(part)
        ]
        for entry in labels["annotations"]:
            clip, (frame,) = truth[entry["image_id"] - 1]
            if entry["iscrowd"]:
                mask = np.any([frame.mask(p) for p in range(len(clip.people) - 3, len(clip.people))], axis=0)
                runs = entry["segmentation"]["counts"]
                values = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(SIZE[::-1], order="F")
                np.testing.assert_array_equal(values, mask)
                crowds += 1
            else:
                # Which person it is: the numbers skip those of whom nothing is seen.
                boxes = [tight(frame.mask(p)) for p in range(len(clip.people))]
                person = next(
                    p for p, b in enumerate(boxes) if b is not None and corner_of(b) == entry["bbox"]
                )
                mask = frame.mask(person)
                points = np.array(entry["keypoints"]).reshape(-1, 3)
                flags = points[:, 2]
                assert entry["num_keypoints"] == (flags > 0).sum()
                assert (points[flags == 0] == 0).all()
                without += not flags.any()
                hidden += (flags == 1).sum()
                if flags.any():
                    seen, position = frame.visible[person, chosen], clip.people[person].joints[0, chosen]
                    np.testing.assert_array_equal(flags == 2, seen)
                    assert np.abs(points[:, :2] - position)[flags > 0].max() <= WRITTEN
                runs = coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], *SIZE[::-1]))
                assert (coco_mask.decode(runs)[mask] == 1).all()
                assert coco_mask.area(runs) <= 1.2 * mask.sum()  # holes are filled
            assert entry["area"] == mask.sum()
    assert min(crowds, without, hidden) > 0
    report = Report()
    read = both(coco, root, report=report)
    assert {defect.what for defect in report.defects} <= {
        "a crowd instead of one person",
        "a person without key points",
    }
    assert len(read["train"]) > len(read["test"]) > 0


def tight(mask: np.ndarray) -> list[int] | None:
    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(x.max()), int(y.max())] if len(x) else None


def corner_of(box: list[int]) -> list[float]:
    return [box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1]


def test_run_lengths_begin_with_background() -> None:
    mask = np.array([[1, 0, 0], [1, 0, 1]], bool)
    assert run_lengths(mask) == {"counts": [0, 2, 3, 1], "size": [2, 3]}
    assert run_lengths(~mask) == {"counts": [2, 3, 1], "size": [2, 3]}


@pytest.mark.parametrize("dataset", ["coco", "posetrack2018"])
def test_detections_are_near_people_or_have_low_scores(roots: Roots, dataset: str) -> None:
    module, file = {
        "coco": (coco, "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"),
        "posetrack2018": (posetrack2018, "val_boxes.json"),
    }[dataset]
    root = roots[dataset]
    annotated = {}
    for track in module.read(root, "test"):
        for image, box in zip(track.image_ids, track.boxes):
            annotated.setdefault(image, []).append(box)
    tracks = module.read(root, "test", detections=file, detection_threshold=0.0)
    near = 0
    for track in tracks:
        boxes = np.array(annotated.get(track.image_ids[-1], np.full((1, 4), np.inf)))
        near += np.abs(boxes - track.boxes[-1]).max(axis=1).min() < 0.2 * max(SIZE)
    assert near > 0.8 * len(annotated)
    assert min(track.box_score for track in tracks) < 0.4 < max(track.box_score for track in tracks)


def test_custom_is_the_same_pictures_with_the_joints_in_the_file(roots: Roots) -> None:
    files = {"train": "annotations/train.json", "test": "annotations/val.json"}
    own = both(custom, roots["custom"], **files)
    skeleton = custom.skeleton(roots["custom"], **files)
    assert skeleton.joints == coco.SKELETON.joints
    assert skeleton.limbs == coco.SKELETON.limbs
    assert skeleton.flip_pairs == coco.SKELETON.flip_pairs
    assert skeleton.sigmas == coco.SKELETON.sigmas
    for subset, tracks in both(coco, roots["coco"]).items():
        assert len(own[subset]) == len(tracks)
        for one, other in zip(own[subset], tracks):
            np.testing.assert_array_equal(one.joints, other.joints)
            assert one.frames[0].read_bytes() == other.frames[0].read_bytes()


def test_mpii(roots: Roots) -> None:
    root, truth = roots["mpii"], drawn("mpii")
    chosen = columns(mpii.SKELETON.joints)
    read = both(mpii, root)
    for subset, tracks in read.items():
        for track in tracks:
            number = int(track.frames[0].stem) - 1
            clip, _ = truth[number]
            assert is_test(number, CLIPS * FRAMES) == (subset == "test")
            positions = np.array([person.joints[0, chosen] for person in clip.people])
            errors = np.abs(positions - track.joints[0]).max(axis=2)[:, track.visible[0]]
            person = errors.max(axis=1).argmin()
            assert errors[person].max() < 0.001
            inside = ((positions[person] >= -0.5) & (positions[person] <= np.array(SIZE) - 0.5)).all(axis=1)
            np.testing.assert_array_equal(track.visible[0], inside)
            outline = clip.people[person].outlines[0]
            x1, y1, x2, y2 = track.score_boxes[0]
            np.testing.assert_allclose(y2 - y1, outline[3] - outline[1], atol=0.01)
            np.testing.assert_allclose([x1 + x2, y1 + y2], outline[:2] + outline[2:], atol=0.01)
    both_parts = json.loads((root / "annot" / "trainval.json").read_text())
    assert len(both_parts) == len(read["train"]) + len(read["test"])


def test_mpii_scores_as_hrnet_reads_them(roots: Roots) -> None:
    """gt_valid.mat against the reader: same people in the same order; a shift of half a head is at the threshold."""
    truth = scipy.io.loadmat(roots["mpii"] / "annot" / "gt_valid.mat")
    tracks = mpii.read(roots["mpii"], "test")
    joints = len(mpii.SKELETON.joints)
    names = truth["dataset_joints"]
    place = [int(np.where(names == name)[1][0]) for name in ("head", "lsho", "rank", "lwri")]
    assert [mpii.SKELETON.joints[p] for p in place] == [
        "head_top",
        "left_shoulder",
        "right_ankle",
        "left_wrist",
    ]
    assert truth["pos_gt_src"].shape == (joints, 2, len(tracks))
    predictions = np.stack([track.joints[0] for track in tracks]).transpose(1, 2, 0) + 1
    known = 1 - truth["jnt_missing"]
    np.testing.assert_array_equal(known, np.stack([track.visible[0] for track in tracks], axis=1))
    distance = np.linalg.norm(predictions - truth["pos_gt_src"], axis=1)
    assert (distance * known).max() < 1e-9
    heads = truth["headboxes_src"]
    sizes = np.linalg.norm(heads[1] - heads[0], axis=0)
    assert (sizes > 3).all()
    top = predictions[place[0]].T
    drawn_there = known[place[0]] > 0
    near = (top >= heads[0].T - 2) & (top <= heads[1].T + 2)
    assert near.all(axis=1)[drawn_there].all(), "a head outside its head box"


def test_boxes_of_the_reader_are_those_of_the_writer() -> None:
    from rpstn_synth.layout import corner

    box = np.array([3.25, 4.5, 60.75, 99.0])
    np.testing.assert_allclose(box_rules.from_corner(np.array(corner(box))), box)


@pytest.mark.parametrize("dataset", ["coco", "hieve"])
def test_same_bytes_whatever_the_workers(tmp_path: Path, dataset: str) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        synthesise(
            tmp_path / name, dataset=dataset, clips=2, frames=2, size=(96, 64), seed=4, workers=workers
        )
    one, two = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("one", "two")
    )
    assert len(one) > 4
    assert one == two
