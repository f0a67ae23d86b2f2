"""How the compiled library is found, chosen and built; each case in a process of its own."""

import doctest
import importlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import rpstn_ext as rx
from rpstn_ext import _library
from rpstn_ext._onednn import hanging_convolution

ROOT = Path(__file__).resolve().parents[1]
CUDA_LIBRARY = ROOT / "build" / "cuda" / "_C_cuda.so"
OPS = ("joint_relation", "joint_relation_norm", "dynamic_conv2d", "dynamic_match")
compiled = pytest.mark.skipif(rx.backend() == "reference", reason="no compiled library")

CALL_EACH_OP = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import rpstn_ext as rx
    import rpstn_ext.ops
ours = [str(w.message) for w in caught if "rpstn_ext" in str(w.message)]
import torch
x, one, zero = torch.ones(1, 2, 4, 4), torch.eye(2), torch.zeros(2)
total = rx.joint_relation(x, one, zero, one, zero).sum() + rx.dynamic_conv2d(x, torch.ones(1, 2, 3, 3)).sum()
print(rx.backend(), len(ours), total.item(), *ours, sep="\\n")
"""


def run_python(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@compiled
def test_the_library_loads_without_a_warning():
    assert run_python(CALL_EACH_OP) == ["cpu", "0", "264.0"]


CUDA_TORCH = "import torch\ntorch.version.cuda = '13.0'\n"


@pytest.mark.parametrize(
    "breakage, reason",
    [
        (
            "import importlib.util as u, types\nfind, load = u.find_spec, torch.ops.load_library\n"
            "u.find_spec = lambda name, *a: (\n"
            "    types.SimpleNamespace(origin='_C_cuda.so') if name == 'rpstn_ext._C_cuda' else find(name, *a)\n"
            ")\n"
            "def fail(path):\n"
            "    if path == '_C_cuda.so':\n"
            "        raise OSError('libcudart.so.13: cannot open shared object file')\n"
            "    load(path)\n"
            "torch.ops.load_library = fail\n",
            "the compiled CUDA library does not load (libcudart.so.13: cannot open shared object file)",
        ),
        ("", "the compiled library serves the CPU only ({because})"),
    ],
    ids=["does not load", "was not built"],
)
@compiled
def test_without_cuda_one_warning_and_the_cpu_operations_stay(breakage, reason):
    reason = reason.format(because=_library.build_info().WITHOUT_CUDA_BECAUSE)
    backend, warnings, total, *messages = run_python(CUDA_TORCH + breakage + CALL_EACH_OP)
    assert (backend, warnings, total) == ("cpu", "1", "264.0")
    assert messages[0].startswith(f"rpstn_ext: {reason}; plain PyTorch serves CUDA tensors, more slowly. ")
    assert messages[0].endswith(f"run in the source folder: {_library.MEND}")


@pytest.mark.parametrize(
    "breakage, reason, built_for",
    [
        (
            "import importlib.util as u, sys, torch\nfind = u.find_spec\n"
            "u.find_spec = lambda name, *a: None if name == 'rpstn_ext._C' else find(name, *a)\n"
            "sys.path[:] = [path for path in sys.path if not path.endswith('site-packages')]\n",  # and no other copy
            "no compiled library is installed",
            "nothing",
        ),
        (
            "import sys, types\ninfo = types.ModuleType('rpstn_ext._build_info')\n"
            "info.__spec__ = types.SimpleNamespace()\n"
            "info.TORCH, info.SYSTEM, info.COMPILER = '1.99.0', 'Linux-x86_64', 'GNU 12'\n"
            "sys.modules['rpstn_ext._build_info'] = info\n",
            "the compiled library belongs to another torch",
            "torch 1.99.0, Linux-x86_64, GNU 12",
        ),
        (
            "import torch\n"
            "def fail(path): raise OSError('undefined symbol: _ZN5torch3newE')\n"
            "torch.ops.load_library = fail\n",
            "the compiled library does not load (undefined symbol: _ZN5torch3newE)",
            f"torch {torch.__version__}, ",
        ),
    ],
    ids=["missing", "another torch", "does not load"],
)
@compiled
def test_one_warning_and_the_reference_serves(breakage, reason, built_for):
    backend, warnings, total, *messages = run_python(breakage + CALL_EACH_OP)
    assert (backend, warnings, total) == ("reference", "1", "264.0")
    assert messages[0].startswith(f"rpstn_ext: {reason}; plain PyTorch serves every call, more slowly. ")
    assert f"Built for: {built_for}" in messages[0]
    assert f"Found: torch {torch.__version__}, " in messages[0]
    assert messages[0].endswith(f"run in the source folder: {_library.MEND}")


def package_for(folder: Path, *minors: str) -> str:
    """The package as a wheel for these minor versions of torch installs it, each with the library of this one; what
    Python has to do to find it.
    """
    package, installed = Path(rx.__file__).parent, folder / "rpstn_ext"
    shutil.copytree(package, installed, ignore=shutil.ignore_patterns("_C*", "_build_info*", "__pycache__"))
    for minor in minors:
        into = installed / f"torch_{minor.replace('.', '_')}"
        into.mkdir()
        shutil.copy(importlib.util.find_spec("rpstn_ext._C").origin, into / "_C.so")
        shutil.copy(_library.build_info().__file__, into)
    return f"import sys\nsys.meta_path[:] = sys.meta_path[-3:]\nsys.path.insert(0, {str(folder)!r})\n"


@compiled
def test_of_several_libraries_that_of_the_installed_torch_serves(tmp_path):
    minor = ".".join(torch.__version__.split(".")[:2])
    find = package_for(tmp_path, minor, "1.9", "1.10")
    assert run_python(find + CALL_EACH_OP) == ["cpu", "0", "264.0"]
    where = "from importlib.util import find_spec\nprint(*(find_spec(f'rpstn_ext.{n}').origin for n in "
    names = where + "('_C', '_build_info', '_library')), sep='\\n')"
    own = tmp_path / "rpstn_ext" / f"torch_{minor.replace('.', '_')}"
    assert run_python(find + "import rpstn_ext\n" + names) == [
        str(own / "_C.so"),
        str(own / "_build_info.py"),
        str(tmp_path / "rpstn_ext" / "_library.py"),
    ]


@compiled
def test_several_libraries_without_that_of_the_installed_torch_say_which_they_are_for(tmp_path):
    find = package_for(tmp_path, "1.10", "1.9")
    backend, warnings, total, *messages = run_python(find + CALL_EACH_OP)
    assert (backend, warnings, total) == ("reference", "1", "264.0")
    assert messages[0].startswith(
        "rpstn_ext: the compiled libraries belong to other versions of torch; plain PyTorch serves every call, more "
        f"slowly. Built for: torch 1.9, 1.10. Found: torch {torch.__version__}, "
    )
    assert f"To mend it, install one of these, or run in the source folder: {_library.MEND}" in messages[0]


@compiled
@pytest.mark.parametrize("several", [False, True], ids=["one library", "several"])
def test_a_wheel_that_the_source_folder_hides_is_named(several, tmp_path):
    find = package_for(tmp_path / "sources") + package_for(tmp_path / "installed", *["1.9"] * several)
    if not several:
        (tmp_path / "installed" / "rpstn_ext" / "_C.so").touch()
    find += f"sys.path.insert(0, {str(tmp_path / 'sources')!r})\n"
    _, _, _, message, *_ = run_python(find + CALL_EACH_OP)
    assert "this folder's rpstn_ext, without a compiled library, stands before the installed one" in message
    assert f"nothing here, see {(tmp_path / 'installed' / 'rpstn_ext').resolve()}." in message
    assert message.endswith("start Python in another folder, or install with -e")


@compiled
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_second_copy_of_the_library_does_no_harm(first, tmp_path):
    """Once it ended the interpreter. Loaded first it may be of any version: the reference serves."""
    copy = tmp_path / "another.so"
    shutil.copy(importlib.util.find_spec("rpstn_ext._C").origin, copy)
    load = f"import torch\ntorch.ops.load_library({str(copy)!r})\n"
    if first:
        backend, warnings, total, *messages = run_python(load + CALL_EACH_OP)
        assert (backend, warnings, total) == ("reference", "1", "264.0")
        assert messages[0].startswith(
            "rpstn_ext: another copy of the compiled library was loaded before this one; plain PyTorch serves every "
        )
    else:
        assert run_python("import rpstn_ext\n" + load + CALL_EACH_OP) == ["cpu", "0", "264.0"]


def run_with_memory(setup: str, megabytes: int, call: str) -> list[str]:
    """`call` in a process that may take so much more memory than it has after `setup`."""
    return run_python(
        f"import resource, torch, rpstn_ext as rx\n{setup}\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        f"limit = pages * resource.getpagesize() + {megabytes} * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        f"{call}",
        OMP_NUM_THREADS="1",
    )


in_little_memory = pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="limits memory as Linux does"
)


@compiled
@in_little_memory
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_memory_that_is_refused_is_an_error(backward):
    """The result of 128 MiB is granted, the buffer of as much is not; once that ended the interpreter."""
    call = "rx.dynamic_conv2d(features, kernels, padding=1)"
    if backward:
        call = "torch.ops.rpstn_ext.dynamic_conv2d_backward(features, features, kernels, 1, 1, 1, 1, True, False)"
    seen = run_with_memory(
        "features, kernels = torch.ones(1, 1, 4, 2**23), torch.ones(1, 1, 3, 3)",
        192,
        f'try:\n    {call}\nexcept RuntimeError as error:\n    print("can\'t allocate memory" in str(error))\n'
        "print(rx.dynamic_conv2d(features[..., :4], kernels)[0, 0, 0].tolist())",
    )
    assert seen == ["True", "[4.0, 6.0, 6.0, 4.0]"]


@compiled
@in_little_memory
def test_large_planes_need_small_buffers():
    """A plane of 64 MiB; a buffer that held all of it would be refused."""
    seen = run_with_memory(
        "features, kernels = torch.rand(1, 1, 4096, 4096), torch.rand(1, 1, 7, 7)",
        192,  # two results, and 64 MiB
        "out = rx.dynamic_conv2d(features, kernels)\n"
        "grads = torch.ops.rpstn_ext.dynamic_conv2d_backward(out, features, kernels, 3, 3, 3, 3, True, True)\n"
        "window = features[0, 0, 2047:2054, 96:103].double()\n"
        "print(torch.allclose(out[0, 0, 2050, 99].double(), (window * kernels[0, 0].double()).sum(), rtol=1e-5))\n"
        "exact = sum((out[0, 0, y] .double() * features[0, 0, y].double()).sum() for y in range(4096))\n"
        "print(torch.allclose(grads[1][0, 0, 3, 3].double(), exact, rtol=1e-5))",
    )
    assert seen == ["True", "True"]


@compiled
@in_little_memory
def test_matching_large_planes_needs_small_buffers():
    """Two planes of 32 MiB, one map of as much; two of the buffers once held whole planes of a group of channels."""
    seen = run_with_memory(
        "features, kernels = torch.rand(1, 2, 2048, 4096), torch.rand(1, 2, 3, 3)\n"
        "weight = torch.tensor([[0.5, 2.0]])\n"
        "rx.dynamic_match(features[..., :8, :8], kernels, weight, torch.zeros(1))",
        144,  # a map, the gradient of the features, and 48 MiB
        "out = rx.dynamic_match(features, kernels, weight, torch.zeros(1))\n"
        "grads = torch.ops.rpstn_ext.dynamic_match_backward("
        "out, features, kernels, weight, 1, 1, 1, 1, True, True, True, True)\n"
        "window = out[0, 0, 1022:1025, 96:99].double().flip(0, 1)\n"
        "exact = 2 * (window * kernels[0, 1].double()).sum()\n"
        "print(torch.allclose(grads[0][0, 1, 1023, 97].double(), exact, rtol=1e-5))\n"
        "grads = (None, grads[1])\n"  # room for the check itself
        "rows = [(out[0, 0, y].double() * features[0, 0, y].double()).sum() for y in range(2048)]\n"
        "print(torch.allclose(grads[1][0, 0, 1, 1].double(), 0.5 * sum(rows), rtol=1e-5))",
    )
    assert seen == ["True", "True"]


@compiled
@in_little_memory
def test_the_relation_of_many_joints_needs_one_samples_sums_at_a_time():
    """The chunks' sums of all samples at once were five times the heat maps."""
    mebibytes = 16 * 300 * 32 * 32 * 4 / 2**20
    seen = run_with_memory(
        "heatmaps = torch.rand(16, 300, 32, 32) * 0.1\n"
        "weight, bias = torch.eye(300), torch.zeros(300)\n"
        "rx.joint_relation(heatmaps[:1, :4], weight[:4, :4], bias[:4], weight[:4, :4], bias[:4])",
        int(3 * mebibytes) + 16,  # the result, G of a third of it, and what one sample needs
        "print(rx.joint_relation(heatmaps, weight, bias, weight, bias).isfinite().all().item())",
    )
    assert seen == ["True"]


