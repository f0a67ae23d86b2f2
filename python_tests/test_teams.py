"""The processes of test_ranks.py end, whatever happens in them."""

import os
import signal
import subprocess
import time

import pytest
from teams import DIED, Team


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def with_a_child(action: str) -> int:
    child = subprocess.Popen(["sleep", "600"])
    if action == "sleep":
        time.sleep(600)
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise KeyError(f"child {child.pid}")
    return child.pid


def is_there(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(processes: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(is_there, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_there, processes))


def test_a_team_outlives_no_failure():
    with Team(2, limit=60) as team:
        answers = team.run(double, [(1,), (2,)])
        assert [value for value, _ in answers] == [2, 4]
        first = [process for _, process in answers]
        assert [process for _, process in team.run(double, [(3,), (4,)])] == first  # they live on
        child = team.run(with_a_child, [("return",)])[0]
        assert is_there(child)
        with pytest.raises(AssertionError, match=r"KeyError: 'child \d+'"):
            team.run(with_a_child, [("return",), ("raise",)])
        assert gone([*first, child])
        with pytest.raises(AssertionError, match=r"died \(at work still: \[0\]; done: \['died'\]\)"):
            team.run(with_a_child, [("sleep",), ("die",)])
        assert team.run(with_a_child, [("die",)], may_die=True) == [DIED]
        (value, process), _ = team.run(double, [(5,), (6,)])
        assert value == 10 and process not in first
        last = [process, team.run(with_a_child, [("return",)])[0]]
    assert gone(last)


def test_work_without_an_end_has_one():
    with Team(1, limit=2) as team, pytest.raises(AssertionError, match="not done after 2 s"):
        team.run(with_a_child, [("sleep",)])
