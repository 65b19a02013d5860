#!/bin/sh
# Install into a virtual environment, in the versions that were tested (constraints.txt). The image
# and venv.sh call this.   usage: deploy/install.sh VENV PIP_ARGUMENTS, such as -e '.[demo]'
# TORCH_INDEX_URL names an index of PyTorch's own builds, such as those for CPUs, which carry no CUDA.
set -eu
venv=$1
shift
pip() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint deploy/constraints.txt "$@"
}
if [ -n "${TORCH_INDEX_URL:-}" ]; then
  # torch alone: what it needs comes from PyPI below, in versions that such an index may not have
  pip --retries 1 --no-deps --index-url "$TORCH_INDEX_URL" torch ||
    echo "torch cannot be had from TORCH_INDEX_URL: taking PyPI's, which carries CUDA" >&2
elif [ "${DEVICE:-}" = cpu ]; then
  echo "TORCH_INDEX_URL is not set: taking PyPI's torch, which carries CUDA (+5 GB, unused)" >&2
fi
pip "$@"
