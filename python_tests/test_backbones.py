"""Every backbone held to what is not written in it: published sizes, names, multiply-adds, equations by hand."""

import doctest
import importlib
import json
import math

import pytest
import torch
from plain_networks import PLAIN, File
from published import published
from small_models import SIZE, image_network, shaken, small
from torch import nn
from torch.nn import functional

from rpstn_ext import models
from rpstn_ext.models import backbones
from rpstn_ext.models.backbones.hourglass import Hourglass
from rpstn_ext.models.backbones.hrnet import ExchangeUnit
from rpstn_ext.models.backbones.vipnas import Block, GlobalContext
from rpstn_ext.models.backbones.vitpose import Attention, PatchEmbedding

# name: channels of the output as published, and with width 8 and channels 16; stride, multiple
CONTRACT = {
    "resnet18": (256, 16, 4, 32),
    "resnet34": (256, 16, 4, 32),
    "resnet50": (256, 16, 4, 32),
    "resnet101": (256, 16, 4, 32),
    "resnet152": (256, 16, 4, 32),
    "hrnet_w32": (32, 4, 4, 32),
    "hrnet_w48": (48, 6, 4, 32),
    "hourglass2": (256, 16, 4, 64),
    "hourglass8": (256, 16, 4, 64),
    "vipnas_res50": (144, 16, 4, 32),
    "vitpose_s": (256, 16, 4, 16),
    "vitpose_b": (256, 16, 4, 16),
}
NAMES = list(CONTRACT)
FAMILIES = ["resnet18", "hrnet_w32", "hourglass2", "vipnas_res50", "vitpose_s"]


def meta(backbone: str, num_joints: int) -> nn.Module:
    """The published network, without memory for its weights."""
    with torch.device("meta"):
        return models.build("sbl", num_joints=num_joints, backbone=backbone)


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Of convolutions, transposed ones and linear layers, for one image."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):  # each pixel of the input meets each weight
            total += module.weight.numel() * inputs[0][0, 0].numel()
        elif isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output[0, 0].numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel() * output[0, ..., 0].numel()

    for module in network.modules():
        module.register_forward_hook(count)
    network(torch.empty(1, 3, height, width, device="meta"))
    return total


