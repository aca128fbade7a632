#!/usr/bin/env bash
# Renders a camera path with blender_256.gin through a scene of NeRF-synthetic.
# DATA_DIR=... SCENE=... bash scripts/render_blender.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run render blender blender_256.gin "$@"
