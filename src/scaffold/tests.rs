//! What is made of answers passes its own check and its own test, whatever the answers are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::*;
use crate::{
    backtest::SETTINGS,
    files, rule_test,
    rules::{Files, RuleSet, diagnostics::Source},
};

/// The tables of the pack, without its rules.
fn tables() -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = files::read_some(&[], &root.join("schemas/tables"), &root.join("sql/reference")).unwrap();
    let text = r#"{"x-interval": "2m", "properties": {"event_time": {"type": "string", "format": "date-time"},
        "meter": {"type": "string"}, "closed": {"type": "boolean"}, "level_m": {"type": "number", "minimum": -5}},
        "required": ["meter", "level_m"]}"#;
    files.tables.push(Arc::new(Source { path: "meters.json".into(), text: text.into() }));
    files
}

/// A draft of flags and answers, taken in their order; the first that is refused says why.
fn draft(given: &str, known: &Known<'_>) -> Result<Draft, String> {
    let mut draft = Draft::new("made_up", known)?;
    for flag in Flag::ALL {
        let word = format!("{} ", flag.name().trim_start_matches('-'));
        if let Some(answer) = given.split(" | ").find_map(|part| part.strip_prefix(&word)) {
            draft.take(flag, answer, known).map_err(|message| format!("{}: {message}", flag.name()))?;
        }
    }
    while let Some(question) = draft.question(known) {
        let answer = Draft::unasked(&question).ok_or_else(|| format!("{} is missing", question.flag.name()))?;
        draft.take(question.flag, &answer, known)?;
    }
    Ok(draft)
}

