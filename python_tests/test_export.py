"""Networks as ONNX and pt2: they give what the network gives, at any batch, without this package. Compiled packages
have test_export_aoti.py.
"""

import functools
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import SIZE, SMALL, shaken
from test_public_files import donor, published, saved
from torch import nn

import rpstn_ext
from rpstn_ext import models
from rpstn_training import cli, exporting
from rpstn_training.codec import Codec, normalise
from rpstn_training.colours import Normalisation
from rpstn_training.config import Config, DataConfig, to_dict
from rpstn_training.data.sets import DATASETS
from rpstn_training.errors import UserError
from rpstn_training.public_files import open_weights
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parents[1]
SKELETON = DATASETS["penn_action"].SKELETON
KINDS = {
    "rpstn": ("rpstn", SMALL),
    "dkd": ("dkd", SMALL),
    "rpstn, no propagation": ("rpstn", SMALL | {"feature_extractor": None}),
    "sbl, resnet18": ("sbl", {"backbone": "resnet18", "relation": "jre"} | SIZE),
    "sbl, vitpose_s": ("sbl", {"backbone": "vitpose_s"} | SIZE),
}
GRAPHS = [
    ("rpstn", "start"),
    ("rpstn", "step"),
    ("rpstn", "clip"),
    ("dkd", "start"),
    ("dkd", "step"),
    ("rpstn, no propagation", "clip"),
    ("sbl, resnet18", "step"),
    ("sbl, vitpose_s", "clip"),
]
FRAMES = 2
# Another normalisation than ours, so that every graph shows that it has it.
NORMALISATION = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@functools.cache
def checkpoint(kind: str) -> Checkpoint:
    torch.manual_seed(0)
    name, options = KINDS[kind]
    model = shaken(models.build(name, num_joints=len(SKELETON.joints), **options))
    if model.temporal:  # shaken kernels are a hundred times too large, and grow from frame to frame
        last = [layer for layer in model.propagator.tower if isinstance(layer, nn.BatchNorm2d)][-1]
        for parameter in last.parameters():
            parameter.detach().mul_(0.01)
    return Checkpoint(
        model_name=name,
        model_options=options,
        model_state=model.state_dict(),
        skeleton=SKELETON,
        codec=Codec(input_size=(64, 96), stride=model.stride, sigma=1.5, shared_frames=FRAMES),
        config=to_dict(
            Config(output="run", data=DataConfig(name="penn_action", root="r", clip_length=FRAMES))
        ),
        selected_on="the test subset",
        epoch=1,
        step=1,
        best_score=0.5,
        metrics=[],
        normalisation=NORMALISATION,
    )


@functools.cache
def exported(kind: str, form: str, what: str) -> exporting.Exported:
    return exporting.export(checkpoint(kind), form, what, frames=FRAMES)


def runner(content: bytes, form: str):
    """The graph as a function, by PyTorch or by onnxruntime."""
    if form == "pt2":
        return torch.export.load(io.BytesIO(content)).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *inputs: [
        torch.from_numpy(array) for array in session.run(None, {n: t.numpy() for n, t in zip(names, inputs)})
    ]


@pytest.fixture(params=["onnx", "pt2"])
def form(request) -> str:
    return request.param


def pictures(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 3, 96, 64), dtype=torch.uint8, generator=generator)


def close(found, expected) -> None:
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(rpstn_ext.backend() == "reference", reason="no compiled operations")
def test_without_a_compiler_no_package_is_made(weights, tmp_path, capsys):
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        assert run("export", weights, tmp_path / "a.pt2", "--format", "aoti") == 1
    assert "expected a C++ compiler for --format aoti, found none" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


@pytest.mark.parametrize(("kind", "what"), GRAPHS, ids=lambda value: value)
@torch.no_grad()
def test_a_graph_gives_what_the_network_gives(kind, what, form):
    model = checkpoint(kind).build_model()
    made = exported(kind, form, what)
    graph = runner(made.content, form)
    for batch in (1, 3, 8):
        if what == "clip":
            clip = pictures(batch, FRAMES)
            close(graph(clip), (model(normalise(clip)),))
            continue
        frame = pictures(batch)
        if what == "start" or not model.temporal:
            expected = model.start(normalise(frame))
            close(graph(frame), expected if model.temporal else expected[:1])
        else:
            _, state = model.start(normalise(pictures(batch, seed=2)))
            close(graph(frame, state), model.step(normalise(frame), state))
    assert made.difference <= 1e-5


