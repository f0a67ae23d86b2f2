"""`rpstn figures`: the paper's Fig. 6 to 11, the numbers they show, and what it refuses."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from test_cli import fails
from tiny_clips import SMALL_MODEL, codec_for, tiny_config, write_penn

from rpstn_training import cli
from rpstn_training.building import build_network
from rpstn_training.codec import normalise
from rpstn_training.commands.figures import ALL, DRAWN
from rpstn_training.config import to_yaml
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.figures import paper_occlusion, paper_relation
from rpstn_training.figures.inside import Inside, look_inside
from rpstn_training.figures.panels import FOUND
from rpstn_training.figures.paper_occlusion import (
    MASKS,
    PATCH,
    count_covered,
    cover,
    cover_clip,
    strip,
    window,
)
from rpstn_training.figures.paper_relation import before_after, leaning, likeness, scaled
from rpstn_training.figures.paper_thresholds import read_runs, thresholds
from rpstn_training.figures.pictures import MISS
from rpstn_training.figures.subject import COUNTED, Subject, best_of_each, right, spread, telling, torso_sizes
from rpstn_training.predictions import Prediction
from rpstn_training.scores.pck import GAMMAS, pck


def trained(folder, root, **options):
    """The configuration file and the run folder of a network after one step."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(root, folder / "run", epochs=1, max_steps=1)
    config = replace(
        config, model=replace(config.model, options=SMALL_MODEL | {"relation_start": "random"} | options)
    )
    path = folder / "exp.yaml"
    path.write_text(to_yaml(config))
    assert cli.main(["train", str(path)]) == 0
    return path, folder / "run"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A data set, a run with the relation and what its figures are drawn from."""
    folder = tmp_path_factory.mktemp("paper")
    root = write_penn(folder / "penn", test=3)
    path, run = trained(folder / "jre", root)
    config = tiny_config(root, run)
    tracks = load_tracks(config.data, "test")
    skeleton = load_skeleton(config.data)
    torch.manual_seed(1)
    options = SMALL_MODEL | {"relation_start": "random"}
    model = build_network(replace(config.model, options=options), skeleton).eval()
    subject = Subject(
        model=model,
        config=config,
        skeleton=skeleton,
        codec=codec_for(config),
        tracks=tracks,
        data="drawn here",
        weights="random ones",
    )
    return SimpleNamespace(folder=folder, root=root, path=path, run=run, subject=subject)


def draw(scene, out, *arguments):
    given = ("--weights", scene.run / "best.pt", "--config", scene.path, "--out", out)
    return cli.main(["figures", *map(str, (*arguments, *given))])


def planted(subject, **changes) -> Inside:
    """What is inside in one frame, with other values."""
    return replace(subject.look(0, 0), **changes)


# --- the command


def test_every_figure_is_drawn_once_and_replaced_only_if_asked(scene, tmp_path, capsys):
    out = tmp_path / "out"
    runs = ("--runs", f"first={scene.run}", f"second={scene.run / 'eval.json'}")
    assert draw(scene, out, "--fig", "all", *runs) == 0
    paths = [out / f"fig{number}.png" for number in ALL]
    assert capsys.readouterr().out.split()[-len(paths) :] == [str(path) for path in paths]
    assert sorted(out.iterdir()) == sorted(paths)  # and no temporary file
    for path in paths:
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        assert 900 < width < 2500 and 450 < height < 2500 and image.std() > 10, path
        assert (image[:, [0, 1, -2, -1]] == 255).all(), f"{path} is cut off at its sides"
    before = {path: path.read_bytes() for path in paths}
    given = ("--weights", scene.run / "best.pt", "--config", scene.path, "--out", out)
    assert "expected no file yet" in fails(capsys, "figures", "--fig", "9", *given)
    assert {path: path.read_bytes() for path in paths} == before
    assert draw(scene, out, "--fig", "9", "10", "--overwrite", "--set", "seed=8") == 0
    changed = [path.name for path in paths if path.read_bytes() != before[path]]
    assert "fig9.png" in changed and not set(changed) - {"fig9.png", "fig10.png"}  # the seed draws the masks


def test_all_without_runs_leaves_the_last_one_out_and_says_so(scene, tmp_path, capsys):
    assert draw(scene, tmp_path / "out", "--fig", "all", "--clips", "1") == 0
    assert "Figure 11 left out: it compares the runs that --runs names" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == len(DRAWN)


def test_vector_files_are_the_same_each_time(scene, tmp_path):
    for name in ("a", "b"):
        arguments = ["figures", "--fig", "11", "--runs", str(scene.run), "--out", str(tmp_path / name)]
        assert cli.main([*arguments, "--format", "svg", "pdf"]) == 0
    for suffix, begin in (("svg", b"<?xml"), ("pdf", b"%PDF")):
        first, second = ((tmp_path / name / f"fig11.{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second and first.startswith(begin)


def test_a_network_without_the_relation(scene, tmp_path, capsys):
    path, run = trained(tmp_path, scene.root, relation="none", relation_start="identity")
    given = ("--weights", run / "best.pt", "--config", path, "--out", tmp_path / "out")
    for number in (6, 7, 8):
        sentence = fails(capsys, "figures", "--fig", number, *given)
        assert "expected a network with relation jre, this one has none" in sentence
    assert not (tmp_path / "out").exists()
    assert cli.main(["figures", "--fig", "all", "--clips", "1", *map(str, given)]) == 0
    assert "Figures 6, 7 and 8 left out." in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["fig10.png", "fig9.png"]


def test_bad_input_gets_one_sentence(scene, tmp_path, capsys):
    weights, out = scene.run / "best.pt", ("--out", tmp_path / "out")
    both = ("--weights", weights, "--config", scene.path)
    for word in ("5", "12", "seven"):
        assert f"6 to 11, or all, got {word}" in fails(
            capsys, "figures", "--fig", word, *both, *out, status=2
        )
    assert "--clips: expected at least 1" in fails(
        capsys, "figures", "--fig", 9, "--clips", 0, *both, *out, status=2
    )
    assert "--weights: expected for figures 6 to 10" in fails(capsys, "figures", "--fig", 9, *out, status=2)
    assert "--config: expected" in fails(capsys, "figures", "--fig", 9, "--weights", weights, *out, status=2)
    assert "give --runs RUN" in fails(capsys, "figures", "--fig", 11, *out, status=2)
    absent = fails(capsys, "figures", "--fig", 11, "--runs", tmp_path, *out)
    assert f"{tmp_path / 'eval.json'}: expected the scores that rpstn eval writes, found no file" in absent
    other = ("--set", "data.input_size=[96, 96]")
    assert "expected weights trained with" in fails(capsys, "figures", "--fig", 9, *both, *out, *other)
    twice = ("--runs", scene.run, scene.run / "eval.json")
    assert "got 2 called run; give them as NAME=PATH" in fails(
        capsys, "figures", "--fig", 11, *twice, *out, status=2
    )
    many = ("--runs", *(f"{n}={scene.run}" for n in range(8)))
    assert "expected 7 runs at most" in fails(capsys, "figures", "--fig", 11, *many, *out, status=2)

    content = json.loads((scene.run / "eval.json").read_text())
    file = tmp_path / "other.json"
    for text in ("[1]", json.dumps(content | {"sweep": {"rows": {}, "protocol": []}}), '{"pck": 1}'):
        file.write_text(text)
        assert f"{file}: expected the scores" in fails(capsys, "figures", "--fig", 11, "--runs", file, *out)
    file.write_text(json.dumps(content)[:-50])
    assert f"{file}: expected a whole JSON file" in fails(
        capsys, "figures", "--fig", 11, "--runs", file, *out
    )
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_half_written(scene, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "fig11.png").write_bytes(b"before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rpstn_training.files.os.fsync", full)
    arguments = ("figures", "--fig", 11, "--runs", scene.run, "--out", out, "--overwrite")
    assert "could not be written (No space left on device)" in fails(capsys, *arguments)
    assert [path.name for path in out.iterdir()] == ["fig11.png"]
    assert (out / "fig11.png").read_bytes() == b"before"


# --- which frames


def test_frames_are_chosen_by_group_and_mark():
    marks, groups = [1, 5, 4, 0, 2], ["a", "a", "a", "b", "c"]
    assert best_of_each(marks, groups, 3) == [
        1,
        4,
        2,
    ]  # the best of a and c, the second of a; b has nothing to show
    assert best_of_each(marks, groups, 9) == [1, 4, 2, 0, 3]
    assert telling([0, 3, 4, 5], 13) == [0, 3, 4, 0]


def test_clips_that_are_counted_are_spread(scene):
    assert spread(10, 3) == [1, 5, 8] and spread(3, 9) == [0, 1, 2] and spread(1, 5) == [0]
    subject = scene.subject
    assert subject.some_clips() == [(track, clip) for track in range(3) for clip in range(2)]
    many = replace(subject, tracks=[subject.tracks[0]] * 130)
    assert len(many.some_clips()) == COUNTED and {clip for _, clip in many.some_clips()} == {1}
    assert len({track for track, _ in many.some_clips()}) == COUNTED


def test_two_frames_of_each_action(scene):
    subject = scene.subject
    tracks = [replace(subject.tracks[n % 3], action="ab"[n // 2]) for n in range(4)]
    choose = paper_relation.frames_by_action
    assert choose(replace(subject, tracks=tracks), 4) == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert choose(replace(subject, tracks=tracks[1:]), 3) == [
        (0, 1),
        (0, 0),
        (1, 1),
    ]  # one video of the first
    assert choose(replace(subject, tracks=tracks[:1]), 2) == [(0, 0), (0, 1)]


def test_hidden_joints_come_first(scene):
    """The left wrist is hidden on even frames, and frame 2 ends the first clip; frame 5 ends the second."""
    assert paper_relation.frames_with_hidden(scene.subject, 2) == [(0, 0), (1, 0)]
    frames, hidden = window(scene.subject.tracks[0], 13)
    assert frames.tolist() == [0, 1, 2, 3, 4, 5] and hidden == 3


# --- Fig. 6 to 8


def test_matrices_on_the_figure_are_the_networks(scene):
    subject = scene.subject
    inside = subject.look(0, 1)
    axes = paper_relation.correlations(subject, 1).axes
    shown = [one.images[0].get_array() for one in axes if one.get_title()]
    assert np.array_equal(shown[1], inside.correlation.numpy())
    assert np.allclose(shown[2], scaled(inside.correlation.numpy()))
    hidden = subject.look(0, 0)
    shown = [
        one.images[0].get_array() for one in paper_relation.relations(subject, 1).axes if one.get_title()
    ]
    assert np.array_equal(shown[1], hidden.correlation.numpy()) and np.array_equal(
        shown[2], hidden.weights.numpy()
    )


def test_scaled_is_the_cosine_of_two_maps():
    maps = np.random.default_rng(0).normal(size=(4, 50))
    expected = maps @ maps.T / np.outer(np.linalg.norm(maps, axis=1), np.linalg.norm(maps, axis=1))
    assert np.allclose(scaled(maps @ maps.T), expected)


def test_likeness_of_planted_matrices(scene):
    rng = np.random.default_rng(0)
    first, second = (np.cov(rng.normal(size=(13, 40))) for _ in range(2))
    frames = [
        planted(scene.subject, action=action, name=name, correlation=torch.from_numpy(matrix))
        for action, name, matrix in (("a", "1", first), ("a", "2", 3 * first), ("b", "3", second))
    ]
    above = np.triu_indices(13, 1)
    expected = np.corrcoef(scaled(first)[above], scaled(second)[above])[0, 1]
    numbers = likeness(frames)
    assert numbers.same_action == pytest.approx(1.0) and numbers.other_action == pytest.approx(expected)
    assert np.isnan(likeness(frames[1:]).same_action) and numbers.frames == 3
    twice = likeness(
        [frames[0], replace(frames[2], action="a", name="1")]
    )  # two frames of one video tell nothing
    assert np.isnan(twice.same_action) and "takes two videos" in paper_relation._likeness_in_words(twice)


def test_leaning_of_planted_weights(scene):
    weights = torch.eye(13)
    weights[5] = weights[0]  # the hidden wrist listens to the head alone
    weights[6] = 1 / 13
    numbers = leaning([planted(scene.subject, weights=weights)])
    assert numbers.one_hot == pytest.approx(12 / 13) and numbers.to_another == pytest.approx(1 / 12)
    assert numbers.own_hidden == 0 and numbers.own_visible == pytest.approx((11 + 1 / 13) / 12)


def test_peaks_before_and_after_are_counted_by_hand(scene):
    subject = scene.subject
    inside = subject.look(0, 0)
    truth = torch.from_numpy(inside.truth).float()
    moved = truth.clone()
    moved[:4] += 30  # four visible joints, none of them of the torso's ends
    moved[5] -= 30  # and the hidden one
    one = replace(inside, pseudo=subject.codec.encode(moved), heatmaps=subject.codec.encode(truth))
    lost = replace(one, labelled=np.where(np.arange(13) == 7, False, one.labelled))  # an end of the torso
    shares = before_after([one, lost], subject)
    assert (shares["visible"].before, shares["visible"].after) == (8 / 12, 1.0)
    assert (shares["hidden"].before, shares["hidden"].after) == (0.0, 1.0)
    assert (shares["visible"].joints, shares["hidden"].joints) == (12, 1)
    assert before_after([lost], subject)["visible"].joints == 0


def test_an_image_network_shows_its_relation_too(scene):
    subject = scene.subject
    options = {
        "backbone": "resnet18",
        "width": 8,
        "channels": 16,
        "relation": "jre",
        "relation_start": "random",
    }
    config = replace(subject.config, model=replace(subject.config.model, name="sbl", options=options))
    model = build_network(config.model, subject.skeleton).eval()
    inside = look_inside(model, config, subject.tracks[0], subject.skeleton, subject.codec, 1)
    with torch.inference_mode():
        images = normalise(torch.from_numpy(inside.crop).permute(2, 0, 1))[None]
        assert torch.allclose(model(images)[0], inside.heatmaps, atol=1e-5)
        assert torch.allclose(model.relation(inside.pseudo[None])[0], inside.heatmaps, atol=1e-5)
        assert torch.allclose(model.relation.relation(inside.pseudo[None])[1][0], inside.weights, atol=1e-5)
    assert not torch.allclose(inside.pseudo, inside.heatmaps) and not model.relation._forward_hooks


# --- Fig. 9 and 10


def test_patches_lie_over_the_joints_that_are_called_covered():
    rng = np.random.default_rng(0)
    frames = np.zeros((4, 3, 96, 80), np.uint8)
    joints = rng.uniform([10, 10], [70, 86], (4, 13, 2))
    visible = rng.random((4, 13)) < 0.7
    masked, covered = cover(frames, joints, visible, np.random.default_rng(5))
    again, _ = cover(frames, joints, visible, np.random.default_rng(5))
    assert not frames.any() and np.array_equal(masked, again)
    assert (covered.sum(axis=1) >= MASKS).all() and not covered[~visible].any()
    side = PATCH * 80
    for t in range(4):
        places = np.rint(joints[t]).astype(int)
        under = masked[t].max(axis=0)[places[:, 1], places[:, 0]] > 0
        assert under[covered[t]].all()
        rim = np.array([cv2.pointPolygonTest(_outline(masked[t]), tuple(p), True) for p in joints[t]])
        assert not (visible[t] & ~covered[t] & (rim > 1.5)).any()  # well under a patch, and not called so
        assert MASKS * (side - 1) ** 2 * 0.4 < (masked[t].max(axis=0) > 0).sum() <= MASKS * (side + 1) ** 2
    none, nothing = cover(frames, joints, np.zeros_like(visible), rng)
    assert not none.any() and not nothing.any()


def _outline(frame):
    """The largest contour of what is not black."""
    contours, _ = cv2.findContours(
        (frame.max(axis=0) > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return max(contours, key=cv2.contourArea)


def test_poses_under_masks_are_the_networks_and_counted_by_hand(scene):
    subject = scene.subject
    clip = cover_clip(subject, 1, 1)
    assert np.array_equal(clip.masked, cover_clip(subject, 1, 1).masked)
    other = cover_clip(subject, 0, 1)
    assert not set(_patch_colours(clip)) & set(_patch_colours(other))  # every clip has a draw of its own
    assert clip.frame_ids.tolist() == [3, 4, 5] and clip.judged.all()
    for frames, found in ((clip.plain, clip.found_plain), (clip.masked, clip.found_masked)):
        with torch.inference_mode():
            maps = subject.model(normalise(torch.from_numpy(frames).permute(0, 3, 1, 2))[None])
        assert np.allclose(found, subject.codec.decode(maps[0])[0].numpy(), atol=1e-4)
    sizes = np.linalg.norm(clip.truth[:, 2] - clip.truth[:, 7], axis=-1)
    hits = np.linalg.norm(clip.found_masked - clip.truth, axis=-1) <= 0.2 * sizes[:, None]
    counts = count_covered([clip, replace(clip, judged=np.zeros(3, dtype=bool))])
    assert counts["covered"].joints == clip.covered.sum()
    assert counts["covered"].masked == hits[clip.covered].sum()
    assert counts["uncovered"].joints == (clip.visible & ~clip.covered).sum()
    truth = replace(clip, right_plain=np.ones_like(hits))
    covered = count_covered([truth])["covered"]
    assert covered.plain == covered.joints and str(covered).startswith("100.0 % without patches")
    assert str(count_covered([])["covered"]) == "none"


def _patch_colours(clip):
    changed = clip.masked[(clip.masked != clip.plain).any(axis=-1)]
    colours, pixels = np.unique(changed, axis=0, return_counts=True)
    return map(tuple, colours[pixels > 20].tolist())


def exact(track):
    frames = len(track)
    return Prediction(
        name=track.name,
        joints=track.joints.copy(),
        scores=np.ones(track.joints.shape[:2]),
        predicted=np.ones(frames, dtype=bool),
    )


def test_right_is_what_pck_counts(scene):
    track, skeleton = scene.subject.tracks[0], scene.subject.skeleton
    moved = track.joints + np.random.default_rng(0).normal(0, 4, track.joints.shape)
    hits = right(moved, track.joints, torso_sizes(track.joints, track.labelled, skeleton))
    result = pck([moved], [track], skeleton, gamma=0.2, normaliser="torso", joints="labelled")
    assert hits.sum(axis=0).tolist() == result.hits.tolist() and 0 < hits.mean() < 1
    unknown = np.where(np.arange(13) == 2, False, track.labelled)
    assert np.isnan(torso_sizes(track.joints, unknown, skeleton)).all()
    assert not right(track.joints, track.joints, np.full(6, np.nan)).any()


def test_circles_of_hidden_joints_and_of_wrong_ones(scene):
    """The left wrist is hidden on frames 0, 2 and 4; it is found but on frame 2. The head is wrong on frame 1."""
    subject = scene.subject
    track = subject.tracks[0]
    found = exact(track)
    found.joints[2, 5] += 25
    found.joints[1, 0] += 25
    one = strip(subject, track, found, only_hidden=True)
    assert np.argwhere(one.marked).tolist() == [[0, 5], [2, 5], [4, 5]]
    assert one.right[one.marked].tolist() == [True, False, True] and (one.hidden_found, one.hidden) == (2, 3)
    wrong = strip(subject, track, found, only_hidden=False)
    assert np.argwhere(wrong.marked).tolist() == [[1, 0], [2, 5]] and not wrong.right[wrong.marked].any()
    cells = paper_occlusion._strip_frames(track, one, subject)
    green, red = ([int((cell == color).all(axis=-1).sum()) for cell in cells] for color in (FOUND, MISS))
    assert [n > 20 for n in green] == [True, False, False, False, True, False]
    assert [n > 20 for n in red] == [False, False, True, False, False, False]


def test_pictures_of_one_frame_stay_small(scene):
    """As COCO's are, of which some have no label."""
    parts = ("frames", "image_ids", "joints", "visible", "labelled", "boxes", "score_boxes")
    first, *others = (
        replace(track, **{part: getattr(track, part)[:1] for part in parts}) for track in scene.subject.tracks
    )
    nothing = np.zeros_like(first.visible)
    first = replace(first, visible=nothing, labelled=nothing)
    config = replace(scene.subject.config, data=replace(scene.subject.config.data, clip_length=1))
    subject = replace(scene.subject, tracks=[first, *others], config=config)
    for figure in (paper_occlusion.masked_poses(subject, 2), paper_occlusion.strips(subject, 2)):
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert len(titles) == 2 and not any(first.name in title for title in titles)
        assert figure.get_figheight() < 10


