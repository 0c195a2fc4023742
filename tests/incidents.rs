//! The made-up events against the shipped rules: healthy traffic is healthy to all of them, and each incident is noticed by
//! its rule.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use tierwatch::{
    backtest::{self, Input, Options},
    decode::Limits,
    demo::generator::{Generator, Incident, RULES, incident_for},
    files,
    judge::output::Output,
    rules::{Files, RuleSet, levels::Level},
};

use crate::check::none;

const START: i64 = 1_767_571_200_000;
const MINUTE: i64 = 60_000;

/// Incidents that take longer than a test should, and what they need.
const LONG: [(&str, &str); 7] = [
    ("workflow_completion_ratio", "ids are given ten minutes, in windows of an hour"),
    ("node_oom_events", "three windows of five minutes"),
    ("idempotency_error_ratio", "three windows of five minutes"),
    ("business_invariant_violations", "three windows of five minutes"),
    ("financial_record_mismatch", "three windows of twelve minutes"),
    ("business_operation_rate", "a day to learn what is usual"),
    ("authorization_failures", "a day to learn what is usual"),
];

/// Plays so many minutes of made-up events through rules; answers with the worst level of each.
fn worst(set: &Arc<RuleSet>, minutes: i64, incidents: Vec<Incident>) -> BTreeMap<String, Level> {
    let tables: Vec<String> = set.tables().into_iter().collect();
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut generator = Generator::new(1, START, incidents).with_scale(0.25).with_tables(&names);
    let mut lines: BTreeMap<&str, Vec<std::io::Result<Vec<u8>>>> = BTreeMap::new();
    for event in generator.advance(START + minutes * MINUTE).into_iter().filter(|event| !event.garbage) {
        lines.entry(event.table).or_default().push(Ok(event.json.into_bytes()));
    }
    let inputs = lines.into_iter().map(|(table, lines)| Input {
        table: table.to_owned(),
        name: table.to_owned(),
        lines: Box::new(lines.into_iter()),
    });
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let options = Options { limits, batch_rows: 8192, until: None };
    let mut worst: BTreeMap<String, Level> = BTreeMap::new();
    let (summary, _) = backtest::run(set, inputs.collect(), options, |output| {
        if let Output::Reading(reading) = output {
            let known = worst.entry(reading.rule.header.name.clone()).or_default();
            *known = (*known).max(reading.level.unwrap_or_default());
        }
    })
    .unwrap();
    assert!(summary.fenced.is_empty() && summary.rejected_count == 0, "{summary:?}");
    worst
}

fn set(only: Option<&str>) -> Arc<RuleSet> {
    let all = files::read(&["sql/rules".into()], Path::new("schemas/tables"), Path::new("sql/reference")).unwrap();
    let mut found = all.clone();
    if let Some(only) = only {
        found = Files {
            rules: all.rules.iter().filter(|rule| rule.path.ends_with(&format!("/{only}.sql"))).cloned().collect(),
            ..all
        };
    }
    let (set, problems) = RuleSet::compile(found, backtest::SETTINGS);
    assert!(problems.is_empty(), "{problems:?}");
    Arc::new(set)
}

#[test]
fn healthy_traffic_is_healthy_to_every_rule() {
    let set = set(None);
    let worst = worst(&set, 5, Vec::new());
    let said: BTreeSet<&String> = worst.keys().collect();
    let silent: Vec<&str> = set
        .rules
        .iter()
        .map(|rule| rule.header.name.as_str())
        .filter(|name| !said.contains(&(*name).to_owned()))
        .collect();
    // Scalings and deployments are rare, and workflows are given time.
    assert!(silent.len() <= 5, "{silent:?}");
    none(
        &worst
            .iter()
            .filter(|(_, level)| **level > Level::Healthy)
            .map(|(rule, level)| format!("{rule}: {level:?}"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn each_incident_is_noticed_by_its_rule() {
    let mut missed = Vec::new();
    for rule in RULES {
        if LONG.iter().any(|(long, _)| *long == rule) {
            continue;
        }
        let set = set(Some(rule));
        // As long as it takes to fill the windows: most are of a minute or five.
        let size = set.rules.iter().map(|rule| rule.size_ms()).max().unwrap() / MINUTE;
        let minutes = (size.min(30) + 3).max(6);
        let incident = incident_for(rule, true, START + MINUTE, START + minutes * MINUTE).unwrap();
        let found = worst(&set, minutes, incident).get(rule).copied();
        if found != Some(Level::Critical) {
            missed.push(format!("{rule}: {found:?} after {minutes} minutes"));
        }
    }
    none(&missed);
}
