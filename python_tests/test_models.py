"""The networks: exact sizes, descriptions, public names, clips and streams, gradients."""

import doctest
import importlib
import inspect
import json
import typing

import pytest
import torch
from small_models import SIZE, check_streaming, image_network, public, shaken, small
from torch import nn

from rpstn_ext import models
from rpstn_ext.models import backbones

DESCRIBED = ("", ".backbones", ".backbones.resnet", ".description", ".loading", ".network", ".pose_network")
DESCRIBED += (".released", ".rpstn")
DESCRIBED += (".relations", ".relations.base", ".relations.coarse", ".relations.convolved")
DESCRIBED += (".relations.displacement", ".relations.joint", ".relations.kinematic", ".relations.non_local")


def parameters(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(name, **options).parameters())


@pytest.mark.parametrize("name", DESCRIBED)
def test_documented_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"rpstn_ext.models{name}"))
    assert result.attempted > 0
    assert result.failed == 0


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
        (18, 18, {"num_convs": 3, "relation": "none"}, 32_592_308),
        (50, 50, {"num_convs": 5}, 71_019_808),
        (50, 50, {"relation": "none"}, 70_428_852),
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
    assert {key: list(value.shape) for key, value in public(model).items()} == expected
    state = {
        key: torch.empty(shape, device="meta", dtype=torch.float32 if shape else torch.int64)
        for key, shape in expected.items()
    }
    model.load_state_dict(state)  # every name is found, none is left
    assert list(state) == list(expected)
    assert len(models.load(model, "", {"state_dict": state}).loaded) == len(expected)


def test_state_dicts_of_earlier_versions_load_as_they_are():
    """Their names had no `backbone.`, at the front or within pose_initializer; the order of parameters is the same."""
    for network in (shaken(small()), shaken(small(relation="none")), shaken(image_network(relation="jre"))):
        earlier = {
            name.replace("backbone.", ""): value.clone() for name, value in network.state_dict().items()
        }
        names = list(earlier)
        restored = shaken(network_like(network))
        restored.load_state_dict(earlier)
        assert list(earlier) == names
        assert all(
            torch.equal(value, restored.state_dict()[name]) for name, value in network.state_dict().items()
        )
        with pytest.raises(RuntimeError, match="conv9"):
            restored.load_state_dict({**earlier, "conv9.weight": torch.rand(1)})


def network_like(network: nn.Module) -> nn.Module:
    if network.temporal:
        return small(relation="none" if network.relation is None else "jre")
    return image_network(relation="jre")


def test_the_order_of_parameters():
    """States of optimisers go by it."""
    names = [name.replace("backbone.", "") for name, _ in small().named_parameters()]
    groups = list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert groups == ["pose_initializer", "feature_extractor", "conv_a", "propagator", "matcher", "relation"]
    names = [name.replace("backbone.", "") for name, _ in image_network(relation="jre").named_parameters()]
    stages = [f"layer{number}" for number in range(1, 5)]
    groups = list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert groups == ["conv1", "bn1", *stages, "deconv_layers", "final_layer", "relation"]


@pytest.mark.parametrize("name", models.names())
def test_options_are_keywords_with_checkable_types(name):
    builder = models.BUILDERS[name]
    hints = typing.get_type_hints(builder)
    for option, parameter in inspect.signature(builder).parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert option in hints
        assert (parameter.default is inspect.Parameter.empty) == (option == "num_joints")


@pytest.mark.parametrize(
    "described", ["resnet34", {"backbone": "resnet34"}, models.Part("resnet34", "a.pth")]
)
def test_parts_are_described_by_a_word_a_mapping_or_a_part(described):
    model = small(feature_extractor=described)
    assert model.feature_extractor.name == "resnet34"
    assert model.pose_initializer.backbone.name == "resnet18"
    assert list(models.parts(model)) == ["", "pose_initializer", "feature_extractor"]
    assert list(models.parts(image_network())) == [""]


def test_files_of_parts_are_named_and_not_read():
    options = {"feature_extractor": {"backbone": "resnet18", "weights": "absent.pth"}, "width": 8}
    assert models.weights_of("rpstn", **options) == {"feature_extractor": "absent.pth"}
    assert models.weights_of("rpstn", num_joints=5, pose_initializer="resnet18") == {}
    assert models.weights_of("sbl", backbone="resnet18") == {}
    models.build("rpstn", num_joints=5, pose_initializer="resnet18", channels=16, **options)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("relation", ["jre", "none"])
