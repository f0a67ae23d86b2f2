"""predictions.json, COCO key points (`writers.CocoWriter`)."""

from pathlib import Path

from ..recording import Recording
from ..writers import CocoWriter, Header, Writer


def names() -> tuple[str, ...]:
    return CocoWriter.names


def write(recording: Recording, path: Path) -> None:
    replay(recording, CocoWriter(path.parent, path.name))


def replay(recording: Recording, writer: Writer) -> None:
    """Let a writer hear of the recording's frames."""
    try:
        writer.begin(Header(skeleton=recording.skeleton, fps=recording.fps, info=recording.info))
        for frame, poses in recording.by_frame():
            writer.add(frame, poses)
        writer.end()
    finally:
        writer.close()
