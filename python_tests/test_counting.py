"""Counts against numbers worked out elsewhere: by hand, by the paper, by torch's counter on the reference."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rpstn_ext as rx
from rpstn_ext.models import ImageNetwork
from rpstn_training.building import build_network, outline
from rpstn_training.config import ModelConfig
from rpstn_training.counting import Counting, Counts, count, count_model
from rpstn_training.data.sets import coco, hieve, penn_action, sub_jhmdb

B, K, C, H, W = 2, 5, 6, 12, 10
RELATION = 4 * B * K * K * H * W  # M M^T, Conv_g, W_r times it, Conv_o
CORRELATION = B * C * 7 * 5 * H * W
CONV_1X1 = B * K * C * H * W


def leaf(*shape: int, needs: bool = True) -> torch.Tensor:
    return torch.rand(*shape, requires_grad=needs)


def products(function, *arguments: torch.Tensor, backward: bool = False) -> int:
    """Multiply-adds by torch's counter of a call, or of its derivative alone."""
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        out = function(*arguments)
        forward = counter.get_total_flops()
        if backward:
            out.sum().backward()
    total = counter.get_total_flops()
    assert total % 2 == 0
    return (total - forward if backward else total) // 2


def relation(heatmaps: torch.Tensor, *, norm: bool) -> torch.Tensor:
    module = rx.JointRelationExtractor(heatmaps.shape[1], norm=True, start="random")
    return module(heatmaps, apply_norm=norm)


