"""The paper's tables: the data against the paper's text, a configuration for each row, results beside them; `rpstn
summary` and `rpstn tables`.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rpstn_training.cli import main
from rpstn_training.commands import summary
from rpstn_training.config import differences, load_config, to_dict
from rpstn_training.counting import Counts
from rpstn_training.tables import TABLES, Block, PaperTable, Row
from rpstn_training.tables.check import SyntheticData, reduced
from rpstn_training.tables.comparison import Counter, compare_all
from rpstn_training.tables.networks import NETWORKS, count_networks
from rpstn_training.tables.runs import result
from rpstn_training.train.engine import train

CONFIGS = Path(__file__).resolve().parents[1] / "training" / "configs"
FILES = sorted((CONFIGS / "tables").glob("*.yaml"))
PLACES = [(table, block, row) for table in TABLES.values() for block in table.blocks for row in block.rows]
SMALL_INITIALISER = "pose_initializer=resnet18"
MADE = [place for place in PLACES if place[2].config is not None]


def name_of(place: object) -> str:
    table, _, row = place
    return f"{table.number} {row.method}"


def head(path: Path) -> str:
    """The comment that the file opens with, as one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:end])


def words_of(path: Path) -> set[str]:
    return set(re.split(r"[\s,;]+", head(path)))


def test_tables_have_the_rows_of_the_paper() -> None:
    assert {name: len(table.rows) for name, table in TABLES.items()} == {
        "I": 10,
        "II": 6,
        "III": 10,
        "IV": 5,
        "V": 16,
        "VI": 12,
        "VII": 4,
        "VIII": 12,
        "IX": 4,
    }
    assert all(len(row.scores) == len(block.columns) for _, block, row in PLACES)
    assert all(name == table.number for name, table in TABLES.items())


@pytest.mark.parametrize("place", PLACES, ids=name_of)
def test_numbers_are_the_papers(shared: Path, place: tuple[PaperTable, Block, Row]) -> None:
    """Its counts and scores stand in one line of its text, in this order; of method names as much as the line has."""
    _, _, row = place
    printed = [count.printed for count in (row.parameters, row.flops) if count is not None]
    printed += [*([row.milliseconds] if row.milliseconds else []), *row.scores]
    text = (shared / "paper.txt").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        cells = [cell.strip().removesuffix("M") for cell in line.split("\t")]
        numbers = [match[0] for cell in cells if (match := re.match(r"[\d.]+(?![-\d])", cell))]
        if numbers == printed:
            found.append(cells[0])
    method = row.method.partition(",")[0]
    assert method in found or ("frames" in row.method and found)


@pytest.mark.parametrize("place", MADE, ids=name_of)
def test_a_row_has_its_configuration(place: tuple[PaperTable, Block, Row]) -> None:
    table, block, row = place
    path = CONFIGS / "tables" / f"{row.config}.yaml"
    config = load_config(path)
    text, words = head(path), words_of(path)
    assert f'"{row.method}"' in text or len([place for place in MADE if place[2].config == row.config]) > 1
    assert text.startswith(f"Table {table.number}, ")
    scores = [f"{column.name} {score}" for column, score in zip(block.columns, row.scores)]
    assert f"{block.metric}: {', '.join(scores)}." in text
    for count in (row.parameters, row.flops):
        assert count is None or count.printed in words
    assert row.milliseconds is None or f"{row.milliseconds} ms" in text
    assert "paper: 2x GTX 1080 Ti" in text
    assert f"rpstn train training/configs/tables/{row.config}.yaml" in text
    assert f"--weights {config.output}/best.pt" in text
    assert config.output.startswith("runs/tables/table")
    assert config.eval.subset == "test"
    assert row.frames in (None, config.data.clip_length)


def test_configurations_and_rows_fit_each_other() -> None:
    named = {row.config for _, _, row in PLACES if row.config is not None}
    assert {path.stem for path in FILES} == named
    assert len(named) == 54
    numbers = {name: place for place, name in enumerate(TABLES, start=1)}
    for table, _, row in PLACES:
        assert row.config is None or row.config.startswith(f"table{numbers[table.number]}_")


