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

# What has neither a system nor the engine of the package under it: it runs in the first part, and under the oldest Python.
once="--ignore-glob=*/test_pure_session* --ignore-glob=*/test_keep* --ignore-glob=*/test_pure_codec.py"

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
    target/venv/bin/ruff format --check python examples/python examples/kodi kodi kodi/build kodi/bench kodi/screenshots
    target/venv/bin/ruff check python examples/python examples/kodi kodi kodi/build kodi/bench kodi/screenshots
    target/venv/bin/vermin --quiet --no-tips --violations -t=3.8- python/andiron
    target/venv/bin/mypy
    target/venv/bin/python -m mypy.stubtest andiron._native
    target/venv/bin/pytest --quiet --numprocesses auto
}

# The same tests with the engine in Python alone; those of both engines and of Rust with each other ran above.
pure() {
    if ! [ -x target/venv/bin/pytest ]; then
        echo "skipped: there is no environment with pytest"
        return
    fi
    ANDIRON_PURE=1 target/venv/bin/pytest --quiet --numprocesses auto $once
}

# And where there are no Unix sockets, no descriptors that are passed and no memory that is passed by reference.
without() {
    if ! [ -x target/venv/bin/pytest ]; then
        echo "skipped: there is no environment with pytest"
        return
    fi
    ANDIRON_PURE=1 PYTHONPATH=python/tests/without target/venv/bin/pytest --quiet --numprocesses auto python/tests $once --ignore-glob=*/test_codec.py
}

# What the server in Rust and its store are held to, asked of the one in Python; tests that cannot be about it say why. Fewer kills than there were above, since a start of Python is longer.
conformance() {
    if ! [ -x target/venv/bin/python ]; then
        echo "skipped: there is no environment with Python"
        return
    fi
    cat > target/serve-pure <<END
#!/bin/sh
ANDIRON_PURE=1 PYTHONPATH='$PWD/python' exec '$PWD/target/venv/bin/python' '$PWD/python/tests/serve.py' "\$@"
END
    chmod +x target/serve-pure
    suites=""
    for suite in store watch archive durable linear secret clock descriptors bounds objects names relay network load abuse; do suites="$suites --test $suite"; done
    # Of the whole workspace, as above, so that nothing is built anew.
    ANDIRON_TEST_SERVE="$PWD/target/serve-pure" ANDIRON_KILL_ROUNDS=20 ANDIRON_LINEAR_ROUNDS=6 $CARGO test --workspace --locked $suites
}

# Each engine in Python at a server of each implementation, which has the objects of another process registered and passes their calls on.
servers() {
    if ! [ -x target/venv/bin/pytest ]; then
        echo "skipped: there is no environment with pytest"
        return
    fi
    for engine in 0 1; do
        for server in rust native pure; do
            echo "-- $([ $engine = 1 ] && echo pure || echo native), at a server that is $server"
            (
                cd python/tests
                ANDIRON_PURE=$engine ANDIRON_TEST_DAEMON=$server ../../target/venv/bin/pytest --quiet --numprocesses auto \
                    test_objects.py test_expose.py test_errors.py test_futures.py test_shown.py test_arrivals.py test_changing.py test_values.py
            )
        done
    done
}

# An interpreter of this version, whatever modules it has.
plain_python() { # version
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# The package as a folder that was copied, under each version of Python that it is for; and all tests under the oldest one.
copied() {
    folder=target/copied
    rm -rf $folder
    mkdir -p $folder
    cp -r python/andiron $folder/
    rm -f $folder/andiron/*.so
    for version in 3.8 3.9 3.10 3.11 3.12 3.13; do
        found=$(plain_python $version)
        if [ -z "$found" ]; then
            echo "skipped: there is no Python $version"
            continue
        fi
        echo "-- Python $version"
        PYTHONPATH=$PWD/$folder timeout 300 "$found" python/tests/plain.py
        [ "$version" = 3.8 ] || continue
        if ! "$found" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "skipped: this Python $version can make no environment for pytest"
            continue
        fi
        environment target/venv-pure-$version "$found"
        if ! target/venv-pure-$version/bin/pip install --quiet --disable-pip-version-check -r python/tests/requirements.txt; then
            echo "skipped: what the tests use cannot be installed for Python $version"
            continue
        fi
        PYTHONPATH=$PWD/$folder target/venv-pure-$version/bin/pytest --quiet --numprocesses auto python/tests
    done
}

# And under PyPy, which has modules of its own in place of those in C.
pypy() {
    if ! command -v pypy3 >/dev/null; then
        echo "skipped: there is no PyPy (pypy3)"
        return
    fi
    PYTHONPATH=$PWD/target/copied timeout 300 pypy3 python/tests/plain.py
}

# What pip takes: the wheel of Python alone where there is no other, and the native one where it fits.
wheels() {
    if ! ls target/wheels/tests/*.whl >/dev/null 2>&1; then
        echo "skipped: there is no native wheel"
        return
    fi
    rm -rf target/wheels/pure target/venv-wheels
    PYTHON=target/venv/bin/python sh scripts/wheel.sh target/wheels/pure
    target/venv/bin/python -m venv target/venv-wheels
    for wanted in pure native; do
        others=""
        if [ $wanted = native ]; then others="--find-links target/wheels/tests"; fi
        target/venv-wheels/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-index --find-links target/wheels/pure $others andiron
        engine=$(cd target && venv-wheels/bin/python -c 'import andiron; print(andiron.engine)')
        echo "pip took the $engine one"
        test "$engine" = $wanted
    done
}

# The add-ons in a real Kodi, without a screen, installed from their zips; and what its repository asks of them.
kodi() {
    if ! [ -x target/venv/bin/pytest ]; then
        echo "skipped: there is no environment with pytest"
        return
    fi
    target/venv/bin/pip install --quiet --disable-pip-version-check -r kodi/tests/requirements.txt
    target/venv/bin/vermin --quiet --no-tips --violations -t=3.8- kodi/script.* kodi/service.* examples/kodi
    target/venv/bin/pytest --quiet kodi/tests
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
        target/venv-$version/bin/pytest --quiet --numprocesses auto python/tests $once
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
part "Python, pure" pure
part "Python, without Unix sockets" without
part "Python, servers of each other" servers
part "Python, conformance of the server" conformance
part "Python, oldest and newest" other_pythons
part "Python, a copied folder" copied
part "Python, PyPy" pypy
part "Python, wheels" wheels
part "Python, free-threaded" free_threaded
part "Kodi" kodi
part "purity of the protocol (wasm32)" wasm

printf '\n== minutes per part\n%s' "$summary"
