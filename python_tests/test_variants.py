"""The rows of the paper's Tables I to IV as options of RPSTN, and DKD: sizes, equations, streams, gradients, files."""

from dataclasses import replace

import pytest
import torch
from small_models import SIZE, check_streaming, image_network, shaken, small
from tiny_clips import SMALL_MODEL, tiny_config, write_penn
from torch import nn

from rpstn_ext import models
from rpstn_ext.models import backbones, relations
from rpstn_training.building import build_network, network_options
from rpstn_training.codec import Codec
from rpstn_training.config import ModelConfig, load_config, to_dict, to_yaml
from rpstn_training.data.sets import penn_action
from rpstn_training.errors import UserError
from rpstn_training.train import checkpoint as checkpoints
from rpstn_training.train.engine import train

LIMBS = ((0, 1), (1, 2), (1, 3), (3, 4))
DKD = {"pose_initializer": "resnet18", "feature_extractor": "resnet18", **SIZE}


def with_limbs(word: str) -> dict:
    return {"relation": word, **({"limbs": LIMBS} if word == "repose" else {})}


VARIANTS = {
    **{word: with_limbs(word) for word in relations.RELATIONS},
    "3 convolutions": {"num_convs": 3},
    "Cat": {"relation_input": "cat"},
    "Cat w/o JRE": {"relation_input": "cat", "relation": "none"},
    "w/o P": {"relation_input": "cat", "pose_initializer": None},
    "w/o P w/o norm": {"relation_input": "cat", "pose_initializer": None, "norm_first": False},
    "every": {"initialize": "every"},
    "every Cat": {"initialize": "every", "relation_input": "cat"},
    "shared": {"feature_extractor": "initializer"},
    "shared every": {"feature_extractor": "initializer", "initialize": "every"},
    "w/o JRPSP": {"feature_extractor": None},
    "w/o JRE JRPSP": {"feature_extractor": None, "relation": "none"},
}


def count(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(name, num_joints=13, **options).parameters())


@pytest.mark.parametrize(
    ("initializer", "extractor", "expected"),
    [(18, 18, 32_592_308), (50, 50, 69_838_260), (101, 18, 70_207_412), (101, 50, 88_830_388)],
)
def test_size_of_dkd(initializer, extractor, expected):
    parts = {"pose_initializer": f"resnet{initializer}", "feature_extractor": f"resnet{extractor}"}
    assert count("dkd", **parts) == expected


R50, F50, CONV_A, CONV_D, JRE, NORM = 33_998_669, 33_995_328, 69_120, 3_341, 364, 26
TOWER = 4 * (590_080 + 512)
CAT = (269 * 256 + 256) + (256 * 13 + 13)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, R50 + F50 + CONV_A + TOWER + CONV_D + JRE + NORM),
        ({"feature_extractor": None}, R50 + JRE + NORM),
        ({"feature_extractor": None, "relation": "none"}, R50 + NORM),
        ({"relation_input": "cat"}, R50 + F50 + CONV_A + TOWER + CONV_D + JRE + NORM + CAT),
        (
            {"relation_input": "cat", "pose_initializer": None},
            F50 + CONV_A + TOWER + CONV_D + JRE + NORM + CAT,
        ),
        ({"num_convs": 5}, 71_019_808),
        ({"feature_extractor": "initializer"}, R50 + CONV_A + TOWER + CONV_D + JRE + NORM),
        ({"num_convs": 3}, 70_429_216 - 590_592),
        ({"relation": "none"}, 70_428_852),
    ],
)
def test_sizes_of_ablations(options, expected):
    assert count("rpstn", **options) == expected


@pytest.mark.parametrize("joints", [13, 17])
@pytest.mark.parametrize(
    ("model", "backbone"), [*(("sbl", name) for name in backbones.BACKBONES), ("posefix", "resnet50")]
)
def test_jre_adds_two_convolutions_to_a_network_for_images(model, backbone, joints):
    with torch.device("meta"):
        bare, related = (
            models.build(model, num_joints=joints, backbone=backbone, **options)
            for options in ({}, {"relation": "jre"})
        )
    shapes = [list(value.shape) for name, value in related.named_parameters() if "relation" in name]
    assert sorted(shapes) == [[joints], [joints], [joints, joints, 1, 1], [joints, joints, 1, 1]]
    added = sum(p.numel() for p in related.parameters()) - sum(p.numel() for p in bare.parameters())
    assert added == 2 * joints**2 + 2 * joints
    assert len(list(related.buffers())) == len(list(bare.buffers()))


def test_jre_on_a_network_for_images_begins_as_nothing():
    related, bare = image_network(relation="jre").eval(), image_network().eval()
    bare.load_state_dict(related.state_dict(), strict=False)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(related(images), bare(images))


