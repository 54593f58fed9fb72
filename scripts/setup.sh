#!/bin/sh
# Finds a Python 3.11 on a machine that may have little else, then lets setup.py make .venv.
#
#     sh scripts/setup.sh [--gpu | --cpu]          PYTHON=/path/to/python3.11 chooses one
set -eu
cd "$(dirname "$0")/.."

fail() { printf '%s\n' "$@" >&2; exit 1; }

platform="$(uname -s) $(uname -m)"
[ "$platform" = "Linux x86_64" ] || fail \
  "MXNet 1.9.1 exists for Linux on x86-64 only; this is $platform." \
  "Use the container (deploy/README.md) or Google Colab (docs/platforms.md)."

# A pyenv shim is on the PATH for versions that are not active, so each candidate is run.
is_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }
can_make_venv() { "$1" -c 'import ensurepip, ssl, venv' >/dev/null 2>&1; }

found=""
for python in ${PYTHON:-python3.11 python3 python "${HOME:-/}"/.pyenv/versions/3.11.*/bin/python}; do
  is_311 "$python" || continue
  found=$python
  if can_make_venv "$python"; then exec "$python" -I scripts/setup.py "$@"; fi
done

[ -z "$found" ] || fail "$found is Python 3.11 without its modules venv, ensurepip or ssl." \
  "Debian and Ubuntu have them in the package python3.11-venv: install it, then try again."
fail "Python 3.11 is needed and was not found as python3.11, python3 or python." \
  "Install it, or name it: make setup PYTHON=/path/to/python3.11"
