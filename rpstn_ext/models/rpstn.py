"""Relation-based pose semantics transfer network (RPSTN)."""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rpstn_ext.models import relations
from rpstn_ext.models.network import Network, Stages, alike, last_stage
from rpstn_ext.modules import DynamicMatcher, PoseSemanticsPropagator

RELATION_INPUTS = ("maps", "cat")
INITIALIZE = ("first", "every")
_NUM_CONVS = 4


class Trace(NamedTuple):
    """What happens inside, for looking at: maps before and after the relation extractor, and its matrices.

    pseudo, heatmaps (Tensor[B, T, K, h, w]); correlation, weights (Tensor[B, T, K, K]).
    """

    pseudo: Tensor
    heatmaps: Tensor
    correlation: Tensor
    weights: Tensor


class RPSTN(Network):
    """Pose estimation in videos: each frame is searched with kernels made of the pose in the frame before.

    With P the pose initialiser, F the feature extractor, R the joint relation extractor, S the propagator, [,] the
    concatenation of channels and (x) the dynamic convolution (equations 1 to 4 and Fig. 2 of the paper)::

        M'_1     = BN(R(P(I_1)))
        X_t      = Conv_a([F(I_t), M'_t])
        M'_{t+1} = BN(R(Conv_d(S(X_t) (x) F(I_{t+1}))))

    P and F have their own weights; R is one module for all frames, and so is BN but for its running statistics, of
    which the first frame has its own (`first_norm`). Equation 1 has no BN, Fig. 2 draws one: `norm_first`. BN's weight
    starts at 0.1, about the standard deviation of a target heat map. The released code is another network
    (`rpstn_ext.models.released`).

    The paper's ablations leave something out or put something in:

    * "w/o JRPSP" (Table I): no feature extractor and no propagator, M'_t = BN(R(P(I_t))) for every frame.
    * "Cat" (Table II), `relation_input` "cat": F and R "are connected by two 1x1 convolutions", no more is said. Here R
      gets Conv_2(ReLU(Conv_1([M_t, F(I_t)]))) of every frame, where M_t is what it gets otherwise; Conv_1 goes to C
      channels, Conv_2 to K.
    * "w/o P" (Table II): "Cat" without a pose initialiser, with zeros for M_1.

    Args:
        pose_initializer (Network | None): a network for images without a relation (`PoseNetwork`); its `num_joints` is
            K. None only with `relation_input` "cat".
        feature_extractor (nn.Module | None): images [N, 3, H, W] to features (`rpstn_ext.models.backbones`), at the
            stride of the pose initialiser. None leaves the propagation out: the options that say how it is have their
            defaults then.
        num_joints (int): K, needed without a pose initialiser.
        channels (int): C of the propagator; an extractor with another number is bridged by a 1x1 convolution.
        num_convs (int): convolutions of the propagator: 4; 3 is DKD's distillator, 5 the larger variant of Table I.
        relation (str): what R is, "none" is the paper's ablation "w/o JRE" (`rpstn_ext.models.relations.RELATIONS`).
        relation_start (str): "identity" or "random": whether BN(R) begins as BN alone.
        relation_input (str): "maps", or "cat" as above.
        scale: of the joint relation, a number > 0 or "learnable".
        limbs: pairs of connected joints, for the relation "repose".
        norm_first (bool): BN on the first frame too. False is equation 1; the demo's network, trained so from the
            start, found 1.4 visible and 2.6 hidden joints in a hundred fewer by torso size (one run each). A file of
            weights from before the first frame had statistics of its own loads; they begin as those of all frames.
            Until it is trained further, its first frames' maps have their places and not their height in evaluation:
            of a network trained on pairs of frames they were 0.1 high, later ones' 0.8.
        initialize (str): "first": P sees the first frame alone, as in the paper. "every": it sees every frame, and its
            maps are what the matcher adds to,

                M'_{t+1} = BN(R(P(I_{t+1}) + Conv_d(S(X_t) (x) F(I_{t+1}))))

            Conv_d begins at zero, so that the untrained network is its own image network on every frame.
        supervise_initializer (bool): in training `forward` gives two stages, P's maps of every frame and the result,
            so that each frame trains P; in the paper one frame of a clip does. Evaluation is the same.

    Where `feature_extractor` is `pose_initializer.backbone` itself, one pass of one backbone serves P and F.

    Input: clip (Tensor[B, T, 3, H, W]), T >= 1, RGB normalised by ImageNet's mean and deviation, H and W multiples of
    `multiple`. Output: heat maps (Tensor[B, T, K, H/stride, W/stride]). `start` and `step` go through a video frame by
    frame, without an end, and give in evaluation the same maps as `forward`.

    Raises:
        ValueError: an option is not known or has no meaning without the part that is left out, or the parts differ in
            stride or joints; in a call, another shape, a height or width that does not divide by `multiple`, or maps
            too small for the propagator.

    Example:
        >>> from rpstn_ext import models
        >>> model = models.build("rpstn", num_joints=13, pose_initializer="resnet18", feature_extractor="resnet18")
        >>> model(torch.rand(1, 2, 3, 128, 128)).shape
        torch.Size([1, 2, 13, 32, 32])
    """

    def __init__(
        self,
        pose_initializer: Network | None,
        feature_extractor: nn.Module | None,
        *,
        num_joints: int | None = None,
        channels: int = 256,
        num_convs: int = _NUM_CONVS,
        relation: str = "jre",
        relation_start: str = "identity",
        relation_input: str = "maps",
        scale: float | str = 1.0,
        limbs: relations.Limbs | None = None,
        norm_first: bool = True,
        initialize: str = "first",
        supervise_initializer: bool = False,
    ) -> None:
        super().__init__()
        for option, value, known in (
            ("relation_input", relation_input, RELATION_INPUTS),
            ("initialize", initialize, INITIALIZE),
        ):
            if value not in known:
                raise ValueError(f"{option}: expected one of {', '.join(known)}, got {value!r}")
        self.num_joints = _joints(pose_initializer, num_joints)
        if feature_extractor is None:
            _refuse_options_of_propagation(
                pose_initializer,
                num_convs=(num_convs, _NUM_CONVS),
                relation_input=(relation_input, "maps"),
                norm_first=(norm_first, True),
                initialize=(initialize, "first"),
                supervise_initializer=(supervise_initializer, False),
            )
        elif pose_initializer is None and relation_input != "cat":
            raise ValueError(
                "RPSTN: expected relation_input cat without a pose initialiser, where the first maps are made of "
                f"features, got {relation_input}"
            )
        if pose_initializer is None and (initialize != "first" or supervise_initializer):
            raise ValueError(
                "RPSTN: expected a pose initialiser with initialize every or supervise_initializer, got none; name one"
            )
        self.shared = feature_extractor is not None and feature_extractor is getattr(
            pose_initializer, "backbone", None
        )
        present = {
            "pose_initializer": pose_initializer,
            "feature_extractor": None if self.shared else feature_extractor,
        }
        self.parts = tuple(name for name, part in present.items() if part is not None)
        self.stride, self.multiple = _size(*(part for part in present.values() if part is not None))
        self.temporal = feature_extractor is not None
        self.norm_first = norm_first
        self.initialize, self.supervise_initializer = initialize, supervise_initializer
        self.pose_initializer = pose_initializer
        self.feature_extractor = None if self.shared else feature_extractor
        if feature_extractor is not None:
            extracted = feature_extractor.channels
            self.bridge = nn.Identity() if extracted == channels else nn.Conv2d(extracted, channels, 1)
            self.conv_a = nn.Conv2d(channels + self.num_joints, channels, 1)
            self.propagator = PoseSemanticsPropagator(channels, num_convs=num_convs)
            self.matcher = DynamicMatcher(channels, self.num_joints)
            _begin_small(self.matcher.conv_d)
            if initialize == "every":
                nn.init.zeros_(self.matcher.conv_d.weight)
        self.connection = _connection(channels, self.num_joints) if relation_input == "cat" else None
        self.relation = relations.build(
            relation, self.num_joints, start=relation_start, scale=scale, limbs=limbs
        )
        self.norm = relations.output_norm(self.num_joints) if self.relation is None else None
        self.first_norm = None
        if self.temporal and norm_first:
            own = self.norm if self.relation is None else self.relation.norm
            self.first_norm = _with_statistics_of_its_own(own)
            (shared,) = (name for name, module in self.named_modules() if module is own)
            self.alike_in_files = {"first_norm": shared}
        self.register_load_state_dict_pre_hook(_complete)

    def forward(self, clip: Tensor) -> Stages:
        self.check_clip(clip)
        guesses, maps = self._unroll(clip)
        result = torch.stack([heatmaps for _, heatmaps in maps], dim=1)
        return (guesses, result) if self.training and self.supervise_initializer else result

    def start(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The first frame (Tensor[B, 3, H, W]): its heat maps [B, K, h, w], and the state for `step`.

        The state is a Tensor[B, C, kh, kw]: the kernels the next frame is searched with. Without propagation it is
        empty, Tensor[B, 0].
        """
        self.check_frame(frame)
        if not self.temporal:
            return self._relate(last_stage(self.pose_initializer(frame))), frame.new_empty(frame.shape[0], 0)
        guess, features = self._seen(frame)
        heatmaps = self._relate(self._first(guess, features), first=True)
        return heatmaps, self._kernels(features, heatmaps)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next frame (Tensor[B, 3, H, W]) and the state before it: its heat maps, and the state after it."""
        self.check_frame(frame)
        if not self.temporal:
            return self.start(frame)
        guess, features = self._seen(frame, guess=self.initialize == "every")
        heatmaps = self._relate(self._next(guess, features, state))
        return heatmaps, self._kernels(features, heatmaps)

    @torch.no_grad()
    def trace(self, clip: Tensor) -> Trace:
        """`forward` with what it passes through; without gradients.

        Raises:
            ValueError: the shape, as in a call; or the network has no relation whose matrices could be shown.
        """
        if not hasattr(self.relation, "relation"):
            raise ValueError(
                "RPSTN.trace: expected a model with a relation that has matrices of joints, this one was built "
                "without; build it with relation jre"
            )
        self.check_clip(clip)
        pseudo, heatmaps = (torch.stack(maps, dim=1) for maps in zip(*self._unroll(clip)[1]))
        correlation, weights = self.relation.relation(pseudo.flatten(0, 1))
        frames = clip.shape[:2]
        return Trace(pseudo, heatmaps, correlation.unflatten(0, frames), weights.unflatten(0, frames))

    def _unroll(self, clip: Tensor) -> tuple[Tensor | None, list[tuple[Tensor, Tensor]]]:
        """P's maps, of every frame where they are needed, and per frame the maps before and after the relation
        extractor. One call of F serves all frames.
        """
        shape = clip.shape[:2]
        if not self.temporal:
            pseudo = last_stage(self.pose_initializer(clip.flatten(0, 1)))
            both = (maps.unflatten(0, shape).unbind(1) for maps in (pseudo, self._relate(pseudo)))
            return None, list(zip(*both))
        all_guessed = self.initialize == "every" or (self.training and self.supervise_initializer)
        guesses, features = self._seen(clip.flatten(0, 1), guess=all_guessed)
        features = features.unflatten(0, shape)
        if guesses is None:
            first = None if self.pose_initializer is None else last_stage(self.pose_initializer(clip[:, 0]))
        else:
            guesses = guesses.unflatten(0, shape)
            first = guesses[:, 0]
        pseudo = self._first(first, features[:, 0])
        heatmaps = self._relate(pseudo, first=True)
        maps = [(pseudo, heatmaps)]
        for t in range(1, clip.shape[1]):
            guess = guesses[:, t] if self.initialize == "every" else None
            pseudo = self._next(guess, features[:, t], self._kernels(features[:, t - 1], heatmaps))
            heatmaps = self._relate(pseudo)
            maps.append((pseudo, heatmaps))
        return guesses, maps

    def _seen(self, images: Tensor, *, guess: bool = True) -> tuple[Tensor | None, Tensor]:
        """P's maps of images [N, 3, H, W], None where it is left out or they are not asked for, and their features."""
        if self.shared:
            features = self.pose_initializer.backbone(images)
            return self.pose_initializer.maps_of(features), self.bridge(features)
        asked = guess and self.pose_initializer is not None
        return last_stage(self.pose_initializer(images)) if asked else None, self._features(images)

    def _features(self, images: Tensor) -> Tensor:
        return self.bridge(self.feature_extractor(images))

    def _first(self, guess: Tensor | None, features: Tensor) -> Tensor:
        """What the relation extractor gets of the first frame."""
        if guess is None:
            guess = features.new_zeros(features.shape[0], self.num_joints, *features.shape[2:])
        return self._connected(guess, features)

    def _next(self, guess: Tensor | None, features: Tensor, kernels: Tensor) -> Tensor:
        """What it gets of the others."""
        matched = self.matcher(features, kernels)
        added = matched + guess if self.initialize == "every" else matched
        return self._connected(added, features)

    def _connected(self, maps: Tensor, features: Tensor) -> Tensor:
        return maps if self.connection is None else self.connection(torch.cat([maps, features], dim=1))

    def _kernels(self, features: Tensor, heatmaps: Tensor) -> Tensor:
        return self.propagator(self.conv_a(torch.cat([features, heatmaps], dim=1)))

    def _relate(self, pseudo: Tensor, *, first: bool = False) -> Tensor:
        apply_norm, norm = self.norm_first or not first, self.first_norm if first else None
        if self.relation is not None:
            return self.relation(pseudo, apply_norm=apply_norm, norm=norm)
        return (norm or self.norm)(pseudo) if apply_norm else pseudo


def _joints(pose_initializer: Network | None, num_joints: int | None) -> int:
    """K, which the pose initialiser says or the argument."""
    said = num_joints if pose_initializer is None else pose_initializer.num_joints
    if said is None or said < 1 or num_joints not in (None, said):
        expected = (
            "of at least 1" if pose_initializer is None else f"{said} as the pose initialiser has, or none"
        )
        raise ValueError(f"RPSTN: expected num_joints {expected}, got {num_joints}")
    return said


def _size(*present: nn.Module) -> tuple[int, int]:
    """Stride and multiple of the parts together."""
    strides = [part.stride for part in present]
    if len(set(strides)) != 1:
        raise ValueError(
            "RPSTN: expected a pose initialiser and a feature extractor of the same stride, got "
            f"{' and '.join(map(str, strides))}; choose backbones that agree"
        )
    return strides[0], math.lcm(*(part.multiple for part in present))


def _refuse_options_of_propagation(
    pose_initializer: Network | None, **options: tuple[int | str | bool, int | str | bool]
) -> None:
    """`options`: what arrived, and what stands for nothing asked."""
    if pose_initializer is None:
        raise ValueError("RPSTN: expected a pose initialiser or a feature extractor, got neither; name one")
    for option, (got, unasked) in options.items():
        if got != unasked:
            raise ValueError(
                f"RPSTN: expected {option} {unasked} without a feature extractor, where nothing is propagated, got "
                f"{got}"
            )


def _with_statistics_of_its_own(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A normalisation with the weight and the bias of another, the same parameters."""
    own = copy.deepcopy(norm)
    own.weight, own.bias = norm.weight, norm.bias
    return own


def _complete(network: RPSTN, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.update(alike(network.alike_in_files, state, prefix))


def _connection(channels: int, num_joints: int) -> nn.Sequential:
    """Maps and features to the relation's input."""
    connection = nn.Sequential(
        nn.Conv2d(num_joints + channels, channels, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, num_joints, 1),
    )
    _begin_small(connection[-1])
    return connection


def _begin_small(conv: nn.Conv2d) -> None:
    """So that maps begin small, as SimpleBaseline's do."""
    nn.init.normal_(conv.weight, std=0.001)
    nn.init.zeros_(conv.bias)
