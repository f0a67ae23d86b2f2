"""Files of pictures as cameras and copies leave them: no end mark, EXIF orientations, more than 8 bits."""

import cv2
import numpy as np
import pytest
from label_files import body, dump
from picture_files import with_orientation
from PIL import Image
from tiny_clips import codec_for

from rpstn_training.commands.check_data import check
from rpstn_training.config import Config, DataConfig
from rpstn_training.data import exif, jpeg
from rpstn_training.data.clips import read_frame
from rpstn_training.data.findings import Report
from rpstn_training.data.images import read_image
from rpstn_training.data.sets import load_skeleton, load_tracks
from rpstn_training.errors import UserError
from rpstn_training.video.sources import open_source

WIDTH, HEIGHT = 60, 40


def smooth(seed=0, size=(HEIGHT, WIDTH)):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def encode(image, *flags):
    return cv2.imencode(".jpg", image, flags)[1].tobytes()


def decode(data):
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


FORMS = {
    "plain": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart marks": (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "whole colours": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
}


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_that_is_cut_off_is_taken_only_where_nothing_is_missing(flags, grey):
    for seed in range(4):
        image = smooth(seed)
        image[HEIGHT // 2 :] = image[HEIGHT // 2 :] if seed else 90
        data = encode(image[:, :, 0] if grey else image, *flags)
        whole = decode(data)
        for cut in (1, 2):
            np.testing.assert_array_equal(jpeg.without_end_mark(data[:-cut], decode), whole)
        for cut in (*range(3, 12), 20, 50, 100, len(data) // 2):
            found = jpeg.without_end_mark(data[:-cut], decode)
            assert found is None or np.array_equal(found, whole), cut  # only padding may be gone


def test_a_progressive_jpeg_without_its_last_scans_is_cut_off():
    data = encode(smooth(), *FORMS["progressive"])
    assert jpeg.without_end_mark(data[: data.rfind(jpeg.SCAN)], decode) is None


def test_the_picture_is_taken_with_a_note(tmp_path, caplog):
    path = tmp_path / "a.jpg"
    data = encode(smooth())
    path.write_bytes(data[:-2])
    notes = []
    np.testing.assert_array_equal(read_image(path, notes=notes), decode(data))
    assert notes == [("a JPEG without its end mark", "taken, because every row decodes")]
    path.write_bytes(data[:-200])
    with pytest.raises(UserError, match="the file is cut off"):
        read_image(path)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_are_turned_as_opencv_does(tmp_path, number, order):
    data = with_orientation(encode(smooth()), number, order)
    assert exif.orientation(data) == number
    upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(exif.turned(decode(data), number), upright)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path, orientation="turned"), upright)
    np.testing.assert_array_equal(read_image(path), decode(data))
    (frame,) = open_source(path).frames()  # rpstn predict
    np.testing.assert_array_equal(frame.image, upright)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_of_other_forms_are_turned_once(tmp_path, suffix, number):
    """OpenCV turns a TIFF even when told to leave it as it is stored."""
    path, stored, block = tmp_path / f"a{suffix}", smooth(), Image.Exif()
    block[0x0112] = number
    Image.fromarray(stored).save(path, exif=block, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_image(path), stored)
    np.testing.assert_array_equal(read_image(path, orientation="turned"), exif.turned(stored, number))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_a_damaged_exif_block_is_none(share):
    data = with_orientation(encode(smooth()), 6)
    for stop in range(2, 50):
        assert exif.orientation(data[:stop]) in (1, 6)
    assert exif.orientation(with_orientation(encode(smooth()), 9)) == 1
    assert exif.orientation(b"II*\0" + b"\xff" * 40) == exif.orientation(b"") == 1


def own_set(root, stated, number=6):
    """One person in a picture stored on its side, whose labels refer to the upright one."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "images" / "1.jpg").write_bytes(with_orientation(encode(smooth()), number))
    image = {"id": 1, "file_name": "1.jpg"}
    if stated is not None:
        image |= {"width": stated[0], "height": stated[1]}
    names = ["left_shoulder", "right_hip", "nose"]
    entry = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": body(3, 10, 40), "bbox": [5, 35, 20, 20]}
    category = {"id": 1, "name": "person", "keypoints": names}
    dump(root / "train.json", {"images": [image], "annotations": [entry], "categories": [category]})
    return root


@pytest.mark.parametrize(
    ("stated", "option", "shape", "done"),
    [
        ((HEIGHT, WIDTH), "auto", (WIDTH, HEIGHT), "turned; the stated size fits so"),
        ((WIDTH, HEIGHT), "auto", (HEIGHT, WIDTH), "left as stored; the stated size fits so"),
        (None, "auto", (HEIGHT, WIDTH), "left as stored; for labels on upright pictures set "),
        (None, "turned", (WIDTH, HEIGHT), "turned; data.options.orientation says so"),
        (None, "stored", (HEIGHT, WIDTH), None),
    ],
)
def test_the_stated_size_or_an_option_decides_on_orientation(tmp_path, stated, option, shape, done):
    options = {"train": "train.json", "orientation": option}
    data = DataConfig(
        name="custom",
        root=str(own_set(tmp_path, stated)),
        clip_length=1,
        input_size=(64, 64),
        options=options,
    )
    (track,) = load_tracks(data, "train", Report())
    assert read_frame(track, 0).shape == (*shape, 3)
    config = Config(output=str(tmp_path / "run"), data=data)
    found = check(config, "train", load_skeleton(data), codec_for(config)).report
    notes = [defect.done for defect in found.defects if defect.what == "an EXIF orientation"]
    assert len(notes) == (done is not None) and (done is None or notes[0].startswith(done))
    # Labels of a turned picture that is left on its side lie outside it, and are all there is.
    assert any("expected joints in their pictures" in error for error in found.errors) == (
        shape == (HEIGHT, WIDTH)
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("most", "what"), [(4095, "a picture of 12 bits in 16"), (65535, "a picture of 16 bits"), (255, None)]
)
def test_pictures_of_more_than_8_bits_are_noticed(tmp_path, suffix, most, what):
    image = (smooth().astype(np.float64) / 255 * most).astype(np.uint8 if what is None else np.uint16)
    image[0, 0] = most
    cv2.imwrite(str(tmp_path / f"a{suffix}"), image)
    notes = []
    assert read_image(tmp_path / f"a{suffix}", notes=notes).dtype == np.uint8
    assert [note[0] for note in notes] == ([] if what is None else [what])