@pytest.mark.parametrize("file", ["", ".deconvolutions", ".hourglass", ".hrnet", ".vipnas", ".vitpose"])
def test_documented_examples_run(file):
    result = doctest.testmod(importlib.import_module(f"rpstn_ext.models.backbones{file}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_backbone_is_held_to_the_contract():
    assert list(backbones.BACKBONES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_backbones_keep_their_contract(name):
    _, channels, stride, multiple = CONTRACT[name]
    backbone = backbones.build(name, num_joints=5, **SIZE)
    assert (backbone.name, backbone.channels, backbone.stride, backbone.multiple) == (
        name,
        channels,
        stride,
        multiple,
    )
    height, width = multiple, 2 * multiple
    expected = (2, channels, height // stride, width // stride)
    assert backbone(torch.rand(2, 3, height, width)).shape == expected
    with pytest.raises(ValueError, match=f"divide by {multiple}, got height {height} and width {width - 8}"):
        models.PoseNetwork(backbone, 5)(torch.rand(2, 3, height, width - 8))
    with torch.device("meta"):
        assert backbones.build(name, num_joints=5).channels == CONTRACT[name][0]


@pytest.mark.parametrize(
    ("backbone", "joints", "count"),
    [
        ("resnet50", 17, 33_999_697),
        ("hrnet_w32", 17, 28_536_113),
        ("hrnet_w32", 13, 28_535_981),
        ("hrnet_w48", 17, 63_595_745),
        ("hourglass2", 13, 6_728_602),
        ("hourglass8", 13, 25_583_080),
        ("vipnas_res50", 17, 7_286_772),
        ("vitpose_s", 17, 24_290_577),
        ("vitpose_b", 17, 89_994_513),
    ],
)
def test_size(backbone, joints, count):
    assert sum(p.numel() for p in meta(backbone, joints).parameters()) == count


@pytest.mark.parametrize(
    ("backbone", "count"),
    [("resnet50", 5_426_380_800), ("hrnet_w32", 7_645_003_776), ("vipnas_res50", 1_462_930_272)],
)
def test_multiply_adds_at_256x192(backbone, count):
    assert multiply_adds(meta(backbone, 17), 256, 192) == count


FILES = {
    "hourglass_newell_bearpaw_s2_b1_k13": "hourglass2",
    "hourglass_newell_bearpaw_s8_b1_k13": "hourglass8",
    "hrnet_w32_k13": "hrnet_w32",
    "hrnet_w32_k17": "hrnet_w32",
    "sbl_res18_k13": "resnet18",
    "sbl_res50_k13": "resnet50",
    "sbl_res50_k17": "resnet50",
    "sbl_res101_k13": "resnet101",
    "svipnas_res50_k17": "vipnas_res50",
    "vitpose_s_k17": "vitpose_s",
    "vitpose_b_k17": "vitpose_b",
}


@pytest.mark.parametrize("file", FILES)
def test_names_and_shapes_of_public_files(shared, file):
    expected = json.loads((shared / "checkpoint_keys" / f"{file}.json").read_text())["state_dict"]
    network = meta(FILES[file], int(file.rpartition("_k")[2]))
    assert {name: list(value.shape) for name, value in published(network).items()} == expected
    state = {
        name: torch.empty(shape, device="meta", dtype=torch.int64 if name.endswith("tracked") else None)
        for name, shape in expected.items()
    }
    done = models.load(network, "", {"state_dict": state})
    assert (len(done.loaded), done.kept, done.left_over) == (len(network.state_dict()), (), ())


def test_every_public_file_is_tried(shared):
    files = {path.stem for path in (shared / "checkpoint_keys").glob("*.json")}
    assert files == {*FILES, "released_rpstn"}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_features_are_those_of_torchvision(name):
    theirs = shaken(getattr(pytest.importorskip("torchvision").models, name)(num_classes=7))
    ours = backbones.build(name, num_joints=5).eval()
    for network in (small(pose_initializer=name, width=64), image_network(name, width=64)):
        models.load(network, network.parts[0] if network.parts else "", theirs.state_dict())
    models.load(models.PoseNetwork(ours, 5), "", theirs.state_dict())
    seen = []
    theirs.layer4.register_forward_hook(lambda *call: seen.append(call[-1]))
    ours.layer4.register_forward_hook(lambda *call: seen.append(call[-1]))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        theirs(images)
        ours(images)
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_maps_are_those_of_plain_functions_of_the_public_file(name):
    network, images = shaken(image_network(name)).double(), torch.randn(2, 3, 256, 192, dtype=torch.float64)
    for module in network.modules():  # normalisations that normalise, so that nothing vanishes or explodes
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(images)
    network.eval()
    expected = PLAIN[name](File(published(network)), images)
    assert models.last_stage(expected).std((2, 3)).min() > 1e-2  # the image reaches every map
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize(
    ("name", "width", "kernels"),
    [
        ("hrnet_w32", 32, {"conv1": 32, "layer1.0.conv1": 32, "stage4.0.branches.3.0.conv1": 128}),
        ("hrnet_w48", 16, {"conv1": 16, "stage4.0.branches.0.0.conv1": 12}),
        ("hourglass2", 16, {"conv1": 16, "layer1.0.conv3": 32, "layer2.0.conv3": 64, "layer3.0.conv3": 16}),
        ("vipnas_res50", 32, {"conv1": 24, "layer2.0.conv1": 80, "layer4.0.conv1": 304}),
        ("vitpose_s", 32, {"patch_embed.proj": 192, "blocks.11.mlp.fc1": 768}),
        ("vitpose_b", 16, {"patch_embed.proj": 192}),
    ],
)
def test_width_is_a_proportion(name, width, kernels):
    with torch.device("meta"):
        backbone = backbones.build(name, num_joints=5, width=width, channels=16)
    assert {layer: len(backbone.get_submodule(layer).weight) for layer in kernels} == kernels


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_width_works(name):
    backbone = backbones.build(name, num_joints=5, width=1, channels=1)
    assert backbone(torch.rand(2, 3, 64, 64)).shape[2:] == (16, 16)


def exact(module: nn.Module) -> nn.Module:
    """In evaluation, with normalisations that only add their bias, so that a sum can be done by hand."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 0.0
    return module.eval()


@torch.no_grad()
def test_an_exchange_of_two_resolutions_by_hand():
    unit = exact(ExchangeUnit((1, 1), outputs=2))
    for branch in unit.branches:  # each block ReLU(x): nothing is added to the residual
        for block in branch:
            block.bn2.weight.zero_()
    (_, finer), (coarser, _) = unit.fuse_layers
    finer[0].weight.fill_(2)
    finer[1].bias.fill_(-11.5)
    coarser[0][0].weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    coarser[0][1].bias.fill_(-70)
    x0, x1 = torch.tensor([[[[1.0, 2], [3, 4]]]]), torch.tensor([[[[5.0]]]])
    y0, y1 = unit([x0, x1])
    assert y0.tolist() == [[[[0, 0.5], [1.5, 2.5]]]]  # x0 + 2 * 5 - 11.5, and ReLU
    assert y1.tolist() == [[[[2]]]]  # 5 + 4*1 + 5*2 + 7*3 + 8*4 - 70


@torch.no_grad()
@pytest.mark.parametrize(("first", "second", "expected"), [(-1, 1, 5), (1, -1, 4), (1, 1, 6)])
def test_an_exchange_over_two_steps_has_a_relu_between_them(first, second, expected):
    unit = exact(ExchangeUnit((1, 1, 1), outputs=3))
    for name, value in unit.named_parameters():
        if ("conv" in name or "fuse" in name) and name.endswith("weight") and value.dim() == 4:
            value.zero_()
    for step, centre in zip(unit.fuse_layers[2][0], (first, second)):
        step[0].weight[0, 0, 1, 1] = centre
    values = [torch.zeros(1, 1, 8, 4), torch.zeros(1, 1, 4, 2), torch.full((1, 1, 2, 1), 5.0)]
    values[0][..., 0, 0] = 1
    fused = unit(values)
    assert [tuple(value.shape[2:]) for value in fused] == [(8, 4), (4, 2), (2, 1)]
    assert fused[2].flatten().tolist() == [expected, 5]  # pixel (0, 0) of the finest reaches only (0, 0)


@torch.no_grad()
def test_an_hourglass_of_identities_counts_resolutions():
    """max pooling keeps a single 1: a pixel's result is in how many of the five resolutions its cell holds it."""
    hourglass = exact(Hourglass(2))
    for name, value in hourglass.named_parameters():
        if "conv3" in name:
            value.zero_()
    image = torch.zeros(1, 2, 16, 32)
    image[..., 5, 9] = 1
    expected = [
        [sum((row >> n, column >> n) == (5 >> n, 9 >> n) for n in range(5)) for column in range(32)]
        for row in range(16)
    ]
    assert hourglass(image)[0, 1].tolist() == expected


@torch.no_grad()
def test_where_the_blocks_of_an_hourglass_stand():
    """Each block adds a number of its own; H_n(x) = x + a_n + c_n + H_{n-1}(x + b_n), H_0(x) = x + d."""
    hourglass = exact(Hourglass(1))
    for name, value in hourglass.named_parameters():
        if "conv3" in name:
            value.zero_()
    added = {}
    for level in range(4):
        for place, block in enumerate(hourglass.hg[level]):
            added[level, place] = 10.0**level * (1 + place)
            block[0].conv3.bias.fill_(added[level, place])

    def expected(level: int, x: float) -> float:
        if level < 0:
            return x + added[0, 3]
        inner = expected(level - 1, x + added[level, 1])
        return x + added[level, 0] + added[level, 2] + inner

    assert (hourglass(torch.full((1, 1, 16, 16), 0.5)) == expected(3, 0.5)).all()


@pytest.mark.parametrize(("name", "stacks"), [("hourglass2", 2), ("hourglass8", 8)])
def test_hourglasses_predict_maps_on_the_way(name, stacks):
    network = shaken(image_network(name, relation="jre"))
    clip = torch.rand(2, 2, 3, 64, 64)
    with torch.no_grad():
        maps = network(clip)
        assert [tuple(stage.shape) for stage in maps] == [(2, 2, 5, 16, 16)] * stacks
        # The maps of a stack go back into the features of the next, and nothing into those before.
        network.backbone.score_[-1].weight.add_(0.5)
        changed = network(clip)
    assert all(torch.equal(before, after) for before, after in zip(maps[:-1], changed[:-1]))
    assert not torch.allclose(maps[-1], changed[-1], atol=1e-3)


@torch.no_grad()
def test_the_second_stack_begins_with_features_and_maps_of_the_first():
    """X_2 = X_1 + F'(Y_1) + S'(M_1), seen at the second hourglass; M_1 = S(Y_1) is the first of the maps."""
    backbone = shaken(backbones.build("hourglass2", num_joints=5, **SIZE))
    begins, ends = [], []
    for hourglass, fc in zip(backbone.hg, backbone.fc):
        hourglass.register_forward_pre_hook(lambda _, inputs: begins.append(inputs[0]))
        fc.register_forward_hook(lambda _, inputs, output: ends.append(output))
    (maps,), features = backbone.stages(torch.rand(1, 3, 64, 64))
    expected = begins[0] + backbone.fc_[0](ends[0]) + backbone.score_[0](maps)
    torch.testing.assert_close(begins[1], expected)
    torch.testing.assert_close(maps, backbone.score[0](ends[0]))
    assert features is ends[1]


@torch.no_grad()
def test_global_context_is_its_equation():
    block = GlobalContext(8).double()
    for value in block.parameters():
        value.copy_(torch.randn_like(value))
    values = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    first, norm, _, last = block.channel_add_conv
    for image, result in zip(values, block(values)):
        pixels = image.flatten(1).T.tolist()
        mask = block.conv_mask.weight.flatten().tolist()
        exps = [
            math.exp(sum(w * x for w, x in zip(mask, pixel)) + block.conv_mask.bias.item())
            for pixel in pixels
        ]
        context = torch.tensor([sum(e * p[c] for e, p in zip(exps, pixels)) / sum(exps) for c in range(8)])
        hidden = first.weight.flatten(1) @ context.double() + first.bias
        hidden = (hidden - hidden.mean()) / torch.sqrt(hidden.var(unbiased=False) + 1e-5)
        hidden = (hidden * norm.weight.flatten() + norm.bias.flatten()).clamp_min(0)
        added = last.weight.flatten(1) @ hidden + last.bias
        torch.testing.assert_close(result, image + added[:, None, None], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attention_is_a_softmax_per_head():
    attention = Attention(24).double()
    tokens = torch.randn(2, 7, 24, dtype=torch.float64)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    for sample, result in zip(tokens, attention(tokens)):
        heads = []
        for head in range(12):  # of two channels each; queries, keys and values stand below one another
            rows = [slice(24 * part + 2 * head, 24 * part + 2 * head + 2) for part in range(3)]
            queries, keys, values = (sample @ weight[r].T + bias[r] for r in rows)
            exps = torch.exp(queries @ keys.T / math.sqrt(2))
            heads.append(exps / exps.sum(1, keepdim=True) @ values)
        torch.testing.assert_close(result, attention.proj(torch.cat(heads, dim=1)))


@torch.no_grad()
def test_patches_are_moved_by_two_pixels():
    embedding = PatchEmbedding(1)
    embedding.proj.weight.fill_(1)
    embedding.proj.bias.zero_()
    sums = embedding(torch.ones(1, 3, 48, 32))[0, 0]
    assert sums.tolist() == [[3.0 * 14 * 14, 3.0 * 14 * 16]] + [[3.0 * 16 * 14, 3.0 * 16 * 16]] * 2


@torch.no_grad()
def test_positions_are_those_of_256x192_and_interpolated_elsewhere():
    backbone = backbones.build("vitpose_s", num_joints=5, **SIZE)
    token, patches = backbone.pos_embed[:, :1], backbone.pos_embed[:, 1:]
    assert torch.equal(backbone.positions(16, 12), patches + token)
    channels = patches.shape[-1]
    for grid in ((16, 16), (24, 18), (5, 3)):
        image = patches.transpose(1, 2).reshape(1, channels, 16, 12)
        image = functional.interpolate(image, grid, mode="bicubic")
        torch.testing.assert_close(backbone.positions(*grid), image.flatten(2).transpose(1, 2) + token)


@torch.no_grad()
def test_positions_of_twice_as_many_rows_by_hand():
    """The cubic kernel of Keys with a = -0.75, around the one row that is not zero."""

    def kernel(x: float) -> float:
        a, x = -0.75, abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    backbone = backbones.build("vitpose_s", num_joints=5, **SIZE)
    backbone.pos_embed.zero_()
    backbone.pos_embed[0, 1:, 0].view(16, 12)[7] = 1
    column = backbone.positions(32, 12)[0, :, 0].view(32, 12)[:, 3]
    expected = torch.tensor([kernel((row + 0.5) / 2 - 0.5 - 7) for row in range(32)])
    torch.testing.assert_close(column, expected)


def test_a_file_of_256x192_serves_other_sizes():
    file = published(shaken(image_network("vitpose_s")))
    assert file["backbone.pos_embed"].shape[1] == 193
    network = image_network("vitpose_s").eval()
    models.load(network, "", {"state_dict": file})
    with torch.no_grad():
        assert network(torch.rand(1, 3, 256, 192)).shape == (1, 5, 64, 48)
        assert network(torch.rand(1, 3, 256, 256)).shape == (1, 5, 64, 64)
        assert network(torch.rand(1, 3, 48, 80)).shape == (1, 5, 12, 20)


@pytest.mark.parametrize(
    ("name", "layer", "deviation"),
    [
        ("hrnet_w32", "stage4.0.branches.3.0.conv1", math.sqrt(2 / (9 * 128))),  # He et al., of the outputs
        ("vipnas_res50", "layer4.0.conv1", math.sqrt(2 / 304)),
        ("vitpose_s", "blocks.3.mlp.fc1", 0.02),
        ("vitpose_s", "deconv_layers.0", 0.001),
        ("hourglass2", "score.0", 0.001),
    ],
)
def test_how_weights_begin(name, layer, deviation):
    backbone = backbones.build(name, num_joints=17, width=32, channels=128)
    assert backbone.get_submodule(layer).weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_searched_block_begins_as_its_residual():
    values = torch.rand(2, 16, 5, 3)
    assert torch.equal(Block(16, 16, kernel=3, stride=1, context=True)(values), values)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_lowers_the_loss(name):
    network = models.build("sbl", num_joints=3, backbone=name, width=4, channels=8)
    images, target = torch.randn(2, 3, 64, 64), torch.zeros(2, 3, 16, 16)
    target[..., 6:9, 7:10] = 1

    def loss() -> torch.Tensor:
        maps = network(images)
        stages = maps if isinstance(maps, tuple) else (maps,)
        return sum(functional.mse_loss(stage, target) for stage in stages)

    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    before = loss()
    before.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
    optimizer.step()
    assert loss() < before


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_streaming_an_image_network_gives_the_maps_of_the_clip(name):
    model = shaken(image_network(name))
    clip = torch.randn(2, 3, 3, 64, 64)
    whole = models.last_stage(model(clip))
    maps, state = model.start(clip[:, 0])
    torch.testing.assert_close(maps, whole[:, 0], atol=1e-5, rtol=1e-5)
    for t in (1, 2):
        maps, state = model.step(clip[:, t], state)
        torch.testing.assert_close(maps, whole[:, t], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(models.last_stage(model(clip[:, 1:2])), whole[:, 1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("initializer", "extractor"),
    [
        *((name, name) for name in FAMILIES[1:]),
        ("hourglass2", "vitpose_s"),
        ("vitpose_b", "hrnet_w48"),
        ("resnet18", "vipnas_res50"),
    ],
)
@torch.no_grad()
def test_streaming_an_rpstn_gives_the_maps_of_the_clip(initializer, extractor):
    model = shaken(small(pose_initializer=initializer, feature_extractor=extractor)).double()
    own = backbones.build(extractor, num_joints=5, **SIZE).channels
    assert isinstance(model.bridge, nn.Identity) == (own == 16)
    assert own == 16 or model.bridge.weight.shape == (16, own, 1, 1)
    clip = torch.randn(1, 3, 3, 64, 64, dtype=torch.float64)
    whole = model(clip)
    assert whole.shape == (1, 3, 5, 16, 16)
    maps, state = model.start(clip[:, 0])
    torch.testing.assert_close(maps, whole[:, 0], atol=1e-5, rtol=1e-5)
    for t in (1, 2):
        maps, state = model.step(clip[:, t], state)
        torch.testing.assert_close(maps, whole[:, t], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("hrnet_32", "hrnet_w32"),
        ("vitpose", "vitpose_s"),
        ("hourglass", "hourglass"),
        ("resnet5", "resnet50"),
    ],
)
def test_an_unknown_backbone_names_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"expected one of resnet18, .*, got '{name}', did you mean {near}"):
        image_network(name)
    with pytest.raises(ValueError, match=r"vitpose_b, got 'qqq'$"):
        backbones.build("qqq", num_joints=5)


@pytest.mark.parametrize("make", [backbones.HRNet, backbones.ViTPose])
def test_a_class_names_what_it_knows(make):
    with pytest.raises(ValueError, match=f"{make.__name__}: expected one of .*, got 'resnet18'"):
        make("resnet18")
    with pytest.raises(
        ValueError, match="StackedHourglass: expected one of hourglass2, hourglass8, got 'hg'"
    ):
        backbones.StackedHourglass("hg", num_joints=5)
