"""The whole way of each data set without a download: synth, check-data, 20 steps of train, eval, score its file."""

import json
from pathlib import Path

import pytest

from rpstn_training.cli import main

CONFIGS = Path(__file__).resolve().parents[1] / "training" / "configs"
SMALL_SBL = {"backbone": "resnet18", "width": 8, "channels": 16}
SMALL_RPSTN = {
    "pose_initializer": "resnet18",
    "feature_extractor": "resnet18",
    "width": 8,
    "channels": 16,
    "num_convs": 2,
}
# The shipped configuration of each set, and the layout of `rpstn synth`, which is its data.name.
LAYOUTS = {
    "penn_action": "penn_action.yaml",
    "sub_jhmdb": "sub_jhmdb_r50.yaml",
    "posetrack2018": "posetrack2018.yaml",
    "hieve": "hieve.yaml",
    "coco": "coco.yaml",
    "mpii": "mpii.yaml",
    "custom": "custom.yaml",
}
LABELS = {  # what `rpstn score` compares with, relative to the root
    "penn_action": "",
    "sub_jhmdb": "",
    "posetrack2018": "annotations/val",
    "hieve": "labels/train/track2&3",
    "coco": "annotations/person_keypoints_val2017.json",
    "mpii": "annot/gt_valid.mat",
    "custom": "annotations/val.json",
}
STEPS = 20


def overrides(config: Path, root: Path, output: Path) -> list[str]:
    """What makes the shipped configuration small enough for two cores and a few seconds."""
    small = SMALL_SBL if "name: sbl" in config.read_text(encoding="utf-8") else SMALL_RPSTN
    changes = {
        "data.root": root,
        "output": output,
        "data.input_size": [64, 64],
        "data.workers": 0,
        "data.clips_per_epoch": 2 * STEPS,
        **{f"model.options.{key}": value for key, value in small.items()},
        "model.weights": "null",
        "train.batch_size": 2,
        "train.epochs": 1,
        "train.milestones": [1],
        "train.max_steps": STEPS,
        "train.device": "cpu",
    }
    return [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_from_synthetic_clips_to_scores(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], dataset: str
) -> None:
    root, run, config = tmp_path / "data", tmp_path / "run", CONFIGS / LAYOUTS[dataset]
    changes = overrides(config, root, run)

    drawn = ["--clips", "4", "--frames", "6", "--size", "128x96", "--workers", "1"]
    assert main(["synth", "--dataset", dataset, "--out", str(root), *drawn]) == 0

    assert main(["check-data", str(config), "--out", str(tmp_path / "check"), *changes]) == 0
    assert "Nothing found that would stop a training." in capfd.readouterr().out
    counts = json.loads((tmp_path / "check" / "counts.json").read_text())
    for subset in ("train", "test"):
        assert counts[subset]["counts"]["tracks"] >= 1
        assert counts[subset]["counts"]["joints"] > 10
        assert (tmp_path / "check" / f"{subset}.png").is_file()

    assert main(["train", str(config), *changes]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(line.get("step", 0) for line in lines) == STEPS

    scores = tmp_path / "eval.json"
    weights = str(run / "best.pt")
    assert main(["eval", str(config), "--weights", weights, "--out", str(scores), *changes]) == 0
    assert 0 <= json.loads(scores.read_text())["score"] <= 1

    # `rpstn score` finds in the submission file what `rpstn eval` found.
    evaluation = json.loads(scores.read_text())
    submission = Path(evaluation["submission"])
    assert submission.exists()
    again = tmp_path / "score.json"
    labels = root / LABELS[dataset]
    files = ["--gt", str(labels), "--pred", str(submission), "--out", str(again)]
    options = ["--set", "videos=[3]"] if dataset == "hieve" else []
    assert main(["score", "--dataset", dataset, *files, *options]) == 0
    official = evaluation["official"]
    pck = evaluation["pck"]["details"]["person"]["mean_of_joints"]
    expected = pck if official is None else official["main"]
    assert json.loads(again.read_text())["main"] == pytest.approx(expected, rel=1e-9)
    assert (official is None) == (dataset in ("penn_action", "sub_jhmdb"))  # these are scored by PCK
