"""The console command `rpstn`: finds the sub-command, and turns its failures into one sentence and an exit
status: 0 done, 1 failed, 2 the command line is not understood, 130 stopped by Ctrl-C or SIGTERM.
"""

import argparse
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from .errors import UserError
from .interrupt import terminated_as_by_ctrl_c

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
    "configs": (
        "rpstn_training.commands.configs",
        "list the configurations that come with the package, or print one",
    ),
    "train": ("rpstn_training.commands.train", "train a model from one YAML file, or continue a run"),
    "eval": (
        "rpstn_training.commands.evaluate",
        "score trained weights and print the protocol with the table",
    ),
    "calibrate": (
        "rpstn_training.commands.calibrate",
        "find out what the scores of trained weights are worth: probabilities, hidden joints, thresholds",
    ),
    "score": (
        "rpstn_training.commands.score",
        "official score of prediction files against label files, without a model",
    ),
    "predict": (
        "rpstn_training.commands.predict",
        "find joints in a video or in images: JSON, CSV and an overlay",
    ),
    "reformat": (
        "rpstn_training.commands.reformat",
        "write what predict has found in other programs' files, smoothed if you like",
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
    "pack": ("rpstn_training.commands.pack", "make a small file of trained weights to give away"),
    "export": (
        "rpstn_training.commands.export",
        "write a network as ONNX, as pt2, or compiled to run from C++",
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
_PACKAGES = {"cv2": "opencv-python", "yaml": "PyYAML"}  # whose modules have other names
_TURNS = "2000"
_FAILED, _USAGE = 1, 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, with the option that was perhaps meant."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if "required" in message and (strange := self._strange()):
            message = (
                f"unrecognized arguments: {strange}"  # what is missing is perhaps there, spelt otherwise
            )
        unknown = message.removeprefix("unrecognized arguments: ").split()
        word = unknown[0].partition("=")[0] if message.startswith("unrecognized arguments: ") else ""
        meant = _near(word, self._option_string_actions) if word.startswith("--") else ""
        about = self.prog.removeprefix("rpstn").strip()
        _say(f"{about and f'{about}: '}{message}{meant} ({self.prog} --help lists them)")
        raise SystemExit(_USAGE)

    def _strange(self) -> str:
        """The first word given that looks like an option and begins none."""
        known = tuple(self._option_string_actions)
        names = (word.partition("=")[0] for word in self._given if word.startswith("--") and word != "--")
        return next((name for name in names if not any(one.startswith(name) for one in known)), "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default this process's, and return its exit status."""
    if argv is None:
        _let_threads_sleep()
    top = _parser()
    arguments = top.parse_args(argv)
    if arguments.command is None:
        top.print_help()
        return _USAGE
    if arguments.command not in COMMANDS:
        near = _near(arguments.command, COMMANDS)
        return _fail(f"{arguments.command}: expected a command{near} (rpstn --help lists them)", _USAGE)
    module_name, help_line = COMMANDS[arguments.command]
    try:
        module = importlib.import_module(module_name)
        parser = _Parser(
            prog=f"rpstn {arguments.command}",
            description=(module.__doc__ or help_line).strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
        with terminated_as_by_ctrl_c():
            return module.run(parser.parse_args(arguments.rest))
    except UserError as error:
        sentence = str(error)
        # A sentence begins with what it is about: an option, or the command itself, was given wrongly.
        return _fail(sentence, _USAGE if sentence.startswith(("--", f"{arguments.command}: ")) else _FAILED)
    except KeyboardInterrupt as error:
        print(f"\nrpstn: {str(error) or 'stopped'}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone: `rpstn eval ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "rpstn_ext", "rpstn_training"):
            raise
        package = _PACKAGES.get(package, package)
        return _fail(f"expected the package {package}, found none: python -m pip install {package}", _FAILED)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}", _FAILED)


def _let_threads_sleep() -> None:
    """Have OpenMP's threads sleep after some microseconds without work, not milliseconds: while they turn round in
    place they hold a core that somebody has work for. To be called before torch is loaded; what the user has set stays.

    Measured with convolutions on two threads of two cores, twice where nothing else could run: 59 and 55 ms as it was,
    41 and 58 ms so, 75 and 74 ms with OMP_WAIT_POLICY=PASSIVE, which sleeps at once. Beside twenty other processes:
    5.9 s as it was, 0.8 s so.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = _TURNS


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = _Parser(
        prog="rpstn",
        usage="rpstn COMMAND [ARGUMENTS]",
        description="Relation-based human pose estimation in videos.",
        epilog=f"commands (rpstn COMMAND --help for each):\n{listing}\n\n"
        "exit status: 0 done, 1 failed, 2 the command line is not understood, 130 stopped by Ctrl-C or SIGTERM",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=argparse.SUPPRESS)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"rpstn {version('rpstn_ext')}"
    except PackageNotFoundError:
        return "rpstn, not installed (used from its checkout)"


def _near(word: str, known: Iterable[str]) -> str:
    """Of the `known` words the one that was perhaps meant, as the end of a message."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def _fail(sentence: str, status: int) -> int:
    _say(sentence)
    return status


def _say(sentence: str) -> None:
    print(f"rpstn: error: {sentence}", file=sys.stderr)
