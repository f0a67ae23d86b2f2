"""All actions by their names: Penn Action's 15 by those in its label files, and what people do every day."""

from . import everyday, gym, sport
from .actions import Action

PENN_ACTIONS: dict[str, Action] = {
    "baseball_pitch": Action(
        program=sport.baseball_pitch, seconds=(1.9, 2.6), views=(2, 1, 2, 2), handed=True, outdoor=0.9
    ),
    "baseball_swing": Action(
        program=sport.baseball_swing,
        seconds=(1.7, 2.4),
        views=(3, 1, 1, 2),
        props=("bat",),
        handed=True,
        outdoor=0.9,
    ),
    "bench_press": Action(
        program=gym.bench_press,
        seconds=(1.6, 2.4),
        views=(0, 0, 1, 1),
        spread=28,
        props=("barbell", "bench"),
        outdoor=0.05,
    ),
    "bowl": Action(
        program=sport.bowl,
        seconds=(2.0, 2.8),
        views=(0.5, 1.5, 2, 2),
        props=("ball",),
        handed=True,
        once=True,
        outdoor=0.05,
    ),
    "clean_and_jerk": Action(
        program=gym.clean_and_jerk, seconds=(2.6, 3.6), views=(3, 0, 1, 1), props=("barbell",), outdoor=0.1
    ),
    "golf_swing": Action(
        program=sport.golf_swing,
        seconds=(1.8, 2.6),
        views=(3, 1, 1, 1),
        props=("club",),
        handed=True,
        outdoor=0.95,
    ),
    "jump_rope": Action(program=gym.jump_rope, seconds=(0.5, 0.8), views=(3, 1, 1, 1), props=("rope",)),
    "jumping_jacks": Action(program=gym.jumping_jacks, seconds=(0.9, 1.4), views=(4, 1, 0.5, 0.5)),
    "pullup": Action(
        program=gym.pullup, seconds=(1.6, 2.6), views=(1, 2, 0.7, 0.7), props=("high_bar",), outdoor=0.4
    ),
    "pushup": Action(program=gym.pushup, seconds=(1.0, 1.8), views=(0, 0, 1, 1), spread=38),
    "situp": Action(program=gym.situp, seconds=(1.3, 2.2), views=(0, 0, 1, 1), spread=30, props=("mat",)),
    "squat": Action(
        program=gym.squat, seconds=(1.4, 2.2), views=(1, 1, 2, 2), props=("shoulder_bar",), outdoor=0.2
    ),
    "strum_guitar": Action(
        program=sport.strum_guitar,
        seconds=(0.45, 0.8),
        views=(1, 0, 0.2, 0.2),
        spread=25,
        props=("guitar",),
        handed=True,
        outdoor=0.3,
    ),
    "tennis_forehand": Action(
        program=sport.tennis_forehand, seconds=(1.4, 2.0), props=("racket",), handed=True, outdoor=0.9
    ),
    "tennis_serve": Action(
        program=sport.tennis_serve, seconds=(1.9, 2.6), props=("racket",), handed=True, outdoor=0.9
    ),
}

EVERYDAY_ACTIONS: dict[str, Action] = {
    "jump": Action(program=everyday.jump, seconds=(1.1, 1.6), views=(1, 1, 1, 1)),
    "pick": Action(program=everyday.pick, seconds=(1.8, 2.8), views=(1, 0.5, 1.5, 1.5), handed=True),
    "run": Action(program=everyday.run, seconds=(0.62, 0.80), views=(1, 1, 2, 2), outdoor=0.9),
    "stand": Action(program=everyday.stand_about, seconds=(2.5, 4.5), views=(3, 1, 1, 1), handed=True),
    "walk": Action(program=everyday.walk, seconds=(0.95, 1.25), views=(1, 1, 2, 2), outdoor=0.7),
}

ACTIONS = PENN_ACTIONS | EVERYDAY_ACTIONS
