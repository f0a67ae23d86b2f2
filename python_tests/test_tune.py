"""The tuning module and its sweep (benchmarks/tune.py): what is chosen is done, and what is wrong is not timed."""

import json
import re
from pathlib import Path

import pytest
import torch
from op_cases import MIDDLE, OPS, conv_case, match_case, norm_case, relation_case, results
from tuning import TUNE, Tuner

from benchmarks import tune
from benchmarks.common import Speed
from benchmarks.contenders import Case, Contender

ROOT = Path(__file__).resolve().parents[1]
built = pytest.mark.skipif(not TUNE.exists(), reason=f"no {TUNE.name}; `make test` compiles it")
SPEED = Speed(1e12, 1e13)  # beyond any machine: small tensors stay in caches
OF_A_GPU = {"architecture", "relation_cluster", "shared_memory", "plane_units", "plane_units_of_thread"}
SMALL = {
    "joint_relation": Case("joint_relation", 3, 13, 25, 41),
    "joint_relation_norm": Case("joint_relation_norm", 3, 13, 25, 41),
    "dynamic_conv2d": Case("dynamic_conv2d", 2, 3, 70, 37, 5),
    "dynamic_match": Case("dynamic_match", 2, 9, 70, 37, 5),
}


@pytest.fixture(scope="module")
def tuner():
    return Tuner(TUNE)


def test_the_choices_of_the_sources_are_those_that_are_swept():
    sources = [file.read_text() for folder in ("cpu", "cuda") for file in (ROOT / "csrc" / folder).iterdir()]
    asked = {name for text in sources for name in re.findall(r'tuned\("(\w+)"', text)}
    swept = {name for choices in tune.VALUES.values() for name in choices}
    assert asked - {"multiprocessors"} == swept  # which tells how a larger device would divide the work


@built
def test_a_choice_reaches_the_kernels_and_ends_with_its_block(tuner):
    op = OPS["joint_relation"]
    case = op.cases[MIDDLE[op.name]]
    tensors = [tensor.float() for tensor in op.inputs(case)]
    with tuner.choosing(relation_chunk=128, relation_by_chunk=1):
        op.call(case, tensors)
        asked = tuner.module.asked()
    assert asked["relation_chunk"] == (1024, 128)
    assert asked["relation_by_chunk"][1] == 1
    op.call(case, tensors)
    assert tuner.module.asked() == {}  # the package's own library serves again
    with tuner.serving():
        op.call(case, tensors)
        assert tuner.module.asked()["relation_chunk"] == (1024, 1024)


@built
def test_a_choice_that_no_call_asks_for_is_refused(tuner):
    op = OPS["dynamic_conv2d"]
    case = op.cases["3 x 3"]
    refused = pytest.raises(ValueError, match="no call asked for relation_chunk, but for band_rows")
    with refused, tuner.choosing(relation_chunk=128):
        op.call(case, op.inputs(case))


@built
def test_bands_of_a_chosen_height_give_the_same_values(tuner):
    """Planes that the library would not cut."""
    for name in ("dynamic_conv2d", "dynamic_match"):
        op = OPS[name]
        case = op.cases["the paper's"]
        tensors = op.inputs(case)
        grad = torch.randn_like(op.call(case, tensors))
        expected = results(op, case, tensors, grad, op.call)
        with tuner.choosing(band_rows=12):
            found = results(op, case, tensors, grad, op.call)
            assert tuner.module.asked()["band_rows"] == (64, 12)
        for actual, wanted in zip(found, expected):
            torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-12)


@built
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "name, case",
    [
        ("joint_relation", relation_case(3, 13, 64, 64)),
        ("joint_relation", relation_case(3, 13, 40, 66)),  # rows that are no multiple of 2 KiB apart
        ("joint_relation", relation_case(3, 13, 25, 41)),  # rows that are no whole vectors
        ("joint_relation_norm", norm_case(3, 13, 64, 64)),
        ("dynamic_conv2d", conv_case(2, 3, 64, 48, (3, 3))),
        ("dynamic_conv2d", conv_case(2, 3, 19, 37, (5, 5))),
        ("dynamic_conv2d", conv_case(1, 1, 530, 128, (3, 3))),  # in bands
        ("dynamic_match", match_case(2, 9, 66, 64, (5, 3), 5)),
        ("dynamic_match", match_case(1, 1, 530, 128, (3, 3), 5)),
    ],
)
def test_values_stored_past_the_caches_are_the_same_bits(tuner, name, case, dtype):
    op = OPS[name]
    tensors = [tensor.to(dtype) for tensor in op.inputs(case)]
    with tuner.serving():
        grad = torch.randn(op.call(case, tensors).shape).to(dtype)
        for choice in tuner.instruction_sets().values():
            found = []
            for past_caches in (0, 1):
                tuner.module.choose({"instruction_set": choice, "past_caches": past_caches})
                found.append(results(op, case, tensors, grad, op.call))
                assert tuner.module.asked()["past_caches"] == (0, past_caches)
            assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@built
