//! The tests of rules, run by the program itself: those of the pack that is shipped, and those in `tests/rules`, one for
//! each point of what a rule means.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tierwatch::{
    files,
    rules::{RuleSet, Settings},
};

use crate::check::{Answer, none, tierwatch};

/// Runs all tests below a folder; answers with the names of the cases by rule.
fn run(folder: &str) -> BTreeSet<(String, String)> {
    let Answer { code, stdout, stderr } = tierwatch(["test", folder, "--format", "json"]);
    let outcomes: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |outcome: &Value, name: &str| outcome[name].as_str().unwrap_or_default().to_owned();
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome["differences"].as_array().is_none_or(|found| !found.is_empty()))
        .map(|outcome| format!("{} {}: {:#}", text(outcome, "file"), text(outcome, "name"), outcome["differences"]))
        .collect();
    none(&failed);
    assert_eq!(code, Some(0), "{stderr}");
    outcomes.iter().map(|outcome| (text(outcome, "rule"), text(outcome, "name"))).collect()
}

fn shipped() -> RuleSet {
    let found = files::read(&["sql/rules".into()], Path::new("schemas/tables"), Path::new("sql/reference")).unwrap();
    let (set, problems) = RuleSet::compile(found, Settings { idle_after_ms: None });
    assert!(problems.is_empty(), "{problems:?}");
    set
}

#[test]
fn the_shipped_rules_hold() {
    let cases = run("sql/rules");
    let mut untested = Vec::new();
    for rule in &shipped().rules {
        let name = rule.header.name.as_str();
        let of =
            |kind: &str| cases.iter().filter(|(of, case)| of == name && case.to_lowercase().contains(kind)).count();
        let gaps = rule.bands.as_ref().is_some_and(|bands| bands.pieces().iter().any(|(_, _, level)| level.is_none()));
        for (wanted, kind, least) in [
            (true, "healthy", 1),
            (true, "warning", 1),
            (true, "critical", 1),
            (true, "recovery", 1),
            (true, "silence", 1),
            (gaps, "gap", 2),
            (rule.header.judge_when.is_some(), "thin", 1),
            (rule.header.for_ms.values().any(|ms| *ms > 0), "for", 1),
        ] {
            if wanted && of(kind) < least {
                untested.push(format!("{name} has too few cases that say `{kind}`"));
            }
        }
    }
    none(&untested);
}

#[test]
fn each_point_of_what_a_rule_means_holds() {
    assert!(run("tests/rules").len() > 60);
}

/// A wrong expectation is a failure that says what differs.
#[test]
fn a_wrong_expectation_fails_and_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let rule = fs::read_to_string("sql/rules/business/business_success_ratio.sql").unwrap();
    fs::write(folder.path().join("business_success_ratio.sql"), rule).unwrap();
    let test = "tests:\n  - name: wrong\n    events:\n      business_operations:\n        - {every: 10s, until: 1m, repeat: 20, service: a, operation: o, outcome: succeeded, duration_ms: 1}\n    readings:\n      - {at: 1m, service: a, value: 0.5, level: critical}\n      - {at: 1m, service: b}\n    breaches:\n      - {at: 30s, type: opened, service: a}\n";
    let path = folder.path().join("business_success_ratio.test.yaml");
    fs::write(&path, test).unwrap();
    let Answer { code, stdout, .. } = tierwatch(["test".as_ref(), path.as_os_str()]);
    assert_eq!(code, Some(1), "{stdout}");
    for said in
        ["value        expected 0.5, got 1", "level        expected critical, got healthy", "there is none", "- 30s"]
    {
        assert!(stdout.contains(said), "{said} in\n{stdout}");
    }
}

/// Rules of the configuration go by their names, too.
#[test]
fn a_rule_is_found_by_its_name() {
    let name = "business_success_ratio";
    let Answer { code, stdout, stderr } = tierwatch(["check", name]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let Answer { code, stderr, .. } = tierwatch(["test", name]);
    assert!(code == Some(0) && stderr.contains("in 1 file"), "{stderr}");
    let Answer { code, stderr, .. } = tierwatch(["check", "business_success"]);
    assert!(code == Some(1) && stderr.contains("cannot read business_success"), "{stderr}");
    let Answer { code, stderr, .. } = tierwatch(["test", "sql/rules/nowhere.sql"]);
    assert!(code == Some(2) && stderr.contains("there is no test sql/rules/nowhere.test.yaml"), "{stderr}");
}

/// A slip of a unit does not take hours.
#[test]
fn events_that_span_too_many_windows_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rule = fs::read_to_string("sql/rules/business/business_success_ratio.sql").unwrap();
    fs::write(folder.path().join("business_success_ratio.sql"), rule).unwrap();
    let path = folder.path().join("business_success_ratio.test.yaml");
    for (event, said) in [("at: 95050h", "windows of `business_success_ratio`"), ("at: 1m, late: 95050h", "windows of")]
    {
        let test = format!(
            "tests:\n  - name: far\n    events:\n      business_operations:\n        - {{{event}, service: a, operation: o, outcome: succeeded, duration_ms: 1}}\n        - {{at: 0s, service: a, operation: o, outcome: succeeded, duration_ms: 1}}\n    end: 2m\n    readings: []\n    breaches: []\n"
        );
        fs::write(&path, test).unwrap();
        let Answer { code, stdout, .. } = tierwatch(["test".as_ref(), path.as_os_str()]);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.contains(said), "{stdout}");
    }
}

