"""Networks as graphs: ONNX and `torch.export`'s pt2, which run without this package, and AOTInductor's packages, which
run without Python, by the compiled operations.

A graph takes uint8 RGB crops, as `codec.normalise` does, and gives heat maps; its batch is free, and height and width
are those of the codec's input. What one needs to use it besides stands in the file as JSON, under `METADATA`.
"""

import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import rpstn_ext
from rpstn_ext.models import Network, last_stage

from .codec import normalise
from .errors import UserError
from .train.checkpoint import Checkpoint
from .versions import versions

METADATA = "rpstn.json"  # key of the metadata of an ONNX file and of a package, extra file in a pt2
FORMATS = ("onnx", "pt2", "aoti")
TOLERANCE = 1e-4  # of the largest value, at least of 1
_CHECKED = (1, 3)  # batches; 1 is what tracers like to take for a constant
_BATCH = "batch"  # the free axis
_LARGEST_ONNX = 2**31 - 1  # bytes of a protobuf

Run = Callable[..., Sequence[Tensor]]


class _Start(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        maps, state = self.network.start(normalise(frame))
        return (maps, state) if self.network.temporal else (maps,)  # an empty state is nothing to carry along


class _Step(_Start):
    def forward(self, frame: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        return self.network.step(normalise(frame), state)


class _Clip(_Start):
    def forward(self, clip: Tensor) -> tuple[Tensor, ...]:
        return (last_stage(self.network(normalise(clip))),)


# The module, names of its inputs and outputs. The names of a step's two states differ, as ONNX wants it.
_GRAPHS = {
    "start": (_Start, ("frame",), ("heatmaps", "state")),
    "step": (_Step, ("frame", "state"), ("heatmaps", "next_state")),
    "clip": (_Clip, ("clip",), ("heatmaps",)),
}
_FRAME_ALONE = (
    _Start,
    ("frame",),
    ("heatmaps",),
)  # start and step of a network for images, which has no state
WHAT = tuple(_GRAPHS)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file's content, what `METADATA` says in it, and its largest difference from the network, in heat maps and
    states, at batches 1 and 3; None where nothing here can run it.
    """

    content: bytes
    metadata: dict[str, Any]
    difference: float | None


def export(checkpoint: Checkpoint, form: str, what: str, *, frames: int) -> Exported:
    """The network of a checkpoint as a file.

    Args:
        form: one of `FORMATS`. "aoti" compiles for this machine's processor, which takes a C++ compiler and a minute.
        what: "start" and "step" of a video frame by frame, which are the same for a network for images, or "clip".
        frames: T of a clip, a constant of its graph.

    Raises:
        UserError: a package, the compiled operations or a C++ compiler are missing, the network refines the poses of
            another, the file would be too large for ONNX, or the graph does not give what the network gives.

    Example: `commands/export.py`.
    """
    if form == "onnx":
        _require("onnx", "onnxscript")
    elif form == "aoti":
        _require_compiled()
    network = checkpoint.build_model()
    if network.in_channels != 3:
        raise UserError(
            f"{checkpoint.path}: expected a network of pictures alone, got {checkpoint.model_name}, which takes poses "
            "besides; it has no exported form"
        )
    kind, inputs, outputs = _GRAPHS[what] if network.temporal or what == "clip" else _FRAME_ALONE
    module = kind(network).eval()
    metadata = {
        "what": what,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "frames": frames if what == "clip" else 1,
        "pictures": "uint8 RGB crops, height and width as codec.input_size turned round; normalised in the graph",
        "network": checkpoint.architecture,
        "origin": checkpoint.origin,
        "temporal": network.temporal,
        "skeleton": checkpoint.skeleton.to_dict(),
        "codec": checkpoint.codec.to_dict(),
        "normalisation": checkpoint.normalisation.to_dict(),
        "trained_with": checkpoint.trained_with,
        "exported_with": versions(),
    }
    examples = _examples(network, checkpoint, inputs, frames, batch=2)
    with rpstn_ext.use_backend(rpstn_ext.backend() if form == "aoti" else "reference"):
        program = _program(module, examples, inputs)
    write, runner_of = _WAYS[form]
    content = write(program, json.dumps(metadata, ensure_ascii=False), inputs, outputs)
    runner = runner_of(content)
    difference = None
    if runner is not None:
        difference = max(
            _difference(module, runner, _examples(network, checkpoint, inputs, frames, batch=batch))
            for batch in _CHECKED
        )
        if not difference <= TOLERANCE:
            raise UserError(
                f"{checkpoint.path}: expected the exported graph to give what the network gives, to {TOLERANCE:g} of "
                f"the largest value, got a difference of {difference:.1e}; nothing was written"
            )
    return Exported(content=content, metadata=metadata, difference=difference)


@torch.no_grad()
def _examples(
    network: Network, checkpoint: Checkpoint, inputs: Sequence[str], frames: int, *, batch: int
) -> tuple[Tensor, ...]:
    """Pictures of noise, and the state after such ones, by the names of the inputs."""
    width, height = checkpoint.codec.input_size
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randint(0, 256, (*shape, 3, height, width), dtype=torch.uint8, generator=generator)

    makers = {
        "frame": lambda: noise(batch),
        "clip": lambda: noise(batch, frames),
        "state": lambda: network.start(normalise(noise(batch)))[1],
    }
    return tuple(makers[name]() for name in inputs)


@torch.no_grad()
def _program(module: nn.Module, examples: tuple[Tensor, ...], inputs: Sequence[str]) -> ExportedProgram:
    batch = torch.export.Dim(_BATCH)
    program = torch.export.export(
        module, examples, dynamic_shapes={name: {0: batch} for name in inputs}, strict=False
    )
    _drop_unused(program)
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)  # names of folders on this machine
    return program


def _drop_unused(program: ExportedProgram) -> None:
    """Takes out the weights that the graph does not use: of a step those of the pose initialiser."""
    idle = {node.name: node for node in program.graph.nodes if node.op == "placeholder" and not node.users}
    specs = program.graph_signature.input_specs
    for spec in [spec for spec in specs if spec.target in program.state_dict and spec.arg.name in idle]:
        specs.remove(spec)
        del program.state_dict[spec.target]
        program.graph.erase_node(idle[spec.arg.name])
    program.graph_module.recompile()


def _onnx(program: ExportedProgram, metadata: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > _LARGEST_ONNX:
        raise UserError(
            f"expected a network of at most 2 GiB for --format onnx, which no larger file can hold, got "
            f"{size / 2**30:.1f} GiB; use --format pt2"
        )
    with _quiet():
        made = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: _BATCH} for name in inputs},  # for the name; the program has it already
            dynamo=True,
            verbose=False,
        )
    made.model.metadata_props[METADATA] = metadata
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()  # the exporter's notes for its developers
    return made.model_proto.SerializeToString(deterministic=True)


def _pt2(program: ExportedProgram, metadata: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    program.example_inputs = None  # noise
    torch.export.save(program, buffer, extra_files={METADATA: metadata})
    return buffer.getvalue()


def _aoti(program: ExportedProgram, metadata: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    settings = {
        "aot_inductor.metadata": {METADATA: metadata},
        "aot_inductor.check_lowerbound": False,  # it takes every free axis to be 2 at least
        "cpp.dynamic_threads": True,  # as many as where it runs, not as here
        "freezing": True,  # norms folded into convolutions, weights laid out for these (times: docs/export.md)
    }
    torch._inductor.aoti_compile_and_package(program, package_path=buffer, inductor_configs=settings)
    return buffer.getvalue()


def _onnx_runner(content: bytes) -> Run | None:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return None
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, feeds)]

    return run


def _pt2_runner(content: bytes) -> Run:
    return torch.export.load(io.BytesIO(content)).module()


def _aoti_runner(content: bytes) -> Run:
    return torch._inductor.aoti_load_package(io.BytesIO(content))


# How a program becomes a file's content, and that a function.
_WAYS = {"onnx": (_onnx, _onnx_runner), "pt2": (_pt2, _pt2_runner), "aoti": (_aoti, _aoti_runner)}


@torch.no_grad()
def _difference(module: nn.Module, runner: Run, inputs: tuple[Tensor, ...]) -> float:
    """The largest of all outputs, each as a share of its largest value, at least of 1."""
    pairs = zip(runner(*inputs), module(*inputs), strict=True)
    return max(float((ours - own).abs().max() / own.abs().max().clamp(min=1)) for ours, own in pairs)


def _require(*packages: str) -> None:
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"expected the package {name} for --format onnx, it is not installed; install what the export needs "
                "(pip install onnx onnxscript onnxruntime), or use --format pt2"
            ) from error


def _require_compiled() -> None:
    # Inductor takes a second to load, and nothing else needs it.
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if rpstn_ext.backend() == "reference":
        raise UserError(
            "expected the compiled operations for --format aoti, got plain PyTorch; rpstn doctor says why, or use "
            "--format pt2"
        )
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UserError(
            "expected a C++ compiler for --format aoti, found none; install g++ or name one by CXX, or use --format pt2"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the ONNX exporter says of packages that have no part here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
