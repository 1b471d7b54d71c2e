#!/bin/sh
# The wheel of Python alone, for all platforms and Pythons from 3.8 on: the same package without the native module, so that pip never has to build that one. Beside it,
# `maturin build` makes the wheels that have it; pip takes one of these where it fits.
#
# scripts/wheel.sh [FOLDER]: puts it there; without one into target/wheels. PYTHON=.. says which Python builds it.
set -eu
cd "$(dirname "$0")/.."
out=${1:-target/wheels}
made=target/pure-wheel
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

rm -rf "$made"
mkdir -p "$made/andiron" "$out"
(cd python/andiron && find . -name '*.py' -o -name '*.pyi' -o -name py.typed) | while read -r file; do
    mkdir -p "$made/andiron/$(dirname "$file")"
    cp "python/andiron/$file" "$made/andiron/$file"
done
cp README.md LICENSE-* "$made/"
# What the two wheels say of themselves is the same, but for this.
sed -e 's/^requires = .*/requires = ["flit_core>=3.12,<4"]/' \
    -e 's/^build-backend = .*/build-backend = "flit_core.buildapi"/' \
    -e 's/^requires-python = .*/requires-python = ">=3.8"/' \
    -e "s/^dynamic = \[\"version\"\]/version = \"$version\"/" \
    -e 's/"Operating System :: .*"/"Operating System :: OS Independent"/' \
    -e '/"Programming Language :: Rust"/d' \
    -e '/^\[tool\./,$d' \
    pyproject.toml > "$made/pyproject.toml"
"${PYTHON:-python3}" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$out" "$made"
