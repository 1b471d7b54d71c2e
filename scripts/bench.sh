#!/bin/sh
# Builds our side and the peers, then measures them in one run. ROUNDS says how many, ONLY which rows.
set -eu
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}
$CARGO build --release --locked -p andiron-bench -p andiron-cli
$CARGO build --release --locked --manifest-path bench-peers/Cargo.toml
exec target/release/andiron-bench "${ROUNDS:-60}" "${ONLY:-}"
