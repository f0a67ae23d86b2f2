"""Clips: which frames, which crop, which random changes, and what depends on what."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rpstn_training.codec import Codec
from rpstn_training.config import AugmentationConfig
from rpstn_training.data.augmentation import Camera, Draw, Occluder, draw, occlude, photograph, recolor
from rpstn_training.data.clips import EvalClips, TrainClips, read_image, tiled_starts
from rpstn_training.data.crops import apply
from rpstn_training.data.records import Track
from rpstn_training.data.sets import penn_action
from rpstn_training.errors import UserError

SKELETON = penn_action.SKELETON
PLAIN = AugmentationConfig(rotation=0.0, scale=(1.0, 1.0), flip=0.0)
CAMERA = {"gamma": 0.5, "light": 0.3, "shrink": 2.0, "blur": 1.5, "noise": 10.0, "jpeg": 0.5}
STRONG = AugmentationConfig(rotation=40.0, scale=(0.8, 1.4), color=0.3, occlusion=0.5, shift=0.1, **CAMERA)


def data(**changes):
    settings = {
        "clip_length": 5,
        "input_size": (64, 96),
        "box": "clip",
        "box_scale": 1.25,
        "clips_per_epoch": None,
    }
    return SimpleNamespace(**(settings | changes))


def codec_of(settings) -> Codec:
    return Codec(
        input_size=settings.input_size,
        stride=4,
        sigma=1.5,
        box_scale=settings.box_scale,
        shared_frames=settings.clip_length if settings.box == "clip" else 1,
    )


def eval_clips(tracks, settings, **options) -> EvalClips:
    return EvalClips(tracks, SKELETON, settings, codec_of(settings), **options)


def train_clips(tracks, settings, augmentation, **options) -> TrainClips:
    return TrainClips(tracks, SKELETON, settings, codec_of(settings), augmentation, **options)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Videos of 12, 7 and 3 frames of 120 x 90 pixels; frame t is of grey level 10 * t + 20, its red channel
    marks the first joint with a disc.
    """
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    made = []
    for number, frames in enumerate((12, 7, 3)):
        joints = rng.uniform([30, 20], [90, 70], (frames, 13, 2))
        labelled = rng.random((frames, 13)) > 0.1
        visible = labelled & (rng.random((frames, 13)) > 0.2)
        files = []
        for t in range(frames):
            image = np.full((90, 120, 3), 10 * t + 20, np.uint8)
            centre = tuple(round(16 * c) for c in joints[t, 0])
            cv2.circle(image, centre, 16 * 4, (image[0, 0, 0].item(),) * 2 + (255,), -1, cv2.LINE_AA, 4)
            files.append(folder / f"{number}_{t:06d}.png")
            cv2.imwrite(str(files[-1]), image)
        boxes = np.concatenate([joints.min(axis=1), joints.max(axis=1)], axis=1)
        made.append(
            Track(
                name=f"{number:04d}",
                split="train",
                action="bowl",
                frames=tuple(files),
                joints=joints,
                visible=visible,
                labelled=labelled,
                boxes=boxes,
                score_boxes=boxes,
            )
        )
    return made


def equal(first, second):
    same = [
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(first.values(), second.values())
    ]
    return first.keys() == second.keys() and all(same)


def test_tiled_starts_by_hand():
    assert [tiled_starts(n, 5) for n in (12, 10, 6, 5, 3)] == [[0, 5, 7], [0, 5], [0, 1], [0], [0]]


def test_tiled_clips_score_every_frame_once(tracks):
    clips = eval_clips(tracks, data())
    scored = [(clip["index"], t) for clip in clips for t in clip["frame_ids"][clip["scored"]].tolist()]
    assert scored == [(index, t) for index, track in enumerate(tracks) for t in range(len(track))]
    assert [clip["frame_ids"].tolist() for clip in clips][2] == [7, 8, 9, 10, 11]
    # The picture belongs to the frame.
    for clip in clips:
        middle = clip["frames"][:, 2].flatten(1).median(dim=1).values
        assert middle.tolist() == [10 * t + 20 for t in clip["frame_ids"].tolist()]


def test_number_of_tiled_clips_of_the_real_test_set(shared):
    labels = penn_action.read_labels(shared / "samples" / "penn_action")
    frames = [len(label.joints) for label in labels if label.subset == "test"]
    if len(frames) != 1068:
        pytest.skip("not all label files of Penn Action are there")
    assert sum(len(tiled_starts(n, 5)) for n in frames) == 15684