/// The limits of the thresholds that are plain numbers, at each limit and a hair beside it.
#[test]
fn limits_are_those_of_the_table() {
    let set = shipped();
    let table = fs::read_to_string("tests/thresholds.csv").unwrap();
    let mut wrong = Vec::new();
    let mut rules = BTreeSet::new();
    for line in table.lines().skip(1) {
        let [name, tier, unit, value, level] = <[&str; 5]>::try_from(line.split(',').collect::<Vec<_>>()).unwrap();
        let Some(rule) = set.rule(name) else {
            wrong.push(format!("there is no rule {name}"));
            continue;
        };
        rules.insert(name);
        if rule.header.tier.name() != tier || rule.header.unit != unit {
            wrong.push(format!("{name} is of tier {} in {}", rule.header.tier.name(), rule.header.unit));
        }
        if let Ok(value) = value.parse::<f64>() {
            let bands = rule.bands.as_ref().unwrap();
            let found = match bands.neighbours(value) {
                Some(_) => "gap",
                None => bands.level(value, None).name(),
            };
            if found != level {
                wrong.push(format!("{name} of {value} is {found}, and should be {level}"));
            }
        }
    }
    none(&wrong);
    assert_eq!(rules.len(), 33);
}

/// A backtest learns what is usual; the next start knows it from its first window on.
#[test]
fn what_was_learnt_from_history_is_known_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let rule = folder.path().join("rate.sql");
    let text = "/*\nname: rate\ntitle: Rate\ntier: business\nunit: count\nowner: tests\nhistory:\n  usual: expected(value)\nlevels: {warning: value > 3 * usual}\nannotations: {summary: \"{{ value }}\", runbook_url: \"https://x\"}\n*/\nSELECT service, count(*) AS value FROM tumble(business_operations, event_time, INTERVAL '10 minutes') GROUP BY service\n";
    fs::write(&rule, text).unwrap();
    // Ten operations in ten minutes by day, two by night.
    let events = |from_h: i64, to_h: i64, name: &str| {
        let lines: String = (from_h * 60..to_h * 60)
            .filter(|minute| (8..20).contains(&(minute / 60 % 24)) || minute % 5 == 0)
            .map(|minute| {
                let time = 1_767_571_200_000 + minute * 60_000;
                format!("{{\"event_time\":{time},\"service\":\"a\",\"operation\":\"o\",\"outcome\":\"succeeded\",\"duration_ms\":1}}\n")
            })
            .collect();
        let path = folder.path().join(name);
        fs::write(&path, lines).unwrap();
        format!("business_operations={}", path.display())
    };
    let first_usual = |events: &str| {
        let Answer { stdout, stderr, .. } =
            tierwatch(["backtest", rule.to_str().unwrap(), "--events", events, "--format", "json"]);
        let first: Value = serde_json::from_str(stdout.lines().next().unwrap_or_default()).expect(&stderr);
        first["measures"]["usual"].as_f64()
    };
    let next = events(60, 62, "next.ndjson");
    assert_eq!(first_usual(&next), None);
    let days = events(0, 50, "days.ndjson");
    let Answer { code, stdout, stderr } =
        tierwatch(["backtest", rule.to_str().unwrap(), "--events", &days, "--learn", "--summary"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("rate.learnt.csv: what is usual for 1 series, in 168 of the 168 hours"), "{stdout}");
    assert_eq!(first_usual(&next), Some(10.0), "noon of the third day is as noon of the first two");
}

/// The catalogue in the repository is that of the rules in it.
#[test]
fn the_catalogue_is_up_to_date() {
    let Answer { code, stdout, stderr } = tierwatch(["docs", "--check"]);
    assert_eq!(code, Some(0), "run `tierwatch docs`\n{stdout}{stderr}");
}
