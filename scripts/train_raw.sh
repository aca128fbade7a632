#!/usr/bin/env bash
# Trains llff_raw.gin on a scene of RawNeRF.
# DATA_DIR=... SCENE=... bash scripts/train_raw.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run train raw llff_raw.gin "$@"