@compiled
@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").is_dir() or not Path("/proc/self/smaps").is_file(),
    reason="no huge pages that a program may ask for",
)
@pytest.mark.parametrize(
    "call",
    [
        "rx.joint_relation(maps, weight, bias, weight, bias)",
        "rx.joint_relation_norm(maps, weight, bias, weight, bias, *norm, training=False)",
        "torch.ops.rpstn_ext.joint_relation_backward("
        "maps, maps, torch.ones(1, 2, 2), weight, bias, weight, 1.0, None, True, False)[0]",
        "rx.dynamic_conv2d(maps, kernels)",
        "torch.ops.rpstn_ext.dynamic_conv2d_backward(maps, maps, kernels, 0, 0, 0, 0, True, False)[0]",
        "rx.dynamic_match(maps, kernels, weight, bias)",
    ],
)
def test_large_results_ask_for_huge_pages(call):
    """Half of the time went into a fault for every 4 KiB of a fresh result. What PyTorch allocates asks for none."""
    code = f"""
import torch, rpstn_ext as rx
maps, kernels = torch.ones(1, 2, 2048, 2304), torch.ones(1, 2, 1, 1)
weight, bias = torch.eye(2), torch.zeros(2)
norm = torch.ones(2), torch.zeros(2), torch.zeros(2), torch.ones(2)
out = {call}
def asks(tensor):
    middle, inside = tensor.data_ptr() + tensor.nbytes // 2, False
    for line in open("/proc/self/smaps"):
        first, _, last = line.split()[0].partition("-")
        if last:
            inside = int(first, 16) <= middle < int(last, 16)
        elif inside and first == "VmFlags:":
            return "hg" in line.split()
print(asks(maps), asks(out), out.shape == maps.shape)
"""
    assert run_python(code, OMP_NUM_THREADS="1") == ["False True True"]


