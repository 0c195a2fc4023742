//! The generator keeps its promises: the same events however it is asked, healthy but for what is meant.

#![allow(clippy::cast_precision_loss, reason = "counts of events are small")]

mod incidents;
mod tables;

use super::{technical::HEALTHY_CPU, *};
use serde_json::Value;
use std::collections::BTreeSet;

const START_MS: i64 = 1_750_000_000_123;

fn events(seconds: i64, scale: f64, incidents: Vec<Incident>) -> Vec<Event> {
    Generator::new(7, START_MS, incidents).with_scale(scale).advance(START_MS + seconds * 1_000)
}

/// The good events of a table that happened between these seconds after the start; their times as numbers.
fn rows(events: &[Event], table: &str, from_s: i64, until_s: i64) -> Vec<Value> {
    rows_with(events, table, "", from_s, until_s)
}

/// Those in whose JSON a text stands: to read only them is much the quicker.
fn rows_with(events: &[Event], table: &str, text: &str, from_s: i64, until_s: i64) -> Vec<Value> {
    let span = START_MS + from_s * 1_000..START_MS + until_s * 1_000;
    let wanted =
        |e: &&Event| e.table == table && !e.garbage && span.contains(&e.event_time_ms) && e.json.contains(text);
    let row = |e: &Event| -> Value {
        let mut row: Value = serde_json::from_str(&e.json).expect("JSON");
        row["event_time"] = Value::from(e.event_time_ms);
        row
    };
    events.iter().filter(wanted).map(row).collect()
}

fn share(rows: &[Value], service: &str, good: impl Fn(&Value) -> bool) -> f64 {
    let of_service: Vec<&Value> = rows.iter().filter(|r| r["service"] == service).collect();
    of_service.iter().filter(|r| good(r)).count() as f64 / of_service.len() as f64
}

fn succeeded(row: &Value) -> bool {
    row["outcome"] == "succeeded"
}

fn p95(rows: &[Value], service: &str) -> f64 {
    let of_service = rows.iter().filter(|r| r["service"] == service);
    let mut durations: Vec<f64> = of_service.map(|r| r["duration_ms"].as_f64().expect("number")).collect();
    durations.sort_by(f64::total_cmp);
    durations[durations.len() * 95 / 100]
}

#[test]
fn cuts_change_nothing() {
    let whole = events(70, 1.0, demo_incidents(START_MS));
    for steps in [&[1_000][..], &[1, 7, 333, 0, 5_000], &[999, 1_001, -50], &[17]] {
        let mut generator = Generator::new(7, START_MS, demo_incidents(START_MS));
        let (mut cut, mut now_ms) = (Vec::new(), START_MS);
        for step in steps.iter().cycle() {
            now_ms = (now_ms + step).min(START_MS + 70_000);
            let arrived = generator.advance(now_ms);
            assert!(arrived.iter().all(|e| e.arrival_ms <= now_ms));
            cut.extend(arrived);
            if now_ms == START_MS + 70_000 {
                break;
            }
        }
        assert!(cut == whole, "steps {steps:?}");
    }
    assert!(whole != Generator::new(8, START_MS, demo_incidents(START_MS)).advance(START_MS + 70_000));
}

#[test]
fn arrival_is_ordered_and_event_time_is_not() {
    let events = events(60, 1.0, Vec::new());
    assert!(events.is_sorted_by_key(|e| e.arrival_ms));
    assert!(!events.is_sorted_by_key(|e| e.event_time_ms));
    assert!(events.iter().all(|e| START_MS < e.event_time_ms && e.event_time_ms <= e.arrival_ms));
    assert!(events.iter().all(|e| e.arrival_ms - e.event_time_ms <= LAG_MAX_MS));
    let requests = rows(&events, "requests", 0, 50).len();
    assert!((9_500..10_500).contains(&requests), "{requests}");
    assert_eq!(rows(&events, "node_metrics", 0, 50).len(), 50 * 8);
}

