"""A study from its configuration to its text."""

import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from types import FrameType

import torch

from ..errors import UserError
from ..files import locked, write_text
from ..interrupt import ignore_interrupt
from . import real, report
from .arms import Arm, Runner, arms
from .plan import StudyConfig, load_study, to_yaml


def run_study(study: StudyConfig, *, at_once: int = 1, real_sets: Mapping[str, Path] | None = None) -> str:
    """Run every arm that has not been run, so many `at_once`, and all that have on the real frames of the sets named
    (`REAL_SETS`); write the report, and return its text.

    A folder in which another study was begun is refused with a UserError.
    """
    folder = Path(study.output)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _require_same(folder / "study.yaml", study)
        if study.drawn.clips:
            from rpstn_synth import synthesise

            synthesise(
                Path(study.data.root),
                dataset=study.data.name,
                clips=study.drawn.clips,
                frames=study.drawn.frames,
                seed=study.drawn.seed,
            )
        runner = Runner(study)
        listed = arms(study)
        missing = [arm for arm in listed if runner.read(arm) is None]
        try:
            if at_once == 1:
                for arm in missing:
                    print(f"{listed.index(arm) + 1} of {len(listed)}: {arm.key}", flush=True)
                    runner.run(arm)
            else:
                _run_at_once(study, missing, at_once)
        except KeyboardInterrupt as error:  # whose own words are about the training of an arm
            raise KeyboardInterrupt("stopped; the same command goes on where it was") from error
        for name, root in (real_sets or {}).items():
            real.measure(runner, name, root)
        path, text = report.write(runner)
    return f"{text}\n{path}"


def _run_at_once(study: StudyConfig, missing: Sequence[Arm], processes: int) -> None:
    """Arms in processes of their own, which share out the threads of this one."""
    threads = max(1, torch.get_num_threads() // processes)
    context = multiprocessing.get_context("spawn")
    runner, unfinished = Runner(study), set(missing)
    waiting = sorted(missing, key=_length, reverse=True)
    with ProcessPoolExecutor(processes, context, _begin, (study, threads)) as pool:
        begun: dict[Future, Arm] = {}
        try:
            while unfinished:
                ready = [arm for arm in waiting if runner.needs(arm) not in unfinished]
                for arm in ready[: processes - len(begun)]:
                    waiting.remove(arm)
                    begun[pool.submit(_run, arm)] = arm
                ended, _ = wait(begun, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    arm = begun.pop(future)
                    unfinished.remove(arm)
                    print(f"{arm.key}: done, {len(unfinished)} to go", flush=True)
        except BaseException:
            for process in multiprocessing.active_children():  # else they go on to the ends of their arms
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _length(arm: Arm) -> int:
    """What takes long begins first, so that nothing waits for it in the end."""
    return int(arm.place) if arm.part == "memory" else 0


_of_this_process: Runner  # of a process that runs arms: keeps what several of them need


def _begin(study: StudyConfig, threads: int) -> None:
    global _of_this_process
    ignore_interrupt()  # the one who waits for the arms ends them
    signal.signal(signal.SIGTERM, _leave)
    torch.set_num_threads(threads)
    _of_this_process = Runner(study)


def _leave(number: int, frame: FrameType | None) -> None:
    """As a process that has come to its end, and gives back what it holds."""
    raise SystemExit


def _run(arm: Arm) -> None:
    _of_this_process.run(arm)


def report_so_far(study: StudyConfig) -> str:
    """Write the report of the arms that have been run, also while others are, run none, and return its text."""
    file = Path(study.output) / "study.yaml"
    if not file.is_file():
        raise UserError(
            f"{study.output}: expected the folder of a study that was begun, got none; run it first"
        )
    _require_same(file, study)
    path, text = report.write(Runner(study))
    return f"{text}\n{path}"


def _require_same(path: Path, study: StudyConfig) -> None:
    """The file beside the results says what they are results of; keys that came later are as they are by default."""
    if not path.is_file():
        write_text(path, to_yaml(study))
    elif load_study(path) != study:
        raise UserError(
            f"{path}: expected the study that was begun in this folder, got another one; give the same "
            "configuration, or choose another folder with --set output=FOLDER"
        )
