//! `tierwatch run`: the stages, until told to end.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, read_files, settings, show_errors};
use crate::{
    config::{Config, Stage},
    files::{self, watch::Watched},
    pipeline::{self, Shutdown},
    rules::RuleSet,
    telemetry,
};

/// What `run` was asked for.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Which of fold, judge and store this process runs, with commas between [default: run.stages of the configuration,
    /// which is all]
    #[arg(long, value_delimiter = ',', value_parser = stage)]
    stages: Vec<Stage>,
    /// Records positions that a source topic no longer has as lost, and goes on from what it has: once, after an error that
    /// named it
    #[arg(long)]
    accept_lost: bool,
}

fn stage(name: &str) -> Result<Stage, String> {
    [Stage::Fold, Stage::Judge, Stage::Store]
        .into_iter()
        .find(|stage| stage.as_str() == name)
        .ok_or_else(|| "fold, judge and store are the stages".to_owned())
}

impl Run {
    pub(super) fn run(self, config: Config) -> Outcome {
        telemetry::init(&config.log);
        // Looked at before they are read, so that what changes meanwhile is noticed.
        let watched = Watched::in_use(&config);
        let files = read_files(&config, &[])?;
        let provenance = files::watch::provenance(&config, &files);
        let (set, problems) = RuleSet::compile(files, settings(&config));
        show_errors(&problems);
        let shutdown = Shutdown::default();
        pipeline::shutdown_on_signal(&shutdown)?;
        let stages = if self.stages.is_empty() { config.run.stages.clone() } else { self.stages.into_iter().collect() };
        let mut context = pipeline::context(config, (set, &problems), provenance, shutdown);
        context.job.accept_lost = self.accept_lost;
        context.watched = watched;
        tracing::info!(
            instance = context.job.instance,
            rules = context.set.rules.len(),
            brokers = context.job.config.kafka.brokers,
            "starting"
        );
        pipeline::run(&context, &stages)?;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    }
}
