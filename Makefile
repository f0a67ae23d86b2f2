# Everything a fresh machine needs besides Python 3.11 or later with venv, a C++20 compiler and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO ?= demo
CMAKE := $(BIN)/python cmake/run.py

.PHONY: demo test lint cuda sanitize wheels clean

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

# The CPU's operations under g++'s AddressSanitizer and UndefinedBehaviorSanitizer: by one thread with the instructions that
# every processor has, by two with this one's best. libstdc++ comes before Python, which has none, or a thrown error ends it.
SANITIZED = LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 RPSTN_LIBRARY=build/sanitize/_C.so \
	PYTHONPATH=python_tests OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q --capture=sys -p other_library \
	python_tests/test_ops.py python_tests/test_joint_relation.py python_tests/test_dynamic_conv2d.py \
	-k "test_joint_relation or test_dynamic_conv2d or matches_reference or strides or expanded or mixed or sample"
sanitize: $(VENV)/.built
	$(CMAKE) -B build/sanitize -DRPSTN_CUDA=OFF -DRPSTN_SANITIZE=ON
	$(CMAKE) --build build/sanitize --target _C
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default $(SANITIZED)
	OMP_NUM_THREADS=2 $(SANITIZED)

# dist/: a wheel for each version of torch (make wheels TORCH="2.13.0 2.14.1"; else the pinned one) and one without a
# library, each tried in an environment of its own.
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
