"""From a video to joints: decode, follow every person, draw, write.

A source on its way is a `Job`: it has frames, people who are looked for in them, a picture with the poses over it and
files. `predict` takes one source; what it does can be had frame by frame from `stream`.
"""

import math
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import rpstn_ext

from ..averaging import in_words
from ..codec import decoding_in_words
from ..config import EvalConfig
from ..detection import detector
from ..device import allow_tf32, choose_device
from ..errors import UserError
from ..packaged import packaged_weights
from ..public_files import open_weights
from ..versions import versions
from ..words import several
from . import outputs
from .ahead import ahead
from .detected import Detected, detector_in_words, every
from .filters import Filtering
from .formats import file_names, write_formats
from .lanes import together
from .options import Options
from .people import InGivenBoxes, People, Searched, WholePicture
from .person_boxes import Boxes, read_boxes
from .pictures import OVERLAYS, Pictures
from .progress import Progress
from .recording import read_recording
from .result import Result
from .searched_crowd import SearchedCrowd
from .selection import Selection
from .sources import Frame, Source
from .streams import PersonStreams
from .writers import CocoWriter, CsvWriter, FoundPose, FrameInfo, Header, Writer

_UNEVEN = 1.5  # times the shortest time from frame to frame: stamps in whole milliseconds differ by less


class Predictor:
    """Weights, opened once for any number of sources."""

    def __init__(self, weights: str | Path, options: Options, *, fold: bool = True) -> None:
        self.options, self.weights = options, Path(weights)
        place = choose_device(options.device, "--device")
        allow_tf32(False)
        self.checkpoint = open_weights(weights, skeleton=options.skeleton)
        self.averages = EvalConfig(
            poses=None if options.poses is None else str(options.poses),
            flip=options.flip,
            flip_shift=self.checkpoint.codec.geometry == "plain",
        )
        self.streams = PersonStreams(
            self.checkpoint, place, self.averages, fold=fold, precision=options.precision
        )
        self._find = None if options.detector is None else detector.finder(options.detector, place)

    def people(self, media: Source, table: Boxes | None) -> People:
        options, codec = self.options, self.streams.codec
        select = None if options.select is None else Selection.read(options.select)
        joints = len(self.checkpoint.skeleton.joints)
        calibration = self.checkpoint.calibration
        least = None if calibration is None else calibration.pose_threshold
        if self._find is not None:
            return Detected(
                every(1 if options.stills else options.detect_every, self._find),
                joints=joints,
                fps=media.fps,
                stills=options.stills,
                select=select,
                most=options.persons,
                in_words=detector_in_words(options.detect_every, stills=options.stills),
                least=least,
            )
        if table is not None and not table.named:
            followed = ", interpolated between, people followed where it misses them"
            return Detected(
                table.found,
                joints=joints,
                fps=media.fps,
                stills=False,
                select=select,
                in_words="boxes from a file" + (followed if options.follow else ""),
                ahead=table.after,
                follow=options.follow,
                least=least,
            )
        if table is not None:
            return InGivenBoxes(
                table,
                together=codec.shared_frames,
                fps=media.fps,
                follow=options.follow,
                stills=options.stills,
                select=select,
            )
        if not options.searches:
            return WholePicture(stills=options.stills)
        width, height = codec.input_size
        how = {
            "aspect": width / height,
            "shown": codec.box_scale,
            "fps": media.fps,
            "stills": options.stills,
            "least": least,
        }
        count = options.persons or 1
        return Searched(select=select, **how) if count == 1 else SearchedCrowd(count, **how)