@pytest.mark.parametrize("name", ["sbl", "hrnet_w32", "s_vipnas", "udp", "darkpose", "posefix"])
def test_jre_is_one_line_of_an_image_models_configuration(name: str) -> None:
    """Of PoseFix it is in the network whose poses are refined, as the paper has it."""
    bare, related = (load_config(CONFIGS / "tables" / f"table8_{name}{end}.yaml") for end in ("", "_jre"))
    changed = [text.partition(":")[0] for text in differences(bare, related)]
    assert changed == ["output", "eval.poses" if name == "posefix" else "model.options.relation"]


def test_configurations_of_one_output_are_one_experiment() -> None:
    """What a run made by one of them is what the others would have made, and their heads say so."""
    by_output: dict[str, list[Path]] = {}
    for path in FILES:
        by_output.setdefault(load_config(path).output, []).append(path)
    assert any(len(paths) > 1 for paths in by_output.values())
    for first, *others in by_output.values():
        for path in others:
            assert differences(load_config(first), load_config(path)) == []
            assert path.name in words_of_same_run(first)
            assert first.name in words_of_same_run(path)
    experiments = [load_config(paths[0]) for paths in by_output.values()]
    for place, one in enumerate(experiments):
        for other in experiments[:place]:
            assert [text.partition(":")[0] for text in differences(one, other)] != ["output"]


def words_of_same_run(path: Path) -> set[str]:
    return set(re.split(r"[\s,]+", head(path).partition("Same run:")[2].replace(".yaml.", ".yaml")))


@pytest.fixture(scope="module")
def counter() -> Counter:
    return Counter()


# Where the rule is known and yet gives another number than is printed, or nothing can be counted.
KNOWN_DIFFERENCES = {
    ("IV", "RPSTN-w/o-JRE, 7 frames", "FLOPs (G)"): "120.19",
    ("IV", "RPSTN-w/o-JRE, 10 frames", "FLOPs (G)"): "166.06",
    ("VIII", "SBL [9]", "FLOPs (G)"): "8.991",
    ("VIII", "SBL-JRE", "FLOPs (G)"): "8.993",
    ("VIII", "HRNet-W32-JRE", "Params (M)"): "27.214",
    ("VIII", "HRNet-W32-JRE", "FLOPs (G)"): "7.122",
    ("VIII", "S-ViPNAS-JRE", "Params (M)"): "6.949",
    ("VIII", "PoseFix [51]", "FLOPs (G)"): "9.601",
    ("VIII", "PoseFix-JRE", "Params (M)"): "32.475",
    ("VIII", "PoseFix-JRE", "FLOPs (G)"): "9.601",
    ("VIII", "UDP-JRE", "FLOPs (G)"): "8.993",
    ("VIII", "DarkPose-JRE", "FLOPs (G)"): "8.993",
}


def test_counts_agree_with_the_paper(counter: Counter) -> None:
    found = compare_all(CONFIGS, counter)
    counted = {(each.table, each.method, each.column): each for each in found if each.counted is not None}
    rows = {name: row for _, _, row in MADE for name in [row.method] if row.parameters or row.flops}
    assert {method for _, method, _ in counted} == set(rows)
    for key, each in counted.items():
        expected = KNOWN_DIFFERENCES.get(key, each.printed)
        assert each.counted == expected, key
        assert bool(each.reason) == (key in KNOWN_DIFFERENCES), key
    others = [each for each in found if each.counted is None]
    assert {each.method for each in others} == {"Luo et al. [36]"}
    assert all(each.reason for each in others)
    assert len({(each.table, each.method, each.column) for each in found}) == len(found)


def test_networks_of_the_paper(counter: Counter) -> None:
    counted = count_networks(counter)
    assert list(counted) == list(NETWORKS)
    for name, expected in {
        "SBL-R101": 52_990_797,
        "SBL-R50, COCO": 33_999_697,
        "RPSTN-R101-R101": 108_413_472,
        "RPSTN-R50-R50, 17 joints": 70_432_552,
        "RPSTN-R50-R50, 5 convolutions": 71_019_808,
        "DKD-R101-R50": 88_830_388,
    }.items():
        assert counted[name].parameters == expected
    assert counted["RPSTN-R50-R50, 10 frames"].multiply_adds == 109_517_307_904


