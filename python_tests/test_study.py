"""The study of relations: its statistics by hand, its controls, and a whole one in small."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import codec_for, tiny_config, write_penn

from rpstn_ext.models import relations
from rpstn_training.commands import study as command
from rpstn_training.config import to_dict
from rpstn_training.data.sets import load_tracks, penn_action, sub_jhmdb
from rpstn_training.errors import UserError
from rpstn_training.scores.pck import joint_mask, sweep
from rpstn_training.study import heads
from rpstn_training.study.arms import Arm, Runner, _with_relation, arms, with_image_network
from rpstn_training.study.frames import Frames, before_norm, count, read_frames, with_patches
from rpstn_training.study.plan import StudyConfig, growing, load_study, network, training
from rpstn_training.study.real import measure, path_of, tracks_of, with_joints
from rpstn_training.study.report import in_words, primary, rows_of
from rpstn_training.study.run import report_so_far, run_study
from rpstn_training.study.simulated import spoilt_maps
from rpstn_training.study.statistics import Counts, paired_difference

ROOT = Path(__file__).resolve().parents[1]
STUDIES = sorted((ROOT / "training" / "configs" / "studies").glob("*.yaml"))
SKELETON = penn_action.SKELETON
DRAWS = {"resamples": 4000, "seed": 1}


def counts(hits, counted) -> Counts:
    return Counts(hits=np.array(hits), counted=np.array(counted))


# The interval.


def test_two_clips_are_drawn_as_two_coins():
    """One clip all found, one nothing: half; both draws are of the same clip in half of the cases."""
    ten = [[10, 10]]
    found = paired_difference(counts([[10, 0]], ten), counts([[0, 0]], ten), **DRAWS)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert not found.clear


def test_what_is_the_same_in_both_arms_does_not_widen_the_interval():
    """Clips from 0 to 9 of 10 found, one more in the arm: the difference is a tenth in every draw."""
    control = np.arange(10)[None]
    found = paired_difference(
        counts(control + 1, control * 0 + 10), counts(control, control * 0 + 10), **DRAWS
    )
    np.testing.assert_allclose([found.value, found.low, found.high], 0.1)
    assert found.clear


def test_clips_weigh_by_their_joints():
    """10 of 30 more in one clip, none of 10 in the other: a quarter of all 40, not a sixth."""
    found = paired_difference(counts([[10, 0]], [[30, 10]]), counts([[0, 0]], [[30, 10]]), **DRAWS)
    assert found.value == 0.25
    np.testing.assert_allclose([found.low, found.high], [0.0, 1 / 3])


def test_seeds_are_a_level_of_their_own():
    """A hundred clips that agree, two seeds that do not: both draws are of the same seed in half of the cases."""
    ten = np.full((2, 100), 10)
    hits = np.array([[10] * 100, [0] * 100])
    found = paired_difference(counts(hits, ten), counts(hits * 0, ten), **DRAWS)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert paired_difference(counts(hits[:1], ten[:1]), counts(hits[:1] * 0, ten[:1]), **DRAWS).low == 1.0


def test_one_clip_has_no_interval():
    found = paired_difference(counts([[5], [6]], [[10], [10]]), counts([[4], [4]], [[10], [10]]), **DRAWS)
    assert found.value == pytest.approx(0.15) and np.isnan([found.low, found.high]).all() and not found.clear
    assert in_words(found) == "+15.0"


def test_a_share_of_nothing_is_no_number():
    assert np.isnan(counts([[0]], [[0]]).share)
    assert counts([[1, 2], [3, 4]], [[4, 4], [8, 8]]).by_seed == [3 / 8, 7 / 16]
    with pytest.raises(ValueError, match="clips with joints to count, got none"):
        paired_difference(counts([[0]], [[0]]), counts([[0]], [[0]]), **DRAWS)
    with pytest.raises(ValueError, match=r"same seeds and clips, got \[1, 1\] and \[1, 2\]"):
        paired_difference(counts([[0]], [[1]]), counts([[0, 0]], [[1, 1]]), **DRAWS)


# Frames and counts.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = write_penn(tmp_path_factory.mktemp("study") / "clips", train=5, test=2, frames=4)
    config = tiny_config(root, root.parent / "run")
    codec = codec_for(config)
    tracks = load_tracks(config.data, "test")
    return root, tracks, codec, read_frames(tracks, SKELETON, config, codec)


def test_counts_are_those_of_the_score(tiny):
    """Places off by some pixels, through maps and through the score's own way, in pixels of the image."""
    _, tracks, codec, frames = tiny
    random = torch.Generator().manual_seed(0)
    places = frames.joints + 3 * torch.randn(frames.joints.shape, generator=random)
    found = count(codec.encode(places), frames, codec, 0.2)
    decoded, _ = codec.decode(codec.encode(places))
    assert [len(one["hits"]) for one in found.values()] == [2, 2]
    from rpstn_training.data.clips import EvalClips
    from rpstn_training.data.crops import apply

    config = tiny_config(Path(), Path())
    clips = EvalClips(tracks, SKELETON, config.data, codec)
    predictions = [np.zeros_like(track.joints) for track in tracks]
    position = 0
    for sample in clips:
        for matrix, frame, fresh in zip(sample["to_image"], sample["frame_ids"].tolist(), sample["scored"]):
            if fresh:
                predictions[sample["index"]][frame] = apply(
                    matrix.numpy(), decoded[position].double().numpy()
                )
                position += 1
    assert position == len(frames)
    for name, joints in (("visible", "visible"), ("hidden", "occluded")):
        (scored,) = sweep(predictions, tracks, SKELETON, gammas=(0.2,), normaliser="torso", joints=joints)
        assert 0 < scored.hits.sum() < scored.counted.sum()
        assert sum(found[name]["hits"]) == scored.hits.sum()
        by_track = [int(joint_mask(track, joints).sum()) for track in tracks]
        assert found[name]["counted"] == by_track


