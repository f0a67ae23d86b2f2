"""The detector: what rpstn detect writes and the readers take, weights, the loop of the fine-tuning. With torchvision
it is the real network, and without it a small one that answers alike.
"""

import dataclasses
import doctest
import importlib
import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from label_files import HEIGHT, WIDTH, dump, expect_error
from test_hieve import label, person, read, write
from torch import nn

from rpstn_training.cli import main
from rpstn_training.commands import detect
from rpstn_training.config import load_as
from rpstn_training.data.records import Picture
from rpstn_training.detection import detector, finetune
from rpstn_training.errors import UserError
from rpstn_training.options import plain
from rpstn_training.scores import box_ap as boxes_ap
from rpstn_training.scores.box_ap import BoxFrame, box_ap

CONFIGS = Path(__file__).resolve().parents[1] / "training" / "configs"
FRAMES = 6


class Small(nn.Module):
    """Answers like torchvision's network. Its one weight is drawn towards the middle of the boxes, and it finds a box
    there in every image.
    """

    seen: ClassVar[list[torch.Tensor]] = []

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(5.0))
        self.roi_heads = nn.Module()

    def forward(self, images, targets=None):
        Small.seen += [image.detach().clone() for image in images]
        if targets is None:
            x = float(self.middle)
            there = torch.tensor([[x - 20, 10.0, x + 20, 80.0], [0.0, 0.0, 9.0, 9.0]])
            one = {"boxes": there, "scores": torch.tensor([0.75, 0.5]), "labels": torch.tensor([1, 7])}
            return [one for _ in images]
        middles = torch.cat([target["boxes"][:, [0, 2]].mean(1) for target in targets])
        assert all((target["labels"] == 1).all() for target in targets)
        return {
            "loss_classifier": ((self.middle - middles) ** 2).mean() / 100,
            "loss_box_reg": self.middle * 0,
        }


@pytest.fixture
def root(tmp_path):
    """A video to train on and one that is held out; in frame t a box around x = 50 + t, in frame 1 nobody."""
    for number in (1, 3):
        people = {t: [person(0, 30 + t)] if t != 1 else [] for t in range(FRAMES)}
        write(tmp_path / "hieve", number, label(people), frames=FRAMES)
    return tmp_path / "hieve"


@pytest.fixture
def small(monkeypatch):
    """What the fine-tuning asks of the detector, and a small network in its place."""
    asked = {}

    def build(classes, **options):
        asked.update(options, classes=classes)
        return Small()

    def read_weights(name):
        asked["weights"] = name
        return detector.Weights(
            state=Small().state_dict(), classes=2, min_size=8, max_size=8, source=str(name)
        )

    monkeypatch.setattr(detector, "build", build)
    monkeypatch.setattr(detector, "read_weights", read_weights)
    monkeypatch.setattr(Small, "seen", [])
    return asked


def config(root, output, **changes):
    options = {"every": 1, "validation_every": 2, "epochs": 3, "warm_up": 0, "workers": 0, "device": "cpu"}
    options |= {"learning_rate": 10.0, "momentum": 0.0, "milestones": (2,), "batch_size": 2}
    return finetune.DetectorConfig(root=str(root), output=str(output), **(options | changes))


