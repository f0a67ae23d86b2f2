"""The networks: exact sizes, public names, streaming, gradients, loading."""

import json

import pytest
import torch
from torch import nn

from rpstn_ext import models

SMALL = {"pose_initializer": "resnet18", "feature_extractor": "resnet18", "width": 8, "channels": 16}


def parameters(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(name, **options).parameters())


def small(**options) -> nn.Module:
    return models.build("rpstn", num_joints=5, **SMALL, **options)


@pytest.mark.parametrize(
    ("backbone", "joints", "count"),
    [
        ("resnet18", 13, 15_375_693),
        ("resnet50", 13, 33_998_669),
        ("resnet101", 13, 52_990_797),
        ("resnet50", 17, 33_999_697),
    ],
)
def test_size_of_simple_baseline(backbone, joints, count):
    assert parameters("sbl", num_joints=joints, backbone=backbone) == count


@pytest.mark.parametrize(
    ("initializer", "extractor", "options", "count"),
    [
        (18, 18, {}, 33_183_264),
        (50, 50, {}, 70_429_216),
        (101, 101, {}, 108_413_472),
        (101, 18, {}, 70_798_368),
        (101, 50, {}, 89_421_344),
        (50, 50, {"num_joints": 14}, 70_430_044),
        (50, 50, {"num_joints": 15}, 70_430_876),
        (50, 50, {"num_joints": 17}, 70_432_552),
        (18, 18, {"num_convs": 3, "relation": False}, 32_592_308),
        (50, 50, {"num_convs": 5}, 71_019_808),
        (50, 50, {"relation": False}, 70_428_852),
    ],
)
def test_size_of_rpstn(initializer, extractor, options, count):
    backbones = {"pose_initializer": f"resnet{initializer}", "feature_extractor": f"resnet{extractor}"}
    assert parameters("rpstn", **{"num_joints": 13, **backbones, **options}) == count


@pytest.mark.parametrize("name", ["sbl_res18_k13", "sbl_res50_k13", "sbl_res50_k17", "sbl_res101_k13"])
def test_names_and_shapes_of_public_checkpoints(shared, name):
    expected = json.loads((shared / "checkpoint_keys" / f"{name}.json").read_text())["state_dict"]
    backbone, joints = "resnet" + name.split("_")[1].removeprefix("res"), int(name.split("_k")[1])
    with torch.device("meta"):
        model = models.build("sbl", num_joints=joints, backbone=backbone)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("relation", [True, False])
def test_streaming_gives_the_maps_of_the_clip(norm_first, relation):
    model = small(norm_first=norm_first, relation=relation)
    clip = torch.randn(2, 4, 3, 64, 96)
    model(clip)  # moves the running statistics away from their initial values
    model.eval()
    with torch.no_grad():
        whole = model(clip)
        heatmaps, state = model.start(clip[:, 0])
        frames = [heatmaps]
        for t in range(1, 4):
            heatmaps, state = model.step(clip[:, t], state)
            frames.append(heatmaps)
    assert whole.shape == (2, 4, 5, 16, 24)
    torch.testing.assert_close(torch.stack(frames, 1), whole, rtol=1e-4, atol=1e-5)


def test_a_frame_depends_on_the_one_before():
    model = small()
    clip = torch.randn(2, 2, 3, 64, 64)
    other = clip.clone()
    other[:, 0] = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(model(clip)[:, 1], model(other)[:, 1], atol=1e-3)


def test_the_extractor_is_called_once_for_all_frames():
    model, calls = small(), []
    model.feature_extractor.register_forward_hook(lambda *args: calls.append(args[1][0].shape))
    model(torch.randn(2, 3, 3, 64, 64))
    assert calls == [(6, 3, 64, 64)]


def test_gradients_reach_every_parameter_and_training_lowers_the_loss():
    model = small()
    clip, targets = torch.randn(2, 3, 3, 64, 64), torch.zeros(2, 3, 5, 16, 16)
    targets[..., 5:9, 5:9] = 1
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = (model(clip) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if not losses:
            assert [name for name, p in model.named_parameters() if p.grad is None] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_trace_holds_the_maps_of_forward_and_their_relation():
    model = small().eval()
    clip = torch.randn(1, 3, 3, 64, 64)
    trace = model.trace(clip)
    torch.testing.assert_close(trace.heatmaps, model(clip))
    expected = model.relation(trace.pseudo[:, 2])
    torch.testing.assert_close(trace.heatmaps[:, 2], expected)
    values = trace.pseudo[0, 1].flatten(1)
    torch.testing.assert_close(trace.correlation[0, 1], values @ values.T)
    torch.testing.assert_close(trace.weights.sum(-1), torch.ones(1, 3, 5))
    with pytest.raises(ValueError, match="built without"):
        small(relation=False).eval().trace(clip)


def test_an_extractor_of_other_width_is_bridged():
    extractor = models.SimpleBaseline(None, depth="resnet18", width=8, channels=12)
    initializer = models.SimpleBaseline(5, depth="resnet18", width=8, channels=12)
    model = models.RPSTN(initializer, extractor, 5, channels=16)
    assert model.bridge.weight.shape == (16, 12, 1, 1)
    assert model(torch.randn(2, 2, 3, 64, 64)).shape == (2, 2, 5, 16, 16)


def test_relation_on_a_single_image_network():
    model = models.build("sbl", num_joints=5, backbone="resnet18", width=8, channels=16, relation=True)
    plain = models.build("sbl", num_joints=5, backbone="resnet18", width=8, channels=16)
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added == 2 * 5 * 5 + 2 * 5 + 2 * 5  # two 1x1 convolutions and the normalisation
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5, 16, 16)


def test_weights_of_a_simple_baseline_go_into_both_parts_of_rpstn():
    donor = models.build("sbl", num_joints=7, backbone="resnet18", width=8, channels=16)
    model = small()
    wrapped = {"state_dict": {f"module.{name}": value for name, value in donor.state_dict().items()}}
    loaded, missing, unexpected = models.load_weights(model, wrapped)
    for part in (model.pose_initializer, model.feature_extractor):
        assert torch.equal(part.layer3[0].conv1.weight, donor.layer3[0].conv1.weight)
        assert torch.equal(part.deconv_layers[0].weight, donor.deconv_layers[0].weight)
    assert "pose_initializer.final_layer.weight" in missing
    assert "final_layer.weight [7, 16, 1, 1], here [5, 16, 1, 1]" in unexpected
    assert "pose_initializer.conv1.weight" in loaded


def test_weights_that_fit_nothing_change_nothing():
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"expected weights for RPSTN, got names that do not occur in it \(encoder.w\)"
    ):
        models.load_weights(model, {"encoder.w": torch.rand(3)})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_own_state_dict_comes_back_whole():
    first, second = small(), small()
    loaded, missing, unexpected = models.load_weights(second, first.state_dict())
    assert (set(loaded), missing, unexpected) == (set(first.state_dict()), [], [])
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: models.build("hrnet_w99", num_joints=5),
            ValueError,
            "expected one of rpstn, sbl, got 'hrnet_w99'",
        ),
        (lambda: models.build("sbl", num_joints=5, backbone="resnet19"), ValueError, "resnet18, resnet34"),
        (lambda: models.build("rpstn", num_joints=5, frames=3), TypeError, "frames"),
        (
            lambda: small()(torch.rand(1, 3, 64, 64)),
            ValueError,
            r"\[B, T, 3, H, W\], T >= 1, got \[1, 3, 64, 64\]",
        ),
        (lambda: small().eval()(torch.rand(1, 2, 3, 32, 32)), ValueError, "use a larger input"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
