"""Joint positions to heat maps and back."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rpstn_training.codec import METHODS, Codec, crop_matrix, decode, encode
from rpstn_training.config import Config, DataConfig, HeatmapConfig
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
    with pytest.raises(ValueError, match="sigma > 0 with method 'dark', got None"):
        decode(torch.zeros(1, 4, 4), stride=4, method="dark")
    with pytest.raises(ValueError, match="geometry 'plain' or 'udp', got 'upd'"):
        Codec(input_size=(64, 64), stride=4, sigma=2.0, geometry="upd")
    with pytest.raises(ValueError, match=r"at least 2x2 cells .* got \[16, 1\]"):
        Codec(input_size=(4, 64), stride=4, sigma=2.0, geometry="udp")


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
        input_size=(192, 256),
        stride=8,
        sigma=3.0,
        box_scale=1.1,
        shared_frames=7,
        decoding="quarter",
        geometry="udp",
    )
    plain = json.loads(json.dumps(codec.to_dict()))
    assert Codec.from_dict(plain) == codec
    del plain["geometry"]  # as files were until 0.1
    assert Codec.from_dict(plain) == replace(codec, geometry="plain")


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


def joints_inside(codec: Codec, *, cells: float, count: int = 2000) -> torch.Tensor:
    """Uniform in the crop, at least so many cells from the first and the last row and column, float32."""
    (wide, high), (rows, columns) = codec.cell, codec.map_size
    room = torch.tensor([columns - 1 - 2 * cells, rows - 1 - 2 * cells])
    places = torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(1)) * room + cells
    return places * torch.tensor([wide, high])


ROUND_TRIPS = [("plain", "dark"), ("udp", "dark"), ("udp", "subpixel")]


@pytest.mark.parametrize(("size", "sigma"), [((256, 256), 2.0), ((192, 256), 2.0), ((288, 384), 3.0)])
@pytest.mark.parametrize(("geometry", "method"), ROUND_TRIPS)
def test_round_trips_are_exact_to_a_twentieth_pixel_and_beat_the_quarter(size, sigma, geometry, method):
    """Everywhere but on the outermost cells, where a peak has no neighbour; upright and lying crops."""
    for input_size in (size, size[::-1]):
        codec = Codec(input_size=input_size, stride=4, sigma=sigma, geometry=geometry, decoding=method)
        joints = joints_inside(codec, cells=1)
        maps = codec.encode(joints)
        errors = (codec.decode(maps)[0] - joints).norm(dim=-1)
        by_quarters = (replace(codec, decoding="quarter").decode(maps)[0] - joints).norm(dim=-1)
        assert maps.dtype == torch.float32 and errors.max() < 0.05
        assert errors.mean() < by_quarters.mean() / 2 and errors.max() < by_quarters.max() / 2
        assert by_quarters.mean() > 0.5  # as it is: the bar is no matter of course


@pytest.mark.parametrize("method", METHODS)
def test_a_udp_map_mirrored_is_the_map_of_the_mirrored_crop(method):
    codec = Codec(input_size=(192, 256), stride=4, sigma=2.0, geometry="udp", decoding=method)
    joints = joints_inside(codec, cells=1)
    mirrored = torch.stack([191 - joints[..., 0], joints[..., 1]], dim=-1)
    maps = codec.encode(joints)
    torch.testing.assert_close(maps.flip(-1), codec.encode(mirrored), rtol=0, atol=2e-5)
    points, _ = codec.decode(maps.flip(-1))
    # Of two cells that share the peak the first is taken, which is the other one in the mirror.
    apart = (points - (torch.tensor([191.0, 0.0]) + torch.tensor([-1.0, 1.0]) * codec.decode(maps)[0])).abs()
    assert apart.amax(dim=(-2, -1)).median() < 1e-3
    plain = replace(codec, geometry="plain")
    shift = plain.encode(joints).flip(-1) - plain.encode(mirrored + torch.tensor([-3.0, 0.0]))
    assert shift.abs().max() < 2e-5  # 3 = stride - 1 pixels to the left, as the table says


def test_udp_lengths_go_from_centre_to_centre():
    codec = Codec(input_size=(9, 17), stride=2, sigma=1.0, box_scale=1.0, geometry="udp")
    assert codec.map_size == (8, 4) and codec.cell == (8 / 3, 16 / 7)
    corners = np.array([[10.0, 20.0], [14.0, 28.0]])
    np.testing.assert_allclose(apply(codec.crop(corners.ravel()), corners), [[0, 0], [8, 16]], atol=1e-9)
    plain = apply(replace(codec, geometry="plain").crop(corners.ravel()), corners)
    np.testing.assert_allclose(plain, [[-0.25, -0.5], [8.25, 16.5]], atol=1e-9)
    maps = codec.encode(torch.tensor([[0.0, 16.0], [8.0, 0.0]]))
    assert maps[0, 7, 0] == pytest.approx(1) and maps[1, 0, 3] == pytest.approx(1)


def test_a_person_comes_back_from_udp_maps():
    """The whole way, with a box whose sides fit the crop's: x and y have cells of their own."""
    for method in ("subpixel", "dark"):
        codec = Codec(input_size=(96, 128), stride=4, sigma=2.0, geometry="udp", decoding=method)
        matrix = codec.crop(np.array([40.0, 30.0, 130.0, 190.0]), rotation=-15.0, flip=True)
        joints = np.random.default_rng(0).uniform([50, 40], [120, 180], (13, 2))
        points, _ = codec.decode(codec.encode(torch.from_numpy(apply(matrix, joints))))
        np.testing.assert_allclose(apply(invert(matrix), points.numpy()), joints, atol=0.02)


