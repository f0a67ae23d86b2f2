"""Draw the paper's Fig. 6 to 11 from trained weights and a data set.

  rpstn figures --fig all --weights demo/run/best.pt --config demo/run/config.yaml
  rpstn figures --fig 11 --runs RPSTN=runs/a "without JRE=runs/b"

   6  correlation matrices of the joints' heat maps, by action       9  poses under random masks, beside the truth
   7  a frame, its correlation matrix and the weights W_r           10  poses over time, right and wrong joints circled
   8  heat maps before and after the relation extractor             11  PCK over its threshold, several runs in one plot

6, 7 and 8 need a network with the relation extractor, 11 the scores of rpstn eval. Each file says on itself what was
drawn of what, and what its colours mean. docs/figures.md tells how to read them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ..arguments import add_overrides
from ..codec import Codec
from ..config import load_config
from ..data.sets import load_skeleton
from ..data.subsets import load_subset
from ..device import allow_tf32, choose_device
from ..errors import UserError
from ..figures import paper_occlusion, paper_relation
from ..figures.inside import require_relation
from ..figures.paper_thresholds import NORMALISERS, read_runs, thresholds
from ..figures.plots import FORMATS, write_figure
from ..figures.subject import Subject, commit
from ..train import checkpoint as checkpoints
from ..words import several
from .evaluate import require_same

# What draws a figure from a subject and a number of clips, and how many it shows where nobody says.
DRAWN: dict[int, tuple[Callable[[Subject, int], Figure], int]] = {
    6: (paper_relation.correlations, 4),
    7: (paper_relation.relations, 2),
    8: (paper_relation.maps_before_and_after, 1),
    9: (paper_occlusion.masked_poses, 4),
    10: (paper_occlusion.strips, 3),
}
RELATION = (6, 7, 8)
THRESHOLDS = 11
ALL = (*DRAWN, THRESHOLDS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fig", nargs="+", required=True, metavar="N", help="6 to 11, several of them, or all"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a checkpoint of rpstn train; for 6 to 10"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG.yaml",
        help="data and protocol; its model must be that of the weights; for 6 to 10",
    )
    add_overrides(parser, "eval.subset=validation, or seed=1 for other masks")
    parser.add_argument(
        "--runs",
        nargs="+",
        default=[],
        metavar="RUN",
        help="for 11: run folders or files of rpstn eval (eval.json), each as PATH or NAME=PATH",
    )
    parser.add_argument(
        "--normaliser",
        choices=NORMALISERS,
        default=NORMALISERS[0],
        help="for 11: size of PCK (default: torso)",
    )
    parser.add_argument(
        "--clips", type=int, metavar="N", help="clips or videos in a figure of 6 to 10 (default: by figure)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("figures"), metavar="FOLDER", help="where they go (default: figures)"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["png"],
        help="png, svg, pdf or several (default: png); svg and pdf keep letters, matrices and lines sharp",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace figures that are there")


def run(args: argparse.Namespace) -> int:
    numbers = chosen(args.fig)
    if args.clips is not None and args.clips < 1:
        raise UserError(f"--clips: expected at least 1, got {args.clips}")
    if THRESHOLDS in numbers and not args.runs:
        if args.fig != ["all"]:
            raise UserError("--fig 11: expected the runs to be compared, give --runs RUN ..., got none")
        numbers.remove(THRESHOLDS)
        print("Figure 11 left out: it compares the runs that --runs names")
    files = {number: [args.out / f"fig{number}.{form}" for form in args.format] for number in numbers}
    there = [path for paths in files.values() for path in paths if path.exists()]
    if there and not args.overwrite:
        raise UserError(
            f"{there[0]}: expected no file yet, found one; --overwrite replaces it, or name another --out"
        )
    runs = read_runs(args.runs, args.normaliser) if THRESHOLDS in numbers else []
    subject = load_subject(args) if set(numbers) & set(DRAWN) else None
    if subject is not None and set(numbers) & set(RELATION):
        try:
            require_relation(subject.model)
        except UserError as error:
            if args.fig != ["all"]:
                raise
            numbers = [number for number in numbers if number not in RELATION]
            print(f"Figures 6, 7 and 8 left out. {error}")
    for number in numbers:
        if number == THRESHOLDS:
            figure = thresholds(runs, args.normaliser)
        else:
            draw, clips = DRAWN[number]
            figure = draw(subject, args.clips or clips)
        for path in files[number]:
            write_figure(path, figure)
            print(path, flush=True)
    return 0


def chosen(words: list[str]) -> list[int]:
    """The numbers of the figures that the words after --fig name, in order."""
    if words == ["all"]:
        return list(ALL)
    known = {str(number): number for number in ALL}
    for word in words:
        if word not in known:
            raise UserError(f"--fig: expected numbers of the paper's figures, 6 to 11, or all, got {word}")
    return sorted({known[word] for word in words})


def load_subject(args: argparse.Namespace) -> Subject:
    """The network and the tracks that the command line names."""
    for name, value in (("--weights", args.weights), ("--config", args.config)):
        if value is None:
            raise UserError(
                f"{name}: expected for figures 6 to 10, which show a trained network on data, got nothing"
            )
    config = load_config(args.config, args.overrides)
    checkpoint = checkpoints.load(args.weights)
    skeleton = load_skeleton(config.data)
    require_same(config, skeleton, checkpoint)
    device = choose_device(config.train.device, "train.device")
    allow_tf32(config.train.tf32)
    model = checkpoint.build_model().to(device)
    if model.in_channels != 3:
        raise UserError(
            f"{args.weights}: expected a network that sees pictures, got {config.model.name}, which refines the "
            "poses of another one; draw that one"
        )
    subset = load_subset(config, config.eval.subset)
    score = "" if checkpoint.best_score is None else f" by its score {checkpoint.best_score:.3f}"
    trained = (
        "" if checkpoint.trained_with is None else f", trained at commit {commit(checkpoint.trained_with)}"
    )
    return Subject(
        model=model,
        config=subset.config,
        skeleton=skeleton,
        codec=Codec.of(config, model),
        tracks=subset.tracks,
        data=f"{config.data.name} in {config.data.root}, {subset.words}, {several(len(subset.tracks), 'track')}",
        weights=f"{args.weights} of epoch {checkpoint.epoch}, {checkpoint.origin}{score}{trained}",
    )