def rows(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


# ---- rpstn detect


def detect_in(root, out, *more):
    command = ["detect", str(CONFIGS / "hieve.yaml"), "--set", f"data.root={root}", "--set", "data.workers=0"]
    return main([*command, "--weights", "some.pth", "--out", str(out), "--device", "cpu", *more])


def test_what_is_found_is_what_the_reader_takes(root, small, capsys):
    assert detect_in(root, root / "boxes.json") == 0
    out = capsys.readouterr().out
    assert "6 persons in 6 of 6 pictures" in out and small["weights"] == "some.pth"
    content = json.loads((root / "boxes.json").read_text())
    assert content[2] == {
        "image_id": "3/000002.jpg",
        "category_id": 1,
        "bbox": [-15, 10, 40, 70],
        "score": 0.75,
    }
    assert len(Small.seen) == 6 and Small.seen[0].shape == (3, HEIGHT, WIDTH)
    assert Small.seen[5].mean() == pytest.approx((20 + 30 * 5) / 255, abs=0.02)  # 0..1, in order
    (track,), _ = read(root, "test", detections="boxes.json", link="iou")
    assert len(track) == FRAMES and track.box_score_at(0) == 0.75
    assert track.boxes[0].tolist() == [0, 10, 24, 79]  # first and last pixel, cut at the border


def test_each_argument_has_its_effect(root, small, capsys):
    assert detect_in(root, root / "a.json", "--every", "4", "--subset", "train") == 0
    names = [row["image_id"] for row in json.loads((root / "a.json").read_text())]
    assert names == ["1/000000.jpg", "1/000004.jpg"]
    assert detect_in(root, root / "b.json", "--min-score", "0.3", "--batch-size", "1") == 0
    for arguments, text in {
        ("--min-score", "1.5"): "--min-score: expected at least 0 and less than 1, got 1.5",
        ("--every", "0"): "--every: expected at least 1, got 0",
        ("--batch-size", "0"): "--batch-size: expected at least 1, got 0",
        ("--device", "cuda:77"): "--device: expected a GPU for cuda:77",
    }.items():
        assert detect_in(root, root / "c.json", *arguments) == 2 and text in capsys.readouterr().err
    assert detect_in(root, root / "boxes.txt") == 2
    assert "--out: expected the name of a file that ends in .json" in capsys.readouterr().err


def test_the_least_score_reaches_the_network(small):
    model = Small()
    (found,) = detector.find_people(model, [np.zeros((9, 9, 3), np.uint8)], min_score=0.4)
    assert model.roi_heads.score_thresh == 0.4
    assert found[0].shape == (1, 4) and found[1].tolist() == [0.75]  # of the persons alone


def test_nothing_found_writes_nothing(root, small, monkeypatch, capsys):
    nobody = (np.zeros((0, 4)), np.zeros(0))
    monkeypatch.setattr(detector, "find_people", lambda model, images, **_: [nobody for _ in images])
    assert detect_in(root, root / "boxes.json") == 1
    assert (
        "expected persons with a score of 0.05 or more in 6 pictures, found none" in capsys.readouterr().err
    )
    assert not (root / "boxes.json").exists()


def test_every_nth_of_each_folder():
    pictures = [Picture(id=i, path=Path(f"{i // 5}/{i}.jpg")) for i in range(10)]
    assert [picture.id for picture in detect.every_nth(pictures, 3)] == [0, 3, 5, 8]


# ---- torchvision and weights


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ModuleNotFoundError("No module named 'torchvision'"),
            "it is not installed; install it (pip install torchvis",
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "does not load (operator torchvision::nms does not",
        ),
    ],
)
def test_without_torchvision_one_sentence(error, text, tmp_path, monkeypatch, capsys):
    real = importlib.import_module

    def fail(name, *args):
        if name.startswith("torchvision"):
            raise error
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(UserError, match=r"expected (a )?torchvision") as caught:
        detector.build(2)
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert detect_in(tmp_path, tmp_path / "boxes.json", "--weights", "cache") == 1
    assert "torchvision" in capsys.readouterr().err


def save(path, **state):
    torch.save({key.replace("__", "."): value for key, value in state.items()}, path)
    return path


SCORES = "roi_heads__box_predictor__cls_score__weight"


def test_weights_of_another_network_are_named(tmp_path):
    path = save(tmp_path / "a.pth", conv1__weight=torch.zeros(2), fc__bias=torch.zeros(2))
    text = "got no roi_heads.box_predictor.cls_score.weight among 2 entries (conv1.weight, fc.bias ...)"
    expect_error(lambda: detector.read_weights(path), path, text)
    path = save(tmp_path / "b.pth", **{SCORES: torch.zeros(21, 4)})
    expect_error(lambda: detector.read_weights(path), path, "got 21 classes")
    expect_error(lambda: detector.read_weights(tmp_path / "no.pth"), tmp_path / "no.pth", "found none")
    weights = detector.read_weights(save(tmp_path / "c.pth", **{SCORES: torch.zeros(91, 4)}))
    assert (weights.classes, weights.min_size, weights.max_size) == (91, 800, 1333)


