#!/bin/sh
# Pin every environment anew, with hashes and without naming an index: lock.sh (run by `make lock`).
# The runtime parts come first; the development environment is held to the versions they ship.
set -eu
cd "$(dirname "$0")"
../.venv/bin/python -m pip install --quiet uv
compile() {
    ../.venv/bin/uv pip compile --quiet --python-version 3.13 --universal --generate-hashes \
        --no-header --no-emit-index-url "$1" --output-file "$2"
}
compile ../functions/ingest_telemetry/requirements.in ../functions/ingest_telemetry/requirements.txt
compile ../layers/contract/requirements.in ../layers/contract/requirements.txt
compile ../layers/columnar/requirements.in ../layers/columnar/requirements.txt
compile local.in local.txt
compile dev.in dev.txt
compile sam.in sam.txt
