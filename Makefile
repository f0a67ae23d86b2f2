# Everything a fresh machine needs besides Python 3.11 or later with venv, a C++20 compiler and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO ?= demo
CMAKE := $(BIN)/python cmake/run.py

.PHONY: demo test lint cuda clang sanitize wheels clean

# The whole way once: synthetic clips, training, scores, pictures, a video and a page that shows them.
demo: $(VENV)/.built
	$(BIN)/rpstn demo --out $(DEMO)

# A process for each core, files shared out among them, and one thread in each: tensors in tests are too small for more.
# What needs two threads asks for them. Files keep their order: those of few tests, which pytest-xdist would put last, are
# the longest ones.
test: $(VENV)/.built build/cuda_on_cpu/_C_cuda_on_cpu.so
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder python_tests

# The CUDA kernels, compiled by nvcc for every architecture, with warnings, of spilled registers too, as errors; where
# there is no nvcc, by one from packages.
cuda: $(VENV)/.installed
	@command -v nvcc >/dev/null || $(PIP) install -q -r requirements-cuda.txt -c constraints.txt
	$(CMAKE) -B build/cuda -DRPSTN_CUDA=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
	$(CMAKE) --build build/cuda --target _C_cuda

# The CPU's kernels of every instruction set, AArch64's too, by a clang from packages; where there is qemu-aarch64, their
# self-tests there.
clang: $(VENV)/.installed
	@$(BIN)/python -c 'import ziglang' 2>/dev/null || $(PIP) install -q -r requirements-clang.txt -c constraints.txt
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 python_tests/test_clang.py

# The CPU's kernels of every instruction set that this machine runs under g++'s AddressSanitizer and
# UndefinedBehaviorSanitizer, forward and backward: the tuning module, which chooses the set, is built with them and serves
# the package's calls. libstdc++ comes before Python, which has none, or a thrown error ends it.
ASAN = $(shell c++ -print-file-name=libasan.so)
sanitize: $(VENV)/.built
	@test -e "$(ASAN)" || { echo "make sanitize: expected c++ to be g++ with its libasan.so, found none; install libasan (Debian: libgcc-12-dev)"; exit 1; }
	$(CMAKE) -B build/sanitize -DRPSTN_CUDA=OFF -DRPSTN_TUNE=ON -DRPSTN_SANITIZE=ON
	$(CMAKE) --build build/sanitize --target _tune
	LD_PRELOAD="$(ASAN) $$(c++ -print-file-name=libstdc++.so)" RPSTN_TUNED=build/sanitize/_tune.so \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
		$(BIN)/python -m pytest -q --capture=sys -n auto --maxprocesses 4 \
		python_tests/test_instruction_sets.py python_tests/test_tune.py -k "test_instruction_sets or every_choice"

# dist/: a wheel for these versions of torch (make wheels TORCH="2.13.0 2.14.1"; else the pinned one) and one without a
# library, tried with each in an environment of its own.
wheels: $(VENV)/.installed
	$(BIN)/python cmake/wheels.py $(TORCH)

lint: $(VENV)/.installed
	$(BIN)/ruff check rpstn_ext training python_tests benchmarks cmake
	$(BIN)/ruff format --check rpstn_ext training python_tests benchmarks cmake

$(VENV)/.installed: constraints.txt requirements.txt
	@command -v c++ >/dev/null || { echo "make: expected a C++20 compiler (c++) on PATH, found none; install g++ or clang"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: expected Python 3.11 or later, got $$($(PYTHON) --version); name one: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -r requirements.txt -c constraints.txt
	touch $@

# Editable, so Python files are used where they lie; a new one is found after this has run again (three seconds).
SOURCES := pyproject.toml CMakeLists.txt $(shell find csrc cmake rpstn_ext training -name '*.*' -not -name '*.pyc')
$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	$(PIP) install -q --no-build-isolation --no-deps -e .
	touch $@

# The CUDA kernels, compiled for the CPU so that the tests can run them (python_tests/cuda_on_cpu/README.md); and the
# tuning module, by which they choose what kernels do (csrc/tune), where Python's headers are.
HEADERS = $(wildcard $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h)
build/cuda_on_cpu/_C_cuda_on_cpu.so: $(VENV)/.installed CMakeLists.txt $(shell find csrc python_tests/cuda_on_cpu -type f)
	$(CMAKE) -B build/cuda_on_cpu -DRPSTN_CUDA=OFF -DRPSTN_CUDA_ON_CPU=ON -DRPSTN_TUNE=$(if $(HEADERS),ON,OFF)
	$(CMAKE) --build build/cuda_on_cpu --target _C_cuda_on_cpu $(if $(HEADERS),_tune)
	touch $@

clean:
	rm -rf $(VENV) build dist $(DEMO)
