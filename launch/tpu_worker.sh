#!/usr/bin/env bash
# Sets up a machine of a slice: Python, packages, the bucket at /gcs. May be repeated.
#
#   launch/tpu_worker.sh BUCKET      (`tpu_pod.sh setup` calls it)
set -euo pipefail

bucket=${1:?name the bucket}
cd "$(dirname "$0")/.."

# The machines' own Python is 3.10, too old; uv brings one.
python3 -m pip install --quiet --user uv
uv=$HOME/.local/bin/uv
[[ -x ../venv/bin/python ]] || "$uv" venv --quiet --python 3.12 ../venv
"$uv" pip install --quiet --python ../venv/bin/python \
  --requirement requirements/py312.txt --editable '.[tpu]'

if ! command -v gcsfuse > /dev/null; then
  packages=https://packages.cloud.google.com/apt
  key=/usr/share/keyrings/cloud.google.asc
  curl --fail --silent --show-error "$packages/doc/apt-key.gpg" | sudo tee "$key" > /dev/null
  echo "deb [signed-by=$key] $packages gcsfuse-$(lsb_release -cs) main" \
    | sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null
  sudo apt-get -qq update
  sudo apt-get -qq install -y gcsfuse
fi
sudo mkdir -p /gcs
sudo chown "$USER" /gcs
mountpoint -q /gcs || gcsfuse --implicit-dirs "$bucket" /gcs