def test_a_network_is_counted_once(counter: Counter) -> None:
    config = load_config(CONFIGS / "tables" / "table1_rpstn_r18.yaml")
    first = counter.config(config)
    assert isinstance(first, Counts)
    assert counter.config(load_config(CONFIGS / "tables" / "table5_rpstn_r18.yaml")) is first


def test_summary_of_one_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(CONFIGS / "coco.yaml")
    assert main(["summary", "--config", path]) == 0
    text = capsys.readouterr().out
    assert "17 joints, one frame of 192x256" in text
    assert re.search(r"^relation +612 +3,551,232$", text, re.MULTILINE)
    assert re.search(r"^all +34,000,309 +5,429,932,032$", text, re.MULTILINE)
    assert main(["summary", "--config", path, "--json", "--size", "256x256", "--frames", "2"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["size"], content["frames"]) == ([256, 256], 2)
    assert content["parts"]["final_layer"] == {
        "parameters": 257 * 17,
        "multiply_adds": 2 * 256 * 17 * 64 * 64,
    }
    assert content["parameters"] == sum(part["parameters"] for part in content["parts"].values())
    assert content["multiply_adds"] == sum(part["multiply_adds"] for part in content["parts"].values())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "256"], "--size: expected WIDTHxHEIGHT such as 192x256, got 256"),
        (["--size", "250x256"], "divide by 32, got height 256 and width 250"),
        (["--frames", "0"], "--size and --frames: clip_length: expected at least 1, got 0"),
    ],
)
def test_summary_refuses_sizes(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["summary", "--config", str(CONFIGS / "coco.yaml"), *arguments]) == (
        2 if sentence.startswith("--") else 1
    )
    assert sentence in capsys.readouterr().err


