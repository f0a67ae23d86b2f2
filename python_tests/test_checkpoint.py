"""Checkpoints: they say by themselves what they hold, run nothing, and a wrong file gets one sentence."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import SMALL_MODEL

from rpstn_ext import models
from rpstn_training.calibration import Calibration
from rpstn_training.codec import Codec
from rpstn_training.config import Config, DataConfig, to_dict
from rpstn_training.data.sets import DATASETS
from rpstn_training.errors import UserError
from rpstn_training.fitting import Bin, fit_logistic
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    skeleton = DATASETS["penn_action"].SKELETON
    torch.manual_seed(0)
    model = models.build("rpstn", num_joints=len(skeleton.joints), **SMALL_MODEL)
    return Checkpoint(
        config=to_dict(Config(output="run", data=DataConfig(name="penn_action", root="data"))),
        skeleton=skeleton,
        model_name="rpstn",
        model_options=dict(SMALL_MODEL),
        codec=Codec(
            input_size=(64, 96), stride=4, sigma=1.5, box_scale=1.3, shared_frames=5, decoding="quarter"
        ),
        selected_on="4 of 40 training videos, held out (seed 0)",
        model_state=model.state_dict(),
        epoch=3,
        step=70,
        best_score=0.25,
        metrics=[{"epoch": 1, "loss": 0.5}],
    )


@pytest.fixture
def path(checkpoint, tmp_path) -> Path:
    checkpoints.save(tmp_path / "a.pt", checkpoint)
    return tmp_path / "a.pt"


def test_round_trip(checkpoint, path):
    found = checkpoints.load(path)
    for name in (field.name for field in fields(Checkpoint)):
        if name not in ("model_state", "path"):
            assert getattr(found, name) == getattr(checkpoint, name), name
    model = found.build_model()
    assert not model.training
    state = model.state_dict()
    assert state.keys() == checkpoint.model_state.keys()
    assert all(torch.equal(state[name], value) for name, value in checkpoint.model_state.items())


def test_file_holds_tensors_and_plain_types_only(path):
    content = torch.load(path, weights_only=True)
    assert set(content["versions"]) == {"python", "torch", "numpy", "commit"}
    allowed = (dict, list, str, int, float, bool, type(None), torch.Tensor)

    def check(value, where):
        assert type(value) in allowed, where
        if isinstance(value, list):
            value = dict(enumerate(value))
        for key, item in value.items() if isinstance(value, dict) else ():
            check(item, f"{where}.{key}")

    check(content, "checkpoint")


def test_calibrated_weights_and_those_of_before(checkpoint, path, tmp_path):
    """A checkpoint that is not calibrated, or was written when there was no such thing, says None."""
    content = torch.load(path, weights_only=True)
    assert content.pop("calibration") is None
    torch.save(content, tmp_path / "before.pt")
    assert checkpoints.load(tmp_path / "before.pt").calibration is None
    calibration = Calibration(
        right=fit_logistic(np.arange(4.0)[:, None], np.array([0, 1, 0, 1]) > 0),
        seen=None,
        pose_threshold=0.3,
        joint_threshold=None,
        fitted_on="9 clips",
        measured={"calibration_error": 0.02, "visible_auroc": None},
        bins=(Bin(count=3, said=0.4, came=0.5),),
    )
    checkpoints.save(tmp_path / "now.pt", replace(checkpoint, calibration=calibration))
    assert checkpoints.load(tmp_path / "now.pt").calibration.to_dict() == calibration.to_dict()
    test_file_holds_tensors_and_plain_types_only(tmp_path / "now.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        UserError,
        match=r"a\.pt: expected a file that torch.save wrote, .* got one that is (truncated|empty or ends too early)",
    ):
        checkpoints.load(path)


class Payload:
    """Unpickling this makes a file: what a checkpoint from a stranger could do."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_nothing_in_a_file_is_executed(tmp_path):
    trap = tmp_path / "sprung"
    torch.save({"format": checkpoints.FORMAT, "x": Payload(trap)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"asks for getattr, which was not run; save its state_dict"):
        checkpoints.load(tmp_path / "a.pt")
    assert not trap.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert trap.exists()  # the trap works


def test_another_file(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"a text file")
    with pytest.raises(UserError, match="truncated or something else"):
        checkpoints.load(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="expected names to tensors, got list"):
        checkpoints.load(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"a\.pt: expected a file with weights, found none"):
        checkpoints.load(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"got a folder; name best\.pt in it"):
        checkpoints.load(tmp_path)


def test_plain_state_dict_is_told_where_it_belongs(checkpoint, tmp_path):
    torch.save(checkpoint.model_state, tmp_path / "a.pth")
    with pytest.raises(
        UserError, match=r"expected a checkpoint of rpstn train or rpstn convert, got .* rpstn convert makes"
    ):
        checkpoints.load(tmp_path / "a.pth")


def test_other_format_version_and_missing_entry(path):
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format_version": 9}, path)
    with pytest.raises(
        UserError, match="expected checkpoint format 1 or 2, got 9; it was written with python"
    ):
        checkpoints.load(path)
    del content["codec"]
    torch.save(content, path)
    with pytest.raises(UserError, match=r"expected a whole checkpoint, .*codec"):
        checkpoints.load(path)


def as_format_1(checkpoint: Checkpoint, *, relation: bool) -> dict:
    """What version 0.1 wrote: the codec's parts one by one, a relation as true or false."""
    config = to_dict(Config(output="run", data=DataConfig(name="penn_action", root="data", box_scale=1.3)))
    del config["train"]["tf32"], config["eval"]["select"], config["eval"]["held_out"]
    options = {**SMALL_MODEL, "relation": relation}
    config["model"]["options"] = options
    return {
        "format": "rpstn checkpoint",
        "format_version": 1,
        "config": config,
        "skeleton": checkpoint.skeleton.to_dict(),
        "model": {"name": "rpstn", "options": options},
        "input_size": [64, 96],
        "stride": 4,
        "sigma": 1.5,
        "decode": "quarter",
        "model_state": {
            name.replace("initializer.backbone.", "initializer."): value
            for name, value in models.build(
                "rpstn", num_joints=13, **SMALL_MODEL, relation="jre" if relation else "none"
            )
            .state_dict()
            .items()
        },
        "epoch": 3,
        "step": 70,
        "best_score": 0.25,
        "metrics": [],
        "training": None,
        "versions": checkpoint.versions,
    }


@pytest.mark.parametrize("relation", [True, False])
def test_files_of_the_version_before_still_load(checkpoint, tmp_path, relation):
    content = as_format_1(checkpoint, relation=relation)
    torch.save(content, tmp_path / "old.pt")
    found = checkpoints.load(tmp_path / "old.pt")
    assert found.codec == checkpoint.codec
    assert found.model_options["relation"] == ("jre" if relation else "none")
    assert found.selected_on == "the test subset"
    state = found.build_model().state_dict()
    assert sorted(map(tuple, (value.shape for value in state.values()))) == sorted(
        map(tuple, (value.shape for value in content["model_state"].values()))
    )
    assert torch.equal(
        state["pose_initializer.backbone.layer3.0.conv1.weight"],
        content["model_state"]["pose_initializer.layer3.0.conv1.weight"],
    )


def test_weights_of_another_model(checkpoint, tmp_path):
    other = replace(checkpoint, model_options={**SMALL_MODEL, "channels": 24})
    checkpoints.save(tmp_path / "a.pt", other)
    with pytest.raises(
        UserError, match=r"a\.pt: expected the weights of this RPSTN, .* of another shape \(first:"
    ):
        checkpoints.load(tmp_path / "a.pt").build_model()
    checkpoints.save(tmp_path / "b.pt", replace(checkpoint, model_name="hourglass"))
    with pytest.raises(UserError, match="expected a model this version can build, got hourglass"):
        checkpoints.load(tmp_path / "b.pt").build_model()
