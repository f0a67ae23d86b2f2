"""From a video to joints: decode, follow every person, draw, write."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

import rpstn_ext

from ..averaging import in_words
from ..codec import Codec, decoding_in_words
from ..config import EvalConfig
from ..data.records import Skeleton
from ..device import allow_tf32, choose_device
from ..errors import UserError
from ..files import atomic_write
from ..public_files import open_weights
from ..train.checkpoint import Checkpoint
from . import overlay as drawing
from .people import InGivenBoxes, People, Searched, WholePicture
from .person_boxes import Boxes, read_boxes
from .sources import Frame, Source, open_source
from .streams import PersonStreams
from .writers import FoundPose, FrameInfo, coco, staged, write_coco, write_csv

OVERLAYS = {"mp4": (".mp4",), "webm": (".webm",), "both": (".mp4", ".webm"), "none": ()}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `predict` found and wrote.

    frames: every frame of the source, in order. poses: one per frame and person with a box there, in order of frames,
    then persons. skeleton: names and limbs of the joints. weights: what found them, in a sentence. files: the files
    written, by name. fps: the source's frames per second. speed: frames gone through per second of work. boxes: where
    the people's boxes came from, in words.
    """

    frames: tuple[FrameInfo, ...]
    poses: tuple[FoundPose, ...]
    skeleton: Skeleton
    weights: str
    files: dict[str, Path]
    fps: float
    speed: float
    boxes: str

    @property
    def persons(self) -> tuple[int, ...]:
        """Numbers of the persons, rising."""
        return tuple(sorted({pose.person for pose in self.poses}))


