"""From the section `model` of a configuration to a network: its options by type, its parts' weights, and whether two
descriptions mean the same.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rpstn_ext import models

from .config import ModelConfig
from .data.records import Skeleton
from .errors import UserError
from .options import convert_options, options_of

_START_ONLY = ("relation_start",)  # options that say how training begins; weights make them meaningless


def build_network(model: ModelConfig, skeleton: Skeleton) -> nn.Module:
    """The network that the configuration describes, with fresh weights, for the joints of the skeleton."""
    options = options_for(network_options(model), skeleton)
    try:
        return models.build(model.name, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.options: {error}") from error


def options_for(options: Mapping[str, Any], skeleton: Skeleton) -> dict[str, Any]:
    """Options of a network with what they leave to the skeleton: the number of joints, and the limbs where its relation
    goes along limbs and the options name none.
    """
    found = {"num_joints": len(skeleton.joints), **options}
    if options.get("relation") == "repose" and not options.get("limbs"):
        found["limbs"] = skeleton.limbs
    return found


def outline(model: ModelConfig, skeleton: Skeleton) -> nn.Module:
    """`build_network` without memory or weights, to be asked for its stride and the like."""
    with torch.device("meta"):
        return build_network(model, skeleton)


def load_start(network: nn.Module, model: ModelConfig) -> list[str]:
    """Load the weights that the configuration names for the network or its parts; what went where, in sentences."""
    options = network_options(model)
    files = models.weights_of(model.name, **options)
    if model.weights is not None:
        if files:
            part = next(iter(files))
            raise UserError(
                f"model.weights: expected weights of the whole network or of its parts, got both {model.weights} and "
                f"{part}'s {files[part]}; leave one out"
            )
        files = {"": model.weights}
    sentences = []
    for part, file in files.items():
        key = f"model.options.{part}.weights" if part else "model.weights"
        try:
            loaded = models.load(network, part, file)
        except OSError as error:
            raise UserError(
                f"{key}: expected a file with weights, {file} cannot be read ({error.strerror})"
            ) from error
        except ValueError as error:
            raise UserError(f"{key}: {str(error).removeprefix('models.load: ')}") from error
        sentences.append(f"{key}: {loaded}")
    return sentences


def network_options(model: ModelConfig) -> dict[str, Any]:
    """`model.options` in the types that the network's builder is annotated with."""
    if model.name not in models.BUILDERS:
        raise UserError(f"model.name: expected one of {', '.join(models.names())}, got {model.name}")
    known = options_of(models.BUILDERS[model.name], without=("num_joints",))
    return convert_options(model.options, known, prefix="model.options.", owner=f"the model {model.name}")


def same_network(first: ModelConfig, second: ModelConfig) -> bool:
    """Whether both describe one network, spelt out or by its defaults; where weights came from does not matter."""
    return first.name == second.name and _spelt_out(first) == _spelt_out(second)


def describe_network(model: ModelConfig) -> str:
    """Name and options in one line, defaults spelt out."""
    options = ", ".join(f"{name}={value}" for name, value in _spelt_out(model).items())
    return f"{model.name}({options})"


def _spelt_out(model: ModelConfig) -> dict[str, Any]:
    parameters = inspect.signature(models.BUILDERS[model.name]).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not parameter.empty and name not in _START_ONLY
    }
    given = {name: value for name, value in network_options(model).items() if name not in _START_ONLY}
    return {
        name: value.backbone if isinstance(value, models.Part) else value
        for name, value in {**defaults, **given}.items()
    }
