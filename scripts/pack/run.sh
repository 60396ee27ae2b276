#!/bin/sh
# Runs the packed project on an x86-64 Linux machine that needs no Node:
#   ./run.sh test [arguments of vitest]     the C++ tests of the GPU, then the TypeScript tests
#   ./run.sh bench NAME [options]           a benchmark, e.g. bench ttft --device cuda
#   ./run.sh sanitize [arguments]            the C++ tests under compute-sanitizer, tool by tool
#   ./run.sh plans [N]                       N random plans of attention (10000 unless said)
#   ./run.sh check                           for a new card: its instructions, then all of the above
#   ./run.sh node FILE [arguments]          anything else
# Unpacks itself once, beside itself or to $BLOCK_ATTENTION_FOLDER. The exit code is that of what ran.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${BLOCK_ATTENTION_FOLDER:-$here/unpacked}
if [ ! -f "$folder/.complete" ] || [ "$here/project.tar.xz" -nt "$folder/.complete" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  if command -v xz >/dev/null; then
    xz -dc "$here/project.tar.xz" | tar -xf - -C "$folder"
  else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' \
      "$here/project.tar.xz" | tar -xf - -C "$folder"
  fi
  touch "$folder/.complete"
fi
cd "$folder"
PATH="$folder/runtime:$PATH"
LD_LIBRARY_PATH="$folder/runtime${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Of what was packed, for records of benchmarks.
BLOCK_ATTENTION_COMMIT=$(cat runtime/commit)
# What bench/kernels runs instead of building it.
BLOCK_ATTENTION_PROGRAMS="$folder/runtime"
export PATH LD_LIBRARY_PATH BLOCK_ATTENTION_PROGRAMS BLOCK_ATTENTION_COMMIT

# Calls its arguments in as many processes as there are cores, 12 at most: number $shard of $shards. Prints what they said.
in_shards() {
  shards=$(nproc 2>/dev/null || echo 4)
  [ "$shards" -le 12 ] || shards=12
  rm -rf shards
  mkdir shards
  pids=
  shard=0
  while [ "$shard" -lt "$shards" ]; do
    "$@" >"shards/$shard" 2>&1 &
    pids="$pids $!"
    shard=$((shard + 1))
  done
  status=0
  for pid in $pids; do
    wait "$pid" || status=1
  done
  cat shards/*
  return $status
}

gpu_tests() {
  GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard "$@" --gtest_brief=1
}

random_plans() {
  first=$((shard * plans / shards))
  BLOCK_ATTENTION_FIRST_PLAN=$first BLOCK_ATTENTION_RANDOM_PLANS=$(((shard + 1) * plans / shards - first)) \
    runtime/cuda_tests --gtest_brief=1 --gtest_filter='*EqualsThePlainFormula*'
}

test_all() {
  failed=0
  [ ! -x runtime/cuda_tests ] || in_shards gpu_tests runtime/cuda_tests || failed=1
  # Those left out read the 540 MB of real tokenizers, which are not in the pack.
  node node_modules/vitest/vitest.mjs run --exclude '**/vocabularies.test.ts' --exclude '**/chat-format.test.ts' "$@" ||
    failed=1
  return $failed
}

sanitize() {
  failed=0
  for tool in memcheck racecheck initcheck; do
    in_shards gpu_tests compute-sanitizer --tool "$tool" --error-exitcode 1 runtime/cuda_tests "$@" || failed=1
  done
  return $failed
}

command=${1:-test}
[ $# -eq 0 ] || shift
case $command in
  test) test_all "$@" ;;
  sanitize) sanitize "$@" ;;
  plans)
    plans=${1:-10000}
    in_shards random_plans
    ;;
  check)
    runtime/cuda_tests --gtest_brief=1 --gtest_filter='*Primitives*'
    failed=0
    test_all || failed=1
    sanitize || failed=1
    plans=10000
    in_shards random_plans || failed=1
    exit $failed
    ;;
  bench) exec node bench/main.mjs "$@" ;;
  node) exec node "$@" ;;
  *)
    sed -n '2,9p' "$here/run.sh" >&2
    exit 2
    ;;
esac
