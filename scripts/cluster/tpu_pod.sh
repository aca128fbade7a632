#!/usr/bin/env bash
# Trains on all workers of a TPU pod slice; edit or set the variables, then
#   TPU=my-pod ZONE=us-central2-b DATA_DIR=... CHECKPOINT_DIR=... \
#     bash scripts/cluster/tpu_pod.sh [flags of train.py]
# The checkout, its .venv (pip install -e ".[tpu]") and the data must be at the
# same place on all workers; JAX finds the workers by itself. Starts again after
# failures, from the newest checkpoint (docs/cluster.md).
set -uo pipefail

tpu="${TPU:?name of the TPU}"
zone="${ZONE:?its zone}"
checkout="${CHECKOUT:-multinerf}" # on the workers
preset="${PRESET:-360.gin}"
data_dir="${DATA_DIR:?the folder of the scene, on the workers}"
run_dir="${CHECKPOINT_DIR:?the folder of the run, on worker 0}"
most_restarts="${MAX_RESTARTS:-20}"

printf -v command '%q ' .venv/bin/python train.py --cluster=gcetpu \
  --gin_configs="$preset" --data_dir="$data_dir" --checkpoint_dir="$run_dir" \
  "$@"

for ((restart = 0; restart <= most_restarts; restart++)); do
  gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all \
    --command="cd $(printf '%q' "$checkout") && exec $command"
  status=$?
  # 0 is done, 1 an error to be read, 130 Ctrl-C.
  case "$status" in 0 | 1 | 130) exit "$status" ;; esac
  echo "status $status; start $((restart + 1)) of $most_restarts follows" >&2
  # Workers that still hang would hold the chips.
  gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all \
    --command="pkill -KILL -f '[t]rain.py --cluster=gcetpu'" || true
  sleep 10
done
exit "$status"
