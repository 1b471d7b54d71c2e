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

echo "== one order of all that many processes see"
ANDIRON_LINEAR_ROUNDS=$((SOAK * 400)) $CARGO test --release --locked -p andiron-cli --test linear scenes -- --nocapture

echo "== repeating the tests of driver and daemon"
$CARGO test --release --locked -p andiron -p andiron-cli --no-run
round=0
while [ "$round" -lt $((SOAK * 20)) ]; do
    round=$((round + 1))
    echo "-- round $round"
    $CARGO test --release --locked --quiet -p andiron -p andiron-cli --lib --tests
done