def predict(
    source: str | Path | Sequence[str | Path], weights: str | Path | None, out: str | Path, **options: Any
) -> Result:
    """Find the joints of every person in every frame and write them to a folder.

    Frames are decoded one after the other and forgotten, as are the poses once they are written. Each person has a
    recurrent state of its own, which begins with the person's first box and is carried on for as long as there are
    boxes, given, interpolated or followed; who was lost and is found again begins anew. The borders of the training's
    clips are no resets.

    Args:
        source: a video file, a folder of frames (taken in natural order), or pictures of one video in their order.
        weights: a checkpoint of `rpstn train`, public weights (`public_files`), or None for those that come with the
            package. Crop, input size and decoding are those of their training.
        out: folder, made if it is missing, for predictions.json, predictions.csv (`writers`) and the overlay.
        options: fields of `Options` by their names.

    Returns:
        Result; of a camera or a stream, what there was until Ctrl-C.

    Raises:
        UserError: something does not fit; nothing was written, files of an earlier run are as before.
        KeyboardInterrupt: Ctrl-C; what was finished by then is beside the results' places, with .partial at its end.

    Example:
        result = predict("clip.mp4", "runs/penn_action_r50/best.pt", "joints")
        result.poses[0].joints
    """
    how = Options(**options)
    weights = packaged_weights() if weights is None else weights
    media = how.open(source)
    made_with = made_with_these(media, settings_mark(weights, how))
    before = results_before(Path(out), made_with, how)
    if before is not None:
        return before
    table = boxes_for(media, how)
    predictor = Predictor(weights, how)
    job = Job(media, table, predictor, Path(out), made_with)
    with Progress(media.name, media.expected, how.show_progress) as progress:
        ((_, result),) = together(iter([job]), progress, lanes=1, failed=_raise)
    return result


def _raise(job: "Job", error: UserError) -> None:
    raise error


def stream(
    source: str | Path | Sequence[str | Path], weights: str | Path | None, **options: Any
) -> Iterator[tuple[Frame, list[FoundPose]]]:
    """Frames with the poses found in them, one after the other, and nothing is written.

    Args and options are those of `predict`.

    Example:
        for frame, poses in stream("clip.mp4", "best.pt", persons=2):
            print(frame.time, [pose.joints[0] for pose in poses])
    """
    how = Options(**options)
    weights = packaged_weights() if weights is None else weights
    media = how.open(source)
    table = boxes_for(media, how)
    predictor = Predictor(weights, how)
    search = _Looking(media, predictor.people(media, table), predictor.streams, stills=how.stills)
    frames = ahead(media.frames())
    try:
        for frame in frames:
            boxes = search.boxes(frame)
            yield frame, search.found(frame, predictor.streams.next_frame(frame.image, boxes))
    finally:
        frames.close()


class _Looking:
    """Where people are looked for in the frames of one source, and what was found there."""

    def __init__(
        self, media: Source, people: People, streams: PersonStreams, *, stills: bool, key: Hashable = None
    ) -> None:
        self._people, self._streams, self._stills, self._key = people, streams, stills, key
        self._size: tuple[int, int] | None = None
        self._given: dict[int, np.ndarray] = {}

    def boxes(self, frame: Frame) -> dict[int, np.ndarray]:
        """Person to the box [4] that is cut out of this frame."""
        size = frame.size
        self._size = self._size or size
        if size != self._size and not self._stills:
            width, height = self._size
            raise UserError(
                f"{frame.file_name}: expected {width}x{height} pixels like the first frame, got {size[0]}x{size[1]}; "
                "frames of a video have one size, and pictures that are none need --stills"
            )
        self._given = self._people.boxes(frame, partial(self._streams.look, frame.image))
        return {person: self._people.crop(frame, person, box) for person, box in self._given.items()}

    def found(self, frame: Frame, poses: dict[int, Any]) -> list[FoundPose]:
        """The poses that the network found in those boxes."""
        for person in self._people.seen(frame, poses):
            self._streams.forget(person, self._key)
        return [
            FoundPose.of(frame.number, person, self._given[person], pose)
            for person, pose in poses.items()
            if person not in self._people.hidden
        ]


