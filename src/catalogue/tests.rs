//! Pages against what the rules say, and against what GitHub can show.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::{
    backtest::SETTINGS,
    files,
    rules::{Files, RuleSet},
};

fn source(path: &str, text: &str) -> Arc<Source> {
    Arc::new(Source { path: path.into(), text: text.into() })
}

const TABLE: &str = r#"{"x-topic": "jobs", "x-event-time": "at", "properties": {
    "at": {"type": "string", "format": "date-time"}, "queue": {"type": "string"},
    "user": {"type": "string", "x-mask": true}, "state": {"type": "string"}, "ms": {"type": "number"}},
    "required": ["at", "queue"]}"#;

const SLOW: &str = r#"/*
name: slow
title: Jobs that take *long*
tier: data
unit: ms
owner: jobs
labels: {signal: latency}
judge_when: samples >= 20 AND samples || '' <> 'x'
levels:
  healthy:  value <= 0.80
  warning:  value > 0.80 AND value <= 2
  critical: value >= 5
for: {warning: 5m, critical: 90s}
keep_firing_for: 2m
repeat_interval: 4h
no_data: {as: critical, after: 2m, forget: 2h}
diagnose: {where: ms > 1, by: [state, user], top: 3}
annotations:
  summary: "{{ queue }}: {{ value | percent }} <b>{% if other %}of {{ other }}{% endif %}"
  description: "A | B"
  runbook_url: https://r/slow
*/
SELECT queue, approx_percentile_cont(ms, 0.95) AS value, count(*) AS samples, max(ms) AS other
FROM hop(jobs, at, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY queue
"#;

const MANY: &str = r#"/*
name: many
tier: business
unit: count
mode: shadow
history:
  usual: expected(value)
  again: recurs(value > 1, 2, 6)
levels:
  warning: again OR value > 2 * usual
until: {warning: NOT again}
no_data: {as: zero}
*/
SELECT queue, count(*) AS value FROM hop(rule.slow, window_end, INTERVAL '10 seconds', INTERVAL '5 minutes')
WHERE state <> 'healthy' GROUP BY queue
"#;

fn pages() -> BTreeMap<String, String> {
    let files = Files {
        rules: vec![source("r/slow.sql", SLOW), source("r/many.sql", MANY)],
        tables: vec![source("t/jobs.json", TABLE)],
        ..Files::default()
    };
    let (set, problems) = RuleSet::compile(files, SETTINGS);
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    let names = vec!["healthy".to_owned(), "a_ *case*".to_owned()];
    let tests = BTreeMap::from([("slow".to_owned(), Tests { path: "r/slow.test.yaml".into(), names })]);
    let link = |path: &str| format!("../{path}");
    let pages = Catalogue { set: &set, tests: &tests, link: &link }.pages();
    pages.into_iter().map(|page| (page.path, page.text)).collect()
}

fn says(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part}\nis not in\n{page}");
    }
}

#[test]
fn a_page_says_what_its_rule_does() {
    says(
        &pages()["data/slow.md"],
        &[
            "<!-- Made by `tierwatch docs` from ../../r/slow.sql",
            "\n# Jobs that take \\*long\\*\n",
            "> *queue*: *value*% &lt;b>of *other*\n",
            "| Evaluated | every 10 seconds |",
            "| warning | `value > 0.80 AND value <= 2` | 5 minutes |",
            "| critical | `value >= 5` | 1 minute 30 seconds |",
            "A value above 2 and below 5 is in a gap, where the present level holds: a series that is warning or critical \
             stays so; one that is healthy becomes warning. A new series begins as warning.",
            "once the level has been warning or worse for 5 minutes, and to critical once",
            "once the level has been milder for 2 minutes",
            "only where `samples >= 20 AND samples || '' <> 'x'`",
            "told again every 4 hours",
            "for 2 minutes is critical",
            "for 2 hours is forgotten",
            "3 most frequent values of `state` and `user` (personal, so as pseudonyms)",
            "| events of [`jobs`](../../t/jobs.json) | `at`, `ms`, `queue`, `state`, `user` | the last minute | 10 seconds |",
            "Rules that read its readings: [many](../business/many.md)",
            "FROM hop(jobs, at,",
            "2 cases in its [test file](../../r/slow.test.yaml)",
            "- a\\_ \\*case\\*\n",
        ],
    );
    says(
        &pages()["business/many.md"],
        &[
            "In shadow",
            "| healthy | the other does not hold | at once |  |",
            "| warning | `again OR value > 2 * usual` | at once | `NOT again` |",
            "| `again` | `recurs(value > 1, 2, 6)` | true where `value > 1` held in at least 2 of the last 6 windows (30 minutes) |",
            "what `value` usually is",
            "from the first window without any",
            "| readings of [slow](../data/slow.md) | `queue`, `state` | the last 5 minutes | 10 seconds |",
            "There is no `many.test.yaml` beside the rule.",
        ],
    );
    says(
        &pages()["README.md"],
        &[
            "| [slow](data/slow.md) | Jobs that take \\*long\\* | ms | ≤ 0.80 | > 0.80 and ≤ 2 | ≥ 5 | jobs |",
            "| [many](business/many.md) (in shadow) | many | count | otherwise | `again OR value > 2 * usual` | – | nobody |",
            "[Business](#business) (1) · [Data](#data) (1)",
            "| [`jobs`](../t/jobs.json) | [slow](data/slow.md) |",
        ],
    );
}

/// The cells of a row; a bar that is escaped parts none.
fn cells(row: &str) -> usize {
    row.replace("\\|", "").matches('|').count()
}

#[test]
fn every_page_of_the_pack_can_be_shown_and_every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = |name: &str| root.join(name);
    let found = files::read(&[folder("sql/rules")], &folder("schemas/tables"), &folder("sql/reference")).unwrap();
    let (set, problems) = RuleSet::compile(found, SETTINGS);
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    let link = |path: &str| format!("../../{}", Path::new(path).strip_prefix(root).unwrap().display());
    let pages = Catalogue { set: &set, tests: &BTreeMap::new(), link: &link }.pages();
    assert_eq!(pages.len(), set.rules.len() + 1);
    let paths: BTreeSet<&str> = pages.iter().map(|page| page.path.as_str()).collect();
    for page in &pages {
        let mut head = None;
        for line in page.text.split("\n## SQL\n").next().unwrap().lines() {
            if line.starts_with('|') {
                assert_eq!(cells(line), *head.get_or_insert(cells(line)), "{}: {line}", page.path);
            } else {
                head = None;
            }
            for target in line.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
                let file = target.split('#').next().unwrap();
                let at = Path::new("docs/rules").join(&page.path).parent().unwrap().join(file);
                let is_page = |path: &&str| lexical(&at) == format!("docs/rules/{path}");
                let there = file.is_empty() || paths.iter().any(is_page) || root.join(lexical(&at)).is_file();
                assert!(there, "{}: {target}", page.path);
            }
        }
        assert!(!page.text.contains(['\u{e000}', '\u{e001}']), "{}", page.path);
    }
}

/// A path without its dots.
fn lexical(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap().split('/') {
        if part == ".." { _ = parts.pop() } else { parts.push(part) }
    }
    parts.join("/")
}
