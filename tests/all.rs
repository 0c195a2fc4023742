//! All tests that need more than the library: one binary, since linking it is most of the price.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a test that panics is a test that fails, tests wait by the clock, and long ones say how far they are"
)]

mod backtest;
mod bad_input;
mod bed;
mod bounds;
mod chaos;
mod check;
mod end_to_end;
mod formats;
mod fuzz_regressions;
mod hard_logs;
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
mod sources;
mod tidy;
mod views;
