//! The configuration: what may be set, which layer set it, and whether the whole makes sense.
//!
//! Four layers, each over the one before, key by key: the defaults ([`DEFAULTS`], built in), a TOML file, environment
//! variables (`TIERWATCH__KAFKA__BROKERS`) and flags (`--set kafka.brokers=...`). [`load`] first gathers what was
//! typed, with where it was typed, and then checks the values in force into [`Config`], which is all that the rest of
//! the program sees. Neither step stops at the first problem: all of them come back together as [`Problems`].
//!
//! No secret is ever shown: not by `Debug` or `Display`, not in a problem, not by [`Config::describe`]. An unknown
//! key's value is not shown either, since it may be a secret under a misspelt name.

mod check;
mod keys;
mod layers;
mod origin;
mod show;
#[cfg(test)]
mod tests;
mod types;
mod values;

use std::path::Path;

pub use origin::{DEFAULT_FILE, FILE_VARIABLE, Origin, Sources};
pub use show::{Problem, Problems, Setting, Shown};
pub use types::{
    Clickhouse, Config, Fold, Judge, Kafka, Log, LogFormat, Rules, Run, SaslMechanism, Secret, SecurityProtocol, Stage,
    Start, Store, StoreKind, Tables, Topics,
};

use layers::Raw;

/// Every key with its default and a comment, as TOML: the single source of the defaults, and of which keys exist.
pub const DEFAULTS: &str = include_str!("../../tierwatch.example.toml");

/// Gathers the layers and checks them. Only values in force are checked, but keys in every layer.
///
/// # Errors
///
/// All that is wrong, at once.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_or(sources, Path::new(DEFAULT_FILE))
}

fn load_or(sources: &Sources, default_file: &Path) -> Result<Config, Problems> {
    let mut raw = Raw::default();
    for (key, kind) in raw.parse(DEFAULTS, &Origin::Defaults) {
        raw.known.insert(key.clone(), kind.clone());
        raw.typed.insert(key, (kind, Origin::Defaults));
    }
    raw.add_file(sources, default_file);
    raw.add_environment(&sources.environment);
    for (key, value) in &sources.flags {
        raw.add(key, raw.untyped(key, value), Origin::Flag(format!("--set {key}")));
    }
    let config = raw.config();
    if raw.problems.is_empty() { Ok(Config { settings: raw.settings, ..config }) } else { Err(Problems(raw.problems)) }
}
