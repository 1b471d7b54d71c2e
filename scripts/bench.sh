#!/bin/sh
# Builds our side and the peers, then measures them in one run. ROUNDS says how many, ONLY which rows: those of Python with ONLY=python.
set -eu
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}

# The package as it is released, with its peers; a peer that cannot be installed is left out by the harness, which says so.
python() {
    venv=target/bench-venv
    [ -x $venv/bin/python ] || "${PYTHON:-python3}" -m venv $venv
    pip="$venv/bin/pip --quiet --disable-pip-version-check"
    $pip install "maturin>=1.7,<2"
    while read -r peer; do
        $pip install "$peer" || echo "$peer cannot be installed"
    done < python/bench/requirements.txt
    PATH="$PWD/$venv/bin:$PATH" $venv/bin/maturin build --quiet --profile wheel --locked --interpreter $venv/bin/python --out target/bench-wheel
    $pip install --force-reinstall --no-deps target/bench-wheel/andiron-*.whl
}

$CARGO build --release --locked -p andiron-bench -p andiron-cli
case "${ONLY:-}" in
python*) python ;;
*)
    $CARGO build --release --locked --manifest-path bench-peers/Cargo.toml
    python
    ;;
esac
exec target/release/andiron-bench "${ROUNDS:-60}" "${ONLY:-}"
