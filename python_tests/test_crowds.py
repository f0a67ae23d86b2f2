"""The benchmark of who is who: true poses with right numbers are perfect, and wrong numbers are counted."""

from types import SimpleNamespace

import numpy as np
import pytest

from rpstn_synth.synthesis import synthesise
from rpstn_training.data.forms import jsonfiles

crowds = pytest.importorskip("benchmarks.crowds", reason="started outside the repository root")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("crowds") / "set"
    synthesise(root, dataset="posetrack2018", clips=4, frames=9, seed=2, size=(160, 120), workers=1)
    return root


def test_true_joints_with_true_boxes_are_perfect_and_wrong_numbers_are_not(root, monkeypatch, tmp_path):
    measure = lambda: crowds.measure(root, tmp_path / "none.pt", ("ids alone",))["ids alone"]  # noqa: E731
    assert measure() == {"AP": 100, "MOTA": 100, "IDF1": 100, "Switches": 0, "Switches of people": 0}
    monkeypatch.setattr(crowds, "link", lambda frames, boxes, **_: np.arange(len(frames)))
    wrong = measure()
    assert wrong["AP"] == 100 and wrong["Switches"] > 20 and wrong["IDF1"] < 50 and wrong["MOTA"] < 50
    assert 5 < wrong["Switches of people"] < wrong["Switches"]


def test_the_boxes_are_the_labels_and_poses_get_the_frames_and_joints_they_are_of(
    root, monkeypatch, tmp_path
):
    """A stand-in network that finds the true poses, in the joints' reverse order."""
    (file,) = (root / "annotations" / "val").glob("*.json")
    labels = jsonfiles.load(file)
    images = sorted(labels["images"], key=lambda image: image["file_name"])
    seen = {}

    def stream(frames, weights, **options):
        way = "boxes" if "boxes" in options else options["persons"]
        seen.setdefault(way, []).append(
            options["boxes"].read_text().splitlines()[1:] if way == "boxes" else None
        )
        assert [path.name for path in frames] == [image["file_name"].rpartition("/")[2] for image in images]
        for number, image in enumerate(images):
            own = [entry for entry in labels["annotations"] if entry["image_id"] == image["id"]]
            joints = [np.array(entry["keypoints"]).reshape(-1, 3)[::-1, :2] for entry in own]
            yield (
                SimpleNamespace(number=number),
                [
                    SimpleNamespace(
                        person=entry["track_id"],
                        joints=one,
                        scores=np.ones(17),
                        probabilities=(one > 0).any(axis=1) * 0.9,
                    )
                    for entry, one in zip(own, joints)
                ],
            )

    monkeypatch.setattr(crowds, "stream", stream)
    opened = SimpleNamespace(skeleton=SimpleNamespace(joints=crowds.NAMES[::-1]), calibration=None)
    monkeypatch.setattr(crowds, "open_weights", lambda _: opened)
    result = crowds.measure(root, tmp_path / "w.pt", ("true boxes", "noisy boxes", "no boxes"))
    for row in result.values():  # joints without a label are at 0, 0 and false alarms
        assert row["Switches"] == row["Switches of people"] == 0 and row["AP"] > 50 and row["MOTA"] < 90
    for least, mota in ((0.8, 100), (0.95, -100)):  # what is left out: nothing that is labelled, or all
        opened.calibration = SimpleNamespace(joint_threshold=least)
        (row,) = crowds.measure(root, tmp_path / "w.pt", ("no boxes",)).values()
        assert row["AP"] > 50 and row["MOTA"] == pytest.approx(mota, abs=5)
    true, noisy = seen["boxes"]
    people = len(labels["annotations"])
    assert len(true) == people and 0.7 * people < len(noisy) < 1.1 * people
    x1, y1, width, height = labels["annotations"][0]["bbox"]
    assert [float(value) for value in true[0].split(",")[1:]] == pytest.approx(
        [x1, y1, x1 + width - 1, y1 + height - 1]
    )
    assert set(seen) == {
        "boxes",
        max(
            sum(entry["image_id"] == image["id"] for entry in labels["annotations"])
            + len(image.get("ignore_regions_x", ()))
            for image in images
        ),
    }


def test_who_is_away_for_more_than_a_second_may_come_back_as_somebody_else():
    def entry(frame, number):
        return {"image_id": frame, "track_id": number, "keypoints": [5, 5, 1] * 17, "bbox": [0, 0, 40, 90]}

    for away, switches in ((int(crowds.FPS) + 1, 0), (int(crowds.FPS), 1)):
        frames = [0, 1, 1 + away, 2 + away]
        labels = {
            "images": [{"id": frame, "file_name": f"{frame:03d}"} for frame in range(4 + away)],
            "annotations": [entry(frame, 3) for frame in frames],
        }
        found = [entry(frame, 0 if frame <= 1 else 1) for frame in frames]
        counts = crowds.tracking([crowds.whole_people(labels, found)], 1).counts[0]
        assert counts.switches == switches and counts.detections == 3  # the last frame is left out
