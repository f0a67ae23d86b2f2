"""Persons in pictures by torchvision's Faster R-CNN with ResNet-50 and a feature pyramid, as in the paper's Table IX.

torchvision is an extra: only what is called here imports it. Weights are torchvision's for COCO, of 91 classes of
which 1 is the person, or those of `finetune`, of 2 classes. Images are uint8 [H, W, 3] RGB; boxes are x1, y1, x2, y2 in
pixels of the image as COCO has them: x right, y down, 0 the border of the first pixel, so that x2 - x1 is the width.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..train.checkpoint import load_state, read_tensors

NETWORK = "fasterrcnn_resnet50_fpn"
SURE = 0.5  # least score of a person where nobody says another
CACHE = "cache"  # as --weights: torchvision's own file for COCO
FORMAT = "rpstn detector"
COCO_CLASSES, OWN_CLASSES, PERSON = 91, 2, 1
MIN_SIZE, MAX_SIZE = 800, 1333  # pixels of the shorter and the longer side that a picture is resized to

_SCORES = "roi_heads.box_predictor.cls_score.weight"  # its rows are the classes


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A state dict with what it is of: `classes`, and the sizes that pictures are resized to; `source` for messages."""

    state: dict[str, Tensor]
    classes: int
    min_size: int
    max_size: int
    source: str


def torchvision(module: str) -> ModuleType:
    """`torchvision.<module>`. Raises UserError where it is not installed or does not fit the installed torch."""
    try:
        return importlib.import_module(f"torchvision.{module}")
    except ModuleNotFoundError as error:
        raise UserError(
            "expected torchvision for the detector, it is not installed; install it (pip install torchvision), or make "
            "the boxes elsewhere and name their file with data.options.detections, or for rpstn predict with --boxes"
        ) from error
    except Exception as error:  # of another torch: RuntimeError, OSError, ImportError ..., as it comes
        raise UserError(
            f"expected a torchvision that was built for torch {torch.__version__}, the installed one does not load "
            f"({str(error).splitlines()[0]}); install the one that belongs to this torch"
        ) from error


def build(
    classes: int, *, min_size: int = MIN_SIZE, max_size: int = MAX_SIZE, trainable_layers: int = 3
) -> nn.Module:
    """The network with random weights, in training mode.

    trainable_layers: how many of ResNet's five parts are trained, from the end. The norms never are.
    """
    backbones = torchvision("models.detection.backbone_utils")
    backbone = backbones.resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, trainable_layers=trainable_layers
    )
    model = torchvision("models.detection").FasterRCNN(
        backbone, num_classes=classes, min_size=min_size, max_size=max_size
    )
    frozen = torchvision("ops").FrozenBatchNorm2d
    for module in model.modules():
        if isinstance(module, frozen):
            module.eps = 0.0  # as torchvision's COCO weights were trained
    return model


def read_weights(name: str | Path) -> Weights:
    """The weights in a file, or with the name "cache" torchvision's own, downloaded where they are not there yet.

    Raises UserError naming the file, where it is not there, no file of tensors, or of another network.
    """
    path = _cached() if str(name) == CACHE else Path(name)
    content = read_tensors(path)
    min_size, max_size = MIN_SIZE, MAX_SIZE
    if content.get("format") == FORMAT:
        min_size, max_size = content["config"]["min_size"], content["config"]["max_size"]
        content = content["model_state"]
    scores = content.get(_SCORES)
    if not isinstance(scores, Tensor) or len(scores) not in (COCO_CLASSES, OWN_CLASSES):
        has = (
            f"{len(scores)} classes"
            if isinstance(scores, Tensor)
            else f"no {_SCORES} among {len(content)} entries"
        )
        first = ", ".join(str(key) for key in list(content)[:2])
        raise UserError(
            f"{path}: expected weights of fasterrcnn_resnet50_fpn of torchvision (91 classes) or of rpstn "
            f"train-detector (2 classes), got {has} ({first} ...)"
        )
    return Weights(state=content, classes=len(scores), min_size=min_size, max_size=max_size, source=str(path))


def load(weights: Weights) -> nn.Module:
    """The network with its weights, on the CPU and in evaluation mode."""
    model = build(weights.classes, min_size=weights.min_size, max_size=weights.max_size)
    load_state(model, weights.state, weights.source)
    return model.eval()


def _cached() -> Path:
    """torchvision's file for COCO in the cache of torch.hub."""
    weights = torchvision("models.detection").FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / weights.url.rpartition("/")[2]
    if not path.is_file():
        digits = path.stem.rpartition("-")[2]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, str(path), hash_prefix=digits)
        except (OSError, RuntimeError) as error:  # no network, no space, or other bytes than the name says
            raise UserError(
                f"{path}: expected torchvision's weights, they are not there and {weights.url} cannot be downloaded "
                f"({error}); put the file there, or name it with --weights FILE, or --detector {NETWORK}=FILE"
            ) from error
    return path


def finder(name: str, device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
    """What finds the people of an image: boxes [N, 4] of their first and last pixels, the surest first.

    Args:
        name: fasterrcnn_resnet50_fpn, or with = and the file of its weights; without, torchvision's own for COCO.

    Raises UserError where the name is another, torchvision is not there, or the weights are not.
    """
    network, _, file = name.partition("=")
    if network != NETWORK or name.endswith("="):
        raise UserError(f"--detector: expected {NETWORK} or {NETWORK}=FILE, got {name}")
    torchvision("ops")
    model = load(read_weights(file or CACHE)).to(device)

    def find(image: np.ndarray) -> np.ndarray:
        ((boxes, _),) = find_people(model, [image], min_score=SURE)
        return boxes - [0, 0, 1, 1]

    return find


def to_tensor(image: np.ndarray) -> Tensor:
    """An image as the network wants it, float32 [3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


@torch.inference_mode()
def find_people(
    model: nn.Module, images: Sequence[np.ndarray], *, min_score: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes [N, 4] and scores [N] of the persons in each image, the surest first, those below `min_score` left out.

    The model is in evaluation mode, as `load` gives it, on the device that is used.
    """
    device = next(model.parameters()).device
    model.roi_heads.score_thresh = (
        min_score  # before overlapping boxes are thinned out and the best 100 are chosen
    )
    outputs: list[dict[str, Any]] = model([to_tensor(image).to(device) for image in images])
    found = []
    for output in outputs:
        person = output["labels"] == PERSON
        boxes, scores = (output[key][person].double().cpu().numpy() for key in ("boxes", "scores"))
        found.append((boxes, scores))
    return found
