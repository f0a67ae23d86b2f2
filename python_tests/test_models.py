"""The networks: exact sizes, descriptions, public names, clips and streams, gradients; weights from files."""

import doctest
import importlib
import inspect
import json
import typing

import pytest
import torch
from torch import nn

from rpstn_ext import models
from rpstn_ext.models import backbones, relations

SIZE = {"width": 8, "channels": 16}
SMALL = {"pose_initializer": "resnet18", "feature_extractor": "resnet18", **SIZE}
DESCRIBED = ("", ".backbones", ".backbones.resnet", ".description", ".loading", ".network", ".pose_network")
DESCRIBED += (".relations", ".rpstn")


def parameters(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(name, **options).parameters())


def small(**options) -> nn.Module:
    return models.build("rpstn", **{"num_joints": 5, **SMALL, **options})


def image_network(backbone="resnet18", **options) -> nn.Module:
    return models.build("sbl", **{"num_joints": 5, "backbone": backbone, **SIZE, **options})


def shaken(model: nn.Module) -> nn.Module:
    """With every parameter and running statistic moved away from its start, ready to evaluate."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(
                    0.1 * (torch.rand_like(value) if "running_var" in name else torch.randn_like(value))
                )
    return model.eval()


def public(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of its state dict, named as public files are."""
    return {name.removeprefix("backbone."): value.clone() for name, value in model.state_dict().items()}


def torchvision(backbone="resnet18") -> dict[str, torch.Tensor]:
    state = public(image_network(backbone))
    kept = {name: v for name, v in state.items() if not name.startswith(("deconv_layers", "final_layer"))}
    return {**kept, "fc.weight": torch.rand(10, 64), "fc.bias": torch.rand(10)}


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
    state = {key: torch.empty(shape, device="meta") for key, shape in expected.items()}
    model.load_state_dict(state)  # every name is found, none is left
    assert list(state) == list(expected)
    assert len(models.load(model, "", {"state_dict": state_of(expected)}).loaded) == len(expected)


def state_of(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.empty(
            shape, device="meta", dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32
        )
        for name, shape in shapes.items()
    }


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


@pytest.mark.parametrize("name", list(backbones.BACKBONES))
def test_backbones_keep_their_contract(name):
    backbone = backbones.build(name, width=2, channels=4)
    assert (backbone.name, backbone.channels, backbone.stride, backbone.multiple) == (name, 4, 4, 32)
    assert backbone(torch.rand(2, 3, 32, 64)).shape == (2, 4, 8, 16)


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


@torch.no_grad()
def check_streaming(model: nn.Module) -> None:
    model, clip = model.double(), torch.randn(2, 4, 3, 64, 96, dtype=torch.float64)
    whole = model(clip)
    assert whole.shape == (2, 4, model.num_joints, 64 // model.stride, 96 // model.stride)
    heatmaps, state = model.start(clip[:, 0])
    torch.testing.assert_close(heatmaps, model(clip[:, :1])[:, 0])
    frames = [heatmaps]
    for t in range(1, 4):
        singles = [model.step(clip[p : p + 1, t], one) for p, one in enumerate(state.split(1))]
        heatmaps, state = model.step(clip[:, t], state)
        frames.append(heatmaps)
        for together, number in ((heatmaps, 0), (state, 1)):  # callers hold a state per person
            torch.testing.assert_close(torch.cat([single[number] for single in singles]), together)
    torch.testing.assert_close(torch.stack(frames, 1), whole)


@pytest.mark.parametrize("start", ["identity", "random"])
def test_how_the_relation_starts(start):
    maps = torch.rand(2, 5, 8, 8)
    for model in (small(relation_start=start), image_network(relation="jre", relation_start=start)):
        related = model.relation(maps, apply_norm=False)
        assert torch.equal(related, maps) == (start == "identity")
        assert model.relation.norm.weight.tolist() == pytest.approx([0.1] * 5)
    assert small(relation="none").norm.weight.tolist() == pytest.approx([0.1] * 5)


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
    extractor = backbones.build("resnet18", width=8, channels=12)
    initializer = models.PoseNetwork(backbones.build("resnet18", width=8, channels=12), 5)
    model = models.RPSTN(initializer, extractor, channels=16)
    assert model.bridge.weight.shape == (16, 12, 1, 1)
    assert model(torch.randn(2, 2, 3, 64, 64)).shape == (2, 2, 5, 16, 16)


def test_parts_must_agree_in_stride():
    extractor = backbones.build("resnet18", **SIZE)
    extractor.stride, extractor.multiple = 4, 48
    assert models.RPSTN(image_network(), extractor, channels=16).multiple == 96
    extractor.stride = 8
    with pytest.raises(ValueError, match="of the same stride, got 4 and 8"):
        models.RPSTN(image_network(), extractor, channels=16)


def test_relation_on_a_single_image_network():
    model, plain = image_network(relation="jre"), image_network()
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added == 2 * 5 * 5 + 2 * 5 + 2 * 5  # two 1x1 convolutions and the normalisation
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5, 16, 16)


