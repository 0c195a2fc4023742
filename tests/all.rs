//! All tests that need more than the library: one binary, since linking it is most of the price.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    clippy::cast_possible_truncation,
    reason = "a test that panics is a test that fails, and tests wait by the clock"
)]

mod backtest;
mod bad_input;
mod bed;
mod check;
mod end_to_end;
mod fuzz_regressions;
mod incidents;
mod oracle;
mod outages;
mod pack;
mod plans;
mod properties;
mod recovery;
mod restore;
mod rule_tests;
mod simulator;
mod tidy;
