# Sourced by deploy/demo and tests/check: make .venv and install the project into it when either is
# missing, or pyproject.toml or constraints.txt has changed.   usage: . deploy/venv.sh [dev]
if ! [ -x .venv/bin/python ]; then
  python=
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  [ -n "$python" ] || { echo "expected Python 3.11 to 3.13 on the PATH (or in \$PYTHON)" >&2; exit 2; }
  echo "making .venv with $("$python" --version) ..." >&2
  "$python" -m venv .venv
fi
vigil_groups="${1:-run}"
vigil_stamp=".venv/.installed-$vigil_groups"
if ! cat pyproject.toml deploy/constraints.txt | cmp -s - "$vigil_stamp"; then
  echo "installing (torch brings about 3 GB the first time) ..." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
  if [ "$vigil_groups" = dev ]; then
    deploy/install.sh .venv -e '.[demo,bench,console,curation]' --group dev
  else
    deploy/install.sh .venv -e '.[demo]'
  fi
  cat pyproject.toml deploy/constraints.txt >"$vigil_stamp"
fi
