# `make run` and `make test` do all the set-up on a fresh machine that has Rust.

CARGO ?= cargo

.PHONY: run test lint bench soak

## Builds everything and starts the daemon with the example service; Ctrl-C ends both.
run:
	$(CARGO) build --release --locked -p andiron-cli -p andiron-examples
	@sh examples/run.sh target/release

## Formatting, clippy, docs, unit and integration tests, doctests, examples, and the package for Python; with the time of each.
test:
	@sh scripts/test.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p andiron --features tokio --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --features andiron/tokio --no-deps --locked

## Measures Andiron beside its peers and the bare socket; see target/bench/results.jsonl.
bench:
	@sh scripts/bench.sh

## Long repetition and fuzzing; SOAK=10 takes ten times as long.
soak:
	@sh scripts/soak.sh
