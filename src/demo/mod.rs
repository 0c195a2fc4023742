//! The demo: everything in one process, with events that go wrong on purpose.

pub mod generator;
