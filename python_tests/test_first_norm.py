"""The first frame's normalisation: parameters as all frames', running statistics of its own."""

import copy

import pytest
import torch
from small_models import shaken, small
from torch import Tensor, nn

from rpstn_ext import models
from rpstn_ext.models.network import ImageNetwork
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train.average import WeightAverage
from rpstn_training.train.ranks import SynchronisedNorm2d, _synchronise

RELATIONS = {"jre": "relation.norm", "none": "norm", "jre_2convs": "relation.joints.norm"}
HELD = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
JOINTS = 5


class Mixed(ImageNetwork):
    """A pose initialiser or a feature extractor without normalisations, which would have statistics too."""

    stride = multiple = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_joints = self.channels = channels
        self.conv = nn.Conv2d(3, channels, 4, 4)

    def frames(self, images: Tensor) -> Tensor:
        return self.conv(images)


def mixing(relation: str) -> models.RPSTN:
    """Maps of first frames are flatter before the norm than those of others."""
    torch.manual_seed(0)
    model = models.RPSTN(Mixed(JOINTS), Mixed(8), channels=8, relation=relation)
    with torch.no_grad():
        model.matcher.conv_d.weight.normal_(std=10)
        model.pose_initializer.conv.weight.mul_(0.2)
    return model


def norm_of_all(model: nn.Module) -> nn.Module:
    return model.norm if model.relation is None else model.relation.norm


def as_it_was(model: nn.Module) -> nn.Module:
    """A copy whose one normalisation serves all frames."""
    twin = copy.deepcopy(model)
    twin.first_norm = norm_of_all(twin)
    return twin


