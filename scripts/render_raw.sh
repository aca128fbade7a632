#!/usr/bin/env bash
# Renders a camera path with llff_raw.gin through a scene of RawNeRF.
# DATA_DIR=... SCENE=... bash scripts/render_raw.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run render raw llff_raw.gin "$@"
