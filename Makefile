# Tests that take longer than `cargo test`. Each says what it did and which seed it had.

# How many seeds `simulate` plays.
SEEDS ?= 100000

# The long form of the chaos test; the variables are explained at the head of tests/chaos/mod.rs.
export CHAOS_EVENTS ?= 5000000
export CHAOS_FAULTS ?= 208
export CHAOS_RULES ?= 1
export CHAOS_REPORT ?= $(CURDIR)/target/chaos.md

.PHONY: chaos simulate fuzz

# Kills, stalls, stops and restarts everything for about half an hour.
chaos:
	mkdir -p $(dir $(CHAOS_REPORT))
	cargo test --release --test all -- --nocapture chaos::

# Runs the loops over a model of Kafka and the store, with other kills, stalls and losses for each seed.
simulate:
	SIMULATOR_SEEDS=$(SEEDS) cargo test --release --test all -- --nocapture simulator::seeds

# Feeds arbitrary input to whatever takes input: each fuzzer for SECONDS, or only TARGETS.
SECONDS ?= 600
TARGETS ?=
fuzz:
	tests/fuzz/run $(SECONDS) $(TARGETS)