@pytest.fixture
def _counted_already(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command goes on with what the tests before have counted."""
    monkeypatch.setattr(summary, "Counter", lambda: counter)


@pytest.mark.usefixtures("_counted_already")
def test_summary_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--all", "--json", "--configs", str(CONFIGS)]) == 0
    content = json.loads(capsys.readouterr().out)
    files = {path.name for path in CONFIGS.glob("*.yaml")} | {f"tables/{path.name}" for path in FILES}
    assert set(content["configurations"]) == files
    assert content["configurations"]["penn_action.yaml"]["parameters"] == 70_429_216
    assert "data set custom" in content["configurations"]["custom.yaml"]["not_counted"]
    assert content["networks"]["RPSTN-R18-R18"]["multiply_adds"] == 36_469_424_128
    agreeing = [each for each in content["paper"] if each["agrees"]]
    printed = {(each["table"], each["row"], each["column"]): each["counted"] for each in agreeing}
    assert printed["V", "RPSTN (ResNet50)", "Params (M)"] == "222.17"
    assert all(each["printed"] == each["counted"] and not each["reason"] for each in agreeing)
    assert all(each["reason"] for each in content["paper"] if not each["agrees"])


@pytest.mark.usefixtures("_counted_already")
def test_summary_of_all_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--all", "--configs", str(CONFIGS)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^mpii.yaml +16 +1 +256x256 +33,999,440 +7,234,125,824$", text, re.MULTILINE)
    assert re.search(r"^V +RPSTN \(ResNet18\) +FLOPs \(G\) +68.29 +68.29 +the same$", text, re.MULTILINE)
    assert re.search(r"^VIII +SBL \[9\] +FLOPs \(G\) +8.911 +8.991 +a slip: ", text, re.MULTILINE)


@pytest.mark.parametrize("command", [["summary", "--all"], ["tables"], ["tables", "--check"]])
def test_a_folder_without_configurations_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--configs", str(tmp_path)]) == 2
    assert f"--configs {tmp_path}: expected the folder of this project's" in capsys.readouterr().err


def test_elsewhere_than_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tables", "--table", "II"]) == 0
    assert f"rpstn train {CONFIGS}/tables/table2_rpstn_r50.yaml" in capsys.readouterr().out


def tables(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["tables", "--configs", str(CONFIGS), *arguments]) == 0
    return capsys.readouterr().out


def line_after(text: str, method: str, block: int = 0) -> str:
    """What stands under a row of the paper."""
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith(f"{method}  ")]
    return lines[places[block] + 1]


def test_without_runs_there_are_dashes_and_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tables(capsys, "--runs", str(tmp_path))
    assert [line[: line.index(".")] for line in text.splitlines() if line.startswith("Table ")] == [
        f"Table {name}" for name in TABLES
    ]
    ours = [line for line in text.splitlines() if line.startswith("  here ")]
    assert len(ours) == len([row for _, _, row in PLACES if row.config is not None])
    for line in ours:
        assert "rpstn train" in line
        assert not re.search(r"\d\.\d", line.partition("rpstn train")[0])
    path = CONFIGS / "tables" / "table8_sbl.yaml"
    command = f"rpstn train {path} --set data.root=FOLDER"
    assert line_after(text, "SBL [9]").split() == ["here", *"------", *command.split()]
    assert "--set data.split=" not in line_after(text, "RPSTN (ResNet50)", 3)


def test_a_run_stands_beside_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made as a user makes it: rpstn train, which leaves scores of other clips, then rpstn eval."""
    runs = tmp_path / "runs"
    config = load_config(CONFIGS / "tables" / "table1_rpstn_r18.yaml")
    run = runs / "tables" / "table1_rpstn_r18"
    data = SyntheticData(tmp_path / "data", 5)
    train(reduced(config, data.root("penn_action"), tmp_path), show_progress=False)
    text = tables(capsys, "--table", "V", "--runs", str(runs))
    for block in (0, 1):
        wanted = f"rpstn eval {run / 'config.yaml'} --weights {run / 'best.pt'}"
        assert line_after(text, "RPSTN (ResNet18)", block).split() == ["here", *"--------", *wanted.split()]

    assert main(wanted.split()[1:]) == 0
    capsys.readouterr()
    text = tables(capsys, "--table", "V", "--runs", str(runs))
    rows = json.loads((run / "eval.json").read_text())["pck"]["rows"]
    for block, normaliser in enumerate(("person", "torso")):
        names = ("Head", "Sho", "Elb", "Wri", "Hip", "Knee", "Ank", "Mean")
        expected = [f"{rows[normaliser][name]:.1f}" for name in names]
        line = line_after(text, "RPSTN (ResNet18)", block)
        assert line.split()[1:9] == expected
        assert "weights chosen on 1 of 3 training videos, held out (seed 0)" in line
        assert "train.max_steps: None -> 1" in line
        assert "data.workers" not in line
    assert "rpstn train" in line_after(text, "RPSTN (ResNet50)")
    for table, method in (("I", "RPSTN (ResNet18)"), ("III", "RPSTN-Res18")):  # the same experiment
        text = tables(capsys, "--table", table, "--runs", str(runs))
        assert line_after(text, method).split()[1:9] == expected


def write_scores(run: Path, config: object, rows: dict, table: str = "pck", subset: str = "test") -> None:
    run.mkdir(parents=True, exist_ok=True)
    content = {
        "config": {**config, "eval": {**config["eval"], "subset": subset}},
        table: {"rows": rows},
        "weights_chosen_on": "some videos",
    }
    (run / "eval.json").write_text(json.dumps(content))


def test_splits_are_averaged(tmp_path: Path) -> None:
    path = CONFIGS / "tables" / "table6_rpstn_r50.yaml"
    config = load_config(path)
    columns = TABLES["VI"].blocks[1].columns
    for split in (1, 2, 3):
        found = result(config, path, tmp_path, columns)
        assert found.scores is None
        changed = f" --set data.split={split} --set output=runs/tables/table6_rpstn_r50_split{split}"
        assert found.missing == f"rpstn train {path} --set data.root=FOLDER{changed if split > 1 else ''}"
        torso = {column.column: 10.0 * split + place for place, column in enumerate(columns)}
        torso["Ank"] = None if split == 3 else 1.0
        run = tmp_path / "tables" / f"table6_rpstn_r50_split{split}"
        plain = to_dict(config)
        write_scores(run, plain, {"torso": torso, "person": dict.fromkeys(torso, 99.0)})
    found = result(config, path, tmp_path, columns)
    assert found.scores == (20.0, 21.0, 22.0, 23.0, 24.0, 25.0, None, 27.0)
    assert found.remark == "weights chosen on some videos"


def test_official_scores_and_what_is_no_score(tmp_path: Path) -> None:
    path = CONFIGS / "tables" / "table9_rpstn.yaml"
    config, columns = load_config(path), TABLES["IX"].blocks[0].columns
    run = tmp_path / "tables" / "table9_rpstn"
    (run / "config.yaml").parent.mkdir(parents=True)
    (run / "last.pt").touch()
    begun = result(config, path, tmp_path, columns)
    assert begun.missing == f"rpstn train {run / 'config.yaml'} --resume {run}"
    names = ("avg", "@0.5", "@0.75", "@0.9")
    rows = {
        "w-AP": dict(zip(names, (1.0, 2.0, 3.0, 4.0))),
        "AP": dict(zip(names, (5.0, 6.0, 7.0, 8.0))),
    }
    evaluate = f"rpstn eval {run / 'config.yaml'} --weights {run / 'best.pt'}"
    for table, subset in (("pck", "test"), ("official", "train")):  # another score, and other clips
        write_scores(run, to_dict(config), rows, table, subset)
        assert result(config, path, tmp_path, columns).missing == evaluate
    write_scores(run, to_dict(config), rows, "official")
    assert result(config, path, tmp_path, columns).scores == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    (run / "eval.json").write_text("{}")
    with pytest.raises(Exception, match=r"eval\.json: expected the scores that rpstn eval writes"):
        result(config, path, tmp_path, columns)


def test_check_tries_every_row_and_names_those_that_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "configs"
    shutil.copytree(CONFIGS, folder)
    broken = folder / "tables" / "table2_rpstn_r18.yaml"
    text = broken.read_text(encoding="utf-8").replace("num_convs: 4", "num_convs: 0")
    broken.write_text(text, encoding="utf-8")
    assert main(["tables", "--check", "--table", "II", "--configs", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"^table2_rpstn_r18: FAILED, .*num_convs of at least 1, got 0$", out, re.MULTILINE)
    assert re.search(r"^table2_rpstn_r50: trains, ", out, re.MULTILINE)
    assert re.search(r"^  89,421,344 parameters, 61,551,362,048 multiply-adds a clip$", out, re.MULTILINE)
    assert "failures of table2_rpstn_r18" in err


def test_check_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "--check", "--table", "VI", "--configs", str(CONFIGS)]) == 0
    out, err = capsys.readouterr()
    assert "2 of 2 configurations work" in out
    assert err == ""