@pytest.mark.parametrize("value", [True, False])
def test_a_relation_is_a_word(value):
    with pytest.raises(
        ValueError, match=r"expected one of jre, none, got (True|False); write jre for true, none for"
    ):
        small(relation=value)
    assert list(relations.RELATIONS) == ["jre", "none"]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: models.build("hrnet_w99", num_joints=5),
            ValueError,
            "expected one of rpstn, sbl, got 'hrnet_w99'",
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
        (lambda: image_network(relation="rjp"), ValueError, "relation: expected one of jre, none, got 'rjp'"),
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


# Weights from files


@pytest.fixture
def untouched():
    """Calls that must fail and leave the network as it was."""

    def check(model: nn.Module, part: str, file, words: str) -> str:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=words) as error:
            models.load(model, part, file)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        return str(error.value)

    return check


def held(model: nn.Module, names, state, strip: str = "") -> bool:
    """Whether the values of these names are those of a state dict named as public files are."""
    own = model.state_dict()
    return all(
        torch.equal(own[name], state[name.removeprefix(strip).removeprefix("backbone.")]) for name in names
    )


@pytest.mark.parametrize("make", [small, lambda: small(relation="none", scale="learnable"), image_network])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state"])
def test_a_network_takes_all_of_its_own_file(make, wrapper, tmp_path):
    first, second = shaken(make()), make()
    state = first.state_dict()
    if wrapper == "state_dict":
        state = {f"module.{name}": value for name, value in state.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "a.pth")
    done = models.load(second, "", tmp_path / "a.pth")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert (set(done.loaded), done.kept, done.left_over) == (set(first.state_dict()), (), ())
    assert str(done) == f"{tmp_path}/a.pth: {len(done.loaded)} tensors into all of the network"


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_network_for_images_goes_into_each_part(backbone):
    donor = shaken(image_network(backbone, relation="jre"))
    model = small(pose_initializer=backbone, feature_extractor=backbone)
    for file in (public(donor), {"model_state": donor.state_dict()}):
        first = models.load(model, "pose_initializer", file)
        assert "into all of pose_initializer; left over of the file: relation (9 tensors, pose_initi" in str(
            first
        )
        second = models.load(model, "feature_extractor", file)
        assert "final_layer (2 tensors, feature_extractor has none), relation (9 tensors" in str(second)
        for done, part in ((first, model.pose_initializer), (second, model.feature_extractor)):
            assert held(model, done.loaded, public(donor), f"{done.part}.")
            assert done.kept == ()
            assert {f"{done.part}.{name}" for name in part.state_dict()} == set(done.loaded)
        assert len(first.left_over) == 9
        assert len(second.left_over) == 11


