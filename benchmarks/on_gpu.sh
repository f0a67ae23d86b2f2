#!/usr/bin/env bash
# What a borrowed GPU is asked, in two calls of six and a half minutes; needs no network, no git and no .git.
#
#   benchmarks/on_gpu.sh --prepare           here: build/on_gpu, libraries for sm_90 and the commit, to be carried along
#   benchmarks/on_gpu.sh facts [OUT]         right or wrong, ceilings, ours alone, the sweep, profiles
#   benchmarks/on_gpu.sh tests [OUT]         tests in parallel, memory errors and races, rivals
#   benchmarks/on_gpu.sh --self-test [OUT]   here, without a GPU: every step with tiny sizes, the kernels in emulation
#
# RPSTN_SECONDS is the time of one call (380), RPSTN_COMMIT what numbers are recorded under where there is no git.
# --prepare with the Python and torch of the borrowed machine: others refuse the libraries, and it builds its own.
# Needs python3 with torch (a CUDA build), pytest, numpy and tqdm; cmake, ninja, a C++ compiler and nvcc only where the
# carried libraries do not import. Leaves at most five files in OUT (default: build/on_gpu/out): facts.log, facts.jsonl,
# ncu.txt, tests.log, rivals.jsonl. What comes after a failed step still runs. Exits with 1 if a check failed; racecheck
# and profiles report and do not decide.
set -uo pipefail
cd "$(dirname "$0")/.."
what=${1:-}
out=${2:-build/on_gpu/out}
limit=${RPSTN_SECONDS:-380} patience=1
carried=build/on_gpu
log=$out/$what.log
export PYTHONPATH=$PWD:$PWD/training PYTHONUNBUFFERED=1
began=$SECONDS
failed=()

step() {  # step NAME SECONDS COMMAND...: to the screen and the log, line by line, within what is left of the time
  local name=$1 seconds=$(($2 * patience)) left=$((limit - SECONDS + began))
  shift 2
  if [ "$left" -lt "$seconds" ]; then seconds=$left; fi
  if [ "$seconds" -lt 3 ]; then
    echo "== $name left out: no time" | tee -a "$log"
    failed+=("$name")
    return
  fi
  echo "== $name ($((SECONDS - began)) s)" | tee -a "$log"
  timeout "$seconds" "$@" 2>&1 | tee -a "$log"
  local status=${PIPESTATUS[0]}
  if [ "$status" -ne 0 ]; then
    echo "== $name FAILED with status $status" | tee -a "$log"
    failed+=("$name")
  fi
}

optional() {  # as step, of a tool that this machine may not have or not allow
  if command -v "$3" >/dev/null; then step "$@"; else echo "== $1 left out: no $3 here" | tee -a "$log"; fi
}

reports() {  # as optional, of a tool that does not decide: it may not be allowed to read counters, say
  local decided=("${failed[@]}")
  optional "$@"
  failed=("${decided[@]}")
}

build() {  # build FOLDER ARCHITECTURES
  cmake -S . -B "$1" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$(command -v python3)" -DRPSTN_CUDA=ON \
    -DRPSTN_TUNE=ON -DCMAKE_CUDA_ARCHITECTURES="$2" && cmake --build "$1" --target _C _C_cuda _tune_cuda
}

imports() {  # the package, from the libraries that lie beside its Python files, serves this GPU
  python3 -c 'import rpstn_ext as rx; assert rx.backend() == "cuda+cpu", rx.backend()' 2>&1 | tail -n 1 | tee -a "$log"
  return "${PIPESTATUS[0]}"
}

use() {  # use FOLDER: its libraries beside the Python files of this checkout, where git ignores them
  cp "$1"/_C.so "$1"/_C_cuda.so "$1"/_build_info.py rpstn_ext/
}

prepare() {
  build build/on_gpu_tree 90 && mkdir -p "$carried" &&
    cp build/on_gpu_tree/{_C.so,_C_cuda.so,_tune_cuda.so,_build_info.py} "$carried" &&
    { git rev-parse HEAD 2>/dev/null || echo unknown; } >"$carried/COMMIT" && ls -l "$carried"
}

arrive() {  # libraries that import: those of this checkout, the carried ones, or new ones
  if ! imports && ! { [ -e "$carried/_C_cuda.so" ] && use "$carried" && imports; }; then
    step build 180 bash -c "$(declare -f build); build build/on_gpu_tree native"
    use build/on_gpu_tree && imports || { echo "on_gpu.sh: expected a CUDA build of torch and a GPU"; exit 1; }
    cp build/on_gpu_tree/_tune_cuda.so "$carried" 2>/dev/null
  fi
  if [ -z "${RPSTN_COMMIT:-}" ] && [ -e "$carried/COMMIT" ]; then
    RPSTN_COMMIT=$(cat "$carried/COMMIT")
    export RPSTN_COMMIT
  fi
}