def test_streaming_gives_the_maps_of_the_clip(norm_first, relation):
    check_streaming(shaken(small(norm_first=norm_first, relation=relation)))


@pytest.mark.parametrize("relation", ["jre", "none"])
def test_streaming_a_network_for_images_gives_the_maps_of_the_clip(relation):
    model = shaken(image_network(relation=relation))
    check_streaming(model)
    images = torch.randn(3, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(model(images), model(images[:, None])[:, 0])
        assert model.start(images)[1].shape == (3, 0)
        assert not model.temporal


@pytest.mark.parametrize("start", ["identity", "random"])
def test_how_the_relation_starts(start):
    maps = torch.rand(2, 5, 8, 8)
    image = image_network(relation="jre", relation_start=start, relation_norm=True)
    for model in (small(relation_start=start), image):
        related = model.relation(maps, apply_norm=False)
        assert torch.equal(related, maps) == (start == "identity")
        assert model.relation.norm.weight.tolist() == pytest.approx([0.1] * 5)
    for bare in (small(relation="none"), image_network(relation_norm=True)):
        assert bare.norm.weight.tolist() == pytest.approx([0.1] * 5)


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
        small(relation="none").eval().trace(clip)


def test_an_extractor_of_other_width_is_bridged():
    extractor = backbones.build("resnet18", num_joints=5, width=8, channels=12)
    initializer = models.PoseNetwork(backbones.build("resnet18", num_joints=5, width=8, channels=12), 5)
    model = models.RPSTN(initializer, extractor, channels=16)
    assert model.bridge.weight.shape == (16, 12, 1, 1)
    assert model(torch.randn(2, 2, 3, 64, 64)).shape == (2, 2, 5, 16, 16)


def test_parts_must_agree_in_stride():
    extractor = backbones.build("resnet18", num_joints=5, **SIZE)
    extractor.stride, extractor.multiple = 4, 48
    assert models.RPSTN(image_network(), extractor, channels=16).multiple == 96
    extractor.stride = 8
    with pytest.raises(ValueError, match="of the same stride, got 4 and 8"):
        models.RPSTN(image_network(), extractor, channels=16)


def test_relation_on_a_single_image_network():
    model, plain = image_network(relation="jre"), image_network()
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added == 2 * 5 * 5 + 2 * 5  # two 1x1 convolutions
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5, 16, 16)


