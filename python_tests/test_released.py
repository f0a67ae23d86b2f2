"""The released network: its names, and what it computes, written out on a state dict that is named as theirs."""

import json

import pytest
import torch
import torch.nn.functional as F
from small_models import SIZE, check_streaming, public, shaken
from torch import Tensor

from rpstn_ext import models
from rpstn_ext.models import backbones

CHANNELS, JOINTS = SIZE["channels"], 5
RESNET = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4", 8: "deconv_layers"}


def norm_shapes(name: str, channels: int) -> dict[str, list[int]]:
    kinds = {kind: [channels] for kind in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.{kind}": shape for kind, shape in {**kinds, "num_batches_tracked": []}.items()}


def conv_shapes(name: str, out: int, into: int, size: int = 1) -> dict[str, list[int]]:
    return {f"{name}.weight": [out, into, size, size], f"{name}.bias": [out]}


def shapes(channels: int, joints: int) -> dict[str, list[int]]:
    """Names and shapes of the release's own layers."""
    found = conv_shapes("conv1x1_reduce_dim", channels, channels + joints)
    found |= conv_shapes("pose_conv1x1_V", channels, channels) | conv_shapes(
        "pose_conv1x1_U", joints, channels
    )
    found |= norm_shapes("bn_u", joints) | norm_shapes("bn", channels)
    for number in (0, 4, 8, 12):
        found |= conv_shapes(f"dkd_param_adapter.{number}", channels, channels, 3)
        found |= norm_shapes(f"dkd_param_adapter.{number + 1}", channels)
    found |= conv_shapes("non_local_conv2d.g", joints, joints) | norm_shapes("non_local_conv2d.W.1", joints)
    for name in ("W.0", "theta", "phi"):
        found |= conv_shapes(f"non_local_conv2d.{name}", joints, joints)
    return found


def of_resnets(initializer: str, extractor: str, joints: int, size: dict) -> dict[str, Tensor]:
    """The two ResNets of a released file, by its names."""
    first = models.build("sbl", num_joints=joints, backbone=initializer, **size)
    state = {f"pose_net.{name}": value for name, value in public(first).items()}
    second = backbones.build(extractor, num_joints=joints, **size).state_dict()
    for number, child in RESNET.items():
        for name, value in second.items():
            if name.partition(".")[0] == child:
                state[f"fea_ext.{number}.{name.partition('.')[2]}"] = value
    return state


@pytest.fixture
def released() -> dict[str, Tensor]:
    """A small released file with random contents; what is divided by is positive."""
    state = of_resnets("resnet18", "resnet34", JOINTS, SIZE)
    for name, shape in shapes(CHANNELS, JOINTS).items():
        state[name] = torch.tensor(3) if name.endswith("tracked") else 0.3 * torch.randn(shape)
        if name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape)
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


def build_from(state: dict[str, Tensor], **more) -> torch.nn.Module:
    options, ours, left_over = models.released_state(state)
    assert left_over == tuple(name for name in state if "theta" in name or "phi" in name)
    model = models.build("released_rpstn", **options, **more).double()
    model.load_state_dict(ours)  # strict: every name is found, none is left
    return model.eval()


