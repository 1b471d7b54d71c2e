#!/bin/sh
# Long repetition and fuzzing. SOAK=N takes N times as long. Each failure prints the seed that repeats it.
set -eu
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}
SOAK=${SOAK:-1}

echo "== fuzzing the codec, the session and the store"
ANDIRON_FUZZ_ITERATIONS=$((SOAK * 40000000)) $CARGO test --release --locked -p andiron-proto --test codec_vectors
ANDIRON_FUZZ_ITERATIONS=$((SOAK * 30000)) $CARGO test --release --locked -p andiron-proto --test session fuzz
ANDIRON_FUZZ_ITERATIONS=$((SOAK * 200000)) $CARGO test --release --locked -p andiron-store --test model

echo "== killing who writes to the disk"
export ANDIRON_KILL_ROUNDS=$((SOAK * 10000))
$CARGO test --release --locked -p andiron-store --test disk_kill
$CARGO test --release --locked -p andiron-cli --test durable -- --nocapture kill
unset ANDIRON_KILL_ROUNDS

echo "== one order of all that many processes see"
round=0
while [ "$round" -lt $((SOAK * 10)) ]; do
    round=$((round + 1))
    # Many more in one scene take long to check: each client that is killed leaves writes of which nobody knows.
    ANDIRON_LINEAR_ROUNDS=60 $CARGO test --release --locked --quiet -p andiron-cli --test linear scenes
done

echo "== values that nobody thought of, in Python"
if [ -x target/venv/bin/pytest ]; then
    HYPOTHESIS_PROFILE=soak target/venv/bin/pytest --quiet python/tests/test_codec.py
else
    echo "skipped: the environment target/venv is made by make test"
fi

echo "== whatever old programs do with the store, with stops and kills"
if [ -x target/venv/bin/pytest ]; then
    for engine in 0 1; do
        ANDIRON_PURE=$engine ANDIRON_SCENARIOS=$((SOAK * 1000)) target/venv/bin/pytest --quiet python/tests/test_compat_ipcdatastore.py -k in_whatever_order
    done
else
    echo "skipped: the environment target/venv is made by make test"
fi

echo "== repeating the tests of driver and daemon"
$CARGO test --release --locked -p andiron -p andiron-cli --no-run
round=0
while [ "$round" -lt $((SOAK * 20)) ]; do
    round=$((round + 1))
    echo "-- round $round"
    $CARGO test --release --locked --quiet -p andiron -p andiron-cli --lib --tests
done