def test_the_cache_of_torchvision(tmp_path, monkeypatch):
    url = "https://example.org/models/fasterrcnn-0123abcd.pth"
    models = SimpleNamespace(
        FasterRCNN_ResNet50_FPN_Weights=SimpleNamespace(COCO_V1=SimpleNamespace(url=url))
    )
    monkeypatch.setattr(detector, "torchvision", lambda module: models)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "fasterrcnn-0123abcd.pth"

    def refuse(url, to, hash_prefix):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    expect_error(
        lambda: detector.read_weights("cache"), path, f"not there and {url} cannot be downloaded (no network)"
    )
    asked = []

    def fetch(url, to, hash_prefix):
        asked.append((url, hash_prefix))
        save(to, **{SCORES: torch.zeros(91, 4)})

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert detector.read_weights("cache").source == str(path) and asked == [(url, "0123abcd")]
    detector.read_weights("cache")
    assert len(asked) == 1  # it is there now


# ---- AP of boxes


def test_ap_by_hand():
    assert not doctest.testmod(boxes_ap, extraglobs={"np": np}).failed
    truth = np.array([[0.0, 0, 10, 10], [40, 0, 10, 10]])
    nothing = np.zeros((0, 4))

    def ap(found, scores, **more):
        frame = {"truth": truth, "found": np.array(found).reshape(-1, 4), "ignored": nothing}
        return box_ap([BoxFrame(**(frame | more), scores=np.array(scores))])

    assert ap([truth[0], truth[1]], [0.5, 0.9]) == pytest.approx(1)
    assert ap([truth[0]], [0.5]) == pytest.approx(51 / 101)  # of COCO's 101 recall points, up to one half
    assert ap([truth[0] + [5, 0, 0, 0], truth[1]], [0.9, 0.5]) == pytest.approx(51 / 101 / 2)  # overlap 1/3
    assert ap([], []) == 0
    assert math.isnan(ap([], [], truth=nothing))


# ---- fine-tuning


def test_the_configuration_is_complete_and_checked(tmp_path):
    path = CONFIGS / "detectors" / "hieve.yaml"
    found = load_as(finetune.DetectorConfig, path, ["root=x"])
    keys = [line.partition(":")[0] for line in path.read_text().splitlines() if not line.startswith("#")]
    assert keys == [field.name for field in dataclasses.fields(found)]
    assert found.validation == (3, 7, 8, 17) and found.weights == "cache"
    for override, text in {
        "epoch=3": "unknown key epoch, did you mean epochs?",
        "flip=2": "flip: expected a probability between 0 and 1, got 2.0",
        "milestones=[5, 4]": "milestones: expected rising epoch numbers from 1 on, got (5, 4)",
        "max_size=700": "max_size: expected at least min_size, got 700",
        "every=0": "every: expected at least 1, got 0",
        "device=tpu": "device: expected auto, cpu, cuda or cuda:N",
        "batch_size=two": "batch_size: expected a whole number",
    }.items():
        with pytest.raises(UserError, match=r"expected|unknown") as caught:
            load_as(finetune.DetectorConfig, path, [override])
        assert text in str(caught.value)


def test_samples_are_the_labelled_frames(root):
    values = label({0: [person(0, -10), person(1, 118), person(2, x1=[50], x2=[40])], 2: []})
    values["annolist"][1]["ignore_regions"] = [
        {"point": [{"x": [x], "y": [y]} for x, y in ((5, 6), (30, 9), (7, 20))]}
    ]
    dump(root / "labels/train/track2&3/3.json", values)
    training, held_out = finetune.samples(config(root, "run", validation_every=1))
    assert [sample.path.parent.name for sample in training] == ["1"] * FRAMES
    assert training[0].boxes.tolist() == [[30, 10, 71, 81]] and training[1].boxes.shape == (0, 4)
    assert held_out[0].boxes.tolist() == [[0, 10, 31, 81], [118, 10, 120, 81]]  # cut; of no size is left out
    assert held_out[1].ignored.tolist() == [[5, 6, 30, 20]] and len(held_out) == 2
    dump(root / "labels/train/track2&3/3.json", label({9: [person(0)]}))
    expect_error(
        lambda: finetune.samples(config(root, "run")),
        root / "labels/train/track2&3/3.json",
        "expected frames that the video 3 has, got frame 9",
    )
    dump(root / "labels/train/track2&3/3.json", label({0: []}))
    expect_error(
        lambda: finetune.samples(config(root, "run")),
        root,
        "expected labelled boxes in the videos of validation [3",
    )