def test_the_convolution_that_hangs_is_known(tmp_path):
    intel, amd = tmp_path / "intel", tmp_path / "amd"
    intel.write_text("flags\t\t: fpu avx512_bf16 avx512_fp16 amx_tile\n")
    amd.write_text("flags\t\t: fpu avx512_bf16\n")
    sentence = hanging_convolution("2.13.0+cpu", {}, intel)
    assert "torch 2.13.0+cpu" in sentence and "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16" in sentence
    assert hanging_convolution("2.13.0", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, intel) is not None
    assert hanging_convolution("2.13.0", {"ONEDNN_MAX_CPU_ISA": "avx512_core_bf16"}, intel) is None
    assert hanging_convolution("2.12.1", {}, intel) is None
    assert hanging_convolution("2.13.0", {}, amd) is None
    assert hanging_convolution("2.13.0", {}, tmp_path / "missing") is None


def test_use_backend_changes_and_restores():
    before = rx.backend()
    with rx.use_backend("reference"):
        assert rx.backend() == "reference"
        with rx.use_backend(before):
            assert rx.backend() == before
    assert rx.backend() == before
    with (
        pytest.raises(ValueError, match=r"use_backend: expected one of reference.*, got cuda"),
        rx.use_backend("cuda"),
    ):
        pass
    with pytest.raises(KeyError), rx.use_backend("reference"):
        raise KeyError
    assert rx.backend() == before


