//! `tierwatch upgrade`: the last step of a rolling upgrade.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, print, settings};
use crate::{
    config::Config,
    loops::rules::Provenance,
    pipeline::{self, Shutdown},
    rules::{Files, RuleSet},
    telemetry,
};

/// What `upgrade` was asked for: nothing but the configuration.
#[derive(Debug, Args)]
pub(super) struct Upgrade {}

impl Upgrade {
    pub(super) fn run(self, config: Config) -> Outcome {
        telemetry::init(&config.log);
        let (none, _) = RuleSet::compile(Files::default(), settings(&config));
        let context = pipeline::context(config, (none, &[]), Provenance::default(), Shutdown::default());
        let (before, now) = pipeline::upgrade(&context)?;
        print(&match (before, now) {
            (Some(before), Some(now)) if before < now => {
                format!("from here on format {now} is written; before, it was {before}")
            }
            (_, Some(now)) => format!("format {now} is written, and this binary knows no newer one: nothing to do"),
            (_, None) => "nothing is written yet; the first rules set the format: nothing to do".to_owned(),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
