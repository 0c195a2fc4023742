//! `tierwatch backtest`: what rules, or two versions of them, would have said about events in files or on Kafka.

mod report;
mod tally;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;

use self::tally::Tally;
use super::{FOUND, Format, MISUSED, Outcome, compile, print, progress_bar, read_files, say};
use crate::{
    backtest::{self, Input, Options, Summary},
    config::Config,
    decode::Limits,
    judge::{Judge, output::Output},
    kafka,
    panes::Millis,
    plot,
    rules::{Rule, RuleSet, diagnostics::did_you_mean, history::LEARNT},
    time::parse_rfc3339,
};

/// What `backtest` was asked for.
#[derive(Debug, Args)]
pub(super) struct Backtest {
    /// Rules by name or file, or folders of them
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Another version of these rules, the one before: what it would have said is set side by side
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
    /// Events of a table, one JSON object a line; each file is one partition of its table
    #[arg(long, value_name = "TABLE=FILE")]
    events: Vec<String>,
    /// Reads the tables' topics from Kafka
    #[arg(long, conflicts_with = "events")]
    kafka: bool,
    /// Of Kafka, only records from this time on, such as 2026-01-05T08:00:00Z
    #[arg(long, requires = "kafka", value_name = "TIME")]
    since: Option<String>,
    /// Of Kafka, only records before this time
    #[arg(long, requires = "kafka", value_name = "TIME")]
    until: Option<String>,
    /// Draws values, limits and breaches of the rule as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Writes what `expected` and `deviation` have learnt beside each rule, for a start that knows what is usual
    #[arg(long)]
    learn: bool,
    /// Prints only the summary
    #[arg(long)]
    summary: bool,
    /// How many rows are decoded at a time; changes nothing but speed
    #[arg(long, default_value = "8192", value_parser = clap::value_parser!(u32).range(1..))]
    batch_rows: u32,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Backtest {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let Some(set) = compile(read_files(config, &self.rules)?, backtest::SETTINGS) else {
            return Ok(ExitCode::from(FOUND));
        };
        let set = Arc::new(set);
        if let Some(path) = self.plot.as_ref().filter(|path| path.extension().is_none_or(|kind| kind != "svg")) {
            say(&format!("error: --plot {}: plots are SVG; name the file .svg, any browser shows it", path.display()));
            return Ok(ExitCode::from(MISUSED));
        }
        let plotted = match (&self.plot, self.plotted(&set)) {
            (Some(_), None) => {
                say("error: --plot draws one rule: name its file alone");
                return Ok(ExitCode::from(MISUSED));
            }
            (Some(path), Some(rule)) => Some((path, rule)),
            (None, _) => None,
        };
        if self.against.is_empty() {
            let Some((summary, judge, tally)) = self.play(config, &set, !self.summary)? else {
                return Ok(ExitCode::from(MISUSED));
            };
            match self.format {
                Format::Text => report::table(&tally)?,
                Format::Json if self.summary => report::json_summary(&tally)?,
                Format::Json => {}
            }
            report::notes(&summary, &tally);
            if let Some((path, rule)) = plotted {
                draw(path, &rule, &tally, None)?;
            }
            if self.learn {
                learn(&set, &judge)?;
            }
            return Ok(if summary.fenced.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) });
        }
        let Some(before) = compile(read_files(config, &self.against)?, backtest::SETTINGS) else {
            return Ok(ExitCode::from(FOUND));
        };
        let (Some((_, _, old)), Some((summary, _, new))) =
            (self.play(config, &Arc::new(before), false)?, self.play(config, &set, false)?)
        else {
            return Ok(ExitCode::from(MISUSED));
        };
        report::comparison(&old, &new, self.format == Format::Json)?;
        report::notes(&summary, &new);
        if let Some((path, rule)) = plotted {
            draw(path, &rule, &new, Some(&old))?;
        }
        Ok(if summary.fenced.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
    }

    /// The rule that a plot is of: the only one that was named.
    fn plotted(&self, set: &RuleSet) -> Option<Arc<Rule>> {
        let [path] = self.rules.as_slice() else { return None };
        let named = set.rules.iter().find(|rule| Path::new(&rule.source.path) == path);
        let alone = set.rules.first().filter(|_| set.rules.len() == 1);
        named.or(alone).cloned()
    }

    /// Plays the events through a rule set; `None` where the command was used wrongly, which was said.
    fn play(&self, config: &Config, set: &Arc<RuleSet>, tell: bool) -> anyhow::Result<Option<(Summary, Judge, Tally)>> {
        let bar = progress_bar();
        let inputs = if self.kafka { self.kafka_inputs(config, set, &bar)? } else { self.file_inputs(set, &bar)? };
        let Some(inputs) = inputs else { return Ok(None) };
        let limits =
            Limits { event_bytes_max: config.fold.max_event_bytes, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
        let options = Options { limits, batch_rows: usize::try_from(self.batch_rows)?, until: None };
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut broken = Ok(());
        let mut tally = Tally::new(self.plot.is_some());
        let outcome = backtest::run(set, inputs, options, |output| {
            let changed = tally.count(output);
            if !tell {
                return;
            }
            let line = match (output, self.format) {
                (Output::Reading(reading), Format::Json) => reading.to_json(),
                (Output::Breach(event), Format::Json) => serde_json::to_string(event).unwrap_or_default(),
                (Output::Reading(_), Format::Text) => changed.map(report::reading_line).unwrap_or_default(),
                (Output::Breach(event), Format::Text) => report::breach_line(event),
                (Output::Notice(_), _) => String::new(),
            };
            if !line.is_empty() && broken.is_ok() {
                broken = bar.suspend(|| writeln!(out, "{line}"));
            }
        });
        bar.finish_and_clear();
        let (summary, judge) = outcome?;
        broken?;
        out.flush()?;
        Ok(Some((summary, judge, tally)))
    }

    fn file_inputs(&self, set: &RuleSet, bar: &ProgressBar) -> anyhow::Result<Option<Vec<Input>>> {
        if self.events.is_empty() {
            say("error: there are no events: give some with --events TABLE=FILE, or read Kafka with --kafka");
            return Ok(None);
        }
        let mut inputs = Vec::new();
        for events in &self.events {
            let Some((table, path)) = events.split_once('=') else {
                say(&format!(
                    "error: --events {events}: write --events TABLE=FILE, such as --events requests=requests.ndjson"
                ));
                return Ok(None);
            };
            if !set.catalog.tables.contains_key(table) {
                let names: Vec<&str> = set.catalog.tables.keys().map(String::as_str).collect();
                let hint = did_you_mean(table, names.iter().copied());
                say(&format!("error: there is no table `{table}`: the tables are {}", names.join(", ")));
                if !hint.is_empty() {
                    say(&hint);
                }
                return Ok(None);
            }
            if set.tables().contains(table) {
                inputs.push(input(table, Path::new(path), bar)?);
            } else {
                say(&format!("note: no rule here reads {table}; {path} is not read"));
            }
        }
        Ok(Some(inputs))
    }

    fn kafka_inputs(&self, config: &Config, set: &RuleSet, bar: &ProgressBar) -> anyhow::Result<Option<Vec<Input>>> {
        let time = |flag: &str, text: &Option<String>| -> anyhow::Result<Option<Millis>> {
            let Some(text) = text else { return Ok(None) };
            let found = parse_rfc3339(text);
            Ok(Some(found.with_context(|| format!("--{flag} {text}: write a time like 2026-01-05T08:00:00Z"))?))
        };
        let (since, until) = (time("since", &self.since)?, time("until", &self.until)?);
        let client = kafka::client(&config.kafka);
        kafka::topics::connect(&client, config.kafka.connect_timeout)?;
        let mut inputs = Vec::new();
        for table in set.tables() {
            let Some(known) = set.catalog.tables.get(&table) else { continue };
            for range in kafka::range::read(&client, &known.topic, since, until)? {
                bar.inc_length(range.len());
                let name = range.name();
                let bar = bar.clone();
                let lines = range.inspect(move |_| bar.inc(1));
                inputs.push(Input { table: table.clone(), name, lines: Box::new(lines) });
            }
        }
        Ok(Some(inputs))
    }
}