@pytest.mark.parametrize("relation", ["jre", "none"])
def test_a_file_for_another_number_of_joints_gives_the_whole_backbone(relation):
    donor = shaken(image_network(num_joints=7, relation=relation))
    model = image_network(relation="jre")
    before = model.final_layer.weight.clone()
    done = models.load(model, "", public(donor))
    assert "into the whole backbone of the network; kept as before: relation (" in done.sentence
    assert (
        "final_layer (for 7 joints, here 5); left over of the file: final_layer (2 tensors, for 7 jo"
        in done.sentence
    )
    assert {name.partition(".")[0] for name in done.kept} == {"final_layer", "relation"}
    assert {name.partition(".")[0] for name in done.loaded} == {"backbone"}
    assert held(model, done.loaded, public(donor))
    assert torch.equal(model.final_layer.weight, before)


def test_a_file_without_a_head_gives_the_whole_backbone():
    model, state = small(), public(shaken(image_network()))
    headless = {name: value for name, value in state.items() if not name.startswith("final_layer")}
    done = models.load(model, "pose_initializer", headless)
    assert done.kept == ("pose_initializer.final_layer.weight", "pose_initializer.final_layer.bias")
    assert done.sentence.endswith(
        "whole backbone of pose_initializer; kept as before: final_layer (the file has none)"
    )


def test_a_file_without_a_relation_gives_everything_else():
    model, donor = image_network(relation="jre"), shaken(image_network())
    done = models.load(model, "", public(donor))
    assert "into the network but its relation; kept as before: relation (the file has none)" in done.sentence
    assert {name.partition(".")[0] for name in done.kept} == {"relation"}
    assert held(model, done.loaded, public(donor))


def test_a_classifier_gives_the_trunk():
    file = torchvision()
    for model, part in ((image_network(), ""), (small(), "pose_initializer"), (small(), "feature_extractor")):
        done = models.load(model, part, file)
        assert f"into the trunk of {part or 'the network'}; kept as before: " in done.sentence
        assert "deconv_layers (the file has none); left over of the file: fc (2 tensors, " in done.sentence
        assert held(model, done.loaded, file, f"{part}.")
        assert done.left_over == ("fc.weight", "fc.bias")
        assert len(done.loaded) == len(file) - 2


def test_files_without_counters_of_batches_load():
    donor = shaken(small())
    old = {name: v for name, v in donor.state_dict().items() if not name.endswith("num_batches_tracked")}
    model = small()
    done = models.load(model, "", old)
    assert set(done.loaded) == set(old)
    assert all(name.endswith("num_batches_tracked") for name in done.kept)
    small().load_state_dict(dict(old))