CALLS = {
    "joint_relation": (lambda maps: relation(maps, norm=False), [(B, K, H, W)], RELATION),
    "joint_relation_norm": (lambda maps: relation(maps, norm=True), [(B, K, H, W)], RELATION),
    "dynamic_conv2d": (rx.dynamic_conv2d, [(B, C, H, W), (B, C, 7, 5)], CORRELATION),
    "dynamic_match": (
        rx.dynamic_match,
        [(B, C, H, W), (B, C, 7, 5), (K, C), (K,)],
        CORRELATION + CONV_1X1,
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("with_gradients", [False, True])
def test_torch_counts_the_operations_forward(name: str, with_gradients: bool) -> None:
    function, shapes, expected = CALLS[name]
    arguments = [leaf(*shape, needs=with_gradients) for shape in shapes]
    assert products(function, *arguments) == expected
    with rx.use_backend("reference"):
        assert products(function, *arguments) == expected


@pytest.mark.parametrize("name", CALLS)
def test_torch_counts_the_operations_backward(name: str) -> None:
    function, shapes, expected = CALLS[name]
    arguments = [leaf(*shape) for shape in shapes]
    assert products(function, *arguments, backward=True) == 2 * expected
    if name.startswith(
        "joint_relation"
    ):  # of grouped convolutions torch counts every group's kernels for each group
        with rx.use_backend("reference"):
            assert products(function, *arguments, backward=True) == 2 * expected


def test_torch_counts_only_gradients_that_are_needed() -> None:
    for need_features, need_kernels in ((True, False), (False, True)):
        features, kernels = leaf(B, C, H, W, needs=need_features), leaf(B, C, 7, 5, needs=need_kernels)
        assert products(rx.dynamic_conv2d, features, kernels, backward=True) == CORRELATION
        weight, bias = leaf(K, C, needs=False), leaf(K, needs=False)
        found = products(rx.dynamic_match, features, kernels, weight, bias, backward=True)
        assert found == CORRELATION + CONV_1X1
    frozen = leaf(B, C, H, W, needs=False), leaf(B, C, 7, 5, needs=False)
    assert products(rx.dynamic_match, *frozen, leaf(K, C), leaf(K, needs=False), backward=True) == CONV_1X1


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("maps_need", "parameters_need", "share"), [(True, False, 6), (False, True, 4)])
def test_torch_counts_only_gradients_of_the_relation_that_are_needed(
    norm: bool, maps_need: bool, parameters_need: bool, share: int
) -> None:
    module = rx.JointRelationExtractor(K, norm=True, start="random").requires_grad_(parameters_need)
    maps = leaf(B, K, H, W, needs=maps_need)
    expected = RELATION // 4 * share
    assert products(lambda maps: module(maps, apply_norm=norm), maps, backward=True) == expected
    with rx.use_backend("reference"):
        assert products(lambda maps: module(maps, apply_norm=norm), maps, backward=True) == expected


def test_torch_counts_outputs_without_padding() -> None:
    def valid(features, kernels):
        return rx.dynamic_conv2d(features, kernels, padding="valid")

    assert products(valid, leaf(B, C, H, W), leaf(B, C, 7, 5)) == B * C * 35 * (H - 6) * (W - 4)


SKELETONS = {len(module.SKELETON.joints): module.SKELETON for module in (penn_action, hieve, sub_jhmdb, coco)}


def sbl(depth: int, joints: int = 13, size: tuple[int, int] = (256, 256), **options) -> Counts:
    model = ModelConfig(name="sbl", options={"backbone": f"resnet{depth}", **options})
    return count_model(model, SKELETONS[joints], size, 1)


def rpstn(initializer: int, extractor: int, *, joints: int = 13, frames: int = 5, **options) -> Counts:
    parts = {"pose_initializer": f"resnet{initializer}", "feature_extractor": f"resnet{extractor}"}
    return count_model(ModelConfig(options={**parts, **options}), SKELETONS[joints], (256, 256), frames)


# Parameters and multiply-adds that were worked out for the paper's architecture before this code was there.
@pytest.mark.parametrize(
    ("depth", "parameters", "multiply_adds"),
    [
        (18, 15_375_693, 3_858_759_680),
        (50, 33_998_669, 7_230_980_096),
        (101, 52_990_797, 12_079_595_520),
    ],
)
def test_simple_baselines(depth: int, parameters: int, multiply_adds: int) -> None:
    counts = sbl(depth)
    assert (counts.parameters, counts.multiply_adds) == (parameters, multiply_adds)
    assert counts.parts["backbone"].parameters == parameters - 3341


def test_simple_baseline_on_coco() -> None:
    counts = sbl(50, 17, (192, 256))
    assert (counts.parameters, counts.multiply_adds) == (33_999_697, 5_426_380_800)


@pytest.mark.parametrize(
    ("depths", "frames", "parameters", "multiply_adds"),
    [
        ((18, 18), 5, 33_183_264, 36_469_424_128),
        ((50, 50), 5, 70_429_216, 56_702_746_624),
        ((101, 101), 5, 108_413_472, 85_794_439_168),
        ((101, 18), 5, 70_798_368, 44_690_259_968),
        ((101, 50), 5, 89_421_344, 61_551_362_048),
        ((50, 50), 7, 70_429_216, 77_828_571_136),
        ((50, 50), 10, 70_429_216, 109_517_307_904),
    ],
)
def test_rpstn(depths: tuple[int, int], frames: int, parameters: int, multiply_adds: int) -> None:
    counts = rpstn(*depths, frames=frames)
    assert (counts.parameters, counts.multiply_adds) == (parameters, multiply_adds)


@pytest.mark.parametrize(("joints", "parameters"), [(14, 70_430_044), (15, 70_430_876), (17, 70_432_552)])
def test_rpstn_with_other_joints(joints: int, parameters: int) -> None:
    assert rpstn(50, 50, joints=joints).parameters == parameters


@pytest.mark.parametrize(
    ("depths", "options", "parameters"),
    [
        ((18, 18), {"num_convs": 3, "relation": "none"}, 32_592_308),
        ((50, 50), {"num_convs": 3, "relation": "none"}, 69_838_260),
        ((101, 18), {"num_convs": 3, "relation": "none"}, 70_207_412),
        ((101, 50), {"num_convs": 3, "relation": "none"}, 88_830_388),
        ((50, 50), {"num_convs": 5}, 71_019_808),
        ((50, 50), {"relation": "none"}, 70_428_852),
    ],
)
def test_rpstn_without_some_of_its_parts(depths, options, parameters) -> None:
    assert rpstn(*depths, **options).parameters == parameters


def test_parts_of_rpstn() -> None:
    parts = rpstn(50, 50).parts
    assert {name: (part.parameters, part.multiply_adds) for name, part in parts.items()} == {
        "pose_initializer.backbone": (33_995_328, 7_230_980_096 - 64 * 64 * 13 * 256),
        "pose_initializer.final_layer": (3_341, 64 * 64 * 13 * 256),
        "feature_extractor": (33_995_328, 36_086_743_040),
        "conv_a": (69_120, 1_128_267_776),
        "propagator": (2_362_368, 11_982_864_384),
        "dynamic_conv2d": (0, 205_520_896),
        "conv_d": (3_341, 54_525_952),
        "relation": (364 + 26, 13_844_480),
    }


def test_a_shared_backbone_counts_once() -> None:
    options = {"pose_initializer": "resnet18", "feature_extractor": "initializer", "num_convs": 3}
    shared = count_model(ModelConfig(options=options), SKELETONS[13], (256, 256), 2)
    apart = count_model(
        ModelConfig(options={**options, "feature_extractor": "resnet18"}), SKELETONS[13], (256, 256), 2
    )
    alone = count_model(
        ModelConfig(name="sbl", options={"backbone": "resnet18"}), SKELETONS[13], (256, 256), 2
    )
    extractor = apart.parts["feature_extractor"]
    assert min(part.multiply_adds for part in shared.parts.values()) >= 0
    assert shared.parameters == apart.parameters - extractor.parameters
    beside = set(shared.parts) - {"pose_initializer.backbone", "pose_initializer.final_layer"}
    network = sum(part.multiply_adds for name, part in shared.parts.items() if name not in beside)
    assert network == alone.multiply_adds
    assert {name: shared.parts[name] for name in beside} == {name: apart.parts[name] for name in beside}


def test_the_reference_counts_alike() -> None:
    """Also where no library is compiled."""
    with rx.use_backend("reference"):
        assert rpstn(18, 18).multiply_adds == 36_469_424_128


# What the rules behind the paper's columns give, with two digits more than it prints.
@pytest.mark.parametrize(
    ("extractor", "options", "parameters", "flops"),
    [
        (18, {}, "133.3704", "68.2917"),
        (50, {}, "222.1717", "89.6199"),
        (18, {"num_convs": 3, "relation": "none"}, "131.1176", "68.1841"),
        (50, {"num_convs": 3, "relation": "none"}, "219.9189", "89.5122"),
    ],
)
def test_table_v(extractor: int, options: dict, parameters: str, flops: str) -> None:
    counting = Counting(rule="calls", released=True, relation=False)
    counts = rpstn(101, extractor, **options)
    assert counting.printed(counting.parameters(counts), parameters) == parameters
    assert counting.printed(counting.flops(counts), flops) == flops


@pytest.mark.parametrize(
    ("frames", "options", "flops"),
    [
        (7, {}, "120.2030"),
        (10, {}, "166.0680"),
        (7, {"relation": "none", "num_convs": 5}, "120.3555"),
        (10, {"relation": "none", "num_convs": 5}, "166.2974"),
    ],
)
def test_table_iv(frames: int, options: dict, flops: str) -> None:
    counting = Counting(rule="calls", released=True)
    assert counting.printed(counting.flops(rpstn(101, 50, frames=frames, **options)), flops) == flops


def test_table_viii() -> None:
    counts = sbl(50, 17, (192, 256))
    unique = Counting(rule="unique", truncated=True)
    assert unique.printed(unique.parameters(counts), "32.424") == "32.424"
    assert unique.printed(unique.parameters(counts), "32.4246") == "32.4246"
    calls = Counting(rule="calls")
    assert calls.printed(calls.flops(counts), "8.9912") == "8.9912"


def image_network(backbone: str) -> Counts:
    model = ModelConfig(name="sbl", options={"backbone": backbone})
    return count_model(model, SKELETONS[17], (192, 256), 1)


def test_hrnet() -> None:
    counts = image_network("hrnet_w32")
    assert (counts.parameters, counts.multiply_adds) == (28_536_113, 7_645_003_776)
    unique, calls = Counting(rule="unique", truncated=True), Counting(rule="calls")
    assert unique.printed(unique.parameters(counts), "27.214") == "27.214"
    assert calls.printed(calls.flops(counts), "7.1200") == "7.1200"


def test_s_vipnas() -> None:
    """Its convolutions, and the context that its blocks gather: a product of C x HW and HW x 1 in each of 14."""
    counts = image_network("vipnas_res50")
    context = 4 * 80 * 64 * 48 + 7 * 304 * 16 * 12 + 3 * 608 * 8 * 6
    assert (counts.parameters, counts.multiply_adds) == (7_286_772, 1_462_930_272 + context)
    unique, mmcv = Counting(rule="unique", truncated=True), Counting(rule="mmcv")
    assert unique.printed(unique.parameters(counts), "6.9492") == "6.9492"
    assert mmcv.printed(mmcv.flops(counts), "1.3875") == "1.3875"


class Small(ImageNetwork):
    num_joints, stride, multiple = 3, 1, 2

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, groups=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.up = nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=2, bias=False)
        self.head = nn.Conv2d(4, 3, 1)
        self.again = self.head  # the same parameters under another name

    def frames(self, images):
        pixels = self.up(self.body(images)).flatten(2)
        mixed = (pixels.mT @ pixels) @ pixels.mT  # [N, HW, 4]
        return self.head(mixed.mT.unflatten(2, images.shape[2:]))


