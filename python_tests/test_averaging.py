"""Maps averaged over mirrored and resampled looks: where they put joints, and that every way through a video has
them.
"""

import doctest
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import image_network, shaken, small
from small_videos import make_all, run
from tiny_clips import JOINTS, SMALL_MODEL, codec_for, tiny_config, with_data, write_penn
from torch import nn

from rpstn_ext import models
from rpstn_ext.models.network import ImageNetwork
from rpstn_training import averaging
from rpstn_training import codec as codec_module
from rpstn_training.averaging import Averaged, averaged, in_words
from rpstn_training.codec import MEAN, STD, Codec, normalise
from rpstn_training.config import EvalConfig, HeatmapConfig, from_dict, to_dict
from rpstn_training.data.records import Skeleton
from rpstn_training.data.sets import load_tracks, penn_action
from rpstn_training.errors import UserError
from rpstn_training.evaluation import evaluate
from rpstn_training.predictions import Streams, predict_tracks

SKELETON = Skeleton(
    name="three",
    joints=("nose", "left", "right"),
    limbs=(),
    flip_pairs=((1, 2),),
    groups={},
    torso=(1, 2),
    torso_paper=(1, 2),
)
FIVE = replace(SKELETON, joints=("nose", "left", "right", "neck", "tail"))
WIDTH, HEIGHT = 96, 128


def codec(geometry: str = "plain") -> Codec:
    return Codec(input_size=(WIDTH, HEIGHT), stride=4, sigma=2.0, geometry=geometry, decoding="dark")


class Sees(ImageNetwork):
    """What training wants: the exact maps of a green nose, and of two red hands, the left one left of the middle (so
    the mirrored picture's left hand is the other one).
    """

    num_joints, stride, multiple = 3, 4, 4

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def frames(self, images):
        colours = images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
        red, green, half = colours[:, 0], colours[:, 1], WIDTH // 2
        left, right = red.clone(), red.clone()
        left[..., half:], right[..., :half] = 0, 0
        x, y = torch.arange(WIDTH, dtype=red.dtype), torch.arange(HEIGHT, dtype=red.dtype)[:, None]
        places = [
            torch.stack([(spot * axis).sum((-2, -1)) / spot.sum((-2, -1)) for axis in (x, y)], dim=-1)
            for spot in (green, left, right)
        ]
        return self.codec.encode(torch.stack(places, dim=1))