@torch.no_grad()
def test_frame_by_frame_a_clip(form):
    start, step = (runner(exported("rpstn", form, what).content, form) for what in ("start", "step"))
    clip = pictures(3, 4)
    maps, state = start(clip[:, 0])
    frames = [maps]
    for t in range(1, 4):
        maps, state = step(clip[:, t], state)
        frames.append(maps)
    expected = checkpoint("rpstn").build_model()(normalise(clip))
    close([torch.stack(frames, dim=1)], [expected])
    assert not torch.allclose(frames[1], start(clip[:, 1])[0], atol=1e-3)  # the state tells something


def test_a_file_says_what_it_is(form):
    made, kept = exported("rpstn", form, "step"), checkpoint("rpstn")
    if form == "pt2":
        files = {exporting.METADATA: ""}
        torch.export.load(io.BytesIO(made.content), extra_files=files)
        found = json.loads(files[exporting.METADATA])
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(made.content)
        found = json.loads(session.get_modelmeta().custom_metadata_map[exporting.METADATA])
        assert [entry.name for entry in session.get_inputs()] == found["inputs"]
        assert [entry.name for entry in session.get_outputs()] == found["outputs"]
        assert session.get_inputs()[0].shape == ["batch", 3, 96, 64]
    assert found == made.metadata
    assert (found["inputs"], found["outputs"]) == (["frame", "state"], ["heatmaps", "next_state"])
    assert found["network"] == kept.architecture and found["temporal"] is True
    assert Codec.from_dict(found["codec"]) == kept.codec
    assert Normalisation.from_dict(found["normalisation"]) == NORMALISATION
    assert found["skeleton"]["joints"] == list(SKELETON.joints)
    assert found["exported_with"]["torch"] == torch.__version__


def test_a_step_has_no_weights_of_the_pose_initialiser():
    program = torch.export.load(io.BytesIO(exported("rpstn", "pt2", "step").content))
    used = {name.removeprefix("network.network.").partition(".")[0] for name in program.state_dict}
    # Weight and bias are those of the relation's norm too, and exported once.
    assert used == {"feature_extractor", "conv_a", "propagator", "matcher", "relation", "first_norm"}
    statistics = {name for name in program.state_dict if "first_norm.running" in name}
    assert not statistics


def test_no_folder_of_this_machine_is_in_a_file(form):
    content = exported("rpstn", form, "step").content
    parts = [content]
    if form == "pt2":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    else:
        assert b"stack_trace" not in content and b"name_scopes" not in content
    for folder in (ROOT, Path(torch.__file__).parent):
        assert not any(str(folder).encode() in part for part in parts)


def test_a_pt2_runs_in_a_process_without_this_package(tmp_path):
    (tmp_path / "step.pt2").write_bytes(exported("rpstn", "pt2", "step").content)
    model, frame = checkpoint("rpstn").build_model(), pictures(5)
    with torch.no_grad():
        state = model.start(normalise(frame))[1]
        expected = model.step(normalise(frame), state)
    torch.save((frame, state), tmp_path / "inputs.pt")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('rpstn_ext', 'rpstn_training')))\n"  # None: no import of it
        "import torch\n"
        "step = torch.export.load('step.pt2').module()\n"
        "with torch.no_grad(): torch.save(step(*torch.load('inputs.pt')), 'outputs.pt')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=280)
    close(torch.load(tmp_path / "outputs.pt"), expected)


def test_public_weights_by_the_command(tmp_path, capsys):
    weights = saved(published(donor("resnet18", 17)), tmp_path / "pose_resnet_18_96x64.pth.tar")
    out = tmp_path / "new" / "sbl.pt2"
    assert run("export", weights, out, "--format", "pt2", "--what", "clip", "--frames", 1) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("clip -> heatmaps") and "not trained here" in printed[0]
    assert "of the largest value from the network, at batches 1 and 3" in printed[1]
    assert printed[-1] == str(out) and [path.name for path in out.parent.iterdir()] == [out.name]
    model, clip = open_weights(weights).build_model(), pictures(2, 1)
    with torch.no_grad():
        close(runner(out.read_bytes(), "pt2")(clip), (model(normalise(clip)),))


@pytest.fixture
def weights(tmp_path) -> Path:
    checkpoints.save(tmp_path / "best.pt", checkpoint("sbl, resnet18"))
    return tmp_path / "best.pt"


def test_a_clip_is_as_long_as_in_training(weights, tmp_path):
    out = tmp_path / "clip.pt2"
    assert run("export", weights, out, "--format", "pt2", "--what", "clip") == 0
    (maps,) = torch.export.load(out).module()(pictures(1, FRAMES))
    assert maps.shape == (1, FRAMES, 13, 24, 16)


