#!/usr/bin/env bash
# Measures blender_refnerf.gin on the test views of a scene of Shiny Blender.
# DATA_DIR=... SCENE=... bash scripts/eval_shinyblender.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run eval shinyblender blender_refnerf.gin "$@"
