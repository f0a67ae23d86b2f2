"""Writes RESULTS.md from recorded lines, and nothing else.

python -m benchmarks.report --ops ops.jsonl --model model.jsonl --training training.jsonl
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import bars
from benchmarks.common import Speed, cell, read_lines

NOT_RUN = "CUDA kernels: compiled, not yet run on a GPU"
RESULTS = Path(__file__).with_name("RESULTS.md")
COUNTED = Path(__file__).with_name("COUNTED.md")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return [*lines, *("| " + " | ".join(cell(value) for value in row) + " |" for row in rows), ""]


def machine(line: dict) -> str:
    device = line.get("gpu") or f"{line['cpu']}, {line['threads']} threads, {line['instructions']}"
    speed = ""
    if "copy_gb_per_s" in line:
        speed = f", copy {line['copy_gb_per_s']:g} GB/s, {line['multiply_adds_g_per_s']:g} G multiply-adds/s in float32"
    changed = " with changes" if line["changed_since"] else ""
    commit = (line["commit"] or "unknown")[:12]
    return f"{device}{speed}; torch {line['torch']}; commit {commit}{changed}; {line['date']}."


def counted(page: str) -> list[str]:
    """Of the page that benchmarks.sass wrote, what share of DESIGN's bars the CUDA kernels reach at most."""
    work = page.partition("\n## Work\n")[2].partition("\n## ")[0]
    lines = [line for line in work.splitlines() if line.startswith("| ") and "---" not in line]
    header, *rows = [line.strip("| ").split(" | ") for line in lines] or [[]]
    kept = [header.index(name) for name in ("case", "launches", "share, at most", "bar") if name in header]
    if not rows:
        return []
    text = [
        "## CUDA kernels: counted, not measured",
        "",
        "What share of its floor a case of DESIGN's bars would reach on an H100 / H200 if no warp waited, by bytes,",
        "multiply-adds and the instructions that nvcc made: [COUNTED.md](COUNTED.md) says how.",
        "",
    ]
    return text + table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])


def runs_of(lines: Sequence[dict]) -> list[list[dict]]:
    """Lines of one run share its date."""
    dates = dict.fromkeys(line["date"] for line in lines)
    return [[line for line in lines if line["date"] == date] for date in dates]


def speed_of(machine_line: dict, lines: Sequence[dict]) -> Speed:
    """The fastest that the same machine was seen to copy and to multiply in any run: neighbours only slow it down."""
    parts = ("cpu", "threads", "gpu")
    return Speed.of_lines(line for line in lines if all(line.get(p) == machine_line.get(p) for p in parts))


def ops_run(lines: Sequence[dict], speed: Speed) -> list[str]:
    title = f"## Operations on {lines[0].get('gpu') or lines[0]['cpu']}"
    text = [title, "", machine({**lines[0], **Speed.of_lines(lines).facts()}), ""]
    text += [
        "Milliseconds are medians of rounds in which every contender takes its turn. *Of floor*: the time that the",
        "bytes and multiply-adds cost at the machine's own speed, the fastest seen in any of its runs here, over the",
        f"time taken: {speed.copy / 1e9:.1f} GB/s, {speed.multiply_adds / 1e9:.1f} G multiply-adds/s. It is above 100%",
        "where a kernel multiplies and adds faster than the matrix product by which speed was measured, or its data",
        "stay in a cache. *Best rival*: the fastest of plain PyTorch, the folded form, grouped convolution, a loop",
        "over samples, channels_last and, where they ran, the compiled forms.",
        "",
    ]
    rows = []
    for line in sorted(lines, key=lambda line: line["op"]):
        if line["contender"] != "ours" or "ratios" not in line:
            continue
        rivals = {name: ratio for name, ratio in line["ratios"].items() if not name.startswith("ours")}
        best = min(rivals, key=rivals.get)
        rows.append(
            (
                line["op"],
                line["sizes"],
                line["direction"],
                line["median_ms"],
                f"{line['p20_ms']:.3g} to {line['p80_ms']:.3g}",
                f"{speed.floor(line['bytes'], line['multiply_adds']) * 1e3 / line['median_ms']:.0%}",
                line["ratios"].get("plain"),
                rivals[best],
                best,
            )
        )
    header = (
        "operation",
        "sizes",
        "direction",
        "ms",
        "p20 to p80",
        "of floor",
        "times plain",
        "times best rival",
    )
    text += table((*header, "best rival"), rows)
    text += ["### Bars of DESIGN, section 5", ""]
    device = "cpu" if lines[0]["device"] == "cpu" else "cuda"
    text += table(("bar", "wanted", "measured", "held"), bars.check(lines, device))
    return text + memory_table(lines)


