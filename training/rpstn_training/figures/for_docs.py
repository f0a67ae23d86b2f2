"""The pictures of the pages under docs/, of drawn people only:

  python -m rpstn_training.figures.for_docs docs --demo demo

Writes docs/pictures/ from clips that it draws, and with a finished demo (`rpstn demo`) docs/gallery.md and the pictures
in it. The same clips and weights give the same pictures.
"""

import argparse
import html
import json
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from rpstn_synth import synthesise

from ..config import DataConfig
from ..data.boxes import person_size
from ..data.clips import read_frame
from ..data.images import read_image
from ..data.records import Track
from ..data.sets import load_skeleton, load_tracks
from ..files import write_text
from ..scores.pck import torso_size
from ..video.overlay import overlaid
from .pictures import write_jpg
from .plots import write_figure

_CLIPS, _FRAMES = 60, 5
_SIZE = (320, 240)
_QUALITY = 85
# What gallery.md shows of a demo: file, caption.
_FROM_DEMO = {
    "tolerance.png": "What a tolerance is on a person, with what the demo's network found",
    "curve.png": "The score at every tolerance",
    "parts.png": "Part by part",
    "actions.png": "Action by action",
    "before_after.png": "Before and after the relation step, all held-out frames",
    "relation.png": "The joints' relations in one frame (Fig. 7 of the paper)",
    "heatmaps.png": "Heat maps before and after the relation extractor (Fig. 8)",
    "training.png": "The training",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs"))
    parser.add_argument("--demo", type=Path, help="a finished demo, for the gallery")
    args = parser.parse_args()
    pictures = args.folder / "pictures"
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("penn_action", "mpii", "coco", "posetrack2018"):
            clips = _CLIPS if name == "penn_action" else 4
            synthesise(Path(scratch) / name, dataset=name, clips=clips, frames=_FRAMES, size=_SIZE)
        write_figure(Path(scratch) / "tolerances.png", tolerances(Path(scratch)))
        write_jpg(pictures / "tolerances.jpg", read_image(Path(scratch) / "tolerances.png"), quality=_QUALITY)
        write_jpg(pictures / "people.jpg", people(Path(scratch) / "penn_action"), quality=_QUALITY)
        write_jpg(pictures / "overlay.jpg", crowd(Path(scratch) / "posetrack2018"), quality=_QUALITY)
    if args.demo is not None:
        write_text(args.folder / "gallery.md", gallery(args.demo, pictures))


def tolerances(root: Path) -> Figure:
    """What each score calls found, to scale, on a drawn person: PCK by person and torso, PCKh, OKS."""
    figure = Figure(figsize=(10.8, 8.6), layout="constrained")
    panels = figure.subplots(2, 2).flat
    track = _fullest(_tracks(root / "penn_action", "penn_action"))
    truth, pair = track.joints[0], _skeleton("penn_action").torso
    person = float(person_size(track.score_boxes)[0])
    torso = float(torso_size(track.joints, track.joints, pair)[0])
    image = read_frame(track, 0)
    _panel(
        next(panels),
        image,
        truth,
        0.2 * person,
        "PCK@0.2 by the person's size (longer side of the box)",
        track.score_boxes[0],
    )
    _panel(
        next(panels),
        image,
        truth,
        0.2 * torso,
        "PCK@0.2 by the torso's size (right shoulder to left hip)",
        truth[list(pair)],
    )
    track = _fullest(_tracks(root / "mpii", "mpii"))
    ends = [_skeleton("mpii").joints.index(name) for name in ("head_top", "upper_neck")]
    head = track.joints[0][ends]
    radius = 0.5 * float(np.linalg.norm(head[0] - head[1]))
    _panel(
        next(panels), read_frame(track, 0), track.joints[0], radius, "PCKh@0.5 (head, here neck to top)", head
    )
    image, truth, area = _coco_person(root / "coco")
    spread = 2 * np.array(_skeleton("coco").sigmas) * np.sqrt(area)
    axes = next(panels)
    for similarity, style in ((0.5, "--"), (0.75, "-")):
        _panel(axes, image, truth, spread * np.sqrt(-2 * np.log(similarity)), "", style=style)
    axes.set_title("OKS of one joint: 0.5 dashed, 0.75 solid", fontsize=10)
    return figure


def _panel(
    axes: Axes,
    image: np.ndarray,
    truth: np.ndarray,
    radii: float | np.ndarray,
    title: str,
    size: np.ndarray | None = None,
    *,
    style: str = "-",
) -> None:
    """Circles about the joints [K, 2], and what the tolerance is a share of: a box [4] or a line [2, 2]."""
    axes.imshow(image)
    for place, radius in zip(truth, np.broadcast_to(radii, len(truth))):
        if np.isfinite(place).all():
            axes.add_patch(
                Circle(place, radius, fill=False, edgecolor="white", linestyle=style, linewidth=1.1)
            )
            axes.plot(*place, ".", color="#ffb000", markersize=4)
    if size is not None and size.shape == (4,):
        x1, y1, x2, y2 = size
        size = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
    if size is not None:
        axes.plot(*size.T, color="#ff3c3c", linewidth=1.6)
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def people(root: Path) -> np.ndarray:
    """RGB: a frame of the first clip of each action, with its true joints; what is hidden is hollow."""
    skeleton, firsts = _skeleton("penn_action"), {}
    for track in sorted(_tracks(root, "penn_action"), key=lambda track: (track.action, track.name)):
        firsts.setdefault(track.action, track)
    cells = []
    for action, track in firsts.items():
        frame = len(track) // 2
        cells.append(
            overlaid(
                read_frame(track, frame),
                [(track.joints[frame], np.ones(len(skeleton.joints)))],
                skeleton,
                strengths=[np.ones(len(skeleton.joints))],
                hollow=[~track.visible[frame]],
                place=action.replace("_", " "),
            )
        )
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % 3)
    rows = [np.hstack(cells[first : first + 3]) for first in range(0, len(cells), 3)]
    whole = np.vstack(rows)
    return cv2.resize(whole, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


def crowd(root: Path) -> np.ndarray:
    """RGB: people of one frame with their true joints, as an overlay draws them."""
    tracks = _tracks(root, "posetrack2018")
    video = max(
        sorted({track.video for track in tracks}), key=lambda name: sum(t.video == name for t in tracks)
    )
    chosen = [track for track in tracks if track.video == video]
    frame = min(len(track) for track in chosen) // 2
    number = chosen[0].image_ids[frame]
    there = [track for track in chosen if number in track.image_ids]
    at = [track.image_ids.index(number) for track in there]
    skeleton = _skeleton("posetrack2018")
    sure = np.ones(len(skeleton.joints))
    return overlaid(
        read_frame(there[0], at[0]),
        [(np.where(t.labelled[f][:, None], t.joints[f], np.nan), sure) for t, f in zip(there, at)],
        skeleton,
        boxes={person: t.score_boxes[f] for person, (t, f) in enumerate(zip(there, at))},
        strengths=[sure] * len(there),
        hollow=[~t.visible[f] for t, f in zip(there, at)],
        place=f"frame {frame}",
        notice="drawn people with their true joints: no network has looked at this picture",
    )


def gallery(demo: Path, pictures: Path) -> str:
    """gallery.md, and copies of a demo's pictures."""
    page = html.unescape((demo / "index.html").read_text(encoding="utf-8"))
    made = re.search(r"Made by rpstn demo with .*", page)[0].removesuffix("</p>")
    trained = " ".join(
        re.search(r"It was trained here,(.*?)held\s+out \(seed \d+\)", page, re.DOTALL)[0].split()
    )
    lines = [
        "# Gallery",
        "",
        "Drawn people only, made by `python -m rpstn_training.figures.for_docs docs --demo demo`. Of each action the",
        "first clip with its true joints, which the program knows because it drew them; hollow joints are hidden:",
        "",
        "![drawn people doing fifteen things, with their skeletons](pictures/people.jpg)",
        "",
        "Several people, as an overlay shows them:",
        "",
        "![a picture with several drawn people, each with a colour and a number](pictures/overlay.jpg)",
        "",
        f"What `rpstn demo` made. {trained}.",
        f"{made} What the numbers mean is in [scores.md](scores.md).",
    ]
    cases = sorted((demo / "cases").glob("*.png"))
    chosen = [
        path for place, path in enumerate(cases) if place // 2 % 4 == 0
    ]  # every fourth action, both frames
    for path in [demo / name for name in _FROM_DEMO] + chosen:
        pictures.mkdir(parents=True, exist_ok=True)
        image = read_image(path)
        write_jpg(pictures / f"demo_{path.stem}.jpg", image, quality=_QUALITY)
    for name, caption in _FROM_DEMO.items():
        lines += ["", f"{caption}:", "", f"![{caption.lower()}](pictures/demo_{Path(name).stem}.jpg)"]
    lines += ["", "Typical and worst frames of every fourth action, truth left, prediction right:"]
    for path in chosen:
        words = re.sub(r"^\d+ ", "", path.stem.replace("_", " "))
        lines += ["", f"![{words}](pictures/demo_{path.stem}.jpg)"]
    return "\n".join(lines) + "\n"


def _skeleton(name: str):
    return load_skeleton(DataConfig(name=name, root="."))


def _tracks(root: Path, name: str) -> list[Track]:
    data = DataConfig(name=name, root=str(root), clip_length=1)
    return [*load_tracks(data, "train"), *load_tracks(data, "test")]


def _fullest(tracks: list[Track]) -> Track:
    """The first of those whose first frame has the most visible joints."""
    return max(tracks, key=lambda track: int(track.visible[0].sum()))


def _coco_person(root: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Picture, joints [K, 2] (NaN without a label) and area of the person with the most key points."""
    file = sorted((root / "annotations").glob("person_keypoints_val*.json"))[0]
    labels = json.loads(file.read_text(encoding="utf-8"))
    person = max(labels["annotations"], key=lambda one: (one["num_keypoints"], one["area"]))
    name = next(image["file_name"] for image in labels["images"] if image["id"] == person["image_id"])
    (picture,) = root.rglob(name)
    points = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
    return read_image(picture), np.where(points[:, 2:] > 0, points[:, :2], np.nan), float(person["area"])


if __name__ == "__main__":
    main()