def test_joints_under_patches_are_the_hidden_ones(tiny):
    *_, frames = tiny
    patched = with_patches(frames, 0)
    assert patched.hidden.any() and not (patched.hidden & patched.visible).any()
    assert torch.equal(patched.hidden | patched.visible, frames.visible)
    assert torch.equal(with_patches(frames, 0).images, patched.images)
    assert not torch.equal(with_patches(frames, 1).images, patched.images)
    frame, joint = patched.hidden.nonzero()[0].tolist()
    x, y = patched.joints[frame, joint].round().int().tolist()
    assert not torch.equal(patched.images[frame, :, y, x], frames.images[frame, :, y, x])


def test_spoilt_joints_are_those_that_are_not_where_they_should_be(tiny):
    _, _, codec, frames = tiny
    joints = frames.joints.repeat(40, 1, 1)
    maps, spoilt = spoilt_maps(joints, SKELETON, codec, torch.Generator().manual_seed(0))
    heights = (maps * codec.encode(joints)).sum((2, 3)) / codec.encode(joints).square().sum((2, 3))
    assert heights[~spoilt].min() > 0.8
    assert 1.6 < spoilt.float().sum(1).mean() < 2.2
    assert (heights[spoilt] < 0.5).float().mean() > 0.85


# Heads.


@pytest.fixture
def norm() -> torch.nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = relations.output_norm(13)
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.normal_()
        norm.running_var.uniform_(0.5, 2)
    return norm.eval()


@pytest.mark.parametrize("name", heads.HEADS)
def test_a_head_begins_as_the_network(name, norm):
    maps = torch.randn(3, 13, 8, 8)
    begun = torch.allclose(heads.build_head(name, norm).eval()(maps), norm(maps), atol=1e-5)
    assert begun == (name != "jre_random")


def test_maps_before_a_norm_are_found_again(norm):
    maps = torch.randn(3, 13, 8, 8)
    torch.testing.assert_close(before_norm(norm, norm(maps)), maps, rtol=1e-4, atol=1e-4)