#[test]
fn healthy_by_default() {
    let events = events(100, 2.0, Vec::new());
    let operations = rows(&events, "business_operations", 0, 100);
    for service in ["checkout", "payments", "orders"] {
        assert!(share(&operations, service, succeeded) >= 0.9990, "{service}");
    }
    assert!(operations.iter().filter(|r| succeeded(r)).count() as f64 / operations.len() as f64 >= 0.9995);
    let requests = rows(&events, "requests", 0, 100);
    for service in ["checkout", "payments", "catalog", "search"] {
        let p95 = p95(&requests, service);
        assert!((165.0..195.0).contains(&p95), "{service} {p95}");
    }
    let server_errors = requests.iter().filter(|r| r["status_code"].as_u64().expect("number") >= 500).count();
    assert!(server_errors as f64 / requests.len() as f64 <= 0.0005);
    let nodes = rows(&events, "node_metrics", 0, 100);
    let cpu: f64 = nodes.iter().map(|r| r["cpu_usage"].as_f64().expect("number")).sum();
    assert!((cpu / nodes.len() as f64 - HEALTHY_CPU).abs() < 0.01);

    let mut by_customer = BTreeMap::new();
    for row in &requests {
        *by_customer.entry(row["customer_id"].to_string()).or_insert(0_u32) += 1;
    }
    let busiest = f64::from(*by_customer.values().max().expect("customers"));
    let skew = busiest * by_customer.len() as f64 / requests.len() as f64;
    assert!(by_customer.len() == 500 && (5.0..10.0).contains(&skew), "{skew}");
}

#[test]
fn incidents_show_and_pass() {
    let events = events(60, 5.0, demo_incidents(START_MS));
    let success =
        |service, from_s, until_s| share(&rows(&events, "business_operations", from_s, until_s), service, succeeded);
    for (from_s, until_s, expected) in [(0, 12, 1.0), (12, 20, 0.97), (20, 35, 0.80), (35, 58, 1.0)] {
        let payments = success("payments", from_s, until_s);
        assert!((payments - expected).abs() < 0.025, "{from_s} s: {payments}");
        assert!(success("checkout", from_s, until_s) > 0.995);
    }
    for (from_s, until_s, expected) in [(0, 15, 180.0), (15, 25, 900.0), (25, 40, 2_600.0), (40, 58, 180.0)] {
        let requests = rows(&events, "requests", from_s, until_s);
        let checkout = p95(&requests, "checkout");
        assert!((checkout / expected - 1.0).abs() < 0.1, "{from_s} s: {checkout}");
        assert!(p95(&requests, "payments") < 220.0);
    }
    for row in rows(&events, "node_metrics", 18, 38) {
        let busy = row["cpu_usage"].as_f64().expect("number") > 0.75;
        assert_eq!(busy, row["node"] == NODE_BUSY, "{row}");
    }
    let nodes = [rows(&events, "node_metrics", 0, 18), rows(&events, "node_metrics", 38, 58)].concat();
    assert!(nodes.iter().all(|r| r["cpu_usage"].as_f64().expect("number") < 0.6));
}

#[test]
fn garbage_is_rare_and_bad_and_the_rest_is_good() {
    let events = events(60, 5.0, Vec::new());
    let garbage: Vec<&Event> = events.iter().filter(|e| e.garbage).collect();
    let one_in = events.len() / garbage.len();
    assert!((1_400..2_800).contains(&one_in), "1 in {one_in}");
    let mut reasons = BTreeSet::new();
    for event in garbage {
        reasons.insert(match serde_json::from_str::<Value>(&event.json) {
            Err(_) => "broken",
            Ok(row) if !row["service"].is_string() => "wrong type",
            Ok(row) if row["event_time"].is_null() => "no time",
            Ok(row) if row["event_time"] == 86_400_000 => "1970",
            Ok(_) => "good",
        });
    }
    assert_eq!(reasons, BTreeSet::from(["1970", "broken", "no time", "wrong type"]));

    let mut texts = 0;
    for event in events.iter().filter(|e| !e.garbage) {
        let row: Value = serde_json::from_str(&event.json).expect("JSON");
        assert_eq!(row["trace_id"].as_str().expect("text").len(), 32);
        assert!(row["service"].is_string() && row["service_version"].is_string() && row["environment"].is_string());
        assert!(!event.key.is_empty() && !event.json.contains('\n'));
        match row["event_time"].as_i64() {
            Some(ms) => assert_eq!(ms, event.event_time_ms),
            None => {
                assert_eq!(row["event_time"], rfc3339(event.event_time_ms));
                texts += 1;
            }
        }
    }
    assert!((15..25).contains(&(events.len() / texts)));
}

