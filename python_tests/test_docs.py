"""The pages: every block of docs/ runs, every command of the README and of the configurations' headers is one that
there is, every path and name they point to exists.
"""

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from small_videos import drawn_people_or_random, picture, write_picture, write_video, write_weights
from tiny_clips import SMALL_MODEL

from rpstn_ext import models
from rpstn_training import packaged
from rpstn_training.cli import COMMANDS, main
from rpstn_training.commands import synth
from rpstn_training.config import differences, load_as, load_config
from rpstn_training.data.sets import DATASETS
from rpstn_training.detection.finetune import DetectorConfig
from rpstn_training.errors import UserError
from rpstn_training.options import convert_options, options_of, parse_options
from rpstn_training.scores.sets import SCORERS
from rpstn_training.study.plan import load_study

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
CONFIGS = sorted((ROOT / "training" / "configs").glob("*.yaml"))
TABLES = sorted((ROOT / "training" / "configs" / "tables").glob("*.yaml"))
# Pages that go on where another ends are read after it.
WAYS = [
    ["add_a_model.md"],
    ["add_a_data_set.md", "add_a_score.md"],
    ["figures.md"],
    ["export.md"],
    ["your_video.md"],
    ["your_data.md"],
    ["scores.md"],
    ["troubleshooting.md"],
    ["python.md"],
]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who does what a page says, in the working directory.

    A Python block that begins with a path in this repository is a file. It is not written there: it becomes the module
    of that name. One that begins with "in DICT of FILE" is lines of a literal dict; they are entered in that dict.
    Other Python blocks are run; YAML is written to the file it names; shell lines are commands of `rpstn`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._names: dict[str, object] = {}  # of the file last made, and the file itself

    def follow(self, page: Path) -> None:
        for language, text in blocks(page):
            first = text.partition("\n")[0]
            if language == "sh":
                self._command_lines(text)
            elif language == "yaml":
                Path(re.fullmatch(r"# (\S+\.yaml)", first)[1]).write_text(text, encoding="utf-8")
            elif (line := re.fullmatch(r"# in (\w+) of (\S+\.py)", first)) is not None:
                self._lines_of_a_dict(line[1], line[2], text)
            elif (file := re.fullmatch(r"# (\S+/\S+\.py)", first)) is not None:
                self._file(file[1], text)
            else:
                assert language == "python", f"{page.name}: a block of {language}"
                exec(compile(text, str(page), "exec"), {"__name__": "__main__"})

    def _file(self, path: str, text: str) -> None:
        assert not (ROOT / path).exists(), f"{path} is there already"
        assert (ROOT / path).parent.is_dir()
        name = module_name(path)
        package, _, leaf = name.rpartition(".")
        copy = Path(f"{leaf}.{package}.py")
        copy.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, copy)
        module = importlib.util.module_from_spec(spec)
        self._monkeypatch.setitem(sys.modules, name, module)
        self._monkeypatch.setattr(importlib.import_module(package), leaf, module, raising=False)
        spec.loader.exec_module(module)
        self._names = {leaf: module, **vars(module)}

    def _lines_of_a_dict(self, variable: str, path: str, text: str) -> None:
        known = getattr(importlib.import_module(module_name(path)), variable)
        for key, value in eval("{" + text.partition("\n")[2] + "}", dict(self._names)).items():
            assert key not in known
            self._monkeypatch.setitem(known, key, value)

    def _command_lines(self, text: str) -> None:
        for line in text.replace("\\\n", "").splitlines():
            program, *arguments = shlex.split(line)
            assert program == "rpstn"
            assert main(arguments) == 0, line


