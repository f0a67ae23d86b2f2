"""angles.csv: angles of joints, and speeds of angles and joints, a row per frame and person (`video.angles`).

frame, time, person, then ANGLE_deg, ANGLE_deg_per_s of each angle and JOINT_px_per_s of each joint
"""

import csv
from pathlib import Path

from ..angles import angles, angular_speeds, joint_speeds
from ..digits import ANGLE_DIGITS, PIXEL_DIGITS, TIME_DIGITS, rounded, rounded_all
from ..recording import Recording


def names() -> tuple[str, ...]:
    return ("angles.csv",)


def write(recording: Recording, path: Path) -> None:
    recording.require_rising_times("angular speeds")
    joints = recording.skeleton.joints
    rows = []
    heads: list[str] = []
    for person in recording.persons:
        found = angles(person, joints)
        turning = angular_speeds(person, found, recording)
        columns = [values for name in found for values in (found[name], turning[name])]
        heads = [head for name in found for head in (f"{name}_deg", f"{name}_deg_per_s")]
        speeds = joint_speeds(person, recording)
        for place, row in enumerate(person.rows):
            of_angles = rounded_all([values[place] for values in columns], ANGLE_DIGITS)
            of_joints = rounded_all(speeds[place], PIXEL_DIGITS)
            rows.append((row, person.number, [*of_angles, *of_joints]))
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "time", "person", *heads, *(f"{joint}_px_per_s" for joint in joints)])
        for row, number, cells in sorted(rows, key=lambda row: row[:2]):
            frame = recording.frames[row]
            table.writerow([frame.number, rounded(frame.time, TIME_DIGITS), number, *cells])