@pytest.mark.parametrize("name", VARIANTS)
def test_streaming_gives_the_maps_of_the_clip(name):
    model = shaken(small(**VARIANTS[name]))
    check_streaming(model)
    without = name in ("w/o JRPSP", "w/o JRE JRPSP")
    parts = {
        option
        for option in ("pose_initializer", "feature_extractor")
        if VARIANTS[name].get(option, option) not in (None, models.INITIALIZER)
    }
    assert set(model.parts) == set(models.parts(model)) - {""} == parts
    assert model.temporal is not without
    assert (model.num_joints, model.stride, model.multiple) == (5, 4, 32)
    frame = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    assert (model.start(frame)[1].shape == (2, 0)) is without


@pytest.mark.parametrize("word", relations.RELATIONS)
@pytest.mark.parametrize("norm", [True, False])
def test_streaming_a_network_for_images_gives_the_maps_of_the_clip(word, norm):
    check_streaming(shaken(image_network(relation_norm=norm, **with_limbs(word))))


def test_streaming_dkd_gives_the_maps_of_the_clip():
    model = shaken(models.build("dkd", num_joints=5, **DKD))
    check_streaming(model)
    same = small(num_convs=3, relation="none")
    same.load_state_dict(model.state_dict())
    clip = torch.rand(1, 3, 3, 64, 64, dtype=torch.float64)
    assert torch.equal(same.double().eval()(clip), model(clip))


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_reach_every_parameter(name):
    options = dict(VARIANTS[name])
    if options.get("relation", "jre") != "none":
        options["relation_start"] = "random"  # zeros keep gradients from what stands before them
    model = small(**options)
    if options.get("initialize") == "every":  # and so do those of the matcher
        nn.init.normal_(model.matcher.conv_d.weight, std=0.1)
    model(torch.randn(2, 3, 3, 64, 64)).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] in (
        [],
        ["relation.phi.bias"],  # adds the same to all that a row of the softmax sees
    )


@pytest.mark.parametrize("extractor", ["resnet18", "initializer"])
def test_initialised_on_every_frame_it_begins_as_its_image_network(extractor):
    model = small(feature_extractor=extractor, initialize="every")
    without = small(feature_extractor=None)
    without.load_state_dict(model.state_dict(), strict=False)
    clip = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.eval()(clip), without.eval()(clip))
        shaken(model)
        guesses = model.pose_initializer(clip)
        extract = model.pose_initializer.backbone if model.shared else model.feature_extractor
        features = extract(clip.flatten(0, 1)).unflatten(0, (2, 3))
        first = model.relation(guesses[:, 0], norm=model.first_norm)
        kernels = model.propagator(model.conv_a(torch.cat([features[:, 0], first], dim=1)))
        second = model.relation(guesses[:, 1] + model.matcher(features[:, 1], kernels))
        torch.testing.assert_close(model(clip)[:, :2], torch.stack([first, second], dim=1))


@pytest.mark.parametrize("options", [{}, {"initialize": "every"}, {"feature_extractor": "initializer"}])
def test_a_supervised_initializer_shows_its_maps_of_every_frame_in_training(options):
    torch.manual_seed(0)
    model = small(supervise_initializer=True, **options)
    plain = small(**options)
    plain.load_state_dict(model.state_dict())
    clip = torch.randn(2, 3, 3, 64, 64)
    guesses, result = model.train()(clip)
    # Batch statistics are those of the frames that P sees: of every frame of the clip.
    expected = plain.train().pose_initializer(clip)
    torch.testing.assert_close(guesses, expected)
    assert guesses.shape == result.shape and not torch.equal(guesses, result)
    guesses[:, 2].square().sum().backward()
    assert all(p.grad.any() for p in model.pose_initializer.parameters())  # the last frame trains it
    model.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(clip), plain.eval()(clip))


def test_a_shared_backbone_sees_each_frame_once():
    model = small(feature_extractor="initializer", initialize="every", supervise_initializer=True)
    seen = []
    model.pose_initializer.backbone.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    model(torch.randn(2, 3, 3, 64, 64))
    assert seen == [6]
    model.step(torch.randn(2, 3, 64, 64), model.start(torch.randn(2, 3, 64, 64))[1])
    assert seen == [6, 2, 2]