def module_name(path: str) -> str:
    return path.removeprefix("training/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("pages", WAYS, ids=lambda pages: pages[-1])
def test_pages_can_be_followed(
    pages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if "python.md" in pages:
        drawn_people_or_random(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    if "your_video.md" in pages:
        a_reader_with_a_video(monkeypatch)
    reader = Reader(monkeypatch)
    for page in pages:
        reader.follow(ROOT / "docs" / page)
    printed = capfd.readouterr().out
    if "add_a_score.md" in pages:
        assert "dots's own validation part" in printed
        assert "Nothing found that would stop a training." in printed
        assert printed.count("Dots, found within 3 pixels") == 1
        assert "Dots, found within 5 pixels" in printed
    elif "figures.md" in pages:
        assert {path.name for path in Path("figures").iterdir()} == {f"fig{n}.png" for n in (6, 7, 8, 9, 11)}
        assert {path.name for path in Path("runs/small").glob("fig*")} == {"fig10.pdf", "fig10.png"}
    elif "export.md" in pages:
        assert {path.name for path in Path().glob("*.[op]*")} == {"start.onnx", "step.onnx", "clip.pt2"}
        assert printed.count("of the largest value from the network") == 3
        assert re.search(r"^000004.jpg \{'head': \(\d+, \d+\), ", printed, re.MULTILINE)
    elif "your_video.md" in pages:
        for out in ("joints", "by_best", "two", "whole", "boxed", "more", "of_frames", "of_pictures"):
            assert Path(out, "predictions.json").is_file(), out
        assert {path.name for path in Path("many").iterdir() if path.is_dir()} == {"a", "b"}
        assert Path("joints/overlay.mp4").is_file() and Path("more/openpose").is_dir()
    elif "your_data.md" in pages:
        assert Path("runs/mine-check/train.png").is_file() and Path("found/overlay.png").is_file()
        assert "Flip pairs: left_" in printed
    elif "scores.md" in pages:
        assert "person, 0.1" in printed and "torso, 1" in printed
    elif "troubleshooting.md" in pages:
        assert "dynamic_conv2d" in printed
    elif "python.md" in pages:
        assert Path("joints/trc_filtered/person0.trc").is_file()
        assert printed.count("(13, 2) (13,)") == 24
    else:
        assert "into all of pose_initializer" in printed
        assert Path("joints/predictions.csv").is_file()


def a_reader_with_a_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that your_video.md takes for granted, and weights that are quick in place of those of the package."""
    for path in ("my_video.mp4", "videos/a.mp4", "videos/b.mp4"):
        write_video(Path(path), frames=4)
    Path("frames").mkdir()
    for number in range(3):
        write_picture(Path("frames", f"{number}.png"), picture(number))
    Path("boxes.csv").write_text("frame,person,x1,y1,x2,y2\n0,0,8,4,60,58\n")
    weights = write_weights(Path("best.pt"), **SMALL_MODEL)
    monkeypatch.setattr(packaged, "_DRAWN_PEOPLE", weights.absolute())


def test_all_pages_with_something_to_run_are_followed() -> None:
    assert sorted(page for way in WAYS for page in way) == [page.name for page in PAGES if blocks(page)]


def test_the_readme_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a folder that has the checkout's training/, with few and small clips."""
    (tmp_path / "training").symlink_to(ROOT / "training")
    monkeypatch.chdir(tmp_path)
    few = {"clips": 4, "frames": 3, "size": (96, 72), "workers": 1}
    whole = synth.synthesise
    monkeypatch.setattr(synth, "synthesise", lambda out, **options: whole(out, **options | few))
    Reader(monkeypatch).follow(README)
    assert "Nothing found that would stop a training." in capfd.readouterr().out


def test_make_knows_what_the_readme_makes() -> None:
    targets = re.findall(r"^    make (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    rules = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets and set(targets) <= set(rules[1].split())


def commands_of(page: Path) -> list[str]:
    """`rpstn ...`, in indented lines without what is said about them, and in running text."""
    text = page.read_text(encoding="utf-8").replace("\\\n", "")
    lines = re.findall(r"^    (?:\.venv/bin/)?(rpstn .*?)(?:\s{2,}#.*)?$", text, re.MULTILINE)
    return lines + [span for span in re.findall(r"`([^`]+)`", text) if span.startswith("rpstn ")]


def header(path: Path) -> str:
    """The comment at the head of a configuration, without its signs."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("#").strip() for line in lines[:end])


def commands_of_header(path: Path) -> list[str]:
    """From `rpstn` to the end of the line, which a backslash joins to the next."""
    text = header(path).replace("\\\n", "")
    return re.findall(rf"rpstn (?:{'|'.join(COMMANDS)}) .*$", text, re.MULTILINE)


def check(command: str) -> argparse.Namespace:
    """Raises what the command would raise for a wrong option, key or value, before it reads any data."""
    _, name, *arguments = shlex.split(command)
    module = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(prog=f"rpstn {name}", exit_on_error=False)
    module.add_arguments(parser)
    # A word in capitals stands for what the user fills in.
    args = parser.parse_args(["penn_action" if word == "NAME" else word for word in arguments])
    given = getattr(args, "overrides", [])
    if name == "score":
        known = options_of(SCORERS[args.dataset].score)
        convert_options(parse_options(given), known, prefix="--set ", owner=args.dataset)
    elif name == "train-detector":
        load_as(DetectorConfig, ROOT / args.config, given)
    elif name == "study":
        load_study(ROOT / args.config, given)
    elif getattr(args, "config", None) is not None and args.config.parts[0] == "training":
        config = load_config(ROOT / args.config, given)
        for prefix, known in {
            "model.options.": options_of(models.BUILDERS[config.model.name], without=("num_joints",)),
            "data.options.": options_of(DATASETS[config.data.name].read),
        }.items():
            chosen = {
                key.removeprefix(prefix): value
                for key, value in parse_options(given).items()
                if key.startswith(prefix)
            }
            convert_options(chosen, known, prefix=prefix, owner=args.config.name)
    return args


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_commands_of_the_pages(page: Path) -> None:
    for command in commands_of(page):
        words = command.split()
        if len(words) == 2 or words[2:] == ["--help"]:  # the name of a command in running text
            assert words[1] in COMMANDS, command
        else:
            check(command)


def test_options_in_running_text_are_known() -> None:
    """`--option` alone is one of some command; what `--set` changes stands in the whole command."""
    known = {"--no-build-isolation"}
    for module, _ in COMMANDS.values():
        parser = argparse.ArgumentParser()
        importlib.import_module(module).add_arguments(parser)
        known |= set(parser._option_string_actions)
    for page in [README, *PAGES]:
        for span in re.findall(r"`(--[^`]+)`", page.read_text(encoding="utf-8")):
            assert span.split()[0].partition("=")[0] in known, (page.name, span)


def test_the_first_page_is_short_and_has_a_picture() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") < 160 and len(re.findall(r"!\[[^]]+\]\(", text)) == 1


@pytest.mark.parametrize("path", [*CONFIGS, *TABLES], ids=lambda path: path.stem)
def test_commands_of_headers(path: Path) -> None:
    found = commands_of_header(path)
    assert any(command.startswith("rpstn train") for command in found)
    for command in found:
        args = check(command)
        other = command.split()[1] in ("score", "train-detector", "synth", "pack")
        assert other or args.config == path.relative_to(ROOT), command


def test_commands_of_the_detectors_header() -> None:
    path = ROOT / "training" / "configs" / "detectors" / "hieve.yaml"
    (command,) = commands_of_header(path)
    assert check(command).config == path.relative_to(ROOT)
    with pytest.raises(UserError, match="unknown key epoch"):
        check(f"{command} --set epoch=3")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_headers_say_what_one_has_to_know(path: Path) -> None:
    text = header(path)
    for word in ("Paper", "Command", "Hardware", "Duration", "Expected", "Epoch", "Weights", "best.pt"):
        assert re.search(rf"^{re.escape(word)}: +\S", text, re.MULTILINE), word


# Settings of a baseline's own that a row's head names, and by what word.
NAMED = {
    "augmentation.rotation": "rotation",
    "augmentation.scale": "scale",
    "train.epochs": "epochs",
    "train.milestones": "steps",
    "train.learning_rate": "Adam",
    "train.weight_decay": "weight decay",
    "train.batch_size": "batch",
    "loss.kind": "its loss",
    "eval.poses": "eval.poses",
    "eval.flip_shift": "without a shift",
}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_heads_of_the_tables_configurations(path: Path) -> None:
    text = header(path)
    for word in ("Paper", "Command", "Data", "Hardware", "Expected", "Settings"):
        assert re.search(rf"^{word}: +\S", text, re.MULTILINE), word
    text = " ".join(text.split())
    (same,) = re.findall(r"those of (training/configs/\w+\.yaml)", text)
    given, settings = load_config(path), load_config(ROOT / same)
    for difference in differences(settings, given):
        key = difference.partition(":")[0]
        free = key.startswith(("model.", "heatmap.")) or key in ("output", "data.clip_length")
        assert free or NAMED.get(key, "not named") in text, difference


def test_a_wrong_command_is_found() -> None:
    config = "training/configs/penn_action.yaml"
    check(f"rpstn train {config} --set train.epochs=3")
    for wrong in (
        f"rpstn train {config} --set train.epoch=3",
        f"rpstn train {config} --set model.options.backbone=resnet18",
        f"rpstn train {config} --set data.options.test=a",
        f"rpstn eval {config} --weights best.pt --sweep",
        "rpstn score --dataset mpii --gt a --pred b --set sweep=true",
    ):
        with pytest.raises((Exception, SystemExit)):
            check(wrong)


@pytest.mark.parametrize("page", [README, CHANGELOG, *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_places_in_the_readme_exist() -> None:
    section = README.read_text(encoding="utf-8").partition("## Where things are\n")[2].partition("\n##")[0]
    places = [line.split()[0] for line in section.splitlines() if line.startswith("    ")]
    assert len(places) > 10
    for place in places:
        assert (ROOT / place).exists(), place


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    made = {
        match[1]
        for _, text in blocks(page)
        if (match := re.match(r"# (\S+\.(?:py|yaml))\n", text)) is not None
    }
    for name in re.findall(r"`([\w./]+/[\w./]+\.(?:py|yaml))`", page.read_text(encoding="utf-8")):
        assert name in made or (ROOT / name).exists() or (ROOT / "training" / name).exists(), name


def test_new_names_in_the_changelog_exist() -> None:
    rows = re.findall(r"^\| .* \| (.*) \|$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(rpstn_\w+(?:\.\w+)+)", row)]
    assert len(names) > 10
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