def before(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network from before the first frame had statistics."""
    names = list(as_it_was(model).state_dict())
    return {
        name: value.clone()
        for name, value in model.state_dict().items()
        if name in names and not name.startswith("first_norm.")
    }


def trained(model: nn.Module, *, steps: int) -> list[float]:
    """Losses of training on one clip."""
    draw = torch.Generator().manual_seed(3)
    clip, targets = torch.rand(2, 3, 3, 64, 64, generator=draw), torch.zeros(2, 3, JOINTS, 16, 16)
    targets[..., 5:9, 5:9] = 1
    optimizer, losses = torch.optim.Adam(model.train().parameters(), lr=1e-3), []
    for _ in range(steps):
        loss = (model(clip) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("options", [{}, {"relation": "none"}, {"initialize": "every"}], ids=str)
def test_training_is_the_same_to_the_bit(options):
    torch.manual_seed(0)
    model = small(**options)
    twin = as_it_was(model)
    assert trained(model, steps=4) == trained(twin, steps=4)
    for (name, ours), (other, theirs) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert name == other and torch.equal(ours, theirs)
    statistics = dict(model.named_buffers())
    assert statistics["first_norm.num_batches_tracked"] == 4  # steps
    for name, theirs in twin.named_buffers():
        if theirs is not norm_of_all(twin).num_batches_tracked and "norm.running" not in name:
            assert torch.equal(statistics[name], theirs)
    assert norm_of_all(model).num_batches_tracked == 8 and norm_of_all(twin).num_batches_tracked == 12


@pytest.mark.parametrize("relation", RELATIONS)
def test_first_maps_are_as_high_in_evaluation_as_in_training(relation):
    model = mixing(relation)
    trained(model, steps=5)
    twin, clip = as_it_was(model), torch.rand(4, 2, 3, 64, 64)

    def first(network: nn.Module) -> Tensor:
        return (network(clip) - norm_of_all(network).bias[:, None, None])[:, 0]

    with torch.no_grad():
        for network in (model, twin):
            network.first_norm.momentum = norm_of_all(network).momentum = 0.3
            for _ in range(50):  # 0.7^50 of what the statistics were before
                expected = first(network)
            network.eval()
        torch.testing.assert_close(first(model), expected, rtol=2e-3, atol=1e-4)
        shared = first(twin)
        assert (shared.flatten(2).std(2) < 0.25 * expected.flatten(2).std(2)).all()
        maps, _ = model.start(clip[:, 0])
        torch.testing.assert_close(maps, model(clip)[:, 0])


@pytest.mark.parametrize(("relation", "norm"), RELATIONS.items())
def test_names_and_parameters(relation, norm):
    model = small(relation=relation)
    names = list(before(model))
    assert set(model.state_dict()) - set(names) == {f"first_norm.{held}" for held in HELD}
    assert {f"{norm}.{held}" for held in HELD} < set(names)
    assert [name for name, _ in model.named_parameters() if name.startswith("first_norm")] == []
    for network in (model, copy.deepcopy(model).double()):
        own = network.get_submodule(norm)
        assert network.first_norm.weight is own.weight and network.first_norm.bias is own.bias
        assert network.first_norm.running_var is not own.running_var
    _synchronise(model)
    own = model.get_submodule(norm)
    assert type(model.first_norm) is type(own) is SynchronisedNorm2d
    assert model.first_norm.weight is own.weight


def test_without_a_norm_on_the_first_frame_there_is_none():
    for model in (small(norm_first=False), small(feature_extractor=None)):
        assert model.first_norm is None
        assert [name for name in model.state_dict() if name.startswith("first_norm")] == []


@pytest.mark.parametrize("way", ["load_state_dict", "checkpoint", "load", "load without counters"])
@pytest.mark.parametrize(("relation", "norm"), RELATIONS.items())
@torch.no_grad()
def test_files_from_before_load_with_the_statistics_of_all_frames(relation, norm, way):
    donor = shaken(small(relation=relation))
    old, model = before(donor), small(relation=relation).eval()
    if way == "load_state_dict":
        model.load_state_dict(old)
    elif way == "checkpoint":
        checkpoints.load_state(model, old, "old.pt")
    else:
        if way == "load without counters":
            old = {name: value for name, value in old.items() if not name.endswith("num_batches_tracked")}
        done = models.load(
            model, "", {"state_dict": {f"module.{name}": value for name, value in old.items()}}
        )
        assert str(done).endswith(
            f"tensors into all of the network; first_norm as {norm} (the file has none)"
        )
        assert {name for name in done.loaded if name.startswith("first_norm")} == {
            f"first_norm.{held}" for held in HELD if f"{norm}.{held}" in old
        }
    clip = torch.rand(1, 2, 3, 64, 64)
    assert torch.equal(model(clip), as_it_was(donor)(clip))
    assert torch.equal(model.first_norm.running_mean, donor.get_submodule(norm).running_mean)
    assert not torch.equal(model(clip), donor(clip))  # whose first frame has its own


def test_of_the_first_norm_all_is_there_or_nothing():
    state = shaken(small()).state_dict()
    restored = small()
    restored.load_state_dict(state)
    assert torch.equal(restored.first_norm.running_var, state["first_norm.running_var"])
    assert not torch.equal(restored.first_norm.running_var, restored.relation.norm.running_var)
    del state["first_norm.running_var"]
    with pytest.raises(UserError, match=r"1 missing \(first: first_norm.running_var\)"):
        checkpoints.load_state(small(), state, "damaged.pt")
    with pytest.raises(ValueError, match=r"1 missing \(first_norm.running_var\)"):
        models.load(small(), "", state)


def test_a_weight_of_two_names_is_averaged_once():
    model = small()
    average, start = WeightAverage(model, 0.5), model.relation.norm.weight.detach().clone()
    with torch.no_grad():
        model.relation.norm.weight += 1
        model.first_norm.running_mean += 1
    average.add(model, 1)  # d = 2 / 11
    for norm in (average.model.relation.norm, average.model.first_norm):
        torch.testing.assert_close(norm.weight, start + 9 / 11)
    torch.testing.assert_close(average.model.first_norm.running_mean, torch.full((JOINTS,), 9 / 11))
