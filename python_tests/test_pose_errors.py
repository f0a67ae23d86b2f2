"""Poses with errors: each error where it should be, as often as it should be, and the same in every run."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_clips import codec_for, tiny_config, write_penn

from rpstn_training.data import crops, pose_errors
from rpstn_training.data.clips import TrainClips
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.data.sets.coco import SKELETON as COCO

AREA = 10_000.0


def person(centre=(0.0, 0.0)):
    """Joints of COCO on a grid, far from each other."""
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(-1, 2)[:17]
    return 100.0 * grid + centre


def drawn(labelled, others=(), count=400, seed=0):
    rng = np.random.default_rng(seed)
    found = [pose_errors.with_errors(person(), labelled, others, AREA, COCO, rng) for _ in range(count)]
    return np.stack([joints for joints, _ in found]), np.stack([given for _, given in found])


def similarity(points, places):
    squared = ((points - places) ** 2).sum(axis=-1)
    return np.exp(-squared / (2 * AREA * (2 * np.array(COCO.sigmas)) ** 2))


def test_tolerances_are_those_of_the_similarity():
    distances = pose_errors.tolerances(COCO, AREA, 0.5)
    shifted = person() + np.column_stack([distances, np.zeros(17)])
    np.testing.assert_allclose(similarity(shifted, person()), 0.5)


def test_errors_happen_where_and_as_often_as_they_should():
    points, given = drawn(np.ones(17, bool), count=1500)
    assert given.all()
    own, opposite = similarity(points, person()), similarity(points, person()[COCO.flip_order()])
    nose, wrists, hips = [0], [9, 10], [11, 12]
    for joints, (jitter, miss, inversion) in {
        tuple(nose): (0.15, 0.02, 0.0),
        tuple(wrists): (0.15, 0.10, 0.03),
        tuple(hips): (0.20, 0.10, 0.06),
    }.items():
        chosen = own[:, joints]
        swap = {0: 0.01, 9: 0.06, 11: 0.03}[
            joints[0]
        ]  # nobody to be swapped with, so the others share its part
        share = 1 - swap - (0.01 if joints == (0,) else 0)
        assert ((chosen < 0.85) & (chosen >= 0.5)).mean() == pytest.approx(jitter / share, abs=0.03)
        inverted = (opposite[:, joints] >= 0.5) & (len(joints) > 1)
        assert inverted.mean() == pytest.approx(inversion / share, abs=0.015)
        missed = (chosen < 0.5) & ~inverted
        assert missed.mean() == pytest.approx(miss / share, abs=0.025)
        far = np.maximum(chosen, opposite[:, joints])[missed]
        assert (far >= 0.1 - 1e-9).all() and (far < 0.5).all()


def test_few_joints_are_missed_more_often():
    labelled = np.zeros(17, bool)
    labelled[[5, 7, 9]] = True
    points, given = drawn(labelled)
    assert (given == labelled).all()
    assert (similarity(points, person())[:, [7, 9]] < 0.5).mean() == pytest.approx(0.25 / 0.91, abs=0.06)


def test_joints_are_swapped_with_people_near_by():
    other = person((40.0, 40.0))
    points, _ = drawn(np.ones(17, bool), [(other, np.ones(17, bool))] * 3)
    near = np.maximum(similarity(points, other), similarity(points, other[COCO.flip_order()])) >= 0.5
    assert near[:, [7, 8, 9, 10]].mean() == pytest.approx(0.06, abs=0.03)
    hidden = drawn(np.ones(17, bool), [(other, np.zeros(17, bool))])[0]
    assert (similarity(hidden, other)[:, [7, 8, 9, 10]] >= 0.5).mean() < 0.01


def test_samples_carry_poses_and_repeat(tmp_path):
    config = tiny_config(write_penn(tmp_path / "penn"), tmp_path / "run")
    tracks, skeleton = load_tracks(config.data, "train"), load_skeleton(config.data)

    def clips(**options):
        return TrainClips(
            tracks, skeleton, config.data, codec_for(config), config.augmentation, seed=5, **options
        )

    plain, posed = clips()[1], clips(with_poses=True)[1]
    assert "poses" not in plain
    for key in ("frames", "joints", "weights"):
        assert torch.equal(plain[key], posed[key])
    assert posed["poses"].shape == (3, 13, 2) and torch.equal(posed["given"], posed["labelled"])
    moved = (posed["poses"] - posed["joints"]).norm(dim=-1)[posed["given"] > 0]
    assert moved.min() > 0 and moved.median() < 10
    assert torch.equal(posed["poses"], clips(with_poses=True)[1]["poses"])


def test_people_of_a_picture_are_near_where_the_crop_shows_them(tmp_path, monkeypatch):
    config = tiny_config(write_penn(tmp_path / "penn", train=1), tmp_path / "run")
    track, skeleton = load_tracks(config.data, "train")[0], load_skeleton(config.data)
    beside = dataclasses.replace(track, name="beside", joints=track.joints + 3.0)
    away = dataclasses.replace(track, name="away", joints=track.joints + 1000.0)
    seen = []

    def spy(joints, labelled, others, area, *rest):
        seen.append((joints, others, area))
        return joints, labelled

    monkeypatch.setattr(pose_errors, "with_errors", spy)
    augmentation = dataclasses.replace(config.augmentation, flip=1.0)
    clips = TrainClips(
        [track, beside, away],
        skeleton,
        config.data,
        codec_for(config),
        augmentation,
        seed=5,
        with_poses=True,
    )
    sample = next(sample for sample in map(clips.__getitem__, range(3)) if sample["name"] == track.name)
    joints, others, area = seen[-3]  # the first of its three frames
    assert len(others) == 1
    to_image = sample["to_image"][0].numpy()
    shift = crops.apply(to_image, others[0][0]) - crops.apply(to_image, joints)
    np.testing.assert_allclose(shift, 3.0, atol=1e-3)
    box = track.boxes[sample["frame_ids"][0]]
    assert area == pytest.approx(np.prod(box[2:] - box[:2]) / abs(np.linalg.det(to_image[:, :2])))