def predict(
    source: str | Path | Sequence[str | Path],
    weights: str | Path,
    out: str | Path,
    *,
    skeleton: str | None = None,
    boxes: str | Path | None = None,
    follow: bool = True,
    persons: int | None = None,
    whole_picture: bool = False,
    device: str = "auto",
    overlay: str = "mp4",
    min_score: float = drawing.MIN_SCORE,
    fps: float | None = None,
    stills: bool = False,
    poses: str | Path | None = None,
    flip: bool = False,
    show_progress: bool = True,
) -> Result:
    """Find the joints of every person in every frame and write them to a folder.

    Frames are decoded one after the other and forgotten. Each person has a recurrent state of its own, which begins
    with the person's first box and is carried on for as long as there are boxes, given, interpolated or followed; who
    was lost and is found again begins anew. The borders of the training's clips are no resets.

    Args:
        source: a video file, a folder of frames (taken in natural order), or pictures of one video in their order.
        weights: a checkpoint of `rpstn train`, or public weights (`public_files`). Crop, input size and decoding are
            those of their training.
        out: folder, made if it is missing, for predictions.json (`writers.coco`), predictions.csv and the overlay.
        skeleton: the data set (`data.sets.SKELETONS`) whose joints public weights find, or None where their number
            tells; of a checkpoint only its own.
        boxes: .csv, .json or .txt file (`data.forms.box_files`). Between two boxes of a person the others are
            interpolated; beyond the last one the person is followed (`people.InGivenBoxes`). None searches for people
            (`people.Searched`).
        follow: False takes the boxes of the file as all there are.
        persons: how many people are searched for at most, 1 unless given.
        whole_picture: do not search: the whole picture is the box of person 0.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        overlay: "mp4", "webm", "both" or "none". For one picture the overlay is a picture too, overlay.png. Frames of
            few pixels are enlarged by a whole number in it (`overlay.enlargement`).
        min_score: joints below are drawn hollow; it changes nothing in the tables.
        fps: frames per second of pictures (25 unless given), or instead of a video's own.
        stills: the frames are pictures that have nothing to do with each other: no state is carried from one to the
            next, and their sizes may differ (the overlay video has the first one's, others are fitted into it).
        poses: for weights of a network that refines poses, a checkpoint of one that finds them.
        flip: average with what is found in the mirrored picture, which takes twice as long.
        show_progress: a bar with frames/s on a terminal.

    Returns:
        Result

    Raises:
        UserError: something does not fit; nothing was written, files of an earlier run are as before.

    Example:
        result = predict("clip.mp4", "runs/penn_action_r50/best.pt", "joints")
        result.poses[0].joints
    """
    if overlay not in OVERLAYS:
        raise UserError(f"--overlay: expected one of {', '.join(OVERLAYS)}, got {overlay}")
    if not np.isfinite(min_score):
        raise UserError(f"--min-score: expected a finite number, got {min_score}")
    _require_one_way(boxes, follow, persons, whole_picture)
    place = choose_device(device, "--device")
    allow_tf32(False)
    media = open_source(source, fps=fps)
    table = None if boxes is None else read_boxes(boxes, media, stills=stills)
    if table is not None and follow and not stills:
        table.fill_gaps()
    checkpoint = open_weights(weights, skeleton=skeleton)
    averages = EvalConfig(
        poses=None if poses is None else str(poses),
        flip=flip,
        flip_shift=checkpoint.codec.geometry == "plain",
    )
    streams = PersonStreams(checkpoint, place, averages)
    people = _people(table, streams.codec, media.fps, persons or 1, follow, whole_picture, stills)

    out = Path(out)
    picture = media.names is not None and len(media.names) == 1
    suffixes = (".png",) if picture and OVERLAYS[overlay] else OVERLAYS[overlay]
    names = ["predictions.json", "predictions.csv", *(f"overlay{suffix}" for suffix in suffixes)]
    inputs = [*media.files, Path(weights), *([] if boxes is None else [Path(boxes)])]
    _require_no_input_among([out / name for name in names], inputs)

    infos: list[FrameInfo] = []
    poses: list[FoundPose] = []
    began = time.monotonic()
    with staged(out, names) as folder:
        with (
            _Overlay(folder, suffixes, media.fps, checkpoint.skeleton, min_score) as pictures,
            _progress(media, show_progress) as bar,
        ):
            for frame, found in _go_through(media, streams, people, stills=stills):
                infos.append(_frame_info(frame))
                poses += found
                pictures.add(frame.image, found, with_boxes=not whole_picture)
                bar.update()
            if table is not None:
                table.require_frames(len(infos))
        with atomic_write(folder / "predictions.json", "w") as file:
            write_coco(
                file, coco(infos, poses, checkpoint.skeleton, _info(media, checkpoint, averages, people))
            )
        with atomic_write(folder / "predictions.csv", "w") as file:
            write_csv(file, infos, poses, checkpoint.skeleton)
    return Result(
        frames=tuple(infos),
        poses=tuple(poses),
        skeleton=checkpoint.skeleton,
        weights=checkpoint.sentence,
        files={name: out / name for name in names},
        fps=media.fps,
        speed=len(infos) / max(time.monotonic() - began, 1e-9),
        boxes=people.in_words,
    )


def _people(
    table: Boxes | None,
    codec: Codec,
    fps: float,
    count: int,
    follow: bool,
    whole_picture: bool,
    stills: bool,
) -> People:
    if table is not None:
        return InGivenBoxes(table, together=codec.shared_frames, fps=fps, follow=follow, stills=stills)
    if whole_picture:
        return WholePicture(stills=stills)
    width, height = codec.input_size
    return Searched(count, aspect=width / height, shown=codec.box_scale, fps=fps, stills=stills)


def _go_through(
    source: Source, streams: PersonStreams, people: People, *, stills: bool
) -> Iterator[tuple[Frame, list[FoundPose]]]:
    """Every frame with the poses of the persons in it."""
    first: tuple[int, int] | None = None
    for frame in source.frames():
        height, width = frame.image.shape[:2]
        first = first or (width, height)
        if (width, height) != first and not stills:
            raise UserError(
                f"{frame.file_name}: expected {first[0]}x{first[1]} pixels like the first frame, got {width}x{height}; "
                "frames of a video have one size, and pictures that are none need --stills"
            )
        boxes = people.boxes(frame, partial(streams.look, frame.image))
        poses = streams.next_frame(
            frame.image, {person: people.crop(frame, person, box) for person, box in boxes.items()}
        )
        for person in people.seen(frame, poses):
            streams.forget(person)
        yield (
            frame,
            [FoundPose.of(frame.number, person, boxes[person], pose) for person, pose in poses.items()],
        )


