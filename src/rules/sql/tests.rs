//! Window constants, ratios, and mistakes at their place.

use super::*;

fn read(sql: &str) -> Result<Parsed, Vec<Diagnostic>> {
    parse(&Arc::new(Source { path: "r.sql".into(), text: sql.into() }), 0)
}

#[test]
fn window_constants_mean_the_window_in_scope() {
    for (sql, expected) in [
        (
            "SELECT window_end, count(*) / window_seconds AS value FROM hop(t, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY window_end, k",
            "SELECT window_at(10000, 0) AS window_end, count(*) / 6e1 AS value FROM hop(t, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY k",
        ),
        (
            "SELECT k FROM (SELECT k, min(x) AS b FROM tumble(t, event_time, INTERVAL '1 minute') GROUP BY k) WHERE b >= window_start",
            "SELECT k FROM (SELECT k, min(x) AS b FROM tumble(t, event_time, INTERVAL '1 minute') GROUP BY k) WHERE b >= window_at(60000, -60000)",
        ),
        (
            "SELECT a.window_start FROM hop(t, event_time, INTERVAL '1 minute', INTERVAL '1 hour', ago => INTERVAL '1 day') AS a",
            "SELECT window_at(60000, -90000000) AS window_start FROM hop(t, event_time, INTERVAL '1 minute', INTERVAL '1 hour', ago => INTERVAL '1 day') AS a",
        ),
    ] {
        assert_eq!(read(sql).unwrap().statement.to_string(), expected);
    }
}

#[test]
fn a_ratio_keeps_its_parts() {
    let sql = read("SELECT ratio(sum(x), count(*)) AS value FROM tumble(t, event_time, INTERVAL '1 minute')")
        .unwrap()
        .statement
        .to_string();
    assert!(sql.contains("sum(x) AS numerator, count(*) AS denominator"), "{sql}");
}

#[test]
fn mistakes_have_a_place_and_a_reason() {
    for (sql, code, column) in [
        ("SELECT (1 FROM t", "broken-sql", 11),
        ("DROP TABLE x", "not-a-select", 1),
        ("SELECT 1; SELECT 2", "several-statements", 11),
        ("SELECT 1", "no-window", 1),
        ("SELECT 1 FROM hop(t, event_time, INTERVAL '1 minute')", "window-arguments", 15),
        ("SELECT 1 FROM hop(t, event_time, INTERVAL '1 minute', INTERVAL '10 seconds')", "window-arguments", 43),
        ("SELECT 1 FROM tumble(t, event_time, INTERVAL '1 month')", "window-arguments", 46),
        ("WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r", "recursive", 1),
        (
            "SELECT window_start FROM tumble(t, event_time, INTERVAL '1 minute') a, tumble(t, event_time, INTERVAL '2 minutes') b",
            "ambiguous-window",
            8,
        ),
    ] {
        let problems = read(sql).unwrap_err();
        assert_eq!((problems[0].code, problems[0].position().1), (code, column), "{sql}: {}", problems[0].message);
    }
}
