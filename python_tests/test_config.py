"""Configurations: what a wrong file or override is told, and that every shipped file is complete."""

from pathlib import Path

import pytest
import yaml

from rpstn_training.config import (
    Config,
    DataConfig,
    TrainConfig,
    differences,
    from_dict,
    load_config,
    to_dict,
    to_yaml,
)
from rpstn_training.errors import UserError

CONFIGS = sorted((Path(__file__).parents[1] / "training" / "configs").glob("*.yaml"))
SMALL = "output: run\ndata: {name: penn_action, root: somewhere}\n"


@pytest.fixture
def written(tmp_path):
    """Write text to exp.yaml and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "exp.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_files_are_complete_and_say_what_to_expect(path):
    text = path.read_text()
    assert to_dict(load_config(path)) == yaml.safe_load(text)
    head = text[: text.index("\noutput:")]
    assert all(line.startswith("#") for line in head.splitlines())
    assert all(word in head for word in ("Command:", f"{path.name}", "Hardware:", "Duration:", "Expected:"))


def test_there_are_shipped_files():
    assert {"penn_action", "sub_jhmdb_r50", "sub_jhmdb_one_clip"} <= {path.stem for path in CONFIGS}


def test_round_trip(written):
    config = load_config(
        written(SMALL + "train: {learning_rate: 1e-4, milestones: []}\nmodel: {options: {a: [1]}}")
    )
    assert config.train.learning_rate == 1e-4  # YAML 1.1 takes 1e-4 for text
    assert from_dict(to_dict(config), "here") == config
    assert from_dict(yaml.safe_load(to_yaml(config)), "here") == config


BAD_FILES = {
    "unknown key": (
        SMALL + "train: {weight_decy: 0}",
        "unknown key train.weight_decy, did you mean weight_decay?",
    ),
    "key of another section": (SMALL + "sigma: 2", "unknown key sigma, did you mean heatmap.sigma?"),
    "nothing near": (SMALL + "loss: {zzz: 2}", "unknown key loss.zzz; known here: kind, visibility"),
    "text for a number": (SMALL + "seed: one", "seed: expected a whole number, got the text 'one'"),
    "truth for a number": (SMALL + "seed: true", "seed: expected a whole number, got true"),
    "fraction for a whole": (
        SMALL + "train: {epochs: 1.5}",
        "train.epochs: expected a whole number, got the number 1.5",
    ),
    "number for text": ("output: 1", "output: expected text, got the whole number 1"),
    "number for truth": (
        SMALL + "loss: {visibility: 1}",
        "loss.visibility: expected true or false, got the whole",
    ),
    "not finite": (
        SMALL + "heatmap: {sigma: .nan}",
        "heatmap.sigma: expected a finite number, got the number nan",
    ),
    "value for a section": (SMALL + "train: 3", "train: expected a section of keys, got the whole number 3"),
    "empty section": (SMALL + "train:", "train: expected a section of keys, got nothing"),
    "too short": (
        SMALL + "augmentation: {scale: [1]}",
        "augmentation.scale: expected a list of 2 numbers, got the list",
    ),
    "other choice": (
        SMALL + "eval: {protocol: all}",
        "eval.protocol: expected one of tiled, streaming, released, got",
    ),
    "null": (SMALL + "train: {epochs: null}", "train.epochs: expected a whole number, got nothing"),
    "wrong or null": (
        SMALL + "train: {max_steps: x}",
        "train.max_steps: expected a whole number or null, got the text",
    ),
    "range": (SMALL + "train: {epochs: 0}", "train.epochs: expected at least 1, got 0"),
    "milestones": (SMALL + "train: {milestones: [3, 2]}", "train.milestones: expected rising epoch numbers"),
    "input": (
        "output: a\ndata: {name: penn_action, root: a, input_size: [0, 96]}",
        "data.input_size: expected a width and a height above 0",
    ),
    "missing": ("output: run\ndata: {name: penn_action}", "missing key data.root"),
    "not keys": ("- a\n- b", "expected keys with values at the top level, got the list"),
    "empty file": ("", "expected keys with values at the top level, got nothing"),
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_gets_one_sentence(written, text, message):
    path = written(text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_syntax_error_names_the_line(written):
    with pytest.raises(UserError, match=r"exp\.yaml, line 4: expected YAML, but"):
        load_config(written("output: run\ndata:\n  name: [1\nroot: a\n"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "exp.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="expected a configuration in YAML, could not read it"):
        load_config(path)


def test_overrides(written):
    config = load_config(
        written(SMALL),
        [
            "train.epochs=3",
            "data.input_size=[64, 96]",
            "model.weights=a=b.pth",
            "train.milestones=[]",
            "seed=5",
        ],
    )
    assert (config.train.epochs, config.data.input_size, config.seed) == (3, (64, 96), 5)
    assert (config.model.weights, config.train.milestones) == ("a=b.pth", ())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "unknown key train.epoch, did you mean epochs?"),
        ("trian.epochs=3", "unknown key trian, did you mean train?"),
        ("train.epochs=x", "train.epochs: expected a whole number, got the text 'x'"),
        ("train.epochs=0", "train.epochs: expected at least 1, got 0"),
        ("train.epochs", "expected KEY=VALUE"),
        ("output.x=1", "output is the text 'run', it has no keys of its own"),
        ("seed=[1", "expected YAML, but"),
    ],
)
def test_bad_override_names_the_override(written, override, message):
    with pytest.raises(UserError) as caught:
        load_config(written(SMALL), [override])
    assert str(caught.value).startswith(f"--set {override}: {message}")


def test_python_code_meets_the_same_ranges():
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        TrainConfig(batch_size=0)


def test_differences_name_keys_and_values():
    data = DataConfig(name="penn_action", root="a")
    old = Config(output="run", data=data)
    new = Config(output="run", data=data, train=TrainConfig(epochs=7, gamma=0.5))
    assert differences(old, new) == ["train.epochs: 100 -> 7", "train.gamma: 0.1 -> 0.5"]
    assert differences(old, old) == []


@pytest.mark.parametrize(("old", "word"), [("true", "jre"), ("false", "none")])
def test_a_relation_of_an_older_file_is_taken_by_its_word_and_said(written, caplog, old, word):
    path = written(SMALL + f"model: {{name: sbl, options: {{relation: {old}}}}}")
    config = load_config(path)
    assert config.model.options == {"relation": word}
    assert f"model.options.relation: {old} is written {word} now" in caplog.text