def test_the_taylor_step_uses_both_axes():
    """An oblique bump, whose top no two parabolas along the axes find."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    x, y = columns - 15.35, rows - 14.6
    bump = torch.exp(-(x**2 + 1.6 * x * y + y**2) / 8)[None]
    dark = decode(bump, stride=4, method="dark", sigma=1.0)[0]
    along_axes = decode(bump, stride=4)[0]
    wanted = torch.tensor([[4 * 15.35, 4 * 14.6]])
    assert (dark - wanted).abs().max() < 0.01 < 0.5 < (along_axes - wanted).abs().max()


def test_dark_smooths_before_it_looks():
    """A Gaussian with one cell too high beside its top: smoothing makes less of it than a parabola through it does."""
    codec = Codec(input_size=(128, 128), stride=4, sigma=2.0)
    joints = joints_inside(codec, cells=8, count=200)
    maps = codec.encode(joints)
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    noisy = maps + 0.02 * noise
    errors = {
        method: (replace(codec, decoding=method).decode(noisy)[0] - joints).norm(dim=-1).mean()
        for method in METHODS
    }
    assert errors["dark"] < 0.6 * errors["subpixel"] and errors["dark"] < 0.6 * errors["quarter"]


def test_zeros_beyond_the_edge_would_push_a_peak_inwards():
    """Why the map is not smoothed where the Gaussian would reach over its edge: padded with zeros it is, and errs."""
    codec = Codec(input_size=(128, 128), stride=4, sigma=2.0, decoding="dark")
    joints = torch.tensor([[8.0, 64.0]])
    assert (codec.decode(codec.encode(joints))[0] - joints).abs().max() < 1e-4
    padded = torch.nn.functional.pad(codec.encode(joints), (8, 8, 8, 8))
    found = decode(padded, stride=4, method="dark", sigma=2.0)[0] - 32
    assert (found[0, 0] - 8) / 4 == pytest.approx(0.2, abs=0.02) and abs(found[0, 1] - 64) < 1e-3


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-42])
def test_dark_gives_a_finite_point_inside_without_a_peak(value):
    for size in ((6, 5), (40, 40)):
        points, scores = decode(torch.full((2, 3, *size), value), stride=4, method="dark", sigma=1.0)
        assert torch.isfinite(points).all() and (points >= 0).all() and (points <= 4 * size[1]).all()
        assert (scores == torch.tensor(value)).all()
    edge = encode(torch.tensor([[-9.0, 5.0], [99.0, 5.0]]), (20, 20), sigma=2.0, stride=4)
    points, _ = decode(edge, stride=4, method="dark", sigma=2.0)
    assert points[:, 0].tolist() == [0, 76] and points[:, 1].tolist() == pytest.approx([5, 5], abs=1e-3)


def test_dark_keeps_leading_axes_and_decodes_each_map_by_itself():
    joints = torch.rand(2, 5, 13, 2, generator=torch.Generator().manual_seed(0)) * 100 + 10
    maps = encode(joints, (32, 32), sigma=2.0, stride=4)
    points, scores = decode(maps.bfloat16(), stride=4, method="dark", sigma=2.0)
    assert points.shape == joints.shape and scores.shape == (2, 5, 13) and points.dtype == torch.float32
    assert (points - joints).abs().mean() < 0.2
    every = decode(maps, stride=4, method="dark", sigma=2.0)[0]
    torch.testing.assert_close(decode(maps[1, 3], stride=4, method="dark", sigma=2.0)[0], every[1, 3])


def test_the_configuration_chooses_the_geometry():
    config = Config(output="run", data=DataConfig(name="coco", root="data", input_size=(192, 256)))
    network = SimpleNamespace(stride=4, multiple=32)
    assert Codec.of(config, network).cell == (4, 4)
    config = replace(config, heatmap=HeatmapConfig(geometry="udp", decode="dark"))
    codec = Codec.of(config, network)
    assert codec.cell == (191 / 47, 255 / 63) and codec.decoding == "dark"
    box = np.array([0.0, 0.0, 50.0, 90.0])
    expected = crop_matrix(box, (192, 256), between_centres=True)
    np.testing.assert_array_equal(codec.crop(box), expected)
    assert not np.array_equal(codec.crop(box), crop_matrix(box, (192, 256)))