def test_a_short_video_repeats_its_last_frame_without_weight(tracks):
    clip = eval_clips(tracks[2:], data())[0]
    assert clip["frame_ids"].tolist() == [0, 1, 2, 2, 2]
    assert clip["scored"].tolist() == [True] * 3 + [False] * 2
    assert clip["weights"][3:].sum() == clip["labelled"][3:].sum() == 0 < clip["weights"][2].sum()
    assert torch.equal(clip["frames"][4], clip["frames"][2])


def test_released_protocol_is_one_clip_inside_each_video(tracks):
    clips = eval_clips(tracks, data(), protocol="released")
    assert [clip["index"] for clip in clips] == [0, 1, 2]
    ids = clips[0]["frame_ids"].tolist()
    assert ids == list(range(ids[0], ids[0] + 5)) and ids[0] >= 1 and ids[-1] <= 10
    assert clips[1]["frame_ids"].tolist() == [1, 2, 3, 4, 5]
    assert all(clip["scored"][: len(tracks[clip["index"]])].all() for clip in clips)


def test_joints_move_with_the_picture_and_lead_back(tracks):
    config = replace(PLAIN, rotation=40.0, scale=(0.8, 1.2), flip=0.5)
    clips = train_clips(tracks, data(clips_per_epoch=12), config, seed=3)
    flips = set()
    for clip in clips:
        track = tracks[clip["index"]]
        ids = clip["frame_ids"].numpy()
        back = apply(clip["to_image"].numpy(), clip["joints"].double().numpy())
        mirrored = np.linalg.det(clip["to_image"][0, :, :2].numpy()) < 0
        flips.add(bool(mirrored))
        order = SKELETON.flip_order() if mirrored else np.arange(13)
        assert np.abs(back - track.joints[ids][:, order]).max() < 1e-3
        known = (clip["labelled"] > 0).numpy()
        assert not (known & ~track.labelled[ids][:, order]).any()
        assert not ((clip["weights"] > 0).numpy() & ~(known & track.visible[ids][:, order])).any()
        assert clip["to_image"].std(dim=0).max() < 1e-12  # one map for all frames of the clip
        for t in range(5):  # the disc of joint 0 is where the label says
            red = (clip["frames"][t, 0].double() - clip["frames"][t, 2].double()).clamp_min(0)
            x, y = clip["joints"][t, 0].tolist()
            if 15 < x < 48 and 15 < y < 80:
                rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing="ij")
                assert abs((red * columns).sum() / red.sum() - x) < 0.3
                assert abs((red * rows).sum() / red.sum() - y) < 0.3
    assert flips == {False, True}


def test_joints_outside_the_crop_have_no_weight(tracks):
    clips = eval_clips(tracks, data(box_scale=0.6))
    inside = outside = 0
    for clip in clips:
        x, y = clip["joints"].unbind(-1)
        within = (x >= -0.5) & (x < 63.5) & (y >= -0.5) & (y < 95.5)
        assert (clip["weights"][~within] == 0).all() and (clip["labelled"][~within] == 0).all()
        inside += int(clip["weights"].sum())
        outside += int((~within).sum())
    assert inside > 0 and outside > 0


def test_one_box_for_the_clip_or_one_for_each_frame(tracks):
    together, each = (eval_clips(tracks, data(box=box))[0] for box in ("clip", "frame"))
    assert together["to_image"].std(dim=0).max() == 0 < each["to_image"].std(dim=0).max()
    assert (
        together["labelled"].sum(dim=1).numpy() == tracks[0].labelled[:5].sum(axis=1)
    ).all()  # all joints fit in


def test_a_sample_depends_on_seed_epoch_and_index_alone(tracks):
    clips = train_clips(tracks, data(clips_per_epoch=8), STRONG, seed=7)
    clips.set_epoch(2)
    forwards = [clips[i] for i in range(8)]
    again = train_clips(tracks, data(clips_per_epoch=8), STRONG, seed=7)
    again.set_epoch(2)
    backwards = [again[i] for i in reversed(range(8))][::-1]
    assert all(map(equal, forwards, backwards))
    again.set_epoch(3)
    assert not any(map(equal, forwards, [again[i] for i in range(8)]))
    other_seed = train_clips(tracks, data(clips_per_epoch=8), STRONG, seed=8)
    other_seed.set_epoch(2)
    assert not any(map(equal, forwards, [other_seed[i] for i in range(8)]))


