"""Public weights at once: `rpstn convert`, and what predict, eval and train make of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_videos import picture, write_picture
from test_public_files import donor, published, saved
from tiny_clips import SIZE, tiny_config, write_penn

from rpstn_training import cli
from rpstn_training.codec import MEAN, STD, crop_matrix, decode
from rpstn_training.config import ModelConfig, to_yaml
from rpstn_training.data.crops import apply, invert, warp
from rpstn_training.errors import UserError
from rpstn_training.video.pipeline import predict

NETWORK = {"backbone": "resnet18", "width": 8, "channels": 16}


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("public")
    return saved({"state_dict": published(donor("resnet18", 13))}, folder / "pose_resnet_18_64x64.pth.tar")


def test_a_converted_file_says_what_it_is(public, tmp_path, capsys):
    out = tmp_path / "new" / "sbl.pt"
    assert run("convert", public, out, "--skeleton", "penn_action") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SimpleBaseline, resnet18, by its names" and lines[-1] == str(out)
    assert "trained on BGR: the first convolution's channels change places, so that it takes RGB" in lines
    content = torch.load(out, weights_only=True)
    assert content["model"] == {"name": "sbl", "options": NETWORK}
    assert content["codec"]["input_size"] == [64, 64] and content["codec"]["decoding"] == "quarter"
    assert content["config"] is content["best_score"] is content["selected_on"] is None
    assert content["skeleton"]["name"] == "penn_action" and content["versions"]["torch"]
    assert content["source"]["file"] == public.name and len(content["source"]["sha256"]) == 64
    assert content["source"]["choices"] == lines[:-1]
    first = published(donor("resnet18", 13))["conv1.weight"]
    assert torch.equal(content["model_state"]["backbone.conv1.weight"], first[:, [2, 1, 0]])


def test_what_is_there_is_not_overwritten(public, tmp_path, capsys):
    out = tmp_path / "sbl.pt"
    out.write_text("precious")
    assert run("convert", public, out, "--skeleton", "penn_action") == 1
    assert "sbl.pt: expected a new file, there is one; remove it or choose" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert run("convert", public, tmp_path / "b.pt") == 1  # 13 joints tell no skeleton
    assert "expected --skeleton NAME" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("convert", public, tmp_path / "b.pt", "--input-size", "64")
    assert [path.name for path in tmp_path.iterdir()] == ["sbl.pt"]


@pytest.mark.parametrize("as_downloaded", [True, False])
def test_predict_finds_what_the_network_finds_in_blue_green_red(as_downloaded, public, tmp_path, capsys):
    source = write_picture(tmp_path / "a.png", picture(0))
    weights = public
    if not as_downloaded:
        weights = tmp_path / "sbl.pt"
        assert run("convert", public, weights, "--skeleton", "penn_action") == 0
    asked = ["--skeleton", "penn_action"] if as_downloaded else []
    out = tmp_path / "out"
    given = ("predict", source, "--weights", weights, *asked, "--whole-picture")
    assert run(*given, "--out", out, "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert (
        f"weights: {weights.name}, SimpleBaseline of {public.name}, not trained here; sbl(backbone=resnet18"
        in printed
    )
    found = json.loads((out / "predictions.json").read_text())
    info = found["info"]
    assert info["weights"] == weights.name and info["skeleton"] == "penn_action"
    assert info["architecture"].startswith("sbl(backbone=resnet18, width=8, channels=16")
    assert info["codec"]["decoding"] == "quarter" and info["weights_from"]["family"] == "SimpleBaseline"
    assert info["trained_with"] is None

    image = picture(0)
    height, width = image.shape[:2]
    matrix = crop_matrix(np.array([0.0, 0.0, width - 1.0, height - 1.0]), (64, 64), box_scale=1.25)
    crop = torch.from_numpy(warp(image, matrix, (64, 64))[..., ::-1].copy()).permute(2, 0, 1)[None]
    theirs = (crop / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        points, scores = decode(donor("resnet18", 13)(theirs)[0], stride=4, method="quarter")
    expected = apply(invert(matrix), points.double().numpy())
    keypoints = np.array(found["annotations"][0]["keypoints"]).reshape(-1, 3)
    np.testing.assert_allclose(keypoints[:, :2], expected, atol=2e-3)
    np.testing.assert_allclose(keypoints[:, 2], scores.numpy(), rtol=1e-3, atol=1e-4)


def test_another_skeleton_than_the_files_is_refused(public, tmp_path, capsys):
    source = write_picture(tmp_path / "a.png", picture(0))
    for name, status, words in (
        (
            "sub_jhmdb",
            1,
            "expected maps of the 15 joints of --skeleton sub_jhmdb, got 13 (final_layer.weight",
        ),
        ("penn", 2, "--skeleton: expected one of coco, "),
    ):
        arguments = ("predict", source, "--weights", public, "--skeleton", name, "--out", tmp_path / "out")
        assert run(*arguments) == status
        assert words in capsys.readouterr().err
    with pytest.raises(UserError, match="expected --skeleton NAME"):
        predict(source, public, tmp_path / "out", show_progress=False)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def converted(public, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "sbl.pt"
    assert run("convert", public, out, "--skeleton", "penn_action", "--input-size", f"{SIZE}x{SIZE}") == 0
    return out


def write_config(folder: Path, **model: object) -> Path:
    config = tiny_config(write_penn(folder / "data", train=2, test=1), folder / "run", epochs=1)
    path = folder / "penn.yaml"
    path.write_text(to_yaml(replace(config, model=ModelConfig(**model))))
    return path


def test_eval_takes_it_with_a_configuration_of_the_same_network(converted, tmp_path, capsys):
    config = write_config(tmp_path, name="sbl", options={**NETWORK, "relation": "none"})
    out = tmp_path / "eval.json"
    assert run("eval", config, "--weights", converted, "--out", out) == 0
    words = "SimpleBaseline of pose_resnet_18_64x64.pth.tar, not trained here"
    assert f"Weights: {converted}, {words}" in capsys.readouterr().out
    scores = json.loads(out.read_text())
    assert scores["weights_from"]["family"] == "SimpleBaseline" and scores["weights_chosen_on"] is None
    other = write_config(tmp_path / "other", name="sbl", options={**NETWORK, "backbone": "resnet34"})
    assert run("eval", other, "--weights", converted, "--out", out) == 1
    assert "got sbl(backbone=resnet18" in capsys.readouterr().err


def test_a_training_begins_with_it(converted, tmp_path, capsys):
    config = write_config(tmp_path, name="sbl", options=NETWORK, weights=str(converted))
    assert run("train", config) == 0
    assert "tensors into all of the network" in capsys.readouterr().out