class Job:
    """One source on its way to its files; a context manager."""

    def __init__(
        self,
        media: Source,
        table: Boxes | None,
        predictor: Predictor,
        out: Path,
        made_with: dict[str, Any],
    ) -> None:
        """Raises UserError where something of what is read, or results that shall stay, would be overwritten."""
        options = predictor.options
        self.media, self.out = media, out
        self._table, self._predictor, self._made_with = table, predictor, made_with
        self._people = predictor.people(media, table)
        self.key, self.streams = id(self), predictor.streams
        self._looking = _Looking(media, self._people, predictor.streams, stills=options.stills, key=self.key)
        self._filtering = Filtering.of(options.smooth, options.fill_gaps)
        if self._filtering is not None:
            self._filtering.check(media.fps, stills=options.stills)
        # What needs no more than a frame is written frame by frame, the rest from predictions.json at the end.
        self._writers = [CocoWriter, *([CsvWriter] if "csv" in options.formats else [])]
        picture = media.names is not None and len(media.names) == 1
        suffixes = (".png",) if picture and OVERLAYS[options.overlay] else OVERLAYS[options.overlay]
        self._overlays = tuple(f"overlay{suffix}" for suffix in suffixes)
        self._made = file_names(options.formats, filtered=self._filtering is not None)
        streamed = [name for writer in self._writers for name in writer.names]
        self.names = tuple(dict.fromkeys([*streamed, *self._made, *self._overlays]))
        boxes = [] if options.boxes is None else [Path(options.boxes)]
        _require_no_input_among(
            [out / name for name in self.names], [*media.files, predictor.weights, *boxes]
        )
        outputs.require_free(out, self.names, overwrite=options.overwrite)
        self._frames = self._poses = 0
        self._scores = self._probabilities = 0.0
        self._persons: set[int] = set()
        self._last: FrameInfo | None = None
        self._gaps = math.inf, 0.0  # the shortest and the longest time from frame to frame
        self._began = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> "Job":
        options, checkpoint = self._predictor.options, self._predictor.checkpoint
        with ExitStack() as stack:
            self._staged = stack.enter_context(outputs.staged(self.out, (*self.names, outputs.RECORD)))
            folder = self._staged.folder
            header = Header(
                skeleton=checkpoint.skeleton,
                fps=self.media.fps,
                info=_info(self.media, self._predictor, self._people),
            )
            self._open: list[Writer] = []
            with outputs.refusals(self.out):
                for make in self._writers:
                    self._open.append(make(folder))
                    stack.callback(_close, self._open[-1])
                    self._open[-1].begin(header)
            self._pictures = stack.enter_context(
                Pictures(
                    [folder / name for name in self._overlays],
                    self.media,
                    checkpoint.skeleton,
                    options.min_score,
                    sure_from=None
                    if checkpoint.calibration is None
                    else checkpoint.calibration.joint_threshold,
                    notice=checkpoint.notice or "",
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def boxes(self, frame: Frame) -> dict[int, np.ndarray]:
        """Person to the box [4] that is cut out of this frame."""
        return self._looking.boxes(frame)

    def take(self, frame: Frame, poses: dict[int, Any]) -> None:
        """The poses that the network found in those boxes, to be drawn and written."""
        found = self._looking.found(frame, poses)
        info = _frame_info(frame)
        with outputs.refusals(self.out):
            for writer in self._open:
                writer.add(info, found)
            self._pictures.add(frame, found, with_boxes=not self._predictor.options.whole_picture)
        self._frames += 1
        self._poses += len(found)
        self._scores += sum(float(pose.scores.mean()) for pose in found)
        self._probabilities += sum(pose.probability or 0.0 for pose in found)
        self._persons.update(pose.person for pose in found)
        if self._last is not None:
            gap = (frame.time - self._last.time) / (frame.number - self._last.number)
            self._gaps = min(gap, self._gaps[0]), max(gap, self._gaps[1])
        self._last = info

    def finish(self) -> Result:
        """The files take their places."""
        window = self.media.window
        if self._table is not None and self._last is not None and window.end is None:
            self._table.require_frames(self._last.number + window.every)
        self._end()
        calibration = self._predictor.checkpoint.calibration
        self._make_other_files()
        result = Result(
            source=self.media.name,
            frame_count=self._frames,
            pose_count=self._poses,
            persons=tuple(sorted(self._persons)),
            mean_score=_mean(self._scores, self._poses),
            mean_probability=_mean(self._probabilities, self._poses) if calibration else None,
            calibrated=calibration.fitted_on if calibration else None,
            skeleton=self._predictor.checkpoint.skeleton,
            weights=self._predictor.checkpoint.sentence,
            files={name: self.out / name for name in self.names},
            fps=self.media.fps,
            speed=self._frames / max(time.monotonic() - self._began, 1e-9),
            boxes=self._people.in_words,
            varying_rate=self._gaps[1] > _UNEVEN * self._gaps[0],
        )
        outputs.write_record(self._staged.folder, self._made_with, result.to_dict())
        with outputs.refusals(self.out):
            self._staged.publish()
        return result

    def _make_other_files(self) -> None:
        folder, options = self._staged.folder, self._predictor.options
        streamed = {name for writer in self._writers for name in writer.names}
        if set(self._made) <= streamed:
            return
        try:
            with outputs.refusals(self.out):
                raw = read_recording(folder / CocoWriter.names[0])
                write_formats(raw, self._filtering, options.formats, folder, without=streamed)
        except UserError as error:  # what took hours to find is not lost for the sake of another file
            with outputs.refusals(self.out):
                kept = self._staged.keep_partial()
            raise UserError(f"{error}; what was found is in {', '.join(map(str, kept))}") from error

    def keep_partial(self) -> str:
        """What is finished by now stays beside the results' places; returns a sentence about it."""
        if self._frames == 0:
            return f"stopped before the first frame of {self.media.name} was finished; nothing was written"
        self._end()
        with outputs.refusals(self.out):
            kept = self._staged.keep_partial()
        done = several(self._frames, "frame")
        return f"stopped after {done} of {self.media.name}; what was found is in {', '.join(map(str, kept))}"

    def _end(self) -> None:
        with outputs.refusals(self.out):
            for writer in self._open:
                writer.end()
            self._pictures.end()


def _mean(total: float, count: int) -> float | None:
    """None without any, and of what a network gave that is no number."""
    return total / count if count and math.isfinite(total) else None


def _close(writer: Writer) -> None:
    """After a failed write the next one fails too: that of what a file still holds back."""
    with suppress(OSError):
        writer.close()


def boxes_for(media: Source, options: Options) -> Boxes | None:
    """The boxes that are given."""
    if options.boxes is None:
        return None
    table = read_boxes(options.boxes, media, stills=options.stills)
    if options.follow and not options.stills and table.named:
        table.fill_gaps()
    table.keep_every(options.every)
    return table


def settings_mark(weights: str | Path, options: Options) -> dict[str, Any]:
    """What results depend on besides their source."""
    path = Path(weights)
    return {
        "weights": outputs.file_mark(path) if path.is_file() else str(path),
        "options": options.that_matter,
        "version": rpstn_ext.__version__,
    }


def made_with_these(media: Source, settings: dict[str, Any]) -> dict[str, Any]:
    """What the results of a source depend on, its files and the settings (`settings_mark`)."""
    marked = (
        {"name": media.name} if media.files else {"name": media.name, "begun": time.time()}
    )  # never the same again
    return {"source": marked | outputs.source_mark(media.files), **settings}


def results_before(out: Path, made_with: dict[str, Any], options: Options) -> Result | None:
    """Results that are there already, made with the same."""
    if options.overwrite:
        return None
    record = outputs.recorded(out)
    if record is None or record["made_with"] != made_with:
        return None
    result = Result.of_record(record["result"], out)
    return result if all(path.exists() for path in result.files.values()) else None


def _frame_info(frame: Frame) -> FrameInfo:
    height, width = frame.image.shape[:2]
    return FrameInfo(
        number=frame.number, time=frame.time, file_name=frame.file_name, width=width, height=height
    )


def _info(source: Source, predictor: Predictor, people: People) -> dict[str, Any]:
    """Where the predictions come from, for the JSON file."""
    checkpoint, averages = predictor.checkpoint, predictor.averages
    calibration = checkpoint.calibration
    return {
        "description": "joints found by rpstn predict; coordinates in pixels, x right, y down, first pixel centre at 0",
        "source": source.name,
        "fps": source.fps,
        "stills": predictor.options.stills,
        "weights": Path(checkpoint.path).name,
        "weights_from": checkpoint.source,
        "notice": checkpoint.notice,
        "model": checkpoint.model_name,
        "architecture": checkpoint.architecture,
        "skeleton": checkpoint.skeleton.name,
        "boxes": people.in_words,
        "codec": checkpoint.codec.to_dict(),
        "refined_poses_of": None if averages.poses is None else Path(averages.poses).name,
        "inference": f"{in_words(averages)}; {decoding_in_words(checkpoint.codec.maps, checkpoint.codec.decoding)}",
        "precision": predictor.options.precision,
        "trained_with": checkpoint.trained_with,
        "calibration": None if calibration is None else calibration.summary,
        "version": rpstn_ext.__version__,
        "commit": versions()["commit"],
    }


def _require_no_input_among(files: Sequence[Path], inputs: Sequence[Path]) -> None:
    """An overlay of an overlay must not take the place of the video it is made from."""
    taken = {path.resolve() for path in inputs}
    for file in files:
        if file.resolve() in taken:
            raise UserError(f"{file}: expected another --out, this would overwrite what is read")