def spots(joints: torch.Tensor) -> torch.Tensor:
    """The picture [1, 1, 3, H, W] in which `Sees` sees these joints [3, 2]."""
    x, y = torch.arange(WIDTH), torch.arange(HEIGHT)[:, None]
    drawn = torch.stack(
        [torch.exp(-((x - joint[0]) ** 2 + (y - joint[1]) ** 2) / (2 * 3.0**2)) for joint in joints]
    )
    colours = torch.stack([drawn[1] + drawn[2], drawn[0], torch.zeros(HEIGHT, WIDTH)])
    return ((colours - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None, None]


PLACES = torch.tensor([[40.3, 60.8], [30.9, 44.2], [62.6, 75.1]])


def error(geometry: str = "plain", places: torch.Tensor = PLACES, **options) -> torch.Tensor:
    """How far [3, 2], in pixels of the crop, joints are found from where they are."""
    chosen = codec(geometry)
    maps = Averaged(Sees(chosen), SKELETON, chosen, **options)(spots(places))
    return chosen.decode(maps[0, 0])[0] - places


@pytest.mark.parametrize("module", [averaging, codec_module])
def test_documented_examples_run(module):
    assert doctest.testmod(module).failed == 0 and doctest.testmod(module).attempted > 0


def test_without_looks_the_network_is_as_it_was():
    network = Sees(codec())
    assert averaged(network, EvalConfig(), SKELETON, codec()) is network
    picture = spots(PLACES)
    for scales in ((1.0,), (1.0, 1.0)):
        assert torch.equal(Averaged(network, SKELETON, codec(), scales=scales)(picture), network(picture))
    asked = averaged(network, EvalConfig(flip=True, flip_shift=False, scales=(1.0, 0.5)), SKELETON, codec())
    assert len(asked.looks) == 4 and not asked.shift
    assert (asked.num_joints, asked.stride, asked.multiple, asked.temporal) == (3, 4, 4, False)


def test_mirrored_udp_maps_fit_as_they_are():
    assert error("udp").abs().max() < 1e-3
    assert error("udp", flip=True).abs().max() < 1e-3


def test_mirrored_plain_maps_want_a_cell_to_the_right():
    """They stand 3 pixels too far left, or 1 too far right once they are moved; the mean has half of it."""
    assert error().abs().max() < 1e-3
    unmoved, moved = error(flip=True, flip_shift=False), error(flip=True, flip_shift=True)
    torch.testing.assert_close(unmoved, torch.tensor([-1.5, 0.0]).expand(3, 2), rtol=0, atol=0.02)
    torch.testing.assert_close(moved, torch.tensor([0.5, 0.0]).expand(3, 2), rtol=0, atol=0.02)


@pytest.mark.parametrize("fault", ["no swap", "not mirrored back", "wrong way", "picture not mirrored"])
def test_those_numbers_notice_faults(fault, monkeypatch):
    chosen = codec()
    network = Averaged(Sees(chosen), SKELETON, chosen, flip=True)
    if fault == "no swap":
        network.order = torch.arange(3)
    elif fault == "wrong way":
        cat = torch.cat
        monkeypatch.setattr(
            torch, "cat", lambda parts, dim: cat([parts[1][..., 1:], parts[1][..., -1:], parts[0]], dim=dim)
        )
    else:
        flip, calls = torch.Tensor.flip, []
        wrong = {"not mirrored back": 1, "picture not mirrored": 0}[fault]

        def broken(tensor, axis):
            calls.append(axis)
            return tensor if len(calls) - 1 == wrong else flip(tensor, axis)

        monkeypatch.setattr(torch.Tensor, "flip", broken)
    maps = network(spots(PLACES))
    found, scores = chosen.decode(maps[0, 0])
    assert (found - PLACES).abs().max() > 0.7 or scores.min() < 0.8


@pytest.mark.parametrize("geometry", ["plain", "udp"])
@pytest.mark.parametrize("scales", [(0.5,), (1.3,), (0.8, 0.9, 1.0, 1.1, 1.2)])
@pytest.mark.parametrize("flip", [False, True])
def test_maps_of_every_size_come_back_to_their_place(geometry, scales, flip):
    """Resampling maps costs less than a tenth of a pixel. The centre of plain maps is not that of the crop: taken for
    it, joints at half size would be 1.5 pixels off.
    """
    options = {"flip": flip, "flip_shift": geometry == "plain", "scales": scales}
    wanted = torch.tensor([0.0, 0.0])
    if flip and geometry == "plain":  # the pixel that the shift leaves, in pixels of that look
        wanted[0] = sum(0.5 / scale for scale in scales) / len(scales)
    assert (error(geometry, **options) - wanted).abs().max() < 0.1


def test_a_look_counts_where_it_shows_the_place():
    """At twice the size the crop's border is out of sight: there the other look alone says what there is."""
    places = torch.tensor([[8.0, 16.0], [40.0, 60.0], [88.0, 100.0]])
    alone = Sees(codec())(spots(places))[0, 0, 0]
    both = Averaged(_Constant(alone), SKELETON, codec(), scales=(1.0, 2.0))(spots(places))[0, 0, 0]
    columns, rows = torch.arange(24) * 4 - 47.5, torch.arange(32)[:, None] * 4 - 63.5
    hidden = (columns.abs() > 26) | (rows.abs() > 34)
    torch.testing.assert_close(both[hidden], alone[hidden], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(both, alone, atol=1e-2)


class _Constant(ImageNetwork):
    num_joints, stride, multiple = 3, 4, 4

    def __init__(self, maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def frames(self, images):
        return self.maps.expand(len(images), 3, *self.maps.shape)


def test_around_a_smaller_look_is_black_as_around_a_picture():
    chosen, shown = codec(), []
    network = Sees(chosen)
    network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    Averaged(network, SKELETON, chosen, scales=(0.5,))(spots(PLACES))
    black = normalise(torch.zeros(3, 1, 1, dtype=torch.uint8)).flatten()
    torch.testing.assert_close(shown[0][0, 0, :, 0, 0], black, rtol=0, atol=1e-5)
    torch.testing.assert_close(shown[0][0, 0, :, -1, -1], black, rtol=0, atol=1e-5)
    x, y = (round((place - c) / 2 + c) for place, c in zip(PLACES[0].tolist(), (47.5, 63.5)))
    assert shown[0][0, 0, 1, y, x] > black[1] + 3  # the nose, half as far from the middle


@pytest.mark.parametrize("name", ["image", "video"])
def test_any_network_becomes_symmetric(name):
    """Of a mirrored clip the mirrored maps, joints exchanged, whatever the weights."""
    torch.manual_seed(0)
    network = shaken(image_network() if name == "image" else small())
    chosen = Codec(input_size=(64, 64), stride=4, sigma=2.0, geometry="udp")
    both = Averaged(network, FIVE, chosen, flip=True)
    clip = torch.randn(2, 3, 3, 64, 64)
    order = FIVE.flip_order()
    with torch.no_grad():
        maps, mirrored = both(clip), both(clip.flip(-1))
        alone = network(clip)
        torch.testing.assert_close(mirrored, maps.flip(-1)[:, :, order], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            maps, (alone + network(clip.flip(-1)).flip(-1)[:, :, order]) / 2, rtol=1e-4, atol=1e-5
        )
        even = (clip + clip.flip(-1)) / 2
        torch.testing.assert_close(both(even), both(even).flip(-1)[:, :, order], rtol=1e-4, atol=1e-5)
    assert (maps - alone).abs().max() > 1e-2


@pytest.mark.parametrize("options", [{"flip": True}, {"flip": True, "scales": (0.8, 1.0, 1.25)}])
@pytest.mark.parametrize("name", ["image", "video"])
def test_frame_by_frame_gives_the_maps_of_the_clip(name, options):
    torch.manual_seed(0)
    network = shaken(image_network() if name == "image" else small()).double()
    both = Averaged(network, FIVE, Codec(input_size=(64, 64), stride=4, sigma=2.0), **options)
    assert both.temporal == network.temporal
    clip = torch.randn(2, 4, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = both(clip)
        maps, state = both.start(clip[:, 0])
        found = [maps]
        for t in range(1, 4):
            maps, state = both.step(clip[:, t], state)
            found.append(maps)
        assert state.shape[:2] == (2, len(both.looks))
        torch.testing.assert_close(torch.stack(found, dim=1), expected, rtol=1e-4, atol=1e-5)
        # Persons who come and go: states are split and joined along the batch.
        streams, apart = Streams(both), []
        for t in range(4):
            people = [0, 1] if t in (0, 3) else [t - 1]
            apart.append(streams.maps(people, clip[people, t]))
        direct = both.step(clip[:1, 1], both.start(clip[:1, 0])[1])
        torch.testing.assert_close(apart[1], direct[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(apart[3][:1], both.step(clip[:1, 3], direct[1])[0], rtol=1e-4, atol=1e-5)


def test_of_several_stages_the_last_one_counts():
    class Stages(Sees):
        def frames(self, images):
            maps = super().frames(images)
            return torch.zeros_like(maps), maps

    picture, chosen = spots(PLACES), codec("udp")
    found = Averaged(Stages(chosen), SKELETON, chosen, flip=True)(picture)
    assert torch.equal(found, Averaged(Sees(chosen), SKELETON, chosen, flip=True)(picture))


def test_channels_of_drawn_poses_exchange_left_and_right():
    shown = []

    class Drawn(nn.Module):
        temporal, num_joints, stride, multiple = False, 3, 4, 4

        def forward(self, clip):
            shown.append(clip)
            return clip.new_zeros(*clip.shape[:2], 3, HEIGHT // 4, WIDTH // 4)

    clip = torch.rand(1, 2, 6, HEIGHT, WIDTH)
    Averaged(Drawn(), SKELETON, codec(), flip=True)(clip)
    assert torch.equal(shown[0], clip)
    assert torch.equal(shown[1][:, :, :3], clip[:, :, :3].flip(-1))
    assert torch.equal(shown[1][:, :, 3:], clip[:, :, [3, 5, 4]].flip(-1))
    Averaged(Drawn(), SKELETON, codec(), scales=(0.5,))(clip)
    assert shown[2][0, 0, 3:, 0].abs().max() == 0  # no pose is drawn beyond the crop


def test_what_does_not_fit_is_said_in_a_sentence(tmp_path):
    with pytest.raises(
        UserError, match=r"pairs of left and right joints, three has none; leave eval\.flip or"
    ):
        Averaged(Sees(codec()), replace(SKELETON, flip_pairs=()), codec(), flip=True)
    plain = to_dict(tiny_config(tmp_path, tmp_path / "run"))
    plain["heatmap"]["geometry"] = "udp"
    from_dict(plain, "here")
    plain["eval"]["flip"] = True
    with pytest.raises(UserError, match=r"^here: eval\.flip_shift: expected false with .* udp, .* got True$"):
        from_dict(plain, "here")
    plain["eval"]["flip_shift"] = False
    from_dict(plain, "here")
    for scales in ([], [1.0, 0.0]):
        plain["eval"]["scales"] = scales
        with pytest.raises(UserError, match=r"^here: eval\.scales: expected one or more numbers above 0"):
            from_dict(plain, "here")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_penn(tmp_path_factory.mktemp("penn"), train=1, test=2, frames=5)


def with_averages(root, protocol: str, clip_length: int = 5, **options):
    config = with_data(tiny_config(root, root / "unused"), clip_length=clip_length)
    return replace(config, eval=replace(config.eval, protocol=protocol, **options))


def test_every_protocol_averages(root):
    """A video as long as a clip: the same maps by all ways, and not those without a flip test."""
    torch.manual_seed(0)
    model = models.build("rpstn", num_joints=JOINTS, **SMALL_MODEL).eval()
    found = {}
    for protocol in ("tiled", "streaming", "released"):
        for flip in (False, True):
            config = with_averages(root, protocol, flip=flip, scales=(0.9, 1.0) if flip else (1.0,))
            tracks = load_tracks(config.data, "test")
            found[protocol, flip] = predict_tracks(
                model, config, tracks, penn_action.SKELETON, codec_for(config), show_progress=False
            )
    for protocol in ("streaming", "released"):
        for expected, other in zip(found["tiled", True], found[protocol, True], strict=True):
            np.testing.assert_allclose(other.scores, expected.scores, atol=1e-5)
    for plain, flipped in zip(found["tiled", False], found["tiled", True], strict=True):
        assert np.abs(plain.joints - flipped.joints).max() > 0.5


def test_results_say_what_was_averaged(root):
    model = models.build("sbl", num_joints=JOINTS, backbone="resnet18", width=8, channels=16)
    config = with_averages(root, "tiled", flip=True, flip_shift=False, scales=(0.9, 1.0))
    config = replace(config, heatmap=HeatmapConfig(geometry="udp", decode="dark"))
    tracks = load_tracks(config.data, "test")
    evaluation = evaluate(model, config, tracks, penn_action.SKELETON, codec_for(config), show_progress=False)
    words = "input 64x64 in UDP's geometry; flip test, mirrored maps not moved; "
    assert words + "crop resampled at 0.9, 1 and averaged; dark decoding" in evaluation.text
    recorded = evaluation.to_dict()["config"]
    assert recorded["eval"]["flip"] is True and recorded["eval"]["scales"] == [0.9, 1.0]
    assert recorded["heatmap"] == {"sigma": 2.0, "decode": "dark", "geometry": "udp"}
    assert in_words(EvalConfig(flip=True)) == "flip test, mirrored maps moved by one cell"


def test_predict_with_a_flip_test(tmp_path):
    made = make_all(tmp_path)
    results = {
        flip: run(made, made.frames, tmp_path / str(flip), overlay="none", flip=flip)
        for flip in (False, True)
    }
    differences = [
        np.abs(one.joints - other.joints).max()
        for one, other in zip(results[False].poses, results[True].poses, strict=True)
    ]
    assert max(differences) > 0.1
    said = [
        json.loads(results[flip].files["predictions.json"].read_text())["info"]["inference"]
        for flip in (False, True)
    ]
    assert said == [
        "no flip; subpixel decoding",
        "flip test, mirrored maps moved by one cell; subpixel decoding",
    ]