fn with_known<T>(f: impl FnOnce(&Known<'_>) -> T) -> T {
    let (set, problems) = RuleSet::compile(tables(), SETTINGS);
    assert!(problems.is_empty(), "{problems:?}");
    let taken = BTreeMap::from([("taken".to_owned(), "sql/taken.sql".to_owned())]);
    f(&Known { catalog: &set.catalog, rules: &set.rules, taken: &taken })
}

fn made(given: &str) -> (String, String) {
    with_known(|known| {
        let answers = draft(given, known).and_then(|draft| draft.finish(known)).unwrap();
        (rule_text(&answers), test_text(&answers).unwrap())
    })
}

#[test]
fn every_measure_makes_a_rule_and_a_test_that_pass() {
    for given in [
        "table requests | measure ratio | where status_code >= 500 | warning 0.01 | critical 0.05",
        "table business_operations | measure ratio | where outcome = 'succeeded' | warning 0.995 | critical 0.98",
        "table business_operations | measure ratio | where error_type = 'domain' OR outcome = 'failed' | warning 0",
        "table requests | measure ratio | where route LIKE '/pay%' AND status_code BETWEEN 500 AND 504 | critical 0.29",
        "table cache_metrics | measure ratio | where hits < reads | warning 0.5 | critical 0.9",
        "table business_operations | measure count | warning <100 | critical <10",
        "table business_operations | measure count | warning 5 | critical 1",
        "table workflow_events | measure count | where phase = 'failed' | by service,workflow | warning 0 | critical 5",
        "table deployments | measure count | warning 0",
        "table requests | measure count | by none | critical 1000",
        "table requests | measure rate | by route | warning <0.5 | critical <0.1",
        "table node_metrics | measure sum | column oom_kills | warning 0 | critical 3",
        "table ledger_entries | measure sum | column amount | warning 1000.5 | critical 5000",
        "table disk_metrics | measure average | warning 0.8 | critical 0.9",
        "table requests | measure average | column duration_ms | where status_code < 400 OR route = '/x' | warning 200",
        "table database_metrics | measure average | column connections_used | warning 80 | critical 81",
        "table requests | measure percentile | percentile 0.99 | where method = 'POST' | warning 500 | critical 1000",
        "table node_metrics | measure percentile | column cpu_usage | window 20s | warning 0.8",
        "table meters | measure average | where closed | warning <-1 | critical <-2.5",
        "table requests | measure count | by route | where route LIKE '/pay%' | warning 500",
        "table meters | measure count | where closed IS NULL OR NOT closed | warning 3",
        "table meters | measure percentile | by meter,closed | warning -3 | critical -1",
        "table balancer_metrics | measure maximum | warning 50 | critical 500",
        "table database_metrics | measure age | by database,replica | where replica IS NOT NULL | warning 1 | critical 10",
    ] {
        let (rule, test) = made(given);
        let source = Arc::new(Source { path: "made_up.sql".into(), text: rule.clone() });
        let files = Files { rules: vec![source], ..tables() };
        let (set, problems) = RuleSet::compile(files.clone(), SETTINGS);
        assert!(problems.is_empty() && set.rules.len() == 1, "{given}\n{rule}\n{problems:?}");
        let source = Arc::new(Source { path: "made_up.test.yaml".into(), text: test.clone() });
        let outcomes = rule_test::run(&source, &files, &|name| Err(name.to_owned()));
        assert!(outcomes.len() >= 2, "{given}\n{test}");
        for outcome in outcomes {
            assert!(
                outcome.differences.is_empty(),
                "{given}\n{rule}\n{test}\n{}\n{:?}",
                outcome.name,
                outcome.differences
            );
        }
    }
}

#[test]
fn what_is_not_said_follows_from_the_table() {
    let (rule, test) = made("table requests | measure percentile | warning 500 | critical 1000");
    for part in [
        "unit: ms\n",
        "signal: latency",
        "min_samples: 20 ",
        "warning:  value >  500 AND value <= 1000\n",
        "diagnose: {where: \"duration_ms > 500\"",
        "approx_percentile_cont(duration_ms, 0.95) AS value",
        "INTERVAL '10 seconds', INTERVAL '1 minute'",
        "GROUP BY service\n",
        "runbook_url: https://runbooks.example/made-up\n",
    ] {
        assert!(rule.contains(part), "{part} in\n{rule}");
    }
    assert!(test.contains("every: 1m, until: 310s, repeat: 20, duration_ms: 750"), "{test}");
    let (rule, _) = made("table node_metrics | measure average | warning 0.8");
    assert!(
        rule.contains("GROUP BY cluster, node") && rule.contains("unit: ratio") && rule.contains("avg(cpu_usage)"),
        "{rule}"
    );
    let (rule, _) = made("table disk_metrics | measure average | column inode_usage | warning 0.8");
    assert!(rule.contains("WHERE inode_usage IS NOT NULL"), "{rule}");
}

#[test]
fn answers_that_cannot_be_are_refused_with_a_way_out() {
    with_known(|known| {
        for (given, wrong) in [
            ("table reqests", "did you mean `requests`?"),
            ("table requests | measure ratoi", "did you mean `rat"),
            ("table deployments | measure average", "no column of `deployments` is a number"),
            ("table requests | measure average | column durationms | warning 1", "did you mean `duration_ms`?"),
            ("table requests | measure average | column route | warning 1", "the numbers of `requests` are"),
            ("table requests | measure count | column route | warning 1", "say which events with --where"),
            ("table requests | measure ratio | where none | warning 1", "a ratio needs a condition"),
            ("table requests | measure count | where stats_code > 1 | warning 1", "did you mean `status_code`?"),
            ("table requests | measure count | where status_code > 700 | warning 1", "no event was found"),
            ("table requests | measure count | where status_code > 0 | warning 1", "does not hold; leave it out"),
            ("table requests | measure count | where random() > status_code | warning 1", "`random` is not allowed"),
            ("table requests | measure count | where (SELECT 1) > status_code | warning 1", "no SELECT"),
            ("table requests | measure count | where status_code > 1 */ | warning 1", "no comment"),
            (
                "table business_operations | measure count | where outcome = 'fail' | warning 1",
                "did you mean `failed`?",
            ),
            ("table requests | measure count | by trace_id | warning 1", "ever new values"),
            ("table requests | measure count | by customer_id | warning 1", "personal"),
            ("table node_metrics | measure average | window 10s | warning 0.8", "at least 20s"),
            ("table node_metrics | measure average | column cpu_usage | warning 80", "write 0.8 for 80%"),
            ("table requests | measure percentile | percentile 95 | warning 1", "write 0.95 for 95%"),
            ("table requests | measure count | warning 5 | critical 5", "there would be no warning"),
            ("table requests | measure count | warning >5 | critical 3", "critical lies above"),
            ("table requests | measure count | warning 5% | critical 3", "write 0.05"),
            ("table requests | measure count | warning none | critical none", "can never fire"),
            ("table requests | measure count | warning 1 | tier netwrk", "did you mean `network`?"),
        ] {
            let message = draft(given, known).and_then(|draft| draft.finish(known)).unwrap_err();
            assert!(message.contains(wrong), "{given}: {message}");
        }
        assert!(Draft::new("5xx Rate", known).unwrap_err().contains("such as xx_rate"));
        assert!(Draft::new("taken", known).unwrap_err().contains("sql/taken.sql"));
    });
}