@pytest.mark.parametrize("value", [True, False])
def test_a_relation_is_a_word(value):
    with pytest.raises(
        ValueError, match=r"expected one of jre, none, .*got (True|False); write jre for true, none for"
    ):
        small(relation=value)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: models.build("hrnet_w99", num_joints=5),
            ValueError,
            "expected one of rpstn, dkd, sbl, posefix, released_rpstn, got 'hrnet_w99'",
        ),
        (
            lambda: image_network("resnet19"),
            ValueError,
            "backbone: expected one of resnet18, resnet34, .*'resnet19'",
        ),
        (lambda: small(pose_initializer="resnet19"), ValueError, "expected one of resnet18, .*'resnet19'"),
        (
            lambda: small(pose_initializer=18),
            ValueError,
            "pose_initializer: expected a backbone's name or .*got 18",
        ),
        (
            lambda: small(pose_initializer={"weights": "a.pth"}),
            ValueError,
            "pose_initializer: .*got no backbone",
        ),
        (
            lambda: small(feature_extractor={"backbone": "resnet18", "weight": "a.pth"}),
            ValueError,
            "feature_extractor: .*got the unknown key weight",
        ),
        (
            lambda: small(feature_extractor={"backbone": "resnet18", "weights": 3}),
            ValueError,
            "feature_extractor.weights: expected the name of a file or none, got 3",
        ),
        (
            lambda: small(frames=3),
            TypeError,
            "rpstn has no option frames, expected one of num_joints, pose_init",
        ),
        (lambda: models.weights_of("rpstn", frames=3), TypeError, "no option frames"),
        (lambda: models.build("sbl"), TypeError, "num_joints"),
        (lambda: image_network(num_joints=0), ValueError, "num_joints of at least 1, got 0"),
        (
            lambda: image_network(relation="non_locl"),
            ValueError,
            "expected one of jre, none, .*, got 'non_locl'; did you mean non_local.$",
        ),
        (lambda: small(relation=["jre"]), ValueError, "relation: expected one of jre, none"),
        (
            lambda: small(relation_start="zero"),
            ValueError,
            "relation_start: expected one of identity, random",
        ),
        (lambda: small(scale=-1.0), ValueError, "expected scale > 0"),
        (
            lambda: small()(torch.rand(1, 3, 64, 64)),
            ValueError,
            r"\[B, T, 3, H, W\], T >= 1, got \[1, 3, 64, 64\]",
        ),
        (lambda: small()(torch.rand(1, 0, 3, 64, 64)), ValueError, r"T >= 1, got \[1, 0, 3, 64, 64\]"),
        (
            lambda: small()(torch.rand(1, 2, 3, 64, 70)),
            ValueError,
            "divide by 32, got height 64 and width 70; resize",
        ),
        (lambda: small().eval()(torch.rand(1, 2, 3, 32, 32)), ValueError, "use a larger input"),
        (
            lambda: small().start(torch.rand(1, 2, 3, 64, 64)),
            ValueError,
            r"frame to have shape \[B, 3, H, W\]",
        ),
        (
            lambda: small().step(torch.rand(1, 3, 60, 64), None),
            ValueError,
            "divide by 32, got height 60 and width 64",
        ),
        (lambda: image_network()(torch.rand(1, 3, 60, 64)), ValueError, "divide by 32, got height 60"),
        (lambda: image_network()(torch.rand(1, 2, 3, 64, 60)), ValueError, "divide by 32"),
        (
            lambda: image_network()(torch.rand(1, 4, 64, 64)),
            ValueError,
            r"\[B, 3, H, W\], got \[1, 4, 64, 64\]",
        ),
        (lambda: image_network()(torch.rand(3, 64, 64)), ValueError, r"\[B, T, 3, H, W\]"),
        (lambda: image_network().start(torch.rand(1, 1, 3, 64, 64)), ValueError, r"\[B, 3, H, W\]"),
        (lambda: image_network().step(torch.rand(1, 3, 64, 16), None), ValueError, "divide by 32"),
        (
            lambda: models.load(small(), "head", {}),
            ValueError,
            "one of \"\" .the whole network., pose_init.*got 'head'",
        ),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


class TwoStages(nn.Module):
    """A backbone that predicts maps on the way, of the image's brightness."""

    name, channels, stride, multiple = "two_stages", 3, 4, 4
    optional_in_files = ()
    ignored_in_files = ()

    def stages(self, images):
        features = nn.functional.avg_pool2d(images, 4)
        return (features.mean(1, keepdim=True).repeat(1, 5, 1, 1),), features


def test_maps_predicted_on_the_way_come_first():
    network = models.PoseNetwork(TwoStages(), 5, relation="jre").eval()
    clip = torch.rand(2, 3, 3, 16, 8)
    early, late = network(clip)
    assert early.shape == late.shape == (2, 3, 5, 4, 2)
    assert torch.equal(early[1, 2], network(clip[1, 2:])[0][0])
    maps, state = network.start(clip[:, 0])
    torch.testing.assert_close(maps, late[:, 0])
    torch.testing.assert_close(network.step(clip[:, 1], state)[0], late[:, 1])
    assert torch.equal(models.last_stage((early, late)), late) and models.last_stage(late) is late


def test_a_network_that_refines_poses_takes_their_maps_behind_the_image():
    network = models.build("posefix", num_joints=5, backbone="resnet18", **SIZE).eval()
    assert network.in_channels == 8
    assert network(torch.rand(2, 3, 8, 64, 64)).shape == (2, 3, 5, 16, 16)
    plain = parameters("sbl", num_joints=17, backbone="resnet50")
    assert parameters("posefix", num_joints=17, backbone="resnet50") == plain + 17 * 64 * 49
    for wrong in (torch.rand(1, 3, 64, 64), torch.rand(1, 2, 3, 64, 64)):
        with pytest.raises(ValueError, match=r"got .*; this network refines poses, 5 maps of them follow"):
            network(wrong)