loads() {  # loads MODULE: or the log says why not
  python3 -c "from benchmarks.tune import Tuner; Tuner('$1')" 2>&1 | tail -n 1 | tee -a "$log"
  return "${PIPESTATUS[0]}"
}

facts() {  # facts DEVICE MODULE SIZES...: (a) to (e)
  local device=$1 module=$2
  shift 2
  log=$out/facts.log
  local tuner=()
  if loads "$module"; then tuner=(--module "$module"); fi
  step "right or wrong, ceilings, ours alone" 125 \
    python3 -m benchmarks.ours --device "$device" "${tuner[@]}" --out "$out/facts.jsonl" "$@"
  if [ ${#tuner[@]} -gt 0 ]; then
    step kernels 20 python3 -m benchmarks.tune --device "$device" "${tuner[@]}" --kernels "${tiny[@]}"
    step sweep 150 python3 -m benchmarks.tune --device "$device" "${tuner[@]}" --seconds 1 --out "$out/facts.jsonl" "${tiny[@]}"
  else
    echo "== sweep left out: no tuning module" | tee -a "$log"
  fi
  reports profiles 75 ncu --log-file "$out/ncu.txt" --kernel-name-base demangled --kernel-name "regex:rpstn" \
    --section SpeedOfLight --section Occupancy --section LaunchStats --section WarpStateStats --section MemoryWorkloadAnalysis \
    python3 -m benchmarks.ours --device "$device" --once bars "$@"
}

at_once() {  # at_once SECONDS -- PYTEST ARGUMENTS -- PYTEST ARGUMENTS ...: a process each; what they say, one after another
  local seconds=$1 folder pids=() status=0 arguments=() i=0
  folder=$(mktemp -d)
  shift 2
  for word in "$@" --; do
    if [ "$word" != -- ]; then
      arguments+=("$word")
    else
      timeout "$seconds" python3 -m pytest -q -p no:cacheprovider "${arguments[@]}" >"$folder/$i" 2>&1 &
      pids+=($!)
      arguments=() i=$((i + 1))
    fi
  done
  for i in "${!pids[@]}"; do
    wait "${pids[$i]}" || { echo "-- ended with $? (124: after $seconds s)" && status=1; }
    tail -n 40 "$folder/$i"
  done
  rm -r "$folder"
  return $status
}

tests() {  # tests DEVICE SECONDS -- the arguments of each pytest: (f) and (g)
  local device=$1 seconds=$2
  shift 2
  log=$out/tests.log
  step tests "$seconds" bash -c "$(declare -f at_once)"'; at_once "$@"' at_once "$((seconds * patience - 5))" "$@"
  optional memcheck 45 compute-sanitizer --tool memcheck --error-exitcode 1 python3 -m benchmarks.ours --device "$device" --once checks
  reports racecheck 45 compute-sanitizer --tool racecheck python3 -m benchmarks.ours --device "$device" --once checks
  step rivals 80 python3 -m benchmarks.ops --device "$device" --no-compile --no-memory --out "$out/rivals.jsonl" "${few[@]}"
  if [ "$what" != --self-test ]; then
    step "compiled rivals" 80 python3 -m benchmarks.ops --device "$device" --no-memory --seconds 1 --out "$out/rivals.jsonl"
  fi
}

tiny=() few=(--seconds 1)
case $what in
  --prepare) prepare || exit 1 ;;
  facts)
    mkdir -p "$out" && arrive && facts cuda "$carried/_tune_cuda.so"
    ;;
  tests)
    mkdir -p "$out" && arrive
    ops=python_tests/test_ops.py
    tests cuda 150 -- "$ops" -k "cuda and joint_relation and not norm" -- "$ops" -k "cuda and norm" \
      -- "$ops" -k "cuda and conv2d" -- "$ops" -k "cuda and match" -- python_tests/test_cuda.py \
      -- python_tests/test_tune_cuda.py python_tests/test_autocast.py
    ;;
  --self-test)
    emulation=build/cuda_on_cpu/_C_cuda_on_cpu.so
    [ -e "$emulation" ] || { echo "on_gpu.sh: expected $emulation; make test builds it"; exit 1; }
    mkdir -p "$out"
    limit=1200 patience=6  # of a busy machine; an idle one takes a minute
    tiny=(--case joint_relation:2x5x8x8 --rounds 3 --seconds 0.1) few=(--case joint_relation:2x5x8x8 --rounds 3 --seconds 0.1)
    export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
    facts cpu "$emulation" --small --rounds 3 --seconds 0.1
    RPSTN_CUDA_ON_CPU=$emulation tests cpu 60 -- python_tests/test_ops.py -k "matches_reference and few" \
      -- python_tests/test_tune_cuda.py -k "known or older"
    ;;
  *)
    sed -n '2,/^set/p' "$0" | sed '$d'
    exit 2
    ;;
esac
if [ "$what" != --prepare ]; then
  echo "== $((SECONDS - began)) s in all, $(find "$out" -type f | wc -l) files in $out"
  if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
  fi
  echo "all checks passed"
fi