def test_without_hidden_labels_only_wrong_joints_get_circles(scene):
    tracks = [replace(track, visible=track.labelled.copy()) for track in scene.subject.tracks]
    figure = paper_occlusion.strips(replace(scene.subject, tracks=tracks), 1)
    assert "No label here calls a joint hidden" in figure._supxlabel.get_text()
    assert " of 78 joints wrong here" in figure.axes[0].get_title(loc="left")


# --- Fig. 11


def test_curves_are_the_numbers_of_the_files(scene):
    content = json.loads((scene.run / "eval.json").read_text())
    for normaliser in ("torso", "person"):
        runs = read_runs([str(scene.run), f"a b={scene.run / 'eval.json'}"], normaliser)
        assert [run.name for run in runs] == ["run", "a b"]
        panels = thresholds(runs, normaliser).axes
        rows = content["sweep"]["rows"]
        for axes, columns in zip(panels, (("Elb", "Wri"), ("Knee", "Ank"), ("Mean",)), strict=True):
            assert len(axes.lines) == 2 * len(columns)
            for line, column in zip(axes.lines, columns):
                assert list(line.get_xdata()) == list(GAMMAS)
                expected = [rows[f"{normaliser}, {gamma:g}"][column] for gamma in GAMMAS]
                assert line.get_ydata() == pytest.approx(expected)
        text = panels[0].figure._supxlabel.get_text()
        assert f"{normaliser} size" in panels[0].get_xlabel() and "cannot be compared" not in text
        assert (
            panels[2].get_legend_handles_labels()[1][1]
            == f"a b ({rows[f'{normaliser}, 0.2']['Mean']:.1f} at 0.2)"
        )


def test_runs_scored_in_another_way_say_so(scene, tmp_path):
    content = json.loads((scene.run / "eval.json").read_text())
    content["protocol"][0] = "Data: others"
    content["sweep"]["rows"]["torso, 0.1"]["Elb"] = None
    (tmp_path / "b.json").write_text(json.dumps(content))
    runs = read_runs([str(scene.run), str(tmp_path / "b.json")], "torso")
    assert np.isnan(runs[1].curves["Elb"][0]) and np.isfinite(runs[1].curves["Elb"][1:]).all()
    assert "cannot be compared" in thresholds(runs, "torso")._supxlabel.get_text()