fn input(table: &str, path: &Path, bar: &ProgressBar) -> anyhow::Result<Input> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    bar.inc_length(file.metadata().map_or(0, |metadata| metadata.len()));
    let lines = BufReader::with_capacity(1 << 20, bar.wrap_read(file)).split(b'\n').map(|line| {
        line.map(|mut line| {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            line
        })
    });
    Ok(Input { table: table.to_owned(), name: path.display().to_string(), lines: Box::new(lines) })
}

fn draw(path: &Path, rule: &Rule, tally: &Tally, other: Option<&Tally>) -> anyhow::Result<()> {
    let svg = plot::svg(&report::plot(rule, tally, other))?;
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("the plot is in {}", path.display()));
    Ok(())
}

/// Writes what the seasons of each rule have learnt into files that lie beside the rules.
fn learn(set: &RuleSet, judge: &Judge) -> anyhow::Result<()> {
    let mut any = false;
    for rule in &set.rules {
        let mut rows = csv::Writer::from_writer(Vec::new());
        let (mut all, mut hours) = (BTreeSet::new(), BTreeSet::new());
        for (series, history) in judge.histories(&rule.header.name).into_iter().flatten() {
            for (of, season) in history.seasons() {
                for one in season.profile() {
                    rows.serialize((series.as_ref(), of, one.hour, one.median, one.spread))?;
                    all.insert(series);
                    hours.insert(one.hour);
                }
            }
        }
        if all.is_empty() {
            continue;
        }
        any = true;
        let path = format!("{}{LEARNT}", rule.source.path.trim_end_matches(".sql"));
        let rows = String::from_utf8(rows.into_inner()?)?;
        std::fs::write(&path, format!("series,of,hour,median,spread\n{rows}"))
            .with_context(|| format!("cannot write {path}"))?;
        print(&format!(
            "{path}: what is usual for {} series, in {} of the 168 hours of the week",
            all.len(),
            hours.len()
        ))?;
        if !rule.history.learnt.is_empty() {
            say("note: it went on from what that file held; remove it first to begin anew");
        }
    }
    if !any {
        say(
            "note: nothing was learnt: no rule here uses expected() or deviation(), or there was less than a day of events",
        );
    }
    Ok(())
}
