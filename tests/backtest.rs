//! Backtests as data: each `tests/backtest/<case>.sql` is played over every `<table>.<case>[.<n>].ndjson` beside it.
//!
//! `<case>.expected` holds the readings and breach events that must come, a JSON line each, then what is said to
//! people, each line behind a `#`. What the cases expect was computed apart from the program, by what a rule means:
//! where one of them differs, the program is to be doubted first. Where a change is meant, `UPDATE_EXPECTED=1 cargo
//! test backtest` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    thread,
};

use serde_json::Value;

use crate::check::{Answer, compare, files, none, tierwatch};

/// A rule, and the files of events it is played over.
struct Case {
    rule: PathBuf,
    events: Vec<PathBuf>,
}

/// Every case; no file of events may belong to none.
fn cases() -> Vec<Case> {
    let mut events: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files("backtest", "ndjson") {
        events.entry(part(&path, 1)).or_default().push(path);
    }
    let rules = files("backtest", "sql").into_iter();
    let cases: Vec<Case> =
        rules.map(|rule| Case { events: events.remove(&part(&rule, 0)).unwrap_or_default(), rule }).collect();
    assert!(events.is_empty(), "these belong to no case: {events:?}");
    cases
}

/// The `at`th part of a file name: `requests.late_event.ndjson` is of the table `requests` and the case `late_event`.
fn part(path: &Path, at: usize) -> String {
    path.file_name().unwrap().to_str().unwrap().split('.').nth(at).unwrap().to_owned()
}

/// Plays events through rules, so many lines at a time: what came on stdout, then behind `#` what was said.
fn play(rules: &Path, events: &[PathBuf], batch_rows: u32) -> String {
    let mut args = vec!["backtest".to_owned(), rules.to_str().unwrap().to_owned(), "--format=json".to_owned()];
    args.push(format!("--batch-rows={batch_rows}"));
    args.extend(events.iter().map(|path| format!("--events={}={}", part(path, 0), path.display())));
    let Answer { code, stdout, stderr } = tierwatch(&args);
    let mut out = without_versions(&stdout);
    for line in stderr.lines() {
        writeln!(out, "# {line}").unwrap();
    }
    if code != Some(0) {
        writeln!(out, "# exit code {}", code.unwrap_or(-1)).unwrap();
    }
    out
}

/// A rule's version changes with the schemas of its tables, which is not what these cases are about.
fn without_versions(stdout: &str) -> String {
    let field = "\"rule_version\":\"";
    let mut parts = stdout.split(field);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (version, rest) = part.split_at(16);
        assert!(version.bytes().all(|byte| byte.is_ascii_hexdigit()), "`{version}` is no version");
        out += field;
        out += "0000000000000000";
        out += rest;
    }
    out
}

