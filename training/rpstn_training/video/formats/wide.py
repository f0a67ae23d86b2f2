"""predictions_wide.csv: a row per frame and person.

    frame, time, person, box_x1, box_y1, box_x2, box_y2, then of each joint NAME_x, NAME_y, NAME_score,
    NAME_probability, NAME_state

Times are seconds, places pixels of the picture (x right, y down, first pixel centre at 0). What is missing is empty.
"""

import csv
from pathlib import Path

from ..digits import PIXEL_DIGITS, SCORE_DIGITS, TIME_DIGITS, rounded, rounded_all
from ..recording import Recording

_OF_A_JOINT = ("x", "y", "score", "probability", "state")


def names() -> tuple[str, ...]:
    return ("predictions_wide.csv",)


def write(recording: Recording, path: Path) -> None:
    joints = recording.skeleton.joints
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        columns = [f"{joint}_{column}" for joint in joints for column in _OF_A_JOINT]
        table.writerow(["frame", "time", "person", "box_x1", "box_y1", "box_x2", "box_y2", *columns])
        nothing = ("",) * len(joints)
        for frame, poses in recording.by_frame():
            for pose in poses:
                probabilities = nothing
                if pose.probabilities is not None:
                    probabilities = rounded_all(pose.probabilities, SCORE_DIGITS)
                cells = [
                    cell
                    for (x, y), *rest in zip(
                        pose.joints,
                        rounded_all(pose.scores, SCORE_DIGITS),
                        probabilities,
                        pose.states or nothing,
                    )
                    for cell in (rounded(x, PIXEL_DIGITS), rounded(y, PIXEL_DIGITS), *rest)
                ]
                box = rounded_all(pose.box, PIXEL_DIGITS)
                table.writerow([frame.number, rounded(frame.time, TIME_DIGITS), pose.person, *box, *cells])
