# Sourced by the scripts beside it; not run by itself. Gives them:
#   $checkout, $python    the repository and its own interpreter
#   ensure_environment    makes .venv and installs multinerf[$1] into it, once

checkout="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$checkout/.venv"
python="$venv/bin/python"

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints the first Python that is new enough; runs each, because a name on PATH
# may be a launcher (pyenv) for a version that is not there.
find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "multinerf needs Python 3.11 or newer, and none of python3.11," \
    "python3.12, python3.13, python3.14, python3 on PATH is." \
    "Found: $(python3 --version 2>&1 || true)"
}

make_venv() {
  local base
  base="$(find_python)"
  "$base" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    fail "$base has no venv module; install it" \
      "(Debian, Ubuntu: apt install python3-venv) and run this again."
  echo "Making $venv with $("$base" --version)"
  "$base" -m venv --clear "$venv"
}

# $1: an extra of setup.py. The stamp names everything the result depends on, so
# a second run skips the installation and a changed requirement repeats it.
ensure_environment() {
  local extra="$1" stamp wanted
  stamp="$venv/multinerf-$extra.stamp"
  "$python" -m pip --version >/dev/null 2>&1 || make_venv
  wanted="$checkout $extra $("$python" -c 'import hashlib, sys
files = b"".join(open(p, "rb").read() for p in sys.argv[1:])
print(sys.version.split()[0], hashlib.sha256(files).hexdigest())' \
    "$checkout/setup.py" "$checkout/pyproject.toml")"
  [[ -f "$stamp" && "$(<"$stamp")" == "$wanted" ]] && return
  echo "Installing multinerf[$extra] into .venv (about a minute, once)"
  "$python" -m pip install --quiet --disable-pip-version-check \
    --editable "$checkout[$extra]" ||
    fail "the installation failed; pip's message is above. Check the network" \
      "and the free space on disk (about 1 GB), then run this again."
  printf '%s\n' "$wanted" >"$stamp"
}
