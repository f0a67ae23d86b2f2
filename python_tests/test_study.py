"""A whole study in small."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import tiny_study
from tiny_clips import tiny_config, write_penn

from rpstn_training.data.sets import load_tracks, penn_action, sub_jhmdb
from rpstn_training.errors import UserError
from rpstn_training.study.arms import Arm, Runner, _with_relation, arms, with_image_network
from rpstn_training.study.frames import Frames
from rpstn_training.study.plan import network
from rpstn_training.study.real import measure, path_of, tracks_of, with_joints
from rpstn_training.study.report import primary, rows_of
from rpstn_training.study.run import report_so_far, run_study

SKELETON = penn_action.SKELETON


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("study") / "clips", train=5, test=2, frames=4)


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
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


def test_another_set_has_the_joints_that_both_name(root):
    """Sub-JHMDB's fifteen, of which thirteen are the study's; and back, where two have no label."""
    track = load_tracks(tiny_config(root, root.parent / "run").data, "test")[0]
    there = with_joints(track, SKELETON, sub_jhmdb.SKELETON)
    assert there.joints.shape[1] == 15 and not there.labelled[:, :2].any() and not there.visible[:, :2].any()
    back = with_joints(there, sub_jhmdb.SKELETON, SKELETON)
    np.testing.assert_array_equal(back.joints, track.joints)
    np.testing.assert_array_equal(back.visible, track.visible)
    np.testing.assert_array_equal(back.labelled, track.labelled)
    wrist = SKELETON.joints.index("left_wrist"), sub_jhmdb.SKELETON.joints.index("left_wrist")
    np.testing.assert_array_equal(track.joints[:, wrist[0]], there.joints[:, wrist[1]])


def test_of_a_large_set_some_videos_are_tried(done, root, monkeypatch):
    from rpstn_training.study import real

    study, _ = done
    names = [track.name for track in tracks_of("penn_action", root, Runner(study))]
    monkeypatch.setattr(real, "VIDEOS", 1)
    assert [track.name for track in tracks_of("penn_action", root, Runner(study))] == names[:1] != names


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


def test_whoever_stops_a_study_stops_its_processes(root, tmp_path):
    """Only the one that waits is told: the others are in process groups of their own, in a terminal too."""
    tiny_study(root, tmp_path / "study")
    command = [sys.executable, "-m", "rpstn_training", "study", "relation", "--at-once", "2"]
    command += ["--config", str(tmp_path / "study.yaml"), "--set", "memory.budgets=[5000, 6000]"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "epoch 1/" not in process.stdout.readline():
            assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, error.strip()) == (
        130,
        "rpstn: stopped; the same command goes on where it was",
    )
    deadline = time.monotonic() + 30  # for the process of multiprocessing's own that looks after the others
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(process: str) -> bool:
    stat = Path("/proc", process, "stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