def test_samples_are_the_same_whatever_the_workers_and_across_epochs(tracks):
    def batches(workers):
        clips = train_clips(tracks, data(clips_per_epoch=6), STRONG, seed=1)
        loader = DataLoader(clips, batch_size=2, num_workers=workers, persistent_workers=workers > 0)
        for epoch in range(2):
            clips.set_epoch(epoch)
            yield from loader

    alone, shared = list(batches(0)), list(batches(2))
    assert len(alone) == 6 and all(map(equal, alone, shared))
    assert not equal(alone[0], alone[3])  # the workers have heard of the new epoch


def test_target_maps_are_drawn_where_they_are_asked_for(tracks):
    plain = train_clips(tracks, data(), STRONG, seed=1)
    drawn = train_clips(tracks, data(), STRONG, seed=1, with_targets=True)
    sample = drawn[0]
    targets = sample.pop("targets")
    assert equal(sample, plain[0])
    assert torch.equal(targets, codec_of(data()).encode(sample["joints"]))
    assert targets.shape[-2:] == (24, 16)


def test_an_epoch_goes_round_all_tracks_and_reaches_all_starts(tracks):
    clips = train_clips(tracks, data(clips_per_epoch=120), PLAIN, seed=0)
    chosen = [(clip["index"], int(clip["frame_ids"][0])) for clip in clips]
    assert all({index for index, _ in chosen[turn : turn + 3]} == {0, 1, 2} for turn in range(0, 120, 3))
    assert {start for index, start in chosen if index == 0} == set(range(8))
    assert {start for index, start in chosen if index == 2} == {0}
    assert len({tuple(index for index, _ in chosen[turn : turn + 3]) for turn in range(0, 120, 3)}) > 1
    assert len(train_clips(tracks, data(), PLAIN, seed=0)) == 3


def test_each_round_of_an_epoch_is_drawn_once(tracks, monkeypatch):
    clips = train_clips(tracks, data(clips_per_epoch=30), PLAIN, seed=0)
    drawn = []
    rng = clips._rng
    monkeypatch.setattr(clips, "_rng", lambda stream, number: drawn.append(stream) or rng(stream, number))
    for index in np.random.default_rng(0).permutation(30).tolist():
        clips[index]
    assert drawn.count(1) == 10  # 30 clips of 3 tracks: ten rounds, asked for in random order


def test_fresh_frames_are_the_video_in_order(tracks):
    clips = list(eval_clips(tracks, data()))
    shown = [(clip["index"], t) for clip in clips for t in clip["frame_ids"][clip["fresh"]].tolist()]
    assert shown == [(index, t) for index, track in enumerate(tracks) for t in range(len(track))]
    assert [clip["last"] for clip in clips] == [False, False, True, False, True, True]
    before_the_first = replace(
        tracks[0],
        **{name: getattr(tracks[0], name)[[0, 0, 0, 1, 2]] for name in ("joints", "visible", "labelled")},
        **{name: getattr(tracks[0], name)[[0, 0, 0, 1, 2]] for name in ("boxes", "score_boxes")},
        frames=tuple(tracks[0].frames[t] for t in (0, 0, 0, 1, 2)),
        scored=np.array([False, False, False, False, True]),
    )
    (clip,) = eval_clips([before_the_first], data())
    assert clip["fresh"].tolist() == [False, False, True, True, True]  # one frame three times is one frame
    assert clip["scored"].tolist() == [False] * 4 + [True]


def test_a_frame_that_does_not_decode_is_named_even_by_a_worker(tracks, tmp_path):
    bad = tmp_path / "bad" / "000003.jpg"
    bad.parent.mkdir()
    bad.write_bytes(b"no picture")
    files = (*tracks[0].frames[:2], bad, *tracks[0].frames[3:])
    broken = Track(**{**vars(tracks[0]), "frames": files})
    clips = eval_clips([broken], data())
    for workers in (0, 1):
        with pytest.raises(UserError) as caught:
            list(DataLoader(clips, num_workers=workers))
        assert (
            str(caught.value)
            == f"{bad}: expected a picture, the file does not decode (10 bytes); copy it again"
        )


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.98])
def test_pictures_cut_off_anywhere_are_refused(tmp_path, suffix, share):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), image)
    assert read_image(path).shape == (40, 60, 3)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=f"a{suffix}: expected a picture"):
        read_image(path)


