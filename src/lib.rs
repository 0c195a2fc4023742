//! Tierwatch: a stream processor over Kafka that watches business and technical telemetry with SQL rules, within
//! seconds and exactly once. `ARCHITECTURE.md` is the map; the modules below are in the order in which data flows.

pub mod columns;
pub mod panes;
pub mod planted;
pub mod position;
pub mod spread;
pub mod time;

pub mod rules;

pub mod decode;
pub mod partial;

pub mod fold;

pub mod judge;

pub mod store;

pub mod loops;

pub mod kafka;

pub mod pipeline;

pub mod backtest;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod demo;
pub mod explore;
pub mod files;
pub mod plot;
pub mod rule_test;
pub mod scaffold;
pub mod telemetry;
