"""The study's frames and counts, its heads and their controls."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import codec_for, tiny_config, write_penn

from rpstn_ext.models import relations
from rpstn_training.data.sets import load_tracks, penn_action
from rpstn_training.scores.pck import joint_mask, sweep
from rpstn_training.study import heads
from rpstn_training.study.frames import Frames, before_norm, count, read_frames, with_patches
from rpstn_training.study.simulated import spoilt_maps

SKELETON = penn_action.SKELETON


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
