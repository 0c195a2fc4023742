//! `tierwatch migrate`: Tierwatch's own topics, and the tables of ClickHouse.

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, print};
use crate::{
    config::{Config, StoreKind},
    kafka,
    store::{clickhouse::ClickHouse, migrate},
    telemetry,
};

/// What `migrate` was asked for.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Leaves Kafka as it is
    #[arg(long)]
    no_topics: bool,
    /// Leaves ClickHouse as it is
    #[arg(long)]
    no_tables: bool,
}

impl Migrate {
    pub(super) fn run(self, config: &Config) -> Outcome {
        telemetry::init(&config.log);
        if !self.no_topics {
            let client = kafka::client(&config.kafka);
            kafka::topics::connect(&client, config.kafka.connect_timeout)?;
            let made = kafka::topics::make(&client, &config.topics)?;
            print(&if made.is_empty() {
                "topics: all there".to_owned()
            } else {
                format!("topics made: {}", made.join(", "))
            })?;
            match kafka::topics::advise(&client, &config.topics, &[]) {
                Ok(advice) => advice.iter().try_for_each(|advice| print(&format!("warning: {advice}")))?,
                // Who may make topics may not always read their settings.
                Err(error) => print(&format!("warning: the settings of topics cannot be looked at: {error}"))?,
            }
        }
        if !self.no_tables && config.store.kind == StoreKind::Clickhouse {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let server = ClickHouse::new(&config.clickhouse);
            let done = runtime.block_on(migrate::apply_when_there(
                &server,
                &config.clickhouse.database,
                config.clickhouse.timeout,
            ))?;
            print(&if done.is_empty() {
                "tables: all there".to_owned()
            } else {
                format!("migrations applied: {}", done.join(", "))
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
