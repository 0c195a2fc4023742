//! `tierwatch sql`: explores what was stored as Parquet, and files of events, before there is a rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use arrow::array::RecordBatch;
use clap::Args;
use datafusion::prelude::{ParquetReadOptions, SessionContext};

use super::{FOUND, Format, MISUSED, Outcome, print, say};
use crate::{
    config::{Config, StoreKind},
    decode::{Decoder, Event, Limits},
    explore::{self, Exploded},
    files,
    rules::{
        catalog::{self, Catalog},
        functions::WindowCell,
        session::session,
    },
    store::clickhouse::ClickHouse,
};

/// How many events that do not count are named one by one.
const NOTES_MAX: usize = 20;

/// What `sql` was asked for.
#[derive(Debug, Args)]
pub(super) struct Sql {
    /// One query. Tables: readings and breaches of the store, events given with --events, reference tables;
    /// hop(table, event_time, slide, size) gives each event once for each of its windows, hop(readings, window_end, …)
    /// each reading
    query: String,
    /// Events of a table, one JSON object a line
    #[arg(long, value_name = "TABLE=FILE")]
    events: Vec<String>,
    /// The folder of a Parquet store [default: store.path of the configuration]
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Sql {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let (catalog, problems) = if config.tables.path.exists() {
            let files = files::read(&[], &config.tables.path, &config.rules.reference)?;
            catalog::load(&files.tables, &files.references)
        } else {
            (Catalog::default(), Vec::new())
        };
        super::show(&problems);
        let mut tables: BTreeMap<String, RecordBatch> = BTreeMap::new();
        for events in &self.events {
            let Some((table, path)) = events.split_once('=') else {
                say(&format!(
                    "error: --events {events}: write --events TABLE=FILE, such as --events requests=requests.ndjson"
                ));
                return Ok(ExitCode::from(MISUSED));
            };
            let Some(known) = catalog.tables.get(table) else {
                let names: Vec<&str> = catalog.tables.keys().map(String::as_str).collect();
                say(&format!("error: there is no table `{table}`: the tables are {}", names.join(", ")));
                return Ok(ExitCode::from(MISUSED));
            };
            let all: BTreeSet<String> = known.columns.iter().map(|column| column.name.clone()).collect();
            let limits =
                Limits { event_bytes_max: config.fold.max_event_bytes, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
            let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
            let lines: Vec<Vec<u8>> = BufReader::new(file).split(b'\n').collect::<Result<_, _>>()?;
            let numbered = (1..).zip(&lines).filter(|(_, line)| !line.is_empty());
            let decoded = Decoder::new(known, &all, limits).decode(numbered.map(|(line, bytes)| Event {
                offset: line,
                timestamp: None,
                payload: Some(bytes),
            }));
            for rejected in decoded.rejected.iter().take(NOTES_MAX) {
                say(&format!(
                    "note: {path}:{}: not counted: {} ({})",
                    rejected.offset, rejected.detail, rejected.reason
                ));
            }
            let (rejected, counted) = (decoded.rejected.len(), decoded.batch.num_rows());
            if rejected > NOTES_MAX {
                say(&format!("note: {path}: {rejected} of {} events not counted", rejected + counted));
            }
            tables.insert(table.to_owned(), decoded.batch);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let known: Vec<String> = catalog.tables.keys().cloned().collect();
        let from_clickhouse = self.store.is_none() && config.store.kind == StoreKind::Clickhouse && self.asks_store();
        // Without a store of its own, the demo's is at hand.
        let demo = PathBuf::from(crate::demo::STORE);
        let usual = if config.store.path.exists() || !demo.exists() { config.store.path.clone() } else { demo };
        let store = self.store.clone().unwrap_or(usual);
        let outcome = runtime.block_on(async {
            let stored = if from_clickhouse { clickhouse(config, &self.query).await? } else { parquet(&store).await? };
            anyhow::Ok(query(&self.query, catalog, tables, stored).await)
        })?;
        let batches = match outcome {
            Ok(batches) => batches,
            Err(error) => {
                let message = error.strip_backtrace();
                let message = message.lines().next().unwrap_or_default().replace("datafusion.public.", "");
                say(&format!("error: {message}"));
                if message.contains("not found") && known.iter().any(|table| message.contains(table.as_str())) {
                    say("note: the events of a table are given with --events TABLE=FILE");
                } else if STORED.iter().any(|table| message.contains(&format!("'{table}' not found"))) {
                    say(&format!(
                        "note: looked for a Parquet store in {}; `tierwatch demo` makes one, --store names another",
                        store.display()
                    ));
                }
                return Ok(ExitCode::from(FOUND));
            }
        };
        match self.format {
            Format::Text => print(&arrow::util::pretty::pretty_format_batches(&batches)?.to_string())?,
            Format::Json => {
                let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
                writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
                writer.finish()?;
                print(String::from_utf8_lossy(&writer.into_inner()).trim_end())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Sql {
    /// True where the query names a table of the store.
    fn asks_store(&self) -> bool {
        STORED.iter().any(|table| self.query.contains(table))
    }
}

/// The tables of a store.
const STORED: [&str; 2] = ["readings", "breaches"];
/// How many rows of each are taken from ClickHouse, the latest first.
const ROWS_MAX: usize = 1_000_000;

/// What a store holds.
type Stored = BTreeMap<String, RecordBatch>;

/// The tables of a Parquet store.
async fn parquet(store: &std::path::Path) -> anyhow::Result<Stored> {
    let context = SessionContext::new();
    let mut stored = Stored::new();
    for table in STORED {
        let folder = store.join(table);
        if folder.is_dir() {
            let rows = context.read_parquet(folder.display().to_string(), ParquetReadOptions::default()).await?;
            let schema = Arc::new(rows.schema().as_arrow().clone());
            stored.insert(table.to_owned(), arrow::compute::concat_batches(&schema, &rows.collect().await?)?);
        }
    }
    Ok(stored)
}

/// The tables of ClickHouse that a query names, by the views that show each row once.
async fn clickhouse(config: &Config, query: &str) -> anyhow::Result<Stored> {
    let database = ClickHouse::new(&config.clickhouse);
    let mut stored = Stored::new();
    for (table, view) in STORED.into_iter().zip(["readings_latest", "breach_events"]) {
        if !query.contains(table) {
            continue;
        }
        let bytes = database.arrow(&format!("SELECT * FROM {view} ORDER BY window_end DESC LIMIT {ROWS_MAX}")).await?;
        let rows = crate::partial::read_ipc(&bytes)?;
        if rows.num_rows() == ROWS_MAX {
            say(&format!("note: only the latest {ROWS_MAX} {table} were read; ask ClickHouse itself for more"));
        }
        stored.insert(table.to_owned(), rows);
    }
    Ok(stored)
}

async fn query(
    sql: &str,
    mut catalog: Catalog,
    mut tables: BTreeMap<String, RecordBatch>,
    stored: Stored,
) -> datafusion::common::Result<Vec<RecordBatch>> {
    for (name, rows) in stored {
        let table = explore::stored(&name, &rows);
        catalog.tables.insert(name.clone(), Arc::new(table));
        tables.insert(name, rows);
    }
    let windows = Arc::new(Exploded { tables: tables.clone() });
    let context = SessionContext::new_with_state(session(&Arc::new(catalog), windows, &WindowCell::default())?);
    for (name, batch) in tables {
        context.register_batch(&name, batch)?;
    }
    let options = datafusion::execution::context::SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    context.sql_with_options(sql, options).await?.collect().await
}
