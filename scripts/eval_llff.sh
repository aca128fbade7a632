#!/usr/bin/env bash
# Measures llff_256.gin on the test views of a forward-facing LLFF scene.
# DATA_DIR=... SCENE=... bash scripts/eval_llff.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run eval llff llff_256.gin "$@"