def test_other_weights_are_put_in_the_place_of_the_own(norm):
    head, maps = heads.build_head("jre_random", norm).eval(), torch.randn(4, 13, 8, 8)

    def other(control: str, away: int = 1) -> torch.Tensor:
        return heads.with_other_weights(head, maps, control, away=away).detach()

    torch.testing.assert_close(other("another frame's", 4), head(maps))
    assert not torch.allclose(other("another frame's", 1), head(maps))
    alone = head.norm(head.conv_o(head.conv_g(maps)) + maps)
    torch.testing.assert_close(other("identity"), alone)
    torch.testing.assert_close(other("left out"), norm(maps))
    with pytest.raises(ValueError, match="expected one of another frame's, identity, left out"):
        other("own")


def test_fitting_finds_an_offset():
    """The second joint's map is empty, its place always 8 pixels below the first: only a displacement can say so."""
    codec = codec_for(tiny_config(Path(), Path()))
    first = torch.rand(64, 1, 2, generator=torch.Generator().manual_seed(0)) * 40 + 10
    joints = torch.cat([first, first + torch.tensor([0.0, 8.0])], dim=1)
    maps = codec.encode(joints)
    maps[:, 1] = 0
    every = torch.ones(64, 2, dtype=torch.bool)
    only = torch.tensor([False, True]).expand(64, 2)
    frames = Frames(
        images=torch.zeros(64, 3, 1, 1, dtype=torch.uint8),
        joints=joints,
        visible=every & ~only,
        hidden=only,
        torso=torch.full((64,), 20.0),
        track=torch.zeros(64, dtype=torch.int64),
    )
    norm = relations.output_norm(2)
    with torch.no_grad():
        norm.running_var.fill_(0.01)
    shares = {}
    for name in ("static", "displacement"):
        head = heads.build_head(name, norm)
        options = {"steps": 80, "batch_size": 16, "learning_rate": 2e-2, "seed": 0}
        heads.fit(head, maps.__getitem__, joints, every.float(), codec, **options)
        found = count(head(maps).detach(), frames, codec, 0.2)["hidden"]
        shares[name] = sum(found["hits"]) / sum(found["counted"])
    assert shares["static"] < 0.1 and shares["displacement"] > 0.9


# A whole study.


def tiny_study(root: Path, output: Path, **changes) -> StudyConfig:
    config = tiny_config(root, output)
    sizes = {"width": 8, "channels": 16}
    plain = {
        "output": str(output),
        "drawn": {"clips": 0},
        **{
            key: value for key, value in to_dict(config).items() if key in ("data", "augmentation", "heatmap")
        },
        "train": {"batch_size": 2, "learning_rate": 2e-3, "device": "cpu"},
        "held_out": 0.4,
        "networks": {
            "image": {"model": "sbl", "backbone": "resnet18", "relation_norm": True, **sizes},
            "video": {
                "model": "rpstn",
                "pose_initializer": "resnet18",
                "feature_extractor": "resnet18",
                "relation": "none",
                **sizes,
            },
        },
        "memory": {"budgets": [1], "seeds": 1},
        "heads": {
            "arms": ["control", "jre", "displacement"],
            "few": ["control", "displacement"],
            "seeds": 1,
            "clips": 2,
            "steps": 2,
        },
        "fine_tuning": {"arms": ["control", "jre"], "seeds": 1, "epochs": 1},
        "score": {"resamples": 100},
    }
    file = output.parent / f"{output.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain))
    return load_study(file, [f"{key}={json.dumps(value)}" for key, value in changes.items()])


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    root = tiny[0]
    study = tiny_study(root, tmp_path_factory.mktemp("done") / "study")
    return study, run_study(study)


def test_a_whole_study(done):
    study, text = done
    folder = Path(study.output)
    assert {path.stem for path in (folder / "results").iterdir()} == {arm.key for arm in arms(study)}
    for name in ("study.md", "results.json", "relation.png", "memory.png", "study.yaml"):
        assert (folder / name).stat().st_size > 0
    assert "displacement - control" in text and "W_r = identity" in text
    results = json.loads((folder / "results.json").read_text())
    where = [(one["comparison"], one["where"]) for one in results["primary"]]
    assert len(where) == len(set(where)) == 6  # displacement at 4 places, jre at one and fine-tuned
    assert (
        results["arms"]["heads-image-displacement-0"]["loss"]
        != results["arms"]["heads-image_visible-displacement-0"]["loss"]
    )
    control = results["arms"]["heads-image-control-0"]["counts"]
    memory = results["arms"]["memory-1-image-0"]["counts"]
    assert control["hidden"]["counted"] == memory["hidden"]["counted"] == [2, 2]


