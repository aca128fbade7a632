#!/usr/bin/env bash
# Trains 360.gin on a scene of the mip-NeRF 360 data set.
# DATA_DIR=... SCENE=... bash scripts/train_360.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run train 360 360.gin "$@"
