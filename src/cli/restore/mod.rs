//! `tierwatch restore`: readings and breaches from Kafka into ClickHouse again, where that was lost.
//!
//! It replays the topics that STORE reads, through the code of STORE, and belongs to no consumer group: the pipeline may
//! run meanwhile. Rows replace each other by their position in the log, so it does not matter who writes a row, how
//! often, or in which order.

mod sources;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use arrow::{
    array::{AsArray, RecordBatch},
    compute::{max, min},
    datatypes::TimestampMillisecondType,
};
use clap::Args;
use serde::Serialize;

use super::{FOUND, Format, MISUSED, Outcome, print, progress_bar, say};
use crate::{
    config::{Config, StoreKind},
    kafka::{self, range::Range},
    panes::Millis,
    pipeline::clock,
    store::{
        clickhouse::ClickHouse,
        migrate,
        stage::{Flush, Insert, Place, Stage, Table},
    },
    telemetry,
    time::{parse_rfc3339, rfc3339},
};

/// The longest pause between two tries of an insert.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What `restore` was asked for.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// Only what was written to Kafka from this time on, such as 2026-01-05T08:00:00Z; every window that ends later is
    /// among it
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Millis>,
    /// Compute readings again from the events that the source topics still hold, for windows of which the readings topic
    /// has nothing any more; rows that come from there replace them. Breach events come from the alerts topic alone
    #[arg(long)]
    from_sources: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn time(text: &str) -> Result<Millis, String> {
    parse_rfc3339(text).ok_or_else(|| "write a time like 2026-01-05T08:00:00Z".to_owned())
}

impl Restore {
    pub(super) fn run(self, config: &Config) -> Outcome {
        if config.store.kind != StoreKind::Clickhouse {
            say(&format!(
                "error: store.kind is {}, and restore writes into ClickHouse: set store.kind = clickhouse",
                config.store.kind.as_str()
            ));
            return Ok(ExitCode::from(MISUSED));
        }
        telemetry::init_beside_results(&config.log);
        let client = kafka::client(&config.kafka);
        kafka::topics::connect(&client, config.kafka.connect_timeout)?;
        let mut store = Store {
            server: ClickHouse::new(&config.clickhouse),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            wait: config.clickhouse.timeout,
            restored: Restored::default(),
        };
        let database = &config.clickhouse.database;
        store.runtime.block_on(migrate::check_when_there(&store.server, database, store.wait))?;

        // ClickHouse skips a block whose token it knows, also where its rows were deleted since. So each run has tokens
        // of its own, and the try again of one insert has those of the first.
        let prefix = format!("restore-{:x}-{:x}/", std::process::id(), clock::now());
        let topics = &config.topics;
        let mut stage = Stage::new(&topics.readings, i64::MAX, config.store.max_rows).with_token_prefix(&prefix);
        let bar = progress_bar();
        if self.from_sources {
            let done = sources::restore(config, &client, self.since, stage, &mut store, &bar)?;
            bar.finish_and_clear();
            if !done {
                return Ok(ExitCode::from(FOUND));
            }
            store.restored.tell(config, self.format)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut ranges = Vec::new();
        for topic in [&topics.readings, &topics.alerts] {
            ranges.extend(kafka::range::read_to_the_end(&client, topic, self.since)?);
        }
        bar.inc_length(ranges.iter().map(Range::len).sum());
        for mut range in ranges {
            let mut left = range.len();
            while let Some(record) = range.record().with_context(|| format!("cannot read {}", range.name()))? {
                bar.inc(left - range.len());
                left = range.len();
                let (topic, partition) = range.place();
                let append_ms = record.append_ms.unwrap_or_default();
                match stage.record(topic, Place { partition, offset: record.offset, append_ms }, &record.payload, 0) {
                    Err(error) if error.is_foreign() => {
                        store.restored.passed_over += 1;
                        bar.suspend(|| tracing::error!(%error, "a record was passed over"));
                    }
                    outcome => outcome?,
                }
                if let Some(flush) = stage.due(0)? {
                    store.insert(&flush)?;
                }
            }
            bar.inc(left);
        }
        if let Some(flush) = stage.rest()? {
            store.insert(&flush)?;
        }
        bar.finish_and_clear();
        store.restored.tell(config, self.format)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where rows go, and what went there.
struct Store {
    server: ClickHouse,
    runtime: tokio::runtime::Runtime,
    /// How long an insert is tried again.
    wait: Duration,
    restored: Restored,
}

impl Store {
    fn insert(&mut self, flush: &Flush) -> anyhow::Result<()> {
        for insert in &flush.inserts {
            self.runtime.block_on(try_insert(&self.server, insert, self.wait)).context(
                "not all is restored. What was inserted stays: run the command again, rows that come twice replace each other",
            )?;
            self.restored.count(insert);
        }
        Ok(())
    }
}

/// Inserts a block; one that fails is tried again for up to `wait`.
async fn try_insert(server: &ClickHouse, insert: &Insert, wait: Duration) -> anyhow::Result<()> {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(250);
    loop {
        match server.insert(insert).await {
            Err(error) if waited < wait => {
                tracing::warn!(%error, "ClickHouse did not take rows; trying again");
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// What was inserted.
#[derive(Debug, Default, Serialize)]
struct Restored {
    readings: Rows,
    breach_events: Rows,
    /// Records that are none of ours.
    passed_over: u64,
}

/// Rows of a table, and when the windows that they speak of end.
#[derive(Debug, Default, Serialize)]
struct Rows {
    rows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip)]
    ends: Option<(Millis, Millis)>,
}

impl Rows {
    fn count(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows();
        let ends =
            batch.column_by_name("window_end").and_then(|ends| ends.as_primitive_opt::<TimestampMillisecondType>());
        if let Some((first, last)) = ends.and_then(|ends| min(ends).zip(max(ends))) {
            let (from, to) = self.ends.map_or((first, last), |(from, to)| (from.min(first), to.max(last)));
            self.ends = Some((from, to));
            (self.from, self.to) = (Some(rfc3339(from)), Some(rfc3339(to)));
        }
    }

    fn line(&self, name: &str) -> String {
        let ends = self.from.as_ref().zip(self.to.as_ref());
        let ends = ends.map(|(from, to)| format!("  of windows that end from {from} to {to}")).unwrap_or_default();
        format!("{name:<14}{:>12}{ends}", self.rows)
    }
}

impl Restored {
    fn count(&mut self, insert: &Insert) {
        match insert.table {
            Table::Readings => self.readings.count(&insert.rows),
            Table::Breaches => self.breach_events.count(&insert.rows),
            Table::Progress => {}
        }
    }

    fn tell(&self, config: &Config, format: Format) -> anyhow::Result<()> {
        if format == Format::Json {
            return print(&serde_json::to_string(self)?);
        }
        print(&format!("restored into {} at {}:", config.clickhouse.database, config.clickhouse.url))?;
        print(&self.readings.line("readings"))?;
        print(&self.breach_events.line("breach events"))?;
        if self.passed_over > 0 {
            say(&format!("note: {} records in the topics are not Tierwatch's, and were passed over", self.passed_over));
        }
        Ok(())
    }
}
