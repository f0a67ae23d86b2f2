"""A study from its configuration to its text."""

from pathlib import Path

from ..errors import UserError
from ..files import locked, write_text
from . import report
from .arms import Runner, arms
from .plan import StudyConfig, load_study, to_yaml


def run_study(study: StudyConfig) -> str:
    """Run every arm that has not been run, write the report, and return its text.

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
        for number, arm in enumerate(listed, start=1):
            if runner.read(arm) is None:
                print(f"{number} of {len(listed)}: {arm.key}", flush=True)
                runner.run(arm)
        path, text = report.write(runner)
    return f"{text}\n{path}"


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
