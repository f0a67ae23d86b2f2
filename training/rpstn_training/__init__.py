"""Training, evaluation, prediction and pictures for the models of `rpstn_ext`.

What is of use from Python is here under short names, loaded when it is asked for (docs/python.md):

    predict(source, weights, out, ...)        a video, its joints as files
    predict_many(sources, weights, out, ...)  folders and lists of videos; what is broken stops no other
    stream(source, weights, ...)              a video, its joints frame by frame
    PersonStreams(open_weights(...))          pictures of one's own, its joints frame by frame
    read_recording, reformat, Filtering       what was found: arrays, other files, smoothed
"""

import importlib
from typing import Any

_PLACES = {
    "PersonStreams": "video.streams",
    "open_weights": "public_files",
    "packaged_weights": "packaged",
    "predict": "video.pipeline",
    "predict_many": "video.many",
    "stream": "video.pipeline",
    "read_recording": "video.recording",
    "Filtering": "video.filters",
    "smoother": "video.filters",
    "reformat": "video.reformatting",
    "angles": "video.angles",
    "joint_speeds": "video.angles",
    "UserError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