def test_a_study_goes_on_where_it_was(done):
    study, _ = done
    folder = Path(study.output) / "results"
    arm = Arm("heads", "displacement", "video", 0)
    lost = folder / f"{arm.key}.json"
    before = json.loads(lost.read_text())
    lost.unlink()
    assert f"{len(arms(study)) - 1} of {len(arms(study))} arms" in report_so_far(study)
    assert not lost.exists()
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    run_study(study)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = json.loads(lost.read_text())
    assert (again["counts"], again["loss"]) == (before["counts"], before["loss"])


def test_an_arm_waits_for_the_network_that_it_begins_with(tiny, tmp_path):
    study = tiny_study(tiny[0], tmp_path / "a", **{"memory.budgets": [1, 2], "memory.seeds": 2})
    runner = Runner(study)

    def needs(*arm) -> str | None:
        needed = runner.needs(Arm(*arm))
        return needed and needed.key

    assert needs("memory", "video", "2", 0) is needs("heads", "jre", "given", 0) is None
    assert needs("memory", "video_growing", "2", 0) is None
    assert needs("memory", "video_pretrained", "2", 1) == "memory-1-image-1"
    assert (
        needs("heads", "jre", "image_visible", 3)
        == needs("fine-tuning", "jre", "image", 1)
        == "memory-2-image-1"
    )
    assert needs("heads", "jre", "video", 2) == "memory-2-video-0"


def test_arms_at_once_find_what_they_find_one_by_one(done, tmp_path):
    """And the networks that are trained in other ways are trained, after those that they begin with."""
    study, _ = done
    more = dataclasses.replace(
        study,
        output=str(tmp_path / "more"),
        memory=dataclasses.replace(
            study.memory, budgets=(1, 2), pretrained=("video",), growing=("video",), lengths=(2, 3)
        ),
        heads=dataclasses.replace(study.heads, few=("control",)),
    )
    text = run_study(more, at_once=2)
    listed = arms(more)
    alone = Runner(dataclasses.replace(more, output=str(tmp_path / "alone")))
    for arm in (Arm("memory", "image", "1", 0), Arm("memory", "video_growing", "2", 0)):
        alone.run(arm)
        assert alone.read(arm)["counts"] == Runner(more).read(arm)["counts"]
    assert f"{len(listed)} of {len(listed)} arms" in text
    assert "| video_pretrained | 2 |" in text and "| video_growing | 2 |" in text
    runs = tmp_path / "more" / "runs"
    assert [
        json.loads(line)["epoch"] for line in (runs / "video_pretrained-2-0" / "metrics.jsonl").open()
    ] == [1]
    assert [json.loads(line)["epoch"] for line in (runs / "video-2-0" / "metrics.jsonl").open()] == [1, 2]


def test_another_study_in_the_folder_is_refused(done, tmp_path):
    study, _ = done
    with pytest.raises(UserError, match="expected the folder of a study that was begun, got none"):
        report_so_far(dataclasses.replace(study, output=str(tmp_path)))
    with pytest.raises(UserError, match="expected the study that was begun in this folder"):
        run_study(dataclasses.replace(study, held_out=0.2))


# Real frames.


def test_arms_are_tried_on_the_frames_of_a_set(done):
    """On the study's own test clips, where what networks and heads find has been counted before."""
    study, _ = done
    text = run_study(study, real_sets={"penn_action": Path(study.data.root)})
    assert "### Joints under patches of 8 frames of 2 videos of Penn Action" in text
    kept = json.loads(path_of(Path(study.output), "penn_action").read_text())["counts"]
    runner = Runner(study)
    listed = [arm for arm in arms(study) if arm.place != "given"]
    assert set(kept) == {arm.key for arm in listed}
    for arm in listed:
        own, found = runner.read(arm)["counts"], kept[arm.key]
        assert found["patches"] == own["patches"]
        assert found["without"]["counted"] == found["patches"]["counted"]
        every = [sum(found[joints]["counted"]) for joints in ("patches", "visible")]
        assert sum(every) == sum(own["visible"]["counted"])