@pytest.fixture(scope="module")
def penn(tmp_path_factory: pytest.TempPathFactory) -> SyntheticData:
    return SyntheticData(tmp_path_factory.mktemp("data"), 5)


@pytest.mark.parametrize("place", [place for place in MADE if place[0].number == "I"], ids=name_of)
def test_networks_of_table_i_learn(
    tmp_path: Path, penn: SyntheticData, place: tuple[PaperTable, Block, Row]
) -> None:
    """30 steps, with a small initialiser: the loss falls from the first half to the second."""
    config = load_config(
        CONFIGS / "tables" / f"{place[2].config}.yaml", [f"model.options.{SMALL_INITIALISER}"]
    )
    small = reduced(config, penn.root("penn_action"), tmp_path)
    halves = replace(
        small,
        data=replace(small.data, clips_per_epoch=30),
        train=replace(small.train, epochs=2, max_steps=None, milestones=(), eval_every=2),
    )
    train(halves, show_progress=False)
    lines = (tmp_path / config.output / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["step"], second["step"]) == (15, 30)
    assert second["loss"] < 0.97 * first["loss"]


def test_reduced_configurations_are_the_same_experiment(tmp_path: Path) -> None:
    for name, size in {
        "table4_rpstn_10_frames": (96, 96),
        "table7_rpstn": (96, 128),
        "table8_sbl": (96, 128),
    }.items():
        config = load_config(CONFIGS / "tables" / f"{name}.yaml")
        small = reduced(config, tmp_path, tmp_path)
        assert small.data.input_size == size
        changed = {text.partition(":")[0] for text in differences(config, small)}
        assert changed <= {
            *("output", "data.root", "data.input_size", "data.workers", "data.clips_per_epoch"),
            *("model.options.width", "model.options.channels", "train.epochs", "train.batch_size"),
            *("train.milestones", "train.max_steps", "train.device", "eval.batch_size"),
        }
