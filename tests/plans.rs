//! How rules are cut: what is spread over partitions, and what must stay together since the rule looks at it at once.

use std::{path::Path, sync::Arc};

use tierwatch::{
    files,
    rules::{Files, RuleSet, Settings, diagnostics::Source},
};

fn compile(key: &str, sql: &str) -> RuleSet {
    let text = format!("/*\nname: r\ntier: data\nlevels: {{warning: value > 1}}\n{key}\n*/\n{sql}");
    let rules = vec![Arc::new(Source { path: "r.sql".into(), text })];
    let base = files::read(&[], Path::new("schemas/tables"), Path::new("sql/reference")).expect("the files are there");
    let (set, problems) = RuleSet::compile(Files { rules, ..base }, Settings { idle_after_ms: None });
    assert!(!RuleSet::broken(&problems), "{sql}: {}", problems[0].render(false));
    set
}

#[test]
fn series_are_spread_only_where_nothing_looks_at_several() {
    const HOP: &str = "hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')";
    let counts = format!("(SELECT service, count(*) AS n FROM {HOP} GROUP BY service)");
    for (key, sql, spread) in [
        ("", format!("SELECT service, count(*) AS value FROM {HOP} GROUP BY service"), true),
        ("", format!("SELECT count(*) AS value FROM {HOP}"), false),
        (
            "",
            format!(
                "SELECT service, max(n) AS value FROM (SELECT service, route, count(*) AS n FROM {HOP} GROUP BY service, route) AS x GROUP BY service"
            ),
            true,
        ),
        ("", format!("SELECT count(*) AS value FROM {counts} AS x"), false),
        ("key: [service]", format!("SELECT service, n AS value FROM {counts} AS x ORDER BY n DESC LIMIT 3"), false),
        (
            "key: [service]",
            format!("SELECT service, n AS value, rank() OVER (ORDER BY n) AS place FROM {counts} AS x"),
            false,
        ),
        (
            "key: [service]",
            format!(
                "SELECT c.service, x.n AS value FROM tested_capacity AS c JOIN {counts} AS x ON x.service = c.service"
            ),
            true,
        ),
        (
            "key: [service]",
            format!(
                "SELECT c.service, x.n AS value FROM tested_capacity AS c LEFT JOIN {counts} AS x ON x.service = c.service"
            ),
            false,
        ),
        (
            "key: [service]",
            format!(
                "SELECT c.service, 1 AS value FROM tested_capacity AS c WHERE c.service NOT IN (SELECT service FROM {counts} AS x)"
            ),
            false,
        ),
        (
            "key: [service]",
            format!(
                "SELECT a.service, ratio(a.n, b.n) AS value FROM {counts} AS a JOIN {counts} AS b ON a.service = b.service"
            ),
            true,
        ),
        (
            "key: [service]",
            format!(
                "SELECT a.service, ratio(a.n, b.n) AS value FROM {counts} AS a CROSS JOIN (SELECT count(*) AS n FROM {HOP}) AS b"
            ),
            false,
        ),
    ] {
        let set = compile(key, &sql);
        assert_eq!(set.rules[0].spread, spread, "{sql}\n{}", set.rules[0].rest_plan);
    }
}

#[test]
fn rules_share_folds_and_keep_the_union_of_what_they_ask_for() {
    let two = compile(
        "key: [service]",
        "SELECT a.service, ratio(a.n, b.n) AS value \
         FROM (SELECT service, count(*) AS n FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY service) AS a \
         JOIN (SELECT service, sum(duration_ms) AS n FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes') GROUP BY service) AS b \
         ON a.service = b.service",
    );
    assert_eq!(two.folds.len(), 1, "windows of another length are put together from the same panes");
    assert_eq!(two.folds.values().next().map(|fold| fold.aggregates.len()), Some(2));
}
