#!/usr/bin/env bash
# Measures llff_raw.gin on the test views of a scene of RawNeRF.
# The published test scenes: PRESET=llff_raw_test.gin.
# DATA_DIR=... SCENE=... bash scripts/eval_raw.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run eval raw llff_raw.gin "$@"
