#!/usr/bin/env bash
# Measures blender_256.gin on the test views of a scene of NeRF-synthetic.
# DATA_DIR=... SCENE=... bash scripts/eval_blender.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run eval blender blender_256.gin "$@"
