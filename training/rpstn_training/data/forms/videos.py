"""Videos decoded once into numbered pictures, for sets that ship no frames."""

import os
import secrets
import shutil
from pathlib import Path

import cv2
from tqdm import tqdm

from ...errors import UserError
from .. import decoding
from ..findings import Report
from ..images import numbered_files

_QUALITY = 95  # of the JPEG files


def frames_of(video: Path, folder: Path, report: Report) -> list[Path]:
    """The frames of `video` as `folder/000000.jpg ...`, decoded now unless the folder is there.

    The video is read from its first frame to its last, as seeking is not exact in many of them. The folder appears
    when it is complete, so that a decoding that was stopped begins anew. Raises UserError where the video is missing
    or holds no picture.
    """
    if not folder.is_dir():
        _decode(video, folder, report)
    return numbered_files(folder, 6, ".jpg", first=0)


def _decode(video: Path, folder: Path, report: Report) -> None:
    if not video.is_file():
        raise UserError(f"{video}: expected a video, found none")
    claimed = decoding.look_at(video).frames or 0  # for the bar only: headers err
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir(parents=True)
    number = 0
    try:
        with tqdm(total=claimed or None, desc=f"decoding {video.name}", unit="frame", leave=False) as bar:
            for shown in decoding.decoded(video, whole=False):
                image = cv2.cvtColor(decoding.picture(shown.raw), cv2.COLOR_RGB2BGR)
                _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                (part / f"{number:06d}.jpg").write_bytes(data)
                number += 1
                bar.update()
        if number == 0:
            raise UserError(f"{video}: expected a video, not one frame decodes; copy it again")
        if number != claimed:
            place = f"{claimed} frames by its header, {number} decode"
            report.defect(
                video, place, "a video of another length than its header says", "what decodes is taken"
            )
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