def without(state: dict, *names: str) -> dict:
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("part", "file", "words"),
    [
        (
            "pose_initializer",
            lambda: public(image_network("resnet34")),
            r"expected all of pose_initializer \(140 tensors\), got 236 tensors with 96 unknown "
            r"\(layer1.2.conv1.weight; .*; \.\.\.\); describe the part as it was",
        ),
        (
            "feature_extractor",
            lambda: public(image_network(width=4)),
            r"expected all of feature_extractor .* of another shape \(conv1.weight \[4, 3, 7, 7\], here \[8, 3",
        ),
        (
            "pose_initializer",
            lambda: without(public(image_network()), "layer3.0.bn1.running_var"),
            r"1 missing \(layer3.0.bn1.running_var\); describe",
        ),
        (
            "pose_initializer",
            lambda: without(public(image_network()), "final_layer.bias"),
            r"with 1 missing \(final_layer.bias\)",
        ),
        (
            "pose_initializer",
            lambda: {**public(image_network()), "final_layer.bias": torch.rand(9)},
            r"1 of another shape \(final_layer.bias \[9\], here \[5\]\)",
        ),
        (
            "feature_extractor",
            lambda: {n: v for n, v in public(image_network()).items() if not n.startswith("deconv_layers")},
            r"expected all of feature_extractor .* 18 missing \(deconv_layers.0.weight; ",
        ),
        (
            "pose_initializer",
            lambda: without(public(image_network()), "deconv_layers.3.weight"),
            r"with 1 missing \(deconv_layers.3.weight\)",
        ),
        ("feature_extractor", lambda: torchvision("resnet50"), "expected the trunk of feature_extractor"),
        ("pose_initializer", lambda: without(torchvision(), "conv1.weight"), r"1 missing \(conv1.weight\)"),
        (
            "pose_initializer",
            lambda: {**public(image_network()), "encoder.weight": torch.rand(3)},
            r"1 unknown \(encoder.weight\)",
        ),
        ("pose_initializer", lambda: {**public(image_network()), "layer1.7.x": torch.rand(3)}, "1 unknown"),
        (
            "pose_initializer",
            lambda: small().state_dict(),
            "it is a file of a network with parts, load it into the whole network",
        ),
        (
            "",
            lambda: public(image_network(relation="jre")),
            r"into a part, for example pose_initializer: \{backbone: resnet18, weights: FILE\}",
        ),
        (
            "",
            lambda: small(relation="none").state_dict(),
            r"9 missing \(relation.conv_g.weight; .*5 unknown \(norm.we",
        ),
        ("", lambda: without(small().state_dict(), "conv_a.bias"), r"1 missing \(conv_a.bias\)"),
        ("", lambda: {**small().state_dict(), "fc.bias": torch.rand(1)}, r"1 unknown \(fc.bias\)"),
        (
            "",
            lambda: {**small().state_dict(), "conv_a.bias": torch.ones(16, dtype=int)},
            r"conv_a.bias \[16\] torch.int64, here \[16\]",
        ),
        ("", lambda: {"encoder.weight": torch.rand(3)}, "1 unknown"),
        ("", lambda: {"epoch": 3}, r"perhaps within state_dict or model_state, got 1 other values \(epoch\)"),
        ("", dict, "got an empty file"),
        (
            "pose_initializer",
            lambda: {**public(image_network()), "backbone.conv1.weight": torch.rand(8, 3, 7, 7)},
            "each weight once, got conv1.weight with two names",
        ),
    ],
)
def test_a_wrong_file_changes_nothing(untouched, part, file, words):
    untouched(small(), part, file(), words)


def test_a_relation_of_another_kind_is_refused(untouched):
    donor = image_network(relation="jre", scale="learnable")
    untouched(image_network(relation="jre"), "", public(donor), r"1 unknown \(relation.log_scale\)")


def test_a_resnet50_is_no_resnet101(untouched):
    """Of its names 338 occur in the deeper network, in the same shapes."""
    model, donor = small(pose_initializer="resnet101"), public(image_network("resnet50"))
    own = {name.removeprefix("backbone."): v for name, v in model.pose_initializer.state_dict().items()}
    assert sum(name in own and own[name].shape == value.shape for name, value in donor.items()) == 338
    words = (
        r"all of pose_initializer \(644 tensors\), got 338 tensors with 306 missing \(layer3.6.conv1.weight; "
    )
    untouched(model, "pose_initializer", donor, words)
    deeper = public(image_network("resnet101"))
    untouched(
        small(pose_initializer="resnet50"),
        "pose_initializer",
        deeper,
        r"306 unknown \(layer3.6.conv1.weight;",
    )


def test_files_that_are_none(untouched, tmp_path):
    (tmp_path / "text.pth").write_text("hello")
    untouched(small(), "", tmp_path / "text.pth", "expected a file that torch.save wrote, of tensors alone")
    torch.save(image_network(), tmp_path / "whole.pth")  # code, which is not run
    untouched(small(), "", tmp_path / "whole.pth", "could not read it")
    torch.save([torch.rand(3)], tmp_path / "list.pth")
    untouched(small(), "", tmp_path / "list.pth", "names to tensors, got list; save a state_dict")
    with pytest.raises(FileNotFoundError):
        models.load(small(), "", tmp_path / "absent.pth")