@compiled
def test_use_backend_of_two_threads_that_overlap():
    """Each keeps its choice, and the process has its own back: once the second to leave restored the first's."""
    loaded, entered, leave = rx.backend(), threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        seen.append(rx.backend())
        with rx.use_backend("reference"):
            entered.set()
            leave.wait()
            seen.append(rx.backend())
        seen.append(rx.backend())

    thread = threading.Thread(target=other)
    with rx.use_backend("reference"):
        thread.start()
        entered.wait()
        with rx.use_backend(loaded):
            assert rx.backend() == loaded
    assert rx.backend() == loaded
    leave.set()
    thread.join()
    assert seen == [loaded, "reference", loaded]
    assert rx.backend() == loaded and not _library._open


@compiled
def test_use_backend_reaches_compiled_functions():
    """A graph that was compiled outside of the block is not used inside of it, nor the reverse."""
    features, kernels = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 3, 3)
    targets = []

    def backend(graph, inputs):
        targets.append(any("rpstn_ext" in str(node.target) for node in graph.graph.nodes))
        return graph.forward

    call = torch.compile(
        lambda *tensors: rx.dynamic_conv2d(*tensors, padding=1), fullgraph=True, backend=backend
    )
    outs = [call(features, kernels)]
    with rx.use_backend("reference"):
        outs.append(call(features, kernels))
        with rx.use_backend("cpu"):
            outs.append(call(features, kernels))
    outs.append(call(features, kernels))
    assert targets[:3] == [True, False, True] and not any(target is False for target in targets[3:])
    for out in outs[1:]:
        torch.testing.assert_close(out, outs[0])


