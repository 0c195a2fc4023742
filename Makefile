# Long runs; everything else is `cargo`. See ARCHITECTURE.md, Tests.
SEEDS ?= 100000
SECONDS ?= 600
TARGETS ?=

.PHONY: simulate fuzz

# Plays so many seeds of the simulator on all cores.
simulate:
	SIMULATOR_SEEDS=$(SEEDS) cargo test --release --test all -- --nocapture simulator::seeds

# Runs each fuzzer for so many seconds, or only TARGETS.
fuzz:
	tests/fuzz/run $(SECONDS) $(TARGETS)
