//! Rules that would hang or kill a process: refused by `check`, or fenced off when it shows only at work, while all
//! others go on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use tierwatch::{
    backtest::{self, Input, Options},
    decode::Limits,
    files,
    judge::output::Output,
    rules::{Files, RuleSet, diagnostics::Source},
};

use crate::check::{Answer, tierwatch};

const LIMITS: Limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
const START: i64 = 1_767_571_200_000;

fn rule(name: &str, header: &str, sql: &str) -> String {
    format!(
        "/*\nname: {name}\ntitle: {name}\ntier: data\nunit: count\nowner: tests\n{header}\nannotations: {{summary: \"{{{{ value }}}}\", runbook_url: \"https://x\"}}\n*/\n{sql}\n"
    )
}

const WINDOW: &str = "hop(queue_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')";

/// Plays events of queues through rules; answers with who was fenced off and why, and how many readings each rule gave.
fn play(rules: &[String], events: &[Value]) -> (Vec<(String, String)>, Vec<String>, usize) {
    let base = files::read(&[], Path::new("schemas/tables"), Path::new("sql/reference")).unwrap();
    let sources =
        rules.iter().enumerate().map(|(at, text)| Arc::new(Source { path: format!("{at}.sql"), text: text.clone() }));
    let (set, problems) = RuleSet::compile(Files { rules: sources.collect(), ..base }, backtest::SETTINGS);
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    let lines: Vec<std::io::Result<Vec<u8>>> = events.iter().map(|event| Ok(event.to_string().into_bytes())).collect();
    let input =
        Input { table: "queue_metrics".into(), name: "queue_metrics".into(), lines: Box::new(lines.into_iter()) };
    let mut readings = Vec::new();
    let mut breaches = 0;
    let options = Options { limits: LIMITS, batch_rows: 4096, until: None };
    let (summary, _) = backtest::run(&Arc::new(set), vec![input], options, |output| match output {
        Output::Reading(reading) => readings.push(reading.rule.header.name.clone()),
        Output::Breach(event) if event.rule == "tierwatch_rule_fenced" => breaches += 1,
        _ => {}
    })
    .unwrap();
    (summary.fenced, readings, breaches)
}

fn healthy() -> String {
    rule(
        "healthy",
        "levels: {warning: value > 1000000}",
        &format!("SELECT queue, count(*) AS value FROM {WINDOW} GROUP BY queue"),
    )
}

fn report(at_s: i64, queue: &str, depth: i64) -> Value {
    json!({"event_time": START + at_s * 1000, "queue": queue, "depth": depth, "oldest_message_age_s": 1})
}

#[test]
fn what_overflows_is_fenced_and_the_others_go_on() {
    let sql = |value: &str| format!("SELECT queue, {value} AS value FROM {WINDOW} GROUP BY queue");
    for value in
        ["sum(depth)", "max(depth) * max(depth)", "max(depth) + max(depth)", "min(depth - 2) - max(depth) - max(depth)"]
    {
        let events: Vec<Value> =
            (0..60).map(|second| report(second, "q", if second == 30 { i64::MAX } else { 5 })).collect();
        let (fenced, readings, breaches) =
            play(&[rule("wide", "levels: {warning: value > 1000000}", &sql(value)), healthy()], &events);
        assert_eq!(fenced.len(), 1, "{value}: {fenced:?}");
        assert_eq!(fenced[0].0, "wide");
        assert!(fenced[0].1.contains("CAST(x AS DOUBLE)"), "{value}: {}", fenced[0].1);
        assert_eq!(breaches, 1, "it is a breach itself");
        let of = |name: &str| readings.iter().filter(|rule| *rule == name).count();
        assert_eq!((of("wide"), of("healthy")), (3, 5), "{value}: until it failed, and all");
    }
}

#[test]
fn a_fold_that_fails_on_an_event_is_a_breach_of_its_rule() {
    let sql = format!("SELECT queue, max(depth * 2) AS value FROM {WINDOW} GROUP BY queue");
    let events: Vec<Value> =
        (0..60).map(|second| report(second, "q", if second == 30 { i64::MAX } else { 5 })).collect();
    let (fenced, readings, breaches) =
        play(&[rule("wide", "levels: {warning: value > 1000000}", &sql), healthy()], &events);
    let [(name, reason)] = fenced.as_slice() else { panic!("{fenced:?}") };
    assert_eq!((name.as_str(), breaches), ("wide", 1), "{reason}");
    assert!(reason.contains("verflow"), "{reason}");
    assert_eq!(readings.iter().filter(|rule| *rule == "healthy").count(), 5);
}

