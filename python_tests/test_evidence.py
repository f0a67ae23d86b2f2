"""What is read from maps beside the joints' places, on maps made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pytest import approx

from rpstn_training.codec import Codec
from rpstn_training.data.records import Skeleton
from rpstn_training.evidence import EVIDENCE, beyond, evidence

SKELETON = Skeleton(
    name="four",
    joints=("head", "neck", "left_hand", "right_hand"),
    limbs=((0, 1), (1, 2), (1, 3)),
    flip_pairs=((2, 3),),
    groups={},
    torso=(0, 1),
    torso_paper=(0, 1),
)
CODEC = Codec(input_size=(128, 128), stride=4, sigma=1.5, box_scale=1.28)  # a person is 100 pixels long


def numbers(maps: torch.Tensor, codec: Codec = CODEC, outside: float = -5.0) -> dict[str, np.ndarray]:
    points, scores = codec.decode(maps)
    found = evidence(maps, points, scores, codec, SKELETON, np.full(points.shape[:-1], outside))
    assert found.shape == (*points.shape[:-1], len(EVIDENCE))
    return dict(zip(EVIDENCE, np.moveaxis(found, -1, 0)))


PLACES = torch.tensor([[64.0, 20.0], [64.0, 40.0], [44.0, 80.0], [104.0, 40.0]])


def test_one_peak_each():
    heights = torch.tensor([0.8, 0.6, 0.4, 0.2])
    found = numbers(CODEC.encode(PLACES) * heights[:, None, None])
    assert found["peak"] == approx(heights.numpy(), rel=1e-5)
    assert found["second"] == approx([0] * 4, abs=0.02)
    assert found["mass"] == approx([1] * 4, abs=0.01)
    assert found["edge"] == approx([0.2, 0.4, 0.44, 0.23], abs=1e-5)  # the input ends at 127
    assert found["neighbours"] == approx([0.6, (0.8 + 0.4 + 0.2) / 3, 0.6, 0.6], rel=1e-5)
    assert found["partner"] == approx([0.8, 0.6, 0.2, 0.4], rel=1e-5)
    apart = float(np.hypot(60, 40)) / 100
    assert found["together"] == approx([1, 1, apart, apart], abs=1e-4)
    near, far = 0.2, float(np.hypot(20, 40)) / 100
    assert found["limbs"] == approx([near, (near + far + 0.4) / 3, far, 0.4], abs=1e-4)
    assert found["everybody"] == approx([0.5] * 4, rel=1e-5)
    assert found["across"] == approx([-0.05, -0.05, -0.25, 0.35], abs=1e-4)  # from 69, 45
    assert found["down"] == approx([-0.25, -0.05, 0.35, -0.05], abs=1e-4)
    assert found["outside"] == approx([-0.05] * 4)


def test_a_second_peak_and_a_wide_one():
    maps = CODEC.encode(PLACES)
    maps[0] = torch.maximum(maps[0], 0.5 * CODEC.encode(PLACES[3:])[0])  # far away
    near = CODEC.encode(PLACES[1:2] + 8)[0]  # two cells away: part of the same peak
    maps[1] = torch.maximum(maps[1], 0.5 * near)
    maps[2] = replace(CODEC, sigma=3.0).encode(PLACES[2:3])[0]
    found = numbers(maps)
    assert found["second"][0] == approx(0.5, abs=0.01)
    assert found["second"][1] < 0.1
    assert found["mass"][0] == approx(1.5, abs=0.02)
    assert found["mass"][2] == approx(4.0, abs=0.05)  # twice as wide along both axes, and no more is told


def test_clips_and_their_frames_have_the_same_numbers():
    maps = torch.stack([CODEC.encode(PLACES + shift) for shift in (0.0, 4.0, 9.0)])
    together = numbers(maps)
    for place, one in enumerate(maps):
        for name, values in numbers(one).items():
            np.testing.assert_allclose(together[name][place], values, atol=1e-6)


def test_maps_of_other_kinds():
    offset = replace(CODEC, maps="offset", radius=3.5, decoding="argmax")
    found = numbers(offset.encode(PLACES), offset)
    assert found["peak"] == approx([1] * 4) and found["mass"] == approx([1] * 4, abs=0.1)
    logarithms = replace(CODEC, decoding="integral")
    found = numbers(10 * CODEC.encode(PLACES), logarithms)
    assert (found["peak"] < 1).all() and (found["peak"] > 0.5).all()
    assert numbers(torch.zeros(4, 32, 32))["mass"] == approx([0] * 4)  # a dead map divides by nothing


def test_how_far_outside_the_picture():
    points = np.array([[4.0, 5.0], [0.0, 5.0], [-3.0, 5.0], [4.0, 12.0], [-3.0, 14.0]])
    np.testing.assert_array_equal(beyond(points, (9, 11)), [-4, 0, 3, 2, 4])


@pytest.mark.parametrize("name", ["peak", "together", "outside"])
def test_a_fault_in_the_order_would_be_seen(name):
    heights = torch.tensor([0.8, 0.6, 0.4, 0.2])
    found = numbers(CODEC.encode(PLACES) * heights[:, None, None])
    turned = numbers((CODEC.encode(PLACES) * heights[:, None, None]).flip(0), outside=5.0)
    assert abs(found[name] - turned[name]).max() > 0.05