def test_every_kind_of_layer_by_hand() -> None:
    with torch.device("meta"):
        network = Small()
    counts = count(network, (8, 6), 2)
    pixels = 48
    convolution, up, head = 4 * 27 * pixels, 4 * 2 * 16 * 12, 12 * pixels
    products = 2 * 4 * pixels * pixels
    assert counts.parameters == (4 * 27 + 4) + 8 + 4 * 2 * 16 + (12 + 3)
    assert {name: part.multiply_adds for name, part in counts.parts.items()} == {
        "body": 2 * convolution,
        "up": 2 * up,
        "head": 2 * head,
        "other": 2 * products,
    }
    calls = Counting(rule="calls")
    assert calls.flops(counts) * 2**30 == 2 * (convolution + 4 * up + head)
    assert calls.parameters(counts) * 2**20 == 2 * counts.parameters
    per_frame = convolution + 4 * pixels + 2 * 4 * pixels + 4 * pixels + 4 * pixels + up + head + 3 * pixels
    assert Counting(rule="mmcv").flops(counts) * 2**30 == 2 * per_frame
    assert Counting(rule="unique").parameters(counts) * 2**20 == counts.parameters


def test_counting_leaves_the_network_as_it_was() -> None:
    network = outline(ModelConfig(name="sbl", options={"backbone": "resnet18"}), SKELETONS[13])
    count(network, (64, 64), 1)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_what_cannot_be_counted_is_refused() -> None:
    model = ModelConfig(name="sbl", options={"backbone": "resnet18", "width": 8, "channels": 8})
    with pytest.raises(ValueError, match="a network on the meta device, got one with memory"):
        count(build_network(model, SKELETONS[13]), (64, 64), 1)
    with pytest.raises(ValueError, match="divide by 32, got height 64 and width 60"):
        count_model(model, SKELETONS[13], (60, 64), 1)


def test_digits() -> None:
    assert Counting(rule="unique").printed(1.23456, "9.87") == "1.23"
    assert Counting(rule="unique").printed(1.239, "9.87") == "1.24"
    assert Counting(rule="unique", truncated=True).printed(1.239, "9.87") == "1.23"