@pytest.mark.parametrize(
    "name, case, stored",
    [
        ("joint_relation", relation_case(59, 13, 64, 64), 0),
        ("joint_relation", relation_case(60, 13, 64, 64), 1),
        ("dynamic_conv2d", conv_case(1, 768, 64, 64, (3, 3)), 0),
        ("dynamic_conv2d", conv_case(1, 769, 64, 64, (3, 3)), 1),
        ("dynamic_conv2d", conv_case(1, 769, 64, 64, (7, 7)), None),  # which is bound by its multiply-adds
    ],
)
def test_more_than_12_mib_are_stored_past_the_caches(tuner, name, case, stored):
    op = OPS[name]
    with tuner.serving():
        op.call(case, [tensor.float() for tensor in op.inputs(case)])
        assert tuner.module.asked().get("past_caches", (None,))[0] == stored


@built
def test_what_is_known_of_the_instruction_sets(tuner):
    known = {kernel["instruction_set"]: kernel for kernel in tuner.module.kernels()}
    assert known["baseline"]["runs_here"]
    assert [kernel["choice"] for kernel in known.values()] == list(range(len(known)))
    if "avx512" in known:
        assert [kernel["vector_bytes"] for kernel in known.values()] == [16, 32, 64]
        assert known["avx512"]["registers"] == 32
    for kernel in known.values():
        assert kernel["relation_tile"] ** 2 + kernel["relation_tile"] < kernel["registers"]


@built
@pytest.mark.parametrize("op", SMALL)
def test_every_value_of_every_choice_is_right_and_timed(op, tuner, monkeypatch):
    monkeypatch.setattr("benchmarks.turns.ROUND_SECONDS", 1e-3)
    lines = tune.sweep(tuner, SMALL[op], "cpu", SPEED, rounds=3, seconds=0.1)
    for direction in ("forward", "backward"):
        timed = {line["variant"]: line for line in lines if line["direction"] == direction}
        assert timed["usual"]["of_usual"] == 1
        swept = {name.split()[0] for name in timed} - {"usual", "instruction_set"}
        assert swept == tune.VALUES[op].keys() - {"instruction_set"} - OF_A_GPU
        assert all(line["median_us"] > 0 and 0 < line["share_of_floor"] < 1 for line in timed.values())


@built
def test_a_wrong_element_ends_the_sweep(tuner, monkeypatch):
    true = tune.contenders

    def wrong(*arguments, **options):
        function = true(*arguments, **options)["ours"].function

        def spoiled(*tensors):
            out = function(*tensors)
            place = torch.arange(out.numel()).view_as(out) == 17
            return out + 0.01 * out.detach().abs().max() * place

        return {"ours": Contender(spoiled)}

    monkeypatch.setattr(tune, "contenders", wrong)
    with (
        tuner.serving(),
        pytest.raises(tune.WrongResult, match=r"usual: relative error [.0-9]+e-0[23], allowed are"),
    ):
        tune.Variant(tuner, SMALL["dynamic_conv2d"], {}, "cpu", most_sets=1)


@built
def test_the_command_prints_a_table_and_appends_lines(tmp_path, capsys):
    out = tmp_path / "lines.jsonl"
    sizes = ["--case", "joint_relation:2x5x9x8", "--rounds", "3", "--seconds", "0.1"]
    tune.main(["--module", str(TUNE), *sizes, "--out", str(out)])
    table = capsys.readouterr().out
    assert "joint_relation 2x5x9x8" in table and "of floor" in table
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {"usual", "relation_chunk 256"} <= {line["variant"] for line in lines}
    assert all(line["commit"] and line["cpu"] for line in lines)
    tune.main(["--module", str(TUNE), "--kernels"])
    assert "avx512" in capsys.readouterr().out or not torch.backends.cpu.get_cpu_capability().startswith(
        "AVX"
    )


@pytest.mark.parametrize(
    "text, case",
    [
        ("joint_relation:16x13x64x64", Case("joint_relation", 16, 13, 64, 64)),
        ("dynamic_match:2x3x9x8:5:bfloat16", Case("dynamic_match", 2, 3, 9, 8, 5, dtype="bfloat16")),
        ("dynamic_conv2d:2x3x9x8", Case("dynamic_conv2d", 2, 3, 9, 8, 7)),
    ],
)
def test_a_case_is_named_in_one_word(text, case):
    assert tune.case_of(text) == case


@pytest.mark.parametrize(
    "text", ["joint_relation", "relation:1x2x3x4", "joint_relation:1x2x3", "dynamic_match:1x2x3x4:int8"]
)
def test_a_case_that_is_none_is_refused(text):
    with pytest.raises(Exception, match=r"expected op:BxKxHxW\[:kernel\]\[:dtype\]"):
        tune.case_of(text)
