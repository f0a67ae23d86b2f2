"""What stands in place of the joint relation extractor: each against its equations, written out in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rpstn_ext.models import relations
from rpstn_ext.models.relations import kinematic_tree
from rpstn_training.data.sets import coco, hieve, mpii, penn_action, posetrack2018, sub_jhmdb

LIMBS = ((0, 1), (1, 2), (1, 3))  # of 5 joints, one of which has none
WORDS = [word for word in relations.RELATIONS if word != "none"]
SIZES = [(16, 12), (18, 13), (3, 9), (7, 33)]


def built(word: str, num_joints: int = 5, **options):
    if word == "repose":
        options = {"limbs": LIMBS, **options}
    return relations.build(word, num_joints, **options)


def maps_of(size: tuple[int, int], num_joints: int = 5) -> Tensor:
    return torch.randn(2, num_joints, *size, dtype=torch.float64)


# The equations.


def convolved(maps: Tensor, conv: torch.nn.Conv2d) -> Tensor:
    """Cross-correlation with zeros outside, one offset after the other."""
    height, width = maps.shape[2:]
    reach = conv.weight.shape[2] // 2
    padded = F.pad(maps, (reach, reach, reach, reach))
    total = conv.bias[None, :, None, None].expand(len(maps), -1, height, width)
    for dy in range(conv.weight.shape[2]):
        for dx in range(conv.weight.shape[3]):
            seen = padded[:, :, dy : dy + height, dx : dx + width]
            total = total + torch.einsum("ok,nkyx->noyx", conv.weight[:, :, dy, dx], seen)
    return total


def averaged(maps: Tensor, by: int = 4) -> Tensor:
    rows = [maps[:, :, y : y + by] for y in range(0, maps.shape[2], by)]
    cells = [[row[..., x : x + by].mean((2, 3)) for x in range(0, maps.shape[3], by)] for row in rows]
    return torch.stack([torch.stack(row, -1) for row in cells], -2)


def interpolation(cells: int, size: int, by: int) -> Tensor:
    """[size, cells]: how much of each coarse cell, whose centre is at by i + (by - 1) / 2, is in each fine one."""
    weights = torch.zeros(size, cells, dtype=torch.float64)
    for fine in range(size):
        place = min(max((fine - (by - 1) / 2) / by, 0.0), cells - 1.0)
        before = math.floor(place)
        weights[fine, before] += 1 - (place - before)
        weights[fine, min(before + 1, cells - 1)] += place - before
    return weights


def enlarged(coarse: Tensor, size: tuple[int, int], by: int = 4) -> Tensor:
    down, right = (interpolation(cells, fine, by) for cells, fine in zip(coarse.shape[2:], size))
    return torch.einsum("yi,nkij,xj->nkyx", down, coarse, right)


def related(maps: Tensor, conv_g, conv_o, scale: float = 1.0) -> Tensor:
    values = convolved(maps, conv_g)
    out = torch.empty_like(maps)
    for sample in range(len(maps)):
        products = [[(first * second).sum() for second in maps[sample]] for first in maps[sample]]
        for joint, row in enumerate(products):
            weights = torch.softmax(scale * torch.stack(row), 0)
            out[sample, joint] = sum(weight * value for weight, value in zip(weights, values[sample]))
    return convolved(out, conv_o) + maps


def weight_at_itself(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)
    return torch.softmax(torch.einsum("nap,nbp->nab", flat, flat), 2).diagonal(dim1=1, dim2=2)[
        ..., None, None
    ]


def non_local(maps: Tensor, relation) -> Tensor:
    theta, phi, g = (convolved(maps, conv).flatten(2) for conv in (relation.theta, relation.phi, relation.g))
    pairs = torch.einsum("ncp,ncq->npq", theta, phi).exp()
    attended = torch.einsum("npq,ncq->ncp", pairs / pairs.sum(2, keepdim=True), g)
    return convolved(attended.unflatten(2, maps.shape[2:]), relation.W) + maps


def repose(maps: Tensor, relation) -> Tensor:
    """The order is written out for LIMBS: joint 1 has most of them."""
    now = averaged(maps)
    for joint, seen in ((1, [1, 0, 2, 3]), (0, [0, 1]), (2, [2, 1]), (3, [3, 1])):
        first, _, second = relation.updates[str(joint)]
        update = convolved(convolved(now[:, seen], first).clamp(min=0), second)
        now = torch.cat([now[:, :joint], now[:, joint : joint + 1] + update, now[:, joint + 1 :]], 1)
    return maps + enlarged(now - averaged(maps), maps.shape[2:])


def displaced(maps: Tensor, relation) -> Tensor:
    """Sixteen cells at most: 16 stay as they are, 17 to 32 become half, 33 to 48 a third."""
    by = (max(maps.shape[2:]) + 15) // 16
    return enlarged(convolved(averaged(maps, by), relation.conv), maps.shape[2:], by)


def multiplied(maps: Tensor, relation) -> Tensor:
    evidence = 8 * torch.tanh(displaced(maps, relation) / 8)
    positive = torch.exp(torch.log(maps.clamp(min=0) + 0.01) + evidence) - 0.01
    negative = maps + 0.01 * (torch.exp(evidence) - 1)
    return torch.where(maps >= 0, positive, negative)


EQUATIONS = {
    "jre": lambda maps, r: related(maps, r.conv_g, r.conv_o),
    "non_local": non_local,
    "repose": repose,
    "refinement_head": lambda maps, r: convolved(convolved(maps, r.conv1).clamp(min=0), r.conv2) + maps,
    "jre_2convs": lambda maps, r: related(
        convolved(convolved(maps, r.convs[0]).clamp(min=0), r.convs[2]), r.joints.conv_g, r.joints.conv_o
    ),
    "displacement": lambda maps, r: maps + displaced(maps, r),
    "displacement_gated": lambda maps, r: maps + (1 - weight_at_itself(maps)) * displaced(maps, r),
    "displacement_multiplying": multiplied,
    "static": lambda maps, r: convolved(maps, r.conv) + maps,
}


def test_every_relation_has_its_equation():
    assert list(EQUATIONS) == WORDS


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("word", WORDS)
def test_a_relation_is_its_equation(word, size):
    relation = built(word, start="random").double().eval()
    for value in relation.parameters():
        value.data += 0.02 * torch.randn_like(value)
    maps = 0.1 * maps_of(size)  # small, so that W_r is not all at one joint
    with torch.no_grad():
        expected = EQUATIONS[word](maps, relation)
        found = relation(maps, apply_norm=False)
        assert (found - maps).abs().max() > 1e-3  # it does something
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
        relation.norm.running_mean.uniform_(-1, 1)
        relation.norm.running_var.uniform_(0.5, 2)
        norm = relation.norm
        mean, var, weight, bias = (
            value[:, None, None] for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        normalised = weight * (expected - mean) / torch.sqrt(var + 1e-5) + bias
        torch.testing.assert_close(relation(maps), normalised, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("word", WORDS)
def test_without_a_norm_nothing_is_normalised(word):
    relation = built(word, norm=False)
    maps = torch.rand(2, 5, 16, 12)
    assert relation.norm is None and list(relation.buffers()) == []
    assert torch.equal(relation(maps), relation(maps, apply_norm=False))


@pytest.mark.parametrize("word", WORDS)
def test_where_a_relation_starts(word):
    maps = torch.rand(2, 5, 18, 13)
    begun = built(word, start="identity")
    if word == "jre_2convs":
        assert torch.equal(begun(maps, apply_norm=False), begun.convs(maps))
    else:
        assert torch.equal(begun(maps, apply_norm=False), maps)
    assert not torch.equal(built(word, start="random")(maps, apply_norm=False), maps)
    assert begun.norm.weight.tolist() == pytest.approx([0.1] * 5)
    torch.testing.assert_close(begun(maps).std((0, 2, 3)), torch.full((5,), 0.1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("word", WORDS)
def test_gradients(word):
    relation = built(word, 4, start="random", norm=False, **{"limbs": LIMBS} if word == "repose" else {})
    relation = relation.double()
    maps = (0.3 * maps_of((5, 6), 4)).requires_grad_()
    assert torch.autograd.gradcheck(relation, (maps,), eps=1e-6, atol=1e-6)
    relation(maps).square().sum().backward()
    assert [name for name, p in relation.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("word", WORDS)
def test_under_autocast_a_relation_is_as_good_as_its_dtype(word):
    relation = built(word, start="random").eval()
    maps = 0.3 * torch.rand(2, 5, 16, 12)
    with torch.no_grad():
        expected = relation(maps)
        with torch.autocast("cpu", torch.bfloat16):
            found = relation(maps.bfloat16())
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.005)
    assert not torch.equal(found.float(), expected)


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("jre", 2 * 13 * 13 + 2 * 13),
        ("non_local", 3 * (13 * 6 + 6) + 6 * 13 + 13),
        ("repose", 3850),
        ("refinement_head", 2 * (9 * 13 * 13 + 13)),
        ("jre_2convs", 2 * (9 * 13 * 13 + 13) + 364),
        ("displacement", 21 * 21 * 13 * 13 + 13),
        ("displacement_gated", 21 * 21 * 13 * 13 + 13),
        ("displacement_multiplying", 21 * 21 * 13 * 13 + 13),
        ("static", 13 * 13 + 13),
    ],
)
def test_sizes(word, count):
    limbs = penn_action.SKELETON.limbs if word == "repose" else None
    for norm in (True, False):
        relation = relations.build(word, 13, limbs=limbs, norm=norm)
        assert sum(p.numel() for p in relation.parameters()) == count + 26 * norm


def test_size_along_a_skeleton():
    """Per joint with n neighbours: 5x5 from 1 + n to 1 + n and to 1, with biases."""
    tree = kinematic_tree(13, penn_action.SKELETON.limbs)
    degrees = sorted(len(connected) for _, connected in tree)
    assert degrees == [
        1,
        1,
        1,
        1,
        1,
        2,
        2,
        2,
        2,
        2,
        2,
        3,
        4,
    ]  # Penn Action's limbs without the two that close rings
    assert sum(25 * (1 + n) ** 2 + (1 + n) + 25 * (1 + n) + 1 for n in degrees) == 3850


def test_pairs_of_pixels_are_left_to_the_attention_kernel(monkeypatch):
    """Its rows are padded to what kernels of GPUs take; the padding changes nothing, as the equation shows."""
    calls = []
    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F,
        "scaled_dot_product_attention",
        lambda *args, **options: (
            calls.append(([value.shape for value in args], options)) or attention(*args, **options)
        ),
    )
    built("non_local", 13)(torch.rand(2, 13, 8, 8))
    assert calls == [([(2, 1, 64, 8)] * 3, {"scale": 1.0})]


@pytest.mark.parametrize("word", ["jre", "jre_2convs", "displacement_gated"])
def test_relations_of_joints_show_their_matrices(word):
    relation = built(word, start="random").eval()
    maps = torch.rand(2, 5, 16, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert relation.relation(maps)[0].dtype == torch.float32
    correlation, weights = relation.relation(maps)
    seen = (relation.convs(maps) if word == "jre_2convs" else maps).flatten(2)
    torch.testing.assert_close(correlation, torch.einsum("nap,nbp->nab", seen, seen))
    torch.testing.assert_close(weights, torch.softmax(correlation, 2))
    assert hasattr(built("displacement"), "relation") is False


@pytest.mark.parametrize("word", ["jre", "jre_2convs"])
def test_the_scale_is_that_of_the_joint_relation(word):
    maps = torch.rand(1, 5, 4, 4)
    with torch.no_grad():
        relation = built(word, scale=0.5)
        one = built(word)
        one.load_state_dict(relation.state_dict())
        torch.testing.assert_close(relation.relation(maps)[0], 0.5 * one.relation(maps)[0])
    names = [name.rpartition(".")[2] for name, _ in built(word, scale="learnable").named_parameters()]
    assert "log_scale" in names


def test_none_is_nothing():
    assert relations.build("none", 5) is None
    assert relations.build("none", 5, norm=False) is None


@pytest.mark.parametrize(
    ("word", "options", "words"),
    [
        (
            "none",
            {"scale": 2.0},
            "scale: the relation none has none, expected 1.0 or one of jre, jre_2convs as",
        ),
        (
            "none",
            {"start": "random"},
            "relation_start: the relation none has none, expected identity or one of",
        ),
        ("static", {"scale": "learnable"}, "scale: the relation static has none, .* got 'learnable'"),
        (
            "jre",
            {"limbs": LIMBS},
            "limbs: the relation jre has none, expected None or one of repose as relation",
        ),
        ("repose", {"limbs": None}, "repose goes along a skeleton, expected its limbs .* got none"),
        ("repose", {"limbs": ()}, "expected its limbs .* got none"),
        ("repose", {"limbs": ((0, 5),)}, r"limbs: expected pairs of two joints of 0..4, got \(0, 5\)"),
        ("repose", {"limbs": ((-1, 2),)}, r"limbs: expected pairs of two joints of 0..4, got \(-1, 2\)"),
        ("repose", {"limbs": ((2, 2),)}, r"limbs: expected pairs of two joints of 0..4, got \(2, 2\)"),
        ("repose", {"limbs": ((1, 2, 3),)}, r"limbs: expected pairs of two joints of 0..4, got \(1, 2, 3\)"),
        ("displacement", {"start": "zero"}, "relation_start: expected one of identity, random, got 'zero'"),
        (
            "non_local_block",
            {},
            "relation: expected one of .*, got 'non_local_block'; did you mean non_local.$",
        ),
        (False, {}, "got False; write jre for true, none for false$"),
    ],
)
def test_errors(word, options, words):
    with pytest.raises(ValueError, match=words):
        relations.build(word, 5, **options)


def test_a_relation_needs_joints_and_its_equation():
    with pytest.raises(ValueError, match="StaticMix: expected num_joints of at least 1, got 0"):
        relations.build("static", 0)
    with pytest.raises(NotImplementedError, match="Relation: expected a method related"):
        relations.Relation(3, norm=False)(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("module", [coco, hieve, mpii, penn_action, posetrack2018, sub_jhmdb])
def test_the_limbs_of_every_data_set_make_a_tree(module):
    skeleton = module.SKELETON
    tree = kinematic_tree(len(skeleton.joints), skeleton.limbs)
    order = [joint for joint, _ in tree]
    assert sorted(order) == list(range(len(skeleton.joints)))
    edges = {frozenset((joint, other)) for joint, connected in tree for other in connected}
    assert edges <= {frozenset(limb) for limb in skeleton.limbs}
    place = {joint: number for number, joint in enumerate(order)}
    parents = [[other for other in connected if place[other] < place[joint]] for joint, connected in tree]
    assert all(len(found) <= 1 for found in parents)  # no ring
    assert len(edges) == sum(len(found) for found in parents) == len(order) - parents.count([])
    alone = {joint for joint, connected in tree if not connected}
    assert alone == set(range(len(order))) - {joint for limb in skeleton.limbs for joint in limb}
    assert parents.count([]) == 1 + len(alone)  # the rest of a person hangs together


def test_the_way_through_a_tree():
    ring_and_pair = [(3, 4), (4, 5), (5, 3), (0, 1)]
    assert kinematic_tree(7, ring_and_pair) == [
        (3, (4, 5)),
        (4, (3,)),
        (5, (3,)),
        (0, (1,)),
        (1, (0,)),
        (2, ()),
        (6, ()),
    ]
    assert kinematic_tree(7, [(b, a) for a, b in reversed(ring_and_pair)]) == kinematic_tree(7, ring_and_pair)
    assert kinematic_tree(2, [(0, 1), (1, 0)]) == [(0, (1,)), (1, (0,))]
