#!/usr/bin/env bash
# Trains, evaluates and renders the scene that multinerf carries with it.
#
#   bash scripts/quickstart.sh [flags of multinerf.app.quickstart]
#
# Needs Python 3.11+ and a network for the first installation; makes its own
# virtual environment, .venv, in the checkout. Runs on the CPU unless
# JAX_PLATFORMS says otherwise.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

ensure_environment video
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
exec "$python" -m multinerf.app.quickstart "$@"