def memory_table(lines: Sequence[dict]) -> list[str]:
    rows = [
        (line["op"], line["sizes"], line["contender"], *(line["memory"][name] / 1e6 for name in names))
        for names in [("forward_peak", "kept", "step_peak")]
        for line in lines
        if line.get("memory") and line["direction"] == "forward"
    ]
    if not rows:
        return []
    header = ("operation", "sizes", "contender", "forward peak", "kept for backward", "peak of both")
    return ["### Memory in MB, above the inputs", "", *table(header, rows)]


def model_run(lines: Sequence[dict]) -> list[str]:
    first, clip = lines[0], "x".join(map(str, lines[0]["clip"]))
    text = [
        f"## RPSTN, {first['network']}, clip {clip}, on {first.get('gpu') or first['cpu']}",
        "",
        machine(first),
        "",
        "The same weights with our operations, with plain PyTorch and with the released formulation's operations.",
        "*Share*: the operations' calls alone over the whole.",
        "",
    ]
    reference = {(n["what"], n["mode"]): n["median_ms"] for n in lines if n["operations"] == "reference"}
    rows = [
        (
            line["what"],
            line["mode"],
            line["operations"],
            line["median_ms"],
            f"{line['p20_ms']:.3g} to {line['p80_ms']:.3g}",
            reference[line["what"], line["mode"]] / line["median_ms"],
            line.get("operations_ms"),
            None if "operations_share" not in line else f"{line['operations_share']:.1%}",
        )
        for line in lines
    ]
    header = ("what", "mode", "operations", "ms", "p20 to p80", "times reference", "operations ms", "share")
    return text + table(header, rows)


def training_run(lines: Sequence[dict]) -> list[str]:
    first = next(line for line in lines if "dtype" in line)
    text = [
        f"## The same training with our operations and with plain PyTorch, on {first.get('gpu') or first['cpu']}",
        "",
        machine(first),
        "",
        f"{first['steps']} steps of a small RPSTN (`python -m benchmarks.training`). *Apart*: the largest relative",
        "difference of a step's loss, and that of the final weights, beside what is allowed. *Found*: the share of",
        "joints of clips not trained on; so few steps teach little. In float32 rounding alone drives both apart.",
        "",
    ]
    header = (
        *("dtype", "losses apart", "allowed", "weights apart", "allowed"),
        *("found, ours", "found, reference", "first loss", "last loss"),
    )
    names = (
        *("dtype", "loss_apart", "loss_tolerance", "weights_apart", "weights_tolerance"),
        *("score_ours", "score_reference", "first_loss", "last_loss"),
    )
    text += table(header, [[line[name] for name in names] for line in lines if "dtype" in line])
    text += ["Of a training step in float32 the operations alone take", ""]
    rows = [
        (line["operations"], line["step_ms"], line["operations_ms"], f"{line['operations_share']:.1%}")
        for line in lines
        if "operations" in line
    ]
    return text + table(("operations", "step ms", "operations ms", "share"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--ops", type=Path, nargs="*", default=[], help="files of python -m benchmarks.ops --out"
    )
    parser.add_argument(
        "--model", type=Path, nargs="*", default=[], help="files of python -m benchmarks.model --out"
    )
    parser.add_argument(
        "--training", type=Path, nargs="*", default=[], help="files of python -m benchmarks.training --out"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    ops = [line for path in options.ops for line in read_lines(path)]
    model = [line for path in options.model for line in read_lines(path)]
    training = [line for path in options.training for line in read_lines(path)]
    text = [] if any("gpu" in line for line in (*ops, *model, *training)) else [NOT_RUN, ""]
    text += [
        "# Recorded results",
        "",
        "Written by `python -m benchmarks.report` from the lines of the others.",
        "",
    ]
    if NOT_RUN in text and COUNTED.exists():
        text += counted(COUNTED.read_text())
    for run in runs_of(ops):
        text += ops_run(run, speed_of(run[0], ops))
    for run in runs_of(model):
        text += model_run(run)
    for run in runs_of(training):
        text += training_run(run)
    options.out.write_text("\n".join(text).rstrip() + "\n")
    print(
        f"{options.out}: {len(ops)} lines of operations, {len(model)} of the model, {len(training)} of trainings"
    )


if __name__ == "__main__":
    main()
