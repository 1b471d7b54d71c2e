#!/bin/sh
# Builds our side and the peers, then measures them in one run.
set -eu
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}
$CARGO build --release --locked -p andiron-bench
$CARGO build --release --locked --manifest-path bench-peers/Cargo.toml
exec target/release/andiron-bench "$@"
