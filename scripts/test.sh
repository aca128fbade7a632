#!/usr/bin/env bash
# Runs the tests, doing the whole set-up first.
#
#   bash scripts/test.sh [--all] [arguments of pytest]
#
# --all adds the tests marked slow. TEST_WORKERS (default 2) is the number of
# processes. Compiled programs are kept between runs in MULTINERF_TEST_CACHE.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

arguments=()
for argument in "$@"; do
  if [[ "$argument" == --all ]]; then
    arguments+=(-m '')
  else
    arguments+=("$argument")
  fi
done

ensure_environment test
cd "$checkout"
export JAX_PLATFORMS=cpu
cache_home="${XDG_CACHE_HOME:-${HOME:-$venv}/.cache}"
export MULTINERF_TEST_CACHE="${MULTINERF_TEST_CACHE:-$cache_home/multinerf/xla-tests}"
# The workers share the cores: one thread each for BLAS. XLA's pool needs two for
# each of the eight devices, or those that wait for another leave it none and the
# process is ended (docs/troubleshooting.md).
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NPROC=16
exec "$python" -m pytest -q -n "${TEST_WORKERS:-2}" --dist loadfile \
  ${arguments[@]+"${arguments[@]}"}
