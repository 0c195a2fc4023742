//! Logs: structured, to stderr for people and to stdout as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// Sets up logging to stderr as text, for commands whose results go to stdout.
pub fn init_beside_results(log: &Log) {
    init(&Log { format: LogFormat::Text, ..log.clone() });
}

/// Sets up logging for the process; a second call changes nothing.
pub fn init(log: &Log) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let outcome = if json {
        fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stdout).try_init()
    } else {
        fmt()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init()
    };
    // Somebody else has set it up: that is fine.
    drop(outcome);
}
