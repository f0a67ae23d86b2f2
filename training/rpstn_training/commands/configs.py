"""List the configurations that come with the package, or print one, to be changed and trained.

  rpstn configs
  rpstn configs penn_action > my.yaml

They are those of training/configs in the checkout.
"""

import argparse
import difflib

from ..errors import UserError
from ..packaged import packaged_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the one to print (default: list all of them)"
    )


def run(args: argparse.Namespace) -> int:
    folder = packaged_configs()
    texts = {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.yaml"))
    }
    if args.name is None:
        width = max(map(len, texts))
        print(*(f"{name:<{width}}  {_about(text)}" for name, text in texts.items()), sep="\n")
    elif args.name not in texts:
        near = difflib.get_close_matches(args.name, texts, n=1, cutoff=0.5)
        meant = f", did you mean {near[0]}?" if near else ""
        raise UserError(f"configs: expected a name that rpstn configs lists, got {args.name}{meant}")
    else:
        print(texts[args.name], end="")
    return 0


def _about(text: str) -> str:
    """The first sentence of a configuration's head."""
    head = text.split("\n#\n")[0]
    return (
        " ".join(line.removeprefix("# ") for line in head.splitlines()).partition(". ")[0].removesuffix(".")
    )
