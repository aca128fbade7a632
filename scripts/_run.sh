# Sourced by {train,eval,render}_*.sh; not run by itself. Each of these does one
# scene of one data set with the preset that was published for it:
#
#   DATA_DIR=/data/nerf_real_360 SCENE=garden bash scripts/train_360.sh
#   bash scripts/eval_360.sh DATA_DIR=/data/nerf_real_360 SCENE=garden
#
# Variables, from the environment or as arguments NAME=value:
#   DATA_DIR        folder of the data set; the scene is $DATA_DIR/$SCENE
#   SCENE           the scene's folder
#   CHECKPOINT_DIR  where the run goes; default runs/<experiment>/$SCENE
#   PRESET          another gin file than the script's
#   PYTHON          interpreter; default: that of an active virtual
#                   environment, else the checkout's .venv, else python on PATH
#   FRAMES, FPS     of render_*.sh; default 10 and 2, a preview as in MultiNeRF
#
# All other arguments are flags of the program and have the last word:
#   --gin_bindings="Config.batch_size = 4096"
#
# Nothing is ever deleted: training continues a run that exists.

run_checkout="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"

run_fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

run_python() {
  local venv="$run_checkout/.venv/bin/python"
  if [[ -n "${PYTHON:-}" ]]; then
    printf '%s\n' "$PYTHON"
  elif [[ -z "${VIRTUAL_ENV:-}" && -x "$venv" ]]; then
    printf '%s\n' "$venv"
  elif command -v python >/dev/null; then
    echo python
  else
    echo python3
  fi
}

# run PROGRAM EXPERIMENT PRESET [NAME=value | --flag]...
run() {
  local program="$1" experiment="$2" preset="$3" argument python
  local bindings=() flags=()
  shift 3
  for argument in "$@"; do
    case "$argument" in
      DATA_DIR=* | SCENE=* | CHECKPOINT_DIR=* | PRESET=* | PYTHON=* | \
        FRAMES=* | FPS=*) local "$argument" ;;
      -*) flags+=("$argument") ;;
      *) run_fail "unexpected argument '$argument'; give NAME=value or a" \
        "--flag (see scripts/_run.sh)" ;;
    esac
  done
  [[ -n "${DATA_DIR:-}" ]] || run_fail "DATA_DIR is not set; it is the folder" \
    "that holds the scenes (DATA_DIR=/path/to/dataset)"
  [[ -n "${SCENE:-}" ]] || run_fail "SCENE is not set; it is the name of a" \
    "folder in $DATA_DIR (SCENE=name)"
  if [[ "$experiment" == 360 ]]; then
    # The paper's protocol: indoor photographs at half size, outdoor ones
    # (the preset) at a quarter. Names as released and as published.
    case "$SCENE" in
      room | counter | kitchen | bonsai | fulllivingroom | kitchencounter | \
        kitchenlego | officebonsai) bindings+=("Config.factor = 2") ;;
    esac
  fi
  if [[ "$program" == render ]]; then
    bindings+=(
      "Config.render_path = True"
      "Config.render_path_frames = ${FRAMES:-10}"
      "Config.render_video_fps = ${FPS:-2}"
    )
  fi
  python="$(run_python)"
  exec "$python" "$run_checkout/$program.py" \
    --gin_configs="${PRESET:-$preset}" \
    --data_dir="$DATA_DIR/$SCENE" \
    --checkpoint_dir="${CHECKPOINT_DIR:-runs/$experiment/$SCENE}" \
    ${bindings[@]+"${bindings[@]/#/--gin_bindings=}"} \
    ${flags[@]+"${flags[@]}"}
}