def test_pictures_are_rgb_and_missing_ones_named(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 5, 3), (0, 0, 255), np.uint8))
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]
    with pytest.raises(UserError, match="No such file"):
        read_image(tmp_path / "none.png")


def test_colours_and_occluders():
    rng = np.random.default_rng(0)
    draws = [draw(rng, STRONG) for _ in range(60)]
    assert 15 < sum(one.occluder is not None for one in draws) < 45
    assert 15 < sum(one.flip for one in draws) < 45
    assert max(abs(one.rotation) for one in draws) <= 40 and all(0.8 <= one.scale <= 1.4 for one in draws)
    frames = rng.integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    grey_doubled = np.concatenate([np.full((3, 3), 2 / 3), np.full((3, 1), -20.0)], axis=1)
    expected = np.clip(2 * frames.astype(float).mean(axis=-1) - 20, 0, 255)
    recolored = np.stack([recolor(frame, grey_doubled) for frame in frames])
    assert np.abs(recolored - expected[..., None]).max() <= 0.5 + 1e-3
    frames = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    for one in draws:
        if one.occluder is not None:
            covered = frames.copy()
            occlude(covered, one.occluder)
            assert 0.003 < (covered != frames).any(axis=1).mean() < 0.3
    mid_grey = np.array([127.5, 127.5, 127.5, 1.0])  # moved by brightness and the channels' gains alone
    factors = np.array([draw(rng, STRONG).color @ mid_grey for _ in range(500)]) / 127.5
    assert 0.7 * 0.85 < factors.min() < 0.7 and 1.3 < factors.max() < 1.3 * 1.15
    assert draw(rng, PLAIN) == Draw()


def test_joints_under_an_occluder_are_hidden(tracks):
    settings = data()
    clips = train_clips(tracks, settings, PLAIN, seed=0)
    plain = clips._sample(0, 0, Draw())
    width, height = settings.input_size
    # The patch lies on the first joint of the first frame and drifts to the right, a tenth of the crop in each frame.
    at = plain["joints"][0, 0].numpy() / (width, height)
    texture = np.full((1, 1, 3), 255, np.uint8)
    patch = Occluder(centre=at, size=np.array([0.25, 0.25]), drift=np.array([0.1, 0.0]), texture=texture)
    covered = clips._sample(0, 0, Draw(occluder=patch))
    inside = []
    for time in range(5):
        middle = (patch.centre + time * patch.drift) * (width, height)
        away = np.abs(covered["joints"][time].numpy() - middle)
        inside.append((away < np.array([0.125 * width, 0.125 * height]) - 1).all(axis=-1))
        outside = (away > np.array([0.125 * width, 0.125 * height]) + 1).any(axis=-1)
        assert torch.equal(covered["weights"][time][outside], plain["weights"][time][outside])
    assert np.array(inside)[0, 0] and not covered["weights"][torch.from_numpy(np.array(inside))].any()
    assert torch.equal(covered["labelled"], plain["labelled"])  # where they are is known as before


def test_a_shifted_box_moves_picture_and_joints(tracks):
    clips = train_clips(tracks, data(), PLAIN, seed=0)
    plain, moved = clips._sample(0, 0, Draw()), clips._sample(0, 0, Draw(shift=np.array([0.25, -0.5])))
    for one in (plain, moved):
        back = apply(one["to_image"].numpy(), one["joints"].numpy())
        np.testing.assert_allclose(back, tracks[0].joints[:5], atol=1e-3)
    box = tracks[0].boxes[:5]
    sides = box[:, 2:].max(axis=0) - box[:, :2].min(axis=0)
    per_pixel = 1 / np.linalg.norm(plain["to_image"][0, :, 0])
    expected = np.array([-0.25, 0.5]) * sides * per_pixel
    by = (moved["joints"] - plain["joints"]).numpy()
    np.testing.assert_allclose(by, np.broadcast_to(expected, by.shape), atol=1e-3)
    drawn = [draw(np.random.default_rng(n), STRONG).shift for n in range(100)]
    assert 0.09 < np.abs(drawn).max() <= 0.1


