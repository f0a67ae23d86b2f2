"""Prints where the installed torch lies and what it is, without importing it (0.04 s instead of seconds).

Five lines: version, CUDA version or nothing, root folder, folders of headers (separated by ;), folder of libraries.
pip's build isolation hides the environment's packages from imports, not from the disk: the folder that sysconfig names
is looked into as well.
"""

import importlib.util
import runpy
import sys
import sysconfig
from pathlib import Path


def find() -> Path | None:
    spec = importlib.util.find_spec("torch")
    candidates = [Path(spec.origin).parent] if spec and spec.origin else []
    candidates += [Path(sysconfig.get_path(name)) / "torch" for name in ("platlib", "purelib")]
    return next((path for path in candidates if (path / "version.py").is_file()), None)


def version(root: Path) -> dict[str, str]:
    """torch's version.py: __version__, cuda and more."""
    return runpy.run_path(str(root / "version.py"))


def main() -> None:
    root = find()
    if root is None:
        sys.exit(f"no torch in {sys.prefix}")
    found = version(root)
    print(found["__version__"])
    print(found["cuda"] or "")
    print(root.as_posix())
    print(";".join((root / "include" / folder).as_posix() for folder in ("", "torch/csrc/api/include")))
    print((root / "lib").as_posix())


if __name__ == "__main__":
    main()
