#!/bin/sh
# All tests, each part with the time it took. Stops at the first part that fails.
set -eu
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}
summary=""

part() { # name, command...
    name=$1
    shift
    printf '\n== %s\n' "$name"
    start=$(date +%s)
    "$@"
    seconds=$(($(date +%s) - start))
    summary="$summary$(printf '%4d.%02d min  %s' $((seconds / 60)) $((seconds % 60 * 100 / 60)) "$name")
"
}

docs() { RUSTDOCFLAGS="-D warnings" $CARGO doc --workspace --features andiron/tokio --no-deps --locked; }

wasm() {
    if rustc --print target-libdir --target wasm32-unknown-unknown 2>/dev/null | xargs -I{} test -d {}; then
        $CARGO check --locked -p andiron-proto --target wasm32-unknown-unknown
    else
        echo "skipped: the target wasm32-unknown-unknown is not installed (rustup target add wasm32-unknown-unknown)"
    fi
}

# The module for a CPython without the lock of its interpreter, as far as it can be checked where there is none.
free_threaded() {
    mkdir -p target/free-threaded
    cat > target/free-threaded/python.txt <<END
implementation=CPython
version=3.14
shared=true
pointer_width=64
build_flags=Py_GIL_DISABLED
suppress_build_script_link_lines=true
END
    PYO3_CONFIG_FILE="$PWD/target/free-threaded/python.txt" $CARGO check --locked -p andiron-python
}

# The first of these programs that is a Python of version 3.10 or later which can make environments; with another one of those under pyenv.
find_python() { # "", or the version that it has to have; candidates...
    wanted=$1
    shift
    for candidate in "$@" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$wanted"*/bin/python; do
        if "$candidate" -c "import sys, venv, ensurepip
v = sys.version_info
sys.exit(v < (3, 10) or '$wanted' not in ('', '%d.%d' % v[:2]))" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# What an interpreter is: its version and where it lies.
identity() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null; }

# An environment in target/ of this interpreter, made anew where it is one of another.
environment() { # folder, interpreter
    if [ "$(identity "$1/bin/python")" != "$(identity "$2")" ]; then
        rm -rf "$1"
        "$2" -m venv "$1"
    fi
}

# The package for Python in an environment of its own. Everything else is tested where there is no Python.
python() {
    found=$(find_python "" ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10})
    if [ -z "$found" ]; then
        echo "skipped: there is no Python of version 3.10 or later with the modules venv and ensurepip (PYTHON=.. says where one is)"
        return
    fi
    environment target/venv "$found"
    target/venv/bin/pip install --quiet --disable-pip-version-check -r python/tests/requirements.txt -r python/tests/tools.txt
    PATH="$PWD/target/venv/bin:$PATH" VIRTUAL_ENV="$PWD/target/venv" target/venv/bin/maturin develop --quiet
    target/venv/bin/ruff format --check python examples/python
    target/venv/bin/ruff check python examples/python
    target/venv/bin/mypy
    target/venv/bin/python -m mypy.stubtest andiron._native
    target/venv/bin/pytest --quiet
}

# The same module, as a wheel brings it, under the oldest and the newest version that it is for.
other_pythons() {
    if ! [ -x target/venv/bin/maturin ]; then
        echo "skipped: there is no environment with maturin"
        return
    fi
    rm -rf target/wheels/tests
    PATH="$PWD/target/venv/bin:$PATH" VIRTUAL_ENV="$PWD/target/venv" target/venv/bin/maturin build --quiet --profile dev --out target/wheels/tests
    for version in 3.10 3.13; do
        if target/venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"; then
            echo "skipped: $version is the version that the tests ran with"
            continue
        fi
        found=$(find_python $version python$version)
        if [ -z "$found" ]; then
            echo "skipped: there is no Python $version"
            continue
        fi
        environment target/venv-$version "$found"
        target/venv-$version/bin/pip install --quiet --disable-pip-version-check -r python/tests/requirements.txt
        target/venv-$version/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall target/wheels/tests/*.whl
        target/venv-$version/bin/pytest --quiet python/tests
    done
}

part "formatting" $CARGO fmt --all --check
part "clippy" $CARGO clippy --workspace --all-targets --locked -- -D warnings
part "clippy, tokio" $CARGO clippy -p andiron --features tokio --all-targets --locked -- -D warnings
# The benchmarks switch it on for the whole workspace.
part "without the feature tokio" $CARGO test -p andiron --locked --test compile_fail
part "docs" docs
part "build" $CARGO build --workspace --bins --examples --locked
part "unit and integration tests" $CARGO test --workspace --locked --lib --bins --tests --examples
part "tests, tokio" $CARGO test -p andiron --features tokio --locked --lib --tests
part "doctests" $CARGO test --workspace --features andiron/tokio --locked --doc
part "Python" python
part "Python, oldest and newest" other_pythons
part "Python, free-threaded" free_threaded
part "purity of the protocol (wasm32)" wasm

printf '\n== minutes per part\n%s' "$summary"