def test_a_head_that_was_not_kept_is_asked_for(done):
    study, _ = done
    head = Path(study.output, "heads", "heads-video-control-0.pt")
    away = head.rename(head.with_suffix(".away"))
    with pytest.raises(UserError, match=r"heads-video-control-0\.pt: expected the head that was fitted"):
        measure(Runner(study), "penn_action", Path(study.data.root))
    away.rename(head)


def test_joints_under_patches_are_counted_without_patches_too(done, monkeypatch):
    """By a network that finds every joint of a picture without patches, and no other."""
    from rpstn_training.study import real

    study, _ = done
    runner = Runner(study)

    def found(_, frames: Frames) -> torch.Tensor:
        maps = runner.codec.encode(frames.joints)
        return maps if torch.equal(frames.images, runner.test.images) else torch.zeros_like(maps)

    monkeypatch.setattr(real, "stream", found)
    measure(runner, "penn_action", Path(study.data.root))
    counts = json.loads(path_of(Path(study.output), "penn_action").read_text())["counts"]["memory-1-image-0"]
    assert counts["without"]["hits"] == counts["without"]["counted"] == counts["patches"]["counted"]
    assert sum(counts["patches"]["hits"]) < sum(counts["patches"]["counted"])


def test_another_set_has_the_joints_that_both_name(tiny):
    """Sub-JHMDB's fifteen, of which thirteen are the study's; and back, where two have no label."""
    _, (track, *_), *_ = tiny
    there = with_joints(track, SKELETON, sub_jhmdb.SKELETON)
    assert there.joints.shape[1] == 15 and not there.labelled[:, :2].any() and not there.visible[:, :2].any()
    back = with_joints(there, sub_jhmdb.SKELETON, SKELETON)
    np.testing.assert_array_equal(back.joints, track.joints)
    np.testing.assert_array_equal(back.visible, track.visible)
    np.testing.assert_array_equal(back.labelled, track.labelled)
    wrist = SKELETON.joints.index("left_wrist"), sub_jhmdb.SKELETON.joints.index("left_wrist")
    np.testing.assert_array_equal(track.joints[:, wrist[0]], there.joints[:, wrist[1]])


def test_of_a_large_set_some_videos_are_tried(done, tiny, monkeypatch):
    from rpstn_training.study import real

    study, _ = done
    names = [track.name for track in tracks_of("penn_action", tiny[0], Runner(study))]
    monkeypatch.setattr(real, "VIDEOS", 1)
    assert [track.name for track in tracks_of("penn_action", tiny[0], Runner(study))] == names[:1] != names


def test_a_relation_gets_what_the_trunk_has(done):
    """The network that fine-tuning begins with gives the trunk's maps."""
    study, _ = done
    runner = Runner(study)
    from rpstn_training.building import build_network

    trunk = runner.trunk("image", 0)
    model = build_network(network(study, "image", relation="displacement"), SKELETON)
    model.load_state_dict(_with_relation(trunk.state_dict(), model))
    images = torch.randn(2, 1, 3, 64, 64)
    torch.testing.assert_close(model.eval()(images), trunk(images), rtol=1e-4, atol=1e-5)


def test_a_memory_begins_with_what_an_image_network_knows(done):
    """With `initialize: every` the network that has not been trained on gives the image network's own maps."""
    study, _ = done
    runner = Runner(study)
    from rpstn_training.building import build_network

    image, clip = runner.trunk("image", 0), torch.randn(2, 3, 3, 64, 64)
    for changes, frames in (({"initialize": "every", "feature_extractor": "initializer"}, 3), ({}, 1)):
        model = build_network(network(study, "video", **changes), SKELETON)
        model.load_state_dict(with_image_network(image.state_dict(), model))
        torch.testing.assert_close(model.eval()(clip)[:, :frames], image(clip)[:, :frames])
        assert frames == 3 or not torch.allclose(model(clip)[:, 1:], image(clip)[:, 1:])
    assert torch.equal(model.feature_extractor.conv1.weight, image.backbone.conv1.weight)
    other = build_network(network(study, "video", width=16), SKELETON)
    with pytest.raises(ValueError, match=r"it has no pose_initializer\.backbone"):
        with_image_network(image.state_dict(), other)


