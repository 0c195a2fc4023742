//! `tierwatch backtest`: what rules would have said about events in files.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use super::{FOUND, Format, MISUSED, Outcome, compile, count, read_files, say};
use crate::{
    backtest::{self, Input, Summary},
    config::Config,
    decode::Limits,
    judge::output::{BreachEvent, Output, Reading, plain},
    rules::{diagnostics::did_you_mean, levels::Level},
    time::rfc3339,
};

/// What `backtest` was asked for.
#[derive(Debug, Args)]
pub(super) struct Backtest {
    /// Rule files, or folders of them
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Events of a table, one JSON object a line; each file is one partition of its table
    #[arg(long, required = true, value_name = "TABLE=FILE")]
    events: Vec<String>,
    /// How many rows are decoded at a time; changes nothing but speed
    #[arg(long, default_value = "8192", value_parser = clap::value_parser!(u32).range(1..))]
    batch_rows: u32,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Backtest {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let files = read_files(config, &self.rules)?;
        let Some(set) = compile(files, backtest::SETTINGS) else {
            return Ok(ExitCode::from(FOUND));
        };
        let mut inputs = Vec::new();
        for events in &self.events {
            let Some((table, path)) = events.split_once('=') else {
                say(&format!(
                    "error: --events {events}: write --events TABLE=FILE, such as --events requests=requests.ndjson"
                ));
                return Ok(ExitCode::from(MISUSED));
            };
            if !set.catalog.tables.contains_key(table) {
                let names: Vec<&str> = set.catalog.tables.keys().map(String::as_str).collect();
                let hint = did_you_mean(table, names.iter().copied());
                say(&format!("error: there is no table `{table}`: the tables are {}", names.join(", ")));
                if !hint.is_empty() {
                    say(&hint);
                }
                return Ok(ExitCode::from(MISUSED));
            }
            if set.tables().contains(table) {
                inputs.push(input(table, Path::new(path))?);
            } else {
                say(&format!("note: no rule here reads {table}; {path} is not read"));
            }
        }
        let limits =
            Limits { event_bytes_max: config.fold.max_event_bytes, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut broken = Ok(());
        let mut tally = Tally::default();
        let batch_rows = usize::try_from(self.batch_rows)?;
        let options = backtest::Options { limits, batch_rows, until: None };
        let (summary, _) = backtest::run(&Arc::new(set), inputs, options, |output| {
            let line = match (output, self.format) {
                (Output::Reading(reading), Format::Json) => reading.to_json(),
                (Output::Breach(event), Format::Json) => serde_json::to_string(event).unwrap_or_default(),
                (Output::Reading(reading), Format::Text) => tally.reading(reading).unwrap_or_default(),
                (Output::Breach(event), Format::Text) => breach_line(event),
                (Output::Notice(_), _) => String::new(),
            };
            tally.count(output);
            if !line.is_empty() && broken.is_ok() {
                broken = writeln!(out, "{line}");
            }
        })?;
        broken?;
        out.flush()?;
        report(&summary, &tally);
        Ok(if summary.fenced.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
    }
}

fn input(table: &str, path: &Path) -> anyhow::Result<Input> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = BufReader::with_capacity(1 << 20, file).split(b'\n').map(|line| {
        line.map(|mut line| {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            line
        })
    });
    Ok(Input { table: table.to_owned(), name: path.display().to_string(), lines: Box::new(lines) })
}

/// What went by, for the summary; for people only readings whose level changes are shown.
#[derive(Default)]
struct Tally {
    readings: usize,
    breaches: usize,
    levels: std::collections::BTreeMap<(String, String), Option<Level>>,
}

impl Tally {
    fn count(&mut self, output: &Output) {
        match output {
            Output::Reading(_) => self.readings += 1,
            Output::Breach(_) => self.breaches += 1,
            Output::Notice(_) => {}
        }
    }

    fn reading(&mut self, reading: &Reading) -> Option<String> {
        let key = (reading.rule.header.name.clone(), reading.series.to_string());
        let before = self.levels.insert(key, reading.level);
        if before == Some(reading.level) {
            return None;
        }
        let series: Vec<String> = reading.columns.iter().map(|(_, value)| plain(value)).collect();
        let value = reading
            .value
            .map_or("no value".to_owned(), |value| format!("{} {}", short(value), reading.rule.header.unit));
        let level = reading.level.map_or_else(
            || format!("unjudged ({})", reading.unjudged.unwrap_or_default()),
            |level| level.name().to_owned(),
        );
        Some(format!(
            "{}  {:<28} {:<20} {level:<10} {value}",
            rfc3339(reading.window_end),
            reading.rule.header.name,
            series.join(" ")
        ))
    }
}

/// A number with at most six digits behind the point.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A breach event in one line, for people.
fn breach_line(event: &BreachEvent) -> String {
    let series: Vec<String> = event.series.values().map(plain).collect();
    format!(
        "{}  {:<28} {:<20} {} {} -> {}  {}",
        event.window_end,
        event.rule,
        series.join(" "),
        event.happened.name().to_uppercase(),
        event.previous_level.name(),
        event.level.name(),
        event.summary
    )
}

fn report(summary: &Summary, tally: &Tally) {
    for (file, rejected) in &summary.rejected {
        say(&format!("note: {file}:{}: not counted: {} ({})", rejected.offset + 1, rejected.detail, rejected.reason));
    }
    let shown = u64::try_from(summary.rejected.len()).unwrap_or(u64::MAX);
    if summary.rejected_count > shown {
        say(&format!("note: and {} more events not counted", summary.rejected_count - shown));
    }
    for (rule, late) in &summary.late {
        say(&format!("note: late events for closed windows of {rule}: {late}"));
    }
    for (rule, reason) in &summary.fenced {
        say(&format!("error: {rule} failed and was not evaluated further: {reason}"));
    }
    say(&format!(
        "{} events: {}, {}",
        summary.events,
        count(tally.readings, "reading"),
        count(tally.breaches, "breach event")
    ));
}