def test_cat_is_two_convolutions_of_maps_and_features():
    model = shaken(small(relation_input="cat")).double()
    clip = torch.randn(2, 3, 3, 64, 96, dtype=torch.float64)
    first, last = model.connection[0], model.connection[2]
    with torch.no_grad():
        semantics, expected = None, []
        for t in range(3):
            features = model.feature_extractor(clip[:, t])
            if t == 0:
                maps = model.pose_initializer(clip[:, 0])
            else:
                maps = model.matcher(features, model.propagator(model.conv_a(semantics)))
            both = torch.cat([maps, features], 1)
            hidden = torch.einsum("oc,nchw->nohw", first.weight[:, :, 0, 0], both)
            hidden = (hidden + first.bias[:, None, None]).clamp(min=0)
            pseudo = torch.einsum("oc,nchw->nohw", last.weight[:, :, 0, 0], hidden)
            norm = model.first_norm if t == 0 else None
            heatmaps = model.relation(pseudo + last.bias[:, None, None], norm=norm)
            semantics = torch.cat([features, heatmaps], 1)
            expected.append(heatmaps)
        torch.testing.assert_close(model(clip), torch.stack(expected, 1))


def test_without_an_initializer_the_first_maps_are_those_of_an_initializer_that_sees_nothing():
    model = shaken(small(relation_input="cat", pose_initializer=None))
    blind = small(relation_input="cat")
    left = blind.load_state_dict(model.state_dict(), strict=False)
    assert left.unexpected_keys == [] and all("pose_init" in name for name in left.missing_keys)
    for value in blind.pose_initializer.final_layer.parameters():
        nn.init.zeros_(value)
    clip = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), blind.eval()(clip))


@pytest.mark.parametrize("relation", ["jre", "none"])
def test_without_propagation_every_frame_is_by_itself(relation):
    model = shaken(small(feature_extractor=None, relation=relation))
    image = image_network(relation=relation, relation_norm=True).eval()
    image.load_state_dict(
        {name.removeprefix("pose_initializer."): value for name, value in model.state_dict().items()}
    )
    clip = torch.randn(2, 3, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), image(clip))


def test_without_propagation_a_trace_shows_every_frame():
    model = shaken(small(feature_extractor=None)).double()
    clip = torch.randn(2, 3, 3, 64, 64, dtype=torch.float64)
    trace = model.trace(clip)
    torch.testing.assert_close(trace.heatmaps, model(clip))
    torch.testing.assert_close(trace.pseudo[1, 2], model.pose_initializer(clip[1, 2:])[0])
    assert trace.weights.shape == (2, 3, 5, 5)


@pytest.mark.parametrize("word", ["jre_2convs", "displacement_gated"])
def test_a_trace_needs_a_relation_with_matrices(word):
    model, clip = shaken(small(relation=word)), torch.randn(1, 2, 3, 64, 64)
    trace = model.trace(clip)
    torch.testing.assert_close(trace.weights[0], model.relation.relation(trace.pseudo[0])[1])
    for other in ("static", "non_local", "displacement"):
        with pytest.raises(ValueError, match=r"relation that has matrices of joints, .* built without"):
            small(relation=other).eval().trace(clip)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pose_initializer": None}, "expected relation_input cat without a pose initialiser, .* got maps"),
        ({"pose_initializer": None, "feature_extractor": None}, "got neither; name one"),
        ({"feature_extractor": None, "num_convs": 5}, "expected num_convs 4 without a feature .* got 5"),
        (
            {"feature_extractor": None, "norm_first": False},
            "expected norm_first True without a f.* got False",
        ),
        ({"feature_extractor": None, "relation_input": "cat"}, "expected relation_input maps without .* cat"),
        ({"feature_extractor": None, "initialize": "every"}, "expected initialize first without .* every"),
        (
            {"feature_extractor": None, "supervise_initializer": True},
            "expected supervise_initializer False without .* got True",
        ),
        ({"relation_input": "features"}, "relation_input: expected one of maps, cat, got 'features'"),
        ({"initialize": "all"}, "initialize: expected one of first, every, got 'all'"),
        (
            {"pose_initializer": None, "relation_input": "cat", "initialize": "every"},
            "a pose initialiser with initialize every or supervise_initializer, got none",
        ),
        (
            {"pose_initializer": None, "relation_input": "cat", "feature_extractor": "initializer"},
            "beside one and without weights, got it without a pose initialiser",
        ),
        (
            {"feature_extractor": {"backbone": "initializer", "weights": "a.pth"}},
            "beside one and without weights, got it with weights a.pth",
        ),
        ({"relation": "repose"}, "expected its limbs as pairs of joints, got none"),
        ({"relation": "repose", "limbs": ((0, 5),)}, r"two joints of 0..4, got \(0, 5\)"),
        ({"relation": "none", "scale": 2.0}, "scale: the relation none has none"),
    ],
)
def test_options_without_a_meaning_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        small(**options)