def test_heads_are_fitted_on_videos_that_their_network_has_not_seen(tiny, tmp_path):
    study = tiny_study(tiny[0], tmp_path / "a", **{"memory.seeds": 2, "heads.seeds": 4})
    runner = Runner(study)
    clips = [runner._clips(Arm("heads", "control", "image", seed))[0] for seed in range(4)]
    assert torch.equal(clips[0], clips[2]) and torch.equal(clips[1], clips[3])
    assert not torch.equal(clips[0], clips[1])


def test_clips_that_become_longer_make_one_training(tiny, tmp_path):
    """Six epochs with a rate that falls after the fifth: of 2, 4 and 6 frames, as many frames in each epoch."""
    study = tiny_study(
        tiny[0],
        tmp_path / "a",
        **{"memory.budgets": [2, 6], "memory.growing": ["video"], "memory.lengths": [2, 4, 6]},
        **{"data.clips_per_epoch": 9},
    )
    configs = growing(study, tmp_path / "run", network(study, "video"), seed=3)
    assert [config.data.clip_length for config in configs] == [2, 4, 6]
    assert [config.data.clips_per_epoch for config in configs] == [14, 6, 4]
    assert [config.train.epochs for config in configs] == [2, 2, 2]
    assert [config.train.milestones for config in configs] == [(), (), (1,)]
    assert len({config.output for config in configs}) == 3 and {config.seed for config in configs} == {3}
    late = growing(
        tiny_study(
            tiny[0],
            tmp_path / "a",
            **{"memory.budgets": [4], "memory.growing": ["video"], "memory.lengths": [2, 3, 4, 5]},
        ),
        *(tmp_path / "run", network(study, "video")),
        seed=0,
    )
    assert [(config.train.epochs, config.train.milestones) for config in late] == [(1, ())] * 4
    rates = [config.train.learning_rate / study.train.learning_rate for config in late]
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1])


def test_every_key_of_a_study(tiny, tmp_path):
    """What each key changes; those of data, augmentation, heatmap and train are the trainings' own."""
    study = tiny_study(tiny[0], tmp_path / "a")

    def changed(**keys) -> StudyConfig:
        return tiny_study(
            tiny[0], tmp_path / "a", **{key.replace("__", "."): value for key, value in keys.items()}
        )

    def of(part: str, study: StudyConfig) -> list[Arm]:
        return [arm for arm in arms(study) if arm.part == part]

    assert len(of("memory", changed(memory__budgets=[1, 2]))) == 2 * len(of("memory", study))
    assert len(of("memory", changed(memory__seeds=2))) == 2 * len(of("memory", study))
    assert (
        of("memory", changed(memory__budgets=[1, 2], memory__pretrained=["video"]))[-1].name
        == "video_pretrained"
    )
    assert of("memory", changed(memory__growing=["video"], memory__lengths=[2]))[-1].name == "video_growing"
    assert len(of("heads", changed(heads__seeds=3))) == 3 * len(of("heads", study))
    assert len(of("heads", changed(heads__arms=["control", "jre", "displacement", "static"]))) == 10
    assert len(of("heads", changed(heads__few=["control"]))) == len(of("heads", study)) - 3
    assert len(of("fine-tuning", changed(fine_tuning__seeds=2))) == 2 * len(of("fine-tuning", study))
    assert len(of("fine-tuning", changed(fine_tuning__arms=["control"]))) == 1
    from_nothing = training(study, tmp_path, network(study, "image"), seed=4, epochs=8)
    assert (from_nothing.train.epochs, from_nothing.train.milestones, from_nothing.seed) == (8, (6,), 4)
    assert from_nothing.loss.visibility and from_nothing.eval.held_out == 0.4
    assert training(study, tmp_path, network(study, "image"), seed=0, epochs=2).train.milestones == (1,)
    on = training(study, tmp_path, network(study, "image"), seed=0, epochs=2, learning_rate=1e-4)
    assert (on.train.learning_rate, on.train.milestones, on.loss.visibility) == (1e-4, (), False)
    for key, value, part in (
        ("fine_tuning__epochs", 2, "fine_tuning"),
        ("fine_tuning__learning_rate", 1e-2, "fine_tuning"),
    ):
        assert getattr(changed(**{key: value}), part) != getattr(study, part)