def written_out(state: dict[str, Tensor], clip: Tensor, *, matched_norm: bool) -> Tensor:
    """What the release's forward does, in its order, with its names."""

    def conv(name, maps, padding=0):
        return F.conv2d(maps, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def norm(name, maps):
        kinds = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{name}.{kind}"][:, None, None] for kind in kinds)
        return (maps - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def relation(maps):
        count, joints, height, width = maps.shape
        flat = maps.reshape(count, joints, -1)
        products = torch.bmm(flat, flat.transpose(1, 2))
        weights = products.exp() / products.exp().sum(1, keepdim=True)  # columns
        mixed = torch.bmm(weights, conv("non_local_conv2d.g", maps).reshape(count, joints, -1))
        scrambled = mixed.permute(0, 2, 1).reshape(count, joints, height, width)
        return norm("non_local_conv2d.W.1", conv("non_local_conv2d.W.0", scrambled)) + maps

    def kernels(maps):
        for number in (0, 4, 8, 12):
            maps = conv(f"dkd_param_adapter.{number}", maps, padding=min(number, 1))
            maps = norm(f"dkd_param_adapter.{number + 1}", maps)
            if number < 12:
                maps = F.max_pool2d(maps.clamp(min=0), 2)
        return maps

    def matched(maps, weights):
        count, channels, height, width = weights.shape
        pads = (width - 1) // 2, width // 2, (height - 1) // 2, height // 2
        grouped = F.pad(maps, pads).reshape(
            1, count * channels, *(s + k - 1 for s, k in zip(maps.shape[2:], (height, width)))
        )
        return F.conv2d(grouped, weights.reshape(-1, 1, height, width), groups=count * channels).reshape(
            maps.shape
        )

    pose_net = models.build("sbl", num_joints=JOINTS, backbone="resnet18", **SIZE).double().eval()
    pose_net.load_state_dict(
        {name[9:]: value for name, value in state.items() if name.startswith("pose_net.")}
    )
    extractor = backbones.build("resnet34", num_joints=JOINTS, **SIZE).double().eval()
    extractor.load_state_dict(
        {
            ".".join((RESNET[int(name.split(".")[1])], *name.split(".")[2:])): value
            for name, value in state.items()
            if name.startswith("fea_ext.")
        }
    )
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64)[
        ..., None, None
    ]
    clip = 255 * (clip * std + mean)[:, :, [2, 1, 0]]

    heatmaps = norm("bn_u", relation(pose_net(clip[:, 0])))
    features = extractor(clip[:, 0])
    outputs = [heatmaps]
    for t in range(1, clip.shape[1]):
        now = norm("bn", conv("pose_conv1x1_V", extractor(clip[:, t])))
        semantics = norm("bn", conv("conv1x1_reduce_dim", torch.cat([heatmaps, features], 1)))
        found = matched(now, kernels(semantics))
        if matched_norm:
            found = norm("bn", found)
        heatmaps = norm("bn_u", relation(norm("bn_u", conv("pose_conv1x1_U", found))))
        features = now
        outputs.append(heatmaps)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("matched_norm", [False, True])
def test_the_released_network_is_what_its_code_does(released, matched_norm):
    for name in released:  # the ResNets' first maps peak in the hundreds with images of 0 to 255
        if name.startswith(("pose_net.final_layer", "fea_ext.8.7")):
            released[name] = released[name] / (100 if released[name].is_floating_point() else 1)
    model = build_from(released, matched_norm=matched_norm)
    clip = torch.randn(2, 3, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected = written_out(released, clip, matched_norm=matched_norm)
        assert expected.isfinite().all() and expected[:, 2].std() > 1e-2
        torch.testing.assert_close(model(clip), expected, rtol=1e-7, atol=1e-9)
        other = build_from(released, matched_norm=not matched_norm)(clip)
        assert torch.equal(other[:, 0], model(clip)[:, 0]) and not torch.allclose(other[:, 1], expected[:, 1])


@pytest.mark.parametrize("matched_norm", [False, True])
def test_streaming_gives_the_maps_of_the_clip(matched_norm):
    part = {"pose_initializer": "resnet18", "feature_extractor": "resnet18"}
    model = models.build("released_rpstn", num_joints=5, **part, **SIZE, matched_norm=matched_norm)
    check_streaming(shaken(model))
    assert model.temporal and model.parts == ("pose_initializer", "feature_extractor")
    assert not any(name in ("mean", "std") for name in model.state_dict())


@pytest.mark.parametrize("extractor", ["resnet18", "resnet50"])
def test_names_and_shapes_of_the_released_files(shared, extractor):
    """Every name of the files that were released finds its place, the two convolutions that are never used do not."""
    file = json.loads((shared / "checkpoint_keys" / "released_rpstn.json").read_text())
    kind = f"rpstn_r101init_r{extractor.removeprefix('resnet')}"
    assert file[kind] == shapes(256, 13)
    with torch.device("meta"):
        state = of_resnets("resnet101", extractor, 13, {})
        state |= {
            name: torch.empty(shape, dtype=torch.float32 if shape else torch.int64)
            for name, shape in file[kind].items()
        }
    prefixes = {".".join(name.split(".")[:2]) for name in state if name.startswith(("pose_net", "fea_ext"))}
    assert sorted(prefixes) == sorted(file[f"{kind}_prefixes"])
    state = {f"module.{name}": value for name, value in state.items()}
    options, ours, left_over = models.released_state(state)
    assert options == {
        "num_joints": 13,
        "pose_initializer": "resnet101",
        "feature_extractor": extractor,
        "width": 64,
        "channels": 256,
    }
    with torch.device("meta"):
        model = models.build("released_rpstn", **options)
    model.load_state_dict(ours)
    unused = [f"non_local_conv2d.{name}.{kind}" for name in ("theta", "phi") for kind in ("weight", "bias")]
    assert sorted(left_over) == sorted(unused)
    parameters = sum(p.numel() for p in model.parameters())
    counts = {"resnet18": 70_798_368, "resnet50": 89_421_344}  # of the paper's network
    # V; the two normalisations, where ours has one of the maps; that of the released relation.
    assert parameters == counts[extractor] + 65_792 + 512 + 26


def test_a_file_of_something_else(released):
    with pytest.raises(ValueError, match=r"names of the released RPSTN, got conv1\.weight; give its"):
        models.released_state({"conv1.weight": torch.zeros(1)})
    for name in ("bn_u.weight", "pose_conv1x1_V.weight", "fea_ext.0.weight"):
        lacking = {other: value for other, value in released.items() if other != name}
        with pytest.raises(ValueError, match=r"the whole state dict of the released RPSTN, .* is missing"):
            models.released_state(lacking)
    lacking = {name: value for name, value in released.items() if not name.startswith("pose_net.layer3.1")}
    with pytest.raises(ValueError, match=r"pose_initializer.backbone.layer3.\* is missing or another"):
        models.released_state(lacking)


def test_parts_must_agree_in_stride():
    model = models.build("sbl", num_joints=5, backbone="resnet18", **SIZE)
    extractor = backbones.build("resnet18", num_joints=5, **SIZE)
    extractor.stride = 8
    with pytest.raises(ValueError, match="of the same stride, got 4 and 8"):
        models.ReleasedRPSTN(model, extractor)