def test_beside_the_person_maps_are_to_be_empty(tracks):
    clips = train_clips(tracks, data(), replace(PLAIN, elsewhere=1.0), seed=0, with_targets=True)
    away = 0
    for epoch in range(20):
        clips.set_epoch(epoch)
        sample = clips[0]
        known = torch.from_numpy(tracks[sample["index"]].labelled[sample["frame_ids"]])
        real = torch.from_numpy(np.arange(5) < len(tracks[sample["index"]]))[:, None]
        assert torch.equal(sample["labelled"] > 0, known & real)  # wherever they are
        inside = torch.from_numpy(clips._inside(sample["joints"].numpy()))
        far = ((sample["joints"] < -24) | (sample["joints"] > torch.tensor([64 + 24, 96 + 24]))).any(-1)
        assert not sample["targets"][far].gt(1e-3).any()
        away += (~inside).float().mean().item() / 20
    assert 0.3 < away < 1
    drawn = [draw(np.random.default_rng(n), replace(STRONG, elsewhere=0.3)) for n in range(200)]
    missed = [one for one in drawn if one.elsewhere]
    assert 40 < len(missed) < 80 and all(0.5 <= np.abs(one.shift).max() <= 1.5 for one in missed)
    assert all(np.abs(one.shift).max() <= 0.1 for one in drawn if not one.elsewhere)


def test_the_faults_of_a_camera_by_hand():
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8), (2, 3, 48, 64)).copy()

    def taken(**faults):
        frames = ramp.copy()
        photograph(frames, Camera(**faults))
        return frames.astype(float)

    assert np.array_equal(taken(), ramp)
    np.testing.assert_allclose(taken(power=2.0), 255 * (ramp / 255) ** 2, atol=0.5)
    lit = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])  # dark above, bright below
    assert taken(light=lit)[..., 0, 32].max() < 0.6 * 128 and taken(light=lit)[..., -1, 32].min() > 1.4 * 128
    np.testing.assert_allclose(taken(light=np.full((3, 3), 0.5)), ramp / 2, atol=0.51)
    noisy = taken(noise=8.0, noise_seed=3) - ramp
    assert 7 < noisy[..., 16:48].std() < 9 and not np.array_equal(noisy[0], noisy[1])
    assert np.array_equal(taken(noise=8.0, noise_seed=3), taken(noise=8.0, noise_seed=3))
    dots = np.zeros((1, 3, 64, 64), np.uint8)
    dots[..., 32, 32] = 255
    spread = dots.copy()
    photograph(spread, Camera(blur=2.0))
    rows, columns = np.nonzero(spread[0, 0] > spread.max() / 2)
    assert 4 <= rows.max() - rows.min() <= 6 and 4 <= columns.max() - columns.min() <= 6  # 2.35 deviations
    fine = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
    coarse = fine.copy()
    photograph(coarse, Camera(shrink=4.0))
    assert np.diff(coarse.astype(float)).std() < np.diff(fine.astype(float)).std() / 5
    for quality, least, most in ((95, 0, 8), (10, 8, 99)):
        packed = np.repeat(spread, 3, axis=0)
        photograph(packed, Camera(quality=quality))
        assert least < np.abs(packed.astype(float) - spread).max() < most


@pytest.mark.parametrize(
    ("key", "field", "low", "high"),
    [
        ("gamma", "power", 1 / 1.5, 1.5),
        ("shrink", "shrink", 1.0, 2.0),
        ("blur", "blur", 0.0, 1.5),
        ("noise", "noise", 0.0, 10.0),
        ("jpeg", "quality", 10, 60),
        ("light", "light", 0.7, 1.3),
    ],
)
def test_each_fault_of_a_camera_is_drawn_up_to_its_strength(key, field, low, high):
    drawn = [draw(np.random.default_rng(n), replace(PLAIN, **{key: CAMERA[key]})) for n in range(200)]
    values = [getattr(one.camera, field) for one in drawn if one.camera is not None]
    assert all(
        replace(one.camera, **{field: getattr(Camera(), field), "noise_seed": 0}) == Camera()
        for one in drawn
        if one.camera is not None
    )
    reach = 0.1 * (high - low)
    assert low <= np.min(values) < low + reach and high - reach < np.max(values) <= high
    assert len(values) == 200 if key != "jpeg" else 70 < len(values) < 130


def test_no_clips_and_wrong_skeletons_are_refused(tracks):
    with pytest.raises(UserError, match="at least one clip"):
        eval_clips([], data())
    with pytest.raises(ValueError, match="'tiled' or 'released'"):
        eval_clips(tracks, data(), protocol="all")
    thin = Track(
        **{**vars(tracks[0]), **{n: getattr(tracks[0], n)[:, :12] for n in ("joints", "visible", "labelled")}}
    )
    with pytest.raises(ValueError, match="expected 13 joints as in penn_action, got 12 in track 0000"):
        eval_clips([thin], data())
