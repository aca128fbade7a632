#!/usr/bin/env bash
# Trains blender_256.gin on a scene of NeRF-synthetic.
# DATA_DIR=... SCENE=... bash scripts/train_blender.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run train blender blender_256.gin "$@"
