"""Weights from files into networks and their parts: the whole of something, or an error and nothing."""

import copy
import json

import pytest
import torch
from published import published
from small_models import image_network, public, shaken, small
from torch import nn

from rpstn_ext import models


def torchvision(backbone="resnet18") -> dict[str, torch.Tensor]:
    state = public(image_network(backbone))
    kept = {name: v for name, v in state.items() if not name.startswith(("deconv_layers", "final_layer"))}
    return {**kept, "fc.weight": torch.rand(10, 64), "fc.bias": torch.rand(10)}


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


@pytest.mark.parametrize(
    "make", [small, lambda: small(relation="none"), lambda: small(scale="learnable"), image_network]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state", "model"])
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
    donor = shaken(image_network(backbone, relation="jre", relation_norm=True))
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


FAMILIES = ["resnet18", "hrnet_w32", "hourglass2", "hourglass8", "vipnas_res50", "vitpose_s"]


@torch.no_grad()
def check_both_orders(donor: nn.Module, model: nn.Module, file: dict[str, torch.Tensor]) -> None:
    """The file fills both parts of the RPSTN, in either order alike, and both then see what the donor sees."""
    size = {part: len(module.state_dict()) for part, module in models.parts(model).items()}
    filled = []
    for order in (model.parts, model.parts[::-1]):
        network = copy.deepcopy(model).eval()
        for part in order:
            done = models.load(network, part, {"state_dict": file})
            assert (len(done.loaded), done.kept) == (size[part], ())
            assert set(done.left_over) == (
                set() if part == "pose_initializer" else {"final_layer.weight", "final_layer.bias"}
            )
        filled.append(network)
    clip = torch.rand(1, 2, 3, 64, 64)
    first, second = (network(clip) for network in filled)
    assert torch.equal(first, second)
    assert not torch.allclose(first, model.eval()(clip), atol=1e-3)
    initializer, extractor = filled[0].pose_initializer, filled[0].feature_extractor
    assert torch.equal(models.last_stage(initializer(clip[:, 0])), models.last_stage(donor(clip[:, 0])))
    assert torch.equal(extractor(clip[:, 0]), donor.backbone(clip[:, 0]))


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_public_file_goes_into_the_network_and_into_each_part_in_any_order(backbone):
    donor = shaken(image_network(backbone))
    file = published(donor)
    network = image_network(backbone).eval()
    done = models.load(network, "", file)
    assert str(done) == f"state dict: {len(file)} tensors into all of the network"
    own = network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in donor.state_dict().items())
    check_both_orders(donor, small(pose_initializer=backbone, feature_extractor=backbone), file)


# Those whose RPSTN is small enough to run here; test_backbones.py loads all of them without their memory.
@pytest.mark.parametrize(
    ("file", "backbone"),
    [
        ("sbl_res18_k13", "resnet18"),
        ("hrnet_w32_k17", "hrnet_w32"),
        ("hourglass_newell_bearpaw_s2_b1_k13", "hourglass2"),
        ("svipnas_res50_k17", "vipnas_res50"),
        ("vitpose_s_k17", "vitpose_s"),
    ],
)
def test_files_of_the_published_shapes_go_into_each_part_in_any_order(shared, file, backbone):
    shapes = json.loads((shared / "checkpoint_keys" / f"{file}.json").read_text())["state_dict"]
    state = {
        name: torch.tensor(7)
        if name.endswith("tracked")
        else torch.rand(shape) + 0.5
        if name.endswith("running_var")
        else torch.randn(shape) * 0.05
        for name, shape in shapes.items()
    }
    joints = int(file.rpartition("_k")[2])
    donor = models.build("sbl", num_joints=joints, backbone=backbone).eval()
    assert len(models.load(donor, "", {"state_dict": state}).loaded) == len(shapes)
    model = models.build(
        "rpstn", num_joints=joints, pose_initializer=backbone, feature_extractor=backbone, num_convs=2
    )
    check_both_orders(donor, model, state)


@pytest.mark.parametrize("backbone", ["resnet18", "hrnet_w32", "vipnas_res50", "vitpose_s"])
@pytest.mark.parametrize("head", ["head.", "keypoint_head."])
def test_both_names_of_a_head_are_understood(backbone, head):
    donor = shaken(image_network(backbone, num_joints=7))
    file = {
        (head if name.startswith(("deconv_layers", "final_layer")) else "backbone.") + name: value
        for name, value in public(donor).items()
    }
    done = models.load(image_network(backbone, num_joints=7), "", file)
    assert (len(done.loaded), done.kept, done.left_over) == (len(file), (), ())
    model = image_network(backbone)  # for other joints: the whole backbone, and its final_layer as it was
    done = models.load(model, "", file)
    assert "into the whole backbone of the network; kept as before: final_layer (for 7 joints" in str(done)
    assert done.left_over == ("final_layer.weight", "final_layer.bias")
    assert held(model, done.loaded, public(donor))


