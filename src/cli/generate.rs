//! `tierwatch generate`: made-up events of all tables as files, to try rules on before there are real ones.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;

use super::{MISUSED, Outcome, count, print, say};
use crate::{
    demo::generator::{Generator, Incident, RULES, incident_for},
    rules::diagnostics::did_you_mean,
    time::{parse_rfc3339, parse_span},
};

/// What `generate` was asked for.
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The folder that gets a file for each table
    #[arg(default_value = "events")]
    folder: PathBuf,
    /// How long a time the events cover
    #[arg(long = "for", default_value = "30m", value_name = "SPAN")]
    span: String,
    /// When it begins
    #[arg(long, default_value = "2026-01-05T00:00:00Z", value_name = "TIME")]
    start: String,
    /// Something that goes wrong, by the rule that should notice: RULE, RULE:warning or RULE:critical, and when, such
    /// as business_success_ratio:critical@10m..20m; "list" prints the rules
    #[arg(long, value_name = "RULE[:LEVEL][@FROM..TO]")]
    incident: Vec<String>,
    /// Only these tables
    #[arg(long, value_name = "TABLE,…", value_delimiter = ',')]
    tables: Vec<String>,
    /// Multiplies the traffic
    #[arg(long, default_value = "1")]
    scale: f64,
    /// Broken events among them, for the dead letters
    #[arg(long)]
    garbage: bool,
    /// Other numbers give other events of the same kind
    #[arg(long, default_value = "1")]
    seed: u64,
}

impl Generate {
    pub(super) fn run(self) -> Outcome {
        if self.incident.iter().any(|incident| incident == "list") {
            for rule in RULES {
                print(rule)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let wrong = |message: String| {
            say(&format!("error: {message}"));
            Ok(ExitCode::from(MISUSED))
        };
        let span = match parse_span(&self.span) {
            Ok(span) => span,
            Err(message) => return wrong(format!("--for: {message}")),
        };
        let Some(start) = parse_rfc3339(&self.start) else {
            return wrong(format!("--start: `{}` is no time: write it like 2026-01-05T00:00:00Z", self.start));
        };
        let mut incidents = Vec::new();
        for text in &self.incident {
            match incident(text, start, span) {
                Ok(found) => incidents.extend(found),
                Err(message) => return wrong(format!("--incident {text}: {message}")),
            }
        }
        let mut generator = Generator::new(self.seed, start, incidents).with_scale(self.scale);
        if !self.tables.is_empty() {
            let tables: Vec<&str> = self.tables.iter().map(String::as_str).collect();
            generator = generator.with_tables(&tables);
        }
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        // The same without incidents tells whether any of it shows.
        let names: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        let mut healthy = Generator::new(self.seed, start, Vec::new()).with_scale(self.scale);
        if !names.is_empty() {
            healthy = healthy.with_tables(&names);
        }
        let compares = !self.incident.is_empty() && !self.tables.is_empty();
        let mut incident_shows = false;
        let mut files: BTreeMap<&'static str, (BufWriter<File>, usize)> = BTreeMap::new();
        let mut until = start;
        while until < start + span {
            until = (until + 1_000).min(start + span);
            let events = generator.advance(until);
            if compares && !incident_shows {
                incident_shows = healthy.advance(until) != events;
            }
            for event in events.into_iter().filter(|event| self.garbage || !event.garbage) {
                let file = match files.entry(event.table) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(place) => {
                        let path = self.folder.join(format!("{}.ndjson", event.table));
                        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
                        place.insert((BufWriter::new(file), 0))
                    }
                };
                writeln!(file.0, "{}", event.json)?;
                file.1 += 1;
            }
        }
        // An incident that none of these tables shows would look like a rule that does not work.
        if !self.incident.is_empty() && !self.tables.is_empty() && !incident_shows {
            say(
                "note: no incident touches these tables, so their events are healthy; without --tables all are written",
            );
        }
        if files.is_empty() {
            return wrong(format!("there are no events of {}", self.tables.join(", ")));
        }
        for (table, (mut file, events)) in files {
            file.flush()?;
            let path = self.folder.join(format!("{table}.ndjson"));
            print(&format!("{:<44} {}", path.display(), count(events, "event")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads `rule:level@from..to`; without a level it is critical, without times it lasts from a third of the span on.
fn incident(text: &str, start: i64, span: i64) -> Result<Vec<Incident>, String> {
    let (what, when) = text.split_once('@').map_or((text, None), |(what, when)| (what, Some(when)));
    let (rule, level) = what.split_once(':').unwrap_or((what, "critical"));
    let severe = match level {
        "critical" => true,
        "warning" => false,
        other => return Err(format!("`{other}` is neither warning nor critical")),
    };
    let (from, to) = match when {
        None => (span / 3, span),
        Some(when) => {
            let (from, to) = when.split_once("..").ok_or("write the times like 10m..20m")?;
            (parse_span(from)?, if to.is_empty() { span } else { parse_span(to)? })
        }
    };
    if from >= to {
        return Err("it ends before it begins".into());
    }
    if from >= span {
        return Err("it begins after the events end; --for makes them longer".into());
    }
    incident_for(rule, severe, start + from, start + to).ok_or_else(|| {
        let near = did_you_mean(rule, RULES);
        let hint = if near.is_empty() { "--incident list prints them".to_owned() } else { near };
        format!("there is no incident of a rule `{rule}`; {hint}")
    })
}
