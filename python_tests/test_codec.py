"""Joint positions to heat maps and back."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rpstn_training.codec import Codec, decode, encode
from rpstn_training.config import Config, DataConfig
from rpstn_training.data.crops import apply, invert
from rpstn_training.errors import UserError


def test_encode_by_hand():
    maps = encode(torch.tensor([[8.0, 4.0]]), (4, 5), sigma=1.0, stride=4)
    assert maps.shape == (1, 4, 5)
    assert maps[0, 1, 2] == 1  # column 8 / 4, row 4 / 4
    assert maps[0, 1, 3] == pytest.approx(math.exp(-0.5))
    assert maps[0, 2, 3] == pytest.approx(math.exp(-1))
    assert maps[0, 3, 4] == pytest.approx(math.exp(-4))


def test_centres_are_not_rounded():
    maps = encode(torch.tensor([[9.0, 4.0]]), (4, 5), sigma=1.0, stride=4)
    assert maps[0, 1, 2] == pytest.approx(math.exp(-(0.25**2) / 2))
    assert maps[0, 1, 2] > maps[0, 1, 3] > maps[0, 1, 1]


@pytest.mark.parametrize("sigma", [0.7, 2.0, 3.0])
@pytest.mark.parametrize(("stride", "size"), [(4, (64, 48)), (8, (16, 24))])
def test_subpixel_decoding_inverts_encoding(sigma, stride, size):
    # Off the outermost cells, where a peak has no neighbour on one side.
    extent = torch.tensor([size[1] - 3.0, size[0] - 3.0])
    joints = (torch.rand(200, 13, 2) * extent + 1) * stride
    points, scores = decode(encode(joints, size, sigma=sigma, stride=stride), stride=stride)
    assert (points - joints).abs().max() < 0.05
    assert (scores <= 1).all() and (scores > math.exp(-(0.5**2) / sigma**2) - 1e-6).all()


def test_decode_methods_by_hand():
    heatmap = torch.zeros(1, 5, 7)
    heatmap[0, 2, 3], heatmap[0, 2, 4], heatmap[0, 1, 3] = 0.8, 0.4, 0.2
    assert decode(heatmap, stride=4, method="argmax")[0].tolist() == [[12, 8]]
    assert decode(heatmap, stride=4, method="quarter")[0].tolist() == [[13, 7]]
    (x, y), *_ = decode(heatmap, stride=4, method="subpixel")[0].tolist()
    assert 12 < x <= 14 and 6 <= y < 8
    assert decode(heatmap, stride=4)[1].tolist() == pytest.approx([0.8])


def test_x_is_the_column():
    """A transposed map must not decode to the same point."""
    maps = encode(torch.tensor([[20.0, 8.0]]), (8, 8), sigma=1.5, stride=4)
    assert decode(maps, stride=4)[0][0].tolist() == pytest.approx([20, 8], abs=1e-3)
    assert decode(maps.mT, stride=4)[0][0].tolist() == pytest.approx([8, 20], abs=1e-3)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-42])
def test_maps_without_a_peak_give_a_finite_point_inside(value):
    points, scores = decode(torch.full((2, 3, 6, 5), value), stride=4)
    assert torch.isfinite(points).all()
    assert (points >= 0).all() and (points <= 4 * 5).all()
    assert (scores == torch.tensor(value)).all()


def test_peaks_on_the_edge_stay_on_the_map():
    maps = encode(torch.tensor([[-9.0, 5.0], [36.0, 5.0]]), (8, 8), sigma=2.0, stride=4)
    points, _ = decode(maps, stride=4)
    assert points[:, 0].tolist() == [0, 28]
    assert points[:, 1].tolist() == pytest.approx([5, 5], abs=1e-3)


def test_half_precision_is_decoded_in_float32_and_leading_axes_stay():
    joints = torch.rand(2, 5, 13, 2) * 100 + 10
    maps = encode(joints, (32, 32), sigma=2.0, stride=4)
    points, scores = decode(maps.bfloat16(), stride=4)
    assert points.dtype == scores.dtype == torch.float32
    assert points.shape == joints.shape and scores.shape == (2, 5, 13)
    assert (points - joints).abs().mean() < 0.5
    one, _ = decode(maps[1, 3], stride=4)
    assert torch.equal(one, decode(maps, stride=4)[0][1, 3])


def test_wrong_arguments():
    with pytest.raises(ValueError, match="sigma > 0"):
        encode(torch.zeros(1, 2), (4, 4), sigma=0, stride=4)
    with pytest.raises(ValueError, match="subpixel"):
        decode(torch.zeros(1, 4, 4), stride=4, method="taylor")


def test_a_network_divides_its_input_or_says_so():
    config = Config(output="run", data=DataConfig(name="coco", root="data", input_size=(100, 96)))
    network = SimpleNamespace(stride=4, multiple=32)
    with pytest.raises(UserError, match=r"multiples of 32 for this network, got \[100, 96\]"):
        Codec.of(config, network)
    codec = Codec.of(config, SimpleNamespace(stride=2, multiple=4))
    assert codec.map_size == (48, 50) and codec.stride == 2
    assert codec.encode(torch.zeros(3, 2)).shape == (3, 48, 50)


def test_a_codec_comes_back_from_plain_types():
    codec = Codec(
        input_size=(192, 256), stride=8, sigma=3.0, box_scale=1.1, shared_frames=7, decoding="quarter"
    )
    plain = json.loads(json.dumps(codec.to_dict()))
    assert Codec.from_dict(plain) == codec


def test_a_person_comes_back_from_the_maps_of_any_stride():
    """The whole way: box to crop, joints to maps, maps to joints, back into the picture."""
    generator = np.random.default_rng(0)
    for stride in (2, 4, 8):
        codec = Codec(input_size=(96, 128), stride=stride, sigma=2.0, box_scale=1.25)
        matrix = codec.crop(np.array([40.0, 30.0, 130.0, 190.0]), rotation=20.0, flip=True)
        joints = generator.uniform([50, 40], [120, 180], (13, 2))
        maps = codec.encode(torch.from_numpy(apply(matrix, joints)))
        points, scores = codec.decode(maps)
        np.testing.assert_allclose(apply(invert(matrix), points.numpy()), joints, atol=0.02)
        assert scores.min() > 0.8