@compiled
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux shows them")
@pytest.mark.parametrize("op", ["joint_relation", "dynamic_conv2d", "one plane", "one plane's gradients"])
def test_two_threads_are_used(op):
    """Without OpenMP at compile time at::parallel_for is serial and says nothing."""
    sizes = (1, 1, 512, 512) if op.startswith("one plane") else (8, 13, 64, 64)
    kernels = f"torch.from_numpy(numpy.ones({(*sizes[:2], 7, 7)}, 'f'))"
    call = {
        "joint_relation": "rx.joint_relation(x, torch.eye(13), torch.zeros(13), torch.eye(13), torch.zeros(13))",
        "dynamic_conv2d": f"rx.dynamic_conv2d(x, {kernels})",
        "one plane": f"rx.dynamic_conv2d(x, {kernels})",
        "one plane's gradients": "torch.ops.rpstn_ext.dynamic_conv2d_backward("
        f"x, x, {kernels}, 3, 3, 3, 3, False, True)",
    }[op]
    code = f"""
import os, numpy, torch, rpstn_ext as rx
x = torch.from_numpy(numpy.ones({sizes}, 'f'))
before = len(os.listdir("/proc/self/task"))
{call}
print(len(os.listdir("/proc/self/task")) - before)
print(len(set(line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line)))
"""
    threads, libraries = run_python(code, OMP_NUM_THREADS="2")
    assert int(threads) >= 1
    assert libraries == "1"


def test_find_torch_names_the_installed_torch():
    done = subprocess.run(
        [sys.executable, str(ROOT / "cmake" / "find_torch.py")], capture_output=True, text=True, check=True
    )
    version, _, root, includes, libraries = done.stdout.splitlines()
    assert version == torch.__version__
    assert Path(root) == Path(torch.__file__).parent
    assert all(Path(folder).is_dir() for folder in [*includes.split(";"), libraries])


@pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("ninja") is None, reason="no cmake, no ninja"
)
@pytest.mark.parametrize(
    "setting, expected",
    [
        ("ON", "RPSTN_CUDA=ON: no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda; set RPSTN_CUDA=AUTO"),
        ("AUTO", "building the operations for the CPU only (no nvcc on PATH, in CUDA_HOME or in /usr/local"),
        ("maybe", "RPSTN_CUDA: expected AUTO, ON or OFF, got maybe"),
        ("OFF", "building the operations for the CPU only (RPSTN_CUDA=OFF)"),
        ("off", "building the operations for the CPU only (RPSTN_CUDA=OFF)"),
    ],
)
def test_the_cuda_setting_is_answered_honestly(setting, expected, tmp_path):
    """On a machine without nvcc."""
    options = [
        "-G",
        "Ninja",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DRPSTN_CUDA={setting}",
        "-DRPSTN_NVCC=",
    ]
    done = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path), *options], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode == 0) == (setting in ("AUTO", "OFF", "off"))
    assert expected in " ".join((done.stdout + done.stderr).split())


@pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("ninja") is None, reason="no cmake, no ninja"
)
def test_an_isolated_build_says_how_each_installer_reaches_torch(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    options = ["-G", "Ninja", f"-DPython_EXECUTABLE={tmp_path / 'bare' / 'bin' / 'python'}"]
    done = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), *options], capture_output=True, text=True
    )
    said = " ".join(done.stderr.split())
    assert done.returncode != 0 and "compiled against the installed torch and found none" in said
    for installer in (
        "add --no-build-isolation (pip, uv pip, uv build) or --no-isolation (python -m build)",
        'extra-build-dependencies = { rpstn-ext = ["torch==VERSION"] } under [tool.uv] (uv sync, uv run)',
        "set RPSTN_BUILD=OFF",
    ):
        assert installer in said


def cmake_says(call: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """CMake's run of a call of cmake/architectures.cmake, which prints what it found."""
    script = folder / "print.cmake"
    module = (ROOT / "cmake" / "architectures.cmake").as_posix()
    script.write_text(f'include("{module}")\n{call}\nmessage("${{found}}")\n')
    return subprocess.run(
        ["cmake", "-P", str(script)], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
@pytest.mark.parametrize(
    "wish, architectures",
    [
        ("", "75-real;80-real;86-real;89-real;90;100-real;120"),
        (" ; ", "75-real;80-real;86-real;89-real;90;100-real;120"),
        ("8.6;9.0+PTX", "86-real;90"),
        ("9.0a 8.0", "90-real;80-real"),
        ("Hopper+PTX", "90"),
        ("ampere,ADA", "80-real;86-real;89-real"),
        (
            "Hoper",
            "expected compute capabilities such as 8.6 or 9.0+PTX, or Turing, Ampere, Ada, Hopper, Blackwell, ",
        ),
        ("7.0", "expected 7.5 or later, which these kernels are written for, got 7.0."),
    ],
)
def test_the_architectures_are_those_that_were_asked_for(wish, architectures, tmp_path):
    done = cmake_says('rpstn_architectures("$ENV{WISH}" found)', tmp_path, WISH=wish)
    assert architectures in " ".join(done.stderr.split())
    assert (done.returncode == 0) == (not architectures.startswith("expected"))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
@pytest.mark.parametrize(
    "architectures, flags",
    [
        (
            "75-real;80-real;86-real;89-real;90;100-real;120",
            ["75,code=[sm_75]", "80,code=[sm_80,sm_86,sm_89]", "90,code=[compute_90,sm_90]"]
            + ["100,code=[sm_100,compute_100,sm_120]"],
        ),
        ("86-real;90", ["80,code=[sm_86]", "90,code=[compute_90,sm_90]"]),
        ("89;80-real;121-real", ["80,code=[compute_80,sm_89,sm_80]", "100,code=[sm_121]"]),
        ("100;120", ["100,code=[compute_100,sm_100,sm_120]"]),
    ],
)
def test_architectures_of_one_generation_are_assembled_from_one_ptx(architectures, flags, tmp_path):
    done = cmake_says(f'rpstn_generate_code("{architectures}" found)', tmp_path)
    assert done.returncode == 0
    assert done.stderr.strip().split(";") == [f"--generate-code=arch=compute_{flag}" for flag in flags]


@pytest.mark.skipif(not CUDA_LIBRARY.exists(), reason="no build/cuda/_C_cuda.so; `make cuda` compiles it")
@compiled
def test_the_cuda_library_loads_beside_any_torch():
    """It needs no CUDA of torch to load, and brings what the CPU library has."""
    names = [f"{op}{step}" for op in OPS for step in ("", "_backward")]
    names += ["joint_relation_forward", "joint_relation_norm_forward"]
    names += ["joint_relation_norm_sums", "joint_relation_norm_gradient_sums"]
    found = run_python(
        "import torch, rpstn_ext\n"
        f"torch.ops.load_library({str(CUDA_LIBRARY)!r})\n"
        "has = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        f"print(*[has(f'rpstn_ext::{{name}}', 'CUDA') for name in {names}], sep='\\n')"
    )
    assert found == ["True"] * len(names)


@pytest.mark.parametrize("name", OPS)
def test_documented_examples_run(name):
    module = importlib.import_module(f"rpstn_ext.ops.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_documented_example_of_use_backend_runs():
    assert doctest.testmod(_library) == (0, 2)


def test_type_checkers_find_the_annotations():
    assert (Path(rx.__file__).parent / "py.typed").is_file()
