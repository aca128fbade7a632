#!/usr/bin/env bash
# Renders a camera path with llff_256.gin through a forward-facing LLFF scene.
# DATA_DIR=... SCENE=... bash scripts/render_llff.sh [flags]; see _run.sh.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

run render llff llff_256.gin "$@"
