"""Trains the same small RPSTN with our operations and with plain PyTorch, and says how far the two trainings are apart.

    python -m benchmarks.training                     # float64 and float32, 100 steps each
    python -m benchmarks.training --device cuda
    python -m benchmarks.training --out training.jsonl

Clips of coloured discs, one colour a joint, drawn anew for every step; the paper's loss and Adam. In float64 rounding
stays so small that an error of an operation would stand out: there losses, weights and score must agree to the
tolerances below. In float32 both trainings drift apart by rounding alone, and are held to wider ones. A hundred steps
teach little, so the score is low; it counts the places of 624 joints, and changes with any of them. The share
is the operations' calls alone over the whole training step, as in benchmarks.model.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import rpstn_ext as rx
from benchmarks.common import Timing, alternate, alternate_on_gpu, append_lines, print_table, provenance
from benchmarks.model import Runs, operations_alone, serving
from rpstn_training.codec import decode, encode

JOINTS = 13  # as benchmarks.model takes
SIZE, STRIDE, SIGMA = 64, 4, 1.0
CLIPS, FRAMES = 2, 3
LEARNING_RATE = 1e-3
NEAR = 6.0  # pixels of the crop: a joint within is found
TEST_CLIPS = 16
WAYS = ("ours", "reference")
# Largest relative difference of a step's loss, of the final weights (norms), and of the share of joints found.
TOLERANCES = {
    torch.float64: {"loss": 1e-8, "weights": 1e-6, "score": 0.0},
    torch.float32: {"loss": 0.05, "weights": 0.05, "score": 0.03},
}


def build(dtype: torch.dtype, device: str) -> nn.Module:
    """The same weights every time; JRE begins at random, so that it has a part from the first step on."""
    torch.manual_seed(0)
    options = {"width": 8, "channels": 16, "num_convs": 3, "relation_start": "random"}
    model = rx.models.build(
        "rpstn", num_joints=JOINTS, pose_initializer="resnet18", feature_extractor="resnet18", **options
    )
    return model.to(device=device, dtype=dtype)


def clips(number: int, dtype: torch.dtype, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Without an end: clips [number, FRAMES, 3, SIZE, SIZE] of discs that drift over noise, and the joints' places."""
    random = torch.Generator().manual_seed(1)
    colours = torch.rand(JOINTS, 3, generator=random, dtype=torch.float64)
    while True:
        start = 8 + (SIZE - 16) * torch.rand(number, 1, JOINTS, 2, generator=random, dtype=torch.float64)
        drift = 2 * torch.randn(number, 1, 1, 2, generator=random, dtype=torch.float64)
        joints = start + drift * torch.arange(FRAMES)[:, None, None]
        discs = encode(joints, (SIZE, SIZE), sigma=2.5, stride=1)
        noise = 0.2 * torch.randn(number, FRAMES, 3, SIZE, SIZE, generator=random, dtype=torch.float64)
        images = torch.einsum("btkyx,kc->btcyx", discs, colours) + noise
        yield images.to(device, dtype), joints.to(device, dtype)


def train(way: str, steps: int, dtype: torch.dtype, device: str, model: nn.Module | None = None) -> dict:
    """Losses of all steps, final weights in one row, and the share of joints found in clips not trained on."""
    model = build(dtype, device) if model is None else model
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    batches, losses = clips(CLIPS, dtype, device), []
    with serving(way):
        for _ in tqdm(range(steps), desc=f"{way}, {dtype}", leave=False, delay=2, disable=None):
            images, joints = next(batches)
            targets = encode(joints, (SIZE // STRIDE, SIZE // STRIDE), sigma=SIGMA, stride=STRIDE)
            loss = F.mse_loss(model(images), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        images, joints = next(clips(TEST_CLIPS, dtype, device))
        with torch.no_grad():
            places, _ = decode(model(images), stride=STRIDE)
    found = ((places - joints).norm(dim=-1) <= NEAR).double().mean().item()
    weights = torch.cat([value.detach().double().flatten().cpu() for value in model.parameters()])
    return {"losses": torch.tensor(losses, dtype=torch.float64), "weights": weights, "score": found}


def apart(ours: dict, reference: dict) -> dict[str, float]:
    """How far two trainings are apart, as `TOLERANCES` counts it."""
    losses = (ours["losses"] - reference["losses"]).abs() / reference["losses"].abs()
    weights = (ours["weights"] - reference["weights"]).norm() / reference["weights"].norm()
    return {
        "loss": losses.max().item(),
        "weights": weights.item(),
        "score": abs(ours["score"] - reference["score"]),
    }


def too_far(differences: dict[str, float], dtype: torch.dtype) -> list[str]:
    """What is not within its tolerance; a NaN is not."""
    return [
        f"{name} {value:.1e} > {TOLERANCES[dtype][name]:g}"
        for name, value in differences.items()
        if not value <= TOLERANCES[dtype][name]
    ]


def share(dtype: torch.dtype, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """By way: milliseconds of a training step, of the operations in it alone, and their share."""
    images, _ = next(clips(CLIPS, dtype, device))
    time_rounds = alternate if device == "cpu" else alternate_on_gpu
    runs = {way: Runs(build(dtype, device), way, images, autocast=False) for way in WAYS}
    for one in runs.values():
        one.target = one.target.to(dtype)
    whole = time_rounds({way: one.training_step for way, one in runs.items()}, rounds)
    alone = time_rounds(
        {way: operations_alone(one, argparse.Namespace())["training step"] for way, one in runs.items()},
        rounds,
    )
    found = {}
    for way in WAYS:
        step, own = Timing.of(whole[way]).median, Timing.of(alone[way]).median
        found[way] = {"step_ms": step, "operations_ms": own, "operations_share": own / step}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10, help="of the timing")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--out", type=Path, help="file that JSON lines are appended to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = provenance(options.device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    lines, faults = [], []
    for dtype in TOLERANCES:
        trained = {way: train(way, options.steps, dtype, options.device) for way in WAYS}
        differences = apart(trained["ours"], trained["reference"])
        faults += [f"{dtype}: {fault}" for fault in too_far(differences, dtype)]
        line = {"dtype": str(dtype).removeprefix("torch."), "steps": options.steps}
        line |= {f"{name}_apart": value for name, value in differences.items()}
        line |= {f"{name}_tolerance": value for name, value in TOLERANCES[dtype].items()}
        line |= {
            "first_loss": trained["ours"]["losses"][0].item(),
            "last_loss": trained["ours"]["losses"][-1].item(),
        }
        line |= {f"score_{way}": trained[way]["score"] for way in WAYS}
        lines.append(line)
    header = (
        "dtype",
        "steps",
        "loss_apart",
        "weights_apart",
        "score_ours",
        "score_reference",
        "first_loss",
        "last_loss",
    )
    print_table(header, [[line[name] for name in header] for line in lines])
    parts = share(torch.float32, options.device, options.rounds)
    print_table(
        ("operations", "step ms", "operations ms", "their share"),
        [(way, *list(of.values())[:2], f"{of['operations_share']:.1%}") for way, of in parts.items()],
    )
    lines += [{"operations": way, **of} for way, of in parts.items()]
    if options.out:
        append_lines(options.out, ({**line, **facts} for line in lines))
    if faults:
        sys.exit("trainings are further apart than they may: " + "; ".join(faults))


if __name__ == "__main__":
    main()
