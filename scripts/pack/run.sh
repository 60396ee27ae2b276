#!/bin/sh
# Runs the packed project on an x86-64 Linux machine that needs no Node:
#   ./run.sh test [arguments of vitest]     the C++ tests of the GPU, then the TypeScript tests
#   ./run.sh bench NAME [options]           a benchmark, e.g. bench ttft --device cuda
#   ./run.sh sanitize [arguments]            the C++ tests under compute-sanitizer, tool by tool
#   ./run.sh plans [N]                       N random plans of attention (10000 unless said)
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
command=${1:-test}
[ $# -eq 0 ] || shift
case $command in
  test)
    failed=0
    for program in cuda_tests; do
      [ ! -x "runtime/$program" ] || "runtime/$program" --gtest_brief=1 || failed=1
    done
    # Those left out read the 540 MB of real tokenizers, which are not in the pack.
    node node_modules/vitest/vitest.mjs run --exclude '**/vocabularies.test.ts' --exclude '**/chat-format.test.ts' "$@" ||
      failed=1
    exit $failed
    ;;
  sanitize)
    failed=0
    for tool in memcheck racecheck initcheck; do
      compute-sanitizer --tool "$tool" --error-exitcode 1 runtime/cuda_tests --gtest_brief=1 "$@" || failed=1
    done
    exit $failed
    ;;
  plans)
    BLOCK_ATTENTION_RANDOM_PLANS=${1:-10000} exec runtime/cuda_tests --gtest_filter='*EqualsThePlainFormula*'
    ;;
  bench) exec node bench/main.mjs "$@" ;;
  node) exec node "$@" ;;
  *)
    sed -n '2,8p' "$here/run.sh" >&2
    exit 2
    ;;
esac
