#!/usr/bin/env bash
# Measures 360.gin on the test views of a scene of the mip-NeRF 360 data set.
# DATA_DIR=... SCENE=... bash scripts/eval_360.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run eval 360 360.gin "$@"