class TwoStages(models.ImageNetwork):
    num_joints, stride, multiple = 1, 4, 4

    def frames(self, images):
        maps = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)
        return 2 * maps, maps


def test_of_several_stages_the_last_is_exported():
    clip = pictures(2, 3)
    (maps,) = exporting._Clip(TwoStages())(clip)
    assert torch.equal(maps, TwoStages()(normalise(clip))[-1])


def test_wrong_calls_get_a_sentence_and_write_nothing(weights, tmp_path, capsys, monkeypatch):
    def said(*arguments: object, status: int = 1) -> str:
        assert run("export", weights, tmp_path / "a", *arguments) == status
        return capsys.readouterr().err

    assert "--frames: expected none without --what clip, got 2" in said(
        "--format", "pt2", "--frames", 2, status=2
    )
    assert "expected at least 1, got 0" in said("--format", "pt2", "--what", "clip", "--frames", 0, status=2)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "expected the package onnx for --format onnx, it is not installed" in said("--format", "onnx")
    with rpstn_ext.use_backend("reference"):
        assert "expected the compiled operations for --format aoti, got plain PyTorch" in said(
            "--format", "aoti"
        )
    assert run("export", tmp_path / "b.pt", tmp_path / "a", "--format", "pt2") == 1
    assert "b.pt: expected a file with weights, found none" in capsys.readouterr().err
    assert run("export", weights, weights / "a", "--format", "pt2") == 1
    assert "a: could not be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
    (tmp_path / "a").write_text("precious")
    assert "a: expected a new file, there is one" in said("--format", "pt2")
    assert (tmp_path / "a").read_text() == "precious"


def test_a_network_that_refines_poses_is_refused():
    options = {"backbone": "resnet18"} | SIZE
    model = models.build("posefix", num_joints=len(SKELETON.joints), **options)
    posefix = replace(
        checkpoint("sbl, resnet18"),
        model_name="posefix",
        model_options=options,
        model_state=model.state_dict(),
        normalisation=Normalisation(),
    )
    with pytest.raises(UserError, match="expected a network of pictures alone, got posefix"):
        exporting.export(posefix, "pt2", "step", frames=1)


def test_a_graph_that_differs_is_not_written(weights, tmp_path, capsys, monkeypatch):
    write, load = exporting._WAYS["pt2"]
    wrong = lambda content: lambda *inputs: [1.001 * load(content)(*inputs)[0]]  # noqa: E731
    monkeypatch.setitem(exporting._WAYS, "pt2", (write, wrong))
    assert run("export", weights, tmp_path / "a.pt2", "--format", "pt2") == 1
    assert "expected the exported graph to give what the network gives" in capsys.readouterr().err
    assert not (tmp_path / "a.pt2").exists()


def test_without_onnxruntime_a_file_is_written_unchecked(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(exporting._WAYS, "onnx", (lambda *_: b"a graph", exporting._onnx_runner))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run("export", weights, tmp_path / "a.onnx", "--format", "onnx") == 0
    assert "not compared with the network: onnxruntime is not installed" in capsys.readouterr().out
    assert (tmp_path / "a.onnx").read_bytes() == b"a graph"


class Operations(nn.Module):
    def forward(
        self, heatmaps: torch.Tensor, kernels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ):
        mixed = rpstn_ext.joint_relation(heatmaps, weight, bias, weight, bias)
        matched = rpstn_ext.dynamic_match(mixed, kernels, weight, bias)
        return matched + rpstn_ext.dynamic_conv2d(heatmaps, kernels)


def test_torchs_own_onnx_export_takes_the_operations_with_a_free_batch(tmp_path):
    """Whoever calls it need not know that the compiled operations are none of ONNX's."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module, batch = Operations(), torch.export.Dim("B", min=1, max=8)
    inputs = (torch.rand(3, 4, 12, 12), torch.rand(3, 4, 3, 3), torch.rand(4, 4), torch.rand(4))
    shapes = ({0: batch}, {0: batch}, None, None)
    torch.onnx.export(module, inputs, tmp_path / "m.onnx", dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    for samples in (1, 3, 5):
        given = (torch.rand(samples, 4, 12, 12), torch.rand(samples, 4, 3, 3), *inputs[2:])
        names = [one.name for one in session.get_inputs()]
        (found,) = session.run(None, {name: value.numpy() for name, value in zip(names, given)})
        torch.testing.assert_close(torch.from_numpy(found), module(*given), rtol=1e-4, atol=1e-4)