#[test]
fn a_join_that_multiplies_is_fenced() {
    let side = format!("(SELECT service, queue, count(*) AS n FROM {WINDOW} GROUP BY service, queue)");
    let sql = format!("SELECT count(*) AS value FROM {side} AS a JOIN {side} AS b ON a.service = b.service");
    let mut events: Vec<Value> = (0..2_300).map(|n| report(5, &format!("q{n}"), 1)).collect();
    for event in &mut events {
        event["service"] = json!("all");
    }
    events.push(report(40, "late", 1));
    let (fenced, readings, _) =
        play(&[rule("pairs", "key: []\nlevels: {warning: value > 1e12}", &sql), healthy()], &events);
    assert_eq!(fenced.len(), 1, "{fenced:?}");
    assert!(fenced[0].1.contains("more than 5000000 rows"), "{}", fenced[0].1);
    assert!(readings.iter().filter(|rule| *rule == "healthy").count() > 2_300);
}

/// Each is told, and by an exit code: nothing hangs, and nothing dies.
#[test]
fn known_killers_are_refused() {
    let sql = |value: &str| format!("SELECT queue, {value} AS value FROM {WINDOW} GROUP BY queue");
    let levels = "levels: {warning: value > 1}";
    let chain = |part: &str, join: &str, times: usize| vec![part; times].join(join);
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    let cases = [
        (
            "a recursive query",
            rule(
                "k",
                levels,
                &format!(
                    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) AS value FROM r, {WINDOW}"
                ),
            ),
        ),
        (
            "20,000 ORs",
            rule("k", levels, &sql(&format!("count(*) FILTER (WHERE {})", chain("depth = 1", " OR ", 20_000)))),
        ),
        (
            "ORs below the size of a file",
            rule("k", levels, &sql(&format!("count(*) FILTER (WHERE {})", chain("depth=1", " OR ", 5_000)))),
        ),
        (
            "ORs in a level",
            rule("k", &format!("levels: {{warning: \"{}\"}}", chain("value > 1", " OR ", 4_000)), &sql("count(*)")),
        ),
        (
            "ORs in the history",
            rule(
                "k",
                &format!("levels: {{warning: h}}\nhistory: {{h: \"{}\"}}", chain("value > 1", " OR ", 4_000)),
                &sql("count(*)"),
            ),
        ),
        ("a giant text", rule("k", levels, &sql("length(repeat('a', 2000000000))"))),
        (
            "a giant text in a level",
            rule("k", "levels: {warning: \"length(repeat('a', 2000000000)) > value\"}", &sql("count(*)")),
        ),
        ("a giant text by padding", rule("k", levels, &sql("length(lpad('a', 2000000000, 'b'))"))),
        (
            "a cross join",
            rule(
                "k",
                levels,
                &format!(
                    "SELECT count(*) AS value FROM (SELECT queue FROM {WINDOW} GROUP BY queue) AS a, (SELECT queue FROM {WINDOW} GROUP BY queue) AS b"
                ),
            ),
        ),
        ("deep nesting", rule("k", levels, &sql(&nested(5_000)))),
        (
            "deep nesting in a level",
            rule("k", &format!("levels: {{warning: \"value > {}\"}}", nested(900)), &sql("count(*)")),
        ),
        (
            "deep YAML",
            format!("/*\nname: k\ntier: data\nlabels: {}1{}\n*/ SELECT 1", "[".repeat(20_000), "]".repeat(20_000)),
        ),
        ("a series from nowhere", rule("k", levels, "SELECT count(*) AS value FROM generate_series(1, 1000000000)")),
        (
            "a template without an end",
            rule("k", levels, &sql("count(*)")).replace(
                "{{ value }}",
                "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
            ),
        ),
        (
            "nested templates",
            rule("k", levels, &sql("count(*)")).replace("{{ value }}", &format!("{{{{ {} }}}}", nested(5_000))),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (what, text) in cases {
        let path = folder.path().join("k.sql");
        std::fs::write(&path, text).unwrap();
        let Answer { code, stdout, stderr } =
            tierwatch(["check".as_ref(), path.as_os_str(), "--format".as_ref(), "json".as_ref()]);
        let findings: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let errors = findings.iter().filter(|finding| finding["severity"] == "error").count();
        assert_eq!(
            (code, errors > 0),
            (Some(1), true),
            "{what}: {stdout}{}",
            stderr.chars().take(2_000).collect::<String>()
        );
    }
}

#[test]
fn a_rule_set_that_the_log_would_not_take_is_refused() {
    let base = files::read(&[], Path::new("schemas/tables"), Path::new("sql/reference")).unwrap();
    let large = Source { path: "large.csv".into(), text: format!("name,text\n{}", "a,b\n".repeat(1_100_000)) };
    let references = base.references.iter().cloned().chain([Arc::new(large)]).collect();
    let rules = vec![Arc::new(Source { path: "healthy.sql".into(), text: healthy() })];
    let (_, problems) = RuleSet::compile(Files { rules, references, ..base }, backtest::SETTINGS);
    let found = problems.iter().find(|problem| problem.code == "too-large").expect("it is refused");
    assert_eq!(found.source.path, "large.csv");
    assert!(RuleSet::broken(&problems));
}