@pytest.mark.parametrize(
    "key, value", [("steps", 3), ("batch_size", 4), ("learning_rate", 0.1), ("clips", 3)]
)
def test_keys_of_the_heads_change_what_is_fitted(done, key, value):
    study, _ = done
    arm = Arm("heads", "displacement", "given", 0)
    before = Runner(study).read(arm)["loss"]
    other = Runner(dataclasses.replace(study, heads=dataclasses.replace(study.heads, **{key: value})))
    assert other._head(arm)["loss"] != before


def test_keys_of_the_score(done):
    study, _ = done
    results = {arm: Runner(study).read(arm) for arm in arms(study)}

    def primaries(**changes):
        other = dataclasses.replace(study, score=dataclasses.replace(study.score, **changes))
        return primary({part: rows_of(results, part, other) for part in ("image", "fine-tuning")}, other)

    assert [pair for pair, *_ in primaries()] == ["displacement - control", "jre - control", "jre - control"]
    assert [pair for pair, *_ in primaries(primary=("jre - displacement",))] == ["jre - displacement"]
    of_patches = primaries(joints="patches")
    assert len(of_patches) == 3 and of_patches != primaries()


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("heads.arms", ["jer"], "heads.arms: expected some of control"),
        ("score.primary", ["jre control"], "score.primary: expected two of"),
        ("score.primary", ["jre - static"], "score.primary: expected arms among heads.arms"),
        ("memory.budgets", [4, 2], "memory.budgets: expected rising numbers of epochs"),
        ("memory.pretrained", ["video"], "memory.pretrained: expected none with a single budget"),
        (
            "memory",
            {"growing": ["image"], "lengths": [1]},
            "memory.growing: expected some of networks but image",
        ),
        ("memory.lengths", [0], "memory.lengths: expected frames of clips"),
        ("memory", {"growing": ["video"], "budgets": [1]}, "memory.lengths: expected at most 1 of them"),
        ("networks", {"image": {"model": "sbl"}}, "networks: expected image and video among them"),
        ("networks.image", "sbl", "networks.image: expected a section with model"),
        ("drawn.frames", 1, "drawn.frames: expected at least 2"),
        ("fine_tuning.arms", ["control_twice"], "fine_tuning.arms: expected"),
        ("score.resampels", 3, "did you mean resamples|unknown key score.resampels"),
    ],
)
def test_faults_in_a_study_are_named(tiny, tmp_path, key, value, message):
    with pytest.raises(UserError, match=message):
        tiny_study(tiny[0], tmp_path / "a", **{key: value})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_project(path):
    study = load_study(path)
    assert study.score.primary == ("displacement - control", "jre - control")
    assert {Arm("heads", name, "image", 2) for name in ("control_twice", "static", "jre_random")} <= set(
        arms(study)
    )
    text = path.read_text()
    assert "rpstn study relation" in text


def test_options_that_do_not_go_together_are_refused(tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    config = f"--config={ROOT / 'training/configs/studies/relation_reduced.yaml'}"
    for given, message in (
        (["--at-once", "0"], "--at-once: expected a number of arms of at least 1, got 0"),
        (["--so-far", "--sub-jhmdb", "clips"], "--so-far: expected no data set beside it, got clips"),
    ):
        with pytest.raises(UserError, match=message):
            command.run(parser.parse_args(["relation", config, *given]))


def test_the_study_comes_with_the_package(tmp_path, monkeypatch):
    import argparse

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rpstn_training.study.run.run_study", lambda study, **options: repr(study))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    monkeypatch.setattr("builtins.print", (printed := []).append)
    assert command.run(parser.parse_args(["relation"])) == 0
    assert printed == [repr(load_study(ROOT / "training/configs/studies/relation_reduced.yaml"))]
