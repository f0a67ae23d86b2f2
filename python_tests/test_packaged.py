"""Weights to give away, and those that come with the package: small, marked, and used where none are named."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_videos import make_all

from rpstn_training import packaged
from rpstn_training.cli import main
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.video.pipeline import predict, stream

CONFIGS = Path(__file__).resolve().parents[1] / "training" / "configs"
NOTICE = "never saw a real person"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("packaged"))


@pytest.fixture
def packed(made, tmp_path, monkeypatch, capsys):
    """Small weights in the place of those that come with the package."""
    assert main(["pack", str(made.weights), str(tmp_path / "packed.pt"), "--notice", NOTICE]) == 0
    assert f"packed.pt: {(tmp_path / 'packed.pt').stat().st_size / 1e6:.1f} MB" in capsys.readouterr().out
    monkeypatch.setattr(packaged, "_DRAWN_PEOPLE", tmp_path / "packed.pt")
    return tmp_path / "packed.pt"


def test_packed_weights_are_small_and_find_nearly_the_same(made, packed):
    whole, small = checkpoints.load(made.weights), checkpoints.load(packed)
    assert packed.stat().st_size < 0.6 * made.weights.stat().st_size
    assert (small.training, small.notice, whole.notice) == (None, NOTICE, None)
    assert replace(small, model_state={}, path="", notice=None) == replace(
        whole, model_state={}, path="", training=None
    )
    assert small.sentence.endswith(f"; {NOTICE}")
    assert {value.dtype for value in small.model_state.values() if value.dim() > 1} == {torch.float16}
    models = [one.build_model() for one in (whole, small)]
    for name, value in models[1].state_dict().items():
        assert value.dtype == models[0].state_dict()[name].dtype
        torch.testing.assert_close(value, models[0].state_dict()[name], rtol=2**-11, atol=1e-7)


def test_a_file_that_is_there_is_not_packed_over(made, tmp_path, capsys):
    (tmp_path / "there.pt").write_bytes(b"mine")
    assert main(["pack", str(made.weights), str(tmp_path / "there.pt")]) == 1
    assert "there.pt" in capsys.readouterr().err and (tmp_path / "there.pt").read_bytes() == b"mine"


def test_without_weights_the_packaged_ones_are_used_and_every_output_has_their_notice(
    made, packed, tmp_path, capsys
):
    out = tmp_path / "out"
    arguments = ["predict", str(made.frames), "--out", str(out), "--whole-picture", "--overlay", "webm"]
    assert main(arguments) == 0
    assert NOTICE in capsys.readouterr().out
    info = json.loads((out / "predictions.json").read_text())["info"]
    assert (info["notice"], info["weights"]) == (NOTICE, "packed.pt")
    plain = predict(
        made.frames, made.weights, tmp_path / "plain", whole_picture=True, overlay="webm", show_progress=False
    )
    heights = []
    for folder in (out, tmp_path / "plain"):
        video = cv2.VideoCapture(str(folder / "overlay.webm"))
        heights.append(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        video.release()
    assert heights[0] > heights[1]  # a line more in the strip
    _, poses = next(stream(made.frames, None, whole_picture=True))
    assert np.abs(poses[0].joints - plain.poses[0].joints).max() < 1


def test_a_package_without_weights_says_what_to_do(made, tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "_DRAWN_PEOPLE", tmp_path / "absent.pt")
    with pytest.raises(UserError, match=r"absent.pt: expected the weights that come .* --weights FILE"):
        predict(made.frames, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_packaged_file_is_what_the_pages_say():
    file = packaged.packaged_weights()
    assert file.stat().st_size <= 15e6
    checkpoint = checkpoints.load(file)
    assert "never saw a real person" in checkpoint.notice
    assert checkpoint.training is None and checkpoint.config["data"]["name"] == "penn_action"
    model = checkpoint.build_model()
    width, height = checkpoint.codec.input_size
    with torch.no_grad():
        maps = model(torch.randn(1, 2, 3, height, width))
    assert torch.isfinite(maps).all()


def test_every_configuration_is_listed_with_a_sentence_and_printed_as_it_is(capsys):
    assert main(["configs"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed["mpii"].startswith("SimpleBaseline ResNet-50 on MPII, 256x256: the weights")
    assert listed.keys() == {
        path.relative_to(CONFIGS).as_posix().removesuffix(".yaml") for path in CONFIGS.glob("**/*.yaml")
    }
    for name in ("penn_action", "tables/table9_dkd"):
        assert main(["configs", name]) == 0
        assert capsys.readouterr().out == (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    assert main(["configs", "pen_action"]) == 2
    assert "expected a name that rpstn configs lists, got pen_action" in capsys.readouterr().err


def test_configurations_inside_an_installed_package_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "__file__", str(tmp_path / "rpstn_training" / "packaged.py"))
    with pytest.raises(UserError, match="expected the configurations that come with the package"):
        packaged.packaged_configs()
    (tmp_path / "rpstn_training" / "configs" / "tables").mkdir(parents=True)
    assert packaged.packaged_configs() == tmp_path / "rpstn_training" / "configs"