def test_an_initializer_and_the_joints_must_agree():
    with pytest.raises(ValueError, match="expected num_joints 5 as the pose initialiser has, or none, got 6"):
        models.RPSTN(image_network(), image_network().backbone, num_joints=6, channels=16)
    with pytest.raises(ValueError, match="expected num_joints of at least 1, got None"):
        models.RPSTN(None, image_network().backbone, channels=16, relation_input="cat")
    for option in ("pose_initializer", "feature_extractor"):
        with pytest.raises(ValueError, match=f"{option}: expected a backbone's name or .*got None"):
            models.build("dkd", num_joints=5, **{**DKD, option: None})


@pytest.mark.parametrize("name", ["w/o P", "w/o JRPSP", "jre"])
def test_a_clip_of_no_frames_is_refused(name):
    with pytest.raises(ValueError, match=r"T >= 1, got \[1, 0, 3, 64, 64\]"):
        small(**VARIANTS[name])(torch.rand(1, 0, 3, 64, 64))


# In training.


def test_a_configuration_leaves_parts_out(tmp_path):
    options = {"pose_initializer": None, "relation_input": "cat", "relation": "repose", "limbs": [[0, 1]]}
    config = replace(
        tiny_config(tmp_path, tmp_path / "run"), model=ModelConfig(options={**SMALL_MODEL, **options})
    )
    (tmp_path / "a.yaml").write_text(to_yaml(config))
    read = network_options(load_config(tmp_path / "a.yaml", []).model)
    assert (read["pose_initializer"], read["limbs"]) == (None, ((0, 1),))
    assert build_network(config.model, penn_action.SKELETON).pose_initializer is None
    assert list(build_network(config.model, penn_action.SKELETON).relation.updates) == ["0", "1"]
    with pytest.raises(UserError, match=r"model\.options\.limbs: expected a list of"):
        network_options(ModelConfig(options={"limbs": [[0, 1, 2]]}))
    with pytest.raises(UserError, match=r"model\.options\.pose_initializer: expected .* or null"):
        network_options(ModelConfig(options={"pose_initializer": 3}))


def test_a_relation_along_limbs_takes_those_of_the_skeleton_and_keeps_them(tmp_path):
    root = write_penn(tmp_path / "penn")
    config = replace(
        tiny_config(root, tmp_path / "run", epochs=1, max_steps=1),
        model=ModelConfig(options={**SMALL_MODEL, "relation": "repose"}),
    )
    found = checkpoints.load(train(config))
    model = found.build_model()
    tree = relations.kinematic_tree(13, penn_action.SKELETON.limbs)
    assert model.relation.tree == tree
    other = replace(found, skeleton=replace(found.skeleton, limbs=((0, 1),)))
    with pytest.raises(UserError, match="expected the weights of this RPSTN"):
        other.build_model()


def test_checkpoints_of_image_networks_whose_relation_had_a_norm_load(tmp_path):
    """Files of before `relation_norm`; and options that stood idly beside relation none."""
    skeleton = penn_action.SKELETON
    before = shaken(
        models.build("sbl", num_joints=13, backbone="resnet18", **SIZE, relation="jre", relation_norm=True)
    )
    options = {"backbone": "resnet18", **SIZE, "relation": "jre"}
    written = checkpoint(tmp_path, options, before.state_dict())
    found = checkpoints.load(written)
    assert found.model_options == {**options, "relation_norm": True} == found.config["model"]["options"]
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(found.build_model()(images), before(images))

    now = models.build("sbl", num_joints=len(skeleton.joints), **options)
    assert checkpoints.load(checkpoint(tmp_path, options, now.state_dict())).model_options == options

    bare = models.build("sbl", num_joints=13, backbone="resnet18", **SIZE)
    idle = {"backbone": "resnet18", **SIZE, "relation": "none", "scale": "learnable"}
    found = checkpoints.load(checkpoint(tmp_path, idle, bare.state_dict()))
    assert found.model_options == {"backbone": "resnet18", **SIZE, "relation": "none"}
    found.build_model()
    said = {"backbone": "resnet18", **SIZE, "relation": "none", "scale": 1.0}
    assert checkpoints.load(checkpoint(tmp_path, said, bare.state_dict())).model_options == said


def checkpoint(folder, options, state):
    config = tiny_config(folder, folder / "run")
    skeleton = penn_action.SKELETON
    model = ModelConfig(name="sbl", options=options)
    path = folder / "old.pt"
    checkpoints.save(
        path,
        checkpoints.Checkpoint(
            model_name="sbl",
            model_options=options,
            model_state=state,
            skeleton=skeleton,
            codec=Codec.of(config, build_network(config.model, skeleton)),
            config=to_dict(replace(config, model=model)),
            selected_on=None,
            epoch=1,
            step=1,
            best_score=None,
            metrics=[],
        ),
    )
    return path
