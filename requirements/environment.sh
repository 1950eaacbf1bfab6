#!/bin/sh
# Bring one virtual environment to what a requirements file pins: environment.sh FOLDER REQUIREMENTS
set -eu
folder=$1
requirements=$2

is_wanted() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; }

if ! is_wanted "$folder/bin/python"; then
    python=
    for candidate in "${PYTHON:-}" python3.13 python3 python; do
        if [ -n "$candidate" ] && is_wanted "$candidate"; then python=$candidate && break; fi
    done
    if [ -z "$python" ]; then
        echo "No Python 3.13 found: install it (or name one: make PYTHON=/path/to/python3.13 ...)." >&2
        exit 1
    fi
    echo "Creating $folder with $("$python" --version)"
    rm -rf "$folder"
    if ! "$python" -m venv "$folder" >"$folder.log" 2>&1; then
        cat "$folder.log" >&2
        echo "Python could not make an environment: on Debian, install python3.13-venv." >&2
        exit 1
    fi
    rm -f "$folder.log"
fi

echo "Installing $requirements into $folder (a few minutes the first time)"
"$folder/bin/python" -m pip install --quiet --require-hashes --requirement "$requirements"

# The project's own source roots, as the function, the job and pytest see them.
for packages in "$folder"/lib/python3*/site-packages; do
    for root in . functions layers/contract glue; do echo "../../../../$root"; done >"$packages/source_roots.pth"
done
