"""Arguments that several commands take."""

import argparse
import re
from collections.abc import Sequence


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """`--set KEY=VALUE`, gathered as `overrides` for `config.load_config`; `example` is one for the help."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=f"change one value, for example --set {example} (may be repeated)",
    )


FORMATS_HELP = """\
Formats, as many as you like:
  coco        predictions.json, COCO key points
  csv         predictions.csv, a row per frame, person and joint
  wide        predictions_wide.csv, a row per frame and person
  tidy        predictions_tidy.parquet, or .csv without pyarrow: units, model, commit and speeds in every row
  openpose    openpose/, a JSON file per frame; BODY_25 where the skeleton has its limbs, else its own joints
  deeplabcut  deeplabcut.csv, and deeplabcut.h5 where pandas and tables are installed
  trc         trc/, markers of each person for OpenSim: 1 px written as 1 mm, y up, z = 0
  mot         mot/, angles of each person's joints for OpenSim
  angles      angles.csv, angles, their speeds and the speeds of the joints

Filtered values stand in files of their own, with _filtered in their names, and beside the raw ones in tidy.
--smooth butterworth is a low-pass that delays nothing, one-euro looks at no later frame. --fill-gaps interpolates a
joint between two frames that are at most so far apart. docs/python.md has the formulas."""


def add_files(parser: argparse.ArgumentParser, *, default: Sequence[str] | None) -> None:
    """`--formats`, which must be given where it has no default, `--smooth` and `--fill-gaps`."""
    said = "" if default is None else f" (default: {' '.join(default)})"
    parser.add_argument(
        "--formats",
        nargs="+",
        default=default,
        required=default is None,
        metavar="FORMAT",
        help=f"files to write, see above{said}",
    )
    parser.add_argument(
        "--smooth",
        metavar="FILTER",
        help="butterworth[=HZ], cut-off 6 Hz unless given, or one-euro[=MINCUTOFF,BETA], 1 Hz and 0.007 per pixel",
    )
    parser.add_argument(
        "--fill-gaps",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="interpolate where a joint is missing for so long at most (default: 0)",
    )


def width_and_height(text: str) -> tuple[int, int] | None:
    """The two numbers of a text like 192x256; None where it is of another form.

    >>> width_and_height("192x256")
    (192, 256)
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))
