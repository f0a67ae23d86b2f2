"""On which clips and by which score weights are chosen, and which weights may be scored on what."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from label_files import body, dump, picture, write_jhmdb
from tiny_clips import SMALL_MODEL, tiny_config, with_data, write_penn

from rpstn_training import cli
from rpstn_training.building import build_network
from rpstn_training.codec import Codec
from rpstn_training.commands.evaluate import require_same
from rpstn_training.config import Config, DataConfig, EvalConfig, ModelConfig, TrainConfig, to_dict
from rpstn_training.data.sets import load_skeleton, load_tracks, mpii
from rpstn_training.data.subsets import for_training, load_subset
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train.engine import train
from rpstn_training.train.run_folder import summarise

SBL = {"backbone": "resnet18", "width": 8, "channels": 16}


def with_eval(config: Config, **changes: object) -> Config:
    return replace(config, eval=replace(config.eval, **changes))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_penn(tmp_path_factory.mktemp("penn"), train=10, test=2, frames=4)


def test_held_out_videos_are_whole_seeded_and_not_trained_on(root):
    config = with_eval(tiny_config(root, root / "run"), select="validation", held_out=0.3)
    tracks, selection = for_training(config)
    everything = load_tracks(config.data, "train")
    chosen = [track.name for track in selection.tracks]
    assert len(chosen) == 3 and selection.words == "3 of 10 training videos, held out (seed 3)"
    assert [track.name for track in tracks] == [t.name for t in everything if t.name not in chosen]
    assert [track.name for track in load_subset(config, "validation").tracks] == chosen
    others = [[t.name for t in for_training(replace(config, seed=seed))[1].tracks] for seed in (4, 5, 6)]
    assert any(other != chosen for other in others)
    assert len(for_training(with_eval(config, held_out=0.01))[1].tracks) == 1
    assert len(for_training(with_eval(config, held_out=0.99))[0]) == 1


def test_the_papers_way_and_the_training_clips_go_by_name(root):
    config = with_eval(tiny_config(root, root / "run"), select="test")
    tracks, selection = for_training(config)
    assert len(tracks) == 10 and selection.words == "the test subset" and len(selection.tracks) == 2
    tracks, selection = for_training(with_eval(config, select="train"))
    assert selection.tracks == tracks and len(tracks) == 10
    one = write_penn(root.parent / "one", train=1, test=1, frames=4)
    with pytest.raises(
        UserError, match="two training videos to hold one out, got 1; choose the weights on other"
    ):
        for_training(with_data(with_eval(config, select="validation"), root=str(one)))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("selected") / "run"
    train(with_eval(tiny_config(root, folder, epochs=1), select="validation"))
    return folder


def test_every_result_says_on_what_its_weights_were_chosen(root, run, capsys):
    words = "1 of 10 training videos, held out (seed 3)"
    assert checkpoints.load(run / "best.pt").selected_on == words
    found = json.loads((run / "eval.json").read_text())
    assert found["weights_chosen_on"] == words and found["chosen_by"] == "PCK@0.2 person"
    assert summarise(run).endswith(f"Weights chosen on {words}, by PCK@0.2 person {100 * found['score']:.1f}")
    row = json.loads((run / "metrics.jsonl").read_text())
    assert row["score_name"] == "PCK@0.2 person" and row["score"] == found["score"]
    out = run / "on_test.json"
    arguments = ["eval", str(run / "config.yaml"), "--weights", str(run / "best.pt"), "--out", str(out)]
    capsys.readouterr()
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "penn_action, test subset, 2 videos" in printed and f"chosen on {words}" in printed
    assert json.loads(out.read_text())["weights_chosen_on"] == words
    assert cli.main([*arguments, "--set", "eval.subset=validation"]) == 0
    printed = capsys.readouterr().out
    assert "1 video, " in printed
    assert json.loads(out.read_text())["score"] == pytest.approx(found["score"], abs=1e-12)


def write_custom(root: Path) -> Path:
    """Two pictures with a person each, for training and for evaluation, and boxes of a detector."""
    names = ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    for part in ("train", "val"):
        images = [{"id": n, "file_name": f"{part}{n}.png", "width": 120, "height": 90} for n in (1, 2)]
        people = [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "keypoints": body(5),
                "bbox": [35, 15, 30, 30],
                "area": 900,
                "iscrowd": 0,
                "num_keypoints": 5,
            }
            for n in (1, 2)
        ]
        for image in images:
            picture(root / "images" / image["file_name"])
        category = {"id": 1, "name": "person", "keypoints": names, "sigmas": [0.1] * 5}
        dump(root / f"{part}.json", {"images": images, "annotations": people, "categories": [category]})
    dump(
        root / "det.json",
        [{"image_id": n, "category_id": 1, "bbox": [34, 14, 31, 31], "score": 0.9} for n in (1, 2)],
    )
    return root


def custom_config(root: Path, output: Path, **options: object) -> Config:
    return Config(
        output=str(output),
        data=DataConfig(
            name="custom",
            root=str(root),
            clip_length=1,
            input_size=(64, 64),
            workers=0,
            options={"train": "train.json", "test": "val.json", **options},
        ),
        model=ModelConfig(name="sbl", options=dict(SBL)),
        train=TrainConfig(epochs=1, batch_size=2, milestones=(), device="cpu"),
        eval=EvalConfig(batch_size=2),
    )


def test_boxes_of_a_detector_choose_by_the_sets_own_score_and_may_be_taken_out(tmp_path):
    root = write_custom(tmp_path / "set")
    config = custom_config(root, tmp_path / "run", detections="det.json")
    assert train(config) == tmp_path / "run" / "best.pt"
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["score_name"] == "AP" and 0 <= row["score"] <= 1
    without = custom_config(root, tmp_path / "run")
    more = replace(without, train=replace(without.train, epochs=2))
    train(more, resume=tmp_path / "run")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_what_cannot_be_scored_is_refused_before_the_first_step(tmp_path):
    root = write_custom(tmp_path / "set")
    labels = json.loads((root / "val.json").read_text())
    for person in labels["annotations"]:
        person["keypoints"] = [0] * 15
    dump(root / "val.json", labels)
    config = custom_config(root, tmp_path / "run")
    with pytest.raises(UserError):
        train(config)
    labels["categories"][0].pop("sigmas")
    dump(root / "val.json", labels)
    with pytest.raises(
        UserError, match="expected something to choose weights by in custom's own validation part"
    ):
        train(
            custom_config(
                root, tmp_path / "run", detections="det.json", joints=["a", "b", "c", "d", "e"], torso=[0, 1]
            )
        )
    assert not (tmp_path / "run").exists()


def checkpoint_of(config: Config) -> checkpoints.Checkpoint:
    skeleton = load_skeleton(config.data)
    model = build_network(config.model, skeleton)
    return checkpoints.Checkpoint(
        model_name=config.model.name,
        model_options=dict(config.model.options),
        model_state=model.state_dict(),
        skeleton=skeleton,
        codec=Codec.of(config, model),
        config=to_dict(config),
        selected_on=None,
        epoch=1,
        step=1,
        best_score=None,
        metrics=[],
        path="best.pt",
    )


def test_weights_of_another_split_are_refused(tmp_path):
    root = write_jhmdb(tmp_path / "jhmdb")
    config = with_data(tiny_config(root, tmp_path / "run"), name="sub_jhmdb", split=1)
    trained, skeleton = checkpoint_of(config), load_skeleton(config.data)
    require_same(config, skeleton, trained)
    with pytest.raises(
        UserError, match=r"weights of split 2 of sub_jhmdb, which is scored here, got weights of split 1"
    ):
        require_same(with_data(config, split=2), skeleton, trained)


def test_networks_are_compared_and_not_their_options(root, tmp_path):
    config = tiny_config(root, tmp_path / "run")
    trained, skeleton = checkpoint_of(config), load_skeleton(config.data)
    spelt_out = {**SMALL_MODEL, "num_convs": 4, "relation": "jre", "scale": 1.0, "norm_first": True}
    part = {
        "pose_initializer": {"backbone": "resnet18", "weights": "somewhere.pth"},
        "relation_start": "random",
    }
    for same in (spelt_out, {**SMALL_MODEL, **part}):
        require_same(replace(config, model=ModelConfig(options=same)), skeleton, trained)
    for other in ({"relation": "none"}, {"norm_first": False}, {"width": 16}, {"scale": 2.0}):
        with pytest.raises(UserError, match=r"best\.pt: expected weights trained with model rpstn\("):
            require_same(
                replace(config, model=ModelConfig(options={**SMALL_MODEL, **other})), skeleton, trained
            )
    # Another data set with the same joints is no difference, other joints are.
    require_same(with_data(config, name="hieve"), skeleton, trained)
    with pytest.raises(UserError, match="expected weights trained with joints"):
        require_same(config, replace(skeleton, joints=("x", *skeleton.joints[1:])), trained)
    with pytest.raises(UserError, match=r"trained with data\.input_size \[64, 96\], got \[64, 64\]"):
        require_same(with_data(config, input_size=(64, 96)), skeleton, trained)
    with pytest.raises(UserError, match=r"trained with heatmap\.geometry udp, got plain"):
        require_same(replace(config, heatmap=replace(config.heatmap, geometry="udp")), skeleton, trained)
    offset = replace(config, heatmap=replace(config.heatmap, maps="offset", decode="argmax"))
    with pytest.raises(UserError, match=r"trained with heatmap\.maps offset, got gaussian"):
        require_same(offset, skeleton, trained)
    as_offset = replace(trained, codec=replace(trained.codec, maps="offset"))
    require_same(offset, skeleton, as_offset)
    with pytest.raises(UserError, match=r"trained with heatmap\.radius 2.0, got 3.5"):
        require_same(replace(offset, heatmap=replace(offset.heatmap, radius=2.0)), skeleton, as_offset)


def test_start_weights_go_into_named_parts_whole_or_are_an_error(root, tmp_path, capsys):
    """A file for each part, as the paper's start has it; what does not fit whole names the key and the file."""
    donor = build_network(ModelConfig(name="sbl", options=dict(SBL)), mpii.SKELETON)
    torch.save({"state_dict": donor.state_dict()}, tmp_path / "mpii.pth")
    config = tiny_config(root, tmp_path / "run", epochs=1, max_steps=1)

    def with_part(name: str, **part: str) -> Config:
        options = {**SMALL_MODEL, name: {"backbone": "resnet18", **part}}
        return replace(config, model=ModelConfig(options=options))

    train(with_part("pose_initializer", weights=str(tmp_path / "mpii.pth")))
    printed = capsys.readouterr().out
    assert f"model.options.pose_initializer.weights: {tmp_path / 'mpii.pth'}: " in printed
    assert (
        "the whole backbone of pose_initializer; kept as before: final_layer (for 16 joints, here 13)"
        in printed
    )
    for name, key in (("pose_initializer", "resnet34"), ("feature_extractor", "resnet34")):
        with pytest.raises(
            UserError, match=rf"model\.options\.{name}\.weights: .*mpii\.pth: expected .* missing"
        ):
            train(
                replace(
                    with_part(name, backbone=key, weights=str(tmp_path / "mpii.pth")),
                    output=str(tmp_path / "x"),
                )
            )
    with pytest.raises(UserError, match=r"weights: expected a file with weights, absent\.pth cannot be read"):
        train(replace(with_part("pose_initializer", weights="absent.pth"), output=str(tmp_path / "x")))
    whole = replace(config, model=ModelConfig(options=dict(SMALL_MODEL), weights=str(tmp_path / "mpii.pth")))
    with pytest.raises(UserError, match=r"model\.weights: .*goes into a part, for example pose_initializer"):
        train(replace(whole, output=str(tmp_path / "x")))
    assert not (tmp_path / "x").exists()