class _Overlay:
    """The pictures with the poses, as videos or as one picture; a context manager."""

    def __init__(
        self, folder: Path, suffixes: Sequence[str], fps: float, skeleton: Skeleton, min_score: float
    ) -> None:
        self._files = [folder / f"overlay{suffix}" for suffix in suffixes]
        self._fps, self._skeleton, self._min_score = fps, skeleton, min_score
        self._videos: list[drawing.OverlayWriter] = []
        self._stack = ExitStack()

    def __enter__(self) -> "_Overlay":
        return self

    def add(self, image: np.ndarray, poses: Sequence[FoundPose], *, with_boxes: bool) -> None:
        """Draw the poses over a copy of `image`, which may be enlarged, and write it."""
        if not self._files:
            return
        image = drawing.overlaid(
            image,
            [(pose.joints, pose.scores) for pose in poses],
            self._skeleton,
            min_score=self._min_score,
            boxes={pose.person: pose.box for pose in poses} if with_boxes else None,
            strengths=[pose.probabilities for pose in poses],
            hollow=[None if pose.states is None else np.array(pose.states) != "visible" for pose in poses],
        )
        if self._files[0].suffix == ".png":
            with atomic_write(self._files[0]) as file:
                file.write(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
            return
        if not self._videos:
            size = image.shape[1], image.shape[0]
            for file in self._files:
                self._videos.append(self._stack.enter_context(drawing.OverlayWriter(file, self._fps, size)))
        for video in self._videos:
            video.write(drawing.fit(image, video.size))

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)


def _frame_info(frame: Frame) -> FrameInfo:
    height, width = frame.image.shape[:2]
    return FrameInfo(
        number=frame.number, time=frame.time, file_name=frame.file_name, width=width, height=height
    )


def _info(source: Source, checkpoint: Checkpoint, averages: EvalConfig, people: People) -> dict[str, Any]:
    """Where the predictions come from, for the JSON file."""
    calibration = checkpoint.calibration
    return {
        "description": "joints found by rpstn predict; coordinates in pixels, x right, y down, first pixel centre at 0",
        "source": source.name,
        "fps": source.fps,
        "weights": Path(checkpoint.path).name,
        "weights_from": checkpoint.source,
        "model": checkpoint.model_name,
        "architecture": checkpoint.architecture,
        "skeleton": checkpoint.skeleton.name,
        "boxes": people.in_words,
        "codec": checkpoint.codec.to_dict(),
        "refined_poses_of": None if averages.poses is None else Path(averages.poses).name,
        "inference": f"{in_words(averages)}; {decoding_in_words(checkpoint.codec.maps, checkpoint.codec.decoding)}",
        "trained_with": checkpoint.trained_with,
        "calibration": None if calibration is None else calibration.summary,
        "version": rpstn_ext.__version__,
    }


def _progress(source: Source, show: bool) -> tqdm:
    return tqdm(
        total=source.expected,
        desc=source.name,
        unit="frame",
        dynamic_ncols=True,
        disable=None if show else True,
    )


def _require_no_input_among(files: Sequence[Path], inputs: Sequence[Path]) -> None:
    """An overlay of an overlay must not take the place of the video it is made from."""
    taken = {path.resolve() for path in inputs}
    for file in files:
        if file.resolve() in taken:
            raise UserError(f"{file}: expected another --out, this would overwrite what is read")


def _require_one_way(
    boxes: str | Path | None, follow: bool, persons: int | None, whole_picture: bool
) -> None:
    """Boxes are given, or searched for, or the whole picture."""
    if persons is not None and persons < 1:
        raise UserError(f"--persons: expected a number from 1 on, got {persons}")
    if boxes is not None and (persons is not None or whole_picture):
        other = "--persons" if persons is not None else "--whole-picture"
        raise UserError(f"--boxes: expected without {other}, because the file says where the people are")
    if whole_picture and persons is not None:
        raise UserError(
            "--whole-picture: expected without --persons, because the whole picture is one person's"
        )
    if boxes is None and not follow:
        raise UserError("--no-follow: expected with --boxes, which are then all there are; got none")
