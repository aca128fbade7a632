#!/usr/bin/env bash
# Trains blender_refnerf.gin on a scene of Shiny Blender.
# DATA_DIR=... SCENE=... bash scripts/train_shinyblender.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run train shinyblender blender_refnerf.gin "$@"
