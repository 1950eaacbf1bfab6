#!/bin/sh
# Pin every environment anew, with hashes and without naming an index: lock.sh (run by `make lock`).
# The environments come first; what is shipped to Lambda is held to the versions that were tested.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/python -m pip install --quiet uv
compile() {
    .venv/bin/uv pip compile --quiet --python-version 3.13 --generate-hashes \
        --no-header --no-emit-index-url "$@"
}
environment() {
    compile --universal "requirements/$1.in" --output-file "requirements/$1.txt"
}
# shipped FILE PACKAGE...: the comments at the top of the file stay. What $without names is left out.
without=
shipped() {
    file=$1
    shift
    pinned=$(printf '%s\n' "$@" |
        compile --no-annotate $without --constraints requirements/dev.txt --constraints requirements/local.txt -)
    kept=$(grep '^#' "$file" || true)
    printf '%s\n%s\n' "$kept" "$pinned" >"$file"
}
environment local
environment dev
environment sam
shipped functions/ingest_telemetry/requirements.txt botocore aws-lambda-powertools
shipped functions/pause_ingestion/requirements.txt botocore aws-lambda-powertools
shipped functions/admit_device/requirements.txt botocore aws-lambda-powertools
shipped layers/contract/requirements.txt msgspec pybase64
shipped layers/columnar/requirements.txt pyarrow
# What PyIceberg needs for its command line and for other catalogues and file systems than ours.
for package in certifi charset-normalizer click fsspec idna markdown-it-py mdurl pygments requests rich; do
    without="$without --no-emit-package $package"
done
shipped functions/audit_lake/requirements.txt aws-lambda-powertools boto3 duckdb pyarrow 'pyiceberg[glue]'
# PyIceberg compares schemas with rich before it writes.
without=
for package in certifi charset-normalizer click fsspec idna requests; do
    without="$without --no-emit-package $package"
done
shipped functions/export_registry/requirements.txt aws-lambda-powertools boto3 pyarrow 'pyiceberg[glue]'
