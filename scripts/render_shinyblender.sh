#!/usr/bin/env bash
# Renders a camera path with blender_refnerf.gin through a scene of Shiny Blender.
# DATA_DIR=... SCENE=... bash scripts/render_shinyblender.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run render shinyblender blender_refnerf.gin "$@"