def test_flipped_boxes_stay_on_their_people(root):
    (first, *_), _ = finetune.samples(config(root, "run"))
    (image, target), (mirrored, other) = (
        finetune._Pictures([first], config(root, "run", flip=flip), 0)[0] for flip in (0.0, 1.0)
    )
    assert torch.equal(mirrored, image.flip(-1)) and target["boxes"].tolist() == [[30, 10, 71, 81]]
    assert other["boxes"].tolist() == [[WIDTH - 71, 10, WIDTH - 30, 81]]
    held_out, _ = finetune._Pictures([first], config(root, "run", flip=1.0), None)[0]
    assert torch.equal(held_out, image)


def test_it_learns_and_keeps_the_best(root, tmp_path, small):
    best = finetune.train(config(root, tmp_path / "run"))
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == [3, 6, 9] and found[0]["loss"] > found[-1]["loss"]
    assert [row["learning_rate"] for row in found] == [10.0, 10.0, 1.0]
    scores = [row["AP@0.5"] for row in found]
    content = torch.load(best, weights_only=True)
    assert content["state"]["best"] == max(scores) and content["optimiser"] is None
    assert content["state"]["epoch"] == 1 + scores.index(max(scores)) and max(scores) > 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["epochs"] == 3
    with pytest.raises(
        UserError, match=r"expected a new run folder, found last\.pt in it; continue it with --resume"
    ):
        finetune.train(config(root, tmp_path / "run"))


def test_resuming_equals_never_having_stopped(root, tmp_path, small, monkeypatch):
    options = {"momentum": 0.5}
    finetune.train(config(root, tmp_path / "whole", **options))
    real, calls = finetune._step, []

    def step(*args):
        calls.append(real(*args))
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C within the second epoch
        return calls[-1]

    monkeypatch.setattr(finetune, "_step", step)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 5; continue with --resume"):
        finetune.train(config(root, tmp_path / "parts", **options))
    assert len(rows(tmp_path / "parts")) == 1
    monkeypatch.setattr(finetune, "_step", real)
    with pytest.raises(
        UserError, match=r"expected the configuration the run was begun with, got flip: 0\.5 -> 0\.0"
    ):
        finetune.train(config(root, tmp_path / "parts", **options, flip=0.0), resume=True)
    finetune.train(config(root, tmp_path / "parts", **options), resume=True)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    one, two = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("parts", "whole"))
    assert torch.equal(one["model_state"]["middle"], two["model_state"]["middle"])
    with pytest.raises(UserError, match="expected a file with weights, found none"):
        finetune.train(config(root, tmp_path / "none"), resume=True)


def test_a_loss_that_is_not_finite_stops_before_the_step(root, tmp_path, small, monkeypatch):
    monkeypatch.setattr(Small, "forward", lambda self, *_: {"loss": self.middle * torch.inf})
    with pytest.raises(
        UserError, match=r"step 1: expected a finite loss, got inf \(loss inf\); lower learning_rate"
    ):
        finetune.train(config(root, tmp_path / "run"))
    assert not (tmp_path / "run" / "last.pt").exists()


# Key: its other value, and what must look different.
CHANGES = {
    "output": ("elsewhere", "folder"),
    "seed": (1, "seen"),
    "root": ("absent", "error"),
    "frames": ("store", "stores"),
    "validation": ((1,), "trained on"),
    "weights": ("other.pth", "asked"),
    "min_size": (100, "asked"),
    "max_size": (2000, "asked"),
    "trainable_layers": (5, "asked"),
    "every": (2, "steps"),
    "validation_every": (5, "pictures"),
    "flip": (1.0, "losses"),
    "epochs": (2, "steps"),
    "batch_size": (3, "steps"),
    "learning_rate": (0.5, "rates"),
    "momentum": (0.5, "optimiser"),
    "weight_decay": (0.1, "optimiser"),
    "warm_up": (100, "rates"),
    "milestones": ((1,), "rates"),
    "gamma": (0.5, "rates"),
    "max_steps": (4, "steps"),
    "workers": (1, "workers"),
    "device": ("cuda:77", "error"),
}


def test_no_key_is_left_out():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(finetune.DetectorConfig)}


