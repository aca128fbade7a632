#!/usr/bin/env bash
# Trains on several machines that ssh reaches without a password; edit or set
# the variables, then
#   HOSTS=a,b,c DATA_DIR=... CHECKPOINT_DIR=... bash scripts/cluster/ssh.sh \
#     [flags of train.py]
# The checkout, its Python and the data must be at the same place on all of
# them; the first one has process 0 and needs the port open to the others.
# Stops with Ctrl-C or SIGTERM; starts again after failures (docs/cluster.md).
set -euo pipefail

hosts="${HOSTS:?machines, separated by commas}"
checkout="${CHECKOUT:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)}"
python="${PYTHON:-$checkout/.venv/bin/python}"
preset="${PRESET:-360.gin}"
data_dir="${DATA_DIR:?the folder of the scene}"
run_dir="${CHECKPOINT_DIR:?the folder of the run, on the first machine}"

cd -- "$checkout"
exec "$python" -m multinerf.app.launch \
  --hosts="$hosts" --port="${PORT:-0}" --max_restarts="${MAX_RESTARTS:-20}" -- \
  train.py --gin_configs="$preset" --data_dir="$data_dir" \
  --checkpoint_dir="$run_dir" "$@"