/// Does the same for every case, several at a time, and answers with all complaints.
fn each_case(complain: impl Fn(&Case) -> Option<String> + Sync) -> Vec<String> {
    let cases = cases();
    let size = cases.len().div_ceil(4);
    thread::scope(|scope| {
        let complain = &complain;
        let parts: Vec<_> = cases
            .chunks(size)
            .map(|part| scope.spawn(move || part.iter().filter_map(complain).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

#[test]
fn each_case_says_what_its_rule_means() {
    none(&each_case(|case| compare(&case.rule.with_extension("expected"), &play(&case.rule, &case.events, 8192))));
    for path in files("backtest", "expected") {
        assert!(path.with_extension("sql").exists(), "{} belongs to no case", path.display());
    }
}

#[test]
fn how_many_lines_are_read_at_a_time_changes_nothing() {
    none(&each_case(|case| {
        let whole = play(&case.rule, &case.events, 100_000);
        let differs = |rows: &u32| play(&case.rule, &case.events, *rows) != whole;
        [1, 7]
            .iter()
            .find(|rows| differs(rows))
            .map(|rows| format!("{}: --batch-rows {rows} differs from 100000", case.rule.display()))
    }));
}

/// Sums, averages, quantiles and extremes of fractional numbers: where an order of adding mattered, bits would differ.
const NUMBERS: &str = "/*
name: numbers
tier: network
owner: platform
min_samples: 3
levels: {healthy: value < 240, warning: value >= 240 AND value < 260, critical: value >= 270}
for: 20s
no_data: {after: 20s}
annotations:
  summary: \"{{ service }}: {{ value | round(3) }} ms\"
  runbook_url: https://runbooks.example/numbers
*/
SELECT service,
       avg(duration_ms) AS value,
       count(*) AS samples,
       sum(duration_ms) AS total_ms,
       sum(duration_ms * duration_ms) AS squares,
       min(duration_ms) AS fastest_ms,
       max(duration_ms) AS slowest_ms,
       approx_percentile_cont(duration_ms, 0.95) AS p95_ms,
       approx_distinct(trace_id) AS traces,
       count(DISTINCT route) AS routes
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
";

/// An inner query, a size that is no multiple of the slide, and a second window of another size.
const NESTED: &str = "/*
name: nested
tier: network
owner: platform
key: [service]
levels: {warning: value > 1.1}
annotations:
  summary: \"{{ service }}: {{ value }}\"
  runbook_url: https://runbooks.example/nested
*/
SELECT recent.service,
       ratio(recent.slowest_ms, longer.average_ms) AS value
FROM (
    SELECT service, max(average_ms) AS slowest_ms
    FROM (
        SELECT service, route, avg(duration_ms) AS average_ms
        FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '25 seconds')
        GROUP BY service, route
    ) AS per_route
    GROUP BY service
) AS recent
JOIN (
    SELECT service, avg(duration_ms) AS average_ms
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS longer ON recent.service = longer.service
";

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// So many requests over ten minutes; most come in order, some a little late, some too late.
fn requests(seed: u64, count: u64) -> String {
    let mut random = Lcg(seed);
    let mut out = String::new();
    for at in 0..count {
        let behind = if random.below(10) == 0 { random.below(30_000) } else { random.below(4_000) };
        let time = 1_767_225_600_000 + 30_000 + at * 600_000 / count - behind;
        let service = ["checkout", "payments", "search"][usize::try_from(random.below(3)).unwrap()];
        let (route, trace, whole, part) =
            (random.below(5), random.below(1_000), random.below(500), random.below(1_000_000_007));
        let line = format!(
            r#""service":"{service}","route":"/{route}","trace_id":"{trace}","status_code":200,"duration_ms":{whole}.{part}"#
        );
        writeln!(out, r#"{{"event_time":{time},{line}}}"#).unwrap();
    }
    out
}

#[test]
fn fractional_sums_have_the_same_bits_however_events_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("numbers.sql"), NUMBERS).unwrap();
    fs::write(rules.join("nested.sql"), NESTED).unwrap();
    let events = ["requests.1.ndjson", "requests.2.ndjson"].map(|name| folder.path().join(name));
    fs::write(&events[0], requests(1, 2_000)).unwrap();
    fs::write(&events[1], requests(2, 3_000)).unwrap();

    let whole = play(&rules, &events, 5_000);
    for rows in [1, 13] {
        let other = play(&rules, &events, rows);
        let first = other.lines().zip(whole.lines()).find(|(a, b)| a != b);
        assert!(other == whole, "--batch-rows {rows} differs from 5000, first in\n{first:#?}");
    }

    // Each event is in one window of ten seconds, or late, or not before the end of the last window.
    let (said, lines): (Vec<&str>, Vec<&str>) = whole.lines().partition(|line| line.starts_with('#'));
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<&Value> = lines.iter().filter(|line| line["rule"] == "numbers").collect();
    let counted: i64 =
        numbers.iter().filter(|line| line["type"] == "reading").filter_map(|line| line["samples"].as_i64()).sum();
    let late = |line: &&str| line.strip_prefix("# note: late events for closed windows of numbers: ")?.parse().ok();
    let late: i64 = said.iter().find_map(late).unwrap();
    let after = events.iter().map(|path| after_the_last_window(&fs::read_to_string(path).unwrap())).sum::<i64>();
    assert_eq!(counted + late + after, 5_000, "{counted} counted, {late} late, {after} after the last window");
    assert!(late > 50 && numbers.iter().any(|line| line["type"] == "escalated"), "{late} late");
}

/// How many events are in the ten seconds that no window closes: those from 00:10:20 on.
fn after_the_last_window(events: &str) -> i64 {
    let times = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["event_time"].as_i64());
    times.map(|time| i64::from(time >= 1_767_225_600_000 + 620_000)).sum()
}