@pytest.fixture
def observe(root, tmp_path, small, monkeypatch):
    real, real_samples = finetune.DataLoader, finetune.samples

    def look(**changes):
        Small.seen.clear()
        workers, trained_on = [], []

        def samples(given):
            training, held_out = real_samples(given)
            trained_on.extend(str(sample.path) for sample in training)
            return training, held_out

        def loader(*args, num_workers, **options):
            workers.append(num_workers)
            return real(*args, num_workers=0, **options)

        monkeypatch.setattr(finetune, "DataLoader", loader)
        monkeypatch.setattr(finetune, "samples", samples)
        options = {"output": str(tmp_path / "run"), "root": str(root)} | changes
        run = Path(options["output"])
        try:
            finetune.train(config(**options))
        except UserError as error:
            return {"error": str(error)}
        last = torch.load(run / "last.pt", weights_only=True)
        seen = {"folder": run.name, "workers": workers, "asked": dict(small), "steps": last["state"]["step"]}
        seen |= {"seen": [image.numpy().tobytes() for image in Small.seen], "pictures": len(Small.seen)}
        seen |= {"trained on": trained_on, "losses": [row["loss"] for row in rows(run)]}
        seen["rates"] = [row["learning_rate"] for row in rows(run)]
        group = last["optimiser"]["param_groups"][0]
        seen["optimiser"] = {key: group[key] for key in ("momentum", "weight_decay")}
        seen["stores"] = [(tmp_path / "store").is_dir()]
        return seen | {"error": None}

    return look


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_has_its_effect(key, observe, tmp_path):
    value, observation = CHANGES[key]
    unchanged = observe(output=str(tmp_path / "first"))
    if key in ("output", "root", "frames"):
        value = str(tmp_path / value)
    found = observe(**{"output": str(tmp_path / "first2"), key: value})
    if key != "output":
        found["folder"] = unchanged["folder"]
    assert found[observation] != unchanged[observation] and unchanged["error"] is None


# ---- the real network


@pytest.fixture
def real_weights(tmp_path):
    """Random weights that a network without trained norms can live with, as a file of torchvision's 91 classes."""
    pytest.importorskip("torchvision", exc_type=ImportError)
    torch.manual_seed(0)
    state = detector.build(91).state_dict()
    for key in state:
        if key.endswith("bn3.weight"):
            state[key].fill_(0.2)
    torch.save(state, tmp_path / "coco.pth")
    return tmp_path / "coco.pth"


def test_torchvisions_network_learns_a_few_steps(root, tmp_path, real_weights, capsys):
    options = {"min_size": 64, "max_size": 90, "validation": (3,), "trainable_layers": 0, "flip": 0.0}
    options |= {"learning_rate": 0.01, "epochs": 2, "validation_every": 4, "weights": str(real_weights)}
    own = finetune.network(config(root, tmp_path / "run", **options))
    coco = detector.read_weights(real_weights).state
    last = own.roi_heads.box_predictor
    assert torch.equal(last.cls_score.weight, coco["roi_heads.box_predictor.cls_score.weight"][:2])
    assert torch.equal(last.bbox_pred.bias, coco["roi_heads.box_predictor.bbox_pred.bias"][:8])
    assert all(m.eps == 0 for m in own.modules() if type(m).__name__ == "FrozenBatchNorm2d")
    best = finetune.train(config(root, tmp_path / "run", **options))
    found = rows(tmp_path / "run")
    assert found[1]["loss"] < found[0]["loss"] and found[1]["step"] == 6
    weights = detector.read_weights(best)
    assert (weights.classes, weights.min_size, weights.max_size) == (2, 64, 90)
    broken = dataclasses.replace(weights, state={**weights.state, "rpn.extra": torch.zeros(1)})
    with pytest.raises(
        UserError, match=r"expected the weights of this FasterRCNN, got tensors that are 1 unknown \(fi"
    ):
        detector.load(broken)
    assert (
        detect_in(root, root / "boxes.json", "--weights", str(best), "--min-score", "0", "--every", "5") == 0
    )
    content = json.loads((root / "boxes.json").read_text())
    assert {row["image_id"] for row in content} == {"3/000000.jpg", "3/000005.jpg"}
    tracks, _ = read(root, "test", detections="boxes.json", link="iou", link_gap=4)
    assert tracks and plain(content[0]) == content[0]


def test_a_file_of_torchvisions_classes_loads_as_it_is(real_weights):
    """A file of 91 classes as it is: the same network, in evaluation mode, whose boxes lie in the picture."""
    model = detector.load(detector.read_weights(real_weights))
    assert not model.training
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    ((boxes, scores),) = detector.find_people(model, [image], min_score=0.0)
    assert boxes.shape == (len(scores), 4) and (np.diff(scores) <= 0).all()
    assert (boxes >= 0).all() and (boxes <= [80, 60, 80, 60]).all()