def test_an_hourglass_for_other_joints_brings_all_that_is_not_made_for_them():
    donor = shaken(image_network("hourglass8", num_joints=7))
    made = ("score", "score_", "final_layer")
    for network, part in (
        (image_network("hourglass8"), ""),
        (small(feature_extractor="hourglass8"), "feature_extractor"),
    ):
        prefix = f"{part}." if part else "backbone."
        done = models.load(network, part, published(donor))
        own = {
            name: value
            for name, value in network.state_dict().items()
            if name.startswith((prefix, "final_layer"))
        }
        kept = {name for name in own if name.removeprefix(prefix).partition(".")[0] in made}
        assert set(done.kept) == kept
        assert set(done.loaded) == set(own) - kept
        assert {name.partition(".")[0] for name in done.left_over} == set(made)
        assert held(network, done.loaded, public(donor), prefix)
        assert "score_ (for 7 joints, here 5)" in str(done)
    assert "into feature_extractor but its score and score_; kept as before: score (for 7 joints" in str(done)


def test_files_of_ours_go_into_parts_under_their_own_names():
    for backbone in ("hourglass2", "vitpose_s"):
        donor = shaken(image_network(backbone))
        model = small(pose_initializer=backbone, feature_extractor=backbone)
        check_both_orders(donor, model, donor.state_dict())
        image_network(backbone).load_state_dict(public(donor))


@pytest.mark.parametrize(
    ("backbone", "file", "words"),
    [
        (
            "hourglass2",
            lambda: without(published(image_network("hourglass2", num_joints=7)), "fc_.0.bias"),
            r"expected the whole backbone of the network \(\d+ tensors\), got .* with 1 missing \(fc_.0.bias\)",
        ),
        (
            "hourglass2",
            lambda: without(published(image_network("hourglass2")), "score_.0.bias"),
            r"expected all of the network .* with 1 missing \(score_.0.bias\)",
        ),
        (
            "hourglass2",
            lambda: published(image_network("hourglass8")),
            r"unknown \(hg.2.hg.0.0.0.bn1.weight; ",
        ),
        (
            "hourglass8",
            lambda: published(image_network("hourglass2")),
            r"missing \(hg.2.hg.0.0.0.bn1.weight; ",
        ),
        (
            "hourglass2",
            lambda: {**published(image_network("hourglass2")), "final_layer.bias": torch.rand(5)},
            "each weight once, got final_layer.bias with two names",
        ),
        (
            "hrnet_w32",
            lambda: published(image_network("hrnet_w48")),
            r"of another shape \(transition1.0.0.weight \[6, 32, 3, 3\], here \[4, 32, 3, 3\]",
        ),
        (
            "vitpose_s",
            lambda: without(published(image_network("vitpose_s")), "backbone.pos_embed"),
            r"with 1 missing \(pos_embed\)",
        ),
        (
            "vitpose_s",
            lambda: published(image_network("vitpose_b")),
            r"pos_embed \[1, 193, 96\], here \[1, 193, 48\]",
        ),
        (
            "vipnas_res50",
            lambda: without(published(image_network("vipnas_res50")), "head.deconv_layers.0.weight"),
            r"with 1 missing \(deconv_layers.0.weight\)",
        ),
        ("vipnas_res50", lambda: published(image_network("resnet50")), "expected all of the network"),
    ],
)
def test_a_public_file_of_another_network_changes_nothing(untouched, backbone, file, words):
    untouched(image_network(backbone), "", file(), words)


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
        (
            "",
            lambda: {"epoch": 3},
            r"perhaps within state_dict, model_state or model, got 1 other values \(epoch\)",
        ),
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
    untouched(small(), "", tmp_path / "whole.pth", r"asks for \S+PoseNetwork, which was not run")
    torch.save([torch.rand(3)], tmp_path / "list.pth")
    untouched(small(), "", tmp_path / "list.pth", "names to tensors, got list; save a state_dict")
    with pytest.raises(FileNotFoundError):
        models.load(small(), "", tmp_path / "absent.pth")
