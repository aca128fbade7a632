#!/usr/bin/env bash
# Renders a camera path with 360.gin through a scene of the mip-NeRF 360 data set.
# DATA_DIR=... SCENE=... bash scripts/render_360.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run render 360 360.gin "$@"
