"""Public weights as checkpoints of ours: what a file is told by, what it becomes, and what is refused."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from published import published
from small_models import SIZE, image_network, shaken
from test_released import of_resnets, shapes
from torch import nn

from rpstn_ext import models
from rpstn_training import cli
from rpstn_training.codec import MEAN, STD, normalise
from rpstn_training.errors import UserError
from rpstn_training.public_families import FAMILIES
from rpstn_training.public_files import open_weights, recognise
from rpstn_training.train import checkpoint as checkpoints

# backbone: family of its file as its authors name it
OWN = {
    "resnet18": "simplebaseline",
    "hrnet_w32": "hrnet",
    "hourglass2": "hourglass",
    "vipnas_res50": "vipnas",
    "vitpose_s": "vitpose",
}
MMPOSE = {"resnet34": "mmpose_resnet", "hrnet_w32": "mmpose_hrnet"}
# How a picture's red, green and blue on [0, 1] reach each family's network: order of channels, mean, deviation.
RGB, BGR = [0, 1, 2], [2, 1, 0]
INPUTS = dict.fromkeys(FAMILIES, (RGB, MEAN, STD)) | {
    "simplebaseline": (BGR, MEAN, STD),
    "hourglass": (RGB, (0.4404, 0.4440, 0.4327), (1.0, 1.0, 1.0)),
}


def donor(backbone: str, joints: int = 17) -> nn.Module:
    torch.manual_seed(1)
    return shaken(image_network(backbone, num_joints=joints))


def in_mmpose(network: nn.Module) -> dict[str, torch.Tensor]:
    head = ("deconv_layers.", "final_layer.")
    inner = {name.removeprefix("backbone."): value for name, value in network.state_dict().items()}
    return {
        ("head." if name.startswith(head) else "backbone.") + name: value for name, value in inner.items()
    }


def saved(state: dict, path: Path) -> Path:
    torch.save(state, path)
    return path


def bytes_of_a_picture(multiple: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (2, 3, multiple, multiple), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("backbone", "family", "mmpose"),
    [*((name, family, False) for name, family in OWN.items()), *((n, f, True) for n, f in MMPOSE.items())],
)
def test_the_maps_are_those_of_the_network_where_it_comes_from(backbone, family, mmpose, tmp_path):
    network = donor(backbone)
    state = in_mmpose(network) if mmpose else published(network)
    checkpoint = open_weights(saved(state, tmp_path / "a.pth"))
    assert checkpoint.source["family"] == FAMILIES[family].title
    assert (checkpoint.model_name, checkpoint.model_options) == (
        "sbl",
        {"backbone": backbone, **_sizes(backbone)},
    )
    assert checkpoint.skeleton.name == "coco"
    picture = bytes_of_a_picture()
    order, *rest = INPUTS[family]
    mean, std = (torch.tensor(values)[:, None, None] for values in rest)
    theirs = (picture[:, order].float() / 255 - mean) / std
    with torch.no_grad():
        expected = models.last_stage(network(theirs))
        found = models.last_stage(checkpoint.build_model()(normalise(picture)))
        as_ours = models.last_stage(network(normalise(picture)))
    scale = float(expected.std())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4 * scale)
    same = float((as_ours - expected).abs().max()) < 2e-4 * scale
    assert same == (family not in ("simplebaseline", "hourglass"))  # where it matters, it is seen


@pytest.mark.parametrize("backbone", ["resnet101", "resnet152", "hrnet_w48", "hourglass8", "vitpose_b"])
def test_deeper_ones_are_told_apart(backbone):
    with torch.device("meta"):
        network = models.build("sbl", num_joints=16, backbone=backbone)
    assert recognise(published(network), "a.pth").options == {"backbone": backbone}


def _sizes(backbone: str) -> dict[str, int]:
    own_channels = backbone.startswith(("hrnet", "vipnas"))
    return {name: value for name, value in SIZE.items() if not (own_channels and name == "channels")}


def released(joints: int) -> dict[str, torch.Tensor]:
    """A file of the released code, with its names: two ResNets, and between them what test_released lists."""
    state = of_resnets("resnet18", "resnet34", joints, SIZE)
    for name, shape in shapes(SIZE["channels"], joints).items():
        state[name] = torch.tensor(3) if name.endswith("tracked") else 0.1 * torch.randn(shape)
        if name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape)
    return state


@pytest.mark.parametrize(("joints", "skeleton"), [(13, "penn_action"), (15, "sub_jhmdb")])
def test_the_released_network_keeps_its_own_colours(joints, skeleton, tmp_path):
    state = released(joints)
    checkpoint = open_weights(saved(state, tmp_path / "a.pth"), skeleton=skeleton)
    assert checkpoint.model_name == "released_rpstn"
    assert checkpoint.model_options.get("matched_norm", False) == (joints == 15)
    assert (checkpoint.codec.box_scale, checkpoint.codec.shared_frames, checkpoint.normalisation.mean) == (
        1,
        5,
        MEAN,
    )
    options, ours, _ = models.released_state(state)
    network = models.build("released_rpstn", **options, matched_norm=joints == 15)
    network.load_state_dict(ours)
    clip = normalise(bytes_of_a_picture(128))[None]
    with torch.no_grad():
        assert torch.equal(checkpoint.build_model()(clip), network.eval()(clip))


def test_frames_of_a_video_go_the_same_way(tmp_path):
    checkpoint = open_weights(saved(published(donor("resnet18")), tmp_path / "a.pth"))
    network, clip = checkpoint.build_model(), normalise(bytes_of_a_picture())[None]
    assert (network.temporal, network.num_joints, network.stride, network.multiple) == (False, 17, 4, 32)
    with torch.no_grad():
        maps = network(clip)[0]
        first, state = network.start(clip[:, 0])
        second, _ = network.step(clip[:, 1], state)
    torch.testing.assert_close(torch.cat([first, second]), maps, rtol=0, atol=1e-5 * float(maps.std()))


PUBLISHED = {
    "sbl_res18_k13": ("simplebaseline", "resnet18"),
    "sbl_res50_k13": ("simplebaseline", "resnet50"),
    "sbl_res50_k17": ("simplebaseline", "resnet50"),
    "sbl_res101_k13": ("simplebaseline", "resnet101"),
    "hrnet_w32_k13": ("hrnet", "hrnet_w32"),
    "hrnet_w32_k17": ("hrnet", "hrnet_w32"),
    "svipnas_res50_k17": ("vipnas", "vipnas_res50"),
    "vitpose_s_k17": ("vitpose", "vitpose_s"),
    "vitpose_b_k17": ("vitpose", "vitpose_b"),
    "hourglass_newell_bearpaw_s2_b1_k13": ("hourglass", "hourglass2"),
    "hourglass_newell_bearpaw_s8_b1_k13": ("hourglass", "hourglass8"),
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_files_are_recognised_and_need_no_options(file, shared):
    family, backbone = PUBLISHED[file]
    shapes = json.loads((shared / "checkpoint_keys" / f"{file}.json").read_text())["state_dict"]
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    found = recognise(state, "a.pth")
    assert found.family is FAMILIES[family]
    assert found.options == {"backbone": backbone}
    assert len(found.maps) == int(file[-2:])
    if family == "hourglass":
        assert found.head == f"score.{int(backbone[-1]) - 1}.weight"


@pytest.mark.parametrize(
    ("name", "joints", "asked", "expected", "sigma", "words"),
    [
        ("pose_resnet_18_256x192.pth.tar", 17, None, (192, 256), 2.0, "as 256x192 in the file's name says"),
        ("pose_resnet_18_384x288.pth", 17, None, (288, 384), 3.0, "as 384x288 in"),
        ("a.pth", 17, None, (192, 256), 2.0, "as files for coco have"),
        ("a.pth", 16, None, (256, 256), 2.0, "as files for mpii have"),
        ("pose_resnet_18_256x192.pth", 17, (128, 64), (128, 64), 2.0, "as asked"),
        ("run_1000x999_2.pth", 16, None, (256, 256), 2.0, "as files for mpii have"),
    ],
)
def test_the_inputs_size(name, joints, asked, expected, sigma, words, tmp_path):
    path = saved(published(donor("resnet18", joints)), tmp_path / name)
    checkpoint = open_weights(path, input_size=asked)
    codec = checkpoint.codec
    assert (codec.input_size, codec.sigma) == (expected, sigma)
    assert (codec.stride, codec.decoding, codec.box_scale) == (4, "quarter", 1.25)
    assert any(words in choice for choice in checkpoint.source["choices"])


def test_positions_tell_the_size_whatever_the_name_says(tmp_path):
    path = saved(published(donor("vitpose_s")), tmp_path / "vitpose_384x288.pth")
    assert open_weights(path).codec.input_size == (192, 256)
    assert open_weights(path, input_size=(128, 128)).codec.input_size == (128, 128)


def test_the_skeleton_is_told_or_given(tmp_path):
    path = saved(published(donor("resnet18", 16)), tmp_path / "a.pth")
    assert open_weights(path).skeleton.name == "mpii"
    path = saved(published(donor("resnet18", 17)), tmp_path / "a.pth")
    assert open_weights(path, skeleton="posetrack2018").skeleton.name == "posetrack2018"
    path = saved(published(donor("resnet18", 13)), tmp_path / "a.pth")
    assert open_weights(path, skeleton="penn_action").skeleton.name == "penn_action"
    for count, advice in (
        (13, "there is penn_action"),
        (14, "there is hieve"),
        (9, "none that is known has so many"),
    ):
        path = saved(published(donor("resnet18", count)), tmp_path / "a.pth")
        with pytest.raises(UserError, match=rf"expected --skeleton NAME, because {count} joints .*{advice}"):
            open_weights(path)


def without(state: dict, *names: str) -> dict:
    return {name: value for name, value in state.items() if name not in names}


REFUSED = {
    "13 joints for 15": (
        lambda: published(donor("resnet18", 13)),
        {"skeleton": "sub_jhmdb"},
        r"expected maps of the 15 joints of --skeleton sub_jhmdb, got 13 \(final_layer.weight \[13, 16, 1, 1\]\)",
    ),
    "no such skeleton": (
        lambda: published(donor("resnet18")),
        {"skeleton": "cocoo"},
        "--skeleton: expected one of coco, .* got cocoo, did you mean coco?",
    ),
    "no such family": (
        lambda: published(donor("resnet18")),
        {"family": "hrnett"},
        "--family: expected one of simplebaseline, .* got hrnett, did you mean hrnet?",
    ),
    "another family": (
        lambda: published(donor("resnet18")),
        {"family": "hrnet"},
        r"expected the names of hrnet, got 140 tensors \(conv1.weight \[8, 3, 7, 7\]; .* without stage4.0.branches",
    ),
    "renamed keys": (
        lambda: {n.replace("layer", "stage"): v for n, v in published(donor("resnet18")).items()},
        {},
        r"expected the names of one of simplebaseline, .* got 140 tensors \(conv1.weight \[8, 3, 7, 7\]; .*"
        r"for the nearest, simplebaseline, it lacks layer4.0.conv1.weight, deconv_layers.0.weight, final",
    ),
    "a renamed key": (
        lambda: {
            n.replace("layer2.0.bn1", "layer2.0.norm1"): v for n, v in published(donor("resnet18")).items()
        },
        {},
        r"as SimpleBaseline: expected all of the network .* 5 missing \(layer2.0.bn1.weight; .*5 unknown \(layer2.0.no",
    ),
    "another shape": (
        lambda: {**published(donor("resnet18")), "layer1.0.conv1.weight": torch.rand(8, 8, 1, 1)},
        {},
        r"1 of another shape \(layer1.0.conv1.weight \[8, 8, 1, 1\], here \[8, 8, 3, 3\]\)",
    ),
    "no weight of a layer": (
        lambda: {**published(donor("resnet18")), "final_layer.weight": torch.tensor(3.0)},
        {},
        r"expected weights of the shapes of simplebaseline, got final_layer.weight \[\]",
    ),
    "a deeper ResNet": (
        lambda: {**published(donor("resnet18")), "layer1.2.conv1.weight": torch.rand(8, 8, 3, 3)},
        {},
        r"expected blocks of a ResNet-18, 34, 50, 101 or 152 in its four stages, got \(3, 2, 2, 2\)",
    ),
    "two families": (
        lambda: {**published(donor("hrnet_w32")), **published(donor("resnet18"))},
        {},
        r"expected the names of one family, got those of simplebaseline \(\S+\) and hrnet \(stage4.*; a file holds one",
    ),
    "a classifier": (
        lambda: {
            **without(published(donor("resnet18")), "final_layer.weight", "final_layer.bias"),
            "fc.weight": torch.rand(10, 64),
        },
        {},
        "expected a network that finds joints, got a ResNet classifier; the file goes as it is into a part",
    ),
    "no tensors": (lambda: {"epoch": 3}, {}, "expected names to tensors, .* got epoch"),
    "nothing": (dict, {}, "got an empty file"),
    "no size": (
        lambda: published(donor("resnet18")),
        {"input_size": (100, 64)},
        "--input-size: expected a width and a height that are multiples of 32 for SimpleBaseline, got 100x64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_file_gets_one_sentence(name, tmp_path):
    make, options, words = REFUSED[name]
    path = saved(make(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=words) as error:
        open_weights(path, **options)
    assert "\n" not in str(error.value)


class Payload:
    """Unpickling this would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def test_files_that_are_none_and_code_in_files(tmp_path, capsys):
    trap, bad = tmp_path / "sprung", tmp_path / "bad.pth"

    def fails(*arguments: object) -> str:
        assert (
            cli.main([str(argument) for argument in ("convert", bad, tmp_path / "out.pt", *arguments)]) == 1
        )
        error = capsys.readouterr().err.strip()
        assert error.startswith(f"rpstn: error: {bad}: expected a file") and "\n" not in error
        assert not (tmp_path / "out.pt").exists()
        return error

    assert "found none" in fails()
    bad.write_bytes(b"")
    assert "empty or ends too early" in fails()
    whole = saved(published(donor("resnet18")), tmp_path / "whole.pth").read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    assert "truncated or something else" in fails()
    for write in (
        lambda: torch.save({"conv1.weight": Payload(trap)}, bad),
        lambda: torch.save({"conv1.weight": Payload(trap)}, bad, _use_new_zipfile_serialization=False),
        lambda: bad.write_bytes(pickle.dumps({"conv1.weight": Payload(trap)}, protocol=2)),
        lambda: bad.write_bytes(pickle.dumps(Payload(trap))),
    ):
        write()
        fails()
        assert not trap.exists()
    torch.save({"conv1.weight": Payload(trap)}, bad)
    assert "asks for posix.mkdir, which was not run" in fails()
    torch.save({"best": np.float64(0.7)}, bad)
    assert "multiarray.scalar, which was not run; save its state_dict alone" in fails()
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()  # the trap works


def test_an_older_form_of_file_is_read(tmp_path):
    state = without(published(donor("resnet18")))
    old = {f"module.{n}": v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    torch.save(
        {"epoch": 140, "state_dict": old}, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=False
    )
    found = open_weights(tmp_path / "a.pth.tar").build_model()
    assert torch.equal(found.network.final_layer.weight, state["final_layer.weight"])


def test_a_checkpoint_of_ours_is_taken_as_it_is(tmp_path, capsys):
    public = saved(published(donor("resnet18")), tmp_path / "a.pth")
    checkpoints.save(tmp_path / "a.pt", open_weights(public))
    found, before = open_weights(tmp_path / "a.pt", skeleton="coco"), open_weights(public)
    for name in ("source", "normalisation", "codec", "skeleton", "model_options", "config"):
        assert getattr(found, name) == getattr(before, name), name
    with pytest.raises(
        UserError, match=r"--skeleton: expected coco \(17 joints\), .* got mpii \(16 joints\)"
    ):
        open_weights(tmp_path / "a.pt", skeleton="mpii")
    assert cli.main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "b.pt")]) == 1
    assert "expected a public file, got a checkpoint of ours" in capsys.readouterr().err
