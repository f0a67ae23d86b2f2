"""CMake as the Makefile calls it: with this environment's ninja, torch and, where pip brought one, nvcc."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

scripts, nvidia = Path(sysconfig.get_path("scripts")), Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13"
environment = dict(os.environ)
environment["PATH"] = os.pathsep.join((str(scripts), environment.get("PATH", ""), str(nvidia / "bin")))
environment["LIBRARY_PATH"] = os.pathsep.join(
    (environment.get("LIBRARY_PATH", ""), str(nvidia / "lib"))
).lstrip(":")
arguments = sys.argv[1:]
if "-B" in arguments:
    options = ("-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}")
    arguments = ["-S", ".", "-G", "Ninja", *options, *arguments]
sys.exit(subprocess.run([scripts / "cmake", *arguments], env=environment).returncode)