#[test]
fn ledger_balances_and_workflows_end() {
    let events = events(100, 3.0, Vec::new());
    let mut balances = BTreeMap::new();
    for row in rows(&events, "ledger_entries", 0, 100) {
        let cents: i64 = row["amount"].as_str().expect("text").replace('.', "").parse().expect("decimal");
        let (balance, legs) = balances.entry(row["transaction_id"].to_string()).or_insert((0, 0));
        (*balance, *legs) = (*balance + cents, *legs + 1);
    }
    let whole = balances.values().filter(|(_, legs)| *legs == 2);
    assert!(balances.len() > 2_800 && whole.clone().count() > balances.len() - 100);
    assert!(whole.clone().all(|(balance, _)| *balance == 0));

    let mut phases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(&events, "workflow_events", 0, 100) {
        let phase = row["phase"].as_str().expect("text").to_owned();
        phases.entry(format!("{} {}", row["workflow"], row["workflow_id"])).or_default().push(phase);
    }
    let ended = phases.values().filter(|p| p.iter().any(|p| p == "completed" || p == "failed")).count();
    assert!(phases.len() > 1_100 && ended > phases.len() * 9 / 10);
    assert!(phases.keys().any(|id| id.contains("autoscaling")));
}

#[test]
fn versions_follow_deployments() {
    let events = events(100, 1.0, Vec::new());
    let deployments = rows(&events, "deployments", 0, 100);
    let versions: Vec<_> = deployments.iter().map(|r| (&r["service"], &r["previous_version"], &r["version"])).collect();
    let expected = [["payments", "2.14.0", "2.14.1"], ["checkout", "5.3.0", "5.3.1"]].map(|row| row.map(Value::from));
    assert_eq!(versions, expected.each_ref().map(|[service, before, after]| (service, before, after)));
    for (from_s, until_s, version) in [(0, 10, "2.14.0"), (10, 100, "2.14.1")] {
        let requests = rows(&events, "requests", from_s, until_s);
        assert!(share(&requests, "payments", |r| r["service_version"] == version) == 1.0);
    }
}

#[test]
fn a_share_comes_evenly() {
    let generator = Generator::new(7, START_MS, Vec::new());
    for (share, expected) in [(0.0, 0), (0.005, 5), (0.05, 50), (0.125, 125), (0.5, 500), (1.0, 1_000)] {
        for first in [0, 50_000] {
            // 20/3 in a second, on average.
            let seconds = (first..first + 150).zip([6, 7, 7].into_iter().cycle());
            let turns =
                seconds.flat_map(|(second, count)| generator.turns(START_MS + second * 1_000, 20.0 / 3.0, count));
            let count = turns.filter(|turn| due(turn, share)).count();
            assert!(count.abs_diff(expected) <= 1, "{share}: {count}");
        }
    }
}

#[test]
fn times_as_text() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_987, "2024-02-29T23:59:59.987Z"),
        (1_750_000_000_123, "2025-06-15T15:06:40.123Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(ms), text);
    }
}

#[test]
fn the_random_stream_is_the_published_one() {
    // The first numbers of splitmix64.c for the state 1234567.
    let mut rng = Rng(1_234_567);
    let first = [rng.next(), rng.next(), rng.next()];
    assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
}
