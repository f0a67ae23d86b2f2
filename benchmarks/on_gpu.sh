#!/usr/bin/env bash
# Builds the CUDA operations, tests them, looks for memory errors and races, and measures the whole grid, in one call.
#
#   benchmarks/on_gpu.sh [OUT]        under nine minutes on one GPU; needs no network
#
# Needs python3 with torch (a CUDA build), pytest and numpy, cmake, ninja, a C++ compiler and nvcc. Leaves test logs,
# sanitizer logs and results.jsonl in OUT (default: build/on_gpu). Exits with 1 if any check fails; what comes after a
# failed check still runs, so that one call on a borrowed GPU tells as much as it can.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/on_gpu}
mkdir -p "$out"
began=$SECONDS
failed=()

step() {  # step NAME SECONDS COMMAND...: its output goes to OUT/NAME.log, its last lines to the screen
  local name=$1 limit=$2 left=$((530 - SECONDS + began))
  shift 2
  if [ "$left" -lt "$limit" ]; then limit=$((left > 1 ? left : 1)); fi
  echo "== $name ($((SECONDS - began)) s)"
  if timeout "$limit" "$@" >"$out/$name.log" 2>&1; then
    tail -n 3 "$out/$name.log"
  else
    echo "== $name FAILED with status $?"
    tail -n 40 "$out/$name.log"
    failed+=("$name")
  fi
}

capability=$(python3 -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())') || {
  echo "on_gpu.sh: expected python3 with a CUDA build of torch and a GPU, found none"
  exit 1
}
build() {  # in place: the library beside the Python files of this checkout, where git ignores it
  cmake -S . -B build/on_gpu_tree -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$(command -v python3)" \
    -DRPSTN_CUDA=ON &&
    cmake --build build/on_gpu_tree &&
    cp build/on_gpu_tree/_C.so build/on_gpu_tree/_C_cuda.so build/on_gpu_tree/_build_info.py rpstn_ext/ &&
    python3 -c 'import rpstn_ext as rx; assert rx.backend() == "cuda+cpu", rx.backend(); print(rx.backend())'
}
export -f build
export out TORCH_CUDA_ARCH_LIST="$capability" PYTHONPATH=$PWD
step build 240 bash -c build
if [ ${#failed[@]} -gt 0 ]; then exit 1; fi

step tests 200 python3 -m pytest -q -p no:cacheprovider python_tests/test_ops.py python_tests/test_cuda.py -k cuda
small='test_matches_reference and (one or few or portrait or valid or even or tile or chunk) and (float32 or bfloat16) and cuda'
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    step "$tool" 75 compute-sanitizer --tool "$tool" --error-exitcode 1 --target-processes all \
      python3 -m pytest -q -x -p no:cacheprovider python_tests/test_ops.py -k "$small"
  else
    echo "== $tool skipped: no compute-sanitizer here"
  fi
done
step bars 90 python3 -m benchmarks.ops --device cuda --require-bars --out "$out/results.jsonl"
step grid 150 python3 -m benchmarks.ops --device cuda --grid --no-compile --no-memory --seconds 1 --out "$out/results.jsonl" --plot "$out/grid.png"
step model 60 python3 -m benchmarks.model --device cuda --no-compile --out "$out/results.jsonl"

echo "== $((SECONDS - began)) s in all"
if [ ${#failed[@]} -gt 0 ]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "all checks passed"
