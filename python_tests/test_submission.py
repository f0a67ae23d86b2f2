"""`rpstn eval` on each data set: what it writes is what it scores, and it says how."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from label_files import HEIGHT, WIDTH, body, dump, picture, write_jhmdb
from test_posetrack import sequence
from test_posetrack import write as write_posetrack
from tiny_clips import tiny_config, with_data, write_penn

from rpstn_ext import models
from rpstn_training import cli
from rpstn_training.codec import Codec
from rpstn_training.config import Config, ModelConfig, to_dict, to_yaml
from rpstn_training.data.findings import Report
from rpstn_training.data.sets import coco, load_skeleton, load_tracks, sub_jhmdb
from rpstn_training.errors import UserError
from rpstn_training.predictions import Prediction
from rpstn_training.scores.pck import every_rule, pck_table
from rpstn_training.scores.sets import coco as official_coco
from rpstn_training.scores.submission import own_score, submit
from rpstn_training.train import checkpoint as checkpoints

SBL = {"backbone": "resnet18", "width": 8, "channels": 16}


def coco_labels(images=(1, 2, 3)) -> dict:
    return {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": WIDTH, "height": HEIGHT} for n in images],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "iscrowd": 0,
                "area": 3000.0,
                "num_keypoints": 17,
                "keypoints": body(17, x=20.0 + n),
                "bbox": [15.0, 12.0, 60.0, 70.0],
            }
            for n in images
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(coco.SKELETON.joints)}],
    }


def write_coco(root: Path) -> Path:
    values = coco_labels()
    for folder in ("val2017", "test2017"):
        for image in values["images"]:
            picture(root / folder / image["file_name"])
    dump(root / "annotations/person_keypoints_val2017.json", values)
    dump(root / "annotations/image_info_test-dev2017.json", {"images": values["images"], "categories": []})
    boxes = [
        {"image_id": n, "category_id": 1, "bbox": [15 + d, 12, 60, 70], "score": 0.9 - d / 10}
        for n in (1, 2, 3)
        for d in (0, 1)
    ]
    dump(root / "boxes.json", boxes)
    return root


def write_own(root: Path) -> Path:
    values = coco_labels()
    values["categories"][0] |= {"name": "robot", "sigmas": [0.1] * 17}
    for image in values["images"]:
        picture(root / "images" / image["file_name"])
    dump(root / "val.json", values)
    return root


def write_mpii(root: Path) -> Path:
    picture(root / "images/a.jpg")
    joints = [[41.0 + 2 * joint, 21.0 + 3 * joint] for joint in range(16)]
    one = {"image": "a.jpg", "center": [60.0, 45.0], "scale": 0.3, "joints": joints, "joints_vis": [1] * 16}
    dump(root / "annot/valid.json", [one, {**one, "center": [62.0, 45.0]}])
    return root


def config_of(name: str, root: Path, **options) -> Config:
    config = tiny_config(root, root / "run")
    changes = {"name": name, "options": options, "clip_length": 3 if name == "penn_action" else 1}
    return replace(with_data(config, **changes), model=ModelConfig(name="sbl", options=dict(SBL)))


def perfect(tracks) -> list[Prediction]:
    return [
        Prediction(
            name=track.name,
            joints=track.joints.copy(),
            scores=np.full(track.joints.shape[:2], 0.8),
            predicted=np.ones(len(track), dtype=bool),
        )
        for track in tracks
    ]


def run_eval(config: Config, capsys, *arguments: str) -> tuple[str, dict, Path]:
    """Text, JSON and submission of the command with weights that were never trained."""
    folder = Path(config.output)
    skeleton = load_skeleton(config.data)
    model = models.build("sbl", num_joints=len(skeleton.joints), **SBL)
    weights = folder / "best.pt"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.save(
        weights,
        checkpoints.Checkpoint(
            config=to_dict(config),
            skeleton=skeleton,
            model_name="sbl",
            model_options=dict(SBL),
            codec=Codec.of(config, model),
            selected_on=None,
            model_state=model.state_dict(),
            epoch=1,
            step=1,
            best_score=None,
            metrics=[],
        ),
    )
    path = folder / "config.yaml"
    path.write_text(to_yaml(config))
    capsys.readouterr()
    assert cli.main(["eval", str(path), "--weights", str(weights), *arguments]) == 0
    found = json.loads((folder / "eval.json").read_text())
    return capsys.readouterr().out, found, Path(found["submission"])


@pytest.mark.parametrize(
    ("name", "write", "options", "file", "gt"),
    [
        (
            "coco",
            write_coco,
            {},
            "person_keypoints_val2017_sbl_results.json",
            "annotations/person_keypoints_val2017.json",
        ),
        ("custom", write_own, {"test": "val.json"}, "val_results.json", "val.json"),
        ("mpii", write_mpii, {}, "pred.mat", "annot/valid.json"),
    ],
)
def test_eval_scores_the_file_it_writes(tmp_path, capsys, name, write, options, file, gt):
    root = write(tmp_path)
    text, found, path = run_eval(config_of(name, root, **options), capsys)
    assert path.name == file and path.parent.name == "eval_submission" and str(path) in text
    assert "ground-truth boxes x 1.25" in text and "no flip; subpixel decoding" in text
    assert found["official"]["title"] in text and "person: person size" in text
    out = tmp_path / "score.json"
    arguments = ["--dataset", name, "--gt", str(root / gt), "--pred", str(path), "--out", str(out)]
    assert cli.main(["score", *arguments]) == 0
    again = json.loads(out.read_text())
    assert {key: again[key] for key in found["official"]} == found["official"]


def test_penn_action_is_scored_by_pck_and_its_file_says_the_same(tmp_path, capsys):
    config = config_of("penn_action", write_penn(tmp_path))
    text, found, path = run_eval(config, capsys)
    assert path.name == "poses.json" and str(path) in text and found["official"] is None
    out = tmp_path / "score.json"
    arguments = ["--dataset", "penn_action", "--gt", str(tmp_path), "--pred", str(path), "--out", str(out)]
    assert cli.main(["score", *arguments]) == 0
    again = json.loads(out.read_text())
    for key in ("rows", "details", "main", "main_name"):
        assert again[key] == found["pck"][key]


def test_sub_jhmdb_writes_a_file_for_its_split(tmp_path):
    root = write_jhmdb(tmp_path / "jhmdb")
    for split in (1, 2, 3):
        config = with_data(config_of("sub_jhmdb", root), split=split)
        tracks = sub_jhmdb.read_without_pictures(root, "test", split, Report())
        submission = submit(perfect(tracks), tracks, config, load_skeleton(config.data), tmp_path / "out")
        assert submission.path == tmp_path / "out" / f"split_{split}.json" and submission.table is None
    arguments = ["--dataset", "sub_jhmdb", "--gt", str(root), "--pred", str(tmp_path / "out")]
    assert cli.main(["score", *arguments, "--out", str(tmp_path / "score.json")]) == 0
    assert json.loads((tmp_path / "score.json").read_text())["main"] == 1


def test_thinning_out_is_for_those_who_count_several_poses(tmp_path):
    config = config_of("penn_action", write_penn(tmp_path))
    tracks = load_tracks(config.data, "test")
    with pytest.raises(UserError, match="--nms: expected a set scored by COCO's rules, got penn_action"):
        submit(perfect(tracks), tracks, config, load_skeleton(config.data), tmp_path / "out", nms="soft")


def test_detected_boxes_have_no_pck_but_an_official_score(tmp_path, capsys):
    config = config_of("coco", write_coco(tmp_path), detections="boxes.json", detection_threshold=0.5)
    text, found, path = run_eval(config, capsys)
    assert "detected boxes of boxes.json scored 0.5 or more x 1.25" in text
    assert "No joint is labelled in these boxes" in text and "person size" not in text
    assert found["score"] is None and found["official"]["main"] is not None
    assert "OKS 0.9" in text
    kept = len(json.loads(path.read_text()))
    text, found, path = run_eval(config, capsys, "--nms", "none")
    said = "Poses: score of the box times mean of the joint scores above 0.2; none is left out"
    assert said in text and said in found["official_protocol"]
    assert len(json.loads(path.read_text())) == 6 >= kept


def test_hidden_labels_are_written_and_not_scored(tmp_path, capsys):
    config = config_of("coco", write_coco(tmp_path), images="test-dev", detections="boxes.json")
    text, found, path = run_eval(config, capsys)
    assert path.name == "person_keypoints_test-dev2017_sbl_results.zip" and found["official"] is None
    assert "there are no labels of this part here" in text


def test_perfect_predictions_score_one_and_a_wrong_one_less(tmp_path):
    config = config_of("coco", write_coco(tmp_path))
    tracks = load_tracks(config.data, "test")
    predictions = perfect(tracks)
    assert submit(
        predictions, tracks, config, load_skeleton(config.data), tmp_path / "a"
    ).table.main == pytest.approx(1)
    predictions[1].joints[0, 3:] += 40
    submission = submit(predictions, tracks, config, load_skeleton(config.data), tmp_path / "b")
    assert submission.table.main < 0.7
    assert official_coco.score(
        tmp_path / "annotations/person_keypoints_val2017.json", submission.path
    ).main == (submission.table.main)


def test_boxes_of_one_person_are_thinned_out_by_the_crops_areas(tmp_path):
    config = config_of("coco", write_coco(tmp_path), detections="boxes.json")
    tracks = load_tracks(config.data, "test")
    predictions = [
        Prediction(
            name=track.name,
            joints=np.tile(np.arange(17.0)[:, None] * 3, (1, 2))[None] + track.boxes[0, 0] / 100,
            scores=np.full((1, 17), 0.5),
            predicted=np.ones(1, dtype=bool),
        )
        for track in tracks
    ]
    scores = {}
    for nms in ("oks", "soft", "none"):
        path = submit(predictions, tracks, config, load_skeleton(config.data), tmp_path / nms, nms=nms).path
        scores[nms] = [entry["score"] for entry in json.loads(path.read_text())]
    assert scores["oks"] == pytest.approx([0.45] * 3)
    assert scores["soft"] == scores["none"] == pytest.approx([0.45, 0.4] * 3)


def test_joints_without_tolerances_are_written_and_the_reason_said(tmp_path):
    root = write_own(tmp_path)
    values = json.loads((root / "val.json").read_text())
    del values["categories"][0]["sigmas"]
    values["categories"][0]["keypoints"][0] = "antenna"
    dump(root / "val.json", values)
    config = config_of("custom", root, test="val.json")
    tracks = load_tracks(config.data, "test")
    submission = submit(perfect(tracks), tracks, config, load_skeleton(config.data), tmp_path / "out")
    assert submission.table is None and "give sigmas in the file or as an option" in submission.text
    assert len(json.loads(submission.path.read_text())) == 3
    with_sigmas = config_of("custom", root, test="val.json", sigmas=[0.1] * 17)
    assert submit(
        perfect(tracks), tracks, with_sigmas, load_skeleton(with_sigmas.data), tmp_path / "out"
    ).table.main == pytest.approx(1)


def test_a_score_that_fails_is_said_and_loses_nothing(tmp_path):
    config = config_of("mpii", write_mpii(tmp_path))
    tracks = load_tracks(config.data, "test")
    scipy.io.savemat(tmp_path / "annot/gt_valid.mat", {"nothing": 1})
    submission = submit(perfect(tracks), tracks, config, load_skeleton(config.data), tmp_path / "out")
    assert submission.table is None and submission.path.is_file()
    assert "No score: " in submission.text and "gt_valid.mat: expected variables" in submission.text
    json.dumps(submission.to_dict(), allow_nan=False)


def pck_of(predictions, tracks, config):
    results = every_rule([one.joints for one in predictions], tracks, load_skeleton(config.data))
    return pck_table("PCK@0.2", results, main=config.eval.normaliser)


def test_the_own_score_is_that_of_the_owners_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for name, write, called in (("coco", write_coco, "AP"), ("mpii", write_mpii, "PCK by head segment@0.5")):
        config = config_of(name, write(tmp_path / name))
        tracks = load_tracks(config.data, "test")
        predictions = perfect(tracks)
        predictions[0].joints[0, 3:] += 40
        found = own_score(
            predictions, tracks, config, load_skeleton(config.data), pck_of(predictions, tracks, config)
        )
        official = submit(
            predictions, tracks, config, load_skeleton(config.data), tmp_path / f"{name}_out"
        ).table
        assert (found.table.main_name, found.table.main) == (called, official.main) and official.main < 1
        assert found.path is None and not found.reason
    assert not list((tmp_path / "temporary").iterdir())


def test_the_own_score_is_pck_where_the_owners_say_so_or_theirs_is_not_to_be_had(tmp_path):
    config = config_of("penn_action", write_penn(tmp_path / "penn"))
    tracks = load_tracks(config.data, "test")
    pck = pck_of(perfect(tracks), tracks, config)
    found = own_score(perfect(tracks), tracks, config, load_skeleton(config.data), pck)
    assert found.table is pck and pck.main_name == "PCK@0.2 person" and not found.reason
    config = config_of("coco", write_coco(tmp_path / "coco"))
    tracks = load_tracks(config.data, "test")
    labels = tmp_path / "coco/annotations/person_keypoints_val2017.json"
    labels.write_text("{")
    found = own_score(perfect(tracks), tracks, config, load_skeleton(config.data), pck)
    assert found.table is pck and found.reason.startswith(f"No score: {labels}: expected a whole JSON file")


def test_the_own_score_of_posetrack_needs_no_tracking(tmp_path):
    write_posetrack(tmp_path, sequence({(1, frame): {} for frame in range(3)}, frames=3))
    config = config_of("posetrack2018", tmp_path)
    tracks = load_tracks(config.data, "test")
    found = own_score(
        perfect(tracks),
        tracks,
        config,
        load_skeleton(config.data),
        pck_of(perfect(tracks), tracks, config),
    )
    assert found.table.main_name == "AP" and "MOTA" not in found.table.rows
    assert (
        "MOTA"
        in submit(perfect(tracks), tracks, config, load_skeleton(config.data), tmp_path / "out").table.rows
    )
