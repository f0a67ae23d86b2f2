"""Every key of a configuration has an effect that somebody can see: each is changed once, in a training of a few steps,
and the named observation must differ from that of the unchanged training, which itself repeats exactly.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import sys
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from label_files import JHMDB_CLIPS, picture, write_jhmdb
from tiny_clips import SMALL_MODEL, tiny_config, write_penn

from rpstn_training.config import Config, DataConfig, from_dict, to_dict
from rpstn_training.data.sets import load_tracks
from rpstn_training.data.subsets import load_subset
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train import engine

SMALL_SBL = {"backbone": "resnet18", "width": 8, "channels": 16}


def base(root: Path, output: Path) -> dict[str, Any]:
    """A configuration, in plain types, in which every key that could be idle is at work."""
    plain = to_dict(tiny_config(root, output))
    plain["data"] |= {"clips_per_epoch": 4}
    plain["augmentation"] |= {
        "rotation": 10.0,
        "scale": [0.9, 1.1],
        "flip": 0.5,
        "color": 0.1,
        "occlusion": 0.5,
    }
    plain["train"] |= {"epochs": 3, "milestones": [1], "gamma": 0.5, "weight_decay": 0.01}
    plain["train"] |= {"rate_rule": "sqrt", "base_batch": 4, "keep_every": 1, "keep_last": 2, "log_every": 2}
    plain["eval"] |= {"select": "validation", "held_out": 0.3, "batch_size": 2, "flip": True}
    return plain


def observe(plain: dict[str, Any], monkeypatch) -> dict[str, Any]:
    """What can be seen of a training from outside, by name. An error is an observation too."""
    seen: dict[str, Any] = {
        "stage dtype": [],
        "maps": [],
        "losses": [],
        "rates": [],
        "tf32": [],
        "children": [],
        "curves": [],
        "shown": [],
        "joints": [],
        "parts": [],
        "layout": [],
        "compiled": [],
        "kept frames": [],
        "cores": [],
    }

    def spy(name: str, call):
        def patched(*args: Any, **options: Any) -> Any:
            return call(getattr_original[name], *args, **options)

        getattr_original[name] = getattr(engine, name)
        monkeypatch.setattr(engine, name, patched)

    getattr_original: dict[str, Any] = {}

    def loss(original, maps, *args, **options):
        value = original(maps, *args, **options)
        seen["stage dtype"].append(maps.dtype)
        seen["maps"].append(maps.shape[2])
        seen["losses"].append(value.item())
        seen["tf32"].append(torch.backends.cudnn.allow_tf32)
        seen["children"].append(len(multiprocessing.active_children()))
        seen["cores"] += [len(os.sched_getaffinity(child.pid)) for child in multiprocessing.active_children()]
        return value

    def evaluation(original, model, *args, **options):
        hook = model.register_forward_pre_hook(lambda _, inputs: seen["shown"].append(tuple(inputs[0].shape)))
        step = model.step
        model.step = lambda frame, state: seen["shown"].append(tuple(frame.shape)) or step(frame, state)
        found = original(model, *args, **options)
        kernels = [weight for weight in model.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
        seen["layout"].append([weight.is_contiguous() for weight in kernels])
        hook.remove()
        del model.step
        seen["joints"].append(found.predictions[0].joints.tolist())
        return found

    @contextlib.contextmanager
    def kept(original, *args):
        with original(*args) as frames:
            yield frames
            seen["kept frames"] += [line.partition(" are kept in ")[0] for line in frames.in_words()]

    class Batches(engine.Batches):
        def epoch(self, *args):
            for parts in super().epoch(*args):
                seen["parts"].append(len(parts))
                batch = parts[0]
                if "batch" not in seen:
                    seen["batch"] = {
                        name: value.clone() if isinstance(value, torch.Tensor) else value
                        for name, value in batch.items()
                    }
                yield parts

    class Writer:
        def __init__(self, folder, **options):
            seen["curves"].append(str(Path(folder).name))

        def add_scalar(self, name, value, step):
            seen["curves"].append((name, step))

        def close(self):
            pass

    with monkeypatch.context() as patch:
        monkeypatch = patch
        spy("joint_loss", loss)
        spy("heatmap_loss", loss)
        spy("integral_loss", loss)
        spy("evaluate", evaluation)
        spy("kept_frames", kept)
        patch.setattr(engine, "Batches", Batches)
        patch.setattr(
            torch, "compile", lambda module: seen["compiled"].append(type(module).__name__) or module
        )
        patch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
        try:
            config = from_dict(plain, "here")
            best = engine.train(config, show_progress=False)
        except UserError as error:
            return {"error": str(error)}
    run = Path(config.output)
    last = checkpoints.load(run / "last.pt")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return seen | {
        "error": None,
        "folder": str(best.parent),
        "weights": last.model_state,
        "parameters": sum(value.numel() for value in last.model_state.values()),
        "steps": last.step,
        "rates": [row["learning_rate"] for row in rows],
        "scores": [row.get("score") for row in rows],
        "score name": [row.get("score_name") for row in rows],
        "selected on": last.selected_on,
        "protocol": json.loads((run / "eval.json").read_text())["protocol"],
        "scored by eval": load_subset(config, config.eval.subset).words,
        "kept": sorted(path.name for path in run.glob("epoch_*.pt")),
        "step lines": [json.loads(line)["step"] for line in (run / "steps.jsonl").read_text().splitlines()]
        if (run / "steps.jsonl").exists()
        else None,
        "recorded": _recorded(run / "trace.json"),
        "moments": [slots["exp_avg"].norm().item() for slots in last.training["optimizer"]["state"].values()],
    }


def _recorded(path: Path) -> int:
    """Steps in a recording, if there is one."""
    if not path.exists():
        return 0
    names = {event.get("name", "") for event in json.loads(path.read_text())["traceEvents"]}
    return sum(name.startswith("ProfilerStep#") for name in names)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return str(a) == str(b)  # NaN is NaN


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("keys")
    return SimpleNamespace(
        folder=folder,
        penn=write_penn(folder / "penn", train=8, test=2, frames=5),
        other=write_penn(folder / "other", train=7, test=2, frames=5),
    )


@pytest.fixture(scope="module")
def unchanged(roots) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        first = observe(base(roots.penn, roots.folder / "first"), patch)
        second = observe(base(roots.penn, roots.folder / "second"), patch)
    assert first["error"] is None
    differing = [name for name in first if not same(first[name], second[name])]
    assert differing == ["folder"]  # what follows sees the key, not chance
    return first


OFFSETS = {
    "heatmap.maps": "offset",
    "heatmap.decode": "argmax",
    "model.options": {**SMALL_MODEL, "relation": "none"},
}

# Key: its other value (or several keys that change together), and what must look different.
CHANGES: dict[str, tuple[Any, str]] = {
    "output": ("elsewhere", "folder"),
    "seed": (4, "batch"),
    "data.name": ("sub_jhmdb", "error"),
    "data.root": ("other", "selected on"),
    "data.clip_length": (2, "batch"),
    "data.input_size": ([96, 64], "batch"),
    "data.box": ("frame", "batch"),
    "data.box_scale": (1.5, "batch"),
    "data.workers": (1, "children"),
    "data.pin_workers": ({"data.pin_workers": True, "data.workers": 1}, "cores"),
    "data.cache": ("ram", "kept frames"),
    "data.clips_per_epoch": (6, "steps"),
    "data.options": ({"none": 1}, "error"),
    "augmentation.rotation": (40.0, "batch"),
    "augmentation.scale": ([0.7, 0.8], "batch"),
    "augmentation.flip": (1.0, "batch"),
    "augmentation.color": (0.5, "batch"),
    "augmentation.occlusion": (0.0, "batch"),
    "augmentation.shift": (0.1, "batch"),
    "augmentation.elsewhere": (1.0, "batch"),
    "augmentation.gamma": (0.5, "batch"),
    "augmentation.light": (0.5, "batch"),
    "augmentation.shrink": (4.0, "batch"),
    "augmentation.blur": (2.0, "batch"),
    "augmentation.noise": (9.0, "batch"),
    "augmentation.jpeg": (1.0, "batch"),
    "model.name": ({"model.name": "sbl", "model.options": SMALL_SBL}, "parameters"),
    "model.options": ({**SMALL_MODEL, "relation": "none"}, "parameters"),
    "model.weights": ("absent.pth", "error"),
    "heatmap.sigma": (1.0, "losses"),
    "heatmap.decode": ("argmax", "joints"),
    "heatmap.geometry": ({"heatmap.geometry": "udp", "eval.flip_shift": False}, "losses"),
    "heatmap.maps": (OFFSETS, "maps"),
    "targets.on_device": (False, "batch"),
    "loss.kind": ({"loss.kind": "integral", "heatmap.decode": "integral"}, "losses"),
    "loss.visibility": (False, "losses"),
    "train.epochs": (2, "steps"),
    "train.batch_size": (4, "batch"),
    "train.accumulate": ({"train.accumulate": 2, "train.batch_size": 4}, "parts"),
    "train.optimiser": ("adamw", "weights"),
    "train.learning_rate": (1e-3, "rates"),
    "train.rate_rule": ("linear", "rates"),
    "train.base_batch": (8, "rates"),
    "train.warmup_steps": (4, "rates"),
    "train.layer_decay": (
        0.75,
        "error",
    ),  # of a network without a transformer; test_train_options.py has one with it
    "train.ema": (0.9, "joints"),
    "train.weight_decay": (0.5, "weights"),
    "train.milestones": ([2], "rates"),
    "train.gamma": (0.1, "rates"),
    "train.grad_clip": (1e-4, "moments"),
    "train.max_steps": (3, "steps"),
    "train.eval_every": (2, "scores"),
    "train.patience": (
        {"train.patience": 1, "train.epochs": 9, "train.learning_rate": 1e-12, "train.eval_every": 2},
        "steps",
    ),
    "train.device": ("cuda:7", "error"),
    "train.precision": ("bfloat16", "stage dtype"),
    "train.tf32": (True, "tf32"),
    "train.channels_last": (True, "layout"),
    "train.compile": (True, "compiled"),
    "train.keep_every": (2, "kept"),
    "train.keep_last": (None, "kept"),
    "train.log_every": (3, "step lines"),
    "train.profile_steps": (1, "recorded"),
    "train.tensorboard": (True, "curves"),
    "eval.protocol": ("streaming", "protocol"),
    "eval.subset": ("train", "scored by eval"),
    "eval.select": ("test", "selected on"),
    "eval.held_out": (0.6, "selected on"),
    "eval.gamma": (0.05, "score name"),
    "eval.normaliser": ("torso", "score name"),
    "eval.batch_size": (1, "shown"),
    "eval.poses": (
        "absent.pt",
        "error",
    ),  # of a network that finds poses by itself; test_posefix.py has the other kind
    "eval.flip": (False, "joints"),
    "eval.flip_shift": (False, "joints"),
    "eval.scales": ([0.8, 1.0], "joints"),
}
# Tested below, where they are at work.
ELSEWHERE = {"data.split", "data.cache_gb", "heatmap.radius", "heatmap.hidden"}


def leaves(kind: type, prefix: str = "") -> list[str]:
    names = []
    for name, hint in typing.get_type_hints(kind).items():
        inner = dataclasses.is_dataclass(hint)
        names += leaves(hint, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return names


def test_no_key_is_left_out():
    assert set(CHANGES) | ELSEWHERE == set(leaves(Config))


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_has_its_effect(key, roots, unchanged, monkeypatch, tmp_path):
    value, observation = CHANGES[key]
    plain = base(roots.penn, tmp_path / "run")
    changes = value if isinstance(value, dict) and key in value else {key: value}
    for name, other in changes.items():
        if name == "output":
            other = str(tmp_path / other)
        if name == "data.root":
            other = str(roots.other)
        *section, leaf = name.split(".")
        node = plain[section[0]] if section else plain
        node[leaf] = other
    found = observe(plain, monkeypatch)
    assert not same(found[observation], unchanged[observation])
    if observation != "error":
        assert found["error"] is None


def test_offset_maps_follow_their_radius_and_need_a_network_without_a_relation(roots, monkeypatch, tmp_path):
    found = {}
    for radius, relation in ((3.5, "none"), (2.0, "none"), (3.5, "jre")):
        plain = base(roots.penn, tmp_path / f"{radius}{relation}")
        plain["heatmap"] |= {"maps": "offset", "decode": "argmax", "radius": radius}
        plain["model"]["options"] = {**SMALL_MODEL, "relation": relation}
        found[radius, relation] = observe(plain, monkeypatch)
    assert found[3.5, "none"]["maps"][0] == 3 * 13
    kept = checkpoints.load(tmp_path / "2.0none" / "best.pt")
    assert kept.build_model().num_joints == 3 * 13 and kept.codec.radius == 2.0
    assert found[3.5, "none"]["losses"] != found[2.0, "none"]["losses"]
    assert "decoding by disc and offsets" in " ".join(found[3.5, "none"]["protocol"])
    said = "model.options.relation: expected none with heatmap.maps offset"
    assert found[3.5, "jre"]["error"].startswith(said) and "got jre; write" in found[3.5, "jre"]["error"]


def test_maps_of_hidden_joints_are_as_high_as_the_key_says(roots, monkeypatch, tmp_path):
    found = {}
    for hidden, on_device in ((1.0, True), (0.5, True), (0.5, False)):
        plain = base(roots.penn, tmp_path / f"{hidden}{on_device}")
        plain["heatmap"] |= {"hidden": hidden}
        plain["loss"] |= {"visibility": False}
        plain["targets"] |= {"on_device": on_device}
        found[hidden, on_device] = observe(plain, monkeypatch)
        assert found[hidden, on_device]["error"] is None
    assert checkpoints.load(tmp_path / "0.5True" / "best.pt").codec.hidden == 0.5
    first = {key: of["losses"][0] for key, of in found.items()}
    assert first[0.5, True] < 0.99 * first[1.0, True]
    assert first[0.5, True] == pytest.approx(first[0.5, False], rel=1e-5)
    plain["loss"] |= {"visibility": True}
    error = observe(plain, monkeypatch)["error"]
    assert error.startswith("here: heatmap.hidden: expected 1 unless hidden joints are trained on")


def test_a_cache_keeps_what_fits_and_changes_nothing_else(roots, unchanged, monkeypatch, tmp_path):
    kept = []
    for cache_gb in (8.0, 1e-4):
        plain = base(roots.penn, tmp_path / f"{cache_gb}")
        plain["data"] |= {"cache": str(tmp_path / f"frames{cache_gb}"), "cache_gb": cache_gb}
        found = observe(plain, monkeypatch)
        kept += found["kept frames"]
        differing = {name for name in found if not same(found[name], unchanged[name])}
        assert differing == {"folder", "kept frames"}
    assert kept == [
        "data.cache: 0.00037 GB of decoded frames",
        "data.cache: 9.86e-05 GB of 0.00037 GB of decoded frames",
    ]


def test_scores_follow_gamma_and_normaliser(roots, unchanged, monkeypatch, tmp_path):
    """Not only the score's name: the numbers are those of the other rule."""
    for number, (key, value) in enumerate((("gamma", 0.05), ("normaliser", "torso"))):
        plain = base(roots.penn, tmp_path / str(number))
        plain["eval"][key] = value
        found = observe(plain, monkeypatch)
        assert same(found["weights"], unchanged["weights"]) and found["scores"] != unchanged["scores"]


def test_the_split_chooses_the_clips(tmp_path):
    root = write_jhmdb(tmp_path, frames=4)
    for clip in JHMDB_CLIPS:
        for number in range(1, 5):
            picture(root / "Rename_Images" / "catch" / clip / f"{number:05d}.png", (320, 240))
    names = [
        [
            track.name
            for track in load_tracks(DataConfig(name="sub_jhmdb", root=str(root), split=split), "train")
        ]
        for split in (1, 2, 3)
    ]
    assert [len(found) for found in names] == [1, 1, 1] and len({found[0] for found in names}) == 3
