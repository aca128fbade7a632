#!/usr/bin/env bash
# Trains llff_256.gin on a forward-facing LLFF scene.
# DATA_DIR=... SCENE=... bash scripts/train_llff.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run train llff llff_256.gin "$@"
