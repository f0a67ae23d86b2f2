"""The console command `rpstn`: finds the sub-command, and turns its failures into one sentence and an exit
status.
"""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from .errors import UserError

# Name: module with add_arguments(parser) and run(args) -> exit status, loaded when called; a line of help.
COMMANDS = {
    "demo": (
        "rpstn_training.commands.demo",
        "everything once on synthetic clips: train, score, draw, and a page that shows it",
    ),
    "synth": ("rpstn_training.commands.synth", "write synthetic clips in a data set's own layout"),
    "check-data": (
        "rpstn_training.commands.check_data",
        "read a data set once: counts, defects, samples as the network sees them",
    ),
    "train": ("rpstn_training.commands.train", "train a model from one YAML file, or continue a run"),
    "eval": (
        "rpstn_training.commands.evaluate",
        "score trained weights and print the protocol with the table",
    ),
    "score": (
        "rpstn_training.commands.score",
        "official score of prediction files against label files, without a model",
    ),
    "predict": (
        "rpstn_training.commands.predict",
        "find joints in a video or in images: JSON, CSV and an overlay",
    ),
    "summary": (
        "rpstn_training.commands.summary",
        "parameters and multiply-adds of a network, part by part",
    ),
    "tables": ("rpstn_training.commands.tables", "the paper's tables, with the results of runs beside them"),
    "detect": (
        "rpstn_training.commands.detect",
        "find persons in a set's pictures, with torchvision: boxes for data.options.detections",
    ),
    "train-detector": (
        "rpstn_training.commands.train_detector",
        "fine-tune the detector of rpstn detect on HiEve's boxes",
    ),
    "convert": ("rpstn_training.commands.convert", "make a checkpoint of public weights"),
    "export": (
        "rpstn_training.commands.export",
        "write a network as ONNX or pt2, which run without this package",
    ),
    "figures": (
        "rpstn_training.commands.figures",
        "draw the paper's Fig. 6 to 11 from weights and a data set",
    ),
    "study": ("rpstn_training.commands.study", "does a relation of joints help, does memory: run the study"),
    "doctor": ("rpstn_training.commands.doctor", "print versions, backend and GPU, and run each op once"),
}

# What a person can mend; any other OSError is our mistake and keeps its traceback.
_MENDABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    module_name, help_line = COMMANDS[arguments.command]
    try:
        module = importlib.import_module(module_name)
        parser = argparse.ArgumentParser(
            prog=f"rpstn {arguments.command}",
            description=(module.__doc__ or help_line).strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
        return module.run(parser.parse_args(arguments.rest))
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt as error:
        print(f"\nrpstn: {str(error) or 'stopped'}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone: `rpstn eval ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}")


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="rpstn",
        description="Relation-based human pose estimation in videos.",
        epilog=f"commands (rpstn COMMAND --help for each):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="arguments of the command")
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"rpstn {version('rpstn_ext')}"
    except PackageNotFoundError:
        return "rpstn, not installed (used from its checkout)"


def _fail(sentence: str) -> int:
    print(f"rpstn: error: {sentence}", file=sys.stderr)
    return 1
